//! The kernel in the manner of Linux 0.12: what is said of its stacks is so, and is not so of the
//! twin that does it otherwise.

use esp0::check::Checker;
use esp0::entry::{Entry, TaskSwitch, TssWords};
use esp0::guests;
use esp0::probe::Choice;
use esp0::run::{ClockChoice, Ending};
use ia32::{Table, Vector, Word};
use std::collections::BTreeMap;
use tests::seen::Event;
use tests::{Experiment, Seen};

/// A tick each 500 instructions.
const QUICK: ClockChoice = ClockChoice::Deterministic { nanoseconds_per_instruction: 20_000 };
const PAGE: u32 = 4096;
const MIB: u32 = 1 << 20;

fn classic() -> Experiment {
    Experiment::with_guest("classic").clock(QUICK)
}

/// What the console has to say in the end, whoever ran when.
#[track_caller]
fn assert_story(seen: &Seen) {
    seen.assert_clean();
    let text = seen.text();
    for line in [
        "init: pid 1",
        "init: pid 2 ended with 141", // LTR: #GP
        "init: pid 3 ended with 141", // LGDT: #GP
        "init: pid 4 ended with 142", // the TSS of task 0: #PF
        "init: pid 5 ended with 142", // kernel memory: #PF
        "arguments: pid 6 was told two",
        "arguments: pid 6 was told TERM=console",
        "init: pid 6 ended with 5",
        "twins: parent at step 2",
        "twins: child at step 3",
        "init: pid 7 ended with 3",
        "classic: init has ended",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn classic_runs_without_a_finding_by_every_means_of_probing() {
    for probes in [Choice::Auto, Choice::Patch, Choice::Breakpoint] {
        let seen = classic().probes(probes).run();
        assert_story(&seen);
        assert!(seen.switches().count() > 10, "too few switches with {probes:?}");
    }
}

#[test]
fn classic_runs_in_real_time_with_probes_and_without() {
    assert_story(&classic().real_time().run());
    let unseen = classic().real_time().probes(Choice::None).run();
    assert_story(&unseen);
    assert_eq!((unseen.events.len(), unseen.stack_loads.len()), (0, 0));
}

/// classic with other bytes in place of the no-op in front of its far jump.
fn with_bytes_before_the_jump(bytes: [u8; 2]) -> Experiment {
    let guest = guests::guest("classic").expect("esp0 carries it");
    let mut kernel = guest.kernel.to_vec();
    const JUMP: [u8; 6] = [0x66, 0x90, 0xff, 0x6c, 0x24, 0x04];
    let at = kernel.windows(6).position(|window| window == JUMP).expect("the jump is there");
    kernel[at..at + 2].copy_from_slice(&bytes);
    Experiment::with_kernel(kernel).modules(guest.modules).clock(QUICK)
}

#[test]
fn switches_of_a_kernel_without_a_no_op_are_seen_too() {
    let nop_nop = with_bytes_before_the_jump([0x90, 0x90]);
    for probes in [Choice::Auto, Choice::Patch, Choice::Breakpoint] {
        let seen = nop_nop.clone().probes(probes).run();
        assert_story(&seen);
        assert!(seen.switches().count() > 10, "too few switches with {probes:?}");
    }
}

#[test]
fn switches_with_interrupts_open_are_seen_too() {
    let sti_nop = with_bytes_before_the_jump([0xfb, 0x90]);
    // Not by breakpoints: QEMU's model pushes RF for an interrupt, and returns past them.
    for probes in [Choice::Auto, Choice::Patch] {
        for clock in [QUICK, ClockChoice::Real] {
            let seen = sti_nop.clone().probes(probes).clock(clock).run();
            assert_story(&seen);
            assert!(seen.switches().count() > 10, "too few switches with {probes:?}");
        }
    }
}

#[test]
fn two_runs_on_the_deterministic_clock_are_the_same() {
    let trace = |seen: &Seen| -> Vec<String> {
        seen.events.iter().map(|event| format!("{event:?}")).collect()
    };
    assert_eq!(trace(&classic().run()), trace(&classic().run()));
}

/// A claim about Linux 0.12, how it shows from outside, and the twin of which it is not true.
struct Claim {
    id: &'static str,
    plant: &'static str,
    holds: fn(&Seen) -> Result<(), String>,
}

const CLAIMS: [Claim; 12] = [
    Claim { id: "L1", plant: "fifth_stack", holds: four_stacks },
    Claim { id: "L2", plant: "esp0_in_mid_page", holds: one_page },
    Claim { id: "L3", plant: "flat_kernel", holds: kernel_spans_16_mib },
    Claim { id: "L4", plant: "other_user_stack", holds: initial_stack_becomes_task_0s },
    Claim { id: "L5", plant: "far_return", holds: hand_made_frame },
    Claim { id: "L6", plant: "half_the_space", holds: bases_64_mib_apart },
    Claim { id: "L7", plant: "limit_one_mib", holds: first_tasks_reach_640_kib },
    Claim { id: "L8", plant: "fork_copies_stack", holds: children_start_with_empty_stacks },
    Claim { id: "L9", plant: "fork_copies_pages", holds: first_push_takes_a_page },
    Claim { id: "L10", plant: "task_0_pushes", holds: task_0_writes_nothing },
    Claim { id: "L11", plant: "stack_in_the_middle", holds: user_stacks_at_the_end },
    Claim { id: "L12", plant: "switch_saves_esp0", holds: switches_leave_esp0_alone },
];

#[test]
fn what_is_claimed_of_linux_0_12_is_true_of_classic() {
    let seen = classic().run();
    for claim in &CLAIMS {
        (claim.holds)(&seen).unwrap_or_else(|why| panic!("{}: {why}", claim.id));
    }
}

#[test]
fn each_claim_is_refuted_by_the_twin_that_breaks_it() {
    for Claim { id, plant, holds } in &CLAIMS {
        let seen = classic().command_line(&format!("plant={plant}")).run();
        assert_eq!(
            seen.end.ending,
            Ending::PoweredOff,
            "{plant}: {:?} {:x?}\n{}",
            seen.counters,
            seen.end.state,
            seen.report()
        );
        assert!(holds(&seen).is_err(), "{id} holds for {plant} too");
        // Of these only the last breaks a rule that every kernel with a stack per task lives by.
        let rules: Vec<&str> = seen.findings().map(|finding| finding.rule).collect();
        let expected: &[&str] = if *id == "L12" { &["empty_stack"] } else { &[] };
        assert_eq!(rules, expected, "{plant}\n{}", seen.report());
    }
}

fn that(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The number of the task whose TSS a selector selects.
fn task(tr: u16) -> u32 {
    u32::from(tr - 0x20) / 16
}

fn from_ring_3(seen: &Seen) -> impl Iterator<Item = &Entry> {
    seen.entries().filter(|entry| entry.origin.ring == 3)
}

fn esp0(entry: &Entry) -> u32 {
    entry.inner_stack.map_or(0, |stack| stack.esp)
}

/// The two stacks before there are tasks, as they were loaded, and the first return.
fn four_stacks(seen: &Seen) -> Result<(), String> {
    let [boot, initial] = &seen.stack_loads[..] else {
        return Err(format!("{} stacks were loaded", seen.stack_loads.len()));
    };
    let pair = |state: &ia32::State| (state.ss().selector, state.general.esp);
    that(!boot.after.protected() && pair(&boot.after) == (0x9000, 0xff00), || {
        format!("the boot stack is {:x?}", pair(&boot.after))
    })?;
    that(initial.after.protected() && pair(&initial.after).0 == 0x10, || {
        format!("the initial stack is {:x?}", pair(&initial.after))
    })?;
    let end = initial.after.general.esp;
    let first = seen.returns().next().ok_or("there is no return")?;
    that((end - PAGE..end).contains(&first.frame.address), || {
        format!("ring 0 is left on {:08x}, not on the initial stack", first.frame.address)
    })?;
    // From then on ring 0 is on the page of some task, ring 3 on the initial stack or at an end.
    for entry in seen.entries() {
        let page = entry.after.tr.base & !(PAGE - 1);
        that((page..page + PAGE).contains(&entry.frame.address), || {
            format!("#{} is on no task's page: {:08x}", entry.sequence, entry.frame.address)
        })?;
    }
    Ok(())
}

fn one_page(seen: &Seen) -> Result<(), String> {
    for entry in from_ring_3(seen) {
        let page = entry.after.tr.base & !(PAGE - 1);
        let stack = entry.inner_stack.map(|stack| (stack.ss, stack.esp));
        that(stack == Some((0x10, page + PAGE)), || {
            format!("#{}: SS0:ESP0 {stack:x?}, TSS at {:08x}", entry.sequence, entry.after.tr.base)
        })?;
    }
    Ok(())
}

fn kernel_spans_16_mib(seen: &Seen) -> Result<(), String> {
    for entry in seen.entries() {
        for (segment, selector) in [(entry.after.cs(), 0x08), (entry.after.ss(), 0x10)] {
            let got = (segment.selector, segment.base, segment.limit);
            that(got == (selector, 0, 16 * MIB - 1), || format!("{got:x?}"))?;
        }
    }
    Ok(())
}

fn initial_stack_becomes_task_0s(seen: &Seen) -> Result<(), String> {
    let first = seen.returns().next().ok_or("there is no return")?;
    let end = seen.stack_loads.last().ok_or("no stack was loaded")?.after.general.esp;
    let esp = first.frame.get(Word::Esp).ok_or("the frame is not mapped")?;
    that((end - PAGE..end).contains(&esp), || format!("task 0 starts on {esp:08x}"))?;
    for entry in from_ring_3(seen).filter(|entry| entry.after.tr.selector == 0x20) {
        that(entry.ldt_stack == Some(esp), || {
            format!("#{}: task 0 is on {:08x?}", entry.sequence, entry.ldt_stack)
        })?;
    }
    Ok(())
}

fn hand_made_frame(seen: &Seen) -> Result<(), String> {
    let first = seen.returns().next().ok_or("there is no return")?;
    that(first.after_sequence == 0, || format!("an entry came first: {first:x?}"))?;
    let words = [Word::Ss, Word::Cs].map(|word| first.frame.get(word));
    that(words == [Some(0x17), Some(0x0f)], || format!("SS and CS are {words:x?}"))?;
    let open = first.frame.get(Word::Eflags).is_some_and(|eflags| eflags & 0x200 != 0);
    that(open && first.frame.shape.count() == 5, || format!("{:x?}", first.frame))
}

fn bases_64_mib_apart(seen: &Seen) -> Result<(), String> {
    for entry in from_ring_3(seen) {
        let (ss, cs) = (entry.frame.selector(Word::Ss), entry.frame.selector(Word::Cs));
        that((ss, cs) == (Some(0x17), Some(0x0f)), || format!("{ss:x?} {cs:x?}"))?;
        let expected = task(entry.after.tr.selector) * 64 * MIB;
        let offsets = [entry.frame.get(Word::Esp), entry.frame.get(Word::Eip)];
        let bases = [entry.ldt_stack, entry.code.linear];
        for (linear, offset) in bases.into_iter().zip(offsets) {
            let base = linear.zip(offset).map(|(linear, offset)| linear.wrapping_sub(offset));
            that(base == Some(expected), || format!("#{}: base {base:x?}", entry.sequence))?;
        }
        let ldt = ia32::Selector(entry.after.ldtr.selector);
        that(ldt.0 == entry.after.tr.selector + 8 && ldt.table() == Table::Gdt, || {
            format!("#{}: LDTR {:04x}", entry.sequence, ldt.0)
        })?;
    }
    Ok(())
}

/// Seen where the state before an event was: in ring 3, before the timer.
fn first_tasks_reach_640_kib(seen: &Seen) -> Result<(), String> {
    let mut looked_at = 0;
    for before in from_ring_3(seen).filter_map(|entry| entry.before.as_deref()) {
        if task(before.tr.selector) <= 1 {
            looked_at += 1;
            for segment in [before.cs(), before.ss()] {
                that(segment.limit == 640 * 1024 - 1, || format!("limit {:x}", segment.limit))?;
            }
        }
    }
    that(looked_at > 0, || "tasks 0 and 1 were not seen".into())
}

/// A child starts in ring 3, and its first entry lands at ESP0.
fn children_start_with_empty_stacks(seen: &Seen) -> Result<(), String> {
    let mut children = 0;
    let mut new = BTreeMap::new();
    for event in &seen.events {
        match event {
            Event::Switch(switch, _) if switch.ring() == 3 => {
                new.insert(switch.selector.0, switch.new.inner_stack().esp);
            }
            Event::Entry(entry, _) => {
                if let Some(top) = new.remove(&entry.after.tr.selector) {
                    children += 1;
                    that(entry.frame.end() == top && esp0(entry) == top, || {
                        format!("#{} is not at {top:08x}", entry.sequence)
                    })?;
                }
            }
            _ => {}
        }
    }
    that(children == 8, || format!("{children} children started in ring 3, not 8"))
}

/// Task 1's first entry is a write to a page that is there and may not be written to: its stack's.
fn first_push_takes_a_page(seen: &Seen) -> Result<(), String> {
    let first = from_ring_3(seen)
        .find(|entry| entry.after.tr.selector == 0x30)
        .ok_or("there is no task 1")?;
    let cause = (first.vector, first.frame.get(Word::ErrorCode));
    that(cause == (Vector::PF, Some(7)), || format!("its first entry is {cause:x?}"))?;
    let below = first.ldt_stack.unwrap_or(0).wrapping_sub(first.after.cr2);
    that((1..=PAGE).contains(&below), || format!("it writes to {:08x}", first.after.cr2))
}

/// It would fault: its stack is read-only since fork.
fn task_0_writes_nothing(seen: &Seen) -> Result<(), String> {
    let fault = from_ring_3(seen)
        .find(|entry| entry.after.tr.selector == 0x20 && entry.vector == Vector::PF);
    that(fault.is_none(), || {
        format!("#{} is a write of task 0", fault.map_or(0, |one| one.sequence))
    })
}

/// A return that starts a program: EIP and ESP are not those that the entry pushed.
fn user_stacks_at_the_end(seen: &Seen) -> Result<(), String> {
    let programs = from_ring_3(seen)
        .filter(|entry| task(entry.after.tr.selector) > 1)
        .filter_map(|entry| entry.ldt_stack.map(|stack| (entry, stack)))
        .filter(|(entry, _)| entry.frame.get(Word::Eip).is_some_and(|eip| eip < 0x1_0000));
    let mut count = 0;
    for (entry, stack) in programs {
        count += 1;
        let end = (task(entry.after.tr.selector) + 1) * 64 * MIB;
        that((end - 2 * PAGE..end).contains(&stack), || {
            format!("#{}: the user stack is at {stack:08x}", entry.sequence)
        })?;
    }
    that(count > 10, || format!("{count} entries from programs"))
}

/// TR changes by far jumps and nothing else, and each task's ESP0 stays what it was.
fn switches_leave_esp0_alone(seen: &Seen) -> Result<(), String> {
    let mut running = 0x20;
    // By page, since numbers and pages are used again.
    let mut known: BTreeMap<u32, u32> = BTreeMap::new();
    for event in &seen.events {
        match event {
            Event::Entry(entry, _) => {
                let tr = entry.after.tr.selector;
                that(tr == running, || format!("#{}: TR {tr:04x}", entry.sequence))?;
                let esp0 = esp0(entry);
                let before = *known.entry(entry.after.tr.base).or_insert(esp0);
                that(before == esp0, || format!("ESP0 was {before:08x}, is {esp0:08x}"))?;
            }
            Event::Switch(switch, _) => {
                that(switch.before.tr.selector == running, || format!("{switch:x?}"))?;
                running = switch.tr.0;
                let stored = switch.stored.inner_stack().esp;
                let before = *known.entry(switch.before.tr.base).or_insert(stored);
                that(before == stored, || format!("ESP0 was {before:08x}, is {stored:08x}"))?;
            }
            Event::Return(..) => {}
        }
    }
    that(seen.switches().count() > 10, || "there are too few switches".into())
}

/// What was changed in a real switch, and what the rule has to say.
type Change = (fn(&mut TaskSwitch), &'static str);

#[test]
fn a_switch_that_is_changed_is_found() {
    let seen = classic().run();
    let findings =
        |switch: &TaskSwitch| Checker::new(tests::host().backend.clone()).switch(switch).findings;
    let changes: [Change; 6] = [
        (|switch| switch.stored.0[TssWords::ESP0] -= 4, "changed ESP0 in the old task's TSS"),
        (|switch| switch.stored.0[TssWords::CR3] = 0, "changed CR3 in the old task's TSS"),
        (|switch| switch.stored.0[TssWords::EIP] -= 4, "stored another EIP in the old task's TSS"),
        (|switch| switch.stored.0[TssWords::ESP] += 4, "stored another ESP in the old task's TSS"),
        (|switch| switch.stored.0[TssWords::SS] = 0x17, "stored another SS in the old task's TSS"),
        (|switch| switch.tr.0 += 0x10, "did not load TR"),
    ];
    for switch in seen.switches() {
        assert!(findings(switch).is_empty());
        for (change, says) in &changes {
            let mut changed = switch.clone();
            change(&mut changed);
            let found = findings(&changed);
            assert!(
                found.len() == 1 && found[0].sentence.contains(says),
                "{says}: {found:?} in {changed:x?}"
            );
        }
    }
}
