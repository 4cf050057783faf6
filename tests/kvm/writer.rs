//! Who wrote a word that a finding is about.

use std::io::Write as _;
use tests::{compiled, esp0};

#[test]
fn the_instruction_that_overwrote_a_frame_is_named_with_its_line() {
    let output = esp0(&["-q", "--guest", "broken", "--cmdline", "plant=frame_esp"]);
    output.assert_status(1);
    let line = output.stdout.lines().find(|line| line.contains(" was written by "));
    let line = line.unwrap_or_else(|| panic!("no writer is named:\n{}", output.stdout));
    for part in ["`add dword ptr [", "trap.rs:", "in ring 0, after #5", "before, ", " after"] {
        assert!(line.contains(part), "expected {part:?} in {line}");
    }
}

#[test]
fn the_instruction_that_overwrote_a_table_is_named_on_each_clock_that_repeats() {
    let Some(kernel) = compiled("INTO_A_TABLE") else { return };
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&kernel).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    for clock in ["deterministic", "exits"] {
        let output = esp0(&["run", path, "-q", "--clock", clock, "--timeout", "5"]);
        output.assert_status(1);
        let line = output.stdout.lines().find(|line| line.contains(" was written by "));
        let line =
            line.unwrap_or_else(|| panic!("{clock}: no writer is named:\n{}", output.stdout));
        for part in ["`rep movsd [", "(deeper+", "in ring 0, after #1"] {
            assert!(line.contains(part), "{clock}: expected {part:?} in {line}");
        }
    }
}

/// The processor marks an entry of the page tables as used, and a handler's address is stored apart from its gate's type:
/// neither is who is asked for.
#[test]
fn who_made_a_gate_and_who_made_a_page_table_entry_is_named() {
    let gate = ["was written by `", "(main+", ": 00000000 before, 00108e00 after"];
    let entry = ["was written by `", "(main+", ": 00000000 before, 00100003 after"];
    for (kernel, parts) in [("BREAKPOINT", gate), ("TABLE_OF_SUPERVISOR", entry)] {
        let Some(kernel) = compiled(kernel) else { return };
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        file.write_all(&kernel).expect("and written");
        let path = file.path().to_str().expect("its name is text");
        let output = esp0(&["run", path, "-q", "--clock", "deterministic", "--timeout", "5"]);
        output.assert_status(1);
        for part in parts {
            assert!(output.stdout.contains(part), "expected {part:?} in\n{}", output.stdout);
        }
    }
}

#[test]
fn on_the_real_clock_it_is_said_how_the_writer_could_be_found() {
    let arguments = ["-q", "--guest", "broken", "--cmdline", "plant=frame_esp", "--clock", "real"];
    let output = esp0(&arguments);
    output.assert_status(1);
    assert!(output.stdout.contains("--clock deterministic"), "{}", output.stdout);
}

#[test]
fn a_clean_run_and_findings_of_other_kinds_name_no_writer() {
    for command_line in ["", "plant=esp0_not_updated"] {
        let output = esp0(&["-q", "--guest", "broken", "--cmdline", command_line]);
        assert!(!output.stdout.contains("was written"), "{}", output.stdout);
    }
}

#[test]
fn on_a_clock_that_counts_it_is_said_what_led_there() {
    let closes = ["`cli` at ", "(acquire+", "nothing has opened them since"];
    let begins = ["the gate of #2 closed interrupts", "(change+", "(thread+0), opens none"];
    for (kernel, parts) in [("CLOSED_FOR_GOOD", closes), ("THREAD_STARTS_CLOSED", begins)] {
        let Some(kernel) = compiled(kernel) else { return };
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        file.write_all(&kernel).expect("and written");
        let path = file.path().to_str().expect("its name is text");
        let output = esp0(&["run", path, "-q", "--clock", "deterministic", "--timeout", "5"]);
        for part in parts {
            assert!(output.stdout.contains(part), "expected {part:?} in\n{}", output.stdout);
        }
    }
}
