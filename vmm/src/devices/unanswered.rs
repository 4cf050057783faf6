//! Accesses that nobody answered: where a guest looked for a device that is not there.
//!
//! A kernel that waits for hardware which this machine lacks looks just like one that hangs. So each place
//! is remembered, with how often it was accessed and by which instruction first, and how often in a row it
//! was read: a long row is a loop that polls. A loop may ask a few places in turn, so a row of those is kept as well.
//!
//! What a BIOS and a boot loader ask is none of the kernel's affairs: it is forgotten when the kernel is seen to have begun
//! ([`Unanswered::begin_anew`]), but for how many places that were.

use std::collections::BTreeMap;

/// Where an access went that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An I/O port; it reads as all ones.
    Port(u16),
    /// A guest physical address beyond RAM, down to a multiple of 4; it reads as all ones.
    Memory(u64),
    /// A model-specific register that the processor lacks; it reads as 0.
    Msr(u32),
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(port) => write!(formatter, "port {port:#x}"),
            Self::Memory(address) => write!(formatter, "address {address:#010x}"),
            Self::Msr(index) => write!(formatter, "MSR {index:#x}"),
        }
    }
}

/// What happened at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessCounts {
    /// How often it was read.
    pub reads: u64,
    /// How often it was written.
    pub writes: u64,
    /// EIP of the first access.
    pub first: u32,
    /// The longest row of reads with no other unanswered access in between.
    pub row: u64,
    /// The longest row of reads that were of this place and a few others, in turn.
    pub turns: u64,
}

/// So many places are told apart; a guest that probes all of memory is not to fill the host's.
const PLACES: usize = 1024;

/// A row of so many reads is a loop that waits.
pub const POLLING: u64 = 1000;

/// A loop asks so many places in turn, at most.
const IN_TURN: usize = 4;

/// All places that nobody answered at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unanswered {
    places: BTreeMap<Place, AccessCounts>,
    /// The place that was read last, and how often in a row.
    row: Option<(Place, u64)>,
    /// The places that were accessed last, with nothing else in between, and how often they were read.
    turns: (Vec<Place>, u64),
    /// Accesses to places beyond [`PLACES`].
    untold: u64,
    /// Places that were asked for before the kernel began.
    earlier: usize,
}

impl Unanswered {
    /// The instruction at `eip` has read at `place`.
    pub fn read(&mut self, place: Place, eip: u32) {
        let row = match self.row {
            Some((last, count)) if last == place => count + 1,
            _ => 1,
        };
        self.row = Some((place, row));
        self.takes_turn(place);
        self.turns.1 += 1;
        let (among, turns) = (self.turns.0.len(), self.turns.1);
        if let Some(tally) = self.at(place, eip) {
            tally.reads += 1;
            tally.row = tally.row.max(row);
            if among > 1 {
                tally.turns = tally.turns.max(turns);
            }
        }
    }

    /// The instruction at `eip` has written at `place`.
    pub fn written(&mut self, place: Place, eip: u32) {
        self.row = None;
        self.takes_turn(place);
        if let Some(tally) = self.at(place, eip) {
            tally.writes += 1;
        }
    }

    /// The place is one of those that are accessed in turn; or a new row begins with it.
    fn takes_turn(&mut self, place: Place) {
        let (places, reads) = &mut self.turns;
        if places.contains(&place) {
            return;
        }
        if places.len() == IN_TURN {
            places.clear();
        }
        places.push(place);
        *reads = 0;
    }

    /// A kernel begins: what was asked before is counted by places alone.
    pub fn begin_anew(&mut self) {
        let earlier = self.earlier + self.places.len();
        *self = Unanswered { earlier, ..Unanswered::default() };
    }

    /// Places that were asked for before the kernel began.
    pub fn earlier(&self) -> usize {
        self.earlier
    }

    fn at(&mut self, place: Place, eip: u32) -> Option<&mut AccessCounts> {
        if self.places.len() >= PLACES && !self.places.contains_key(&place) {
            self.untold += 1;
            return None;
        }
        Some(
            self.places
                .entry(place)
                .or_insert(AccessCounts { first: eip, ..AccessCounts::default() }),
        )
    }

    /// Each place, in order.
    pub fn places(&self) -> impl Iterator<Item = (Place, AccessCounts)> {
        self.places.iter().map(|(place, tally)| (*place, *tally))
    }

    /// What happened at `place`.
    pub fn tally(&self, place: Place) -> AccessCounts {
        self.places.get(&place).copied().unwrap_or_default()
    }

    /// Accesses to places that are not told apart any more.
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// Nothing went unanswered.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_with_the_first_instruction_and_the_longest_row() {
        let mut unanswered = Unanswered::default();
        let (port, memory) = (Place::Port(0x1F7), Place::Memory(0xF000_0000));
        for _ in 0..5 {
            unanswered.read(port, 0x10_0010);
        }
        unanswered.written(port, 0x10_0020);
        unanswered.read(port, 0x10_0030);
        unanswered.read(memory, 0x10_0040);
        let tally = unanswered.tally(port);
        assert_eq!(tally, AccessCounts { reads: 6, writes: 1, first: 0x10_0010, row: 5, turns: 0 });
        assert_eq!(unanswered.tally(memory).first, 0x10_0040);
    }

    #[test]
    fn a_loop_that_asks_two_places_in_turn_makes_a_row() {
        let mut unanswered = Unanswered::default();
        let (first, second) = (Place::Port(0x3FD), Place::Port(0x2FD));
        for _ in 0..100 {
            unanswered.read(first, 0);
            unanswered.written(Place::Port(0x80), 0);
            unanswered.read(second, 0);
        }
        assert_eq!(unanswered.tally(first).row, 1);
        assert!(unanswered.tally(first).turns > 190 && unanswered.tally(second).turns > 190);
        // Whoever looks through all ports waits for none.
        for port in 0x1000..0x1100 {
            unanswered.read(Place::Port(port), 0);
        }
        assert!(unanswered.tally(Place::Port(0x1010)).turns <= 4);
    }

    #[test]
    fn what_was_asked_before_the_kernel_began_is_no_place_of_its_own() {
        let mut unanswered = Unanswered::default();
        unanswered.written(Place::Port(0x402), 0);
        unanswered.begin_anew();
        assert_eq!((unanswered.places().count(), unanswered.earlier()), (0, 1));
    }

    #[test]
    fn a_guest_that_probes_everything_does_not_fill_memory() {
        let mut unanswered = Unanswered::default();
        for address in 0..5000 {
            unanswered.read(Place::Memory(address * 4), 0);
        }
        assert_eq!(unanswered.places().count(), PLACES);
        assert_eq!(unanswered.untold(), 5000 - PLACES as u64);
    }
}
