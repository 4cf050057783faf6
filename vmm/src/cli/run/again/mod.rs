//! Runs of the same guest that look again: at what a run could not see when it did not know yet what was to come.
//!
//! | what is asked | where |
//! | --- | --- |
//! | the last state of a guest that was shut down | here |
//! | who wrote the word that a finding is about | `writers` |
//! | what led the guest to where a finding has it | `ways` |
//! | what was wrong with the frame that a switch took apart on that way | `contexts` |

mod contexts;
mod ways;
mod writers;

use super::super::failure::tell;
use super::loaded::Loaded;
use super::outcome::{Outcome, Repeats};
use super::start::Start;
use super::watch::TextReport;
use esp0::check::{CodePlace, Finding, LookBack};
use esp0::machine::{Machine, MachineError};
use esp0::report::Standing;
use esp0::run::{ClockChoice, Ending, Event, Run};
use esp0::trace::Told;
use esp0::trace::schema::CodeRecord;
use ia32::State;
use std::io::{self, IsTerminal};

/// What a guest is started again from.
pub(super) struct Again<'a> {
    start: &'a Start<'a>,
    loaded: &'a Loaded,
    clock: ClockChoice,
}

/// A sentence for what a finding asks; a finding may get several.
pub(in crate::cli::run) struct Answer {
    pub(in crate::cli::run) asked: LookBack,
    pub(in crate::cli::run) sentence: String,
    /// The code that it names.
    pub(in crate::cli::run) places: Vec<CodeRecord>,
}

/// What was found by looking back, to be told behind the summary.
#[derive(Default)]
pub(super) struct Found {
    /// Whole lines.
    pub(super) text: String,
    /// What findings have asked, answered.
    pub(super) answers: Vec<Answer>,
}

/// Whether a finding asks.
type Asks = fn(&Finding) -> bool;

impl<'a> Again<'a> {
    /// Runs on the clock of the run that was asked for.
    pub(super) fn new(start: &'a Start<'a>, loaded: &'a Loaded) -> Self {
        Again { start, loaded, clock: start.clock() }
    }

    /// The same on a clock that counts, which single instructions are found by. Where no interrupt has come, another clock
    /// changes nothing.
    fn counted(&self) -> Again<'a> {
        let clock = if self.clock.is_real() { ClockChoice::DETERMINISTIC } else { self.clock };
        Again { clock, ..*self }
    }

    fn restart(&self, mut machine: Machine) -> Result<Run, MachineError> {
        self.loaded.anew(&mut machine, self.start.guest)?;
        Ok(self.start.run_again(machine, self.clock))
    }

    /// The code of an instruction that `run` has come to.
    fn shown(&self, report: &TextReport, run: &Run, before: &State) -> Vec<CodeRecord> {
        let guest = Standing { machine: run.machine(), probes: run.probes(), state: before };
        let place = CodePlace::Instruction(before.instruction_address());
        report.code().map_or_else(Vec::new, |code| code.show(place, guest))
    }

    /// An address and what stands there.
    fn place(&self, address: u32) -> String {
        match self.loaded.name(address) {
            Some(name) => format!("{address:08x} ({name})"),
            None => format!("{address:08x}"),
        }
    }

    /// Where the guest has been shut down, its registers are gone: it runs once more, to the last exit before, and from there
    /// step by step. What was known stays, if that leads elsewhere.
    ///
    /// # Errors
    /// [`MachineError`] if the guest cannot be started again.
    pub(super) fn to_the_end(&self, outcome: Outcome) -> Result<Outcome, MachineError> {
        let by_gdb = self.start.guest.options.gdb.is_some();
        if outcome.end.ending != Ending::TripleFault || outcome.repeats != Repeats::Yes || by_gdb {
            return Ok(outcome);
        }
        goes_on("the guest was shut down; it is run again up to there");
        let last = outcome.end.last_event.as_ref();
        if last.is_some_and(|last| last.interrupt.is_some()) {
            return Ok(outcome);
        }
        let Outcome { run, end, counters, repeats, time_stamp } = outcome;
        let mut run = self.restart(run.into_machine())?.watched_after(counters);
        let again = loop {
            match run.next_event() {
                Ok(Event::End(again)) => break Some(*again),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        let found = again.filter(|again| again.ending == end.ending && again.last_event.is_some());
        Ok(Outcome { run, end: found.unwrap_or(end), counters, repeats, time_stamp })
    }

    /// Looks for what the findings leave open, if the guest would come there again.
    pub(super) fn look_back(&self, report: &TextReport, outcome: Outcome) -> Found {
        let told = report.told();
        let asks = |of: fn(&Finding) -> bool| told.kinds().iter().any(|kind| of(&kind.finding));
        let stopped = outcome.end.ending == Ending::Stopped;
        let (written, way): (Asks, Asks) =
            (|one| one.written().is_some(), |one| one.way().is_some());
        if asks(written) {
            match outcome.repeats {
                Repeats::Yes if stopped => Found::default(),
                Repeats::Yes => {
                    goes_on("the guest is run again, to see who wrote the word that is wrong");
                    self.counted().who_wrote(report, outcome.run.into_machine())
                }
                Repeats::Preempted { .. } => Found::hint(
                    "who wrote that word is found by running again, and a guest that was preempted while it computed does \
                     not repeat: --clock deterministic",
                    told,
                    written,
                ),
                Repeats::No => Found::hint(
                    "who wrote that word is found by running again, and on the real clock no run is like another: \
                     --clock deterministic",
                    told,
                    written,
                ),
            }
        } else if asks(way) && !self.start.guest.has_bios() && !stopped {
            match outcome.repeats {
                Repeats::Yes => {
                    goes_on("the guest is run again, to see what led there");
                    self.counted().what_led_there(report, outcome.run.into_machine())
                }
                Repeats::Preempted { .. } => Found::default(),
                Repeats::No => Found::hint(
                    "what led there is found by running again, and on the real clock no run is like another: --clock \
                     deterministic",
                    told,
                    way,
                ),
            }
        } else {
            Found::default()
        }
    }
}

/// Says on a terminal what is done meanwhile: the guest has ended, and it may take as long again.
fn goes_on(what: &str) {
    if io::stderr().is_terminal() {
        tell(what);
    }
}

impl Found {
    fn answers(answers: Vec<Answer>) -> Self {
        let text = answers.iter().map(|answer| format!("{}\n", answer.sentence)).collect();
        Found { text, answers }
    }

    /// How to find out: told once, and on the page with each finding that `asks`.
    fn hint(sentence: &str, told: &Told, asks: Asks) -> Self {
        let asking = told.kinds().iter().map(|kind| &kind.finding).filter(|finding| asks(finding));
        let answers = asking.filter_map(|finding| {
            Some(Answer {
                asked: finding.look_back?,
                sentence: sentence.into(),
                places: Vec::new(),
            })
        });
        Found { text: format!("{sentence}\n"), answers: answers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp0::check::{ChangedWord, Subject};

    #[test]
    fn how_to_find_out_is_told_once_and_with_each_finding_that_asks() {
        let mut told = Told::default();
        let finding = |sentence| Finding::new("a_rule", Subject::Kernel, sentence, "that", "other");
        told.tell(&finding("nothing is asked"), "", 0, 1);
        for (address, sentence) in [(4, "this"), (8, "that")] {
            let word = ChangedWord { address, physical: 4, value: 1 };
            let asks = Finding { look_back: Some(LookBack::Writer(word)), ..finding(sentence) };
            told.tell(&asks, "", 0, 1);
        }
        let found = Found::hint("--clock deterministic", &told, |one| one.written().is_some());
        assert_eq!(found.text, "--clock deterministic\n");
        let sentences: Vec<&str> = found.answers.iter().map(|one| one.sentence.as_str()).collect();
        assert_eq!(sentences, ["--clock deterministic"; 2]);
    }
}
