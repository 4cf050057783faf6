use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};
use ia32::Word;

/// A 32-bit kernel is entered through 32-bit gates, and an external interrupt through one that
/// clears IF.
///
/// A 16-bit gate pushes the low halves only, whatever the TSS's width. Behind a trap gate IF stays
/// set, so the interrupt can come again before its handler has acknowledged it (SDM vol. 3A, "Flag
/// usage by exception- or interrupt-handler procedure"): a note, since a handler that bears it is right. Broken on purpose by the guest `broken`
/// with `plant=gate_16bit` and `plant=gate_trap`.
#[inline]
pub(crate) fn gate_has_the_right_kind(entry: &Entry, _: &History, findings: &mut Findings) {
    let gate = &entry.gate;
    if gate.kind.word_size() == 2 && entry.after.cs().big() {
        let eip = entry.frame.get(Word::Eip).unwrap_or(0);
        findings.add(
            Finding::new(
                "gate_kind",
                Subject::Kernel,
                format!("the gate of vector {:#04x} is a {}", entry.vector.0, gate.kind),
                "a 32-bit gate: words of four bytes",
                format!("words of two bytes: EIP {eip:04x}, and the upper halves are lost"),
            )
            .because("the gate's type has bit 3 clear"),
        );
    }
    if entry.kind == Kind::External && !gate.kind.clears_if() {
        findings.add(
            Finding::new(
                "gate_kind",
                Subject::Kernel,
                format!(
                    "the gate of external interrupt {:#04x} is a {}",
                    entry.vector.0, gate.kind
                ),
                "an interrupt gate: IF 0 in the handler",
                "IF 1 in the handler, which can be interrupted before it has acknowledged",
            )
            .because("the gate's type has bit 0 set")
            .advise(format!("give the gate of vector {:#04x} the type byte 8e", entry.vector.0))
            .as_note(),
        );
    }
}
