//! A kernel that stops itself after an exception.
//!
//! Panic functions end in `cli; hlt`, and so do many healthy kernels. What tells them apart is
//! whether the last thing that entered the kernel was an exception that nothing returned from.

use super::lost_gate::LostGate;
use super::saved_selector::PoppedSelector;
use super::{
    Aftermath, Diagnosis, Placed, fault, fault_text, large_frame, local_table, lost, sysexit,
};
use crate::check::{Finding, History, Retrace, Subject};
use crate::entry::{Fault, Frame, Kind, Named};
use crate::instruction::flow::{Calls, Flow};
use crate::instruction::valid_32;
use crate::run::Ending;
use ia32::{Eflags, Vector, Word};
use iced_x86::FlowControl;
use std::collections::BTreeSet;

pub(super) const RULE: &str = "ending";

/// A run does not end in the handler of an exception.
///
/// It has not ended well where the last entry was an exception, nothing returned since, and the guest then
/// halts or loops in ring 0 with interrupts closed, reports a failure, or resets. A kernel that has ended a
/// task of ring 3 by such an exception before, and gone on, may have ended its last one. One that powers off
/// with success has provoked the exception. One that has left the handler by another way, say `longjmp`, has
/// left the frame: it is no more below it on the same stack, or has overwritten it.
pub(super) fn stopped_after_an_exception(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let Some(last) = diagnosis.last_fault().filter(|_| !diagnosis.returned) else {
        return goes_round_with_interrupts_open(diagnosis, aftermath, history);
    };
    let state = &aftermath.end.state;
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    let got = match aftermath.end.ending {
        Ending::Halted if closed => "a halt with interrupts closed",
        Ending::TimedOut if closed && diagnosis.is_settled() => "a loop with interrupts closed",
        Ending::Failed(_) => "a failure reported on the exit port",
        Ending::Reset => "a reset",
        _ => return goes_round_with_interrupts_open(diagnosis, aftermath, history),
    };
    if last.ring == 3 && diagnosis.ends_tasks && matches!(aftermath.end.ending, Ending::Halted) {
        return None;
    }
    if !is_in_handler(last, aftermath) {
        return None;
    }
    let what = match last.kind {
        Kind::External => format!("interrupt {:#04x}", last.vector.0),
        Kind::Software => format!("`int {:#04x}`", last.vector.0),
        _ => fault_text::name(last),
    };
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        match last.kind {
            Kind::External | Kind::Software => format!(
                "the kernel stopped itself in the handler of {what}, which nothing returned from"
            ),
            _ => format!(
                "the kernel stopped itself after {what} at {}, which nothing returned from",
                fault_text::instruction(last)
            ),
        },
        "a handler that returns, or a task that goes on",
        format!("{got}, at {}", aftermath.place(state.instruction_address())),
    )
    .about_some(last.code_address());
    let finding = explained(diagnosis, last, aftermath, history, finding);
    // Who has given the program that vector may have agreed with it on what it is for.
    let finding = if last.kind == Kind::Software { finding.as_note() } else { finding };
    Some((fault_text::place(last, aftermath), finding))
}

/// With what the exception was about.
fn explained(
    diagnosis: &Diagnosis,
    fault: &Fault,
    aftermath: &Aftermath<'_>,
    history: &History,
    finding: Finding,
) -> Finding {
    if let Some(lost) = LostGate::met_by(fault, &diagnosis.used, aftermath) {
        return lost.add_to(finding, aftermath, history);
    }
    // What stands there says nothing: the kernel should not have come there.
    if let Some(lowest) = lost::kernel_above(history.objects(), fault.ring, fault.eip()) {
        let departure = Retrace::Departure { after_entry: fault.sequence.saturating_sub(1) };
        let reason = format!(
            "there is no code of the kernel's at {:08x}, since its file begins at {lowest:08x}: {}",
            fault.eip(),
            lost::OVERWRITTEN
        );
        return finding.because(reason).retraced(departure);
    }
    if let Some(exchanged) = sysexit::explain(fault, aftermath, history) {
        return exchanged.add_to(finding);
    }
    if fault.ring == 3
        && let Some(astray) = diagnosis.programs.astray(fault.sequence)
    {
        return astray.explain().add_to(finding).retraced(astray.way());
    }
    if let Some(returned) = diagnosis.programs.main_returned(fault) {
        return returned.add_to(finding);
    }
    let popped = PoppedSelector::of(fault, &aftermath.linear(&fault.after));
    let saved = popped.as_ref().and_then(|popped| popped.explain(fault, aftermath, history));
    let is_table = !matches!(fault.named, Named::Nothing);
    let finding = match (saved, fault.vector) {
        (Some(saved), _) => saved.add_to(finding),
        (None, Vector::PF) => {
            let finding = fault::explain(fault, aftermath).add_to(finding);
            let more = large_frame::explain(fault, aftermath, history)
                .or_else(|| diagnosis.programs.begun_at_the_start(fault, aftermath));
            match (more, diagnosis.directories.explain(fault, aftermath)) {
                (Some(more), _) => more.add_to(finding),
                (None, Some(other)) => other.after(finding),
                (None, None) => finding,
            }
        }
        (None, _) if is_table => {
            let finding = fault::explain(fault, aftermath).add_to(finding);
            local_table::add_to(finding, &fault.interrupted(), aftermath)
        }
        (None, _) => fault::explain(fault, aftermath).add_to(finding),
    };
    match popped {
        Some(popped) => popped.ask(finding, fault),
        None => asks_for_pointer(finding, fault),
    }
}

/// Where the wrong pointer came from that ring 0 has used.
fn asks_for_pointer(finding: Finding, fault: &Fault) -> Finding {
    let is_about_memory = matches!(fault.vector, Vector::PF | Vector::GP | Vector::SS);
    let question = Retrace::of_pointer(fault.code.instruction(), fault.sequence);
    match question.filter(|_| is_about_memory && fault.ring == 0 && finding.look_back.is_none()) {
        Some(question) => finding.retraced(question),
        None => finding,
    }
}

/// The same with interrupts open: a panic that loops in a trap gate's handler, or after STI. The timer goes on,
/// and each of its handlers returns to that loop. For a fault of ring 3 it is a note: a kernel that has ended its
/// last task may idle there.
fn goes_round_with_interrupts_open(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let state = &aftermath.end.state;
    let waits = match aftermath.end.ending {
        Ending::TimedOut | Ending::Stopped => true,
        Ending::Halted => state.eflags.contains(Eflags::IF),
        _ => false,
    };
    let fault = diagnosis.unreturned().filter(|_| waits && state.cpl() == 0)?;
    // The end may come while a handler runs that has interrupted the loop.
    let interrupted = history.live().rev().filter(|live| {
        live.sequence > fault.sequence && live.kind == Kind::External && !live.from_outer_ring()
    });
    let interrupted = interrupted.filter_map(|live| live.frame.get(Word::Eip));
    let base = state.cs().base;
    let places = interrupted.map(|eip| base.wrapping_add(eip));
    let at = std::iter::once(state.instruction_address())
        .chain(places)
        .find(|at| short_loop(aftermath, *at))?;
    if fault.kind == Kind::External || !is_in_handler(fault, aftermath) {
        return None;
    }
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "the kernel goes round in the handler of {} at {}, which nothing returned from",
            fault_text::name(fault),
            fault_text::instruction(fault)
        ),
        "a handler that returns, or a task that goes on",
        format!("a loop with interrupts open, at {}", aftermath.place(at)),
    )
    .about_some(fault.code_address());
    let finding = explained(diagnosis, fault, aftermath, history, finding);
    let finding = if fault.ring == 0 { finding } else { finding.as_note() };
    Some((fault_text::place(fault, aftermath), finding))
}

/// An interrupt that nobody expected: the kernel halts for good in its handler, at the first of them.
///
/// A note. Many kernels halt where they have seen what they waited for; so it has to be none of those that a kernel is
/// begun with, the timer's and the keyboard's, and nobody has chosen its line: all are open.
pub(super) fn stopped_in_an_interrupt(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let (sequence, kind, vector) = diagnosis.last_entry?;
    let (state, pic) = (&aftermath.end.state, aftermath.devices.pic());
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    let halted = aftermath.end.ending == Ending::Halted && closed && !diagnosis.returned;
    if !halted || kind != Kind::External || vector.0 < 32 || pic.masks() != 0 {
        return None;
    }
    let irq = (2..16).find(|irq| pic.vector(*irq) == vector.0)?;
    let (first, handler) = diagnosis.used.first(vector)?;
    let live = history.live().find(|live| live.sequence == sequence)?;
    let is_below = live.frame.address.wrapping_sub(state.stack_address()) <= DEEP;
    if first != sequence || !is_below {
        return None;
    }
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("the kernel halts for good in the handler of IRQ {irq}, at the first that came"),
        "a handler that returns",
        format!("a halt with interrupts closed, at {}", aftermath.place(state.instruction_address())),
    )
    .because("all lines of both 8259s are open")
    .advise("open the lines that have a handler of their own, and mask the others: their bits in ports 0x21 and 0xa1");
    Some((format!("#{sequence} at {}", aftermath.place(handler)), finding.as_note()))
}

/// Services of a BIOS by their vectors.
const SERVICES: [(u8, &str); 6] = [
    (0x10, "the screen"),
    (0x13, "disks"),
    (0x14, "serial ports"),
    (0x15, "the size of memory, among others"),
    (0x16, "the keyboard"),
    (0x1a, "the clock"),
];

/// Ring 0 has executed INT n by a vector that a BIOS serves in real mode, and stopped itself in the handler that stands
/// there in its own IDT. A note: it may have tried its handler.
pub(super) fn stopped_in_a_bios_call(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let (sequence, kind, vector) = diagnosis.last_entry.filter(|_| !diagnosis.returned)?;
    let (_, service) = SERVICES.iter().find(|(number, _)| *number == vector.0)?;
    let state = &aftermath.end.state;
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    let stopped = match aftermath.end.ending {
        Ending::Halted => closed,
        Ending::TimedOut => closed && diagnosis.is_settled(),
        _ => false,
    };
    let live = history.live().find(|live| live.sequence == sequence)?;
    if !stopped || kind != Kind::Software || live.from_outer_ring() {
        return None;
    }
    let at = live.frame.get(Word::Eip)?.wrapping_sub(2);
    let number = vector.0;
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("the kernel stopped itself in the handler of its own `int {number:#04x}`, which nothing returned from"),
        "a handler that returns",
        format!("a halt with interrupts closed, at {}", aftermath.place(state.instruction_address())),
    )
    .because(format!(
        "in real mode `int {number:#04x}` is the BIOS's service for {service}; in protected mode it leads by the IDT, where \
         vector {number:#04x} is an exception's, or reserved for one"
    ))
    .advise(
        "drive the device itself (ports, or memory such as 000b8000 for text), or ask the BIOS before protected mode is \
         entered, or in virtual-8086 mode",
    )
    .about_instruction(state.cs().base.wrapping_add(at));
    Some((
        format!("#{sequence} at {}", aftermath.place(state.cs().base.wrapping_add(at))),
        finding.as_note(),
    ))
}

/// A jump back over nothing but HLT, STI, CLI, NOP and PAUSE encloses `at`.
fn short_loop(aftermath: &Aftermath<'_>, at: u32) -> bool {
    (0..6u32).any(|before| {
        let start = at.wrapping_sub(before);
        let code = aftermath.code(&aftermath.end.state, start);
        let body =
            code.iter().take_while(|byte| matches!(byte, 0xf4 | 0xfb | 0xfa | 0x90 | 0xf3)).count()
                as u32;
        let target = match code.get(body as usize..) {
            Some([0xeb, offset, ..]) => {
                start.wrapping_add(body + 2).wrapping_add_signed((*offset as i8).into())
            }
            _ => return false,
        };
        (start..=start.wrapping_add(body + 2)).contains(&at) && target == start
    })
}

/// How far below its frame a handler may use the stack.
const DEEP: u32 = 64 * 1024;
/// How far above a frame the stack is still the same one.
const ABOVE: u32 = 256;
/// So many instructions of a handler's own are looked at, and so many words of the stack.
const OWN: usize = 64;

/// The handler has not been left: the stack pointer is below the frame, or on a stack that the handler has changed to
/// and called from; and the frame is untouched.
fn is_in_handler(fault: &Fault, aftermath: &Aftermath<'_>) -> bool {
    let state = &aftermath.end.state;
    let code = if fault.frame.shape.error_code { fault.frame.shape.word_size } else { 0 };
    // An error code is dropped by those as well who do not go on: `add esp, 8`, for a vector of the stub's own and it.
    let depth = fault.frame.address.wrapping_add(code).wrapping_sub(state.stack_address());
    // Right above the frame it has been popped.
    let is_left = depth.wrapping_neg() <= ABOVE;
    (depth <= DEEP || !is_left && was_called_from(fault.after.instruction_address(), aftermath))
        && Frame::read(&aftermath.linear(state), fault.frame.address, fault.frame.shape)
            .pops_as(&fault.frame)
}

/// The end is in the code of the handler itself, or on the stack there is a place where it goes on after a call.
fn was_called_from(handler: u32, aftermath: &Aftermath<'_>) -> bool {
    let state = &aftermath.end.state;
    let (mut flow, mut after_calls) = (Flow::from(handler), BTreeSet::new());
    while let Some(at) = flow.next().filter(|_| flow.seen().len() <= OWN) {
        let Some(instruction) = valid_32(&aftermath.code(state, at), at) else { continue };
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            after_calls.insert(instruction.next_ip32());
        }
        flow.after(&instruction, Calls::Over);
    }
    let base = state.cs().base;
    let linear = aftermath.linear(state);
    let word = |index: usize| linear.read_u32(state.stack_address().wrapping_add(index as u32 * 4));
    let returns = |word: u32| after_calls.contains(&base.wrapping_add(word));
    flow.seen().contains(&state.instruction_address()) || (0..OWN).filter_map(word).any(returns)
}
