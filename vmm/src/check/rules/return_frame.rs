use crate::check::{Finding, Findings, History, LiveFrame, Subject};
use crate::entry::{Kind, Return};
use ia32::{Eflags, Word};

/// What a kernel has no reason to change for a task that it sends elsewhere.
const PRIVILEGED: Eflags = Eflags(Eflags::IF.0 | Eflags::IOPL.0 | Eflags::NT.0 | Eflags::VM.0);

/// A return pops the words that its entry pushed.
///
/// A kernel may send a task elsewhere: EIP and ESP both change when it starts a program or delivers a
/// signal, and CS, SS and the privileged flags do not; EIP alone when it restarts or skips the instruction of a system call or a fault; the
/// status flags when a system call answers in them. All else is corruption, and after an external
/// interrupt everything is. Broken on purpose by the guest `broken` with `plant=frame_eip`,
/// `frame_cs`, `frame_eflags` and `frame_esp`.
#[inline]
pub(crate) fn return_pops_what_was_pushed(
    returning: &Return,
    history: &History,
    findings: &mut Findings,
) {
    let Some(pushed) = history.pushed_at(&returning.frame) else { return };
    if pushed.frame.pops_as(&returning.frame) || is_anothers(pushed, returning, history) {
        return;
    }
    let changed = |word: Word| {
        let (before, now) = (pushed.frame.get(word)?, returning.frame.get(word)?);
        (before != now).then_some((before, now))
    };
    let redirected = changed(Word::Eip).is_some() && changed(Word::Esp).is_some();
    for word in [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss] {
        let Some((before, now)) = changed(word) else { continue };
        if !is_allowed(word, pushed, redirected, before, now) {
            findings.add(overwritten(pushed, word, before, now));
        }
    }
}

/// The task that was interrupted has died, and a frame was made by hand on its stack for a new one: the
/// return leads to another address space, or pops the words of its parent's system call.
fn is_anothers(pushed: &LiveFrame, returning: &Return, history: &History) -> bool {
    returning.ring() > returning.state.cpl()
        && (returning.state.cr3 != pushed.address_space
            || history.is_copied(&returning.frame, pushed))
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
}
