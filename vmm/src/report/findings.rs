//! Findings by cause: what repeats is shown once, with all the stops at which it was seen.

use crate::trace::without_numbers;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

/// So many causes are kept whole, and so many stops of each.
const MOST_CAUSES: usize = 200;
const MOST_STOPS: usize = 500;

/// What is wrong, or unusual, for one reason.
#[derive(Debug)]
pub(super) struct Cause {
    finding: Value,
    note: bool,
    at: &'static str,
    first: u64,
    last: u64,
    count: u64,
    stops: Vec<usize>,
    /// What the run told of it: names for addresses, the place, the writer.
    told: Value,
}

impl Cause {
    /// A text of the finding, with names where the run had some.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.told[name].as_str().or_else(|| self.finding[name].as_str())
    }

    /// The same, with the names that the trace has for its addresses.
    fn named(&self, name: &str) -> Option<String> {
        let mut text = self.text(name)?.to_owned();
        if self.told.is_null()
            && let Some(names) = self.finding["names"].as_object()
        {
            for (address, name) in names {
                let name = format!("{address} ({})", name.as_str().unwrap_or_default());
                text = text.replacen(address.as_str(), &name, 1);
            }
        }
        Some(text)
    }
}

/// All causes in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Causes {
    causes: Vec<Cause>,
    known: FxHashMap<(String, bool, String, String), usize>,
    findings: u64,
    beyond: u64,
}

impl Causes {
    /// Counts a finding.
    pub(super) fn add(
        &mut self,
        finding: &Value,
        note: bool,
        sequence: u64,
        stop: Option<usize>,
        at: &'static str,
    ) {
        self.findings += u64::from(!note);
        let text = |name: &str| finding[name].as_str().unwrap_or_default();
        let key = (
            text("rule").to_owned(),
            note,
            without_numbers(text("sentence")),
            text("at").to_owned(),
        );
        if let Some(index) = self.known.get(&key) {
            let cause = &mut self.causes[*index];
            cause.count += 1;
            cause.last = sequence;
            if cause.stops.len() < MOST_STOPS {
                cause.stops.extend(stop);
            }
            return;
        }
        if self.causes.len() == MOST_CAUSES {
            self.beyond += 1;
            return;
        }
        self.known.insert(key, self.causes.len());
        self.causes.push(Cause {
            finding: finding.clone(),
            note,
            at,
            first: sequence,
            last: sequence,
            count: 1,
            stops: stop.into_iter().collect(),
            told: Value::Null,
        });
    }

    /// Adds what the run told of its findings.
    pub(super) fn told(&mut self, told: &Value) {
        for told in told.as_array().map_or(&[][..], |told| told) {
            let same = |cause: &&mut Cause| {
                told["rule"] == cause.finding["rule"]
                    && told["plain"] == cause.finding["sentence"]
                    && cause.told.is_null()
            };
            if let Some(cause) = self.causes.iter_mut().find(same) {
                cause.told = told.clone();
            }
        }
    }

    /// How many findings there are, notes aside.
    pub(super) fn findings(&self) -> u64 {
        self.findings
    }

    /// The faults first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Cause> {
        let of = |note| self.causes.iter().filter(move |cause| cause.note == note);
        of(false).chain(of(true))
    }

    pub(super) fn pack(&self) -> Value {
        let causes: Vec<Value> = self
            .in_order()
            .map(|cause| {
                json!({
                    "rule": cause.finding["rule"],
                    "subject": cause.finding["subject"],
                    "note": cause.note,
                    "sentence": cause.named("sentence"),
                    "expected": cause.named("expected"),
                    "got": cause.named("got"),
                    "reason": cause.named("reason"),
                    "advice": cause.named("advice"),
                    "place": cause.text("place"),
                    "where": cause.told["where"],
                    "writer": cause.told["writer"],
                    "way": cause.told["way"],
                    "word": cause.finding["difference"]["word"],
                    "at": cause.at,
                    "first": cause.first,
                    "last": cause.last,
                    "count": cause.count,
                    "stops": cause.stops,
                })
            })
            .collect();
        json!({ "list": causes, "findings": self.findings, "beyond": self.beyond })
    }
}
