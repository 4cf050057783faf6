//! What the processor read for an entry, and somebody has written over since.

use crate::check::objects::Objects;
use crate::entry::Entry;
use crate::machine::LinearMemory;
use ia32::{DescriptorKind, Selector};

/// What the processor has just read is not what memory holds: the code segment's descriptor, the handler's
/// code as the file has it.
pub(super) fn overwritten(
    linear: &LinearMemory<'_>,
    entry: &Entry,
    objects: &Objects,
) -> Option<String> {
    const LOOKED_AT: usize = 8;
    let after = &entry.after;
    let code = linear.descriptor(after, Selector(after.cs().selector))?;
    if code.base() != after.cs().base || !matches!(code.kind(), DescriptorKind::Code { .. }) {
        return Some(format!("the GDT entry of CS {:04x}", after.cs().selector));
    }
    let at = after.instruction_address();
    let file = objects.loaded(at, LOOKED_AT)?;
    let mut bytes = [0; LOOKED_AT];
    linear.read(at, &mut bytes)?;
    // A probe is HLT, or OUT with its port.
    let differs = |(is, was): (&u8, &u8)| is != was && !matches!(is, 0xf4 | 0xe6 | 0xe5);
    bytes.iter().zip(file).any(differs).then(|| format!("the handler's code at {at:08x}"))
}
