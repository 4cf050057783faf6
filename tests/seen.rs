//! All that was seen while a guest ran, and the questions that tests ask of it.

use crate::words::frames;
use esp0::check::{Finding, Judged, Judgement, Sink};
use esp0::entry::{Entry, Return, Returned, TaskSwitch};
use esp0::machine::Machine;
use esp0::probe::Census;
use esp0::run::{Counters, End, Ending, Run, StackLoad};
use esp0::trace::{Colour, FindingText, event_name};
use ia32::Word;
use std::fmt::Write;
use std::sync::Arc;

/// An entry, a return or a task switch by hardware, and what the rules said of it.
#[derive(Debug)]
pub enum Event {
    /// An entry.
    Entry(Arc<Entry>, Judgement),
    /// A return.
    Return(Box<Return>, Judgement),
    /// What a return did, in exact mode.
    Returned(Box<Returned>, Judgement),
    /// A switch.
    Switch(Box<TaskSwitch>, Judgement),
}

impl Event {
    /// What the rules said.
    pub fn judgement(&self) -> &Judgement {
        match self {
            Event::Entry(_, judgement)
            | Event::Return(_, judgement)
            | Event::Returned(_, judgement)
            | Event::Switch(_, judgement) => judgement,
        }
    }
}

/// Keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    events: Vec<Event>,
    stack_loads: Vec<StackLoad>,
    console: Vec<u8>,
}

impl Recorder {
    pub(crate) fn finish(self, end: End, run: &Run) -> Seen {
        Seen {
            events: self.events,
            stack_loads: self.stack_loads,
            console: self.console,
            end,
            counters: run.counters(),
            census: run.probes().census(),
        }
    }
}

impl Sink for Recorder {
    fn take(&mut self, _machine: &Machine, judged: &Judged) {
        self.events.push(match judged.clone() {
            Judged::Entry(entry, judgement) => Event::Entry(entry, judgement),
            Judged::Return(returning, judgement) => Event::Return(returning, judgement),
            Judged::Returned(returned, judgement) => Event::Returned(returned, judgement),
            Judged::Switch(switch, judgement) => Event::Switch(switch, judgement),
            Judged::StackLoad(load) => return self.stack_loads.push(*load),
            Judged::Console(bytes) => return self.console.extend(bytes),
            _ => return,
        });
    }
}

/// All that was seen of a run.
#[derive(Debug)]
pub struct Seen {
    /// Entries, returns and task switches, in their order.
    pub events: Vec<Event>,
    /// The stacks that were loaded before there were probes.
    pub stack_loads: Vec<StackLoad>,
    /// What the guest wrote.
    pub console: Vec<u8>,
    /// How it ended.
    pub end: End,
    /// What the run counted.
    pub counters: Counters,
    /// How the places were probed.
    pub census: Census,
}

impl Seen {
    /// The entries.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.events.iter().filter_map(|event| match event {
            Event::Entry(entry, _) => Some(&**entry),
            _ => None,
        })
    }

    /// What returns did, as exact mode saw them.
    pub fn returned(&self) -> impl DoubleEndedIterator<Item = &Returned> {
        self.events.iter().filter_map(|event| match event {
            Event::Returned(returned, _) => Some(&**returned),
            _ => None,
        })
    }

    /// The returns.
    pub fn returns(&self) -> impl DoubleEndedIterator<Item = &Return> {
        self.events.iter().filter_map(|event| match event {
            Event::Return(returning, _) => Some(&**returning),
            _ => None,
        })
    }

    /// The task switches by hardware.
    pub fn switches(&self) -> impl DoubleEndedIterator<Item = &TaskSwitch> {
        self.events.iter().filter_map(|event| match event {
            Event::Switch(switch, _) => Some(&**switch),
            _ => None,
        })
    }

    /// What is wrong.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.events.iter().flat_map(|event| &event.judgement().findings)
    }

    /// What the guest wrote, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    /// The findings as people read them, each with the frame that is expected and the one that came.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            for finding in &event.judgement().findings {
                let (place, frames) = match event {
                    Event::Entry(entry, _) => (
                        format!("#{} {}", entry.sequence, event_name(entry.kind, entry.vector)),
                        frames(entry),
                    ),
                    Event::Return(returning, _) => {
                        (format!("IRET after #{}", returning.after_sequence), popped(returning))
                    }
                    Event::Returned(returned, _) => {
                        (format!("IRET after #{}", returned.after_sequence), String::new())
                    }
                    Event::Switch(switch, _) => {
                        (format!("the switch after #{}", switch.after_sequence), String::new())
                    }
                };
                let finding =
                    FindingText { finding, place, colour: Colour::default(), symbols: None };
                let _ = writeln!(text, "{finding}\n{frames}");
            }
        }
        let _ = write!(text, "the end: {}\nthe console:\n{}", self.end.ending, self.text());
        text
    }

    /// The guest came to the end that it meant to come to, and no rule found anything.
    ///
    /// # Panics
    /// If not, with the [`Seen::report`].
    #[track_caller]
    pub fn assert_clean(&self) {
        let found = self.findings().count();
        assert!(
            found == 0 && self.end.ending == Ending::PoweredOff,
            "expected no finding and power off, got {found} findings\n{}",
            self.report()
        );
    }
}

/// The words that a return is about to pop.
fn popped(returning: &Return) -> String {
    let words: Vec<String> = returning
        .frame
        .words()
        .map(|(word, value): (Word, _)| match value {
            Some(value) => format!("{} {value:08x}", word.name()),
            None => format!("{} ????????", word.name()),
        })
        .collect();
    format!("     pops      {}", words.join("  "))
}
