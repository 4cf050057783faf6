use crate::check::{Finding, Findings, History, Pair, Subject};
use crate::entry::Return;
use ia32::Word;

/// An IRET goes to code within its segment.
///
/// An IRET to an EIP beyond the limit of CS is refused with #GP(0) (SDM vol. 2A, IRET/IRETD, Operation). QEMU's model lets it
/// pass, and such a kernel runs there and on no processor. Broken on purpose by `tests/c`, `LIMIT_IN_BYTES` for ring 3 and
/// `BEYOND_ITS_LIMIT` for ring 0.
#[inline]
pub(crate) fn eip_is_within_its_segment(
    returning: &Return,
    _: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    if let Some(limit) = history.glance().code_limit {
        findings.add(beyond(returning, limit));
    }
}

#[cold]
fn beyond(returning: &Return, limit: u32) -> Finding {
    let frame = &returning.frame;
    let (cs, eip) = (frame.selector(Word::Cs).unwrap_or(0), frame.get(Word::Eip).unwrap_or(0));
    let finding = Finding::new(
        "code_limit",
        Subject::Kernel,
        format!(
            "the IRET goes to {eip:08x}, beyond the limit of CS {cs:04x}: a processor refuses it with #GP(0)"
        ),
        format!("EIP {limit:08x} at most"),
        format!("EIP {eip:08x}"),
    );
    // A limit of 20 bits counts bytes where G is 0.
    if limit <= 0xf_ffff {
        finding
            .because(format!("the limit {limit:05x} of the descriptor counts bytes, since G is 0"))
            .advise("set G in the descriptor (bit 7 of the byte with the upper limit): cf in place of 4f")
    } else {
        finding.because("the descriptor's limit ends below")
    }
}
