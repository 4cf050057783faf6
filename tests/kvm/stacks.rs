//! Returns, stacks and what an interrupt must not change, on kernels as others write them: those that are
//! healthy in a manner of their own have no finding, and those with a fault have the one that names it.

use esp0::check::{Finding, Subject};
use esp0::run::ClockChoice;
use ia32::Vector;
use tests::{Experiment, Seen, compiled};

/// Both clocks, and exact mode.
const WAYS: [&str; 3] = ["the deterministic clock", "the real clock", "exact mode"];

/// A tick each few hundred instructions.
const QUICK: ClockChoice = ClockChoice::Deterministic { nanoseconds_per_instruction: 10_000 };

fn run(kernel: &[u8], way: &str) -> Seen {
    let experiment = Experiment::with_kernel(kernel.to_vec());
    match way {
        "the real clock" => experiment.real_time(),
        "exact mode" => experiment.clock(QUICK).exact(),
        _ => experiment.clock(QUICK),
    }
    .run()
}

#[test]
fn kernels_of_other_designs_are_right() {
    for name in [
        "FRESH_FRAMES",
        "SHARED_END",
        "FLAGS_FIRST",
        "SINGLE_STEPS",
        "EXECVE",
        "HIDDEN_IRET",
        "TAIL_JUMPS",
        "IDLES_IN_FRAME",
        "REGISTERS_IN_RECORD",
        "RESTARTS",
        "RUNS_DOWNWARDS",
        "SEGMENT_GROWS",
        "EMULATES",
        "CLEARS_LATE",
        "LOWER",
        "FIRST_STACK",
        "FAULTS_INSIDE",
        "SWAPS_CONTEXTS",
        "SIGNAL_AT_HANDLER",
        "STEPS_CLOSED",
        "INTERRUPT_TASK",
        "HEAP_BY_FAULT",
        "PROGRAMS_LOAD_DS",
        "KEPT_BY_CALLERS",
        "ENDS_ON_ANOTHER_STACK",
        "SERVICES_AT_10",
        "X87_ON_DEMAND",
        "X87_OF_ONE",
    ] {
        let Some(kernel) = compiled(name) else { return };
        for way in WAYS {
            let seen = run(&kernel, way);
            println!("{name} on {way}");
            seen.assert_clean();
        }
    }
}

/// The loop in which a kernel waits is also where all gates lead that it has no handler for. Exact mode takes its probe out at
/// each turn, and lets no interrupt in meanwhile.
#[test]
fn a_kernel_may_wait_where_a_gate_leads_too() {
    let Some(kernel) = compiled("WAITS_IN_DEFAULT_HANDLER") else { return };
    for way in &WAYS[..2] {
        let seen = run(&kernel, way);
        println!("on {way}");
        seen.assert_clean();
    }
}

/// An IRET that only a pointer reaches is found once it has been missed, in the functions that symbols name.
#[test]
fn a_way_out_that_was_missed_is_looked_for() {
    let Some(kernel) = compiled("WAY_OUT_BY_POINTER") else { return };
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::io::Write::write_all(&mut file, &kernel).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    for clock in ["real", "deterministic", "exits"] {
        let output = tests::esp0(&["run", path, "--clock", clock, "--timeout", "10"]);
        output.assert_status(0);
        let count = |name: &str| {
            let line = output.stdout.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.map_or(0, |number| number.parse().expect("a number"))
        };
        let counts: [u32; 2] = ["missed ", "returns "].map(count);
        assert!(counts[0] <= 5 && counts[1] >= 30, "{clock}: {counts:?}\n{}", output.stdout);
    }
}

/// What enters ring 0 in a way that is not watched accuses nobody: a fault in there comes from there.
#[test]
fn faults_behind_an_entry_that_nobody_saw_are_right() {
    let Some(kernel) = compiled("FAULTS_INSIDE") else { return };
    let seen = Experiment::with_kernel(kernel).clock(QUICK).without_exits_at_msrs().run();
    seen.assert_clean();
    let faults = seen.entries().filter(|entry| entry.vector == Vector::PF);
    let inside = faults.filter(|entry| entry.origin.ring == 0).count();
    assert!(inside > 10, "{inside} faults in ring 0\n{}", seen.report());
}

/// A kernel with a fault, the rule that finds it, and what its finding has to contain.
pub(crate) struct Fault {
    name: &'static str,
    pub(crate) rule: &'static str,
    says: &'static [&'static str],
}

pub(crate) const FAULTS: [Fault; 9] = [
    Fault {
        name: "VECTOR_LEFT",
        rule: "refused_iret",
        says: &["was refused with #GP", "8 bytes too few", "popped as CS: the error code of #1"],
    },
    Fault {
        name: "WRONG_SS",
        rule: "refused_iret",
        says: &["was refused with #GP(0010)", "SS with RPL 3", "IRET to SS 0010 with RPL 0"],
    },
    Fault {
        name: "REGISTERS",
        rule: "registers_restored",
        says: &["EBX and DS are not what #1 interrupted", "EBX 00800000"],
    },
    Fault {
        name: "DOWNWARDS",
        rule: "direction_flag",
        says: &["DF was 1 when #", "without CLD", "`cld`"],
    },
    Fault {
        name: "START_OF_ARRAY",
        rule: "stack_start",
        says: &["overwrite area", "area+128", "00001"],
    },
    Fault { name: "START_PLUS_FOUR", rule: "stack_start", says: &["overwrite area", "area+36"] },
    Fault {
        name: "USER_END",
        rule: "user_stack",
        says: &["onto the interrupted program's own stack"],
    },
    Fault { name: "OVER_TSS", rule: "stack_over_tables", says: &["overwrite the IDT", "ESP0"] },
    Fault {
        name: "RECURSES",
        rule: "overflow",
        says: &["task 1's frame", "while task 2 was in the kernel", "ran past its end"],
    },
];

fn text(finding: &Finding) -> String {
    let Finding { sentence, expected, got, reason, advice, .. } = finding;
    format!("{sentence}\n{expected}\n{got}\n{reason:?}\n{advice:?}")
}

#[test]
fn faults_of_the_same_kinds_are_named() {
    for fault in &FAULTS {
        let Some(kernel) = compiled(fault.name) else { return };
        for way in WAYS {
            // What a timer is to interrupt never runs where it comes at once; and the whole of what the
            // recursion needs takes minutes step by step.
            if way != WAYS[0] && matches!(fault.name, "DOWNWARDS" | "RECURSES") {
                continue;
            }
            let seen = run(&kernel, way);
            let name = fault.name;
            let first = seen.findings().next();
            let Some(first) = first else { panic!("{name} on {way}: nothing was found") };
            assert_eq!(first.rule, fault.rule, "{name} on {way}:\n{}", seen.report());
            for says in fault.says {
                assert!(text(first).contains(says), "{name} on {way}: {says}\n{}", text(first));
            }
            for finding in seen.findings() {
                assert_eq!(finding.subject, Subject::Kernel, "{name} on {way}:\n{}", text(finding));
            }
        }
    }
}
