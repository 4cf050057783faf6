//! The program as a user starts it: what it prints, and with which status it ends.

use std::fs;
use tests::{Output, esp0, host};

#[test]
fn the_default_run_ends_with_the_verdict() {
    let output = esp0(&["--all"]);
    output.assert_status(0);
    let counts = verdict(&output, "ok");
    assert!(counts.entries > 50, "{}", output.last_line());
    assert_eq!(counts.entries, counts.ring3 + counts.same, "{}", output.last_line());
    assert_eq!(counts.findings, 0);
    assert_eq!(output.stderr, "");
    // A line for each entry, numbered from 1.
    let (entries, _) = output.stdout.split_once("\nentries ").expect("a summary");
    let numbers: Vec<u64> = entries
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=counts.entries).collect::<Vec<_>>(), "{}", output.stdout);
}

#[test]
fn ordinary_entries_are_folded_and_the_run_fits_two_screens() {
    let output = esp0(&[]);
    output.assert_status(0);
    let counts = verdict(&output, "ok");
    let lines = output.stdout.lines().count();
    assert!(lines <= 80, "{lines} lines\n{}", output.stdout);
    for text in [" × external 0x20", " × int 0x80", "back behind int 0x80: pops at", "a switch: #"]
    {
        assert!(output.stdout.contains(text), "expected {text:?}\n{}", output.stdout);
    }
    // No entry is left out: those that have no line of their own stand between two numbers.
    let mut next = 1;
    let (entries, _) = output.stdout.split_once("\nentries ").expect("a summary");
    for line in entries.lines().filter(|line| line.starts_with(' ')) {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        assert_eq!(first, next, "{line}");
        let last = match (words.next(), words.next()) {
            (Some("…"), Some(last)) => last.parse().expect("a number"),
            _ => first,
        };
        next = last + 1;
    }
    assert_eq!(next - 1, counts.entries, "{}", output.stdout);
}

#[test]
fn a_trace_is_shown_as_its_run_was() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, arguments, status) in [
        ("plain.jsonl", &["--module", "writer 2", "--module", "fault"][..], 0),
        ("packed.jsonl.zst", &["--guest", "broken", "--cmdline", "plant=esp0_not_updated"], 1),
        ("real-mode.jsonl", &["--guest", "classic", "-vv"], 0),
    ] {
        let path = folder.path().join(name);
        let path = path.to_str().expect("text");
        let run = esp0(&[&["--trace", path, "--color", "always"][..], arguments].concat());
        run.assert_status(status);
        let verbose: &[&str] = if arguments.contains(&"-vv") { &["-v"] } else { &[] };
        let show = [&["trace", "show", path, "--color", "always"][..], verbose].concat();
        let shown = esp0(&show);
        shown.assert_status(0);
        // What a run says beside its trace: what was loaded, the screen, devices that nobody answered for.
        let mut rest = run.stdout.lines();
        for line in shown.stdout.lines() {
            assert!(rest.any(|other| other == line), "{name}: no {line:?} in\n{}", run.stdout);
        }
    }
}

#[test]
fn traces_are_counted_compared_and_converted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (one, other, packed) = (path("one.jsonl"), path("other.jsonl"), path("one.jsonl.zst"));
    esp0(&["--guest", "broken", "--trace", &one]).assert_status(0);
    let plant = ["--guest", "broken", "--cmdline", "plant=esp0_not_updated", "--trace", &other];
    esp0(&plant).assert_status(1);
    let convert = |to: &str, file: &str| esp0(&["trace", "convert", &one, "--to", to, file]);
    convert("jsonl", &packed).assert_status(0);
    esp0(&["trace", "diff", "--values", &one, &packed]).assert_status(0);
    let unpacked = path("unpacked.jsonl");
    esp0(&["trace", "convert", &packed, "--to", "jsonl", &unpacked]).assert_status(0);
    assert_eq!(fs::read(&one).expect("a trace"), fs::read(&unpacked).expect("the same"));
    let differs = esp0(&["trace", "diff", &one, &other]);
    differs.assert_status(1);
    for text in ["the first divergence: line ", "> verdict", "suspended_stack", "ESP0 ──►"] {
        assert!(differs.stdout.contains(text), "expected {text:?}\n{}", differs.stdout);
    }
    let stats = esp0(&["trace", "stats", &one]);
    stats.assert_status(0);
    assert!(stats.stdout.contains("external 0x20 from ring 3"), "{}", stats.stdout);
    let perfetto = path("one.pftrace");
    convert("perfetto", &perfetto).assert_status(0);
    assert!(fs::metadata(&perfetto).expect("a file").len() > 1000);
    // A trace that was cut off is told as far as it goes.
    let whole = fs::read(&one).expect("a trace");
    fs::write(&other, &whole[..whole.len() - 20]).expect("a shorter one");
    let cut = esp0(&["trace", "show", &other]);
    cut.assert_status(2);
    assert!(cut.stderr.contains("the trace was cut off"), "{}", cut.stderr);
    esp0(&["trace", "diff", &one, "/dev/null"]).assert_status(2);
}

#[test]
fn the_console_the_entries_and_a_picture_of_each_kind_are_printed() {
    let output = esp0(&["--module", "sleeper 3", "--module", "fault"]);
    output.assert_status(0);
    for text in [
        "│ sleeper: slept through 3 ticks",
        "SS   ESP      EFLAGS   CS   EIP",
        "int 0x80: ring 3 → ring 0 through an interrupt gate of DPL 3",
        "external 0x20: ring 0 → ring 0",
        "#PF: ring 3 → ring 0",
        "ESP0 ──►",
        "ESP  ──►",
        "\nentries ",
        "\nby vector ",
        "\nstacks ",
        "\nfindings     none",
        "\nprobes ",
        "\nauthority ",
    ] {
        assert!(output.stdout.contains(text), "expected {text:?}\n{}", output.stdout);
    }
    let pictures = output.stdout.matches("ESP  ──►").count();
    let none = esp0(&["--module", "sleeper 3", "--module", "fault", "--frames", "none"]);
    assert_eq!(none.stdout.matches("ESP  ──►").count(), 0, "{}", none.stdout);
    let all = esp0(&["--module", "sleeper 3", "--module", "fault", "--frames", "all"]);
    let entries = verdict(&all, "ok").entries;
    assert_eq!(all.stdout.matches("ESP  ──►").count() as u64, entries, "{}", all.stdout);
    assert!(pictures >= 3 && (pictures as u64) < entries, "{pictures} pictures");
}

#[test]
fn findings_are_told_and_end_with_status_1() {
    let output = esp0(&["--guest", "broken", "--cmdline", "plant=esp0_not_updated", "--quiet"]);
    output.assert_status(1);
    let counts = verdict(&output, "findings");
    assert!(counts.findings > 0, "{}", output.last_line());
    for text in [
        "entered on the stack of suspended task 1\n",
        "     expected  SS:ESP 0010:",
        "     got       SS:ESP 0010:",
        "overwrites EIP CS EFLAGS ESP SS of #",
        "     TSS.ESP0 has been ",
        "     rule suspended_stack, about the kernel\n",
    ] {
        assert!(output.stdout.contains(text), "expected {text:?}\n{}", output.stdout);
    }
}

#[test]
fn a_guest_that_panics_ends_with_status_4() {
    let output = esp0(&["--guest", "broken", "--cmdline", "plant=no_such_plant", "--quiet"]);
    output.assert_status(4);
    assert!(output.stdout.contains("panic: there is no plant=no_such_plant"), "{}", output.stdout);
    verdict(&output, "guest-failed");
}

#[test]
fn quiet_leaves_the_console_and_the_verdict() {
    let output = esp0(&["--module", "sleeper 2", "--quiet"]);
    output.assert_status(0);
    verdict(&output, "ok");
    let line = "\n     │ sleeper: slept through 2 ticks\n";
    assert!(output.stdout.contains(line), "{}", output.stdout);
    assert!(!output.stdout.contains("external 0x20"), "{}", output.stdout);
}

#[test]
fn a_reader_that_goes_away_changes_no_status() {
    let plant = ["run", "--guest", "broken", "--cmdline", "plant=frame_cs"];
    tests::binary::esp0_unread(&plant).assert_status(1);
}

#[test]
fn without_probes_nothing_is_called_right() {
    let output = esp0(&["--module", "sleeper 1", "--probe", "none"]);
    output.assert_status(0);
    verdict(&output, "unchecked");
}

#[test]
fn a_kernel_of_ones_own_and_a_guest_that_is_carried_exclude_each_other() {
    let output = esp0(&["run", "kernel.elf", "--guest", "micro"]);
    output.assert_status(2);
    assert!(output.stderr.contains("cannot be used with"), "{}", output.stderr);
}

#[test]
fn a_shell_answers_what_is_typed() {
    let output = tests::binary::esp0_typed(&["run", "--interactive"], "ps\nrun sleeper 2\nexit\n");
    output.assert_status(0);
    for line in ["  init", "  sh", "sleeper: slept through 2 ticks", "powered off by task"] {
        assert!(output.stdout.contains(line), "no {line:?} in\n{}", output.stdout);
    }
    assert!(verdict(&output, "ok").entries > 100, "{}", output.stdout);
}

#[test]
fn a_pipe_gets_no_colour_unless_it_is_asked_for() {
    let arguments = ["--module", "sleeper 1"];
    let plain = esp0(&arguments);
    assert!(!plain.stdout.contains('\x1b'), "{}", plain.stdout);
    let colourful = esp0(&[&arguments[..], &["--color", "always"]].concat());
    assert!(colourful.stdout.contains("\x1b["), "{}", colourful.stdout);
    assert_eq!(without_escapes(&colourful.stdout), plain.stdout);
    let never = esp0(&[&arguments[..], &["--color", "never"]].concat());
    assert_eq!(never.stdout, plain.stdout);
}

#[test]
fn a_trace_is_written_and_changes_nothing_that_is_printed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("trace.jsonl");
    let without = esp0(&["--module", "sleeper 2"]);
    let with = esp0(&["--module", "sleeper 2", "--trace", path.to_str().expect("text")]);
    with.assert_status(0);
    assert_eq!(with.stdout, without.stdout);
    let text = fs::read_to_string(&path).expect("there is a trace");
    let entries = text.lines().filter(|line| line.contains("\"type\":\"entry\"")).count();
    assert_eq!(entries as u64, verdict(&with, "ok").entries, "entries in the trace");
}

#[test]
fn a_trace_that_cannot_be_written_ends_with_status_2_and_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let missing = folder.path().join("no/such/folder/trace.jsonl");
    for path in [folder.path(), &missing] {
        let name = path.to_str().expect("text");
        let output = esp0(&["--trace", name]);
        output.assert_status(2);
        assert!(
            output.stderr.starts_with("esp0: ") && output.stderr.contains(name),
            "{}",
            output.stderr
        );
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert_eq!(output.stdout, "", "nothing is run");
    }
}

#[test]
fn a_disk_that_is_full_ends_with_status_2() {
    let output = esp0(&["--module", "sleeper 1", "--trace", "/dev/full"]);
    output.assert_status(2);
    assert!(
        output.stderr.contains("/dev/full") || output.stderr.contains("cannot be written"),
        "{}",
        output.stderr
    );
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn the_doctor_says_that_this_kvm_is_usable() {
    let output = esp0(&["doctor"]);
    output.assert_status(0);
    let expected =
        format!("breakpoints={} authority={}", host().breakpoints.usable, host().backend.authority);
    assert!(output.last_line().starts_with("doctor: usable "), "{}", output.stdout);
    assert!(output.last_line().ends_with(&expected), "expected {expected}\n{}", output.stdout);
    assert!(output.last_line().contains(" unlisted=0 "), "{}", output.stdout);
}

/// The numbers of a verdict line.
struct Counts {
    entries: u64,
    ring3: u64,
    same: u64,
    findings: u64,
}

/// `verdict: WORD entries=N ring3=N same=N findings=N authority=WHO`, and nothing else.
#[track_caller]
fn verdict(output: &Output, word: &str) -> Counts {
    let line = output.last_line();
    let wrong = || -> ! { panic!("no verdict {word} in {line:?}\n{}", output.stdout) };
    let fields: Vec<&str> = line.split(' ').collect();
    let [first, second, entries, ring3, same, findings, authority] = fields[..] else { wrong() };
    if (first, second) != ("verdict:", word) {
        wrong();
    }
    let number = |field: &str, name: &str| {
        let value = field.strip_prefix(name).and_then(|field| field.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| wrong())
    };
    assert_eq!(authority, format!("authority={}", host().backend.authority));
    assert!(output.stdout.ends_with('\n'));
    Counts {
        entries: number(entries, "entries"),
        ring3: number(ring3, "ring3"),
        same: number(same, "same"),
        findings: number(findings, "findings"),
    }
}

/// Text without ANSI escapes: from ESC to the letter that ends the sequence.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |all, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        all + &part[end..]
    })
}
