use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;
use ia32::Word;

/// How far above the interrupted ESP the pushed words may begin to be taken for part of that stack.
const NEAR: u32 = 64;

/// An entry leaves the interrupted stack alone.
///
/// The words go to SS0:ESP0, which is the kernel's (SDM vol. 3A, "Stack switching"). Where they fall on what
/// the interrupted program has on its own stack, or right above, ESP0 lies in that stack: it is its end
/// instead of the kernel stack's, or the start of a kernel stack that begins where the user stack ends.
#[inline]
pub(crate) fn interrupted_stack_is_left_alone(entry: &Entry, _: &History, findings: &mut Findings) {
    // Where SS has a base, the two are not to be compared.
    if !entry.from_outer_ring() || entry.origin.virtual_8086 || entry.ldt_stack.is_some() {
        return;
    }
    let (Some(esp), Some(stack)) = (entry.frame.get(Word::Esp), entry.inner_stack) else { return };
    let (start, end) = (entry.frame.address, entry.frame.end());
    if entry.after.ss().base != 0 || esp > end || esp.saturating_add(NEAR) <= start {
        return;
    }
    findings.add(
        Finding::new(
            "user_stack",
            Subject::Kernel,
            format!("{} pushed its words onto the interrupted program's own stack", entry.vector),
            "SS0:ESP0 at the end of a kernel stack, away from what the program uses",
            format!("ESP0 {:08x}, and the program's ESP was {esp:08x}", stack.esp),
        )
        .because(format!(
            "the words from {start:08x} to {end:08x} overwrite what the program keeps there: ESP0 is the end \
             of the user stack, or the start of a kernel stack that lies above it"
        ))
        .advise("set TSS.ESP0 to the address behind the last byte of the kernel stack"),
    );
}
