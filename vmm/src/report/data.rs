//! A trace as the page's data: stops in columns, findings by cause, and what was kept of some entries.
//!
//! A *stop* is an entry through a gate, a return, a task switch, a SYSENTER or a crossing by a call gate, in the order of the trace. What only entries have, and what
//! only returns have, stands in columns of its own, whose rows are counted among those.

mod pack;

use super::columns::Column;
use super::findings::Causes;
use super::naming::Naming;
use super::record::{self, Record, ReportError, hex};
use crate::check::Degree;
use crate::trace::schema::{EndRecord, ExactRecord, FindingRecord, HeaderRecord};
use crate::trace::{Colour, Told, TraceReader, account_of, registers, summary, verdict_line};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use std::io::BufRead;

/// More stops than this make a page that no browser shows in time.
const MOST_STOPS: usize = 4_000_000;
/// Bytes of the console that the page keeps, the last ones.
const CONSOLE: usize = 1 << 20;
/// Bytes of the model's accounts.
const ACCOUNTS: usize = 4 << 20;

/// What stops have in common.
const COMMON: [&str; 7] = ["time", "address", "ss", "esp", "eflags", "cs", "eip"];
/// What a frame of virtual-8086 mode has above SS, and no other has.
const OF_VIRTUAL_8086: [&str; 4] = ["es", "ds", "fs", "gs"];
/// What entries have in hexadecimal digits.
const OF_ENTRY: [(&str, &str); 19] = [
    ("eflags", "after"),
    ("ss", "ssAfter"),
    ("esp", "espAfter"),
    ("ss0", "ss0"),
    ("esp0", "esp0"),
    ("eax", "eax"),
    ("ecx", "ecx"),
    ("edx", "edx"),
    ("ebx", "ebx"),
    ("ebp", "ebp"),
    ("esi", "esi"),
    ("edi", "edi"),
    ("ds", "ds"),
    ("es", "es"),
    ("fs", "fs"),
    ("gs", "gs"),
    ("tr", "tr"),
    ("cr2", "cr2"),
    ("cr3", "cr3"),
];

/// What a stop was, as the page knows it.
#[derive(Clone, Copy)]
enum Stop {
    Entry = 0,
    Return = 1,
    Switch = 2,
    Sysenter = 3,
    Crossing = 4,
}

/// How a stop was judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Judged {
    Right = 0,
    Deviates = 1,
    Noted = 2,
    Wrong = 3,
}

/// All that is gathered.
#[derive(Debug, Default)]
pub(super) struct Data {
    header: Value,
    typed_header: Option<HeaderRecord>,
    kind: Column,
    task: Column,
    number: Column,
    from_ring: Column,
    to_ring: Column,
    judged: Column,
    common: [Column; COMMON.len()],
    above_ss: [Column; OF_VIRTUAL_8086.len()],
    /// Kinds of events, and which each entry is of.
    events: Vec<(u64, String)>,
    known_events: FxHashMap<(u64, String), u64>,
    event: Column,
    of_entry: [Column; OF_ENTRY.len()],
    /// The gate's two words.
    gate: [Column; 2],
    /// An error code was pushed (1), the stack changed (2), words of two bytes (4), virtual-8086 mode (8).
    shape: Column,
    error_code: Column,
    place: Column,
    handler: Column,
    /// The entry whose frame a return pops, by its stop from 1; 0 if none was seen.
    pops: Column,
    /// Words of two bytes (4), to virtual-8086 mode (8), as in `shape`.
    return_shape: Column,
    return_place: Column,
    /// EIP of the IRET.
    return_eip: Column,
    return_named: Column,
    rows: Rows,
    /// Where the frames lie that were pushed and not popped.
    live: FxHashMap<(u64, u64), usize>,
    /// The entries by their numbers: the row of each, and its stop.
    entry_at: FxHashMap<u64, (usize, usize)>,
    return_at: FxHashMap<u64, usize>,
    switches: Map<String, Value>,
    sysenters: Map<String, Value>,
    crossings: Map<String, Value>,
    stacks: Vec<Value>,
    causes: Causes,
    /// The same as the summary counts them.
    told: Told<FindingRecord>,
    deviations: FxHashMap<String, u64>,
    details: Map<String, Value>,
    return_details: Map<String, Value>,
    /// The model's accounts, as text.
    accounts: Map<String, Value>,
    accounts_bytes: usize,
    places: Vec<Value>,
    /// Names that the trace itself has, which stand behind those places; and which of them each entry has.
    names_of: Naming,
    named: [Column; 2],
    console: Vec<(u64, String)>,
    console_bytes: usize,
    console_dropped: bool,
    /// CR0 and CR4 are written when they change.
    control: Vec<Value>,
    ending: Option<String>,
    /// What the run came to.
    end: Value,
    typed_end: Option<EndRecord>,
    /// The trace has no end.
    cut: bool,
    claims: Value,
    names: Value,
    unread: FxHashMap<String, u64>,
    /// Words of frames that lie in pages that are not mapped, by stop.
    unread_words: Map<String, Value>,
}

/// Rows so far.
#[derive(Debug, Default)]
struct Rows {
    stops: usize,
    entries: usize,
    returns: usize,
}

impl Data {
    /// Reads a trace to its end.
    pub(super) fn read<R: BufRead>(mut trace: TraceReader<R>) -> Result<Self, ReportError> {
        let mut data = Data {
            header: record::header(&trace),
            typed_header: Some(trace.header().clone()),
            ..Data::default()
        };
        while let Some(record) = record::next(&mut trace)? {
            data.take(record)?;
        }
        data.cut = !trace.is_whole();
        Ok(data)
    }

    fn take(&mut self, record: Record) -> Result<(), ReportError> {
        match record.kind() {
            "entry" => self.entry(&record)?,
            "return" => self.leave(&record)?,
            "switch" => self.switch(&record)?,
            "sysenter" => self.sysenter(&record)?,
            "crossing" => self.crossing(&record)?,
            "returned" => {
                let after = record.count("after");
                let stop = self.return_at.get(&after).copied();
                self.judge(&record, stop, "return");
                self.account(format!("r{after}"), record.get("exact"));
            }
            "stack" => self.stacks.push(record.into_value()),
            "detail" => self.detail(record),
            "code" => self.places.push(record.into_value()),
            "names" => self.names = record.get("names").clone(),
            "place" => self.names_of.learn(&record),
            "console" => {
                let bytes = unhex(record.text("bytes"));
                self.console(&String::from_utf8_lossy(&bytes));
                self.console(record.text("text"));
            }
            "cause" => self.causes.found(record.into_value()),
            "end" => {
                self.ending = Some(record.text("ending").to_owned());
                self.judge(&record, None, "end");
                self.end = record.into_value();
                self.typed_end = serde_json::from_value(self.end.clone()).ok();
            }
            other => *self.unread.entry(other.to_owned()).or_default() += 1,
        }
        Ok(())
    }

    fn stop(&mut self, stop: Stop, record: &Record, number: &str) -> Result<usize, ReportError> {
        if self.rows.stops == MOST_STOPS {
            return Err(ReportError::TooLong(MOST_STOPS));
        }
        self.kind.push(stop as u64);
        self.task.push(record.count("task"));
        self.number.push(record.count(number));
        self.from_ring.push(record.count("from_ring"));
        self.to_ring.push(record.count("to_ring"));
        self.judged.push(Judged::Right as u64);
        let frame = record.get("frame");
        for (column, name) in self.common.iter_mut().zip(COMMON) {
            let value =
                if name == "time" { record.count(name) } else { hex(&frame[name]).unwrap_or(0) };
            column.push(value);
        }
        for (column, name) in self.above_ss.iter_mut().zip(OF_VIRTUAL_8086) {
            column.push(hex(&frame[name]).unwrap_or(0));
        }
        let unread: Vec<&str> =
            COMMON.into_iter().filter(|name| frame.get(name).is_some_and(Value::is_null)).collect();
        if !unread.is_empty() {
            self.unread_words.insert(self.rows.stops.to_string(), json!(unread));
        }
        self.rows.stops += 1;
        Ok(self.rows.stops - 1)
    }

    fn entry(&mut self, record: &Record) -> Result<(), ReportError> {
        let row = self.stop(Stop::Entry, record, "sequence")?;
        let event = (record.hex("vector"), record.text("kind").to_owned());
        let next = self.events.len() as u64;
        let index = *self.known_events.entry(event.clone()).or_insert(next);
        if index == next {
            self.events.push(event);
        }
        self.event.push(index);
        for (column, (name, _)) in self.of_entry.iter_mut().zip(OF_ENTRY) {
            column.push(record.hex(name));
        }
        let gate = record.hex("gate");
        self.gate[0].push(gate & 0xffff_ffff);
        self.gate[1].push(gate >> 32);
        let frame = record.get("frame");
        let has = |name: &str| frame.get(name).is_some();
        let shape = u64::from(has("error_code"))
            | u64::from(has("ss")) << 1
            | shape_of_words(record)
            | u64::from(record.text("origin") == "virtual-8086") << 3;
        self.shape.push(shape);
        self.error_code.push(hex(&frame["error_code"]).unwrap_or(0));
        self.place.push(0u64);
        self.handler.push(0u64);
        let task = record.count("task");
        let eip = hex(&frame["eip"]).unwrap_or(0);
        let handler = (gate >> 32 & 0xffff_0000) | (gate & 0xffff);
        self.named[0].push(self.names_of.interrupted(eip, task));
        self.named[1].push(self.names_of.code(handler));
        let sequence = record.count("sequence");
        self.entry_at.insert(sequence, (self.rows.entries, row));
        self.rows.entries += 1;
        let word = if shape & 4 == 0 { 4 } else { 2 };
        let popped_from = hex(&frame["address"]).unwrap_or(0) + (shape & 1) * word;
        self.live.insert((record.count("task"), popped_from), row + 1);
        if !record.get("cr0").is_null() {
            self.control.push(json!([row, record.get("cr0"), record.get("cr4")]));
        }
        self.account(format!("e{sequence}"), record.get("exact"));
        self.judge(record, Some(row), "entry");
        Ok(())
    }

    fn leave(&mut self, record: &Record) -> Result<(), ReportError> {
        let row = self.stop(Stop::Return, record, "after")?;
        let address = hex(&record.get("frame")["address"]).unwrap_or(0);
        let pops = self.live.remove(&(record.count("task"), address)).unwrap_or(0);
        self.pops.push(pops as u64);
        let virtual_8086 = record.get("frame").get("gs").is_some();
        self.return_shape.push(shape_of_words(record) | u64::from(virtual_8086) << 3);
        self.return_place.push(0u64);
        self.return_eip.push(record.hex("at"));
        self.return_named.push(self.names_of.code(record.hex("at")));
        self.return_at.insert(record.count("after"), row);
        self.rows.returns += 1;
        self.judge(record, Some(row), "return");
        Ok(())
    }

    fn switch(&mut self, record: &Record) -> Result<(), ReportError> {
        let row = self.stop(Stop::Switch, record, "after")?;
        let mut kept = Map::new();
        for name in ["tr", "left", "loaded", "by", "vector"] {
            kept.insert(name.into(), record.get(name).clone());
        }
        self.switches.insert(row.to_string(), Value::Object(kept));
        self.judge(record, Some(row), "switch");
        Ok(())
    }

    /// Nothing is pushed there, so all that it has is ESP.
    fn sysenter(&mut self, record: &Record) -> Result<(), ReportError> {
        let row = self.stop(Stop::Sysenter, record, "after")?;
        self.from_ring.set(row, 3u64);
        let kept = json!({ "esp": record.get("esp"), "eip": record.get("eip") });
        self.sysenters.insert(row.to_string(), kept);
        self.judge(record, Some(row), "sysenter");
        Ok(())
    }

    /// No frame of an interrupt's is pushed there: its words are kept as they are.
    fn crossing(&mut self, record: &Record) -> Result<(), ReportError> {
        let row = self.stop(Stop::Crossing, record, "after")?;
        let mut kept = Map::new();
        for name in ["way", "gate", "esp", "eip", "words"] {
            kept.insert(name.into(), record.get(name).clone());
        }
        self.crossings.insert(row.to_string(), Value::Object(kept));
        self.judge(record, Some(row), "crossing");
        Ok(())
    }

    fn judge(&mut self, record: &Record, stop: Option<usize>, at: &'static str) {
        let list = |name: &str| record.get(name).as_array().map_or(&[][..], |list| list);
        let mut judged = Judged::Right;
        let mut named = Vec::new();
        for deviation in list("deviations").iter().filter(|one| one.is_string()) {
            let name = deviation.as_str().unwrap_or_default().to_owned();
            *self.deviations.entry(name).or_default() += 1;
            judged = judged.max(Judged::Deviates);
        }
        let sequence = match at {
            "entry" => record.count("sequence"),
            "end" => self.rows.entries as u64,
            _ => record.count("after"),
        };
        for (name, degree) in [("findings", Judged::Wrong), ("notes", Judged::Noted)] {
            for finding in list(name) {
                let note = degree == Judged::Noted;
                // What was found when the run was over may be about one of its entries.
                let about = stop.or_else(|| self.stop_named(finding));
                named.extend(about.map(|stop| (stop, degree)));
                self.causes.add(finding, note, sequence, about, at);
                if let Ok(finding) = serde_json::from_value(finding.clone()) {
                    let degree = if note { Degree::Note } else { Degree::Fault };
                    self.told.tell_record(&finding, degree, sequence);
                }
                judged = judged.max(degree);
            }
        }
        match stop {
            Some(stop) if judged > Judged::Right => self.judged.set(stop, judged as u64),
            Some(_) => {}
            None => {
                for (stop, degree) in named {
                    let worst = self.judged.get(stop).max(degree as u64);
                    self.judged.set(stop, worst);
                }
            }
        }
    }

    /// The stop of the entry that a finding's place begins with, as in `#4 #GP in ring 0`.
    fn stop_named(&self, finding: &Value) -> Option<usize> {
        let (number, _) = finding["place"].as_str()?.strip_prefix('#')?.split_once(' ')?;
        self.entry_at.get(&number.parse().ok()?).map(|(_, stop)| *stop)
    }

    /// ESP of a guest that failed in ring 0.
    fn last_esp(&self) -> Option<u64> {
        let last = &self.end["last"]["state"];
        let ring = hex(&last["cs"][0])? & 3;
        hex(&last["esp"]).filter(|_| ring == 0)
    }

    /// EIP of a guest that failed, by its name where it has one.
    fn last_place(&self) -> &Value {
        let last = &self.end["last"];
        let name = &last["names"]["eip"];
        if name.is_string() { name } else { &last["state"]["eip"] }
    }

    /// What the model says of an entry or a return, where exact mode has seen all that it needs.
    fn account(&mut self, name: String, exact: &Value) {
        if exact.is_null() || self.accounts_bytes > ACCOUNTS {
            return;
        }
        let exact = serde_json::from_value::<ExactRecord>(exact.clone()).ok();
        if let Some(text) = exact.and_then(|exact| account_of(&exact)) {
            self.accounts_bytes += text.len();
            self.accounts.insert(name, text.into());
        }
    }

    fn detail(&mut self, record: Record) {
        let place = |name: &str| record.get(name).as_u64().map_or(0, |place| place + 1);
        if let Some(sequence) = record.get("entry").as_u64() {
            if let Some((row, _)) = self
                .entry_at
                .get(&sequence)
                .filter(|_| !record.get("code").is_null() || !record.get("handler").is_null())
            {
                self.place.set(*row, place("code"));
                self.handler.set(*row, place("handler"));
            }
            if !record.get("stack").is_null() {
                self.details.insert(sequence.to_string(), without_names(record.into_value()));
            }
        } else if let Some(index) = record.get("return").as_u64() {
            // Counted from 0 in the order of the trace.
            if (index as usize) < self.rows.returns && !record.get("code").is_null() {
                self.return_place.set(index as usize, place("code"));
            }
            if !record.get("changed").is_null() {
                self.return_details.insert(index.to_string(), without_names(record.into_value()));
            }
        }
    }

    /// The places of entries, those of the trace's own names behind those with code.
    fn places(&self) -> [Column; 3] {
        let codes = self.places.len() as u64;
        let merged = |code: &Column, named: &Column| code.or(named, codes);
        [
            merged(&self.place, &self.named[0]),
            merged(&self.handler, &self.named[1]),
            merged(&self.return_place, &self.return_named),
        ]
    }

    /// The end without what stands elsewhere.
    fn end_of_run(&self) -> Value {
        let mut end = self.end.clone();
        if let Some(end) = end.as_object_mut() {
            for name in ["type", "findings", "notes", "last", "unjudged", "unanswered"] {
                end.remove(name);
            }
        }
        end
    }

    fn console(&mut self, text: &str) {
        let after = self.rows.entries as u64;
        self.console_bytes += text.len();
        match self.console.last_mut() {
            Some((last, line)) if *last == after => line.push_str(text),
            _ => self.console.push((after, text.to_owned())),
        }
        while self.console_bytes > CONSOLE && self.console.len() > 1 {
            self.console_bytes -= self.console.remove(0).1.len();
            self.console_dropped = true;
        }
    }

    /// Adds what was seen of claims.
    pub(super) fn claims(&mut self, claims: Value) {
        self.claims = claims;
    }

    /// What the verdict line says, or what can be said without it.
    pub(super) fn verdict(&self) -> String {
        match (&self.typed_end, &self.typed_header) {
            (Some(end), Some(header)) => verdict_line(end, header),
            _ => format!(
                "{} entries, {} findings; {}",
                self.rows.entries,
                self.causes.findings(),
                self.ending.as_deref().unwrap_or("the trace has no end")
            ),
        }
    }

    /// The summary as a run prints it; none of a trace without its end.
    fn summary(&self) -> Option<String> {
        let (end, header) = (self.typed_end.as_ref()?, self.typed_header.as_ref()?);
        let unanswered: String = end.unanswered.iter().map(|line| format!("{line}\n")).collect();
        Some(summary(header, end, &self.told, Colour::default()) + &unanswered)
    }

    /// A title and a table of the registers of a guest that failed.
    pub(super) fn last(&self) -> Option<(&'static str, String)> {
        let last = self.typed_end.as_ref()?.last.as_ref()?;
        Some((last.when.title(), registers(last)))
    }

    pub(super) fn kernel(&self) -> &str {
        self.header["kernel"].as_str().unwrap_or_default()
    }

    pub(super) fn causes(&self) -> &Causes {
        &self.causes
    }
}

fn shape_of_words(record: &Record) -> u64 {
    u64::from(record.get("frame")["word_size"].as_u64() == Some(2)) << 2
}

/// Bytes that are written as two digits each.
fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().as_chunks::<2>().0.iter();
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What is in columns already.
fn without_names(mut detail: Value) -> Value {
    if let Some(detail) = detail.as_object_mut() {
        for name in ["type", "code", "handler", "entry", "return"] {
            detail.remove(name);
        }
    }
    detail
}
