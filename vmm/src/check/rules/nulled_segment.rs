use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Return;
use ia32::{SegmentRegister, State};

/// A program gets DS and ES that it may use.
///
/// A return to an outer ring makes DS, ES, FS and GS null where their segment has a lower DPL than that ring (SDM vol.
/// 2A, "IRET/IRETD", and vol. 1, "Calls to other privilege levels"), and the first access by such a register is #GP(0).
/// Some emulated processors let it pass, so a kernel that works there dies on hardware. A note: a program may load the
/// registers before it uses them. Broken on purpose by `tests/c`, `KERNELS_DATA`.
#[inline]
pub(crate) fn segments_are_the_programs(returning: &Return, _: &History, findings: &mut Findings) {
    let ring = returning.ring();
    if ring > returning.state.cpl() && !returning.frame.shape.from_virtual_8086 {
        let lost = [SegmentRegister::Ds, SegmentRegister::Es]
            .into_iter()
            .find(|register| is_nulled(&returning.state, *register, ring));
        if let Some(register) = lost {
            findings.add(finding(returning, register, ring));
        }
    }
}

#[inline]
fn is_nulled(state: &State, register: SegmentRegister, ring: u8) -> bool {
    let segment = state.segment(register);
    !segment.selector().is_null()
        && segment.is_code_or_data()
        && !(segment.is_code() && segment.is_conforming())
        && segment.dpl() < ring
}

#[cold]
fn finding(returning: &Return, register: SegmentRegister, ring: u8) -> Finding {
    let segment = returning.state.segment(register);
    let name = register.name();
    Finding::new(
        "nulled_segment",
        Subject::Kernel,
        format!("{name} is {:04x} at the IRET to ring {ring}, which makes it null", segment.selector),
        format!("a selector of a data segment of DPL {ring}"),
        format!("a segment of DPL {}", segment.dpl()),
    )
    .because(format!(
        "the first access by {name} in ring {ring} is #GP(0), unless the program loads it before; some emulators let it \
         pass, and no hardware does"
    ))
    .advise(format!(
        "load {name} and the others with the data selector of ring {ring}, its RPL {ring}, before the IRET"
    ))
    .as_note()
}
