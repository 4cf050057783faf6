//! A shutdown, delivery by delivery: the model runs the chain again from the last state, and says which
//! check failed in each.
//!
//! ```text
//!  instruction or interrupt ─► fault ─► its delivery fails ─► #DF ─► its delivery fails ─► shutdown
//!                                       └ the check that failed first is the cause
//! ```
//! (SDM vol. 3A, "Interrupt 8—Double fault exception".) Where the model does not end in a shutdown from
//! there, nothing is claimed.

use super::explained::Explained;
use super::lost_gate::LostGate;
use super::used::Used;
use super::{
    Aftermath, Placed, beyond_limit, descriptor, fault, fault_text, full_stack, kinds_of_address,
    misread_tables, new_task, selector_fault,
};
use crate::check::rules::way_back;
use crate::check::way_back::{Low, unloaded};
use crate::check::{ChangedWord, CodePlace, Finding, History, LookBack, Retrace, Subject};
use crate::entry::{CodeBytes, Frame, Named, Ram, Reach, Walk, named};
use crate::instruction::operands::operands;
use crate::instruction::valid_32;
use crate::machine::LinearMemory;
use crate::run::{Ending, LastEvent};
use ia32::paging::{self, PagingControls, Privilege};
use ia32::{
    AttemptEnd, Branch, DescriptorKind, FrameShape, Interruption, InterruptionKind, Iret,
    OperandSize, Operation, Outcome, RaisedFault, State, TssWidth, Vector, Word, take,
};
use iced_x86::{Instruction, Mnemonic};

pub(super) const RULE: &str = "shutdown";

/// The chain that ended in a shutdown.
struct Chain {
    before: State,
    outcome: Outcome,
    /// What began it: `int 0x80`, interrupt 0x20.
    began: String,
    /// The fault of the instruction itself, if that began it.
    own: Option<(Vector, Option<u32>)>,
}

/// No chain of faults ends in a shutdown.
pub(super) fn shutdown(
    used: &Used,
    after_entry: u64,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    if aftermath.end.ending != Ending::TripleFault {
        return None;
    }
    let Some(last) = &aftermath.end.last_event else {
        let state = &aftermath.end.state;
        let at = aftermath.place(state.instruction_address());
        let finding = Finding::new(
            RULE,
            Subject::Kernel,
            "the processor shut down, and KVM has reset its registers",
            "a handler that can be entered",
            "an exception that could not be delivered, nor the double fault",
        )
        .because(
            "the way from the last stop to the end is too long to be stepped again, or ended otherwise: the \
             cause is not known",
        )
        .advise("run it with --exact, where each state is known");
        return Some((format!("the end, some time after EIP {at}"), finding));
    };
    let mut last = last.clone();
    if last.interrupt.is_none()
        && let Some(after) = selector_fault::after_stack_segment(&last.before, aftermath)
    {
        last.before = after;
    }
    let at = last.before.instruction_address();
    let place = format!("the end, in ring {}, at {}", last.before.cpl(), aftermath.place(at));
    let Some(chain) = chain(aftermath, &last) else {
        let code = aftermath.code(&last.before, at);
        let finding = Finding::new(
            RULE,
            Subject::Kernel,
            format!("the processor shut down at {}", written(&code, &last.before)),
            "a handler that can be entered",
            "an exception that could not be delivered, nor the double fault",
        )
        .about_instruction(at);
        let why = new_task::of_jump(&code, &last.before, aftermath)
            .or_else(|| kinds_of_address::gates_without_code(&last.before, aftermath));
        return Some((place, why.map_or(finding.clone(), |why| why.add_to(finding))));
    };
    let links: Vec<String> = chain
        .outcome
        .attempts
        .iter()
        .filter_map(|attempt| {
            attempt
                .fault
                .map(|fault| format!("{} met {}", name(&attempt.operation, &chain), fault.vector))
        })
        .collect();
    // Who let an outer ring run that cannot be left again comes before what tried to leave it.
    let entered = history.last_return().filter(|_| last.before.cpl() > 0 && chain.own.is_none());
    let entered = entered.map(|entered| entered.state.instruction_address());
    let mut finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "the processor shut down: {} could not be handled, nor what followed",
            match chain.own {
                Some((vector, code)) => format!("{} of {}", with_code(vector, code), chain.began),
                None => chain.began.clone(),
            }
        ),
        "a handler that can be entered",
        format!("{}: shutdown", links.join(", ")),
    );
    finding.places.extend(entered.into_iter().chain([at]).map(CodePlace::Instruction));
    let full = match chain.own {
        Some((Vector::PF, Some(code))) => {
            full_stack::overflow(&chain.before, code, aftermath, history)
        }
        _ => None,
    };
    let is_full = full.is_some();
    let (mut overwritten, mut asks) = (None, None);
    let mut reason = full.unwrap_or_else(|| cause(&chain, aftermath, history));
    // What the instruction met comes first: that nobody was there to tell it is the lesser fault.
    if !is_full && let Some(own) = explained(&chain, aftermath) {
        asks = own.asks;
        if let Some(why) = own.reason {
            reason = (format!("{why}; and {}", reason.0), None);
        }
        if needs_a_mapping(&chain) {
            let (advice, word) = unmapped_kernel(&chain.before, aftermath);
            overwritten = word;
            reason.1 = own.advice.or(Some(advice));
        } else {
            reason.1 = own.advice.or(reason.1);
        }
    }
    // A double fault that has a task of its own ends well even where there is no room, if that task can run.
    if let Some(task) = new_task::of_double_fault(&chain.before, aftermath) {
        reason.0 = format!(
            "{}; and the task of #DF cannot run: {}",
            reason.0,
            task.reason.unwrap_or_default()
        );
        reason.1 = task.advice;
    }
    if let Some(beyond) = kinds_of_address::directory_beyond_ram(&chain.before, aftermath) {
        reason = beyond;
    }
    if needs_a_mapping(&chain)
        && let Some(misread) = misread_tables::explain(&chain.before, chain.before.cr2, aftermath)
    {
        // What was read for an entry was never meant for one: who wrote it says nothing.
        overwritten = None;
        reason = (misread.reason.unwrap_or(reason.0), misread.advice.or(reason.1));
    }
    let mut finding = finding.because(reason.0);
    finding.advice = reason.1;
    let overwritten = overwritten.or_else(|| cleared_gate(&chain, aftermath));
    finding.look_back =
        overwritten.map(|word| LookBack::Way(Retrace::Written { after_entry, word })).or(asks);
    finding = finding.stored_at(emptied(&chain, aftermath));
    if !is_full && let Some(lost) = lost_gate(&chain, used, aftermath) {
        finding = lost.add_to(finding, aftermath, history);
    }
    if !last.certain
        && let Some(reason) = &mut finding.reason
    {
        reason.push_str(
            " (the way from the last stop to here was gone again with the memory of the end)",
        );
    }
    Some((place, finding))
}

/// What ring 0 runs on is not mapped: its next instruction, or its stack.
fn needs_a_mapping(chain: &Chain) -> bool {
    const NEAR: u32 = 64;
    let state = &chain.before;
    let Some((Vector::PF, Some(code))) = chain.own else { return false };
    let on_stack = state.cr2.wrapping_sub(state.stack_address()).wrapping_add(NEAR) <= 2 * NEAR;
    let is_needed = state.cr2 == state.instruction_address() || on_stack;
    code & 1 == 0 && state.cpl() == 0 && is_needed
}

/// What to do about that; and the entry of the tables at which the way to CR2 ends, if it is not empty.
fn unmapped_kernel(state: &State, aftermath: &Aftermath<'_>) -> (String, Option<ChangedWord>) {
    let walk = Walk::of(aftermath.memory, state, state.cr2);
    let last = walk.as_ref().and_then(|walk| walk.levels().last());
    let filled = last.and_then(|level| {
        let value = level.entry.filter(|entry| *entry != 0 && entry & 1 == 0)? as u32;
        let word = ChangedWord { address: level.address as u32, physical: level.address, value };
        Some((level.name, word))
    });
    match filled {
        Some((name, word)) => {
            let advice = format!(
                "the {name} at physical {:08x} is neither empty nor present: it has been written over, or was never filled in; \
                 look for who writes {:08x} there, such as by a wrong pointer or beyond the end of what lies below",
                word.physical, word.value
            );
            (advice, Some(word))
        }
        None => {
            let advice = "map the kernel's code and stacks in each page directory, and what runs while paging is switched on \
                          where it lies";
            (advice.into(), None)
        }
    }
}

/// Ring 0 runs in a code segment of 16 bits that the GDT describes. Who comes from real mode has one that it does not.
fn narrow_code(state: &State, linear: &LinearMemory<'_>) -> Option<Explained> {
    let cs = state.cs();
    let descriptor = linear.descriptor(state, cs.selector()).filter(|_| !state.virtual_8086())?;
    let is_of_16_bits = matches!(descriptor.kind(), DescriptorKind::Code { .. })
        && !descriptor.big()
        && descriptor.base() == cs.base;
    let explained = Explained::because(format!(
        "CS {:04x}, {}, is a code segment of 16 bits (D is 0), in which code of 32 bits is other instructions",
        cs.selector,
        descriptor::slot(cs.selector())
    ));
    (is_of_16_bits && !cs.big()).then(|| {
        explained.advise(
            "if the code there is of 32 bits, set D in the descriptor (bit 6 of the byte with G and the limit): cf in \
             place of 8f",
        )
    })
}

/// What the instruction's own exception was about.
fn explained(chain: &Chain, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let (vector, error_code) = chain.own?;
    let state = &chain.before;
    let linear = aftermath.linear(state);
    if let Some(narrow) = narrow_code(state, &linear) {
        return Some(narrow);
    }
    let shape = FrameShape {
        changes_stack: state.cpl() != 0,
        from_virtual_8086: false,
        error_code: error_code.is_some(),
        word_size: 4,
    };
    let frame = Frame::read(&linear, state.stack_address().wrapping_sub(shape.size()), shape)
        .with(Word::ErrorCode, error_code.unwrap_or(0))
        .with(Word::Eip, state.eip)
        .with(Word::Cs, state.cs().selector.into())
        .with(Word::Eflags, state.eflags.0)
        .with(Word::Esp, state.general.esp)
        .with(Word::Ss, state.ss().selector.into());
    let bytes = aftermath.code(state, state.instruction_address());
    let mut code = CodeBytes { linear: Some(state.instruction_address()), ..CodeBytes::default() };
    code.length = bytes.len() as u8;
    code.at[..bytes.len()].copy_from_slice(&bytes);
    let esp = state.stack_address();
    let words = [esp.wrapping_sub(4), esp, esp.wrapping_add(4)];
    let fault = crate::entry::Fault {
        sequence: 0,
        vector,
        kind: crate::entry::Kind::Fault,
        ring: state.cpl(),
        after: *state,
        frame,
        code,
        walk: Walk::of(aftermath.memory, state, state.cr2).filter(|_| vector == Vector::PF),
        named: error_code.map_or(Named::Nothing, |code| named(&linear, state, code)),
        stack: words.map(|at| linear.read_u32(at)),
        refused: None,
        behind_int: 0,
    };
    Some(fault::explain(&fault, aftermath))
}

fn with_code(vector: Vector, code: Option<u32>) -> String {
    match code {
        Some(code) if vector.has_error_code() => format!("{vector}({code:04x})"),
        _ => vector.to_string(),
    }
}

fn written(code: &[u8], state: &State) -> String {
    match valid_32(code, state.eip) {
        Some(instruction) => format!("`{}`", fault_text::text(&instruction)),
        None => format!("EIP {:08x}", state.eip),
    }
}

fn name(operation: &Operation, chain: &Chain) -> String {
    match operation {
        Operation::Interruption(Interruption {
            kind: InterruptionKind::Software { .. }, ..
        })
        | Operation::Iret(_) => chain.began.clone(),
        Operation::Interruption(Interruption {
            vector, kind: InterruptionKind::External, ..
        }) => {
            format!("interrupt {:#04x}", vector.0)
        }
        Operation::Interruption(event) => event.vector.to_string(),
        Operation::Far(_) => chain.began.clone(),
    }
}

/// The chain by the model, if it ends as the processor did.
fn chain(aftermath: &Aftermath<'_>, last: &LastEvent) -> Option<Chain> {
    let memory = Ram(aftermath.memory);
    let run = |state: &State, operation: Operation| {
        let outcome = take(state, &memory, operation, &aftermath.processor);
        (outcome.end == AttemptEnd::Shutdown).then_some(outcome)
    };
    let state = last.before;
    if let Some(vector) = last.interrupt {
        let began = format!("interrupt {:#04x}", vector.0);
        let outcome = run(&state, Interruption::external(vector.0).into())?;
        return Some(Chain { before: state, outcome, began, own: None });
    }
    let code = aftermath.code(&state, state.instruction_address());
    let began = written(&code, &state);
    if let Some(operation) = operation(&code)
        && let Some(outcome) = run(&state, operation)
    {
        return Some(Chain { before: state, outcome, began, own: None });
    }
    candidates(&state, &code, aftermath).into_iter().find_map(|(vector, error_code, cr2)| {
        let mut state = state;
        state.cr2 = cr2.unwrap_or(state.cr2);
        let outcome = run(&state, Interruption::fault(vector, error_code).into())?;
        let own = Some((vector, error_code));
        Some(Chain { before: state, outcome, began: began.clone(), own })
    })
}

/// The event that an instruction is, if it is one.
fn operation(code: &[u8]) -> Option<Operation> {
    Some(match *code {
        [0xcd, vector, ..] => Interruption::int(vector).into(),
        [0xcc, ..] => Interruption::int3().into(),
        [0xf1, ..] => Interruption::icebp().into(),
        [0xcf, ..] => Operation::Iret(Iret::BITS32),
        [0x66, 0xcf, ..] => Operation::Iret(Iret { size: OperandSize::Bits16, length: 2 }),
        _ => return None,
    })
}

/// The faults that an instruction may raise in `state`, likeliest first: vector, error code, CR2.
fn candidates(
    state: &State,
    code: &[u8],
    aftermath: &Aftermath<'_>,
) -> Vec<(Vector, Option<u32>, Option<u32>)> {
    let memory = Ram(aftermath.memory);
    let mut found = Vec::new();
    let mut reach = |linear: u32, write: bool| {
        let access = paging::AccessRequest { write, privilege: Privilege::of(state.cpl()) };
        let walk = paging::translate(
            &memory,
            &PagingControls::from(state),
            linear,
            access,
            &aftermath.processor,
        );
        if let Err(fault) = walk.result {
            found.push((Vector::PF, Some(fault.error_code), Some(fault.address)));
        }
    };
    let at = state.instruction_address();
    reach(at, false);
    let instruction = valid_32(code, state.eip);
    if let Some(descriptor) = instruction.as_ref().and_then(|instruction| {
        selector_fault::place_of_descriptor(instruction, code, state, &aftermath.linear(state))
    }) {
        reach(descriptor, false);
    }
    let selected = instruction.as_ref().and_then(|instruction| {
        selector_fault::of(instruction, code, state, &aftermath.linear(state))
    });
    for touch in operands(code, state).0 {
        reach(touch.linear, touch.write);
    }
    found.extend(selected.map(|(vector, code)| (vector, Some(code), None)));
    let mnemonic = instruction.as_ref().map(Instruction::mnemonic);
    if instruction.is_none() || mnemonic == Some(Mnemonic::Ud2) {
        found.push((Vector::UD, None, None));
    }
    if matches!(mnemonic, Some(Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam)) {
        found.push((Vector::DE, None, None));
    }
    found.push((Vector::GP, Some(0), None));
    found
}

/// The gate of the delivery that failed first, where it is empty: somebody may have cleared it.
fn cleared_gate(chain: &Chain, aftermath: &Aftermath<'_>) -> Option<ChangedWord> {
    let attempt = chain.outcome.attempts.iter().next()?;
    let Operation::Interruption(event) = attempt.operation else { return None };
    let is_none = matches!(attempt.fault?.branch, Branch::GateInvalidType | Branch::GateNotPresent);
    let gate = chain.before.idtr.base.wrapping_add(u32::from(event.vector.0) * 8 + 4);
    aftermath.word(&chain.before, gate).filter(|word| is_none && word.value == 0)
}

/// The descriptor of the first handler's code segment, where it is empty: somebody may have cleared it.
fn emptied(chain: &Chain, aftermath: &Aftermath<'_>) -> Option<ChangedWord> {
    let attempt = chain.outcome.attempts.iter().next()?;
    let Operation::Interruption(event) = attempt.operation else { return None };
    let by_segment = attempt.fault?.branch.name().starts_with("Handler");
    let state = &chain.before;
    let selector = aftermath.gate(state, event.vector.0)?.selector.0;
    let address = state.gdtr.base.wrapping_add(u32::from(selector & 0xfff8));
    let [low, high] = [0, 4].map(|at| aftermath.word(state, address.wrapping_add(at)));
    let is_empty = by_segment && selector & 4 == 0 && low?.value == 0 && high?.value == 0;
    low.filter(|_| is_empty)
}

/// The gate of the delivery that failed first is another than it was.
fn lost_gate(chain: &Chain, used: &Used, aftermath: &Aftermath<'_>) -> Option<LostGate> {
    let attempt = chain.outcome.attempts.iter().next()?;
    let Operation::Interruption(event) = attempt.operation else { return None };
    let branch = attempt.fault?.branch;
    let by_gate = matches!(branch, Branch::GateInvalidType | Branch::GateNotPresent)
        || branch.name().starts_with("Handler");
    LostGate::all(used, aftermath, &chain.before)
        .find(|lost| by_gate && lost.vector == event.vector)
}

/// Why the first delivery that failed did, and what to do.
fn cause(chain: &Chain, aftermath: &Aftermath<'_>, history: &History) -> (String, Option<String>) {
    let attempts: Vec<_> = chain.outcome.attempts.iter().collect();
    let Some((operation, fault)) =
        attempts.first().and_then(|attempt| Some((attempt.operation, attempt.fault?)))
    else {
        return ("the model does not say why".into(), None);
    };
    let vector = match operation {
        Operation::Interruption(event) => event.vector,
        _ => fault.vector,
    };
    let step = chain.outcome.trace.steps().iter().find(|step| step.branch == fault.branch);
    let sentence = step.map_or_else(|| fault.branch.sentence().to_owned(), ToString::to_string);
    let state = &chain.before;
    let linear = aftermath.linear(state);
    let gate = match named(&linear, state, u32::from(vector.0) * 8 + 2) {
        Named::Gate { entry, .. } => entry,
        _ => None,
    };
    match fault.branch {
        Branch::GateOutsideIdt
            if let Some(beyond) = beyond_limit::explain(vector.0, state, aftermath) =>
        {
            let reason = beyond.reason.unwrap_or_default();
            (format!("vector {:#04x} has no gate: {reason}", vector.0), beyond.advice)
        }
        Branch::GateOutsideIdt | Branch::GateInvalidType | Branch::GateNotPresent => (
            format!(
                "vector {:#04x} has no gate: IDT entry {:#04x}: {} (IDT at {:08x}, limit {:04x})",
                vector.0,
                vector.0,
                descriptor::gate(gate),
                state.idtr.base,
                state.idtr.limit
            ),
            Some(match gate.and_then(descriptor::type_in_front) {
                Some(ty) => format!(
                    "exchange the two fields in the struct of a gate: offset 15:0, selector, a byte of 0, the type byte \
                     ({ty:02x}), offset 31:16"
                ),
                None => {
                    format!("set a gate for vector {:#04x}, and those of the exceptions", vector.0)
                }
            }),
        ),
        branch if branch.name().starts_with("Handler") => {
            handler(gate, vector, sentence, aftermath, state)
        }
        branch if branch.name().starts_with("InnerStack") && fault.vector != Vector::PF => {
            inner_stack(state, aftermath, history, sentence)
        }
        _ if fault.vector == Vector::PF => page(&fault, state, aftermath, history),
        _ => (sentence, None),
    }
}

/// The handler's code segment cannot be used.
fn handler(
    gate: Option<u64>,
    vector: Vector,
    sentence: String,
    aftermath: &Aftermath<'_>,
    state: &State,
) -> (String, Option<String>) {
    let Some(gate) = gate.and_then(|raw| ia32::Gate::decode(raw).ok()) else {
        return (sentence, None);
    };
    let code = u32::from(gate.selector.0) & 0xfffc;
    let words = match named(&aftermath.linear(state), state, code) {
        Named::Descriptor { selector, entry } => {
            let now = if entry == Some(0) { "now empty" } else { "" };
            match now {
                "" => descriptor::selector(selector, entry),
                now => format!("{} is {now}", descriptor::slot(selector)),
            }
        }
        _ => "that is the null selector".into(),
    };
    (
        format!(
            "the gate of vector {:#04x} names CS {:04x}, and {words} (GDT at {:08x}, limit {:04x})",
            vector.0, gate.selector.0, state.gdtr.base, state.gdtr.limit
        ),
        Some(if state.cs().selector & 0xfffc == gate.selector.0 & 0xfffc {
            "load a GDT of the kernel's own (LGDT) before interrupts are opened: CS still works by its \
             hidden part, the boot loader's table is gone"
                .into()
        } else {
            format!(
                "name the kernel's code segment in the gates: CS is {:04x} now",
                state.cs().selector
            )
        }),
    )
}

/// SS0:ESP0 cannot be had.
fn inner_stack(
    state: &State,
    aftermath: &Aftermath<'_>,
    history: &History,
    sentence: String,
) -> (String, Option<String>) {
    let tr = state.tr;
    if tr.selector().is_null() {
        return match unloaded(&aftermath.linear(state), state) {
            Some(index) => (
                format!(
                    "TR is 0: there is no TSS to take SS0:ESP0 from; GDT entry {index} holds one that is \
                     not loaded"
                ),
                Some(format!("load it before ring 3 is entered: `mov ax, {:#04x}; ltr ax`", index * 8)),
            ),
            None => (
                "TR is 0: there is no TSS to take SS0:ESP0 from, and no descriptor of one in the GDT".into(),
                Some("if ring 3 is meant, make a TSS with SS0 and ESP0, a descriptor of it, and load TR".into()),
            ),
        };
    }
    if TssWidth::from_type(tr.ty()) == Some(TssWidth::Bits16) {
        let reason = format!("{sentence}; {}", way_back::narrow_tss(tr.ty()));
        return (reason, Some(way_back::NARROW_ADVICE.into()));
    }
    let linear = aftermath.linear(state);
    let words = [4u32, 8].map(|at| linear.read_u32(tr.base.wrapping_add(at)));
    let text = format!(
        "{sentence}; TR {:04x}, TSS at {:08x}, limit {:x}, SS0:ESP0 {:04x}:{:08x}",
        tr.selector,
        tr.base,
        tr.limit,
        words[1].unwrap_or(0) & 0xffff,
        words[0].unwrap_or(0)
    );
    let low = history.last_return().and_then(|last| Low::read(&linear, &tr, last.ss));
    if let Some(low) = low {
        return (format!("{text}; {}", low.reason()), Some(low.advice().into()));
    }
    let advice = if tr.limit < 0x67 {
        Some("the limit of a TSS descriptor is the size of the TSS less 1: 0x67".into())
    } else {
        Some("store SS0 (the kernel's data selector) and ESP0 in the TSS that TR names".into())
    };
    (text, advice)
}

/// What is pushed from 0 on lies no lower.
const NEAR_THE_TOP: u32 = 0xffff_ffc0;

/// A delivery met a page fault.
fn page(
    fault: &RaisedFault,
    state: &State,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> (String, Option<String>) {
    let address = fault.address.unwrap_or(0);
    let reach = Reach::of_error_code(fault.error_code);
    let walk = Walk::of(aftermath.memory, state, address);
    let words =
        walk.map_or_else(|| format!("{address:08x} is not there"), |walk| walk.sentence(reach));
    let esp0 = aftermath.linear(state).read_u32(state.tr.base.wrapping_add(4));
    if esp0 == Some(0) && address >= NEAR_THE_TOP {
        return (
            format!(
                "TSS.ESP0 is 0, so the frame goes to the top of the address space, to {address:08x}: {words}"
            ),
            Some(
                "store the address after the last byte of a kernel stack in TSS.ESP0 before ring 3 is entered, and at each \
                 switch"
                    .into(),
            ),
        );
    }
    let within = |base: u32, limit: u32| address.wrapping_sub(base) <= limit;
    let what = if within(state.idtr.base, u32::from(state.idtr.limit)) {
        "the IDT cannot be read".to_owned()
    } else if within(state.gdtr.base, u32::from(state.gdtr.limit)) {
        "the GDT cannot be read".to_owned()
    } else if within(state.tr.base, state.tr.limit.min(0x67)) {
        "the TSS cannot be read".to_owned()
    } else {
        match history.owner(address.wrapping_add(64)) {
            Some(task) => format!(
                "no frame can be pushed at {address:08x}, on task {}'s kernel stack",
                task.0
            ),
            None => format!("no frame can be pushed at {address:08x}"),
        }
    };
    (format!("{what}: {words}"), None)
}
