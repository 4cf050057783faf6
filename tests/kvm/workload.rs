//! The microkernel with its programs: everything is right, and everything is seen.

use esp0::entry::{Entry, Kind, Return};
use esp0::run::Ending;
use ia32::{Vector, Word};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use tests::words::frames;
use tests::{Event, Experiment, Seen};

/// What `cargo run` runs.
static DEFAULT: LazyLock<Seen> = LazyLock::new(|| Experiment::with_guest("micro").run());

/// Two kinds of fault, a program that outlives them, and a sleep that outlives that, so that the
/// idle task is interrupted.
static MIXED: LazyLock<Seen> = LazyLock::new(|| {
    Experiment::with_programs(&["fault kernel", "fault cli", "compute 100", "sleeper 9"]).run()
});

#[test]
fn the_default_workload_has_no_finding() {
    DEFAULT.assert_clean();
    assert!(DEFAULT.entries().count() > 50, "only {} entries", DEFAULT.entries().count());
    let text = DEFAULT.text();
    for line in [
        "writer: line 4 of 4",
        "compute: 2000 steps",
        "sleeper: slept through",
        "micro: all tasks have ended",
    ] {
        assert!(text.contains(line), "expected {line:?} on the console\n{text}");
    }
}

#[test]
fn the_default_workload_has_no_finding_in_real_time() {
    let seen = Experiment::with_guest("micro").real_time().run();
    seen.assert_clean();
    assert!(seen.entries().any(|entry| entry.kind == Kind::Software));
}

#[test]
fn a_fault_ends_its_own_task_alone() {
    MIXED.assert_clean();
    let text = MIXED.text();
    assert!(text.contains("sleeper: slept through 9 ticks"), "{text}");
    assert!(text.contains("compute: 100 steps"), "{text}");
    assert!(!text.contains("fault: it was allowed"), "{text}");
}

#[test]
fn entries_of_all_three_shapes_occur() {
    let occurs = |seen: &Seen, count: u32, kind: Kind, vector: Vector| {
        let found = seen.entries().any(|entry| {
            (entry.frame.shape.count(), entry.kind, entry.vector) == (count, kind, vector)
        });
        assert!(found, "no {kind} by {vector} with {count} words\n{}", seen.report());
    };
    for seen in [&*DEFAULT, &*MIXED] {
        occurs(seen, 5, Kind::Software, Vector(0x80));
        occurs(seen, 5, Kind::External, Vector(0x20));
        occurs(seen, 6, Kind::Fault, Vector::PF);
        // The idle task is interrupted where it is: in ring 0.
        occurs(seen, 3, Kind::External, Vector(0x20));
    }
    occurs(&MIXED, 6, Kind::Fault, Vector::GP);
}

#[test]
fn every_entry_from_ring_3_is_at_esp0_less_its_words() {
    for entry in from_ring_3(&DEFAULT).chain(from_ring_3(&MIXED)) {
        let esp0 = entry.inner_stack.expect("the microkernel has a TSS").esp;
        let bytes =
            if entry.vector.has_error_code() && entry.kind == Kind::Fault { 24 } else { 20 };
        assert_eq!(
            entry.after.general.esp,
            esp0 - bytes,
            "entry #{}: expected ESP0 {esp0:08x} less {bytes}\n{}",
            entry.sequence,
            frames(entry)
        );
        assert_eq!(entry.frame.address, entry.after.general.esp);
        assert_eq!(entry.frame.end(), esp0);
    }
}

/// Who runs is told from CR3, for each program has an address space of its own: a witness that has
/// nothing to do with stacks.
#[test]
fn each_task_enters_on_its_own_stack() {
    let mut stacks: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut lowest: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in from_ring_3(&DEFAULT) {
        let esp0 = entry.inner_stack.expect("the microkernel has a TSS").esp;
        stacks.entry(entry.after.cr3).or_default().insert(esp0);
        let low = lowest.entry(esp0).or_insert(esp0);
        *low = entry.frame.address.min(*low);
    }
    for returning in DEFAULT.returns() {
        // What a return pops ends where its stack does; the kernel may have gone deeper before.
        if let Some(low) = lowest.get_mut(&returning.frame.end()) {
            *low = returning.frame.address.min(*low);
        }
    }
    let programs = default_programs();
    assert_eq!(stacks.len(), programs, "{programs} programs, an address space each: {stacks:08x?}");
    for (space, tops) in &stacks {
        assert_eq!(tops.len(), 1, "the task with CR3 {space:08x} has several ESP0: {tops:08x?}");
    }
    assert_eq!(lowest.len(), programs, "{programs} tasks, an ESP0 each: {lowest:08x?}");
    let ranges: Vec<(u32, u32)> = lowest.iter().map(|(top, low)| (*low, *top)).collect();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two tasks' kernel stacks overlap: {ranges:08x?}");
    }
}

#[test]
fn every_entry_has_its_return_but_those_that_ended_tasks() {
    for (seen, exits, faults) in [(&*DEFAULT, default_programs() - 1, 1), (&*MIXED, 2, 2)] {
        let left = without_return(seen);
        let exit = |entry: &&&Entry| entry.vector == Vector(0x80) && entry.after.general.eax == 0;
        let fault = |entry: &&&Entry| entry.kind == Kind::Fault;
        let numbers: Vec<u64> = left.iter().map(|entry| entry.sequence).collect();
        assert_eq!(
            (left.iter().filter(exit).count(), left.iter().filter(fault).count(), left.len()),
            (exits, faults, exits + faults),
            "expected (exits, faults, both) of the entries without a return: {numbers:?}\n{}",
            seen.report()
        );
    }
}

#[test]
fn on_the_deterministic_clock_the_state_before_ring_3_was_interrupted_is_always_known() {
    for entry in from_ring_3(&DEFAULT) {
        assert!(entry.before.is_some(), "entry #{} has no state before", entry.sequence);
    }
    assert_eq!(DEFAULT.end.ending, Ending::PoweredOff);
}

/// How many programs `cargo run` runs; the last of them faults.
fn default_programs() -> usize {
    let modules = esp0::guests::guest("micro").expect("esp0 carries it").modules;
    assert!(modules.iter().filter(|module| module.starts_with("fault")).count() == 1);
    modules.len()
}

fn from_ring_3(seen: &Seen) -> impl Iterator<Item = &Entry> {
    seen.entries().filter(|entry| entry.origin.ring == 3)
}

/// Pairs returns with entries by the words that they pop: the newest frame at the same address.
fn without_return(seen: &Seen) -> Vec<&Entry> {
    let mut open: Vec<&Entry> = Vec::new();
    for event in &seen.events {
        match event {
            Event::Returned(..) | Event::Switch(..) => {}
            Event::Entry(entry, _) => open.push(entry),
            Event::Return(returning, _) => {
                if let Some(index) = open.iter().rposition(|entry| pops(returning, entry)) {
                    open.remove(index);
                }
            }
        }
    }
    open
}

/// The return is about to pop what the entry pushed.
fn pops(returning: &Return, entry: &Entry) -> bool {
    let eip = entry.frame.address_of(Word::Eip).expect("every frame has an EIP");
    returning.frame.address == eip
        && [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss]
            .iter()
            .all(|word| returning.frame.get(*word) == entry.frame.get(*word))
}
