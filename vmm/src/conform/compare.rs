//! Holds what a case left behind in KVM against what the model says.

use super::layout::{PAGE, RAM};
use super::mismatch::{ByteDifference, CaseMismatch, ended_so, fields};
use super::world::{Place, World};
use crate::machine::{Exit, Machine, MachineError, Memory};
use ia32::{AttemptEnd, State};
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

/// What a case left behind, beside what the model says.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) mismatch: CaseMismatch,
    /// It differs from the model in memory that is not the case's own.
    pub(super) elsewhere: bool,
    /// More of memory has changed than is remembered.
    pub(super) flooded: bool,
}

/// Compares the guest, which left with `exit` and the state `got`, with what `world` expects of the case that is
/// applied to it.
///
/// # Errors
/// [`MachineError`] if an ioctl fails.
pub(super) fn compare(
    machine: &mut Machine,
    world: &mut World,
    compare: Compare,
    exit: Exit,
    got: State,
) -> Result<Compared, MachineError> {
    let end = world.expectation().last().end;
    let as_expected = ended_so(end, &exit);
    let mut mismatch = CaseMismatch { exit: None, got, fields: Vec::new(), bytes: Vec::new() };
    if !as_expected {
        if matches!(
            exit,
            Exit::PortRead { .. }
                | Exit::PortWrite { .. }
                | Exit::MemoryRead { .. }
                | Exit::MemoryWrite { .. }
        ) {
            machine.vcpu.finish_instruction()?;
        }
        mismatch.exit = Some(exit);
    }
    if end == AttemptEnd::Completed && (as_expected || mismatch.exit != Some(Exit::Shutdown)) {
        mismatch.fields = fields(world.expectation(), &got);
    }
    // A delivery that went another way has pushed its frame elsewhere, most likely.
    let whole = compare == Compare::All || !as_expected || mismatch.concerns("EIP");
    let memory = machine.memory();
    let differing =
        if whole { differing(memory, world) } else { differing_in_places(memory, world) };
    let elsewhere = !differing.iter().all(|(at, _)| is_in_places(world, *at));
    for (at, got) in differing.iter().take(MOST_BYTES) {
        world.touch_byte(*at);
        mismatch.bytes.extend(compare_byte(world, *at, *got));
    }
    Ok(Compared { mismatch, elsewhere, flooded: differing.len() > MOST_BYTES })
}

/// Whether the case's places are in the guest as they were before all cases.
pub(super) fn has_plain_places(memory: &Memory, world: &World) -> bool {
    world.touched().iter().all(|place| has(memory, place.range(), world.plain()))
}

fn is_in_places(world: &World, address: u32) -> bool {
    let is_in = |place: &Place| place.range().contains(&(address as usize));
    world.touched().iter().any(is_in)
}

/// The first bytes of RAM that are not as expected, found in ever smaller pieces.
fn differing(memory: &Memory, world: &World) -> Vec<(u32, u8)> {
    let pieces = |range: Range<usize>, size: usize| {
        let pieces = range.step_by(size).map(move |at| at..at + size);
        pieces.filter(|piece| !has(memory, piece.clone(), &world.memory))
    };
    pieces(0..RAM as usize, RAM as usize)
        .flat_map(|ram| pieces(ram, PAGE as usize))
        .flat_map(|page| pieces(page, 64))
        .flat_map(|piece| differing_in(memory, world, piece))
        .take(MOST_BYTES + 1)
        .collect()
}

/// The bytes of the case's places that are not as expected.
fn differing_in_places(memory: &Memory, world: &World) -> Vec<(u32, u8)> {
    let places = world.touched().iter().map(|place| place.range());
    let mut differing: Vec<(u32, u8)> = places
        .filter(|range| !has(memory, range.clone(), &world.memory))
        .flat_map(|range| differing_in(memory, world, range))
        .collect();
    differing.sort_unstable();
    differing.dedup();
    differing
}

fn differing_in<'a>(
    memory: &'a Memory,
    world: &'a World,
    range: Range<usize>,
) -> impl Iterator<Item = (u32, u8)> + 'a {
    range.filter_map(move |at| {
        let [got] = memory.read_array(at as u64)?;
        (got != world.memory[at]).then_some((at as u32, got))
    })
}

/// Whether the guest has at `range` what `memory` has there.
fn has(guest: &Memory, range: Range<usize>, memory: &[u8]) -> bool {
    let at = range.start as u64;
    let bytes = &memory[range];
    // Most are words.
    match bytes.try_into() {
        Ok(word) => guest.read_u32(at) == Some(u32::from_le_bytes(word)),
        Err(_) => guest.equals(at, bytes),
    }
}

fn compare_byte(world: &World, at: u32, got: u8) -> Option<ByteDifference> {
    let expectation = world.expectation();
    let address = u64::from(at);
    let before = world.before(at);
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
