//! What a case looks like and what the model expects of it, in a mirror of the guest's memory.

use super::case::Case;
use super::fit::{Unfit, absent_descriptor, possible, walk};
use super::layout::{self, ABSENT, ABSENT_STACKS, RAM};
use super::via::Via;
use ia32::paging::{ACCESSED, Translation};
use ia32::{
    AttemptEnd, Branch, Eflags, Interruption, OperandSize, Operation, Outcome, Path, Processor,
    ReadMemory, State,
};
use ia32::{Vector, Write, take_into};
use std::cell::Cell;
use std::ops::Range;

/// Memory, and what of it differs from its plain content.
#[derive(Debug)]
pub(super) struct World {
    plain: Vec<u8>,
    pub(super) memory: Vec<u8>,
    /// What the case changes, and then what its event may write; places may occur twice.
    touched: Vec<Place>,
    /// How many of them the case changes.
    changed: usize,
    /// What stood where the model writes, in the order of its writes.
    before: Vec<(Place, [u8; 4])>,
    expectation: Expectation,
}

/// A few bytes of RAM, or behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u32,
    /// How many bytes: 1 to 4.
    pub(super) width: u32,
}

impl Place {
    /// The place among the bytes of RAM, without what lies behind the end.
    pub(super) fn range(self) -> Range<usize> {
        let end = self.address.saturating_add(self.width).min(RAM);
        self.address.min(RAM) as usize..end as usize
    }
}

/// A case that can be run, and what has to come of it.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    pub(super) before: State,
    /// What an IRET of 32 bits pops as EFLAGS.
    pub(super) popped_eflags: Eflags,
    pub(super) outcome: Outcome,
    /// Where `outcome` has a debug trap that follows: what comes of that.
    second: Outcome,
    has_second: bool,
    /// Accessed bits that fetching the source's and the destination's instruction may set.
    pub(super) fetched: Fetched,
}

impl Expectation {
    /// A #DB that follows a switch to a task with T set; what it starts from is `outcome`.
    pub(super) fn debug_trap(&self) -> Option<&Outcome> {
        self.has_second.then_some(&self.second)
    }

    /// The last outcome.
    pub(super) fn last(&self) -> &Outcome {
        self.debug_trap().unwrap_or(&self.outcome)
    }

    /// The check at which the first attempt stops, if it does.
    pub(super) fn first_check(&self) -> Option<Branch> {
        self.outcome.attempts.iter().next()?.fault.map(|fault| fault.branch)
    }

    /// The branches of the model that the case takes.
    pub(super) fn path(&self) -> Path {
        self.outcome.path().union(self.last().path())
    }
}

/// Entries of paging structures that an instruction fetch used.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetched {
    entries: [u64; 6],
    length: usize,
}

impl Fetched {
    fn add(&mut self, walk: &Translation) {
        for update in [walk.directory, walk.table].into_iter().flatten() {
            if let Some(free) = self.entries.get_mut(self.length) {
                *free = update.address;
                self.length += 1;
            }
        }
    }

    /// The bits of the byte at `address` that a fetch may have set.
    pub(super) fn mask(&self, address: u64) -> u8 {
        if self.entries[..self.length].contains(&address) { ACCESSED as u8 } else { 0 }
    }
}

/// RAM as the model reads it; it notices when there is none.
struct Watched<'m> {
    ram: &'m [u8],
    beyond: Cell<bool>,
}

impl ReadMemory for Watched<'_> {
    fn read_u8(&self, address: u64) -> u8 {
        if address >= u64::from(RAM) {
            self.beyond.set(true);
        }
        self.ram.read_u8(address)
    }

    fn read_u32(&self, address: u64) -> u32 {
        if address > u64::from(RAM) - 4 {
            self.beyond.set(true);
        }
        self.ram.read_u32(address)
    }
}

impl World {
    pub(super) fn new() -> Self {
        let plain = layout::memory();
        World {
            memory: plain.clone(),
            plain,
            touched: Vec::new(),
            changed: 0,
            before: Vec::new(),
            expectation: Expectation::default(),
        }
    }

    /// What the model expects of the case that was prepared last.
    pub(super) fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// Makes the case's world and asks the model: see [`World::expectation`]. Whatever comes of it,
    /// [`World::undo`] has to follow before the next case.
    pub(super) fn prepare(&mut self, case: &Case, processor: &Processor) -> Result<(), Unfit> {
        let before = self.set(case);
        if !possible(&before, case.via) {
            return Err(Unfit::Impossible);
        }
        self.expectation.fetched = self.place_source(case.via, &before, processor)?;
        self.changed = self.touched.len();
        self.expectation.popped_eflags = match case.via {
            Via::Iret(OperandSize::Bits32) => self.popped_eflags(&before, processor),
            _ => Eflags(0),
        };
        let operation = case.via.operation(&before);
        let outcome = &mut self.expectation.outcome;
        ask(&self.memory, outcome, &before, operation, processor)?;
        let follows = outcome.debug_trap && outcome.is_completed();
        self.expectation.before = before;
        self.expectation.has_second = follows;
        if follows {
            self.follow_debug_trap(processor)?;
        }
        self.check_landing(processor)?;
        self.touch_writes();
        Ok(())
    }

    fn set(&mut self, case: &Case) -> State {
        let words = case.words.iter().map(|(address, _)| Place { address: *address, width: 4 });
        self.touched.extend(words);
        case.prepare(&mut self.memory)
    }

    /// A byte as it was before the event, once its writes have been made.
    pub(super) fn before(&self, address: u32) -> u8 {
        let byte = |(place, bytes): &(Place, [u8; 4])| {
            let offset = address.wrapping_sub(place.address);
            (offset < place.width).then(|| bytes[offset as usize])
        };
        self.before.iter().find_map(byte).unwrap_or_else(|| self.memory[address as usize])
    }

    /// Writes the source's instruction to where the processor fetches it.
    fn place_source(
        &mut self,
        via: Via,
        state: &State,
        processor: &Processor,
    ) -> Result<Fetched, Unfit> {
        let mut fetched = Fetched::default();
        let at = state.cs().base.wrapping_add(state.eip);
        if via == Via::Fetch {
            let walk = walk(state, &self.memory, at, processor);
            let user = state.cpl() == 3;
            let absent = walk.result.is_err_and(|fault| fault.error_code == u32::from(user) << 2);
            fetched.add(&walk);
            return if absent { Ok(fetched) } else { Err(Unfit::Impossible) };
        }
        let Some(instruction) = via.instruction(state) else { return Ok(fetched) };
        for (n, byte) in (0..).zip(instruction.bytes()) {
            let walk = walk(state, &self.memory, at.wrapping_add(n), processor);
            let address = walk.result.map_err(|_| Unfit::NoSource)?;
            let place = self.memory.get_mut(address as usize).ok_or(Unfit::NoSource)?;
            *place = *byte;
            self.touched.push(Place { address: address as u32, width: 1 });
            fetched.add(&walk);
        }
        let selector = match via {
            Via::NotPresent => ABSENT | 3,
            Via::NoStack => ABSENT_STACKS + 9 * u16::from(state.cpl()),
            _ => return Ok(fetched),
        };
        if absent_descriptor(state, &self.memory, selector, processor) {
            Ok(fetched)
        } else {
            Err(Unfit::Impossible)
        }
    }

    fn popped_eflags(&self, state: &State, processor: &Processor) -> Eflags {
        let byte = |n: u32| {
            let at = state.stack_address().wrapping_add(8 + n);
            let address = walk(state, &self.memory, at, processor).result.ok()?;
            self.memory.get(address as usize).copied()
        };
        Eflags(u32::from_le_bytes([0, 1, 2, 3].map(|n| byte(n).unwrap_or(0))))
    }

    /// The #DB of a new task whose T is set comes before its first instruction.
    fn follow_debug_trap(&mut self, processor: &Processor) -> Result<(), Unfit> {
        let World { memory, before, expectation, .. } = self;
        let Expectation { outcome: first, second, .. } = expectation;
        if first.writes.iter().any(|write| !write.certain) {
            return Err(Unfit::Unspecified);
        }
        make(first, memory, before);
        let result =
            ask(memory, second, &first.state, Interruption::trap(Vector::DB).into(), processor);
        for (place, bytes) in before.drain(..).rev() {
            let range = place.range();
            let length = range.len();
            memory[range].copy_from_slice(&bytes[..length]);
        }
        result
    }

    /// The next instruction's fetch has to leave the VM: mapped, where there is no RAM.
    fn check_landing(&mut self, processor: &Processor) -> Result<(), Unfit> {
        let last = self.expectation.last();
        if last.end != AttemptEnd::Completed {
            return Ok(());
        }
        let state = &last.state;
        // Entries in which a write of the event is pending differ from memory in A and D only.
        let walk = walk(state, &self.memory, state.instruction_address(), processor);
        match walk.result {
            Ok(address) if address >= u64::from(RAM) && address < 1 << 32 => {
                self.expectation.fetched.add(&walk);
                Ok(())
            }
            _ => Err(Unfit::NoLanding),
        }
    }

    /// Remembers all that the event may write.
    fn touch_writes(&mut self) {
        let World { touched, expectation, .. } = self;
        for outcome in [Some(&expectation.outcome), expectation.debug_trap()].into_iter().flatten()
        {
            touched.extend(outcome.writes.iter().map(Place::from));
        }
        let fetched = &expectation.fetched;
        let entries = fetched.entries[..fetched.length].iter();
        touched.extend(entries.map(|at| Place { address: *at as u32, width: 4 }));
    }

    /// Makes the writes that the model is certain of.
    pub(super) fn apply(&mut self) {
        let World { memory, before, expectation, .. } = self;
        make(&expectation.outcome, memory, before);
        if let Some(second) = expectation.debug_trap() {
            make(second, memory, before);
        }
    }

    /// Remembers one byte.
    pub(super) fn touch_byte(&mut self, address: u32) {
        self.touched.push(Place { address, width: 1 });
    }

    /// What the case changes, for whoever has a copy.
    pub(super) fn changed(&self) -> &[Place] {
        &self.touched[..self.changed]
    }

    /// What the case changes and what its event may write.
    pub(super) fn touched(&self) -> &[Place] {
        &self.touched
    }

    /// Memory before all cases.
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Puts back what was touched, and tells of each place.
    pub(super) fn undo(&mut self, mut restored: impl FnMut(Place, &[u8])) {
        self.before.clear();
        self.changed = 0;
        for place in self.touched.drain(..) {
            let range = place.range();
            self.memory[range.clone()].copy_from_slice(&self.plain[range.clone()]);
            restored(place, &self.plain[range]);
        }
    }
}

impl From<&Write> for Place {
    fn from(write: &Write) -> Self {
        Place { address: write.address as u32, width: write.width.into() }
    }
}

/// Asks the model, for what can be judged.
fn ask(
    memory: &[u8],
    outcome: &mut Outcome,
    state: &State,
    operation: Operation,
    processor: &Processor,
) -> Result<(), Unfit> {
    let memory = Watched { ram: memory, beyond: Cell::new(false) };
    take_into(outcome, state, &memory, operation, processor);
    let writes_beyond = || outcome.writes.iter().any(|write| write.address + 4 > u64::from(RAM));
    match outcome.end {
        AttemptEnd::Unmodelled(_) => Err(Unfit::Unmodelled),
        AttemptEnd::Endless => Err(Unfit::Endless),
        _ if outcome.unspecified.is_some() => Err(Unfit::Unspecified),
        _ if memory.beyond.get() || writes_beyond() => Err(Unfit::BeyondMemory),
        _ => Ok(()),
    }
}

/// Makes an outcome's certain writes; what was there goes to `before`.
fn make(outcome: &Outcome, memory: &mut [u8], before: &mut Vec<(Place, [u8; 4])>) {
    for write in outcome.writes.iter().filter(|write| write.certain) {
        let place = Place::from(write);
        let bytes = &mut memory[place.range()];
        let mut old = [0; 4];
        old[..bytes.len()].copy_from_slice(bytes);
        bytes.copy_from_slice(&write.value.to_le_bytes()[..bytes.len()]);
        before.push((place, old));
    }
}
