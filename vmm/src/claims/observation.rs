//! What was seen of a run: each entry, return and task switch, and what memory held just then.
//!
//! It is plain data: a judge can look at it as often as it likes, and a copy of it can be altered to see
//! whether the judge notices. [`super::collector`] makes it.

use super::scenario::Ends;
use super::stacks::{Change, Stacks};
use super::steps::Trail;
use crate::check::{Finding, TaskId};
use crate::entry::{Entry, Frame, InnerStack, Return, TaskSwitch, TssWords};
use crate::machine::PageRights;
use crate::run::{End, StackLoad};
use ia32::{State, TableRegister};

/// How many bytes below ESP0 are kept: the longest frame is 24 bytes long.
pub(super) const BELOW: usize = 64;
/// How many bytes from ESP0 on are kept.
pub(super) const ABOVE: usize = 16;

/// What happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An entry.
    Entry(Box<Entry>),
    /// An IRET that is about to be executed.
    Return(Box<Return>),
    /// A task switch by hardware.
    Switch(Box<TaskSwitch>),
}

/// An event, and what was seen around it.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What happened.
    pub event: Happening,
    /// The task that the rules take it for.
    pub task: Option<TaskId>,
    /// What is known to be wrong with the processor model here.
    pub deviations: Vec<&'static str>,
    /// What the rules found.
    pub findings: Vec<Finding>,
    /// What memory held.
    pub sight: Sight,
    /// For a return to ring 3: the state behind the IRET, before anything was executed there.
    pub resumed: Option<Box<State>>,
}

/// What memory held at a stop.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Linear address of the current TSS.
    pub tss_base: u32,
    /// Where that lies in physical memory.
    pub tss_physical: Option<u64>,
    /// Its first 104 bytes.
    pub tss: Option<TssWords>,
    /// The bytes right below ESP0.
    pub below: Option<[u8; BELOW]>,
    /// The bytes from ESP0 on, if they are mapped.
    pub above: Option<[u8; ABOVE]>,
    /// GDTR and IDTR.
    pub tables: [TableRegister; 2],
    /// CR3.
    pub cr3: u32,
    /// CR2, and what the page tables say of it.
    pub cr2: (u32, Option<PageRights>),
    /// For an entry: the first bytes of the instruction at the pushed EIP, and where they lie in
    /// physical memory. For a return, of the instruction that it goes to.
    pub code: Option<([u8; 8], u64)>,
    /// For an entry from ring 3 and a return to it: how many pages are mapped for ring 3 right below
    /// the page of the user's ESP, without a gap.
    pub user_pages_below: u32,
    /// For a system call that takes an address: the address, if ring 3 may not use what is there.
    pub bad_pointer: Option<u32>,
    /// For an entry from ring 3: ESP, if ring 3 may not use what lies below it.
    pub bad_stack: Option<u32>,
    /// What was written to kernel stacks since the last stop.
    pub changes: Vec<Change>,
    /// What the kernel did since the last stop, instruction by instruction, where it was followed.
    pub trail: Trail,
    /// Copies of the last frame's EIP, CS and EFLAGS that lie near the kernel stack, but not on it.
    pub saved_contexts: Vec<u32>,
    /// The words at the masked stack pointer: see `MASKS`.
    pub masked: [Option<[u32; 3]>; MASKS.len()],
}

/// Sizes of an aligned block that a kernel stack could lie in, in bytes.
pub(super) const MASKS: [u32; 4] = [0x1000, 0x2000, 0x4000, 0x8000];

/// A run, as it was seen from outside.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Everything that happened, in order.
    pub moments: Vec<Moment>,
    /// The stacks that a kernel loaded before it had an IDT.
    pub stack_loads: Vec<StackLoad>,
    /// How it ended.
    pub end: End,
    /// What memory held at the end.
    pub last: Last,
    /// The stacks that were seen, and what they were last.
    pub stacks: Stacks,
    /// How it was to end.
    pub ends: Ends,
}

/// What the machine held at the end.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// The current TSS, and the one that it names as the task before.
    pub tss: Option<TssWords>,
    /// The TSS of the task that was left for this one.
    pub backlink: Option<TssWords>,
    /// What the page tables say of CR2.
    pub cr2: Option<PageRights>,
    /// Pages of the kernel's part of the address space that ring 3 may use.
    pub open_pages: Vec<u32>,
    /// How many pages of it are for ring 0 alone.
    pub closed_pages: usize,
}

impl Observation {
    /// The entries, with what was seen around them.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&Entry, &Moment)> {
        self.moments.iter().filter_map(|moment| match &moment.event {
            Happening::Entry(entry) => Some((&**entry, moment)),
            _ => None,
        })
    }

    /// The entries from ring 3.
    pub fn from_ring_3(&self) -> impl DoubleEndedIterator<Item = (&Entry, &Moment)> {
        self.entries().filter(|(entry, _)| entry.origin.ring == 3)
    }

    /// The returns.
    pub fn returns(&self) -> impl DoubleEndedIterator<Item = &Return> {
        self.moments.iter().filter_map(|moment| match &moment.event {
            Happening::Return(returning) => Some(&**returning),
            _ => None,
        })
    }

    /// The task switches by hardware.
    pub fn switches(&self) -> impl DoubleEndedIterator<Item = &TaskSwitch> {
        self.moments.iter().filter_map(|moment| match &moment.event {
            Happening::Switch(switch) => Some(&**switch),
            _ => None,
        })
    }
}

impl Moment {
    /// The entry, if it is one.
    pub fn entry(&self) -> Option<&Entry> {
        match &self.event {
            Happening::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// The return, if it is one.
    pub fn returning(&self) -> Option<&Return> {
        match &self.event {
            Happening::Return(returning) => Some(returning),
            _ => None,
        }
    }

    /// SS0:ESP0, as the TSS held it.
    pub fn inner_stack(&self) -> InnerStack {
        self.sight.tss.map_or(InnerStack { ss: 0, esp: 0 }, |tss| tss.inner_stack())
    }

    /// The words that were pushed or are about to be popped.
    pub fn frame(&self) -> Option<&Frame> {
        match &self.event {
            Happening::Entry(entry) => Some(&entry.frame),
            Happening::Return(returning) => Some(&returning.frame),
            Happening::Switch(_) => None,
        }
    }

    /// The stack that it happened on, by its linear address; where it goes on, for a switch.
    pub fn stack_address(&self) -> u32 {
        match &self.event {
            Happening::Entry(entry) => entry.frame.address,
            Happening::Return(returning) => returning.frame.address,
            Happening::Switch(switch) => switch.stack_address(),
        }
    }

    /// The number of the entry, or of the last one before it.
    pub fn sequence(&self) -> u64 {
        match &self.event {
            Happening::Entry(entry) => entry.sequence,
            Happening::Return(returning) => returning.after_sequence,
            Happening::Switch(switch) => switch.after_sequence,
        }
    }
}
