//! What all trials came to, as a table.

use super::trial::{Listing, Need, TrialOutcome, TrialResult};
use super::trials;
use crate::host::{Authority, Backend};
use anstyle::{AnsiColor, Effects, Style};
use std::fmt::{self, Write};

/// What all trials came to.
#[derive(Clone, Debug)]
pub struct DoctorReport {
    /// What stands behind /dev/kvm, by looking and by trying.
    pub backend: Backend,
    /// In the order of the table.
    pub results: Vec<TrialResult>,
}

impl DoctorReport {
    pub(super) fn new(backend: Backend, results: Vec<TrialResult>) -> DoctorReport {
        let mut report = DoctorReport { backend, results };
        // A processor raises #GP where ring 3 halts, and keeps AC at an entry.
        if !report.works(trials::HALT_IN_RING_3) || !report.works(trials::ALIGNMENT_FLAG) {
            report.backend = report.backend.seen_to_emulate();
        }
        report
    }

    fn works(&self, name: &str) -> bool {
        self.results.iter().any(|result| result.trial.name == name && result.works())
    }

    /// Whether esp0 can run 32-bit kernels here.
    pub fn usable(&self) -> bool {
        self.results.iter().all(|result| result.works() || result.trial.need != Need::Needed)
    }

    /// How many hardware breakpoints can be used: 4 or none.
    pub fn breakpoints(&self) -> usize {
        let work = self.works(trials::FOUR_BREAKPOINTS) && self.works(trials::AT_A_HANDLER);
        if work { 4 } else { 0 }
    }

    /// How many trials came to an outcome that `is` tells.
    fn count(&self, is: impl Fn(&TrialResult) -> bool) -> usize {
        self.results.iter().filter(|result| is(result)).count()
    }

    /// The table, with ANSI colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let mut table = Table { text: String::new(), colour };
        // Writing to a string cannot fail.
        let _ = self.write(&mut table);
        table.text
    }

    fn write(&self, table: &mut Table) -> fmt::Result {
        let backend = &self.backend;
        table.fact("module", &backend.module)?;
        table.fact("processor", &backend.processor)?;
        let below = match (&backend.hypervisor, backend.version) {
            (Some(name), Some(version)) => format!("{name} (QEMU {version})"),
            (Some(name), None) => name.clone(),
            (None, _) => "no hypervisor".into(),
        };
        table.fact("below it", &below)?;
        table.fact("Linux", &backend.kernel)?;
        let executes = match backend.authority {
            Authority::Silicon => "a processor executes the guest",
            Authority::Unconfirmed => "a processor, or an emulator that does not say so",
            Authority::Tcg => "QEMU's model of a processor executes the guest",
            Authority::Emulated => "software executes the guest's 32-bit code",
        };
        table.fact("authority", &format!("{}: {executes}", backend.authority))?;
        for doubt in &backend.doubts {
            table.fact("", doubt)?;
        }
        for title in [NEEDED, USEFUL, EXACT] {
            table.title(title)?;
            for result in self.results.iter().filter(|result| group(result.trial.need) == title) {
                table.result(result)?;
            }
        }
        writeln!(
            table.text,
            "\ndoctor: {} failed={} deviations={} unlisted={} breakpoints={} authority={}",
            if self.usable() { "usable" } else { "not usable" },
            self.count(|result| matches!(result.outcome, TrialOutcome::Fails(_))),
            self.count(|result| matches!(result.outcome, TrialOutcome::Deviates(..))),
            self.count(TrialResult::contradicts_table),
            self.breakpoints(),
            backend.authority,
        )
    }
}

/// The table without colours.
impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

const NEEDED: &str = "Needed by esp0";
const USEFUL: &str = "Useful to esp0";
const EXACT: &str = "Against the manual";

/// The title under which trials of this kind stand.
fn group(need: Need) -> &'static str {
    match need {
        Need::Needed => NEEDED,
        Need::Useful => USEFUL,
        Need::Exact(_) | Need::Hopeless(_) => EXACT,
    }
}

/// A table as it grows.
struct Table {
    text: String,
    colour: bool,
}

/// Width of the longest word for an outcome.
const OUTCOME: usize = "deviates".len();
/// Width of the longest name of a trial.
const NAME: usize = 24;

impl Table {
    fn paint(&mut self, style: Style, text: &str) -> fmt::Result {
        if self.colour {
            write!(self.text, "{style}{text}{style:#}")
        } else {
            self.text.write_str(text)
        }
    }

    fn fact(&mut self, name: &str, value: &str) -> fmt::Result {
        writeln!(self.text, "{name:<10}  {value}")
    }

    fn title(&mut self, title: &str) -> fmt::Result {
        self.text.push('\n');
        self.paint(Style::new().effects(Effects::BOLD), title)?;
        self.text.push('\n');
        Ok(())
    }

    fn result(&mut self, result: &TrialResult) -> fmt::Result {
        let (word, colour) = match &result.outcome {
            TrialOutcome::Works => ("works", AnsiColor::Green),
            TrialOutcome::Outdated(_) => ("works", AnsiColor::Yellow),
            TrialOutcome::Fails(_) => {
                let needed = result.trial.need == Need::Needed;
                ("fails", if needed { AnsiColor::Red } else { AnsiColor::Yellow })
            }
            TrialOutcome::Deviates(..) => ("deviates", AnsiColor::Yellow),
        };
        self.text.push_str("  ");
        self.paint(Style::new().fg_color(Some(colour.into())), &format!("{word:<OUTCOME$}"))?;
        writeln!(self.text, "  {:<NAME$}  {}", result.trial.name, result.trial.shows)?;
        match &result.outcome {
            TrialOutcome::Works => Ok(()),
            TrialOutcome::Outdated(name) => {
                self.note("known", &format!("as a deviation, {name}, which is not to be seen"))
            }
            TrialOutcome::Fails(wrong) => {
                self.note("expected", &wrong.expected)?;
                self.note("got", &wrong.got)
            }
            TrialOutcome::Deviates(wrong, listing) => {
                self.note("expected", &wrong.expected)?;
                self.note("got", &wrong.got)?;
                let known = match (listing, result.trial.need) {
                    (Listing::Everywhere(why), _) => format!("yes: {why}"),
                    (Listing::Known, Need::Exact(Some(name))) => format!("yes: {name}"),
                    (Listing::Known, _) => "yes".into(),
                    (Listing::Unknown, _) => {
                        "no: the table of known deviations does not name it here".into()
                    }
                };
                self.note("known", &known)
            }
        }
    }

    /// A line below a result, in the column of the names.
    fn note(&mut self, name: &str, text: &str) -> fmt::Result {
        let dim = Style::new().effects(Effects::DIMMED);
        self.text.push_str(&" ".repeat(2 + OUTCOME + 2));
        self.paint(dim, &format!("{name:<8}  {text}"))?;
        self.text.push('\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wrong::Wrong;
    use super::*;

    fn report(wrong: impl Fn(&str) -> Option<Wrong>) -> DoctorReport {
        let backend = Backend {
            authority: Authority::Silicon,
            doubts: Vec::new(),
            module: "kvm_intel".into(),
            version: None,
            processor: "a processor".into(),
            hypervisor: None,
            kernel: "6.12".into(),
        };
        let results = trials::all()
            .map(|trial| TrialResult::new(trial, wrong(trial.name).map_or(Ok(()), Err), &backend))
            .collect();
        DoctorReport::new(backend, results)
    }

    fn failing(failing: &str) -> DoctorReport {
        report(|name| (name == failing).then(|| Wrong::new("one", "another").measured()))
    }

    #[test]
    fn where_all_works_it_is_usable_with_four_breakpoints() {
        let report = report(|_| None);
        assert!(report.usable());
        assert_eq!(report.breakpoints(), 4);
        assert_eq!(report.backend.authority, Authority::Silicon);
        let text = report.to_string();
        assert!(!text.contains("fails") && !text.contains('\x1b'), "{text}");
        assert!(text.ends_with(
            "doctor: usable failed=0 deviations=0 unlisted=0 breakpoints=4 authority=silicon\n"
        ));
    }

    #[test]
    fn a_needed_trial_that_fails_makes_it_unusable_a_useful_one_does_not() {
        assert!(!failing("iret to ring 3").usable());
        let report = failing(trials::FOUR_BREAKPOINTS);
        assert!(report.usable());
        assert_eq!(report.breakpoints(), 0);
    }

    #[test]
    fn what_no_processor_does_changes_the_authority() {
        for name in [trials::HALT_IN_RING_3, trials::ALIGNMENT_FLAG] {
            assert_eq!(failing(name).backend.authority, Authority::Emulated);
        }
    }

    #[test]
    fn a_deviation_that_no_table_names_is_said_to_be_unknown() {
        let text = failing("RF of a fault").to_string();
        assert!(text.contains("  deviates  RF of a fault "), "{text}");
        assert!(text.contains("\n            expected  one\n            got       another\n"));
        assert!(text.contains("known     no: "), "{text}");
        assert!(text.contains("deviations=1 unlisted=1"), "{text}");
    }

    #[test]
    fn names_fit_their_column() {
        for trial in trials::all() {
            assert!(trial.name.len() <= NAME, "{}", trial.name);
        }
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        let report = failing("iret to ring 3");
        let plain = report.render(false);
        let coloured = report.render(true);
        assert!(coloured.contains("\x1b[31mfails"), "{coloured}");
        assert_eq!(anstyle_stripped(&coloured), plain);
    }

    fn anstyle_stripped(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default();
        let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
        std::iter::once(first).chain(rest).collect()
    }
}
