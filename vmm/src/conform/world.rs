//! What a case looks like and what the model expects of it, in a mirror of the guest's memory.

use super::case::Case;
use super::fit::{Unfit, absent_descriptor, possible, walk};
use super::layout::{self, ABSENT, ABSENT_STACKS, RAM};
use super::via::Via;
use ia32::paging::{ACCESSED, Walk};
use ia32::{Eflags, End, Event, Memory, Operation, Outcome, Path, Processor, State, Vector, take};
use std::cell::Cell;

/// Memory, and what of it differs from its plain content.
#[derive(Clone, Debug)]
pub(super) struct World {
    plain: Vec<u8>,
    pub(super) memory: Vec<u8>,
    /// Address and length of what was changed.
    touched: Vec<(u32, u32)>,
    /// Bytes as they were before the event, where the model writes; the first of an address counts.
    before: Vec<(u32, u8)>,
}

/// A case that can be run, and what has to come of it.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) before: State,
    /// What an IRET of 32 bits in protected mode pops as EFLAGS.
    pub(super) popped_eflags: Eflags,
    pub(super) outcome: Box<Outcome>,
    /// A #DB that follows a switch to a task with T set; what it starts from is `outcome`.
    pub(super) debug_trap: Option<Box<Outcome>>,
    /// Accessed bits that fetching the source's and the destination's instruction may set.
    pub(super) fetched: Fetched,
}

impl Expectation {
    /// The last outcome.
    pub(super) fn last(&self) -> &Outcome {
        self.debug_trap.as_deref().unwrap_or(&self.outcome)
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
    fn add(&mut self, walk: &Walk) {
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

impl Memory for Watched<'_> {
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
        World { memory: plain.clone(), plain, touched: Vec::new(), before: Vec::new() }
    }

    /// Makes the case's world and asks the model. Whatever comes of it, [`World::undo`] has to
    /// follow before the next case.
    pub(super) fn prepare(
        &mut self,
        case: &Case,
        processor: &Processor,
    ) -> Result<Expectation, Unfit> {
        let before = self.set(case);
        if !possible(&before, case.via) {
            return Err(Unfit::Impossible);
        }
        let mut fetched = Fetched::default();
        self.place_source(case.via, &before, processor, &mut fetched)?;
        let operation = case.via.operation(&before);
        let outcome = self.ask(&before, operation, processor)?;
        let popped_eflags = self.popped_eflags(&before, processor);
        let mut expectation =
            Expectation { before, popped_eflags, outcome, debug_trap: None, fetched };
        if expectation.outcome.debug_trap && expectation.outcome.is_completed() {
            self.follow_debug_trap(&mut expectation, processor)?;
        }
        self.check_landing(&mut expectation, processor)?;
        Ok(expectation)
    }

    fn set(&mut self, case: &Case) -> State {
        self.touched.extend(case.words.iter().map(|(at, _)| (*at, 4)));
        case.prepare(&mut self.memory)
    }

    /// A byte as it was before the event, once its writes have been made.
    pub(super) fn before(&self, address: u32) -> u8 {
        let written = self.before.iter().find(|(at, _)| *at == address);
        written.map_or_else(|| self.memory[address as usize], |(_, byte)| *byte)
    }

    /// Writes the source's instruction to where the processor fetches it.
    fn place_source(
        &mut self,
        via: Via,
        state: &State,
        processor: &Processor,
        fetched: &mut Fetched,
    ) -> Result<(), Unfit> {
        let at = state.cs().base.wrapping_add(state.eip);
        if via == Via::Fetch {
            let walk = walk(state, &self.memory, at, processor);
            let user = state.cpl() == 3;
            let absent = walk.result.is_err_and(|fault| fault.error_code == u32::from(user) << 2);
            fetched.add(&walk);
            return if absent { Ok(()) } else { Err(Unfit::Impossible) };
        }
        let Some(instruction) = via.instruction(state) else { return Ok(()) };
        for (n, byte) in (0..).zip(instruction.bytes()) {
            let walk = walk(state, &self.memory, at.wrapping_add(n), processor);
            let address = walk.result.map_err(|_| Unfit::NoSource)?;
            let place = self.memory.get_mut(address as usize).ok_or(Unfit::NoSource)?;
            *place = *byte;
            self.touched.push((address as u32, 1));
            fetched.add(&walk);
        }
        let selector = match via {
            Via::NotPresent => ABSENT | 3,
            Via::NoStack => ABSENT_STACKS + 9 * u16::from(state.cpl()),
            _ => return Ok(()),
        };
        if absent_descriptor(state, &self.memory, selector, processor) {
            Ok(())
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

    fn ask(
        &self,
        state: &State,
        operation: Operation,
        processor: &Processor,
    ) -> Result<Box<Outcome>, Unfit> {
        let memory = Watched { ram: &self.memory, beyond: Cell::new(false) };
        let outcome = Box::new(take(state, &memory, operation, processor));
        let writes_beyond =
            || outcome.writes.iter().any(|write| write.address + 4 > u64::from(RAM));
        match outcome.end {
            End::Unmodelled(_) => Err(Unfit::Unmodelled),
            End::Endless => Err(Unfit::Endless),
            _ if outcome.unspecified.is_some() => Err(Unfit::Unspecified),
            _ if memory.beyond.get() || writes_beyond() => Err(Unfit::BeyondMemory),
            _ => Ok(outcome),
        }
    }

    /// The #DB of a new task whose T is set comes before its first instruction.
    fn follow_debug_trap(
        &mut self,
        expectation: &mut Expectation,
        processor: &Processor,
    ) -> Result<(), Unfit> {
        let first = &expectation.outcome;
        if first.writes.iter().any(|write| !write.certain) {
            return Err(Unfit::Unspecified);
        }
        let image = self.memory.clone();
        first.writes.apply(self.memory.as_mut_slice());
        let second = self.ask(&first.state, Event::trap(Vector::DB).into(), processor);
        self.memory = image;
        expectation.debug_trap = Some(second?);
        Ok(())
    }

    /// The next instruction's fetch has to leave the VM: mapped, where there is no RAM.
    fn check_landing(
        &self,
        expectation: &mut Expectation,
        processor: &Processor,
    ) -> Result<(), Unfit> {
        let last = expectation.last();
        if last.end != End::Completed {
            return Ok(());
        }
        let state = &last.state;
        // Entries in which a write of the event is pending differ from memory in A and D only.
        let walk = walk(state, &self.memory, state.instruction_address(), processor);
        match walk.result {
            Ok(address) if address >= u64::from(RAM) && address < 1 << 32 => {
                expectation.fetched.add(&walk);
                Ok(())
            }
            _ => Err(Unfit::NoLanding),
        }
    }

    /// Makes the writes that the model is certain of, and remembers all that the event may write.
    pub(super) fn apply(&mut self, expectation: &Expectation) {
        for outcome in [Some(&*expectation.outcome), expectation.debug_trap.as_deref()] {
            for write in outcome.into_iter().flat_map(|outcome| outcome.writes.iter()) {
                self.touched.push((write.address as u32, u32::from(write.width)));
                if !write.certain {
                    continue;
                }
                let bytes = write.value.to_le_bytes();
                for (at, byte) in (write.address as u32..).zip(&bytes[..usize::from(write.width)]) {
                    let place = &mut self.memory[at as usize];
                    self.before.push((at, *place));
                    *place = *byte;
                }
            }
        }
        let fetched = &expectation.fetched;
        self.touched.extend(fetched.entries[..fetched.length].iter().map(|at| (*at as u32, 4)));
    }

    /// Remembers one byte.
    pub(super) fn touch_byte(&mut self, address: u32) {
        self.touched.push((address, 1));
    }

    /// What was touched, for whoever has a copy.
    pub(super) fn touched(&self) -> &[(u32, u32)] {
        &self.touched
    }

    /// The bytes at an address, as far as they lie in RAM.
    pub(super) fn bytes(&self, (at, length): (u32, u32)) -> &[u8] {
        let end = (at.saturating_add(length)).min(RAM);
        &self.memory[at.min(RAM) as usize..end as usize]
    }

    /// Puts back what was touched, and tells of each place.
    pub(super) fn undo(&mut self, mut restored: impl FnMut(u32, &[u8])) {
        self.before.clear();
        for (at, length) in self.touched.drain(..) {
            let range = at.min(RAM) as usize..at.saturating_add(length).min(RAM) as usize;
            self.memory[range.clone()].copy_from_slice(&self.plain[range.clone()]);
            restored(at, &self.plain[range]);
        }
    }
}
