use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};
use crate::instruction::decode_32;
use crate::instruction::raises::can_raise;
use ia32::{Vector, Word};

/// Every entry has a cause that can be seen: `int n` right before EIP, an interrupt that was
/// injected, or an instruction at EIP that can raise the fault.
///
/// SDM vol. 3A, "Exception and interrupt reference".
#[inline]
pub(crate) fn event_is_explained(entry: &Entry, _: &History, findings: &mut Findings) {
    match entry.kind {
        // The words have fallen on the very code that would explain it.
        Kind::Unexplained if findings.has("stack_in_data") => {}
        Kind::Unexplained if entry.vector.0 < 32 => findings.add(
            Finding::new(
                "event_explained",
                Subject::Kernel,
                "several vectors lead to this handler, and nothing that is known raised any of them",
                "an instruction at EIP that can raise one of them, and its error code",
                format!("EIP {:08x} in the frame", entry.frame.get(Word::Eip).unwrap_or(0)),
            )
            .because("the kernel may have jumped to its handler, or pushed a frame by hand"),
        ),
        Kind::Unexplained => findings.add(
            Finding::new(
                "event_explained",
                Subject::Kernel,
                format!("nothing that is known raised vector {:#04x}", entry.vector.0),
                format!("cd {:02x} before EIP, or an interrupt that was injected", entry.vector.0),
                match entry.code.behind {
                    Some([first, second]) => format!("{first:02x} {second:02x} before EIP"),
                    None => "code that cannot be read before EIP".into(),
                },
            )
            .because("the kernel may have jumped to its handler, or pushed a frame by hand"),
        ),
        Kind::Fault => instruction_can_fault(entry, findings),
        _ => {}
    }
}

/// The instruction at the pushed EIP can raise the fault.
fn instruction_can_fault(entry: &Entry, findings: &mut Findings) {
    // A fetch that faults has no instruction to show.
    let Some(eip) = entry.code.linear else { return };
    if entry.vector == Vector::PF && entry.after.cr2.wrapping_sub(eip) < 15 {
        return;
    }
    let bytes = entry.code.instruction();
    if bytes.is_empty() {
        return;
    }
    let instruction = decode_32(bytes, eip);
    if can_raise(&instruction, entry.vector) {
        return;
    }
    findings.add(Finding::new(
        "event_explained",
        Subject::Processor,
        format!(
            "the EIP that {} pushed points at an instruction that cannot raise it",
            entry.vector
        ),
        "EIP at the faulting instruction",
        format!(
            "EIP {:08x}: {}",
            entry.frame.get(Word::Eip).unwrap_or(0),
            bytes
                .iter()
                .take(instruction.len().max(1))
                .map(|b| format!("{b:02x} "))
                .collect::<String>()
                .trim_end()
        ),
    ));
}
