//! The kernel in the manner of Linux 0.12 runs to its end by every means of probing, and its task
//! switches by hardware are seen and judged. What is said of its stacks is in `claims`.

use esp0::check::Checker;
use esp0::entry::{TaskSwitch, TssWords};
use esp0::guests;
use esp0::probe::Choice;
use esp0::run::ClockChoice;
use tests::{Experiment, Seen};

/// A tick each 500 instructions.
const QUICK: ClockChoice = ClockChoice::Deterministic { nanoseconds_per_instruction: 20_000 };

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

/// What was changed in a real switch, and what the rule has to say.
type Change = (fn(&mut TaskSwitch), &'static str);

#[test]
fn a_switch_that_is_changed_is_found() {
    let seen = classic().run();
    let findings =
        |switch: &TaskSwitch| Checker::new(&tests::host().backend).switch(switch).findings;
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
