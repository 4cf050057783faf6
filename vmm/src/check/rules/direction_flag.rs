use crate::check::glance::StringInstruction;
use crate::check::{Finding, Findings, History, Pair, Subject};
use crate::entry::Return;
use ia32::{Eflags, Word};

/// The kernel's string instructions run upwards: a handler clears DF before it uses one.
///
/// Delivery keeps DF (SDM vol. 3A, "Flag usage by exception- or interrupt-handler procedure"), so a program
/// decides about it, and compilers take DF = 0 for granted. DF is still 1 in front of the IRET, so nothing
/// has cleared it since the entry. A handler that can reach no string instruction has no need to. Of one that only
/// reaches such as read (LODS, SCAS, CMPS, OUTS) it is a note: what it does with the wrong bytes is not known.
#[inline]
pub(crate) fn kernel_runs_upwards(
    returning: &Return,
    pair: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if !returning.state.eflags.contains(Eflags::DF) {
        return;
    }
    let Some(StringInstruction { at, writes }) = history.glance().string_instruction else {
        return;
    };
    let Some(pair) = pair else { return };
    let pushed = pair.pushed;
    if !pushed.frame.get(Word::Eflags).is_some_and(|flags| Eflags(flags).contains(Eflags::DF)) {
        return;
    }
    let harm = if writes { "damages what lies below" } else { "reads what lies below" };
    let finding = Finding::new(
        "direction_flag",
        Subject::Kernel,
        format!(
            "DF was 1 when #{} entered the kernel, and the kernel's code ran with it",
            pushed.sequence
        ),
        "DF 0 in the kernel: string instructions run upwards",
        format!("DF 1 from the handler at {:08x} up to its IRET", pushed.handler),
    )
    .because(format!(
        "the handler reaches the string instruction at {at:08x} without CLD: with DF 1 it runs \
         downwards, and {harm}"
    ))
    .advise(format!("`cld` at the start of the handler at {:08x}", pushed.handler))
    // There it is missing.
    .about_instruction(pushed.handler)
    .about_instruction(at);
    findings.add(if writes { finding } else { finding.as_note() });
}
