//! The rules, and what they are applied to.
//!
//! Each rule is one sentence, one source, one function over values, in a file of its own. It looks
//! at an [`Entry`] or a [`Return`] and at the [`History`] of those before, and adds findings. Rules
//! ask nothing of the guest and do not know which kernel is running.
//!
//! A finding that matches a [`Deviation`] of the processor model below is not the guest's fault: it
//! is counted by name and shown, and does not change the verdict.

pub mod diagnosis;
mod excuse;
mod finding;
mod glance;
mod history;
mod judge;
mod known;
mod objects;
mod shifted;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;
mod way_back;
mod rules {
    //! One file a rule.
    pub(super) mod call_gate;
    pub(super) mod code_limit;
    pub(super) mod data_segment;
    pub(super) mod direction_flag;
    pub(super) mod empty_stack;
    pub(super) mod event_explained;
    pub(super) mod flags_after;
    pub(super) mod frame_size;
    pub(super) mod gate_kind;
    pub(super) mod handler;
    pub(super) mod kernel_segment;
    pub(super) mod model;
    pub(super) mod null_segment;
    pub(super) mod open_switch;
    pub(super) mod overflow;
    pub(super) mod pushed_words;
    pub(super) mod refused_iret;
    pub(super) mod registers_kept;
    pub(super) mod registers_restored;
    pub(super) mod return_frame;
    pub(super) mod shared_user_stack;
    pub(super) mod stack_in_data;
    pub(super) mod stack_over_tables;
    pub(super) mod stack_pointer;
    pub(super) mod stack_start;
    pub(super) mod suspended_stack;
    pub(super) mod sysenter;
    pub(super) mod task_gate;
    pub(super) mod task_switch;
    pub(super) mod user_stack;
    pub(super) mod virtual_8086;
    pub(super) mod way_back;
}

pub use finding::{
    Aspect, ChangedWord, CodePlace, Degree, Finding, Findings, LookBack, Mismatch, Retrace,
    Subject, WordDifference,
};
pub use history::{History, LiveFrame, Pair, StackUse, TaskId};
pub use judge::{Conclusion, Judge, Judged, Sink};
pub use objects::{Object, Objects};
pub use tally::{EventKind, Tally};
pub use verdict::{Grounds, Verdict, verdict};

use crate::entry::{Crossing, Entry, Return, Returned, Sysenter, TaskSwitch};
use crate::host::{Backend, Deviation};
use crate::machine::LinearMemory;
use excuse::Excuse;
use glance::Glance;
use known::KnownDeviations;

/// A rule about entries.
pub type EntryRule = fn(&Entry, &History, &mut Findings);
/// A rule about returns; the pair is the entry whose frame the return pops, if that is known.
pub type ReturnRule = fn(&Return, Option<Pair<'_>>, &History, &mut Findings);
/// A rule about task switches.
pub type SwitchRule = fn(&TaskSwitch, &History, &mut Findings);

/// Lists the rules once: as a table for whoever wants to see them, and as calls that the compiler can
/// put in line, since they are applied at every stop.
macro_rules! rules {
    (
        $(#[$about:meta])*
        $table:ident: $rule_type:ty, $apply:ident $parameters:tt = $arguments:tt;
        $($module:ident::$rule:ident),+ $(,)?
    ) => {
        $(#[$about])*
        pub const $table: &[$rule_type] = &[$(rules::$module::$rule),+];

        #[inline]
        fn $apply $parameters {
            $(rules::$module::$rule $arguments;)+
        }
    };
}

rules![
    /// All rules about entries, in the order in which they are applied.
    ENTRY_RULES: EntryRule,
    apply_entry_rules(entry: &Entry, history: &History, findings: &mut Findings)
        = (entry, history, findings);
    refused_iret::iret_goes_through,
    stack_over_tables::stack_is_no_table,
    stack_start::esp0_is_no_start,
    user_stack::interrupted_stack_is_left_alone,
    stack_in_data::esp0_is_in_no_data,
    event_explained::event_is_explained,
    gate_kind::gate_has_the_right_kind,
    handler::handler_is_the_gates,
    frame_size::frame_has_the_right_size,
    stack_pointer::stack_comes_from_the_tss,
    pushed_words::pushed_words_are_the_state_before,
    flags_after::flags_after_entry,
    registers_kept::registers_are_kept,
    kernel_segment::kernel_runs_on_one_stack_segment,
    data_segment::variables_are_the_kernels,
    suspended_stack::stack_is_nobody_elses,
    empty_stack::stack_is_empty,
    overflow::stack_stays_above_its_end,
    open_switch::no_interrupt_comes_within_a_switch,
    model::entry_is_the_models,
];

rules![
    /// All rules about returns.
    RETURN_RULES: ReturnRule,
    apply_return_rules(
        returning: &Return, pair: Option<Pair<'_>>, history: &History, findings: &mut Findings
    ) = (returning, pair, history, findings);
    virtual_8086::virtual_8086_mode_is_meant,
    return_frame::return_pops_what_was_pushed,
    shared_user_stack::programs_have_stacks_of_their_own,
    registers_restored::registers_are_restored,
    code_limit::eip_is_within_its_segment,
    null_segment::programs_have_a_data_segment,
    direction_flag::kernel_runs_upwards,
    overflow::stack_stays_above_its_end_at_a_return,
    way_back::ring_0_can_be_entered_again,
];

/// All rules about task switches by hardware.
pub const SWITCH_RULES: &[SwitchRule] = &[
    rules::task_switch::switch_stores_the_old_task,
    rules::suspended_stack::suspended_task_has_its_stack,
    rules::task_gate::task_gate_is_gone_through,
    rules::task_gate::task_gate_brings_the_error_code,
    rules::task_gate::task_gate_has_a_stack,
    rules::task_gate::task_gate_takes_its_error_code_off,
];

/// A rule about entries by SYSENTER.
pub type SysenterRule = fn(&Sysenter, &History, &mut Findings);

/// All rules about entries by SYSENTER.
pub const SYSENTER_RULES: &[SysenterRule] = &[
    rules::sysenter::sysenter_loads_its_registers,
    rules::sysenter::sysenter_has_a_stack,
    rules::sysenter::sysenter_esp_is_no_start,
    rules::sysenter::sysenter_is_on_nobody_elses_stack,
];

/// A rule about entries by call gates, and the way back.
pub type CrossingRule = fn(&Crossing, &History, &mut Findings);

/// All rules about entries by call gates, and the way back.
pub const CROSSING_RULES: &[CrossingRule] = &[
    rules::call_gate::call_gate_is_gone_through,
    rules::call_gate::call_is_on_nobody_elses_stack,
    rules::call_gate::far_return_pops_what_was_pushed,
];

/// What the rules say of one entry, return or switch.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// The task that was running, if its stack is known.
    pub task: Option<TaskId>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is unusual, but consistent.
    pub notes: Vec<Finding>,
    /// What is known to be wrong with the processor model below.
    pub deviations: Vec<&'static Deviation>,
    /// The return before this entry was refused: it does not count.
    pub refuses_return: bool,
}

impl Judgement {
    /// Nothing is wrong, known deviations aside.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// There is nothing to tell.
    #[inline]
    pub fn is_unremarkable(&self) -> bool {
        self.findings.is_empty() && self.notes.is_empty() && self.deviations.is_empty()
    }
}

/// Applies the rules, and remembers.
#[derive(Clone, Debug)]
pub struct Checker {
    known: KnownDeviations,
    history: History,
    /// Kept between entries, so that a right entry allocates nothing.
    findings: Findings,
}

impl Checker {
    /// A checker for what runs on `backend`.
    pub fn new(backend: &Backend) -> Self {
        Checker {
            known: KnownDeviations::of(backend),
            history: History::default(),
            findings: Findings::default(),
        }
    }

    /// Where the kernel's variables lie, if that is known.
    #[must_use]
    pub fn with_objects(mut self, objects: Objects) -> Self {
        self.history.set_objects(objects);
        self
    }

    /// One for the same machine and kernel that has seen nothing.
    #[cfg(feature = "program")]
    fn afresh(&self) -> Self {
        let mut history = History::default();
        history.set_objects(self.history.objects().clone());
        Checker { known: self.known.clone(), history, findings: Findings::default() }
    }

    /// Looks at memory before `entry` is judged, the guest standing in front of the handler's first
    /// instruction. Where nobody looks, less is known.
    #[inline]
    pub fn look_at_entry(&mut self, linear: &LinearMemory<'_>, entry: &Entry) {
        let glance = Glance::at_entry(linear, entry, &self.history);
        self.history.set_glance(glance);
    }

    /// The same of a return, the guest standing in front of the IRET.
    #[inline]
    pub fn look_at_return(&mut self, linear: &LinearMemory<'_>, returning: &Return) {
        let glance = Glance::at_return(linear, returning, &self.history);
        self.history.set_glance(glance);
    }

    /// Judges an entry.
    #[inline]
    pub fn entry(&mut self, entry: &Entry) -> Judgement {
        let refuses_return = self.history.refused_by(entry).is_some();
        if refuses_return {
            self.history.take_back();
        }
        apply_entry_rules(entry, &self.history, &mut self.findings);
        let excuse = match self.findings.is_empty() {
            true => None,
            false => Excuse::of(entry, &self.history, &self.findings),
        };
        if self.findings.has("suspended_stack") {
            self.history.stacks_are_shared_at(entry);
        }
        let task = self.history.enter(entry);
        let mut judgement = Judgement { task, refuses_return, ..Judgement::default() };
        if !self.findings.is_empty() {
            let at = entry.interrupted_instruction();
            self.sort(&mut judgement, at, Some(entry), excuse);
        }
        judgement
    }

    /// Judges a return.
    #[inline]
    pub fn leave(&mut self, returning: &Return) -> Judgement {
        let pair = self.history.pair(returning);
        let sure = pair.filter(|pair| !self.history.may_be_of_another_task(pair));
        let told = rules::call_gate::iret_is_no_way_back(returning, &self.history);
        let is_told = told.is_some();
        match told {
            Some(finding) => self.findings.add(finding),
            None => apply_return_rules(returning, sure, &self.history, &mut self.findings),
        }
        let popped = pair.map(|pair| self.history.popped(pair, returning));
        let task = self.history.leave(returning, popped);
        if is_told {
            self.history.told_of_last_return();
        }
        let task = task.filter(|_| !is_told);
        let mut judgement = Judgement { task, ..Judgement::default() };
        if !self.findings.is_empty() {
            let at = returning.state.instruction_address();
            self.sort(&mut judgement, Some(at), None, None);
        }
        judgement
    }

    /// Judges an IRET that has been executed.
    pub fn returned(&mut self, returned: &Returned) -> Judgement {
        rules::model::return_is_the_models(returned, &mut self.findings);
        let mut judgement = Judgement::default();
        if !self.findings.is_empty() {
            let at = returned.exact.before.instruction_address();
            self.sort(&mut judgement, Some(at), None, None);
        }
        judgement
    }

    /// Judges an entry by SYSENTER; the task is the one that the last return led to.
    pub fn sysenter(&mut self, entry: &Sysenter) -> Judgement {
        for rule in SYSENTER_RULES {
            rule(entry, &self.history, &mut self.findings);
        }
        let task = self.history.sysenter(entry.after.general);
        let mut judgement = Judgement { task, ..Judgement::default() };
        if !self.findings.is_empty() {
            self.sort(&mut judgement, None, None, None);
        }
        judgement
    }

    /// Judges an entry by a call gate, or a far RET to an outer ring; the task is the one that has called.
    pub fn crossing(&mut self, crossing: &Crossing) -> Judgement {
        for rule in CROSSING_RULES {
            rule(crossing, &self.history, &mut self.findings);
        }
        let wrong = !self.findings.is_empty();
        let task = self.history.cross(crossing, wrong);
        let mut judgement = Judgement { task, ..Judgement::default() };
        if wrong {
            let at = crossing.state.instruction_address();
            self.sort(&mut judgement, Some(at), None, None);
        }
        judgement
    }

    /// Judges a task switch by hardware; the task is the one that goes on.
    pub fn switch(&mut self, switch: &TaskSwitch) -> Judgement {
        for rule in SWITCH_RULES {
            rule(switch, &self.history, &mut self.findings);
        }
        let task = self.history.change_tasks(switch);
        let mut judgement = Judgement { task, ..Judgement::default() };
        if !self.findings.is_empty() {
            self.sort(&mut judgement, None, None, None);
        }
        judgement
    }

    /// Tells known deviations from findings. Those that name no code are about the instruction `at`, if that is known.
    #[cold]
    fn sort(
        &mut self,
        judgement: &mut Judgement,
        at: Option<u32>,
        entry: Option<&Entry>,
        excuse: Option<Excuse>,
    ) {
        let mut all: Vec<Finding> = self.findings.take();
        for finding in all.iter_mut().filter(|finding| finding.places.is_empty()) {
            finding.places.extend(at.map(CodePlace::Instruction));
        }
        let known: Vec<_> = all.iter().map(|one| self.known.find(entry, one, &all)).collect();
        let mut excused = false;
        for (finding, known) in all.into_iter().zip(known) {
            match known {
                // Two rules may see the same one.
                Some(deviation) => {
                    if !judgement.deviations.iter().any(|known| known.name == deviation.name) {
                        judgement.deviations.push(deviation);
                    }
                }
                None if excuse.is_some() && finding.subject == Subject::Processor => excused = true,
                None if finding.degree == Degree::Note => judgement.notes.push(finding),
                None => judgement.findings.push(finding),
            }
        }
        if let Some(excuse) = excuse.filter(|_| excused && judgement.findings.is_empty()) {
            judgement.findings.extend(excuse.finding());
        }
    }

    /// What has been seen so far.
    pub fn history(&self) -> &History {
        &self.history
    }
}
