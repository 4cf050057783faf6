//! EIP leads nowhere: where there is no RAM, or where nothing is mapped and no fault can be delivered.

use super::explained::Explained;
use super::used::Used;
use super::{Aftermath, Placed, fault, fault_text, kinds_of_address, misread_tables};
use crate::check::{ChangedWord, Finding, History, LookBack, Objects, Retrace, Subject};
use crate::devices::Place;
use crate::entry::{Fault, Kind, Reach, Walk};
use crate::instruction::valid_32;
use crate::run::Ending;
use ia32::{GateKind, State, Vector};
use iced_x86::FlowControl;

pub(super) const RULE: &str = "lost";

/// Execution goes on where there is code.
pub(super) fn leads_nowhere(
    used: &Used,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let objects = history.objects();
    let state = &aftermath.end.state;
    // In real mode there is no telling: a handler of interrupt 0x21, say, is whoever put it there.
    if !state.protected() || state.virtual_8086() {
        return None;
    }
    let at = state.instruction_address();
    let place = format!("the end, in ring {}, at {}", state.cpl(), aftermath.place(at));
    if by_gate(used, aftermath, history)
        && let Some((vector, handler, sequence)) =
            used.without_return().find(|(_, handler, _)| is_blank(aftermath, *handler))
    {
        let place = format!("#{sequence} at {}", aftermath.place(handler));
        return Some((place, blank_handler(aftermath, vector, handler)));
    }
    match aftermath.end.ending {
        Ending::TimedOut | Ending::Stopped | Ending::InternalError { .. }
            if is_blank(aftermath, at) =>
        {
            Some((place, led_by_gate(aftermath, state).unwrap_or_else(|| blank(aftermath, state))))
        }
        Ending::NoProgress => Some((place, unmapped(aftermath, state))),
        // The last bytes before it are no whole instruction.
        Ending::InternalError { suberror: 1, .. } if is_blank_to_the_end(aftermath, at) => {
            Some((place, blank(aftermath, state)))
        }
        // KVM has to emulate what it cannot fetch from RAM, and gives up.
        Ending::InternalError { suberror: 1, .. } if !aftermath.is_ram(state, at) => {
            let finding = outside_ram(aftermath, state, objects);
            Some((
                place,
                match misread_tables::explain(state, at, aftermath) {
                    Some(misread) => misread.add_to(finding).about_instruction(at),
                    None => finding,
                },
            ))
        }
        Ending::InternalError { suberror: 1, .. } | Ending::TripleFault => {
            let lowest = kernel_above(objects, state.cpl(), at)?;
            let led = led_by_gate(aftermath, state);
            Some((place, led.unwrap_or_else(|| below_the_kernel(aftermath, state, lowest))))
        }
        // A kernel may have put code of its own there.
        Ending::TimedOut | Ending::Stopped if state.protected() && meets_nothing(aftermath, at) => {
            let lowest = kernel_above(objects, state.cpl(), at)?;
            let led = led_by_gate(aftermath, state);
            Some((place, led.unwrap_or_else(|| below_the_kernel(aftermath, state, lowest))))
        }
        _ => None,
    }
}

/// A gate leads to where no code is, a little below: the entry itself may not have been seen, where a gate was written and used
/// in one go.
fn led_by_gate(aftermath: &Aftermath<'_>, state: &State) -> Option<Finding> {
    let at = state.instruction_address();
    (0..=255).find_map(|vector| {
        let gate = aftermath.gate(state, vector).filter(|gate| gate.present)?;
        let near = at.wrapping_sub(gate.offset) < NEAR && gate.kind != GateKind::Task;
        (near && is_blank(aftermath, gate.offset))
            .then(|| blank_handler(aftermath, Vector(vector), gate.offset))
    })
}

/// A gate that was used leads to where there is no code: what came of it is no fault of its own.
pub(super) fn by_gate(used: &Used, aftermath: &Aftermath<'_>, history: &History) -> bool {
    (!aftermath.end.ending.is_good() || history.was_astray())
        && used.without_return().any(|(_, handler, _)| is_blank(aftermath, handler))
}

/// Where the kernel's file begins, if ring 0 runs below it, in what is the BIOS's and the boot loader's.
pub(super) fn kernel_above(objects: &Objects, ring: u8, at: u32) -> Option<u32> {
    let strays = ring == 0 && at < ONE_MIB && objects.function_at(at).is_none();
    objects.lowest().filter(|lowest| strays && at < *lowest)
}

/// What runs there is no code: most of it is zero, and from below 1 MiB it has accessed several places that nothing is at.
fn meets_nothing(aftermath: &Aftermath<'_>, at: u32) -> bool {
    const AROUND: u32 = 128;
    let mut bytes = [0; 2 * AROUND as usize];
    let linear = aftermath.linear(&aftermath.end.state);
    let is_read = linear.read(at.saturating_sub(AROUND), &mut bytes).is_some();
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let places = aftermath.devices.unanswered().places();
    let accesses =
        places.filter(|(place, tally)| matches!(place, Place::Memory(_)) && tally.first < ONE_MIB);
    is_read && 2 * zeros > bytes.len() && accesses.take(2).count() == 2
}

/// What has led ring 0 to where no code is, if nothing tells.
pub(super) const OVERWRITTEN: &str =
    "a pointer to a function, or a return address, was overwritten or never set";

/// Ring 0 runs in what the BIOS and the boot loader have left below the kernel.
fn below_the_kernel(aftermath: &Aftermath<'_>, state: &State, lowest: u32) -> Finding {
    let at = state.instruction_address();
    Finding::new(
        RULE,
        Subject::Kernel,
        format!("ring 0 runs at {at:08x}, where there is no code of the kernel's"),
        format!("an address in the kernel's file, which begins at {lowest:08x}"),
        format!("EIP {at:08x}"),
    )
    .led_by(caller(aftermath, state))
}

fn unmapped(aftermath: &Aftermath<'_>, state: &State) -> Finding {
    let at = state.instruction_address();
    let reach = Reach { user: state.cpl() == 3, write: false };
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        "the guest makes no progress: its next instruction cannot be fetched, nor can a page fault be \
         delivered",
        format!("page {:08x} mapped, as the code that runs", at & !0xfff),
        format!("EIP {at:08x}, CR2 {:08x}, CR3 {:08x}", state.cr2, state.cr3),
    )
    .about_instruction(at);
    let walk = Walk::of(aftermath.memory, state, at);
    let words = walk.map_or_else(String::new, |walk| walk.sentence(reach));
    let stored = walk.and_then(|walk| last_entry(&walk));
    let finding = Finding { look_back: stored.or(finding.look_back), ..finding };
    let behind = behind_paging(aftermath, state);
    let who = if behind { "the instruction behind MOV CR0" } else { "the next instruction" };
    if let Some((reason, advice)) = kinds_of_address::directory_beyond_ram(state, aftermath) {
        let finding = finding.because(format!("{who} is not mapped: {reason}"));
        return Explained { advice, ..Explained::default() }
            .at(loader_of_cr3(aftermath, state))
            .add_to(finding);
    }
    if let Some(misread) = misread_tables::explain(state, at, aftermath) {
        let reason = misread.reason.as_deref().unwrap_or_default();
        let finding = finding.because(format!("{who} is not mapped: {reason}"));
        return Explained { reason: None, ..misread }.add_to(finding);
    }
    finding.because(format!("{who} is not mapped; {words}")).advise(
        "look at how the entry is made: bits 31:12 of it are the physical address of the table, not \
         shifted, and the low bits are flags",
    )
}

/// Accessed and dirty, which the processor sets.
const MARKS: u32 = 0x60;

/// Who stored the last entry of the paging structures on that way, if there is something in it.
fn last_entry(walk: &Walk) -> Option<LookBack> {
    let level = walk.levels().filter(|level| level.entry.is_some()).last()?;
    let value = level.entry? as u32;
    let word = ChangedWord { address: level.address as u32, physical: level.address, value };
    (value & !MARKS != 0).then_some(LookBack::StoredPart { word, bits: !MARKS })
}

/// MOV CR0 stands right before: paging has just been turned on.
fn behind_paging(aftermath: &Aftermath<'_>, state: &State) -> bool {
    let mut off = *state;
    off.cr0 &= !(1 << 31);
    let code = aftermath.code(&off, state.instruction_address().wrapping_sub(3));
    matches!(code[..], [0x0f, 0x22, modrm, ..] if modrm >> 3 & 7 == 0)
}

/// MOV CR3 stands right before.
fn loader_of_cr3(aftermath: &Aftermath<'_>, state: &State) -> Option<u32> {
    let mut off = *state;
    off.cr0 &= !(1 << 31);
    let at = state.instruction_address().wrapping_sub(3);
    let loads = |code: &[u8]| matches!(*code, [0x0f, 0x22, modrm, ..] if modrm >> 3 & 7 == 3);
    [&off, state].into_iter().any(|state| loads(&aftermath.code(state, at))).then_some(at)
}

fn outside_ram(aftermath: &Aftermath<'_>, state: &State, objects: &Objects) -> Finding {
    let at = state.instruction_address();
    let leads: Vec<u8> = (0..=255)
        .filter(|vector| {
            aftermath
                .gate(state, *vector)
                .is_some_and(|gate| gate.present && gate.offset == state.eip)
        })
        .collect();
    let taken = aftermath.end.last_event.as_ref().and_then(|last| last.interrupt);
    let vector = match taken {
        Some(vector) if leads.contains(&vector.0) => Some(vector.0),
        _ => leads.first().copied(),
    };
    let Some(vector) = vector else {
        return Finding::new(
            RULE,
            Subject::Kernel,
            format!("ring {} runs at {at:08x}, where there is no RAM", state.cpl()),
            format!(
                "an address below {:08x}, or one that is mapped there",
                aftermath.memory.size()
            ),
            format!("EIP {at:08x}"),
        )
        .led_by(caller(aftermath, state));
    };
    let swapped = state.eip.rotate_left(16);
    let gate = state.idtr.base.wrapping_add(u32::from(vector) * 8);
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("gate {vector:#04x} leads to {at:08x}, outside RAM"),
        "the address of a handler",
        format!(
            "offset {:04x} in bits 63:48 of the gate, {:04x} in bits 15:0",
            state.eip >> 16,
            state.eip & 0xffff
        ),
    )
    .stored_at(aftermath.word(state, gate));
    if let Some(code) = objects.function_that_begins_with(state.eip) {
        return finding.because(begins_with(code)).advise(ITS_ADDRESS);
    }
    match (aftermath.names)(swapped) {
        Some(name) if aftermath.is_ram(state, swapped) => finding
            .because(format!("with the halves exchanged it is {swapped:08x} ({name})"))
            .advise(
                "put the handler's bits 15:0 into the gate's first word, and 31:16 into its last",
            ),
        _ if aftermath.is_ram(state, swapped)
            && swapped >= 0x1000
            && !is_blank(aftermath, swapped) =>
        {
            finding
                .because(format!("with the halves exchanged it is {swapped:08x}, which is in RAM"))
        }
        _ => finding,
    }
}

/// Where the gate got its offset: `extern uint32_t handler; gate(32, handler)` reads the code itself.
fn begins_with((at, name): (u32, &str)) -> String {
    format!(
        "that is no address, but the first four bytes of the code of `{name}`, at {at:08x}: they were read where the address \
         was meant"
    )
}

const ITS_ADDRESS: &str = "declare the handler as a function (`extern void handler(void)`) or an array (`extern char \
                           handler[]`), or take its address with `&`, and put that into the gate";

/// What lies below is the BIOS's and the boot loader's.
const ONE_MIB: u32 = 0x10_0000;
/// How far from a gate's target execution may have come where there is no code.
const NEAR: u32 = 0x1_0000;
/// So many bytes of zero are no code: `add [eax], al`, again and again.
const BLANK: usize = 15;

/// Nothing has ever been written there.
fn is_blank(aftermath: &Aftermath<'_>, address: u32) -> bool {
    let code = aftermath.code(&aftermath.end.state, address);
    code.len() == BLANK && code.iter().all(|byte| *byte == 0)
}

/// The same, up to where RAM ends.
fn is_blank_to_the_end(aftermath: &Aftermath<'_>, address: u32) -> bool {
    let code = aftermath.code(&aftermath.end.state, address);
    (1..BLANK).contains(&code.len()) && code.iter().all(|byte| *byte == 0)
}

/// A gate leads to where no code is.
fn blank_handler(aftermath: &Aftermath<'_>, vector: Vector, handler: u32) -> Finding {
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("gate {:#04x} leads to {handler:08x}, where there is no code", vector.0),
        "the address of a handler",
        format!("{BLANK} bytes of 0 at {handler:08x}, and no IRET came after it"),
    );
    let state = &aftermath.end.state;
    let gate = state.idtr.base.wrapping_add(u32::from(vector.0) * 8);
    let finding = finding.stored_at(aftermath.word(state, gate));
    // The upper halves that the other gates have.
    let whole = (0..=255)
        .filter_map(|vector| aftermath.gate(state, vector))
        .filter(|gate| gate.present && gate.offset >> 16 != 0)
        .map(|gate| gate.offset & 0xffff_0000 | handler & 0xffff)
        .find(|at| {
            handler >> 16 == 0 && (aftermath.names)(*at).is_some() && !is_blank(aftermath, *at)
        });
    let swapped = handler.rotate_left(16);
    if let Some(at) = whole {
        finding
            .because(format!(
                "with the upper half of the other gates it is {}",
                aftermath.place(at)
            ))
            .advise("store bits 31:16 of the handler's address in the gate's last word")
    } else if aftermath.is_ram(state, swapped) && !is_blank(aftermath, swapped) && swapped >= 0x1000
    {
        finding
            .because(format!("with the halves exchanged it is {}", aftermath.place(swapped)))
            .advise(
                "put the handler's bits 15:0 into the gate's first word, and 31:16 into its last",
            )
    } else {
        finding.because("the gate was made from something else than the handler's address")
    }
}

/// Execution has left the code, and may have come to the end of RAM.
fn blank(aftermath: &Aftermath<'_>, state: &State) -> Finding {
    let at = state.instruction_address();
    let zeros = match is_blank(aftermath, at) {
        true => format!("{BLANK} bytes of 0 at EIP"),
        false => format!("bytes of 0 up to the end of RAM at {:08x}", aftermath.memory.size()),
    };
    Finding::new(
        RULE,
        Subject::Kernel,
        format!("ring {} runs at {at:08x}, where there is no code", state.cpl()),
        "instructions",
        format!("{zeros}: `add [eax], al`, again and again"),
    )
    .led_by(caller(aftermath, state))
}

impl Finding {
    /// Adds the call that led away, as far as it is known.
    fn led_by(self, caller: Option<(u32, String)>) -> Self {
        match caller {
            Some((at, sentence)) => self.because(sentence).about_instruction(at),
            None => self.because(OVERWRITTEN),
        }
    }
}

/// The call that led away: its return address is still the word at ESP.
fn caller(aftermath: &Aftermath<'_>, state: &State) -> Option<(u32, String)> {
    let linear = aftermath.linear(state);
    // What was executed since may have pushed or popped some words.
    let words = [0, -1, 1, -2, 2, -3, 3, -4, 4i32];
    let call = words.into_iter().find_map(|index| {
        let back = linear.read_u32(state.stack_address().wrapping_add_signed(index * 4))?;
        (2..=7u32).find_map(|length| {
            let at = back.wrapping_sub(length);
            let instruction = valid_32(&aftermath.code(state, at), at)?;
            // What a direct call leads to stands in it: it did not lead away.
            let calls = instruction.flow_control() == FlowControl::IndirectCall;
            (calls && instruction.len() as u32 == length).then_some((at, instruction))
        })
    })?;
    let (at, instruction) = call;
    let sentence = format!(
        "`{}` at {} led there: the pointer was overwritten or never set",
        fault_text::text(&instruction),
        aftermath.place(at)
    );
    Some((at, sentence))
}

/// Ring 0 was to go on where no page is.
pub(super) fn is_stray(fault: &Fault) -> bool {
    fault.vector == Vector::PF
        && fault.kind == Kind::Fault
        && fault.ring == 0
        && fault.code.linear == Some(fault.after.cr2)
}

/// Ring 0 has gone where no page is, and the kernel has given up what ran there. A page of code that is mapped by the
/// fault is returned to.
pub(super) fn strayed(fault: &Fault, aftermath: &Aftermath<'_>) -> Placed {
    let eip = fault.eip();
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "ring 0 went on at {eip:08x}, where no page is mapped, and nothing returned from that page fault"
        ),
        "code of the kernel",
        format!("EIP {eip:08x}, CR2 {:08x}", fault.after.cr2),
    );
    let finding = fault::explain(fault, aftermath).add_to(finding);
    let advice = "look at what was returned to or called: a stack that was freed or overwritten while it was in use, or a \
                  pointer to a function";
    let retrace = Retrace::Departure { after_entry: fault.sequence.saturating_sub(1) };
    let finding = finding.advise(advice).retraced(retrace);
    // Who ends well may have tried it on purpose.
    let finding = if aftermath.end.ending.is_good() { finding.as_note() } else { finding };
    (fault_text::place(fault, aftermath), finding)
}
