use crate::check::history::{FirstFrame, LastReturn};
use crate::check::{CodePlace, Finding, Findings, History, Retrace, Subject};
use crate::entry::Entry;

/// How far ESP0 may be off to be taken for a miscalculated top of the same stack.
const NEAR: u32 = 64;

/// An entry from ring 3 finds the kernel stack empty.
///
/// The processor reads SS0:ESP0 and never writes them, so every entry starts at the same place. A
/// return to ring 3 empties the stack of the task that it resumes, and so tells where that is: the
/// next entry has to start there (SDM vol. 3A, "Exception- or interrupt-handler procedures"). Only a
/// frame made by hand, from which a new task starts, may lie on another stack, or anywhere on one that is
/// given up with it. Broken on purpose by the guest `broken` with `plant=esp0_off_by_four`,
/// `esp0_above_by_four` and `esp0_boot_stack`.
///
/// Not judged: frames popped out of copies, which say nothing of any stack.
#[inline]
pub(crate) fn stack_is_empty(entry: &Entry, history: &History, findings: &mut Findings) {
    if !entry.from_outer_ring() || history.copies_frames() {
        return;
    }
    let (Some(stack), Some(last)) = (entry.inner_stack, history.last_return()) else { return };
    let top = entry.after.ss().base.wrapping_add(stack.esp);
    if last.ring <= entry.after.cpl()
        || last.of_copy
        || top == last.stack_end
        || history.glance().words_are_kept == Some(true)
    {
        return;
    }
    let off = top.wrapping_sub(last.stack_end) as i32;
    let near = off.unsigned_abs() <= NEAR;
    if last.of_entry {
        if near || !findings.has("suspended_stack") {
            let finding = stored(finding(entry, last, history, off, near), entry, near);
            findings.add(if near {
                finding
            } else {
                finding.retraced(way_there(entry, last, history))
            });
        }
    } else if near && is_an_end(last.stack_end, top) {
        let finding = finding(entry, last, history, off, near);
        // A few bytes lost, always the same ones, hurt nobody.
        findings.add(if off < 0 { finding.as_note() } else { stored(finding, entry, near) });
    }
}

/// Where ESP0 is a little off, whoever stored it is to be looked at; else it is another stack's, and right for that.
fn stored(finding: Finding, entry: &Entry, near: bool) -> Finding {
    if near { finding.stored_as_esp0(entry) } else { finding }
}

/// How the kernel came onto the stack that it has returned from.
fn way_there(entry: &Entry, last: &LastReturn, history: &History) -> Retrace {
    let (end, size) = (last.stack_end, history.largest());
    Retrace::OntoStack { after_entry: entry.sequence - 1, end, size }
}

/// Whether `end` rather than `esp0` is where a stack ends: stacks end at round addresses. A frame that was
/// pushed somewhere on the stack that the kernel started on ends anywhere.
fn is_an_end(end: u32, esp0: u32) -> bool {
    end.trailing_zeros() >= 8 && esp0.trailing_zeros() < end.trailing_zeros()
}

#[cold]
fn finding(entry: &Entry, last: &LastReturn, history: &History, off: i32, near: bool) -> Finding {
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    let size = entry.frame.shape.size();
    let saved = last.of_entry && is_where_registers_were_saved(esp0, entry, last, history);
    let (sentence, reason, advice) = match (near, off < 0) {
        _ if saved => (
            "entered on a kernel stack that is not empty",
            format!(
                "ESP0 is {} bytes below the place where the last return left it, and {} below the frame that it popped: \
                 where the task's registers had been saved. Who stores the saved stack pointer as ESP0 has it sink \
                 with each switch, until the stack is full",
                -off,
                last.frame.address.wrapping_sub(esp0)
            ),
            "store the end of the task's kernel stack in TSS.ESP0, which is always the same, and not its saved stack \
             pointer",
        ),
        (true, true) => (
            "entered on a kernel stack that is not empty",
            format!("ESP0 is {} bytes below the top of the stack", -off),
            "store the address behind the stack's last byte in TSS.ESP0",
        ),
        (true, false) => (
            "entered above the top of the kernel stack",
            format!("ESP0 is {off} bytes above it: what lies there is overwritten"),
            "store the address behind the stack's last byte in TSS.ESP0",
        ),
        (false, false) if let Some(first) = begun_as_far_below(off, history) => (
            "entered on another kernel stack than the one that the last return left",
            larger_than_its_stack(off, first, entry, history),
            "store the start of the task's stack plus its size in TSS.ESP0, by the same constant that the stacks are declared \
             with",
        ),
        (false, _) => (
            "entered on another kernel stack than the one that the last return left",
            another_stack(entry, last, history),
            "at a switch take the frame to return to and ESP0 from the same task; a child's saved stack \
             pointer has to point into its own stack, and so has each EBP that is saved there",
        ),
    };
    Finding::new(
        "empty_stack",
        Subject::Kernel,
        sentence,
        format!(
            "ESP {:08x}  (the last return left the stack empty at {:08x})",
            last.stack_end.wrapping_sub(size),
            last.stack_end
        ),
        format!("ESP {:08x}  (ESP0 {esp0:08x})", entry.after.general.esp),
    )
    .because(reason)
    .advise(advice)
    .about(CodePlace::Switch(last.state.instruction_address()))
}

/// ESP0 lies on the stack of the task that was returned to, a little below the frame that was popped: no more than
/// all registers take.
fn is_where_registers_were_saved(
    esp0: u32,
    entry: &Entry,
    last: &LastReturn,
    history: &History,
) -> bool {
    const REGISTERS: u32 = 80;
    let below = last.frame.address.wrapping_sub(esp0);
    below <= REGISTERS
        && below.is_multiple_of(4)
        && last.task.is_some()
        && history.owner(entry.frame.address) == last.task
}

/// The task that was begun last was so by a frame that ended as far below ESP0.
fn begun_as_far_below(off: i32, history: &History) -> Option<FirstFrame> {
    history.first_frame().filter(|first| first.is_below_by(off))
}

/// Who stores ESP0 takes the stacks for larger than whoever lays out the first frames.
fn larger_than_its_stack(off: i32, first: FirstFrame, entry: &Entry, history: &History) -> String {
    let named = match history.owner(entry.frame.address) {
        Some(task) => format!("; it is on the stack of task {} here", task.0),
        None => String::new(),
    };
    format!(
        "ESP0 lies {off} bytes above the end of the frame that was popped, as it did at #{}, when a task was begun by a \
         frame that ended at {:08x} and entered with ESP0 {:08x}: as if what is added to the start of a stack for ESP0 were \
         {off} bytes more than what its first frame is laid out by; ESP0 then lies in the stack above{named}",
        first.sequence, first.end, first.esp0
    )
}

/// Whose stack the frame lay in, and whose ESP0 names.
fn another_stack(entry: &Entry, last: &LastReturn, history: &History) -> String {
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    let owner = last.task.map_or("another task".to_owned(), |task| format!("task {}", task.0));
    let named = match history.owner(entry.frame.address) {
        Some(task) if Some(task) != last.task => format!("the stack of task {}", task.0),
        _ => "a stack that no task has used".to_owned(),
    };
    format!(
        "the last return popped its frame in the stack of {owner}, which ends at {:08x}, while ESP0 \
         {esp0:08x} names {named}: a task was made that resumes from its parent's frame, or ESP0 was \
         changed without a switch",
        last.stack_end
    )
}
