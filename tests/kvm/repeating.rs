//! The trace: what is written can be read back, and on the deterministic clock it is the same each
//! time, to the byte.

use serde_json::{Map, Value};
use std::fs;
use std::path::Path;
use tests::esp0;

/// How a field is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A plain number.
    Count,
    /// So many hexadecimal digits, lower case.
    Hex(usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text.
    Text,
    /// An object with these fields and no others.
    Object(&'static [Field]),
    /// A list of any text.
    Texts,
    /// A list of objects with these fields and no others.
    Objects(&'static [Field]),
}

/// A field, and whether it may be missing.
type Field = (&'static str, Kind, Presence);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
}

use Kind::{Count, Hex, Object, Objects, OneOf, Text, Texts};
use Presence::{Always, Sometimes};

#[rustfmt::skip]
const HEADER: &[Field] = &[
    ("type", OneOf(&["header"]), Always),
    ("format", OneOf(&["esp0-trace"]), Always),
    ("version", Count, Always),
    ("authority", OneOf(&["silicon", "tcg", "emulated"]), Always),
    ("backend", Text, Always),
    ("clock", OneOf(&["real", "deterministic"]), Always),
    ("kernel", Text, Always),
    ("command_line", Text, Always),
    ("memory", Count, Always),
];

#[rustfmt::skip]
const ENTRY: &[Field] = &[
    ("type", OneOf(&["entry"]), Always),
    ("sequence", Count, Always),
    ("time", Count, Always),
    ("task", Count, Always),
    ("vector", Hex(2), Always),
    ("kind", OneOf(&["int", "fault", "trap", "abort", "external", "nmi", "unexplained"]), Always),
    ("from_ring", Count, Always),
    ("to_ring", Count, Always),
    ("origin", OneOf(&["state", "return", "frame", "virtual-8086"]), Always),
    ("gate", Hex(16), Always),
    ("eflags", Hex(8), Always), ("ss", Hex(4), Always), ("esp", Hex(8), Always),
    ("ss0", Hex(4), Always), ("esp0", Hex(8), Always),
    ("eax", Hex(8), Always), ("ecx", Hex(8), Always), ("edx", Hex(8), Always), ("ebx", Hex(8), Always),
    ("ebp", Hex(8), Always), ("esi", Hex(8), Always), ("edi", Hex(8), Always),
    ("ds", Hex(4), Always), ("es", Hex(4), Always), ("fs", Hex(4), Always), ("gs", Hex(4), Always),
    ("tr", Hex(4), Always),
    ("cr2", Hex(8), Always), ("cr3", Hex(8), Always),
    ("cr0", Hex(8), Sometimes), ("cr4", Hex(8), Sometimes),
    ("frame", Object(FRAME), Always),
    ("ldtr", Hex(4), Sometimes), ("linear_stack", Hex(8), Sometimes),
    ("before", Object(BEFORE), Sometimes),
    ("verdict", OneOf(&["ok", "finding"]), Always),
    ("deviations", Texts, Sometimes),
    ("findings", Objects(FINDING), Sometimes),
    ("notes", Objects(FINDING), Sometimes),
];

#[rustfmt::skip]
const END: &[Field] = &[
    ("type", OneOf(&["end"]), Always),
    ("ending", Text, Always),
    ("verdict", OneOf(&["ok", "finding"]), Always),
    ("deviations", Texts, Sometimes),
    ("findings", Objects(FINDING), Sometimes),
    ("notes", Objects(FINDING), Sometimes),
];

#[rustfmt::skip]
const RETURN: &[Field] = &[
    ("type", OneOf(&["return"]), Always),
    ("after", Count, Always),
    ("time", Count, Always),
    ("task", Count, Always),
    ("from_ring", Count, Always),
    ("to_ring", Count, Always),
    ("frame", Object(FRAME), Always),
    ("verdict", OneOf(&["ok", "finding"]), Always),
    ("deviations", Texts, Sometimes),
    ("findings", Objects(FINDING), Sometimes),
    ("notes", Objects(FINDING), Sometimes),
];

#[rustfmt::skip]
const SWITCH: &[Field] = &[
    ("type", OneOf(&["switch"]), Always),
    ("after", Count, Always),
    ("time", Count, Always),
    ("task", Count, Always),
    ("from_ring", Count, Always),
    ("to_ring", Count, Always),
    ("tr", Texts, Always),
    ("left", Object(TASK), Always),
    ("loaded", Object(TASK), Always),
    ("code_base", Hex(8), Always),
    ("stack_base", Hex(8), Always),
    ("verdict", OneOf(&["ok", "finding"]), Always),
    ("deviations", Texts, Sometimes),
    ("findings", Objects(FINDING), Sometimes),
    ("notes", Objects(FINDING), Sometimes),
];

#[rustfmt::skip]
const TASK: &[Field] = &[
    ("ss", Hex(4), Always), ("esp", Hex(8), Always), ("cs", Hex(4), Always), ("eip", Hex(8), Always),
    ("eflags", Hex(8), Always), ("ss0", Hex(4), Always), ("esp0", Hex(8), Always),
    ("ldtr", Hex(4), Always), ("cr3", Hex(8), Always),
];

const STACK: &[Field] = &[
    ("type", OneOf(&["stack"]), Always),
    ("instruction", Text, Always),
    ("before", Object(LOADED), Always),
    ("after", Object(LOADED), Always),
];

#[rustfmt::skip]
const LOADED: &[Field] = &[
    ("mode", OneOf(&["real", "protected"]), Always),
    ("cs", Hex(4), Always), ("eip", Hex(8), Always), ("ss", Hex(4), Always), ("esp", Hex(8), Always),
    ("linear", Hex(8), Always),
];

#[rustfmt::skip]
const FRAME: &[Field] = &[
    ("address", Hex(8), Always),
    ("word_size", Count, Sometimes),
    ("ss", Hex(8), Sometimes),
    ("esp", Hex(8), Sometimes),
    ("eflags", Hex(8), Always),
    ("cs", Hex(8), Always),
    ("eip", Hex(8), Always),
    ("error_code", Hex(8), Sometimes),
];

#[rustfmt::skip]
const BEFORE: &[Field] = &[
    ("cs", Hex(4), Always), ("eip", Hex(8), Always), ("eflags", Hex(8), Always), ("ss", Hex(4), Always),
    ("esp", Hex(8), Always),
];

const FINDING: &[Field] = &[
    ("rule", Text, Always),
    ("subject", OneOf(&["kernel", "processor"]), Always),
    ("sentence", Text, Always),
    ("expected", Text, Always),
    ("got", Text, Always),
    ("reason", Text, Sometimes),
    ("advice", Text, Sometimes),
];

#[test]
fn two_runs_on_the_deterministic_clock_write_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for guest in [
        &["--module", "writer 2", "--module", "fault", "--module", "sleeper 4"][..],
        &["--guest", "broken-plain"],
    ] {
        let mut traces = Vec::new();
        let mut texts = Vec::new();
        for name in ["one", "two"] {
            let path = folder.path().join(name);
            let mut arguments = vec!["--trace", path.to_str().expect("text")];
            arguments.extend(guest);
            let output = esp0(&arguments);
            output.assert_status(0);
            traces.push(fs::read_to_string(&path).expect("there is a trace"));
            texts.push(output.stdout);
        }
        let (one, two) = (traces[0].lines(), traces[1].lines());
        let differs = one.zip(two).enumerate().find(|(_, (one, two))| one != two);
        assert_eq!(differs, None, "first line of the trace of {guest:?} that differs");
        assert_eq!(traces[0], traces[1], "traces of {guest:?}");
        assert!(traces[0].lines().count() > 20, "{guest:?}: {}", traces[0]);
        assert_eq!(texts[0], texts[1], "what is printed of {guest:?}");
    }
}

#[test]
fn a_trace_has_the_documented_fields_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("trace.jsonl");
    let name = path.to_str().expect("text");
    // Frames of all shapes; then findings, at entries and at returns.
    let modules = ["--module", "fault", "--module", "sleeper 4"];
    esp0(&[&["--trace", name][..], &modules].concat()).assert_status(0);
    let (entries, returns) = check_trace(&path, "micro", "");
    assert!(entries > 5 && returns > 5, "{entries} entries, {returns} returns");
    for plant in ["esp0_not_updated", "frame_cs", "gate_16bit"] {
        let cmdline = format!("plant={plant}");
        let found = ["--guest", "broken", "--cmdline", &cmdline, "--trace", name];
        esp0(&found).assert_status(1);
        check_trace(&path, "broken", &cmdline);
        let text = fs::read_to_string(&path).expect("there is a trace");
        assert!(text.contains("\"verdict\":\"finding\""), "{text}");
    }
    // In real time the state before most events is not known.
    esp0(&["--guest", "broken", "--clock", "real", "--trace", name]).assert_status(0);
    check_trace(&path, "broken", "");
    // Stacks of real mode, stack segments of an LDT, switches by hardware.
    esp0(&["--guest", "classic", "--trace", name]).assert_status(0);
    check_trace(&path, "classic", "");
    let text = fs::read_to_string(&path).expect("there is a trace");
    for part in ["\"type\":\"stack\"", "\"type\":\"switch\"", "\"linear_stack\":"] {
        assert!(text.contains(part), "no {part}");
    }
}

/// What is checked here is what the README promises.
#[test]
fn every_field_is_in_the_readme() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(path).expect("there is a README");
    let (_, section) =
        readme.split_once("\n## The trace\n").expect("it has a section on the trace");
    let section = section.split("\n## ").next().unwrap_or(section);
    for (name, ..) in
        [HEADER, ENTRY, RETURN, SWITCH, TASK, STACK, LOADED, FRAME, BEFORE, FINDING, END].concat()
    {
        assert!(section.contains(&format!("`{name}`")), "{name} is not in the README's section");
    }
}

/// The header first, then entries and returns in their order. How many of each there are.
fn check_trace(path: &Path, kernel: &str, command_line: &str) -> (u64, u64) {
    let text = fs::read_to_string(path).expect("there is a trace");
    assert!(text.ends_with('\n') && text.is_ascii());
    let (mut entries, mut returns) = (0, 0);
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: String| -> ! { panic!("line {}: {why}\n{line}", number + 1) };
        let value: Map<String, Value> =
            serde_json::from_str(line).unwrap_or_else(|error| wrong(error.to_string()));
        let kind = value["type"].as_str().unwrap_or("");
        let fields = match (number, kind) {
            (0, "header") => HEADER,
            (1.., "entry") => ENTRY,
            (1.., "return") => RETURN,
            (1.., "switch") => SWITCH,
            (1.., "stack") => STACK,
            (1.., "end") => END,
            _ => wrong(format!("a {kind} is not to be here")),
        };
        if let Err(why) = check(&value, fields) {
            wrong(why);
        }
        match kind {
            "header" => {
                assert_eq!(value["kernel"], kernel);
                assert_eq!(value["command_line"], command_line);
                assert_eq!(value["memory"], 16 << 20);
            }
            "entry" => {
                entries += 1;
                assert_eq!(value["sequence"], entries, "entries are counted from 1\n{line}");
                assert!(
                    entries > 1 || value["cr0"].is_string(),
                    "CR0 is in the first entry\n{line}"
                );
            }
            "end" => {
                assert_eq!(number + 1, text.lines().count(), "the end is the last line\n{line}")
            }
            "switch" | "stack" => {}
            _ => {
                returns += 1;
                assert!(
                    value["after"].as_u64() <= Some(entries),
                    "a return from the future\n{line}"
                );
            }
        }
    }
    assert!(
        text.lines().last().is_some_and(|last| last.contains(r#""type":"end""#)),
        "it has an end"
    );
    (entries, returns)
}

/// All fields that have to be there are, as they have to be written, and no others.
fn check(object: &Map<String, Value>, fields: &[Field]) -> Result<(), String> {
    for (name, kind, presence) in fields {
        match object.get(*name) {
            Some(value) if is(value, *kind)? => {}
            None if *presence == Sometimes => {}
            got => return Err(format!("{name} has to be {kind:?}, got {got:?}")),
        }
    }
    match object.keys().find(|key| !fields.iter().any(|(name, ..)| name == key)) {
        Some(unknown) => Err(format!("{unknown} is not documented")),
        None => Ok(()),
    }
}

fn is(value: &Value, kind: Kind) -> Result<bool, String> {
    let text = value.as_str();
    Ok(match kind {
        Count => value.is_u64(),
        Hex(digits) => text.is_some_and(|text| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }),
        OneOf(words) => text.is_some_and(|text| words.contains(&text)),
        Text => text.is_some(),
        Object(fields) => match value.as_object() {
            Some(object) => check(object, fields).map(|()| true)?,
            None => false,
        },
        Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        Objects(fields) => match value.as_array() {
            Some(list) => {
                for object in list {
                    check(
                        object.as_object().ok_or("a list of objects has something else")?,
                        fields,
                    )?;
                }
                true
            }
            None => false,
        },
    })
}
