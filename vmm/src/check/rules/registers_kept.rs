use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// Delivery changes no general register but ESP, and does not reload DS, ES, FS and GS.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures"; from virtual-8086 mode the four become
/// null. Judged where the state before was seen.
#[inline]
pub(crate) fn registers_are_kept(entry: &Entry, _: &History, findings: &mut Findings) {
    let Some(before) = &entry.before else { return };
    let (was, is) = (&before.general, &entry.after.general);
    for (name, was, is) in [
        ("EAX", was.eax, is.eax),
        ("ECX", was.ecx, is.ecx),
        ("EDX", was.edx, is.edx),
        ("EBX", was.ebx, is.ebx),
        ("EBP", was.ebp, is.ebp),
        ("ESI", was.esi, is.esi),
        ("EDI", was.edi, is.edi),
    ] {
        if was != is {
            findings.add(changed(entry, name, was, is));
        }
    }
    for (name, index) in [("ES", 0), ("DS", 3), ("FS", 4), ("GS", 5)] {
        let was = if before.virtual_8086() { 0 } else { before.segments[index].selector };
        let is = entry.after.segments[index].selector;
        if was != is {
            findings.add(changed(entry, name, u32::from(was), u32::from(is)));
        }
    }
}

fn changed(entry: &Entry, name: &str, was: u32, is: u32) -> Finding {
    Finding::new(
        "registers_kept",
        Subject::Processor,
        format!("{name} changed while {} was delivered", entry.vector),
        format!("{name} {was:08x}"),
        format!("{name} {is:08x}"),
    )
}
