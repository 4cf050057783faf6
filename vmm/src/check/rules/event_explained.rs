use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};
use ia32::{Vector, Word};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

/// Every entry has a cause that can be seen: `int n` right before EIP, an interrupt that was
/// injected, or an instruction at EIP that can raise the fault.
///
/// SDM vol. 3A, "Exception and interrupt reference".
#[inline]
pub(crate) fn event_is_explained(entry: &Entry, _: &History, findings: &mut Findings) {
    match entry.kind {
        // The words have fallen on the very code that would explain it.
        Kind::Unexplained if findings.has("stack_in_data") => {}
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
    let mut decoder = Decoder::with_ip(32, bytes, u64::from(eip), DecoderOptions::NONE);
    let instruction = decoder.decode();
    let mnemonic = instruction.mnemonic();
    let can = match entry.vector {
        Vector::DE => matches!(mnemonic, Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam),
        // Which encodings are undefined depends on the processor's model.
        Vector::UD => true,
        // #BR, #NM, #TS, #NP, #SS, #GP, #PF and the rest: by anything that decodes.
        _ => !instruction.is_invalid(),
    };
    if can {
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
