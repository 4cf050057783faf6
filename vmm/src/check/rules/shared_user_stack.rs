use crate::check::glance::SharedUserStack;
use crate::check::{Finding, Findings, History, Pair, Subject};
use crate::entry::Return;

/// What the processor notes in a page-table entry: accessed and dirty.
const NOTED: u32 = 0x60;

/// Each task's program has a stack of its own.
///
/// Kernels give tasks kernel stacks, and forget that ring 3 needs one for each as well: two programs push on one stack,
/// and whoever goes on finds the other's words. Judged where both were begun with one ESP in one page of memory, an
/// external interrupt has suspended the first, the other has run since, and what lay at the first one's ESP has changed.
/// A child of `vfork` begins where its parent is, and the parent waits. Broken on purpose by `tests/c`, `ONE_USER_STACK`.
#[inline]
pub(crate) fn programs_have_stacks_of_their_own(
    _: &Return,
    _: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if let Some(shared) = &history.glance().shared_user_stack {
        findings.add(finding(shared, history));
    }
}

#[cold]
fn finding(shared: &SharedUserStack, history: &History) -> Finding {
    let SharedUserStack { own, other, interrupted, entered, word, old } = shared;
    let name = |top: u32| match history.owner(top.wrapping_sub(1)) {
        Some(task) => format!("task {}", task.0),
        None => format!("the task with ESP0 {top:08x}"),
    };
    let (own_name, other_name) = (name(own.top), name(other.top));
    let esp = own.word.value;
    // Whoever was begun last got a stack that was taken.
    let (late, late_name, early_name) = match own.after_entry > other.after_entry {
        true => (own, &own_name, &other_name),
        false => (other, &other_name, &own_name),
    };
    let finding = Finding::new(
        "shared_user_stack",
        Subject::Kernel,
        format!(
            "{own_name} and {other_name} have one stack in ring 3: both were begun with ESP {esp:08x}, and {other_name} has \
             written over what #{interrupted} interrupted in {own_name}"
        ),
        format!("{old:08x} at {:08x}, as #{interrupted} has left it", word.address),
        format!("{:08x}, after {other_name} ran up to #{entered}", word.value),
    );
    if own.address_space == other.address_space {
        return finding
            .because("an ESP0 for each task is not enough: ring 3 needs a stack for each as well, where they share memory")
            .advise(format!(
                "put another stack's end as ESP into the frame that {late_name} is begun with (after #{}); {early_name} has \
                 this one",
                late.after_entry
            ))
            .stored_before(late.word, !0, late.after_entry);
    }
    let finding = finding
        .because(format!(
            "CR3 {:08x} and CR3 {:08x} map that page of the stack to the same memory, physical {:08x}",
            own.address_space,
            other.address_space,
            late.last_byte & !0xfff
        ))
        .advise(format!(
            "map a page of its own at {:08x} for {late_name}, or look why the allocator gives one twice",
            esp.wrapping_sub(1) & !0xfff
        ));
    match late.page {
        Some(page) => finding.stored_before(page, !NOTED, late.after_entry),
        None => finding,
    }
}
