//! Holds what a case left behind in KVM against what the model says.

use super::lab::Lab;
use super::layout::{PAGE, RAM};
use super::mismatch::{ByteDifference, Mismatch, ended_so, fields};
use super::world::Place;
use crate::machine::{Exit, MachineError};
use ia32::{End, State};
use std::ops::Range;

/// How much of memory is compared after a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    All,
    /// What the case changes and what its event may write.
    Touched,
}

/// How many bytes of a mismatch are looked at. Where there are more, code ran away over memory, and
/// the others say the same.
const MOST_BYTES: usize = 256;

impl Lab {
    pub(super) fn compare(
        &mut self,
        compare: Compare,
        exit: Exit,
        got: State,
    ) -> Result<Mismatch, MachineError> {
        let end = self.expectation().last().end;
        let as_expected = ended_so(end, &exit);
        let mut mismatch = Mismatch { exit: None, got, fields: Vec::new(), bytes: Vec::new() };
        if !as_expected {
            if matches!(
                exit,
                Exit::PortRead { .. }
                    | Exit::PortWrite { .. }
                    | Exit::MemoryRead { .. }
                    | Exit::MemoryWrite { .. }
            ) {
                self.machine.vcpu.finish_instruction()?;
            }
            mismatch.exit = Some(exit);
        }
        if end == End::Completed && (as_expected || mismatch.exit != Some(Exit::Shutdown)) {
            mismatch.fields = fields(self.expectation(), &got);
        }
        // A delivery that went another way has pushed its frame elsewhere, most likely.
        let whole = compare == Compare::All || !as_expected || mismatch.concerns("EIP");
        let differing = if whole { self.differing() } else { self.differing_in_places() };
        self.elsewhere |= !differing.iter().all(|(at, _)| self.is_in_places(*at));
        for (at, got) in differing.iter().take(MOST_BYTES) {
            self.world.touch_byte(*at);
            mismatch.bytes.extend(self.compare_byte(*at, *got));
        }
        self.flooded |= differing.len() > MOST_BYTES;
        Ok(mismatch)
    }

    fn is_in_places(&self, address: u32) -> bool {
        let is_in = |place: &Place| place.range().contains(&(address as usize));
        self.world.touched().iter().any(is_in)
    }

    /// Whether the case's places are in the guest as they are in `memory`.
    pub(super) fn has_places_of(&self, memory: &[u8]) -> bool {
        self.world.touched().iter().all(|place| self.has(place.range(), memory))
    }

    /// The first bytes of RAM that are not as expected, found in ever smaller pieces.
    fn differing(&self) -> Vec<(u32, u8)> {
        let pieces = |range: Range<usize>, size: usize| {
            let pieces = range.step_by(size).map(move |at| at..at + size);
            pieces.filter(|piece| !self.has(piece.clone(), &self.world.memory))
        };
        pieces(0..RAM as usize, RAM as usize)
            .flat_map(|ram| pieces(ram, PAGE as usize))
            .flat_map(|page| pieces(page, 64))
            .flat_map(|piece| self.differing_in(piece))
            .take(MOST_BYTES + 1)
            .collect()
    }

    /// The bytes of the case's places that are not as expected.
    fn differing_in_places(&self) -> Vec<(u32, u8)> {
        let places = self.world.touched().iter().map(|place| place.range());
        let mut differing: Vec<(u32, u8)> = places
            .filter(|range| !self.has(range.clone(), &self.world.memory))
            .flat_map(|range| self.differing_in(range))
            .collect();
        differing.sort_unstable();
        differing.dedup();
        differing
    }

    fn differing_in(&self, range: Range<usize>) -> impl Iterator<Item = (u32, u8)> + '_ {
        range.filter_map(|at| {
            let [got] = self.machine.memory().read_array(at as u64)?;
            (got != self.world.memory[at]).then_some((at as u32, got))
        })
    }

    /// Whether the guest has at `range` what `memory` has there.
    fn has(&self, range: Range<usize>, memory: &[u8]) -> bool {
        let (guest, at) = (self.machine.memory(), range.start as u64);
        let bytes = &memory[range];
        // Most are words.
        match bytes.try_into() {
            Ok(word) => guest.read_u32(at) == Some(u32::from_le_bytes(word)),
            Err(_) => guest.equals(at, bytes),
        }
    }

    fn compare_byte(&self, at: u32, got: u8) -> Option<ByteDifference> {
        let expectation = self.expectation();
        let address = u64::from(at);
        let before = self.world.before(at);
        let mut expected = expectation.outcome.writes.expect(address, before);
        if let Some(second) = expectation.debug_trap() {
            let first = expected;
            expected = second.writes.expect(address, first.value);
            expected.owner = expected.owner.or(first.owner);
            if expected.value == first.value {
                expected.undefined |= first.undefined;
            }
        }
        let undefined = expected.undefined | expectation.fetched.mask(address);
        ((got ^ expected.value) & !undefined != 0).then_some(ByteDifference {
            address: at,
            before,
            expected: expected.value,
            got,
            undefined,
            owner: expected.owner,
        })
    }
}
