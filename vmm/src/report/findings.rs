//! Findings by cause: what repeats is shown once, with all the stops at which it was seen.

use crate::symbols::Annotator;
use crate::trace::without_numbers;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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
    /// What was found out about it.
    found: Value,
}

impl Cause {
    /// The texts of the finding by their names, each address named where it stands first.
    pub(super) fn texts(&self) -> Map<String, Value> {
        let names: BTreeMap<String, String> =
            serde_json::from_value(self.finding["names"].clone()).unwrap_or_default();
        let mut annotator = Annotator::with_names(&names);
        let mut texts = Map::new();
        for name in ["sentence", "expected", "got", "reason", "advice"] {
            if let Some(text) = self.finding[name].as_str() {
                texts.insert(name.into(), annotator.annotate(text).into());
            }
        }
        for name in ["writer", "way"] {
            let sentences: Vec<&str> = self.found[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if !sentences.is_empty() {
                texts.insert(name.into(), sentences.join("; ").into());
            }
        }
        texts.insert("place".into(), self.finding["place"].clone());
        texts
    }
}

/// All causes in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Causes {
    causes: Vec<Cause>,
    known: FxHashMap<(String, bool, String, String), usize>,
    /// What was found out about causes: those of the run as a whole come behind it.
    found: Vec<Value>,
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
        let found = self.found.iter().position(|found| is_about(found, finding));
        let found = found.map_or(Value::Null, |index| self.found.swap_remove(index));
        self.known.insert(key, self.causes.len());
        self.causes.push(Cause {
            finding: finding.clone(),
            note,
            at,
            first: sequence,
            last: sequence,
            count: 1,
            stops: stop.into_iter().collect(),
            found,
        });
    }

    /// Adds what was found out about a cause: a line of the trace that says so.
    pub(super) fn found(&mut self, found: Value) {
        match self.causes.iter_mut().find(|cause| is_about(&found, &cause.finding)) {
            Some(cause) => cause.found = found,
            None => self.found.push(found),
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
                let mut packed = cause.texts();
                for (name, value) in [
                    ("rule", cause.finding["rule"].clone()),
                    ("subject", cause.finding["subject"].clone()),
                    ("note", cause.note.into()),
                    ("where", cause.found["places"].clone()),
                    ("word", cause.finding["difference"]["word"].clone()),
                    ("at", cause.at.into()),
                    ("first", cause.first.into()),
                    ("last", cause.last.into()),
                    ("count", cause.count.into()),
                    ("stops", cause.stops.clone().into()),
                ] {
                    packed.insert(name.into(), value);
                }
                packed.into()
            })
            .collect();
        json!({ "list": causes, "findings": self.findings, "beyond": self.beyond })
    }
}

/// What was found out is about the cause whose first finding this is.
fn is_about(found: &Value, finding: &Value) -> bool {
    ["rule", "at", "sentence"].iter().all(|name| found[*name] == finding[*name])
}
