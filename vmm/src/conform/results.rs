//! What came of many cases, as text: written while they run, gone on with after a kill, put together from shards.
//!
//! ```text
//!  {"format":"esp0-conform","version":1, … which cases, on what}     ResultsHeader: once
//!  {"chunk":3,"results":{…}}                                         as soon as a chunk is done
//!  {"chunk":0,"results":{…}}
//!  {"end":{…}}                                                       all of it, mismatches made small
//! ```
//! A line at a time is added and nothing is ever changed, so a kill leaves whole lines and at most a part of one, which
//! is dropped. (To write a new file and rename it over the old one was the alternative: the sandbox lets
//! nobody open a file.) Chunks are the same whatever `--jobs` is.

use super::campaign::Plan;
use super::summary::Summary;
use crate::host::Backend;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The version of the format.
const VERSION: u32 = 1;
const FORMAT: &str = "esp0-conform";

/// Which cases a file is about, and on what they ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultsHeader {
    /// `esp0-conform`.
    format: String,
    /// Of the format.
    version: u32,
    /// Of esp0.
    pub esp0: String,
    /// Decisions of the model, which another version of it may not have.
    pub branches: u64,
    /// How many cases there are in all shards.
    pub cases: u64,
    /// What they are drawn from.
    pub seed: u64,
    /// Which shard this is, from 1 on.
    pub shard: u64,
    /// How many there are.
    pub shards: u64,
    /// Who executed the cases: `silicon`, `tcg`, …
    pub authority: String,
    /// What stands behind /dev/kvm.
    pub backend: String,
    /// Linux's release there.
    pub kernel: String,
}

impl ResultsHeader {
    /// That of a plan's run.
    pub fn of(plan: &Plan, backend: &Backend) -> Self {
        ResultsHeader {
            format: FORMAT.into(),
            version: VERSION,
            esp0: env!("CARGO_PKG_VERSION").into(),
            branches: ia32::Branch::ALL.len() as u64,
            cases: plan.cases,
            seed: plan.seed,
            shard: plan.shard + 1,
            shards: plan.shards,
            authority: backend.authority.to_string(),
            backend: backend.to_string(),
            kernel: backend.kernel.clone(),
        }
    }

    fn plan(&self) -> Plan {
        let shard = self.shard.saturating_sub(1);
        Plan { cases: self.cases, seed: self.seed, shard, shards: self.shards, jobs: 1 }
    }

    /// In what two runs differ that are to be one, the first thing.
    pub fn differs(&self, other: &ResultsHeader, same_shard: bool) -> Option<Conflict> {
        let shard = if same_shard { other.shard } else { self.shard };
        let numbers = [
            ("number of cases", self.cases, other.cases),
            ("seed", self.seed, other.seed),
            ("number of shards", self.shards, other.shards),
            ("shard", self.shard, shard),
        ];
        let different = numbers.into_iter().find(|(_, one, two)| one != two);
        let different = different.map(|(what, one, two)| Conflict::Different {
            what,
            one: one.to_string(),
            two: two.to_string(),
        });
        different.or_else(|| self.differs_below(other))
    }

    /// In what the programs, or the machines, of two runs differ, the first thing.
    pub fn differs_below(&self, other: &ResultsHeader) -> Option<Conflict> {
        let texts = [
            ("version of esp0", &self.esp0, &other.esp0),
            (
                "number of the model's decisions",
                &self.branches.to_string(),
                &other.branches.to_string(),
            ),
            ("authority", &self.authority, &other.authority),
            ("backend", &self.backend, &other.backend),
            ("kernel", &self.kernel, &other.kernel),
        ]
        .map(|(what, one, two)| (what, one.clone(), two.clone()));
        let different = texts.into_iter().find(|(_, one, two)| one != two);
        different.map(|(what, one, two)| Conflict::Different { what, one, two })
    }
}

/// A known deviation, as a run has met it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// In how many cases.
    pub count: u64,
    /// The case shows no other deviation.
    alone: bool,
    /// The number of the first case.
    pub number: u64,
    /// That case.
    pub case: String,
}

/// The first mismatch of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatching {
    /// In which fields it differs.
    kind: String,
    /// Its number.
    pub number: u64,
    /// How many others there are.
    pub others: u64,
    /// The case.
    pub case: String,
    /// What differed.
    pub differences: String,
    /// What the model says; empty while the run goes on.
    pub explanation: String,
}

/// Cases that KVM did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// How many.
    pub count: u64,
    /// The number of the first.
    pub number: u64,
    /// That case.
    pub case: String,
    /// What KVM answered.
    pub error: String,
}

/// What came of some cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// How many were compared.
    pub compared: u64,
    /// Cases that were not run, by reason.
    pub not_run: BTreeMap<String, u64>,
    /// Known deviations by name.
    pub deviations: BTreeMap<String, Met>,
    /// Unknown mismatches in all.
    pub mismatches: u64,
    /// The first of each kind, by number.
    pub found: Vec<Mismatching>,
    /// Names of the model's decisions that were taken.
    pub taken: BTreeSet<String>,
    /// What KVM refused.
    pub refused: Option<NotTaken>,
}

impl Results {
    /// A run's, as text.
    pub fn of(summary: &Summary) -> Self {
        let met = |(name, met): (&&str, &super::MetDeviation)| {
            let super::MetDeviation { count, alone, number, ref case } = *met;
            ((*name).to_owned(), Met { count, alone, number, case: case.to_string() })
        };
        let found = summary.found.iter().map(|found| Mismatching {
            kind: found.mismatch.kind(),
            number: found.number,
            others: found.others,
            case: found.case.to_string(),
            differences: found.mismatch.to_string(),
            explanation: found.explanation.clone(),
        });
        Results {
            compared: summary.compared,
            not_run: summary.unfit.iter().map(|(why, n)| (why.to_string(), *n)).collect(),
            deviations: summary.deviations.iter().map(met).collect(),
            mismatches: summary.mismatches,
            found: found.collect(),
            taken: summary.path.iter().map(|branch| branch.name().to_owned()).collect(),
            refused: summary.refused.as_ref().map(|refused| NotTaken {
                count: refused.count,
                number: refused.number,
                case: refused.case.to_string(),
                error: refused.error.to_string(),
            }),
        }
    }

    /// Adds those of other cases. A mismatch that is in both, made small in one of them, is one.
    pub fn add(&mut self, other: Results) {
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        self.taken.extend(other.taken);
        for (why, count) in other.not_run {
            *self.not_run.entry(why).or_default() += count;
        }
        for (name, met) in other.deviations {
            match self.deviations.get_mut(&name) {
                Some(known) => {
                    let count = known.count + met.count;
                    if (!met.alone, met.number) < (!known.alone, known.number) {
                        *known = met;
                    }
                    known.count = count;
                }
                None => drop(self.deviations.insert(name, met)),
            }
        }
        for found in other.found {
            match self.found.iter_mut().find(|known| known.kind == found.kind) {
                Some(known) => {
                    let same = known.number == found.number;
                    let others = known.others + found.others + u64::from(!same);
                    let explained = same && !found.explanation.is_empty();
                    if found.number < known.number || explained {
                        *known = found;
                    }
                    known.others = others;
                }
                None => self.found.push(found),
            }
        }
        self.found.sort_by_key(|found| found.number);
        self.refused = match (self.refused.take(), other.refused) {
            (Some(one), Some(two)) => {
                let count = one.count + two.count;
                let first = if two.number < one.number { two } else { one };
                Some(NotTaken { count, ..first })
            }
            (one, two) => one.or(two),
        };
    }

    /// How many cases these are.
    pub fn cases(&self) -> u64 {
        let refused = self.refused.as_ref().map_or(0, |refused| refused.count);
        self.compared + refused + self.not_run.values().sum::<u64>()
    }
}

/// A line behind the header.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultsRecord {
    /// What came of a chunk.
    Chunk(u64, Results),
    /// What came of all.
    End(Results),
}

/// A file of results, as far as it was written.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Which cases.
    pub header: ResultsHeader,
    /// The chunks that are there.
    pub chunks: BTreeSet<u64>,
    /// What came of them.
    pub results: Results,
    /// The run came to its end.
    pub ended: bool,
    /// How many bytes are whole lines.
    pub length: u64,
}

/// Why files of results are not those of one run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// Not written by `esp0 conform --results`.
    #[error("it is no file of results of esp0 conform: {0}")]
    NoResults(String),
    /// Something differs.
    #[error("it is of another run: the {what} is {one} here and {two} there")]
    Different {
        /// What.
        what: &'static str,
        /// In this file.
        one: String,
        /// In the other.
        two: String,
    },
    /// Two files of a shard.
    #[error("shard {0} is in two files")]
    Overlap(u64),
    /// The run was killed.
    #[error("it was cut off after {done} of {all} cases: the same command again goes on with it")]
    CutOff {
        /// How many cases there are in it.
        done: u64,
        /// How many it should have.
        all: u64,
    },
    /// Some shards are not there.
    #[error("of {shards} shards there are no results of {}", list(.missing))]
    Missing {
        /// Which, from 1 on.
        missing: Vec<u64>,
        /// Of how many.
        shards: u64,
    },
}

/// `1, 2, 3 and 7 more`.
fn list(numbers: &[u64]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = numbers.iter().take(SHOWN).map(u64::to_string).collect();
    if numbers.len() > SHOWN {
        text.push(format!("{} more", numbers.len() - SHOWN));
    }
    text.join(", ")
}

impl Stored {
    /// Reads a file; nothing if not even its header is whole.
    ///
    /// # Errors
    /// [`Conflict::NoResults`] if it is something else.
    pub fn read(bytes: &[u8]) -> Result<Option<Stored>, Conflict> {
        let wrong = |why: &dyn std::fmt::Display| Conflict::NoResults(why.to_string());
        // What follows the last line's end was cut off.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let Some(first) = lines.next() else {
            let begun = br#"{"format":"#;
            let short = begun.len().min(bytes.len());
            let ours = bytes[..short] == begun[..short];
            return if ours { Ok(None) } else { Err(wrong(&"it does not begin as one")) };
        };
        let header: ResultsHeader = serde_json::from_slice(first).map_err(|error| wrong(&error))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(wrong(&format_args!("{} {}", header.format, header.version)));
        }
        if header.shards == 0 || !(1..=header.shards).contains(&header.shard) {
            return Err(wrong(&format_args!("shard {} of {}", header.shard, header.shards)));
        }
        let mut stored = Stored {
            header,
            chunks: BTreeSet::new(),
            results: Results::default(),
            ended: false,
            length: whole as u64,
        };
        for line in lines {
            match serde_json::from_slice(line).map_err(|error| wrong(&error))? {
                ResultsRecord::Chunk(chunk, results) => {
                    if !stored.chunks.insert(chunk) {
                        return Err(wrong(&format_args!("chunk {chunk} is there twice")));
                    }
                    stored.results.add(results);
                }
                ResultsRecord::End(results) => {
                    stored.results = results;
                    stored.ended = true;
                }
            }
        }
        if stored.chunks.iter().any(|chunk| *chunk >= stored.header.plan().chunks()) {
            return Err(wrong(&"it has chunks that the shard has not"));
        }
        Ok(Some(stored))
    }

    /// The line that a file begins with.
    pub fn first_line(header: &ResultsHeader) -> String {
        line(header)
    }

    /// Whether it is all that a shard should have.
    fn is_whole(&self) -> Result<(), Conflict> {
        let (done, all) = (self.results.cases(), self.header.plan().size());
        if self.ended && done == all { Ok(()) } else { Err(Conflict::CutOff { done, all }) }
    }
}

impl ResultsRecord {
    /// As a line of a file.
    pub fn line(&self) -> String {
        line(self)
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("all fields are of JSON") + "\n"
}

/// Puts all shards of one run together.
///
/// # Errors
/// The file that does not fit, by its place, and why; no place if some are not there.
pub fn merge(files: &[Stored]) -> Result<Results, (Option<usize>, Conflict)> {
    let Some(first) = files.first() else {
        return Err((None, Conflict::NoResults("there is none".into())));
    };
    let shards = first.header.shards;
    let mut missing: BTreeSet<u64> = (1..=shards).collect();
    let mut all = Results::default();
    for (place, file) in files.iter().enumerate() {
        let at = |conflict| (Some(place), conflict);
        if let Some(conflict) = file.header.differs(&first.header, false) {
            return Err(at(conflict));
        }
        if !missing.remove(&file.header.shard) {
            return Err(at(Conflict::Overlap(file.header.shard)));
        }
        file.is_whole().map_err(at)?;
        all.add(file.results.clone());
    }
    if missing.is_empty() {
        return Ok(all);
    }
    Err((None, Conflict::Missing { missing: missing.into_iter().collect(), shards }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(shard: u64) -> ResultsHeader {
        let plan = Plan { cases: 1000, seed: 7, shard: shard - 1, shards: 2, jobs: 1 };
        ResultsHeader::of(&plan, &Backend::detect())
    }

    fn found(number: u64, explanation: &str) -> Mismatching {
        Mismatching {
            kind: "eip".into(),
            number,
            others: 0,
            case: format!("case {number}"),
            differences: "eip".into(),
            explanation: explanation.into(),
        }
    }

    fn results(compared: u64, number: u64) -> Results {
        Results { compared, mismatches: 1, found: vec![found(number, "")], ..Results::default() }
    }

    fn stored(shard: u64) -> Stored {
        let end = ResultsRecord::End(results(500, shard)).line();
        let text = Stored::first_line(&header(shard)) + &end;
        Stored::read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn what_was_cut_off_is_read_up_to_its_last_whole_line() {
        let first = Stored::first_line(&header(1));
        let chunk = ResultsRecord::Chunk(0, results(400, 3)).line();
        let text = format!("{first}{chunk}");
        for cut in 0..text.len() {
            let read = Stored::read(&text.as_bytes()[..cut]).unwrap();
            if cut < first.len() {
                assert!(read.is_none());
            } else {
                let read = read.unwrap();
                assert_eq!((read.length, read.chunks.len()), (first.len() as u64, 0));
            }
        }
        let whole = Stored::read(text.as_bytes()).unwrap().unwrap();
        assert_eq!((whole.chunks.len(), whole.results.compared), (1, 400));
        assert!(!whole.ended);
    }

    #[test]
    fn other_files_are_told_from_results() {
        for text in ["no results", "{}\n", "{\"format\":\"other\"}\n", "{\"x"] {
            let error = Stored::read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Conflict::NoResults(_)), "{text}: {error}");
        }
        let twice = ResultsRecord::Chunk(0, results(1, 1)).line().repeat(2);
        let beyond = ResultsRecord::Chunk(2, results(1, 1)).line();
        for lines in [twice, beyond] {
            let text = Stored::first_line(&header(1)) + &lines;
            assert!(Stored::read(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn shards_add_up_to_the_run() {
        let all = merge(&[stored(2), stored(1)]).unwrap();
        assert_eq!((all.compared, all.mismatches, all.found.len()), (1000, 2, 1));
        assert_eq!((all.found[0].number, all.found[0].others), (1, 1));
    }

    #[test]
    fn what_is_not_one_run_is_refused() {
        assert_eq!(merge(&[stored(1), stored(1)]), Err((Some(1), Conflict::Overlap(1))));
        let missing = Conflict::Missing { missing: vec![1], shards: 2 };
        assert_eq!(missing.to_string(), "of 2 shards there are no results of 1");
        assert_eq!(merge(&[stored(2)]), Err((None, missing)));
        let mut other = stored(2);
        other.header.seed = 8;
        let (place, conflict) = merge(&[stored(1), other]).unwrap_err();
        assert_eq!(place, Some(1));
        assert!(conflict.to_string().contains("the seed is 8 here and 7 there"), "{conflict}");
        let mut other = stored(2);
        other.header.backend = "another".into();
        assert!(matches!(merge(&[stored(1), other]), Err((_, Conflict::Different { .. }))));
        let mut short = stored(2);
        short.ended = false;
        assert!(matches!(merge(&[stored(1), short]), Err((Some(1), Conflict::CutOff { .. }))));
        let mut less = stored(2);
        less.results.compared = 499;
        assert!(matches!(merge(&[stored(1), less]), Err((Some(1), Conflict::CutOff { .. }))));
        assert!(merge(&[]).is_err());
    }

    #[test]
    fn a_mismatch_that_was_made_small_later_is_the_same_one() {
        let mut before = results(10, 3);
        let again = Results { found: vec![found(3, "the model says")], ..Results::default() };
        before.add(again);
        assert_eq!((before.mismatches, before.found[0].others), (1, 0));
        assert_eq!(before.found[0].explanation, "the model says");
    }
}
