use crate::check::glance::Nulled;
use crate::check::{Finding, Findings, History, Pair, Subject};
use crate::entry::Return;

/// A return to an outer ring leaves the program a data segment that it may use.
///
/// A segment of ring 0 in DS, ES, FS or GS is taken away by the IRET: the register is null then, and the first access by it
/// raises #GP(0) (SDM vol. 2A, IRET/IRETD, Operation). QEMU's model lets it pass, and such a kernel runs there and on no
/// processor. Broken on purpose by `tests/c`, `KERNEL_DATA_IN_RING_3`.
#[inline]
pub(crate) fn programs_have_a_data_segment(
    returning: &Return,
    _: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if let Some(nulled) = &history.glance().nulled {
        findings.add(finding(returning, nulled));
    }
}

#[cold]
fn finding(returning: &Return, nulled: &Nulled) -> Finding {
    let Nulled { at, segment } = *nulled;
    let ring = returning.ring();
    Finding::new(
        "null_segment",
        Subject::Kernel,
        format!(
            "the IRET to ring {ring} makes DS null, and the program reaches memory by it at {at:08x}: a processor raises #GP(0) \
             there"
        ),
        format!("DS with a data segment of DPL {ring}"),
        format!("DS {:04x}, of DPL {}", segment.selector, segment.dpl()),
    )
    .because(
        "an IRET to an outer ring loads null into each of DS, ES, FS and GS that holds a segment of an inner one; an emulator \
         that does not check it lets the program go on",
    )
    .advise(format!(
        "load DS, ES, FS and GS with the data segment of ring {ring} (such as 0023) before the IRET, where a program is begun \
         and where a handler restores them"
    ))
    .about_instruction(returning.state.instruction_address())
}
