use crate::check::{Finding, Findings, History, Pair, Subject};
use crate::entry::Return;
use ia32::Word;

/// An IRET goes to virtual-8086 mode only where that is meant.
///
/// VM in the popped EFLAGS makes it pop four segment registers more, and what runs then is real-mode code (SDM vol. 3A,
/// "Entering virtual-8086 mode"). Where the words are a frame's that is off by some bytes, an ESP is popped as EFLAGS,
/// and its bit 17 is VM; and no EIP above ffff is one of such code. Broken on purpose by `tests/c`, `ESP_AS_EFLAGS` and
/// `VM_IN_EFLAGS`.
#[inline]
pub(crate) fn virtual_8086_mode_is_meant(
    returning: &Return,
    _: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if returning.frame.shape.from_virtual_8086 {
        judge(returning, history, findings);
    }
}

#[cold]
fn judge(returning: &Return, history: &History, findings: &mut Findings) {
    let frame = &returning.frame;
    let (Some(eip), Some(eflags)) = (frame.get(Word::Eip), frame.get(Word::Eflags)) else { return };
    let shifted = history.glance().shifted.as_ref();
    if shifted.is_none() && eip <= 0xffff {
        return;
    }
    let at = returning.state.eip;
    let finding = Finding::new(
        "virtual_8086",
        Subject::Kernel,
        format!(
            "the IRET at {at:08x} pops EFLAGS {eflags:08x} with VM set: it goes to virtual-8086 mode"
        ),
        "EFLAGS with bit 17 clear, such as 00000202",
        format!(
            "EIP {eip:08x}  CS {:04x}  EFLAGS {eflags:08x}",
            frame.selector(Word::Cs).unwrap_or(0)
        ),
    );
    findings.add(match shifted {
        Some(shifted) => finding.because(shifted.reason()).advise(shifted.advice(at)),
        None => finding
            .because(format!("no real-mode code lies at EIP {eip:08x}: it reaches up to ffff"))
            .advise("clear VM (0x20000) in the EFLAGS of the frame; IF is 0x200"),
    });
}
