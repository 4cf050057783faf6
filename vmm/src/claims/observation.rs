//! What was seen of a run: each entry, return and task switch, and what memory held just then.
//!
//! All of it is read through KVM while the guest stands still. It is plain data: a judge can look at
//! it as often as it likes, and a copy of it can be altered to see whether the judge notices.

use super::memory::kernel_pages;
use super::scenario::{Ends, PointerCall, Scenario};
use super::stacks::{Change, Stacks};
use super::steps::{Steps, Trail};
use crate::check::{Finding, Judged, Sink, TaskId};
use crate::entry::{Entry, Frame, InnerStack, Return, TaskSwitch, TssWords};
use crate::machine::{Access, LinearMemory, Machine};
use crate::run::{End, StackLoad};
use ia32::{State, TableRegister};

/// How many bytes below ESP0 are kept: the longest frame is 24 bytes long.
pub(super) const BELOW: usize = 64;
/// How many bytes from ESP0 on are kept.
pub(super) const ABOVE: usize = 16;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
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
    pub event: Event,
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
    pub cr2: (u32, Option<Access>),
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
    pub cr2: Option<Access>,
    /// Pages of the kernel's part of the address space that ring 3 may use.
    pub open_pages: Vec<u32>,
    /// How many pages of it are for ring 0 alone.
    pub closed_pages: usize,
}

impl Observation {
    /// The entries, with what was seen around them.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&Entry, &Moment)> {
        self.moments.iter().filter_map(|moment| match &moment.event {
            Event::Entry(entry) => Some((&**entry, moment)),
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
            Event::Return(returning) => Some(&**returning),
            _ => None,
        })
    }

    /// The task switches by hardware.
    pub fn switches(&self) -> impl DoubleEndedIterator<Item = &TaskSwitch> {
        self.moments.iter().filter_map(|moment| match &moment.event {
            Event::Switch(switch) => Some(&**switch),
            _ => None,
        })
    }
}

impl Moment {
    /// The entry, if it is one.
    pub fn entry(&self) -> Option<&Entry> {
        match &self.event {
            Event::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// The return, if it is one.
    pub fn returning(&self) -> Option<&Return> {
        match &self.event {
            Event::Return(returning) => Some(returning),
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
            Event::Entry(entry) => Some(&entry.frame),
            Event::Return(returning) => Some(&returning.frame),
            Event::Switch(_) => None,
        }
    }

    /// The stack that it happened on, by its linear address; where it goes on, for a switch.
    pub fn stack_address(&self) -> u32 {
        match &self.event {
            Event::Entry(entry) => entry.frame.address,
            Event::Return(returning) => returning.frame.address,
            Event::Switch(switch) => switch.stack_address(),
        }
    }

    /// The number of the entry, or of the last one before it.
    pub fn sequence(&self) -> u64 {
        match &self.event {
            Event::Entry(entry) => entry.sequence,
            Event::Return(returning) => returning.after_sequence,
            Event::Switch(switch) => switch.after_sequence,
        }
    }
}

/// Makes an observation while the guest runs.
#[derive(Debug)]
pub struct Collector {
    moments: Vec<Moment>,
    stack_loads: Vec<StackLoad>,
    stacks: Stacks,
    steps: Steps,
    sight: Sight,
    last_frame: Option<[u32; 3]>,
    pointer_calls: &'static [PointerCall],
}

impl Collector {
    /// For a run of `scenario`.
    pub fn new(scenario: &Scenario) -> Self {
        Collector {
            moments: Vec::new(),
            stack_loads: Vec::new(),
            stacks: Stacks::default(),
            steps: Steps::default(),
            sight: Sight::default(),
            last_frame: None,
            pointer_calls: scenario.pointer_calls,
        }
    }

    /// The observation, now that the run has ended.
    pub fn finish(mut self, end: End, machine: &Machine, scenario: &Scenario) -> Observation {
        let linear = machine.linear();
        let state = &end.state;
        let tss = TssWords::read(&linear, state.tr.base);
        let backlink = tss.and_then(|tss| {
            let descriptor = linear.descriptor(state, tss.selector(TssWords::BACKLINK))?;
            TssWords::read(&linear, descriptor.base())
        });
        self.stacks.look(&linear);
        let cr2 = linear.paging.access(linear.memory, state.cr2);
        let (mut open_pages, mut closed_pages) = (Vec::new(), 0);
        for page in kernel_pages(&self.moments) {
            match linear.paging.access(linear.memory, page) {
                Some(access) if access.user => open_pages.push(page),
                Some(_) => closed_pages += 1,
                None => {}
            }
        }
        Observation {
            moments: self.moments,
            stack_loads: self.stack_loads,
            end,
            last: Last { tss, backlink, cr2, open_pages, closed_pages },
            stacks: self.stacks,
            ends: scenario.ends,
        }
    }

    fn add(&mut self, event: Event, judgement: &crate::check::Judgement) {
        self.moments.push(Moment {
            event,
            task: judgement.task,
            deviations: judgement.deviations.iter().map(|deviation| deviation.name).collect(),
            findings: judgement.findings.clone(),
            sight: std::mem::take(&mut self.sight),
            resumed: None,
        });
    }

    /// Reads what every stop asks for.
    fn sight(&mut self, machine: &Machine, state: &State) -> Sight {
        let linear = machine.linear();
        let mut sight = Sight {
            tss_base: state.tr.base,
            tss_physical: linear.paging.translate(linear.memory, state.tr.base),
            tss: TssWords::read(&linear, state.tr.base),
            tables: [state.gdtr, state.idtr],
            cr3: state.cr3,
            cr2: (state.cr2, linear.paging.access(linear.memory, state.cr2)),
            ..Sight::default()
        };
        if let Some(tss) = sight.tss {
            let top = tss.inner_stack().esp;
            let mut bytes = [0; BELOW];
            let below = top.wrapping_sub(BELOW as u32);
            sight.below = linear.read(below, &mut bytes).map(|()| bytes);
            let mut bytes = [0; ABOVE];
            sight.above = linear.read(top, &mut bytes).map(|()| bytes);
            self.stacks.know(&linear, top, state.tr.base);
            for (words, size) in sight.masked.iter_mut().zip(MASKS) {
                let start = state.stack_address() & !(size - 1);
                *words = three_words(&linear, start);
            }
        }
        sight.changes = self.stacks.look(&linear);
        sight.trail = self.steps.take();
        sight
    }

    /// The address that a system call is passed, if ring 3 may not use it.
    fn bad_pointer(&self, linear: &LinearMemory<'_>, entry: &Entry) -> Option<u32> {
        let registers = entry.after.general.to_array();
        let (_, register) =
            self.pointer_calls.iter().find(|(number, _)| *number == registers[0])?;
        let offset = registers[*register];
        let data = entry.before.as_ref()?.segments[3];
        let ok = offset <= data.limit && usable(linear, data.base.wrapping_add(offset));
        (!ok).then_some(offset)
    }

    /// Where a copy of the words lies, near the kernel stack but not on it.
    fn find_context(&self, linear: &LinearMemory<'_>, sight: &Sight, words: [u32; 3]) -> Vec<u32> {
        let top = sight.tss.map_or(0, |tss| tss.inner_stack().esp);
        let Some(stack) = self.stacks.ending_at(top) else { return Vec::new() };
        let start = top.wrapping_sub(1) & !(MASKS[2] - 1);
        (start..stack.low)
            .step_by(4)
            .filter(|at| at & 0xfff <= 0xff4)
            .filter(|at| {
                words
                    .iter()
                    .zip(0..)
                    .all(|(word, index)| linear.read_u32(at + index * 4) == Some(*word))
            })
            .collect()
    }
}

fn three_words(linear: &LinearMemory<'_>, at: u32) -> Option<[u32; 3]> {
    let mut words = [0; 3];
    for (word, at) in words.iter_mut().zip((at..).step_by(4)) {
        *word = linear.read_u32(at)?;
    }
    Some(words)
}

fn code_at(linear: &LinearMemory<'_>, at: u32) -> Option<([u8; 8], u64)> {
    let physical = linear.paging.translate(linear.memory, at)?;
    let mut bytes = [0; 8];
    linear.read_some(at, &mut bytes);
    Some((bytes, physical))
}

/// Ring 3 could push nothing at the linear address `esp`.
fn bad_stack(linear: &LinearMemory<'_>, entry: &Entry, esp: u32) -> bool {
    let beyond = entry.before.as_ref().is_some_and(|before| {
        before.general.esp.wrapping_sub(4) > before.ss().limit.saturating_sub(3)
    });
    beyond || !usable(linear, esp.wrapping_sub(4))
}

/// Ring 3 may use the page of that address.
fn usable(linear: &LinearMemory<'_>, at: u32) -> bool {
    linear.paging.access(linear.memory, at).is_some_and(|access| access.user)
}

/// Pages that ring 3 may use right below the page of `esp`.
fn pages_below(linear: &LinearMemory<'_>, esp: u32) -> u32 {
    let page = |number: u32| (esp & !0xfff).wrapping_sub(number * 0x1000);
    (1..=64).take_while(|number| usable(linear, page(*number))).count() as u32
}

impl Sink for Collector {
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        match judged {
            // What the guest says is no evidence.
            Judged::Sysenter(..)
            | Judged::Console(_)
            | Judged::Reached(_)
            | Judged::Preempted(_)
            | Judged::Returned(..)
            | Judged::End(_) => {}
            Judged::Step(step) => {
                let linear = machine.linear();
                self.steps.add(&linear, &step.before, &step.after, step.code(), &mut self.stacks);
            }
            Judged::Resumed(state) => {
                if let Some(moment) = self.moments.last_mut() {
                    moment.resumed = Some(state.clone());
                }
            }
            Judged::Entry(entry, judgement) => {
                self.look_at_entry(machine, entry);
                self.add(Event::Entry(Box::new(Entry::clone(entry))), judgement);
            }
            Judged::Return(returning, judgement) => {
                self.look_at_return(machine, returning);
                self.add(Event::Return(returning.clone()), judgement);
            }
            Judged::Switch(switch, judgement) => {
                self.sight = self.sight(machine, &switch.after);
                self.add(Event::Switch(switch.clone()), judgement);
            }
            Judged::StackLoad(load) => self.stack_loads.push(**load),
        }
    }
}

impl Collector {
    fn look_at_entry(&mut self, machine: &Machine, entry: &Entry) {
        let linear = machine.linear();
        self.sight = self.sight(machine, &entry.after);
        self.sight.code = entry.code.linear.and_then(|at| code_at(&linear, at));
        if entry.origin.ring == 3 {
            let esp = entry.ldt_stack.or(entry.frame.get(ia32::Word::Esp));
            self.sight.user_pages_below = esp.map_or(0, |esp| pages_below(&linear, esp));
            self.sight.bad_stack = esp.filter(|esp| bad_stack(&linear, entry, *esp));
            self.sight.bad_pointer = self.bad_pointer(&linear, entry);
            let words = [ia32::Word::Eip, ia32::Word::Cs, ia32::Word::Eflags];
            let words = words.map(|word| entry.frame.get(word).unwrap_or(0));
            self.last_frame = Some(words);
        }
    }

    fn look_at_return(&mut self, machine: &Machine, returning: &Return) {
        let linear = machine.linear();
        self.sight = self.sight(machine, &returning.state);
        let eip = returning.frame.get(ia32::Word::Eip).unwrap_or(0);
        self.sight.code = code_at(&linear, eip);
        let esp = returning.frame.get(ia32::Word::Esp);
        self.sight.user_pages_below = esp.map_or(0, |esp| pages_below(&linear, esp));
        if let Some(words) = self.last_frame.filter(|_| returning.ring() == 3) {
            self.sight.saved_contexts = self.find_context(&linear, &self.sight, words);
        }
    }
}
