use super::open_switch;
use crate::check::history::LastReturn;
use crate::check::history::words_within;
use crate::check::{ChangedWord, CodePlace, Finding, Findings, History, LiveFrame, Subject};
use crate::entry::{Entry, Frame, Kind, TaskSwitch, TssWords};
use ia32::Word;

/// An entry is on a stack that belongs to no suspended task.
///
/// A frame that was pushed and not yet popped is all that its task can resume from. An entry whose
/// words fall onto it has been given another task's stack. Broken on purpose by the guest `broken`
/// with `plant=esp0_not_updated` and `plant=shared_stack`.
///
/// Not judged: a kernel that copies what it resumes from, so that one stack does for all its tasks, which is
/// told by the victim's EIP and ESP standing near each other elsewhere in memory too; an entry from ring 3
/// where the return to it was not seen, which may have popped that very frame; an entry from ring 0, where
/// the kernel itself was using the stack from that place on and has given up what lay below.
#[inline]
pub(crate) fn stack_is_nobody_elses(entry: &Entry, history: &History, findings: &mut Findings) {
    let Some(victim) = history.overlapped(&entry.frame) else { return };
    if !entry.from_outer_ring()
        || history.copies_frames()
        || history.glance().words_are_kept == Some(true)
        || history.misses_return(entry)
        || may_have_ended(victim, history)
    {
        return;
    }
    findings.add(finding(entry, victim, history));
}

/// The task that `victim` interrupted asked for something or faulted, and so may have ended; and nothing
/// says that the one that runs has a stack of its own: what it was resumed from is no stack's end, or lies on its stack.
fn may_have_ended(victim: &LiveFrame, history: &History) -> bool {
    /// Stacks end at round addresses, records of tasks anywhere.
    const ROUND: u32 = 256;
    let preempted = matches!(victim.kind, Kind::External | Kind::Nmi);
    let from_a_stack = history.last_return().is_some_and(|last| {
        let replaced = victim.task.is_some() && last.task == victim.task;
        last.of_entry || last.stack_end.is_multiple_of(ROUND) && !replaced
    });
    !preempted && !from_a_stack
}

/// A task that a far jump to its TSS resumes in the kernel finds its frame as it was pushed.
///
/// When an entry was pushed over the frame, the task may have ended ([`may_have_ended`]). Where a switch goes on at the very
/// place at which another one had left the task, it had not. Broken on purpose by `tests/c`, `CHILD_ON_PARENTS_STACK`, after a
/// slip in the fork of a kernel of that design.
///
/// Not judged: a frame that holds the same words again, as that of a kernel that changes what lies on one stack.
pub(crate) fn suspended_task_has_its_stack(
    switch: &TaskSwitch,
    history: &History,
    findings: &mut Findings,
) {
    if let Some((victim, by)) = history.entered_upon(switch) {
        findings.add(resumed_on_it(switch, victim, by));
    }
}

#[cold]
fn resumed_on_it(switch: &TaskSwitch, victim: &LiveFrame, by: u64) -> Finding {
    let is = &switch.kernel_stack;
    let differ = |word: &Word| victim.frame.get(*word) != is.get(*word);
    let words: Vec<Word> = is.shape.words().iter().copied().filter(differ).collect();
    let listed = |frame: &Frame| {
        let each = words.iter().map(|word| {
            frame.get(*word).map_or(String::new(), |value| format!("{} {value:08x}", word.name()))
        });
        each.collect::<Vec<_>>().join("  ")
    };
    let who = victim.task.map_or("a suspended task".into(), |task| format!("task {}", task.0));
    let esp0 = is.end();
    Finding::new(
        "suspended_stack",
        Subject::Kernel,
        format!(
            "{who} goes on in the kernel, on a stack onto which another task has entered meanwhile (#{by})"
        ),
        format!("{}  (what #{} pushed)", listed(&victim.frame), victim.sequence),
        format!("{}  at {:08x}", listed(is), is.address),
    )
    .because(format!(
        "{who} was left at EIP {:08x} with ESP {:08x}, and goes on right there: it had not ended when #{by} was pushed over \
         the frame of #{}; the TSS of who was running then has ESP0 {esp0:08x}, as its own TSS at {:08x} has",
        switch.new.0[TssWords::EIP],
        switch.new.0[TssWords::ESP],
        victim.sequence,
        switch.new_tss
    ))
    .advise(
        "give each task a kernel stack of its own: where a task is made, its TSS gets the end of the new stack as ESP0, and \
         not that of its parent's",
    )
}

/// The victim came by another TSS, with the same ESP0: each task has one, and this one was not given its own stack.
fn by_another_tss(
    finding: Finding,
    entry: &Entry,
    victim: &LiveFrame,
    last: &LastReturn,
) -> Finding {
    let tr = &entry.after.tr;
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    let own = last.stack_end.wrapping_sub(entry.after.ss().base);
    finding
        .because(format!(
            "TR names the TSS at {:08x} (selector {:04x}) now, and #{} came by that at {:08x}: ESP0 is {esp0:08x} in both",
            tr.base, tr.selector, victim.sequence, victim.tss
        ))
        .advise(format!(
            "store {own:08x}, the end of the task's own kernel stack, as ESP0 in the TSS at {:08x} before TR is loaded with \
             it",
            tr.base
        ))
        .stored_as_esp0(entry)
}

/// The kernel has stored the right ESP0, in a TSS that the processor does not read.
fn stored_in_a_copy(finding: Finding, entry: &Entry, copy: u32, last: &LastReturn) -> Finding {
    let tr = &entry.after.tr;
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    let own = last.stack_end.wrapping_sub(entry.after.ss().base);
    let address = copy.wrapping_add(4);
    finding
        .because(format!(
            "ESP0 {own:08x}, which is meant, stands in another TSS, at {copy:08x}; TR names the TSS at {:08x} (selector \
             {:04x}), which has {esp0:08x} still",
            tr.base, tr.selector
        ))
        .advise(format!(
            "keep one TSS, and store ESP0 in that at {:08x}: a `static` variable in a header is another one in each file \
             that includes it",
            tr.base
        ))
        .stored_at(Some(ChangedWord { address, physical: address.into(), value: own }))
}

#[cold]
fn finding(entry: &Entry, victim: &LiveFrame, history: &History) -> Finding {
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    let size = entry.frame.shape.size();
    let runs = history.last_return().and_then(|last| last.task);
    let who =
        victim.task.map_or("a suspended task".into(), |task| format!("suspended task {}", task.0));
    let expected = match history.last_return() {
        Some(last) if last.ring > entry.after.cpl() => format!(
            "SS:ESP {:04x}:{:08x}  (the stack that the last return left)",
            last.ss,
            last.stack_end.wrapping_sub(size)
        ),
        _ => "a stack with no live frame at this place".into(),
    };
    let words = words_within(&victim.frame, entry.frame.address, entry.frame.end());
    let mut exchanged = false;
    let switch = history.last_return().map(|last| last.state.instruction_address());
    let own_stack = history.last_return().is_some_and(|last| last.stack_end == entry.frame.end());
    let mut finding = Finding::new(
        "suspended_stack",
        Subject::Kernel,
        format!("entered on the stack of {who}"),
        expected,
        format!(
            "SS:ESP {:04x}:{:08x}  overwrites {words} of #{}",
            entry.after.ss().selector,
            entry.after.general.esp,
            victim.sequence
        ),
    );
    finding.places.extend(switch.map(CodePlace::Switch));
    if own_stack {
        finding = finding.because(format!(
            "two tasks share the kernel stack that ends at {:08x}: one of them is still suspended \
             on it",
            entry.frame.end()
        ));
    } else if let (Some(change), Some(task)) = (history.esp0_change(), runs)
        && change.esp0 == esp0
    {
        let switched = history.last_switch().filter(|(to, _)| *to == task);
        finding = finding.because(match switched {
            Some((_, sequence)) if sequence >= change.sequence => format!(
                "TSS.ESP0 has been {esp0:08x} since #{}: the switch to task {} after #{sequence} \
                 left it so, or gave both tasks the same stack",
                change.sequence, task.0
            ),
            _ => format!("TSS.ESP0 has been {esp0:08x} since #{}", change.sequence),
        });
    } else if let (Some(change), Some(task)) = (history.esp0_change(), runs)
        && change.esp0 != esp0
        && victim.task != runs
    {
        exchanged = true;
        finding = finding.because(format!(
            "TSS.ESP0 was set to {esp0:08x}, the stack of {who}, after #{}, and the IRET then popped the frame \
             of task {}: the frame to return to and ESP0 were taken from different tasks",
            entry.sequence - 1,
            task.0
        ));
    }
    if let Some(mixed) = history.mixed_before(entry.sequence).filter(|_| !own_stack) {
        return open_switch::has_led_to(finding, mixed);
    }
    if let Some(last) = history.last_return().filter(|_| !own_stack && !exchanged) {
        if victim.tss != entry.after.tr.base && victim.frame.end() == entry.frame.end() {
            return by_another_tss(finding, entry, victim, last);
        }
        if let Some(copy) = history.glance().other_tss {
            return stored_in_a_copy(finding, entry, copy, last);
        }
    }
    if own_stack {
        return finding.advise("give each task a kernel stack of its own");
    }
    if exchanged {
        return finding
            .advise("at a switch take the frame to return to and ESP0 from the same task");
    }
    // A store in a variable that nothing reads is none: compilers leave it out.
    finding.advise(format!(
        "store the end of the next task's kernel stack in TSS.ESP0 at each switch, before its IRET: in the TSS that TR names, \
         at {:08x}",
        entry.after.tr.base
    ))
}
