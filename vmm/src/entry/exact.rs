//! All that the model needs to say what an event must do, and all that the event did to memory.
//!
//! The state before is known, not inferred: the vCPU stood at that boundary. Of memory before, the
//! bytes are kept that the model reads and those that it writes; of memory after, every byte that
//! differs. So the event can be judged, and explained, from these values alone.

use crate::instruction::operands::{Operand, across, operands};
use crate::machine::ChangedByte;
use ia32::paging::{self, PageFault, PagingControls, Privilege};
use ia32::{AttemptEnd, Operation, Outcome, Processor, ReadMemory, State, take};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// An event or an IRET with the whole of what went into it and came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    /// What happened.
    pub operation: Operation,
    /// The state just before.
    pub before: State,
    /// What executed it.
    pub processor: Processor,
    /// Memory before, as far as it matters.
    pub memory: KnownBytes,
    /// The bytes of memory that differ afterwards, by address: all of them.
    pub changed: Vec<ChangedByte>,
    /// What the processor had to reach beside what the model covers.
    pub touched: Vec<Touch>,
    /// `touched` has all accesses of the instruction.
    pub all_touched: bool,
    /// The manuals decide what must come of it, and the model covers it.
    pub decided: bool,
}

/// An access beside those of the event itself: the instruction's bytes, the operands that it may
/// have reached before it faulted, the handler's first byte. It may set accessed and dirty bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Linear address.
    pub linear: u32,
    /// It may have been a read.
    pub read: bool,
    /// It may have been a write.
    pub write: bool,
    /// It is made in the state after the event, not in that before.
    pub after: bool,
}

/// Some bytes of physical memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownBytes {
    bytes: BTreeMap<u64, u8>,
}

/// What the model says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What must come of it.
    pub outcome: Outcome,
    /// Each byte that the model read is known. If not, the outcome means nothing.
    pub complete: bool,
}

impl KnownBytes {
    /// The byte at `address`, if it is known.
    pub fn get(&self, address: u64) -> Option<u8> {
        self.bytes.get(&address).copied()
    }

    /// Adds a byte, or changes it.
    pub fn set(&mut self, address: u64, value: u8) {
        self.bytes.insert(address, value);
    }

    /// Each run of bytes that follow each other, by address.
    pub fn runs(&self) -> Vec<(u64, Vec<u8>)> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (address, byte) in &self.bytes {
            match runs.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == *address => {
                    bytes.push(*byte);
                }
                _ => runs.push((*address, vec![*byte])),
            }
        }
        runs
    }
}

/// Known bytes as the model reads them.
struct Reader<'a> {
    known: &'a KnownBytes,
    /// A byte was asked for that is not known.
    missed: Cell<bool>,
}

impl ReadMemory for Reader<'_> {
    fn read_u8(&self, address: u64) -> u8 {
        self.known.get(address).unwrap_or_else(|| {
            self.missed.set(true);
            0xff
        })
    }
}

/// Memory that remembers what was read of it.
struct Recorder<'a> {
    memory: &'a [u8],
    read: RefCell<BTreeMap<u64, u8>>,
}

impl ReadMemory for Recorder<'_> {
    fn read_u8(&self, address: u64) -> u8 {
        let byte = self.memory.read_u8(address);
        self.read.borrow_mut().insert(address, byte);
        byte
    }
}

impl Exact {
    /// An operation that was seen from the boundary before it, where memory was `memory`, to the one
    /// behind it.
    pub fn record(
        operation: Operation,
        before: State,
        after: &State,
        processor: Processor,
        memory: &[u8],
        changed: Vec<ChangedByte>,
        code: &[u8],
    ) -> Self {
        let (operands, all_touched) = operands(code, &before);
        let touch = |operand: Operand| {
            let Operand { linear, read, write } = operand;
            Touch { linear, read, write, after: false }
        };
        let mut touched: Vec<Touch> = operands.into_iter().map(touch).collect();
        let fetch = |linear, after| Touch { linear, read: true, write: false, after };
        let at = before.instruction_address();
        touched.push(fetch(at, false));
        touched.extend(across(at, code.len() as u32).map(|linear| fetch(linear, false)));
        touched.push(fetch(after.instruction_address(), true));
        let recorder = Recorder { memory, read: RefCell::default() };
        let outcome = take(&before, &recorder, operation, &processor);
        let mut exact = Exact {
            operation,
            before,
            processor,
            memory: KnownBytes::default(),
            changed,
            touched,
            all_touched,
            decided: outcome.unspecified.is_none()
                && !matches!(outcome.end, AttemptEnd::Unmodelled(_)),
        };
        drop((exact.marks(&outcome, &recorder), exact.faults(&recorder)));
        for write in &outcome.writes {
            for offset in 0..u64::from(write.width) {
                recorder.read_u8(write.address + offset);
            }
        }
        exact.memory.bytes = recorder.read.into_inner();
        exact
    }

    /// What the model says.
    pub fn account(&self) -> Account {
        let reader = self.reader();
        let outcome = take(&self.before, &reader, self.operation, &self.processor);
        Account { outcome, complete: !reader.missed.get() }
    }

    fn reader(&self) -> Reader<'_> {
        Reader { known: &self.memory, missed: Cell::new(false) }
    }

    /// The bits that accesses beside the model's may set, by the physical address of their byte.
    pub fn marked(&self, outcome: &Outcome) -> BTreeMap<u64, u8> {
        self.marks(outcome, &self.reader())
    }

    fn marks(&self, outcome: &Outcome, memory: &impl ReadMemory) -> BTreeMap<u64, u8> {
        let mut marks = BTreeMap::new();
        for touch in &self.touched {
            let state = if touch.after { &outcome.state } else { &self.before };
            let access =
                paging::AccessRequest { write: touch.write, privilege: Privilege::of(state.cpl()) };
            let paging = PagingControls::from(state);
            let walk = paging::translate(memory, &paging, touch.linear, access, &self.processor);
            for update in [walk.directory, walk.table].into_iter().flatten() {
                let bits = update.value & !memory.read_u8(update.address);
                *marks.entry(update.address).or_default() |= bits;
            }
        }
        marks
    }

    /// The page faults that accesses of the instruction raise by the page tables: a #PF has to be one
    /// of them. None if not all accesses are known.
    pub fn page_faults(&self) -> Option<Vec<PageFault>> {
        self.all_touched.then(|| self.faults(&self.reader()))
    }

    fn faults(&self, memory: &impl ReadMemory) -> Vec<PageFault> {
        let paging = PagingControls::from(&self.before);
        let privilege = Privilege::of(self.before.cpl());
        let before = self.touched.iter().filter(|touch| !touch.after);
        // A read that is to be followed by a write may be either by its error code.
        let ways = before.flat_map(|touch| {
            [(touch.read, false), (touch.write, true)]
                .into_iter()
                .filter(|(possible, _)| *possible)
                .map(|(_, write)| (touch.linear, write))
        });
        ways.filter_map(|(linear, write)| {
            let access = paging::AccessRequest { write, privilege };
            paging::translate(memory, &paging, linear, access, &self.processor).result.err()
        })
        .collect()
    }

    /// What the byte at `address` is afterwards; none if it is not known what it was before.
    pub fn after(&self, address: u64) -> Option<u8> {
        match self.changed.binary_search_by_key(&address, |changed| changed.address) {
            Ok(index) => self.changed.get(index).map(|changed| changed.after),
            Err(_) => self.memory.get(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ia32::{Eflags, Interruption, Segment};

    fn flat() -> State {
        let segment = Segment { selector: 8, attributes: 0xc093, base: 0, limit: u32::MAX };
        let mut state = State { cr0: 1, eflags: Eflags::FIXED, eip: 0x10, ..State::default() };
        state.segments = [segment; 6];
        state.segments[1].attributes = 0xc09b;
        state.general.esp = 0x100;
        state
    }

    #[test]
    fn what_is_recorded_is_enough_for_the_model() {
        let mut memory = vec![0; 0x200];
        // A gate for vector 2 to 0008:0150, and the code segment 0008.
        memory[0x10..0x18].copy_from_slice(&0x0000_8e00_0008_0150_u64.to_le_bytes());
        memory[0x88..0x90].copy_from_slice(&0x00cf_9b00_0000_ffff_u64.to_le_bytes());
        let mut state = flat();
        state.idtr.limit = 0x7f;
        state.gdtr = ia32::TableRegister { base: 0x80, limit: 0xf };
        let after = State { eip: 0x150, ..state };
        let operation = Interruption::int(2).into();
        let exact = Exact::record(
            operation,
            state,
            &after,
            Processor::INTEL,
            &memory,
            Vec::new(),
            &[0xcd, 2],
        );
        let Account { outcome, complete } = exact.account();
        assert!(outcome.is_completed() && complete, "{outcome:?}");
        assert_eq!(outcome, take(&state, memory.as_slice(), operation, &Processor::INTEL));
        assert!(exact.memory.runs().len() < 6);
        // Memory as it was stands for what did not change.
        assert_eq!((exact.after(0xfc), exact.after(0x1ff)), (Some(0), None));
    }
}
