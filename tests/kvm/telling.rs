//! How it is told: names, one cause once, ends that are declared, dialogues, reports for build servers.

use iced_x86::code_asm::{al, dx};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tests::{Output, esp0, kernels};

#[track_caller]
fn assert_says(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stdout.contains(part), "no {part:?} in\n{}{}", output.stdout, output.stderr);
    }
}

/// A kernel of C with symbols and lines; `None`, and why, where it cannot be built.
fn compiled(folder: &Path) -> Option<PathBuf> {
    let source = folder.join("names.c");
    fs::write(&source, include_str!("names.c")).expect("a file can be written");
    let kernel = folder.join("names.elf");
    let built = Command::new("gcc")
        .args([
            "-m32",
            "-g",
            "-O1",
            "-ffreestanding",
            "-fno-pic",
            "-fno-pie",
            "-no-pie",
            "-nostdlib",
        ])
        .args(["-static", "-fno-stack-protector", "-fcf-protection=none", "-fno-toplevel-reorder"])
        .args(["-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-Ttext=0x100000"])
        .args([&source, Path::new("-o"), &kernel])
        .output();
    match built {
        Ok(output) if output.status.success() => Some(kernel),
        Ok(output) => {
            println!("skipped: gcc -m32: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: there is no gcc: {error}");
            None
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the name is text")
}

#[test]
fn a_fault_in_c_is_told_by_function_line_and_stack() {
    let folder = folder();
    let Some(kernel) = compiled(folder.path()) else { return };
    let line = include_str!("names.c").lines().position(|line| line.contains("the faulty line"));
    let line = line.expect("it is there") + 1;
    let place = format!("names.c:{line})");
    let output = esp0(&["run", text(&kernel), "--timeout", "20"]);
    assert_says(&output, &["#UD", "the instruction that faulted, in faulty+", &place]);

    let stripped = folder.path().join("stripped.elf");
    let status = Command::new("strip").arg(&kernel).arg("-o").arg(&stripped).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: there is no strip");
        return;
    }
    let output = esp0(&["run", text(&stripped), "--timeout", "20"]);
    assert_says(&output, &["#UD"]);
    assert!(!output.stdout.contains("faulty"), "{}", output.stdout);
    let named = ["run", text(&stripped), "--symbols", text(&kernel), "--timeout", "20"];
    assert_says(&esp0(&named), &["in faulty+", &place]);
}

/// What only names of variables show is found in a kernel that was stripped, where its symbols are given.
#[test]
fn the_variables_of_a_stripped_kernel_are_those_of_its_symbols() {
    let kernels = [tests::compiled("START_OF_ARRAY"), tests::stripped("START_OF_ARRAY")];
    let [Some(whole), Some(stripped)] = kernels else { return };
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    };
    let (whole, stripped) = (write("whole.elf", &whole), write("stripped.elf", &stripped));
    let finding = "ESP0 is the start of a stack, not its end";
    let output = esp0(&["run", text(&stripped), "--timeout", "5"]);
    assert!(!output.stdout.contains(finding), "it needs names\n{}", output.stdout);
    let named = ["run", text(&stripped), "--symbols", text(&whole), "--timeout", "5"];
    assert_says(&esp0(&named), &[finding, "overwrite area"]);
}

#[test]
fn programs_are_told_by_their_own_symbols_and_the_kernel_by_its() {
    let output = esp0(&["--module", "sleeper 2", "--module", "fault"]);
    output.assert_status(0);
    assert_says(
        &output,
        &["fault: fault::main+", "(fault.rs:", "sleeper: call::sleep+", "idle::body+"],
    );
}

#[test]
fn a_finding_names_the_instruction_and_what_lies_at_its_addresses() {
    let output = esp0(&["--guest", "broken", "--cmdline", "plant=frame_cs", "--quiet"]);
    output.assert_status(1);
    assert_says(&output, &["IRET after #", ", at leave+", "(task::STACKS+"]);
}

#[test]
fn the_summary_repeats_the_first_finding_in_a_line() {
    let output = esp0(&["--guest", "broken", "--cmdline", "plant=frame_cs"]);
    let (_, summary) = output.stdout.split_once("\nfindings ").expect("a summary");
    let line = summary.lines().nth(1).unwrap_or("");
    assert!(line.contains("the CS that #") && line.contains("IRET after #"), "{line}");
}

#[test]
fn a_run_ends_at_the_first_finding_if_it_is_asked_to() {
    let plant = ["--guest", "broken", "--cmdline", "plant=esp0_off_by_four"];
    let whole = esp0(&plant);
    for stop in [&["--stop-on-finding"][..], &["--max-findings", "1"]] {
        let output = esp0(&[&plant[..], stop].concat());
        output.assert_status(1);
        assert_says(&output, &["end          stopped at the number of findings"]);
        assert!(output.last_line().contains(" findings=1 "), "{}", output.last_line());
        assert!(output.stdout.len() < whole.stdout.len());
    }
}

#[test]
fn what_the_console_says_can_be_the_end_and_has_to_come() {
    let arguments = ["--module", "sleeper 2", "--until"];
    let output = esp0(&[&arguments[..], &["slept through 2 ticks\\n"]].concat());
    output.assert_status(0);
    assert_says(&output, &["end          the console said \"slept through 2 ticks"]);
    let output = esp0(&[&arguments[..], &["no such words"]].concat());
    output.assert_status(4);
    assert_says(&output, &["never said \"no such words\"", "verdict: guest-failed"]);
}

#[test]
fn a_guest_that_waits_can_be_at_its_end() {
    let output = esp0(&["--module", "sleeper 60", "--until-halt"]);
    output.assert_status(0);
    assert_says(&output, &["end          the guest waits in HLT"]);
    assert!(!output.stdout.contains("slept through"), "{}", output.stdout);
}

/// Says `>`, echoes what it is sent to the end of the line, says `!` and waits for ever.
fn echo() -> Vec<u8> {
    kernels::kernel(|a| {
        let mut wait = a.create_label();
        a.mov(al, i32::from(b'>'))?;
        a.out(0xe9, al)?;
        a.set_label(&mut wait)?;
        a.mov(dx, 0x3fd)?;
        a.in_(al, dx)?;
        a.test(al, 1)?;
        a.je(wait)?;
        a.mov(dx, 0x3f8)?;
        a.in_(al, dx)?;
        a.out(0xe9, al)?;
        a.cmp(al, i32::from(b'\n'))?;
        a.jne(wait)?;
        a.mov(al, i32::from(b'!'))?;
        a.out(0xe9, al)?;
        a.jmp(wait)
    })
}

#[test]
fn a_dialogue_is_held_on_either_clock() {
    let folder = folder();
    let kernel = folder.path().join("echo");
    fs::write(&kernel, echo()).expect("a file can be written");
    let talk = folder.path().join("talk");
    fs::write(&talk, "# by file\nexpect >\nsend one two\\n\nexpect two\\n!\n").expect("it can");
    let run = ["run", text(&kernel), "--quiet", "--timeout", "30", "--probe", "none"];
    for clock in ["deterministic", "real"] {
        for talk in [
            &["--dialogue", text(&talk)][..],
            &["--until", ">", "--send", "one two\\n", "--until", "two\\n!"],
        ] {
            let output = esp0(&[&run[..], &["--clock", clock], talk].concat());
            output.assert_status(0);
            assert_says(&output, &["│ >one two\n", "│ !\n", "verdict: unchecked"]);
        }
    }
}

#[test]
fn a_build_server_gets_its_report() {
    let folder = folder();
    let report = folder.path().join("report.xml");
    let run = |arguments: &[&str], status| {
        let output = esp0(&[arguments, &["--quiet", "--junit", text(&report)]].concat());
        output.assert_status(status);
        fs::read_to_string(&report).expect("there is a report")
    };
    let good = run(&["--module", "sleeper 1"], 0);
    assert!(good.contains("failures=\"0\""), "{good}");
    let bad = run(&["--guest", "broken", "--cmdline", "plant=frame_cs"], 1);
    assert!(bad.contains("failures=\"1\"") && bad.contains("<failure message=\"the CS"), "{bad}");
    let failed = run(&["--guest", "broken", "--cmdline", "plant=no_such_plant"], 4);
    assert!(failed.contains("<failure message=\"the guest reported failure 1"), "{failed}");
    let unwritable = esp0(&["--junit", text(folder.path())]);
    unwritable.assert_status(2);
    assert!(unwritable.stderr.contains(text(folder.path())), "{}", unwritable.stderr);
}

#[test]
fn qemus_words_boot_a_kernel() {
    let folder = folder();
    let kernel = folder.path().join("a kernel.elf");
    let micro = esp0::guests::guest("broken").expect("esp0 carries it").kernel;
    fs::write(&kernel, micro).expect("a file can be written");
    let words = ["-kernel", text(&kernel), "-append", "plant=no_such_plant", "-m", "16M", "-q"];
    let output = esp0(&words);
    output.assert_status(4);
    assert_says(&output, &["panic: there is no plant=no_such_plant"]);
}
