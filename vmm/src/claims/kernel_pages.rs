//! Which pages are the kernel's, told from where it was seen to run.

use super::observation::{Happening, Moment};
use std::collections::BTreeSet;

/// Pages that belong to the kernel, and that ring 3 could name: in the 4-MiB regions that handlers,
/// tables and stacks lie in and no program runs in, and inside of the segments that programs have.
pub(super) fn kernel_pages(moments: &[Moment]) -> Vec<u32> {
    let mut kernel = BTreeSet::new();
    let mut programs = BTreeSet::new();
    let mut segments = BTreeSet::new();
    for moment in moments {
        let sight = &moment.sight;
        kernel.extend(sight.tables.map(|table| table.base >> 22));
        kernel.extend([sight.tss_base >> 22, moment.inner_stack().esp.wrapping_sub(4) >> 22]);
        let Happening::Entry(entry) = &moment.event else { continue };
        kernel.insert(entry.after.eip >> 22);
        if entry.origin.ring == 3 {
            programs.extend(entry.code.linear.map(|eip| eip >> 22));
            if let Some(before) = &entry.before {
                segments.insert((before.ss().base, before.ss().limit));
            }
        }
    }
    let named =
        |page: &u32| segments.iter().any(|(base, limit)| page.wrapping_sub(*base) <= *limit);
    kernel
        .difference(&programs)
        .flat_map(|region| (0..1024).map(move |page| region << 22 | page << 12))
        .filter(named)
        .collect()
}
