//! Makes an observation while the guest runs: at each stop it reads what memory holds, through KVM, while the
//! guest stands still.

use super::kernel_pages::kernel_pages;
use super::observation::{ABOVE, BELOW, Happening, Last, MASKS, Moment, Observation, Sight};
use super::scenario::{PointerCall, Scenario};
use super::stacks::Stacks;
use super::steps::Steps;
use crate::check::{Judged, Judgement, Sink};
use crate::entry::{Entry, Return, TssWords};
use crate::machine::{LinearMemory, Machine};
use crate::run::{End, StackLoad};
use ia32::State;

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

    fn add(&mut self, event: Happening, judgement: &Judgement) {
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
            | Judged::Crossing(..)
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
                self.add(Happening::Entry(Box::new(Entry::clone(entry))), judgement);
            }
            Judged::Return(returning, judgement) => {
                self.look_at_return(machine, returning);
                self.add(Happening::Return(returning.clone()), judgement);
            }
            Judged::Switch(switch, judgement) => {
                self.sight = self.sight(machine, &switch.after);
                self.add(Happening::Switch(switch.clone()), judgement);
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
