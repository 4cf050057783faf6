//! Where things happened, in words, and records with what was said of them.

use super::event_name;
use super::line::task_name;
use super::names::Names;
use super::schema::{
    CrossingRecord, EntryRecord, FindingRecord, RecordVerdict, ReturnRecord, ReturnedRecord,
    SwitchRecord, SysenterRecord,
};
use crate::check::{Finding, Judgement};
use crate::entry::{
    Crossing, CrossingWay, Entry, Return, Returned, SwitchCause, Sysenter, TaskSwitch,
};
use crate::symbols::{Symbols, names_in};
use ia32::Word;

/// A place and the kernel's instruction there.
#[derive(Debug)]
pub(super) struct Where {
    pub(super) place: String,
    pub(super) at: u32,
    /// The entry at or after which it is.
    pub(super) sequence: u64,
}

pub(super) fn of_entry(entry: &Entry, judgement: &Judgement, names: &mut Names) -> Where {
    let place = format!(
        "#{} {}{}{}",
        entry.sequence,
        event_name(entry.kind, entry.vector),
        judgement.task.map_or(String::new(), |task| format!(" in task {}", task.0)),
        match names.of_entry(entry) {
            Some(name) => format!(", at {}", name.text),
            None => format!(" (EIP {:08x})", entry.frame.get(Word::Eip).unwrap_or(0)),
        },
    );
    Where { place, at: entry.after.eip, sequence: entry.sequence }
}

pub(super) fn of_return(returning: &Return, judgement: &Judgement, names: &Names) -> Where {
    let state = &returning.state;
    let place = format!(
        "IRET after #{}{}{} (frame at {:08x})",
        returning.after_sequence,
        judgement.task.map_or(String::new(), |task| format!(" to task {}", task.0)),
        match names.of_instruction(state) {
            Some(name) => format!(", at {name}"),
            None => format!(", at {:08x}", state.eip),
        },
        returning.frame.address,
    );
    Where { place, at: state.eip, sequence: returning.after_sequence }
}

pub(super) fn of_returned(returned: &Returned, names: &Names) -> Where {
    let (before, sequence) = (&returned.exact.before, returned.after_sequence);
    let place = match names.of_instruction(before) {
        Some(name) => format!("IRET after #{sequence}, at {name}"),
        None => format!("IRET after #{sequence}, at {:08x}", before.eip),
    };
    Where { place, at: before.eip, sequence }
}

pub(super) fn of_sysenter(entry: &Sysenter, judgement: &Judgement) -> Where {
    let place = format!(
        "SYSENTER after #{}{}",
        entry.after_sequence,
        judgement.task.map_or(String::new(), |task| format!(" in task {}", task.0)),
    );
    Where { place, at: entry.after.eip, sequence: entry.after_sequence }
}

pub(super) fn of_crossing(crossing: &Crossing, judgement: &Judgement) -> Where {
    let what = match crossing.way {
        CrossingWay::Call(gate) => format!("call gate {:04x}", gate.selector),
        CrossingWay::Return { .. } => "far RET".to_owned(),
    };
    let place = format!(
        "{what} after #{}{}",
        crossing.after_sequence,
        judgement.task.map_or(String::new(), |task| format!(" in task {}", task.0)),
    );
    Where { place, at: crossing.state.eip, sequence: crossing.after_sequence }
}

pub(super) fn of_switch(switch: &TaskSwitch, judgement: &Judgement) -> Where {
    if let SwitchCause::Gate { vector, .. } = switch.cause {
        let place = format!(
            "the entry by the task gate of {vector} after #{} (TR {:04x})",
            switch.after_sequence, switch.selector.0,
        );
        let at = switch.after.instruction_address();
        return Where { place, at, sequence: switch.after_sequence };
    }
    let place = format!(
        "the switch after #{} to {} (TR {:04x})",
        switch.after_sequence,
        task_name(judgement.task),
        switch.selector.0,
    );
    Where { place, at: switch.before.eip, sequence: switch.after_sequence }
}

/// A finding as a record.
pub(super) fn record(finding: &Finding, place: &Where, symbols: &Symbols) -> FindingRecord {
    let Finding { sentence, expected, got, reason, advice, .. } = finding;
    let texts = [sentence, expected, got].into_iter().chain(reason).chain(advice);
    let names = names_in(symbols, texts.map(String::as_str));
    FindingRecord::new(finding, &place.place, place.at, names)
}

/// A record that holds what was said of an event.
pub(super) trait Judgeable {
    fn fields(
        &mut self,
    ) -> (&mut RecordVerdict, &mut Vec<String>, &mut Vec<FindingRecord>, &mut Vec<FindingRecord>);

    /// The record with what was said of it.
    fn judged(mut self, judgement: &Judgement, place: &Where, symbols: &Symbols) -> Self
    where
        Self: Sized,
    {
        let (verdict, deviations, findings, notes) = self.fields();
        *verdict = RecordVerdict::of(judgement);
        deviations.extend(judgement.deviations.iter().map(|one| one.name.to_owned()));
        findings.extend(judgement.findings.iter().map(|one| record(one, place, symbols)));
        notes.extend(judgement.notes.iter().map(|one| record(one, place, symbols)));
        self
    }
}

macro_rules! judgeable {
    ($($record:ty),+) => {
        $(impl Judgeable for $record {
            fn fields(
                &mut self,
            ) -> (
                &mut RecordVerdict,
                &mut Vec<String>,
                &mut Vec<FindingRecord>,
                &mut Vec<FindingRecord>,
            ) {
                (&mut self.verdict, &mut self.deviations, &mut self.findings, &mut self.notes)
            }
        })+
    };
}

judgeable!(CrossingRecord, EntryRecord, ReturnRecord, ReturnedRecord, SwitchRecord, SysenterRecord);
