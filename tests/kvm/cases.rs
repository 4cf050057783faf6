//! Kernels that have one fault each, as authors reported them: what their authors have to be told, and that
//! nothing is told once the fault is mended.
//!
//! The kernels are not part of this repository. They are looked for in the folder that `ESP0_CASES` names:
//! `build OUT` there makes `NAME.bad.elf` and `NAME.good.elf`. All of them take some minutes.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{Output, esp0};

/// A case, and what the report has to contain; nothing for a kernel that is healthy.
type Case = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
const CASES: [Case; 25] = [
    ("argument_left", &["value popped into DS", "is no selector but a stack address", "off by one word"]),
    ("env_record", &[]),
    ("error_code_left", &["was refused with #GP", "4 bytes too few were removed", "popped as EIP: the error code of #1"]),
    ("esp0_stale", &["on the stack of suspended task 1", "store the end of the next task's kernel stack in TSS.ESP0"]),
    ("esp0_start", &["ESP0 is the start of a stack, not its end", "overwrite area"]),
    ("fork_same_frame", &["popped its frame in the stack of task 1", "from its parent's"]),
    ("gate_dpl", &["error code 0402 is IDT entry 0x80: its gate has DPL 0", "ring 3 may not use `int 0x80`"]),
    ("guard_page", &["the kernel stack of task 1 is full down to", "is not mapped", "#DF"]),
    ("if_clear", &["ring 3 runs with IF=0", "from the frame that the first IRET popped", "IRQ 0, the timer's, waits"]),
    ("iret_16", &["16 bits wide (66 CF)", "pushed 32-bit words"]),
    ("iret_rpl", &["IRET to CS 0018 with RPL 0 while the descriptor has DPL 3; the same for SS"]),
    ("kernel_flags", &["the EFLAGS that go back to ring 3 are not those that #1 pushed", "was made anew"]),
    ("kernel_thread", &[]),
    ("no_cld", &["DF was 1 when #", "without CLD"]),
    ("no_eoi", &["IRQ 0 is in service since entry #1, and no EOI was written"]),
    ("no_gdt", &["the gate of vector 0x20 names CS 0008, and GDT entry 1 is now empty"]),
    ("no_ltr", &["TR is 0: there is no TSS to take SS0:ESP0 from"]),
    ("offset_swapped", &["gate 0x20 leads to 02160010, outside RAM", "with the halves exchanged it is", "irq0"]),
    ("page_entry_shifted", &["the instruction behind MOV CR0 is not mapped", "points to a table at", "where there is no RAM"]),
    ("page_supervisor", &["is for the supervisor: U/S is 0 in its directory entry", "#PF error 5 = user, read"]),
    ("pic_not_remapped", &["IRQ 0 came as vector 8, which is #DF's, because the 8259's base is 08"]),
    ("registers_lost", &["EAX is not what #", "does not save it"]),
    ("stack_overflow", &["words of task 1's frame (#1) were overwritten while task 2 was in the kernel", "ran past its end"]),
    ("trap_gate_syscall", &[]),
    ("tss_limit", &["ring 3 has", "ports open", "the TSS limit reaches beyond the I/O map base"]),
];

/// Both clocks. Exact mode takes minutes for all: see the environment variable.
const CLOCKS: [&str; 2] = ["deterministic", "real"];

/// The kernels, built; none, with the reason printed, if they are not there or there is no compiler.
fn built() -> Option<(tempfile::TempDir, PathBuf)> {
    let Some(cases) = std::env::var_os("ESP0_CASES").map(PathBuf::from) else {
        println!("skipped: ESP0_CASES names no folder with the cases");
        return None;
    };
    assert!(cases.join("build").exists(), "ESP0_CASES names no folder with the cases");
    if Command::new("gcc").arg("--version").output().is_err() {
        println!("skipped: there is no gcc to build the cases with");
        return None;
    }
    let out = tempfile::tempdir().expect("a folder can be made");
    let status = Command::new(cases.join("build")).arg(out.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "the cases are built");
    let folder = out.path().to_owned();
    Some((out, folder))
}

fn run(folder: &Path, name: &str, twin: &str, mode: &[&str]) -> Output {
    let kernel = folder.join(format!("{name}.{twin}.elf")).display().to_string();
    let mut arguments = vec!["run", "-q", "--timeout"];
    // Those that would go on for ever show it within seconds.
    arguments.push(if twin == "bad" && mode != ["--exact"] { "10" } else { "120" });
    arguments.extend([kernel.as_str()].iter().chain(mode));
    esp0(&arguments)
}

#[track_caller]
fn is_told(case: &Case, folder: &Path, mode: &[&str]) {
    let (name, says) = case;
    let good = run(folder, name, "good", mode);
    assert!(
        good.status == Some(0) && good.last_line().contains("findings=0"),
        "{name}, mended, {mode:?}:\n{}{}",
        good.stdout,
        good.stderr
    );
    let bad = run(folder, name, "bad", mode);
    for part in *says {
        assert!(bad.stdout.contains(part), "{name}, {mode:?}: {part:?} is not in\n{}", bad.stdout);
    }
    if says.is_empty() {
        assert!(bad.last_line().contains("findings=0"), "{name}, {mode:?}:\n{}", bad.stdout);
    } else {
        assert_ne!(bad.status, Some(0), "{name}, {mode:?}:\n{}", bad.stdout);
        assert!(!bad.stdout.contains("about the processor"), "{name}, {mode:?}:\n{}", bad.stdout);
    }
}

#[test]
fn each_reported_fault_is_told_with_its_cause_and_the_mended_kernel_is_clean() {
    let Some((_folder, kernels)) = built() else { return };
    for case in &CASES {
        for clock in CLOCKS {
            is_told(case, &kernels, &["--clock", clock]);
        }
        if std::env::var_os("ESP0_CASES_EXACT").is_some() {
            is_told(case, &kernels, &["--exact"]);
        }
    }
}
