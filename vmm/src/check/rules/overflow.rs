use crate::check::glance::Overrun;
use crate::check::history::Suspect;
use crate::check::{ChangedWord, Finding, Findings, History, Pair, Subject, TaskId};
use crate::entry::{Entry, Return};

/// A kernel stack stays above its end.
///
/// Stacks grow down, and without a guard page nothing stops one that is full: it goes on in whatever lies
/// below. The top frame of the stack right below is compared at each stop; where it has changed while
/// another task was in the kernel, and the lowest words of that task's own stack as well, the stack has
/// grown over it. Told once the kernel goes on from there, for a dead task's memory is anybody's. Broken on
/// purpose by `tests/c`, `RECURSES`.
#[inline]
pub(crate) fn stack_stays_above_its_end(entry: &Entry, history: &History, findings: &mut Findings) {
    if let Some(suspect) = history.overgrown_at_entry(entry) {
        findings.add(overgrown(suspect));
    }
    if let Some(overrun) = &history.glance().overrun {
        findings.add(overran(overrun, history));
    }
}

/// The same at a return.
#[inline]
pub(crate) fn stack_stays_above_its_end_at_a_return(
    returning: &Return,
    _: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if let Some(suspect) = history.overgrown_at_return(returning) {
        findings.add(overgrown(suspect));
    }
    if let Some(overrun) = &history.glance().overrun {
        findings.add(overran(overrun, history));
    }
}

/// A stack that is a variable of its own has been used down to its first byte, and further.
#[cold]
fn overran(overrun: &Overrun, history: &History) -> Finding {
    let objects = history.objects();
    let (address, was, is) = overrun.word;
    let stack = objects.at(overrun.start);
    let name = stack.map_or("its stack".to_owned(), |object| format!("`{}`", object.name));
    let size = stack.map_or(0, |object| object.end - object.start);
    let victim =
        objects.at(address).map_or("what lies".to_owned(), |object| format!("`{}`", object.name));
    let finding = Finding::new(
        "overflow",
        Subject::Kernel,
        format!("the kernel stack {name} was used down to its last word, and {victim} below it has changed: it ran past its end"),
        format!("{address:08x} {was:08x}"),
        format!("{address:08x} {is:08x}"),
    )
    .because(format!(
        "{name} has {size} bytes, from {:08x} on: it was written at least {} bytes beyond",
        overrun.start,
        overrun.start.wrapping_sub(address)
    ))
    .advise(
        "make the stack larger, or what the call keeps on its stack smaller; an unmapped page below a \
         stack turns an overflow into a fault",
    );
    finding.written_at(overrun.physical.map(|physical| ChangedWord {
        address,
        physical,
        value: is,
    }))
}

#[cold]
fn overgrown(suspect: &Suspect) -> Finding {
    let Suspect { victim, damage, task, top } = suspect;
    let name =
        |task: Option<TaskId>| task.map_or("a task".to_owned(), |task| format!("task {}", task.0));
    let words = |value: fn(&(ia32::Word, u32, u32)) -> u32| {
        let words: Vec<String> = damage
            .words
            .iter()
            .map(|word| format!("{} {:08x}", word.0.name(), value(word)))
            .collect();
        words.join("  ")
    };
    let end = victim.frame.end();
    let finding = Finding::new(
        "overflow",
        Subject::Kernel,
        format!(
            "the words of {}'s frame (#{}) were overwritten while {} was in the kernel: its stack ran past \
             its end",
            name(victim.task),
            victim.sequence,
            name(*task)
        ),
        words(|word| word.1),
        words(|word| word.2),
    )
    .because(format!(
        "the stack of {} reaches from its top {top:08x} down to {end:08x}, {} bytes, where that of {} begins: it was \
         written at least {} bytes beyond",
        name(*task),
        top.wrapping_sub(end),
        name(victim.task),
        damage.beyond,
    ))
    .advise(
        "make the stacks larger, or what the call keeps on its stack smaller; an unmapped page between \
         stacks turns an overflow into a fault",
    );
    match damage.words.first() {
        Some((word, _, now)) => finding.written_in(&victim.frame, *word, *now),
        None => finding,
    }
}
