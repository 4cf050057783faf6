//! One of the two traces, read as far as the comparison has come.

use super::Aspects;
use crate::entry::Kind;
use crate::trace::schema::{EntryRecord, Record};
use crate::trace::show::frame_names;
use crate::trace::{FrameNames, KnownPlaces, ReadError, TraceReader};
use std::collections::VecDeque;
use std::io::BufRead;

/// How many events before a divergence are shown.
const BEFORE: usize = 3;

/// An event and the line it stands in.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) record: Record,
    pub(super) line: usize,
    /// What its frame holds, in words.
    pub(super) names: FrameNames,
}

/// The trace: events that are ahead, and those that were the same.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) ahead: VecDeque<Event>,
    /// The last events that were the same.
    pub(super) before: VecDeque<Event>,
    places: KnownPlaces,
    /// Where external interrupts that have not been returned from came in: what their frames lie at.
    interrupts: Vec<u32>,
    /// Lines are only there to be passed over.
    ended: bool,
}

impl Side {
    /// Reads until `count` events are ahead, or the trace is over.
    pub(super) fn fill<R: BufRead>(
        &mut self,
        trace: &mut TraceReader<R>,
        aspects: Aspects,
        count: usize,
    ) -> Result<(), ReadError> {
        while self.ahead.len() < count && !self.ended {
            let Some(record) = trace.next_record()? else {
                self.ended = true;
                break;
            };
            let names = match &record {
                Record::Place(place) => {
                    self.places.learn(place.clone());
                    continue;
                }
                Record::Returned(_) | Record::Header(_) | Record::Cause(_) => continue,
                Record::Console(_) if !aspects.values => continue,
                Record::Entry(entry) if aspects.without_interrupts && is_external(entry) => {
                    self.interrupts.push(entry.frame.address);
                    continue;
                }
                Record::Return(returning) if aspects.without_interrupts => {
                    let address = returning.frame.address;
                    match self.interrupts.iter().rposition(|one| *one == address) {
                        Some(index) => {
                            self.interrupts.remove(index);
                            continue;
                        }
                        None => FrameNames::default(),
                    }
                }
                Record::Entry(entry) => frame_names(&self.places, entry),
                _ => FrameNames::default(),
            };
            self.ahead.push_back(Event { record, line: trace.line(), names });
        }
        Ok(())
    }

    pub(super) fn pass(&mut self) {
        if let Some(event) = self.ahead.pop_front() {
            if self.before.len() == BEFORE {
                self.before.pop_front();
            }
            self.before.push_back(event);
        }
    }
}

fn is_external(entry: &EntryRecord) -> bool {
    entry.kind == Kind::External
}
