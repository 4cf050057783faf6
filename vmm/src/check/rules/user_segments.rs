use super::registers_restored::effective;
use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Return;

/// A program starts with data segments that it may use.
///
/// On a return to an outer ring the processor makes DS, ES, FS and GS null where they hold a segment of the
/// inner ring (SDM vol. 2A, IRET). The first access by such a register raises #GP(0) then. A note, and told
/// once: programs may load their own.
#[inline]
pub(crate) fn program_has_its_segments(
    returning: &Return,
    history: &History,
    findings: &mut Findings,
) {
    let (ring, state) = (returning.ring(), &returning.state);
    if ring <= state.cpl()
        || returning.frame.shape.from_virtual_8086
        || history.segments_are_known()
        || history.pair(returning).is_some()
    {
        return;
    }
    let lost: Vec<String> = [("ES", 0), ("DS", 3)]
        .into_iter()
        .map(|(name, index)| (name, &state.segments[index]))
        .filter(|(_, one)| one.selector & 0xfffc != 0 && effective(one, ring) & 0xfffc == 0)
        .map(|(name, one)| format!("{name} {:04x}", one.selector))
        .collect();
    if lost.is_empty() {
        return;
    }
    findings.add(
        Finding::new(
            "user_segments",
            Subject::Kernel,
            format!("ring {ring} starts with a data segment of ring 0, which IRET makes null"),
            format!("DS and ES of ring {ring}"),
            lost.join(", "),
        )
        .because("the first access to memory by it raises #GP(0), unless the program loads its own before")
        .advise("load DS and ES with ring 3's data selector right before the IRET")
        .as_note(),
    );
}
