//! What is asked at the end of a run: why did it end so?
//!
//! Rules judge one entry or return at a time. An exception that nothing returns from, an interrupt that
//! waits, a shutdown: these are faults only because of how the run ended, and are told then, once, from
//! the last state, the machine's memory, its devices, and what was kept on the way.
//!
//! ```text
//!  stops ──► Diagnosis::enter, leave ─── exceptions as they were, the last return to ring 3, I/O maps
//!                  │
//!  the end ──► Diagnosis::conclude ─┬─ ending       the kernel stopped itself after an exception
//!                                   │   └─ large_frame       ESP has jumped over a guard page
//!                                   ├─ said         it told of an exception, and none was raised
//!                                   ├─ shutdown     the chain of faults, and the check that failed first
//!                                   │   ├─ beyond_limit      what LIDT was given instead of a table
//!                                   │   ├─ local_table       the GDT or the IDT was in a frame
//!                                   │   ├─ kinds_of_address  a linear address for a physical one, and the reverse
//!                                   │   └─ new_task          a task switch to a TSS that maps nothing
//!                                   ├─ lost_gate    what a fault met was a gate that somebody has written over
//!                                   ├─ lost         KVM gave up, or nothing goes on: EIP leads nowhere
//!                                   ├─ beyond_array  ESP0 is a multiple of its stack's size behind it
//!                                   ├─ stack_nowhere  so does ESP
//!                                   ├─ overwritten_code  the function that runs is not the file's
//!                                   ├─ repeated     an instruction faults for ever
//!                                   ├─ recursion    a handler faults as what it handles does
//!                                   ├─ argument     a function that looks for its argument elsewhere than the stub puts it
//!                                   ├─ nesting      a handler that is interrupted by its own interrupt
//!                                   ├─ used         vectors of exceptions for interrupts, handlers without IRET
//!                                   ├─ bare_loop    a loop that no interrupt can end
//!                                   ├─ closed_wait  a halt that waits for what no handler can change
//!                                   ├─ missed_wake_up  a halt that comes behind the interrupt it waits for
//!                                   ├─ spin         a handler that waits for what it has interrupted
//!                                   ├─ polling      a wait for a bit of a device that does not come
//!                                   ├─ cascade      the wire between the two 8259s
//!                                   ├─ waiting      what the interrupt controller has, at a time-out
//!                                   │   ├─ no_table     an interrupt that was delivered to nobody
//!                                   │   ├─ apic_source  the local APIC has an interrupt in service, or is off
//!                                   │   └─ source       a device that was told to interrupt, and stands still
//!                                   ├─ programmed   who has given the 8259 its vectors
//!                                   ├─ programs     where ring 3 was sent to
//!                                   ├─ fpu          the x87 of one program in another
//!                                   ├─ results      system calls that give nothing back
//!                                   ├─ shared_page  the kernel's own write to a page that is to be copied first
//!                                   ├─ serial_port  bytes and interrupts that go nowhere
//!                                   └─ io_map       ring 3 has ports that nobody gave it
//! ```
//! Nothing here asks which kernel runs. A kernel that ends a task after its fault, and goes on, is as
//! healthy as one that returns; so is one that powers off with success after a fault that it provoked.

mod alignment;
mod apic_source;
mod argument;
mod bare_loop;
mod beyond_array;
mod beyond_limit;
mod cascade;
mod closed_wait;
mod death;
mod descriptor;
mod ending;
mod explained;
mod fault;
mod fault_text;
mod fpu;
mod full_stack;
mod io_map;
mod kinds_of_address;
mod large_frame;
mod left_at;
mod local_table;
mod lost;
mod lost_gate;
mod misread_tables;
mod missed_wake_up;
mod nesting;
mod new_task;
mod no_table;
mod other_directory;
mod overwritten_code;
mod polling;
mod programmed;
mod programs;
mod protection;
mod recursion;
mod repeated;
mod results;
mod said;
mod saved_selector;
mod selector_fault;
mod serial_port;
mod shared_page;
mod sign_extended;
mod source;
mod spin;
mod stack_nowhere;
mod sysexit;
#[cfg(test)]
mod tests;
mod used;
mod waiting;

pub use io_map::IoMap;

use super::rules::open_switch;
use super::{ChangedWord, Finding, History, Retrace};
use crate::devices::Devices;
use crate::entry::{Entry, Fault, Kind, Return, capture_fault};
use crate::machine::{LinearMemory, Machine, Memory};
use crate::probe::Probes;
use crate::run::{End, Run};
use crate::symbols::Array;
use fpu::Fpu;
use ia32::{Eflags, Gate, Processor, State, Vector, Word};
use other_directory::Directories;
use programs::Programs;
use recursion::Recursion;
use repeated::Repeated;
use results::Results;
use shared_page::SharedPages;
use std::time::{Duration, Instant};
use used::Used;

/// How many exceptions are kept as they were.
const KEPT: usize = 8;

/// A finding about the whole run, and where it belongs.
pub type Placed = (String, Finding);

/// What can be looked at when the run is over.
#[derive(Clone, Copy)]
pub struct Aftermath<'a> {
    /// How it ended, and in which state.
    pub end: &'a End,
    /// Guest memory.
    pub memory: &'a Memory,
    /// The devices.
    pub devices: &'a Devices,
    /// The probes: they know the guest's own code.
    pub probes: &'a Probes,
    /// What executed the guest.
    pub processor: Processor,
    /// What stands at a linear address, such as `user+5, user.c:41`; none if that is not known.
    pub names: &'a dyn Fn(u32) -> Option<String>,
    /// The arrays among the kernel's variables, where somebody can tell.
    pub arrays: Option<&'a dyn Fn() -> Vec<Array>>,
}

impl<'a> Aftermath<'a> {
    /// Of a run that ended so, with these names.
    pub fn of(run: &'a Run, end: &'a End, names: &'a dyn Fn(u32) -> Option<String>) -> Self {
        Aftermath {
            end,
            memory: run.machine().memory(),
            devices: run.devices(),
            probes: run.probes(),
            processor: run.machine().processor(),
            names,
            arrays: None,
        }
    }

    /// With somebody who can tell which arrays the kernel has.
    #[must_use]
    pub fn with_arrays(self, arrays: &'a dyn Fn() -> Vec<Array>) -> Self {
        Aftermath { arrays: Some(arrays), ..self }
    }
}

impl Aftermath<'_> {
    /// Memory by linear address, as `state` maps it.
    fn linear(&self, state: &State) -> LinearMemory<'_> {
        LinearMemory { memory: self.memory, paging: state.into() }
    }

    /// `00100245 (user+5, user.c:41)`.
    fn place(&self, address: u32) -> String {
        match (self.names)(address) {
            Some(name) => format!("{address:08x} ({name})"),
            None => format!("{address:08x}"),
        }
    }

    /// The guest's code at a linear address.
    fn code(&self, state: &State, address: u32) -> Vec<u8> {
        let mut bytes = [0; 15];
        let count = self.probes.read_code(&self.linear(state), address, &mut bytes);
        bytes[..count].to_vec()
    }

    /// The gate of `vector` in memory; none if it lies beyond the table's limit or is no gate.
    fn gate(&self, state: &State, vector: u8) -> Option<Gate> {
        let offset = u32::from(vector) * 8;
        if offset + 7 > u32::from(state.idtr.limit) {
            return None;
        }
        let mut bytes = [0; 8];
        self.linear(state).read(state.idtr.base.wrapping_add(offset), &mut bytes)?;
        Gate::decode(u64::from_le_bytes(bytes)).ok()
    }

    /// The upper half of the gate of `vector`, where that is still what `entry` had.
    fn upper_half(&self, state: &State, vector: u8, entry: Option<u64>) -> Option<ChangedWord> {
        let address = state.idtr.base.wrapping_add(u32::from(vector) * 8 + 4);
        self.word(state, address)
            .filter(|word| Some(word.value) == entry.map(|raw| (raw >> 32) as u32))
    }

    /// A word as it stands there now, for whoever wants to know who stored it.
    fn word(&self, state: &State, address: u32) -> Option<ChangedWord> {
        let linear = self.linear(state);
        let physical = linear.paging.translate(linear.memory, address)?;
        Some(ChangedWord { address, physical, value: linear.read_u32(address)? })
    }

    /// RAM lies there, whatever the page tables say.
    fn is_ram(&self, state: &State, address: u32) -> bool {
        let mut byte = [0];
        self.linear(state).read(address, &mut byte).is_some()
    }
}

/// The stretch of returns to ring 3 with IF = 0 that the run is in.
#[derive(Clone, Copy, Debug)]
struct Closed {
    /// The entry before the first of them.
    after_sequence: u64,
    /// Where it went.
    eip: u32,
    /// The EFLAGS that it popped.
    eflags: u32,
    /// Linear address of the IRET that did.
    iret: u32,
}

/// What is kept during a run for its end.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// The last exceptions; the slot of one is its count modulo [`KEPT`].
    faults: [Option<Box<Fault>>; KEPT],
    counted: usize,
    /// The last entry that was the refusal of an IRET of which something was found.
    refused_at: Option<u64>,
    /// The last entry of all.
    last_entry: Option<(u64, Kind, Vector)>,
    /// When it was, by the wall clock: only a time-out asks for it.
    entered_at: Option<Instant>,
    /// A return was seen behind the last entry.
    returned: bool,
    /// A fault of ring 3 was never returned from, and the kernel went on: it ends tasks so.
    ends_tasks: bool,
    /// The fault of ring 3 that was the last entry but one.
    abandoned: Option<u64>,
    closed: Option<Closed>,
    /// The newest exception that nothing has returned from yet.
    unreturned: Option<u64>,
    /// The first page fault of ring 0 by the fetch of its own next instruction, if nothing has returned from it.
    strayed: Option<Box<Fault>>,
    /// The vectors that were entered.
    used: Used,
    said: said::Said,
    repeated: Repeated,
    programs: Programs,
    recursion: Recursion,
    directories: Directories,
    fpu: Fpu,
    results: Results,
    shared_pages: SharedPages,
    io_map: Option<IoMap>,
    /// TR and CR3 when the I/O map was looked at.
    io_map_of: Option<(u32, u32)>,
}

impl Diagnosis {
    /// The guest stands in front of a handler's first instruction.
    #[inline]
    pub fn enter(&mut self, machine: &Machine, entry: &Entry) {
        if self.abandoned.take().is_some() && entry.from_outer_ring() {
            self.ends_tasks = true;
        }
        self.last_entry = Some((entry.sequence, entry.kind, entry.vector));
        self.entered_at = Some(Instant::now());
        self.returned = false;
        self.said.begin();
        self.used.enter(entry);
        self.programs.enter(entry);
        self.directories.see(&entry.after);
        self.fpu.enter(machine, entry);
        self.results.enter(entry);
        self.shared_pages.enter(machine, entry);
        if entry.from_outer_ring() {
            self.unreturned = None;
        }
        if matches!(entry.kind, Kind::Fault | Kind::Abort) {
            self.unreturned = Some(entry.sequence);
        }
        if let Some(fault) = capture_fault(machine, entry) {
            if matches!(fault.kind, Kind::Fault | Kind::Abort) {
                self.repeated.count(&fault);
                self.recursion.count(&fault);
            }
            if self.strayed.is_none() && lost::is_stray(&fault) {
                self.strayed = Some(Box::new(fault.clone()));
            }
            self.faults[self.counted % KEPT] = Some(Box::new(fault));
            self.counted += 1;
        } else if entry.kind != Kind::External {
            self.repeated.end();
        }
    }

    /// The guest wrote to its console.
    pub fn say(&mut self, bytes: &[u8]) {
        self.said.add(bytes);
    }

    /// The guest stands in front of an IRET.
    #[inline]
    pub fn leave(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        self.returned = true;
        self.used.leave(self.last_entry.map(|(.., vector)| vector));
        self.directories.see(state);
        self.fpu.leave(machine, returning);
        self.results.leave(machine, returning);
        self.shared_pages.leave(machine, returning);
        self.recursion.leave(returning);
        let pops = |fault: &Fault| {
            let skip = if fault.frame.shape.error_code { fault.frame.shape.word_size } else { 0 };
            returning.frame.address == fault.frame.address.wrapping_add(skip)
        };
        let repeats = |fault: &Fault| returning.frame.get(Word::Eip) == Some(fault.eip());
        self.strayed.take_if(|fault| pops(fault) || repeats(fault));
        let fault = self.unreturned.and_then(|sequence| self.fault(sequence));
        if returning.ring() > 0 || fault.is_some_and(pops) {
            self.unreturned = None;
        }
        if returning.ring() == 0 {
            return;
        }
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        self.programs.leave(&linear, returning);
        // Another task goes on, by another frame than that of the fault.
        if let Some(fault) = self.last_fault().filter(|fault| fault.ring == 3)
            && fault.frame.get(Word::Eip) != returning.frame.get(Word::Eip)
        {
            self.abandoned = Some(fault.sequence);
        }
        let eflags = returning.frame.get(Word::Eflags).unwrap_or(0);
        if Eflags(eflags).contains(Eflags::IF) {
            self.closed = None;
        } else if self.closed.is_none() {
            self.closed = Some(Closed {
                after_sequence: returning.after_sequence,
                eip: returning.frame.get(Word::Eip).unwrap_or(0),
                eflags,
                iret: state.instruction_address(),
            });
        }
        if self.io_map_of != Some((state.tr.base, state.cr3)) {
            self.io_map_of = Some((state.tr.base, state.cr3));
            let map = IoMap::read(&linear, state, Eflags(eflags));
            if self.io_map.as_ref().is_none_or(|known| !known.is_odd()) {
                self.io_map = map;
            }
        }
    }

    /// The return that was seen last goes to a program that begins: no entry has pushed its frame.
    pub(super) fn begin(&mut self, returning: &Return) {
        self.programs.begin(returning);
    }

    /// Why the kernel stopped itself has been told, if it stops itself after this entry: it was the refusal of an
    /// IRET that something was found of.
    pub fn told_why(&mut self, sequence: u64) {
        self.refused_at = Some(sequence);
    }

    /// Nothing has been entered for so long that what the guest does now is what it goes on doing, and not
    /// the middle of a handler.
    fn is_settled(&self) -> bool {
        const LONG: Duration = Duration::from_millis(300);
        self.entered_at.is_none_or(|at| at.elapsed() >= LONG)
    }

    /// The last entry, if it was an exception.
    fn last_fault(&self) -> Option<&Fault> {
        let (sequence, ..) = self.last_entry?;
        self.fault(sequence)
    }

    /// An exception that was kept.
    fn fault(&self, sequence: u64) -> Option<&Fault> {
        self.faults.iter().flatten().map(Box::as_ref).find(|fault| fault.sequence == sequence)
    }

    /// The newest exception that nothing has returned from, whatever came since.
    fn unreturned(&self) -> Option<&Fault> {
        self.fault(self.unreturned?)
    }

    /// What the whole run has to answer for, each with its place.
    pub fn conclude(&self, aftermath: &Aftermath<'_>, history: &History) -> Vec<Placed> {
        let mut found = Vec::new();
        let last = self.last_entry.map(|(sequence, ..)| sequence);
        let shutdown = death::shutdown(&self.used, last.unwrap_or(0), aftermath, history);
        found.extend(shutdown.map(|(place, finding)| {
            let finding = no_table::explain(finding, aftermath, history.objects());
            let finding = no_table::explain_gdt(finding, aftermath, history.objects());
            let before = aftermath.end.last_event.as_ref().map(|last| last.before);
            (
                place,
                match before {
                    Some(before) => local_table::add_to(finding, &before, aftermath),
                    None => finding,
                },
            )
        }));
        if let Some((place, finding)) = lost::leads_nowhere(&self.used, aftermath, history) {
            let finding = match last.and_then(|last| history.mixed_before(last)) {
                Some(mixed) => open_switch::has_led_to(finding, mixed),
                None => finding,
            };
            let retrace = Retrace::Departure { after_entry: last.unwrap_or(0) };
            let in_program = aftermath.end.state.cpl() == 3;
            let finding = match self.programs.astray(last.unwrap_or(0)).filter(|_| in_program) {
                Some(astray) => astray.explain().add_to(finding).retraced(astray.way()),
                None => finding.retraced(retrace),
            };
            found.push((place, finding));
        }
        if found.is_empty() {
            found.extend(no_table::gdt_nowhere(aftermath, history.objects()));
        }
        if found.is_empty() {
            found.extend(stack_nowhere::leads_nowhere(self, aftermath));
        }
        if found.is_empty() {
            found.extend(overwritten_code::runs_no_more(aftermath, history));
        }
        let recursion = self.recursion.finding(aftermath);
        if recursion.is_some() {
            // What the kernel came to when its stack was gone is of no interest.
            found.clear();
        }
        match recursion.or_else(|| self.repeated.finding(aftermath)) {
            Some(told) => found.push(told),
            None if lost::by_gate(&self.used, aftermath, history) => {}
            None => found.extend(
                ending::stopped_after_an_exception(self, aftermath, history)
                    .or_else(|| ending::stopped_in_a_bios_call(self, aftermath, history))
                    .or_else(|| said::of_no_exception(self, aftermath, history)),
            ),
        }
        for (_, finding) in
            found.iter_mut().filter(|(_, one)| one.rule == lost::RULE || one.rule == ending::RULE)
        {
            argument::explain(finding, aftermath, history);
            sign_extended::explain(finding, aftermath, history);
        }
        let died = [lost::RULE, ending::RULE, death::RULE];
        for (_, finding) in found.iter_mut().filter(|(_, one)| died.contains(&one.rule)) {
            beyond_array::explain(finding, aftermath, history);
        }
        let told = found.iter().any(|(_, finding)| finding.rule == ending::RULE);
        let strayed = self.strayed.as_deref().filter(|_| found.is_empty());
        found.extend(strayed.map(|fault| lost::strayed(fault, aftermath)));
        if self.refused_at.is_some() && self.refused_at == last {
            found.retain(|(_, finding)| finding.rule != ending::RULE);
        }
        found.extend(self.used.exceptions_vector(aftermath).filter(|_| !told));
        found.extend(self.used.no_iret(aftermath));
        found.extend(used::narrow_gate(aftermath, history));
        found.extend(used::wide_gates(aftermath));
        found.extend(nesting::interrupts_its_own_handler(aftermath, history));
        // What runs where no code is waits for nothing.
        if !found.iter().any(|(_, finding)| finding.rule == lost::RULE) {
            found.extend(bare_loop::never_ends(self, aftermath, history));
            let astray = cascade::is_set_up_wrongly(self, aftermath);
            if astray.is_none() {
                found.extend(ending::stopped_in_an_interrupt(self, aftermath, history));
            }
            found.extend(astray);
            let spins = spin::waits_for_the_interrupted(self, aftermath, history);
            let spins = spins
                .or_else(|| closed_wait::never_ends(self, aftermath))
                .or_else(|| polling::waits_in_vain(self, aftermath, history))
                .or_else(|| missed_wake_up::halts_too_late(self, aftermath, history));
            // What an interrupt waits for then is that the handler returns.
            if spins.is_none() {
                found.extend(waiting::what_waits(self, aftermath, history));
            }
            found.extend(spins);
        }
        found.extend(self.fpu.finding(aftermath));
        found.extend(self.results.finding(aftermath));
        found.extend(self.shared_pages.finding(aftermath));
        found.extend(serial_port::set_up(self, aftermath));
        found.extend(io_map::ports_are_open(self.io_map.as_ref()));
        found
    }
}
