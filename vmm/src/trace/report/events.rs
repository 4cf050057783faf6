//! The events, one after the other, to all who want them.
//!
//! What is right and wanted by nobody but the trace takes the shortest way: no record is made of it.

use super::super::described::{self, Judgeable, Where};
use super::super::schema::{
    CrossingRecord, EntryRecord, Record, ReturnRecord, ReturnedRecord, StackRecord, SwitchRecord,
    SysenterRecord,
};
use super::{FrameNames, LostOutput, Report, task};
use crate::check::{Judged, Judgement, Sink};
use crate::entry::{Crossing, Entry, Return, Returned, Sysenter, TaskSwitch};
use crate::machine::Machine;
use ia32::Word;
use std::io::Write;
use std::sync::Arc;

impl<W: Write> Report<W> {
    /// Whether something of what was found has not been told before.
    fn is_news(&self, place: &Where, judgement: &Judgement) -> bool {
        let mut all = judgement.findings.iter().chain(&judgement.notes);
        all.any(|finding| self.told.is_news(finding, place.at))
    }

    /// Tells what was found of an event: each cause once.
    pub(super) fn tell(&mut self, place: &Where, judgement: &Judgement) {
        for finding in judgement.findings.iter().chain(&judgement.notes) {
            if self.told.tell(finding, &place.place, place.at, place.sequence) {
                let record = described::record(finding, place, self.names.symbols());
                self.terminal.finding(&record, finding.degree);
            }
        }
    }

    #[inline]
    fn entry(&mut self, entry: &Arc<Entry>, judgement: &Judgement) {
        if self.trace.is_some() {
            for record in self.places.of_entry(entry, task(judgement), &mut self.names) {
                self.record(&record);
            }
        }
        let written = match &mut self.trace {
            Some(trace) => trace.entry(entry, judgement),
            None => Ok(true),
        };
        let written = written.unwrap_or_else(|error| {
            self.keep(LostOutput::Trace, Err(error));
            true
        });
        if !written || self.terminal.tells_events() || !is_right(judgement) {
            self.tell_entry(entry, judgement, written);
        }
        self.recent.note(entry, judgement);
    }

    /// Tells of an entry wherever that is more than a hot line of the trace.
    fn tell_entry(&mut self, entry: &Entry, judgement: &Judgement, written: bool) {
        let place = if is_right(judgement) {
            Where { place: String::new(), at: entry.after.eip, sequence: entry.sequence }
        } else {
            described::of_entry(entry, judgement, &mut self.names)
        };
        let record = EntryRecord::new(entry, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            let named = self.names.of_entry(entry);
            let name = named.as_ref().map(|named| named.text.as_str());
            let news = self.is_news(&place, judgement);
            let names = &self.names;
            self.terminal.entry(&record, news, name, || FrameNames {
                interrupted: name.map(Into::into),
                top: names.of_top(record.frame.end()),
                esp: entry.frame.get(Word::Esp).and_then(|esp| names.of_top(esp)),
            });
        }
        if !written {
            self.record(&Record::Entry(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    #[inline]
    fn leave(&mut self, returning: &Return, judgement: &Judgement) {
        let written = match &mut self.trace {
            Some(trace) => trace.leave(returning, judgement),
            None => Ok(true),
        };
        let written = written.unwrap_or_else(|error| {
            self.keep(LostOutput::Trace, Err(error));
            true
        });
        if written && is_right(judgement) && !self.terminal.wants_returns() {
            return;
        }
        let place = described::of_return(returning, judgement, &self.names);
        let record = ReturnRecord::new(returning, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.wants_returns() {
            self.terminal.leave(&record);
        }
        if !written {
            self.record(&Record::Return(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    fn returned(&mut self, returned: &Returned, judgement: &Judgement) {
        let place = described::of_returned(returned, &self.names);
        if self.trace.is_some() {
            let record = ReturnedRecord::new(returned);
            let record = record.judged(judgement, &place, self.names.symbols());
            self.record(&Record::Returned(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    fn sysenter(&mut self, entry: &Sysenter, judgement: &Judgement) {
        let place = described::of_sysenter(entry, judgement);
        let record = SysenterRecord::new(entry, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            let news = self.is_news(&place, judgement);
            self.terminal.sysenter(&record, news);
        }
        self.record(&Record::Sysenter(Box::new(record)));
        self.tell(&place, judgement);
    }

    fn crossing(&mut self, crossing: &Crossing, judgement: &Judgement) {
        let place = described::of_crossing(crossing, judgement);
        let record = CrossingRecord::new(crossing, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            let news = self.is_news(&place, judgement);
            self.terminal.crossing(&record, news);
        }
        self.record(&Record::Crossing(Box::new(record)));
        self.tell(&place, judgement);
    }

    fn switch(&mut self, switch: &TaskSwitch, judgement: &Judgement) {
        let place = described::of_switch(switch, judgement);
        let record = SwitchRecord::new(switch, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            let news = self.is_news(&place, judgement);
            self.terminal.switch(&record, news);
        }
        self.record(&Record::Switch(Box::new(record)));
        self.tell(&place, judgement);
    }

    fn console(&mut self, bytes: &[u8]) {
        if let Some(trace) = &mut self.trace {
            let written = trace.console(bytes);
            self.keep(LostOutput::Trace, written);
        }
        self.console_bytes(bytes);
        self.terminal.console(bytes);
    }
}

/// Known deviations aside, there is nothing to tell.
fn is_right(judgement: &Judgement) -> bool {
    judgement.findings.is_empty() && judgement.notes.is_empty()
}

impl<W: Write> Sink for Report<W> {
    #[inline]
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        self.remember_code(machine, judged);
        self.told_to_sinks(judged);
        if let Some(recorder) = &mut self.recorder {
            let lines = recorder.look(machine, judged);
            self.lines(&lines);
        }
    }
}

impl<W: Write> Report<W> {
    /// Keeps the code that an entry has interrupted where a finding that has not been told before names none: a
    /// program's may be gone when the run is over.
    fn remember_code(&mut self, machine: &Machine, judged: &Judged) {
        let Judged::Entry(entry, judgement) = judged else { return };
        if is_right(judgement) {
            return;
        }
        let Some(code) = &mut self.code else { return };
        let at = entry.after.eip;
        for finding in judgement.findings.iter().chain(&judgement.notes) {
            if finding.places.is_empty() && self.told.is_news(finding, at) {
                code.remember(machine, entry, &finding.sentence);
            }
        }
    }

    #[inline]
    fn told_to_sinks(&mut self, judged: &Judged) {
        match judged {
            Judged::Entry(entry, judgement) => self.entry(entry, judgement),
            Judged::Return(returning, judgement) => self.leave(returning, judgement),
            Judged::Returned(returned, judgement) => self.returned(returned, judgement),
            Judged::Sysenter(entry, judgement) => self.sysenter(entry, judgement),
            Judged::Crossing(crossing, judgement) => self.crossing(crossing, judgement),
            Judged::Switch(switch, judgement) => self.switch(switch, judgement),
            Judged::StackLoad(load) => {
                let record = StackRecord::from(&**load);
                if self.terminal.tells_events() {
                    self.terminal.stack(&record);
                }
                self.record(&Record::Stack(record));
            }
            Judged::Console(bytes) => self.console(bytes),
            Judged::Reached(_)
            | Judged::Resumed(_)
            | Judged::Preempted(_)
            | Judged::Step(_)
            | Judged::End(_) => {}
        }
    }
}
