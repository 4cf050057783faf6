//! Ring 3 in states that no honest program is in: the kernel survives, and each pushed word is
//! exactly what ring 3 had.

use esp0::entry::{Entry, Kind};
use esp0::probe::Choice;
use ia32::{Eflags, SegmentRegister, Vector, Word};
use tests::words::{expected, frames};
use tests::{Experiment, Seen};

/// How long the programs spin on the deterministic clock: one through a few ticks, and one so
/// briefly that it calls before a tick. (A return from the kernel makes all data segments flat.)
const SPINS: [u32; 2] = [250, 1];

struct Case {
    /// What `hostile` is told.
    what: &'static str,
    /// An entry comes out of the state that the program is there for.
    hostile: fn(&Entry) -> bool,
}

const CASES: [Case; 4] = [
    Case { what: "esp0", hostile: |entry| entry.frame.get(Word::Esp) == Some(0) },
    Case {
        what: "espkernel",
        hostile: |entry| entry.frame.get(Word::Esp).is_some_and(|esp| esp >= 0xc000_0000),
    },
    Case {
        what: "flags",
        hostile: |entry| {
            let wild = Eflags::DF | Eflags::NT | Eflags::AC | Eflags::ID;
            entry.frame.get(Word::Eflags).is_some_and(|eflags| Eflags(eflags).contains(wild))
        },
    },
    Case {
        what: "segments",
        // Selectors that lead nowhere stand in the registers when the handler begins: delivery
        // does not reload them.
        hostile: |entry| {
            let selector = |register| entry.after.segment(register).selector;
            selector(SegmentRegister::Ds) == 0
                && selector(SegmentRegister::Es) == 3
                && selector(SegmentRegister::Fs) == 0x1b
        },
    },
];

#[test]
fn ring_3_is_interrupted_and_calls_in_each_hostile_state() {
    for case in &CASES {
        let seen = run(case);
        for kind in [Kind::External, Kind::Software] {
            let count = seen.entries().filter(|e| e.kind == kind && (case.hostile)(e)).count();
            assert!(
                count > 0,
                "hostile {}: no {kind} entry came out of it\n{}",
                case.what,
                seen.report()
            );
        }
    }
}

#[test]
fn every_word_that_a_hostile_program_makes_the_cpu_push_is_exact() {
    for case in &CASES {
        for entry in run(case).entries().filter(|entry| (case.hostile)(entry)) {
            for (word, got) in entry.frame.words() {
                // RF of an interrupt is a known deviation of one CPU model: the rules judge it.
                let mask = if word == Word::Eflags { !Eflags::RF.0 } else { u32::MAX };
                let expected = expected(entry, word).expect("the state before is known");
                assert_eq!(
                    got.map(|got| got & mask),
                    Some(expected & mask),
                    "hostile {}: {} of entry #{}\n{}",
                    case.what,
                    word.name(),
                    entry.sequence,
                    frames(entry)
                );
            }
        }
    }
}

#[test]
fn the_kernel_survives_hostile_programs_in_real_time() {
    // In real time some milliseconds have to pass before the timer comes.
    let seen = Experiment::with_programs(&["hostile esp0 30000000", "hostile espkernel 30000000"])
        .real_time()
        .run();
    seen.assert_clean();
    assert_eq!(seen.text().matches("exit 0").count(), 2, "{}", seen.text());
    for case in &CASES[..2] {
        assert!(
            seen.entries().any(|e| e.kind == Kind::External && (case.hostile)(e)),
            "{}",
            case.what
        );
    }
}

fn run(case: &Case) -> Seen {
    let commands = SPINS.map(|spins| format!("hostile {} {spins}", case.what));
    let seen = Experiment::with_programs(&commands.each_ref().map(String::as_str)).run();
    seen.assert_clean();
    // A program says by its exit status that it found its registers as it had left them.
    let exits = seen.text().matches("exit 0").count();
    assert_eq!(exits, SPINS.len(), "hostile {}\n{}", case.what, seen.text());
    seen
}

#[test]
fn a_task_that_steps_itself_gets_its_debug_exception_by_every_means_and_clock() {
    for choice in [Choice::Patch, Choice::Breakpoint] {
        for real_time in [false, true] {
            let mut experiment = Experiment::with_programs(&["fault trap"]).probes(choice);
            if real_time {
                experiment = experiment.real_time();
            }
            let seen = experiment.run();
            seen.assert_clean();
            let mut entries = seen.entries().filter(|entry| entry.vector == Vector::DB);
            let entry = entries.next().unwrap_or_else(|| panic!("no #DB by {choice:?}"));
            assert_eq!(entry.kind, Kind::Trap, "{choice:?}");
            let pushed = Eflags(entry.frame.get(Word::Eflags).expect("the frame is mapped"));
            assert!(pushed.contains(Eflags::TF), "{pushed} was pushed, by {choice:?}");
            assert!(!entry.after.eflags.contains(Eflags::TF), "{}", entry.after.eflags);
            assert_eq!(entries.count(), 0, "the task ends at the first, by {choice:?}");
        }
    }
}
