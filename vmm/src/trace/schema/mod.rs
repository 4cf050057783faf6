//! The trace: what its lines are.
//!
//! A trace is the one source of all that is shown of a run afterwards: text, page, pictures, comparison. It is
//! JSON Lines, one [`Record`] a line, in the order in which things happened:
//! ```text
//!  header ─► (place | stack | entry | sysenter | crossing | return | returned | switch | console)… ─► cause… ─► end
//! ```
//! A run with `--report` writes [`PageRecord`]s between them, which only the page reads.
//!
//! A trace without its `end` was cut off. Every number of the machine is a string of lower-case hexadecimal digits
//! of fixed width: 8 for a register or an address, 4 for a selector, 2 for a vector, 16 for a gate. Counts are
//! plain numbers. Nothing depends on wall-clock time, so two runs on the deterministic clock give the same bytes.
//!
//! Each record has a type of its own here, with the names of its fields. A reader passes over fields and types of
//! records that it does not know; [`VERSION`] grows when a field changes its meaning or goes. `docs/trace.md` tells
//! people the same, and `docs/trace.schema.json` programs; a test holds the three together.

mod cause;
mod crossing;
mod detail;
mod end;
mod event;
mod exact;
mod finding;
mod frame;
mod header;
mod hex;
mod last;
mod names;
mod place;
#[cfg(test)]
pub(crate) mod samples;
mod stack;
mod state;
mod switch;
mod sysenter;

pub use cause::CauseRecord;
pub use crossing::{CrossingRecord, WayName};
pub use detail::{CodeRecord, DetailRecord, PageRecord, SourceRecord, StackDetail, Words};
pub use end::{
    Counts, DeviationCount, EndRecord, EventCount, ProbeCounts, RuleCount, StackRow, UnjudgedRecord,
};
pub use event::{BeforeRecord, EntryRecord, OriginName, ReturnRecord, ReturnedRecord};
pub use exact::ExactRecord;
pub use finding::{
    AboutKind, AboutRecord, ChangedRecord, DifferenceRecord, FindingRecord, RecordVerdict,
};
pub use frame::FrameRecord;
pub use header::HeaderRecord;
pub use last::{LastMoment, LastRecord, ScreenRecord};
pub use place::{PlaceRecord, PlaceUse};
pub use stack::{LoadedStack, StackRecord};
pub use state::StateRecord;
pub use switch::{SwitchBy, SwitchOrigin, SwitchRecord, TaskRecord};
pub use sysenter::SysenterRecord;

use serde::{Deserialize, Serialize};

/// What the header calls the format.
pub const FORMAT: &str = "esp0-trace";

/// Version of the schema.
pub const VERSION: u32 = 2;

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// What was run, and by whom: the first line.
    Header(HeaderRecord),
    /// The name of an address, before the first record that it concerns.
    Place(PlaceRecord),
    /// A stack that was loaded before there were probes, by a kernel that starts in real mode.
    Stack(StackRecord),
    /// An entry into ring 0.
    Entry(Box<EntryRecord>),
    /// An entry by SYSENTER.
    Sysenter(Box<SysenterRecord>),
    /// An entry by a call gate, or a far RET that leaves for an outer ring.
    Crossing(Box<CrossingRecord>),
    /// An IRET that is about to be executed.
    Return(Box<ReturnRecord>),
    /// What an IRET did; in exact mode.
    Returned(Box<ReturnedRecord>),
    /// A task switch by hardware.
    Switch(Box<SwitchRecord>),
    /// What the guest wrote to its console.
    Console(ConsoleRecord),
    /// What was found out about a cause, when the run was over.
    Cause(Box<CauseRecord>),
    /// How the run ended, and what it came to: the last line.
    End(Box<EndRecord>),
}

/// What the guest wrote to its console since the record before: [`ConsoleRecord::bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleRecord {
    /// It, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes, two digits each, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::bytes_option")]
    pub bytes: Option<Vec<u8>>,
}

impl ConsoleRecord {
    /// For these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => ConsoleRecord { text: Some(text), bytes: None },
            Err(error) => ConsoleRecord { text: None, bytes: Some(error.into_bytes()) },
        }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        match (&self.text, &self.bytes) {
            (Some(text), _) => text.as_bytes(),
            (None, bytes) => bytes.as_deref().unwrap_or_default(),
        }
    }
}

impl Record {
    /// The record in a line; none if it is of a type that is not known.
    ///
    /// # Errors
    /// If the line is no JSON, or lacks a field of its type.
    pub fn from_line(line: &[u8]) -> Result<Option<Record>, serde_json::Error> {
        /// Serde's own way to read an enum by its tag keeps the whole line in small pieces first; to look for
        /// the tag and then read the line again is several times faster.
        #[derive(Deserialize)]
        struct Tag {
            r#type: std::borrow::Cow<'static, str>,
        }
        let Tag { r#type } = serde_json::from_slice(line)?;
        Ok(Some(match &*r#type {
            "header" => Record::Header(serde_json::from_slice(line)?),
            "place" => Record::Place(serde_json::from_slice(line)?),
            "stack" => Record::Stack(serde_json::from_slice(line)?),
            "entry" => Record::Entry(serde_json::from_slice(line)?),
            "sysenter" => Record::Sysenter(serde_json::from_slice(line)?),
            "crossing" => Record::Crossing(serde_json::from_slice(line)?),
            "return" => Record::Return(serde_json::from_slice(line)?),
            "returned" => Record::Returned(serde_json::from_slice(line)?),
            "switch" => Record::Switch(serde_json::from_slice(line)?),
            "console" => Record::Console(serde_json::from_slice(line)?),
            "cause" => Record::Cause(serde_json::from_slice(line)?),
            "end" => Record::End(serde_json::from_slice(line)?),
            _ => return Ok(None),
        }))
    }

    /// The record as a line, its end of line included.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("the fields of a record are all of JSON");
        line.push(b'\n');
        line
    }

    /// The name of its type.
    pub const fn kind(&self) -> &'static str {
        match self {
            Record::Header(_) => "header",
            Record::Place(_) => "place",
            Record::Stack(_) => "stack",
            Record::Entry(_) => "entry",
            Record::Sysenter(_) => "sysenter",
            Record::Crossing(_) => "crossing",
            Record::Return(_) => "return",
            Record::Returned(_) => "returned",
            Record::Switch(_) => "switch",
            Record::Console(_) => "console",
            Record::Cause(_) => "cause",
            Record::End(_) => "end",
        }
    }
}

/// Whether a list has nothing to write.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boon::{Compiler, Schemas};
    use serde_json::Value;

    /// What is wrong with a line by a part of `docs/trace.schema.json`, as a validator of others sees it.
    fn invalid(line: &Value, part: &str) -> Option<String> {
        let file = include_str!("../../../../docs/trace.schema.json");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let file = serde_json::from_str(file).expect("the schema is JSON");
        compiler.add_resource("trace.schema.json", file).expect("the schema has a name");
        let part = format!("trace.schema.json{part}");
        let schema = compiler.compile(&part, &mut schemas).expect("the schema is one");
        schemas.validate(line, schema).err().map(|error| format!("{error:#}"))
    }

    /// A line of each type, with its name.
    fn lines() -> Vec<(&'static str, Value)> {
        let of = |line: Vec<u8>| serde_json::from_slice(&line).unwrap();
        let bare = EndRecord {
            last: None,
            screen: None,
            unjudged: Vec::new(),
            unanswered: Vec::new(),
            ..samples::end()
        };
        let bare = Record::End(Box::new(bare));
        let records = samples::all().into_iter().chain([bare]);
        let records = records.map(|record| (record.kind(), of(record.to_line())));
        let pages =
            samples::for_the_page().into_iter().map(|(kind, page)| (kind, of(page.to_line())));
        records.chain(pages).collect()
    }

    #[test]
    fn each_record_is_as_the_json_schema_has_it() {
        for (kind, line) in lines() {
            assert_eq!(line["type"], kind);
            let part = format!("#/$defs/{kind}");
            assert_eq!(invalid(&line, &part), None, "{line}");
            assert_eq!(invalid(&line, ""), None, "{line}");
        }
    }

    #[test]
    fn what_is_for_the_page_is_passed_over_by_others_and_read_back_as_it_was_written() {
        for (_, record) in samples::for_the_page() {
            let line = record.to_line();
            assert_eq!(serde_json::from_slice::<PageRecord>(&line).unwrap(), record);
            assert_eq!(Record::from_line(&line).unwrap(), None);
        }
    }

    #[test]
    fn the_json_schema_refuses_what_is_no_record() {
        for (kind, line) in lines() {
            let fields: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
            let mut more = line.clone();
            more["colour"] = "red".into();
            assert!(invalid(&more, "").is_some(), "a field that is not documented: {more}");
            let mut other = line.clone();
            other["type"] = "weather".into();
            assert!(invalid(&other, "").is_some(), "a type that is not documented");
            for field in fields.iter().filter(|field| *field != "type") {
                let mut wrong = line.clone();
                wrong[field] = serde_json::json!([[["nothing"]]]);
                assert!(invalid(&wrong, "").is_some(), "{field} of a {kind}");
            }
        }
    }

    /// What is checked here is what the page promises.
    #[test]
    fn every_field_is_on_the_page() {
        let page = include_str!("../../../../docs/trace.md");
        let schema = include_str!("../../../../docs/trace.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        fn names(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::Object(properties)) = object.get("properties") {
                        found.extend(properties.keys().cloned());
                    }
                    object.values().for_each(|value| names(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| names(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        names(&schema, &mut found);
        assert!(found.len() > 100, "{found:?}");
        for name in found {
            assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
        }
    }

    #[test]
    fn each_record_is_read_back_as_it_was_written() {
        for record in samples::all() {
            let line = record.to_line();
            let read = Record::from_line(&line).unwrap_or_else(|error| {
                panic!("{error}: {}", String::from_utf8_lossy(&line));
            });
            assert_eq!(read, Some(record));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        assert_eq!(Record::from_line(br#"{"type":"weather","rain":true}"#).unwrap(), None);
        let console = Record::Console(ConsoleRecord::new(b"hello".to_vec()));
        let line = br#"{"colour":"red","type":"console","text":"hello"}"#;
        assert_eq!(Record::from_line(line).unwrap(), Some(console));
    }

    #[test]
    fn numbers_of_another_width_and_fields_that_are_missing_are_refused() {
        let entry = samples::all().into_iter().find(|record| record.kind() == "entry").unwrap();
        let line = String::from_utf8(entry.to_line()).unwrap();
        for (right, wrong) in [
            ("\"esp0\":\"", "\"esp0\":\"0"),
            ("\"vector\":\"80\"", "\"vector\":128"),
            ("\"vector\":\"80\"", "\"vector\":\"+1\""),
            ("\"vector\":\"80\"", "\"vector\":\"AA\""),
            ("\"kind\":\"int\"", "\"kind\":\"whim\""),
            ("\"gate\"", "\"fence\""),
        ] {
            assert!(line.contains(right), "{right} is in {line}");
            assert!(Record::from_line(line.replace(right, wrong).as_bytes()).is_err(), "{wrong}");
        }
    }
}
