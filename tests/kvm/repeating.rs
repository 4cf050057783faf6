//! The trace: what is written can be read back, and on the deterministic clock it is the same each
//! time, to the byte.

use boon::{Compiler, SchemaIndex, Schemas};
use esp0::trace::TraceReader;
use esp0::trace::schema::Record;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tests::{compiled, esp0};

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

/// The header first, then entries and returns in their order, each as `docs/trace.schema.json` has it. How many
/// there are of them.
fn check_trace(path: &Path, kernel: &str, command_line: &str) -> (u64, u64) {
    let text = fs::read_to_string(path).expect("there is a trace");
    assert!(text.ends_with('\n') && text.is_ascii());
    let (schemas, schema) = json_schema();
    for (number, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).expect("a line is JSON");
        if let Err(error) = schemas.validate(&value, schema) {
            panic!("line {}: {error:#}\n{line}", number + 1);
        }
    }
    let mut reader = TraceReader::open(path).expect("it has a header");
    assert_eq!(reader.header().kernel, kernel);
    assert_eq!(reader.header().command_line, command_line);
    assert_eq!(reader.header().memory, 16 << 20);
    let (mut entries, mut returns) = (0, 0);
    while let Some(record) = reader.next_record().unwrap_or_else(|error| panic!("{error}")) {
        match record {
            Record::Entry(entry) => {
                entries += 1;
                assert_eq!(entry.sequence, entries, "entries are counted from 1");
                assert!(entries > 1 || entry.cr0.is_some(), "CR0 is in the first entry");
            }
            Record::Return(returning) => {
                returns += 1;
                assert!(returning.after <= entries, "a return from the future");
            }
            Record::End(end) => assert_eq!(end.counts.entries, entries),
            _ => {}
        }
    }
    assert!(reader.is_whole(), "it has an end");
    (entries, returns)
}

fn json_schema() -> (Schemas, SchemaIndex) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/trace.schema.json");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let schema = compiler.compile(path, &mut schemas).expect("the schema is one");
    (schemas, schema)
}

#[test]
fn a_kernel_that_reads_the_time_stamp_counter_is_said_not_to_repeat() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let run = |name: &str, clock: &str| {
        let kernel = folder.path().join(name);
        fs::write(&kernel, compiled(name)?).expect("the kernel can be written");
        let kernel = kernel.to_str().expect("its name is text");
        Some(esp0(&["run", kernel, "--clock", clock, "--timeout", "60", "--frames", "none"]))
    };
    for (name, clock, whether) in [
        ("TIME_STAMP_OPEN", "deterministic", "no: RDTSC was executed at 0010"),
        ("TIME_STAMP_CLOSED", "deterministic", "perhaps not: RDTSC stands in the code at 0010"),
        ("TIME_STAMP_CLOSED", "exits", "perhaps not: RDTSC stands in the code at 0010"),
    ] {
        let Some(output) = run(name, clock) else { return };
        output.assert_status(0);
        let row = output.stdout.lines().find(|line| line.starts_with("repeats "));
        let row = row.and_then(|row| row.strip_prefix("repeats      ")).unwrap_or_default();
        assert!(row.starts_with(whether) && row.contains(" <main+"), "{name}: {}", output.stdout);
    }
    // On the real clock nobody expects it to.
    let Some(output) = run("TIME_STAMP_OPEN", "real") else { return };
    assert!(!output.stdout.contains("\nrepeats "), "{}", output.stdout);
}
