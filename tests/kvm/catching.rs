//! Probes: they see everything, the guest sees nothing of them, and without them nothing is paid.

use esp0::probe::Choice;
use ia32::Word;
use iced_x86::code_asm::{eax, ebx, ecx};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use tests::{Experiment, Seen, kernels};

/// A little of everything, for the runs that are compared.
const PROGRAMS: [&str; 4] = ["compute 150", "writer 2", "sleeper 3", "fault null"];

fn with(choice: Choice) -> Seen {
    Experiment::with_programs(&PROGRAMS).probes(choice).run()
}

static AUTO: LazyLock<Seen> = LazyLock::new(|| with(Choice::Auto));
static PATCH: LazyLock<Seen> = LazyLock::new(|| with(Choice::Patch));
static BREAKPOINT: LazyLock<Seen> = LazyLock::new(|| with(Choice::Breakpoint));
static NONE: LazyLock<Seen> = LazyLock::new(|| with(Choice::None));

#[test]
fn probes_are_invisible_to_the_guest() {
    assert!(NONE.events.is_empty() && NONE.counters.stops == 0, "something was probed");
    assert!(NONE.text().contains("micro: all tasks have ended"), "{}", NONE.text());
    for (name, seen) in [("auto", &AUTO), ("patch", &PATCH), ("breakpoint", &BREAKPOINT)] {
        seen.assert_clean();
        assert!(seen.counters.stops > 0, "nothing was probed by {name}");
        let (with, without) = (seen.text(), NONE.text());
        let differs = with.lines().zip(without.lines()).find(|(one, two)| one != two);
        assert_eq!(differs, None, "first line with --probe {name}, and without probes");
        assert_eq!(with, without, "the console with --probe {name}, and without probes");
    }
}

#[test]
fn probes_are_invisible_in_real_time_too() {
    let lines = |choice| {
        let seen = Experiment::with_programs(&PROGRAMS).real_time().probes(choice).run();
        seen.assert_clean();
        // When a task's turn comes depends on the time; what it says does not.
        seen.text().lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let without = lines(Choice::None);
    assert_eq!(lines(Choice::Auto), without);
    assert_eq!(lines(Choice::Patch), without);
}

#[test]
fn every_means_of_probing_sees_the_same_entries() {
    type Words = Vec<(Word, Option<u32>)>;
    let entries = |seen: &Seen| -> Vec<String> {
        seen.entries()
            .map(|entry| {
                let words: Words = entry.frame.words().collect();
                format!("{} {} {:08x} {words:x?}", entry.vector, entry.kind, entry.frame.address)
            })
            .collect()
    };
    let auto = entries(&AUTO);
    for (name, seen) in [("patch", &PATCH), ("breakpoint", &BREAKPOINT)] {
        let other = entries(seen);
        let differs = auto.iter().zip(&other).position(|(one, two)| one != two);
        assert_eq!(
            differs,
            None,
            "first difference of auto and {name}: {:#?}",
            differs.map(|n| (&auto[n], &other[n]))
        );
        assert_eq!(auto.len(), other.len(), "entries by auto and by {name}");
        assert_eq!(AUTO.returns().count(), seen.returns().count(), "returns by auto and {name}");
    }
}

#[test]
fn each_choice_uses_the_means_that_it_names() {
    assert_eq!(
        (PATCH.census.breakpoints, BREAKPOINT.census.breakpoints),
        (0, tests::host().breakpoints.usable)
    );
    // The microkernel leaves a no-op wherever a probe is wanted, but at its LIDT.
    assert!(AUTO.census.patched_no_ops > 200, "{:?}", AUTO.census);
    let plain = Experiment::with_guest("broken-plain").probes(Choice::Patch).run();
    assert_eq!(plain.census.patched_no_ops, 0, "{:?}", plain.census);
    assert!(plain.census.patched_instructions > 200, "{:?}", plain.census);
}

/// Off means free, to the exit: a kernel that touches no device until it powers off.
#[test]
fn without_probes_a_system_call_causes_no_exit() {
    let exits = |calls| {
        let kernel = kernels::caller(calls);
        let seen = Experiment::with_kernel(kernel).real_time().probes(Choice::None).run();
        seen.assert_clean();
        seen.counters.exits
    };
    let (few, many) = (exits(10), exits(10_000));
    assert_eq!(few, many, "exits of a run with 10 system calls, and with 10000");
}

/// The control of the test above: its kernel makes the system calls that it is asked for.
#[test]
fn with_probes_each_of_those_system_calls_is_seen() {
    let seen = Experiment::with_kernel(kernels::caller(10)).real_time().run();
    seen.assert_clean();
    let calls = seen.entries().filter(|entry| entry.vector.0 == 0x80).count();
    assert_eq!((calls, seen.returns().count()), (10, 11), "\n{}", seen.report());
}

/// The same in the microkernel, where the timer goes on: each exit more is the timer's.
#[test]
fn without_probes_the_microkernel_leaves_the_vm_for_devices_only() {
    const FEW: u32 = 10;
    const MANY: u32 = 10_000;
    let run = |calls: u32| {
        let program = kernels::program(|a| {
            let mut again = a.create_label();
            a.mov(ecx, calls as i32)?;
            a.set_label(&mut again)?;
            // getpid
            a.mov(eax, 3)?;
            a.int(0x80)?;
            a.dec(ecx)?;
            a.jnz(again)?;
            // exit(0)
            a.xor(eax, eax)?;
            a.xor(ebx, ebx)?;
            a.int(0x80)
        });
        let seen = Experiment::with_programs(&[])
            .module("caller", program)
            .real_time()
            .probes(Choice::None)
            .run();
        seen.assert_clean();
        seen.counters
    };
    let (few, many) = (run(FEW), run(MANY));
    // A tick: the alarm, the open window, the end of interrupt.
    let ticks = many.injected.saturating_sub(few.injected);
    let more = many.exits.saturating_sub(few.exits);
    assert!(
        more <= 4 * ticks + 8,
        "{} system calls more cost {more} exits more, with {ticks} ticks more: {few:?} {many:?}",
        MANY - FEW
    );
}
