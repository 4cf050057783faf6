//! Who goes along with the run: judge and report, as in any run, and gdb, who may call meanwhile.

use super::known::{Known, Remembered};
use super::socket::Line;
use crate::check::{Judge, Sink};
use crate::entry::Entry;
use crate::run::{Event, Run};
use crate::timeline::{Company, Remark};
use crate::trace::Report;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

/// What goes along with the run: the report, and gdb, who may call meanwhile.
pub(super) struct Along<'s, W: Write> {
    pub(super) judge: &'s mut Judge,
    pub(super) report: &'s mut Report<W>,
    pub(super) line: Option<&'s Line<'s>>,
    /// The run is at the farthest place that it ever came to: what has been judged is what has been.
    pub(super) at_farthest: bool,
    /// The entry that was told last.
    pub(super) entry: Option<Arc<Entry>>,
}

impl<W: Write> Company for Along<'_, W> {
    type Memory = Remembered;

    fn memory(&self) -> Remembered {
        self.at_farthest.then(|| Rc::new(known(self.judge, self.report)))
    }

    fn put_back(&mut self, _: &Remembered) {
        self.at_farthest = false;
    }

    fn told(&mut self, run: &mut Run, event: &Event, new: bool) -> Remark {
        if let Event::Entry(entry) = event {
            self.entry = Some(entry.clone());
        }
        if !new {
            return Remark::default();
        }
        self.at_farthest = true;
        // The end is told when the run is over.
        if matches!(event, Event::End(_)) {
            return Remark::default();
        }
        let before = (self.judge.tally().findings, self.judge.history().last_switch());
        let judged = self.judge.judge(run.machine(), event.clone());
        self.report.take(run.machine(), &judged);
        Remark {
            found: self.judge.tally().findings != before.0,
            switched: self.judge.history().last_switch() != before.1
                || matches!(event, Event::Switch(_)),
        }
    }

    fn gives_up(&mut self) -> bool {
        self.line.is_some_and(Line::calls)
    }
}

/// What has been seen so far.
pub(super) fn known<W: Write>(judge: &Judge, report: &Report<W>) -> Known {
    Known { judge: judge.clone(), entries: report.last_entries().clone() }
}
