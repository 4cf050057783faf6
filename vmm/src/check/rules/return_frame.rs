use super::refused_iret::is_too_narrow;
use crate::check::glance::Reset;
use crate::check::{Finding, Findings, History, LiveFrame, Pair, Subject};
use crate::entry::{Frame, Kind, Return};
use ia32::{Eflags, Vector, Word};

/// What a kernel has no reason to change for a task that it sends elsewhere.
const PRIVILEGED: Eflags = Eflags(Eflags::IF.0 | Eflags::IOPL.0 | Eflags::NT.0 | Eflags::VM.0);

/// A return pops the words that its entry pushed.
///
/// A kernel may send a task elsewhere: EIP and ESP both change when it starts a program or delivers a
/// signal, and CS, SS and the privileged flags do not; EIP alone when it restarts or skips the instruction of a system call or a fault; the
/// status flags when a system call answers in them; ESP alone when another context goes on that calls or waits at the same
/// place, or where a signal comes before the handler of the last one has begun; TF and IF for the one instruction that a debugger of the kernel's own steps. All else is corruption, and after an external
/// interrupt everything is. A frame that is copied or made anew elsewhere has the same words: where its
/// CS:EIP and SS:ESP are those of an interrupt or a page fault, EFLAGS are too. A frame of ring 0 by INT n
/// may become one for ring 3: so a kernel starts its first program by a system call of its own. One of an outer ring
/// may become one of the kernel's own code: so a kernel with one stack idles where no task can run, and an interrupt of
/// that may begin it anew. Broken on purpose by the guest `broken` with `plant=frame_eip`, `frame_cs`, `frame_eflags` and `frame_esp`.
#[inline]
pub(crate) fn return_pops_what_was_pushed(
    returning: &Return,
    pair: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    let Some(pair) = pair else { return };
    let pushed = pair.pushed;
    if is_too_narrow(pushed, &returning.frame) {
        findings.add(too_narrow(pushed, returning));
        return;
    }
    if pushed.frame.pops_as(&returning.frame) || history.overgrown_at_return(returning).is_some() {
        return;
    }
    if !pair.in_place {
        flags_of_a_new_frame(pushed, returning, findings);
        return;
    }
    if is_anothers(pushed, returning, history)
        || changes_contexts(pushed, returning)
        || starts_a_program(pushed, returning)
        || idles(pushed, returning, history)
    {
        return;
    }
    let changed = |word: Word| {
        let (before, now) = (pushed.frame.get(word)?, returning.frame.get(word)?);
        // Of a selector IRET loads sixteen bits.
        let mask = if matches!(word, Word::Cs | Word::Ss) { 0xffff } else { u32::MAX };
        ((before ^ now) & mask != 0).then_some((before, now))
    };
    let redirected =
        changed(Word::Eip).is_some() && changed(Word::Esp).is_some() || history.glance().signal;
    let lost =
        [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss].into_iter().filter_map(|word| {
            let (before, now) = changed(word)?;
            (!is_allowed(word, pushed, redirected, before, now)).then_some((word, before, now))
        });
    for (word, before, now) in lost {
        if let Some(reset) = &history.glance().reset {
            findings.add(overwritten_by_itself(pushed, returning, reset));
            return;
        }
        findings.add(overwritten(pushed, word, before, now));
    }
}

/// The handler has gone on above its own frame, on the same stack.
#[cold]
fn overwritten_by_itself(pushed: &LiveFrame, returning: &Return, reset: &Reset) -> Finding {
    let words = |frame: &Frame| {
        let words = [Word::Eip, Word::Cs, Word::Eflags].into_iter();
        let words = words
            .filter(|word| pushed.frame.get(*word) != returning.frame.get(*word))
            .filter_map(|word| Some(format!("{} {:08x}", word.name(), frame.get(word)?)));
        words.collect::<Vec<_>>().join("  ")
    };
    let Reset { at, esp } = *reset;
    Finding::new(
        "return_frame",
        Subject::Kernel,
        format!(
            "the handler of #{} has overwritten the frame that it returns by: at {at:08x} it loads ESP with {esp:08x}, above \
             that frame",
            pushed.sequence
        ),
        words(&pushed.frame),
        words(&returning.frame),
    )
    .because(format!(
        "#{} came while the kernel ran on the stack that ends at {esp:08x} already, {} bytes below its end: the handler \
         begins there anew, whatever lies on it",
        pushed.sequence,
        esp.wrapping_sub(pushed.frame.end())
    ))
    .advise(
        "change to that stack only where the interrupt does not come on it already (count how deep it is), or leave \
         interrupts closed while a handler is on it",
    )
    .about_instruction(at)
}

/// The task that was interrupted has died, and a frame was made by hand on its stack for a new one: the
/// return leads to another address space, or pops the words of its parent's system call.
fn is_anothers(pushed: &LiveFrame, returning: &Return, history: &History) -> bool {
    returning.ring() > returning.state.cpl()
        && (returning.state.cr3 != pushed.address_space
            || history.is_copied(&returning.frame, pushed))
}

/// How far apart two stacks of programs are at least.
const OTHER_STACK: u32 = 512;

/// A system call or an interrupt after which another context goes on by the same frame: all calls are made at one place, or
/// all tasks wait at one, and ESP is on another stack.
fn changes_contexts(pushed: &LiveFrame, returning: &Return) -> bool {
    let (was, now) = (&pushed.frame, &returning.frame);
    let (Some(before), Some(after)) = (was.get(Word::Esp), now.get(Word::Esp)) else {
        return false;
    };
    let same = |word| was.get(word) == now.get(word);
    let is_meant = before.abs_diff(after) >= OTHER_STACK && after.is_multiple_of(4);
    matches!(pushed.kind, Kind::Software | Kind::External)
        && pushed.from_outer_ring()
        && is_meant
        && [Word::Eip, Word::Cs, Word::Ss].into_iter().all(same)
        && Eflags(was.get(Word::Eflags).unwrap_or(0) ^ now.get(Word::Eflags).unwrap_or(0))
            .without(Eflags::STATUS | Eflags::RF | Eflags::DF)
            .0
            == 0
}

/// The kernel has made a system call of its own, and the frame leads to an outer ring now.
fn starts_a_program(pushed: &LiveFrame, returning: &Return) -> bool {
    pushed.kind == Kind::Software
        && !pushed.from_outer_ring()
        && returning.ring() > returning.state.cpl()
}

/// No task goes on: the frame leads to the kernel's own code instead, or to the start of that code again.
fn idles(pushed: &LiveFrame, returning: &Return, history: &History) -> bool {
    pushed.leads_into_the_kernel(returning)
        || !pushed.from_outer_ring()
            && returning.ring() == returning.state.cpl()
            && history.idles_at(returning.frame.get(Word::Eip))
}

/// A frame made anew for the place that was interrupted.
fn flags_of_a_new_frame(pushed: &LiveFrame, returning: &Return, findings: &mut Findings) {
    let strict = matches!(pushed.kind, Kind::External | Kind::Nmi)
        || pushed.kind == Kind::Fault && pushed.vector == Vector::PF;
    let flags = |frame: &Frame| frame.get(Word::Eflags);
    let (Some(before), Some(now)) = (flags(&pushed.frame), flags(&returning.frame)) else { return };
    let changed = Eflags(before ^ now).without(Eflags::RF);
    if !strict || changed.0 == 0 {
        return;
    }
    findings.add(
        Finding::new(
            "return_frame",
            Subject::Kernel,
            format!(
                "the EFLAGS that go back to ring {} are not those that #{} pushed ({changed} changed)",
                returning.ring(),
                pushed.sequence
            ),
            format!("EFLAGS {before:08x}"),
            format!("EFLAGS {now:08x}"),
        )
        .because(format!(
            "the frame at {:08x} was made anew for the place that #{} interrupted (pushed at {:08x}): \
             its EFLAGS are others, the kernel's own perhaps",
            returning.frame.address, pushed.sequence, pushed.frame.address
        ))
        .advise("push the EFLAGS that the entry had pushed")
        .of_word(Word::Eflags, before, now),
    );
}

/// The IRET pops words of two bytes where the gate pushed words of four.
#[cold]
fn too_narrow(pushed: &LiveFrame, returning: &Return) -> Finding {
    let size = |bytes: u32| bytes * pushed.frame.shape.count();
    Finding::new(
        "return_frame",
        Subject::Kernel,
        format!(
            "the IRET at {:08x} is 16 bits wide (66 CF), and the gate of #{} pushed 32-bit words",
            returning.state.eip, pushed.sequence
        ),
        format!("words of four bytes: EIP {:08x}", pushed.frame.get(Word::Eip).unwrap_or(0)),
        format!(
            "words of two bytes: EIP {:04x}, CS {:04x}",
            returning.frame.get(Word::Eip).unwrap_or(0),
            returning.frame.get(Word::Cs).unwrap_or(0)
        ),
    )
    .because(format!(
        "it pops {} bytes of {}: EIP is the lower half of the pushed EIP, and CS its upper half",
        size(2).min(6),
        size(4)
    ))
    .advise("write `iretl` (GNU assembler) or `iretd` (Intel syntax)")
}

fn is_allowed(word: Word, pushed: &LiveFrame, redirected: bool, before: u32, now: u32) -> bool {
    // A task can be sent elsewhere by any entry: a signal waits for no system call.
    let interrupt = matches!(pushed.kind, Kind::External | Kind::Nmi) && !redirected;
    match word {
        Word::Eip => !interrupt,
        Word::Esp => redirected,
        Word::Eflags => {
            let may_change =
                if redirected { !PRIVILEGED } else { Eflags::STATUS | Eflags::RF | Eflags::TF };
            let difference = Eflags(before ^ now);
            // Who has the kernel step one instruction keeps interrupts away meanwhile, and opens them after it.
            let steps = pushed.vector == Vector::BP && now & Eflags::TF.0 != 0
                || pushed.vector == Vector::DB && before & Eflags::TF.0 != 0;
            let may_change = if steps { may_change | Eflags::IF } else { may_change };
            // RF is for the processor and the kernel's debugger to change.
            difference.without(Eflags::RF).0 == 0
                || (!interrupt && difference.without(may_change).0 == 0)
        }
        _ => false,
    }
}

fn overwritten(pushed: &LiveFrame, word: Word, before: u32, now: u32) -> Finding {
    let detail = if word == Word::Eflags {
        format!(" ({} changed)", Eflags(before ^ now))
    } else {
        String::new()
    };
    Finding::new(
        "return_frame",
        Subject::Kernel,
        format!(
            "the {} that #{} pushed was overwritten before its IRET{detail}",
            word.name(),
            pushed.sequence
        ),
        format!("{} {before:08x}", word.name()),
        format!("{} {now:08x}", word.name()),
    )
    .because(match pushed.frame.address_of(word) {
        Some(address) => format!("the word at {address:08x} changed while the kernel ran"),
        None => "the word changed while the kernel ran".into(),
    })
    .of_word(word, before, now)
    .written_in(&pushed.frame, word, now)
}
