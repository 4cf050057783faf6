//! What the judges have in common: how an entry is called, which stops show the processor alone, and
//! how an observation is altered.

use super::observation::{Happening, Moment, Observation, Sight};
use crate::entry::Entry;
use crate::trace::event_name;

/// `#3 int 0x80`.
pub(super) fn name(entry: &Entry) -> String {
    format!("#{} {}", entry.sequence, event_name(entry.kind, entry.vector))
}

/// Pairs of a return to ring 3 and the entry that came next, on the same TSS and ESP0: no kernel
/// code has run in between.
pub(super) fn undisturbed(observation: &Observation) -> impl Iterator<Item = (&Moment, &Moment)> {
    observation.moments.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let same = before.sight.tss_base == after.sight.tss_base;
        let to_ring_3 = before.returning().is_some_and(|returning| returning.ring() == 3);
        let from_ring_3 = after.entry().is_some_and(|entry| entry.origin.ring == 3);
        (same && to_ring_3 && from_ring_3).then_some((before, after))
    })
}

/// Alters the first entry that fits.
pub(super) fn alter_entry(
    observation: &mut Observation,
    fits: impl Fn(&Entry, &Sight) -> bool,
    alter: impl Fn(&mut Entry, &mut Sight),
) -> bool {
    for moment in &mut observation.moments {
        if let Happening::Entry(entry) = &mut moment.event
            && fits(entry, &moment.sight)
        {
            alter(entry, &mut moment.sight);
            return true;
        }
    }
    false
}
