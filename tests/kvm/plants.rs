//! A check can fail: kernels with one planted bug each, which one rule finds, with a sentence that
//! tells what it is. The clean twin of each has no finding.

use esp0::check::Subject;
use esp0::probe::Choice;
use esp0::run::{ClockChoice, Ending};
use tests::{Experiment, Seen};

/// A bug that can be planted in the guests `broken` and `broken-plain`.
pub(crate) struct Plant {
    /// Its name on their command line.
    name: &'static str,
    /// The one rule that finds it.
    pub(crate) rule: &'static str,
    /// What each finding's text has to contain, one piece a field: the sentence, what was expected,
    /// what was got.
    says: [&'static str; 3],
}

/// All plants: see guest/broken/src/plant.rs.
pub(crate) const PLANTS: [Plant; 13] = [
    Plant {
        name: "esp0_not_updated",
        rule: "suspended_stack",
        says: [
            "entered on the stack of suspended task",
            "SS:ESP 0010:",
            "overwrites EIP CS EFLAGS ESP SS of #",
        ],
    },
    Plant {
        name: "shared_stack",
        rule: "suspended_stack",
        says: [
            "entered on the stack of suspended task",
            "SS:ESP 0010:",
            "overwrites EIP CS EFLAGS ESP SS of #",
        ],
    },
    Plant {
        name: "esp0_off_by_four",
        rule: "empty_stack",
        says: [
            "entered on a kernel stack that is not empty",
            "the last return left the stack empty at",
            "ESP0",
        ],
    },
    Plant {
        name: "esp0_above_by_four",
        rule: "empty_stack",
        says: [
            "entered above the top of the kernel stack",
            "the last return left the stack empty at",
            "ESP0",
        ],
    },
    Plant {
        name: "esp0_boot_stack",
        rule: "empty_stack",
        says: [
            "entered on another kernel stack than the one",
            "the last return left the stack empty at",
            "ESP0",
        ],
    },
    Plant {
        name: "wrong_ss0",
        rule: "kernel_segment",
        says: [
            "entered with SS 0030, but the kernel left ring 0 with SS 0010",
            "SS 0010",
            "SS 0030",
        ],
    },
    Plant {
        name: "frame_eip",
        rule: "return_frame",
        says: ["the EIP that #", "EIP 0000", "EIP 00004000"],
    },
    Plant {
        name: "frame_cs",
        rule: "return_frame",
        says: ["the CS that #", "CS 0000001b", "CS 0000003b"],
    },
    Plant {
        name: "frame_eflags",
        rule: "return_frame",
        says: ["was overwritten before its IRET (IOPL=3 changed)", "EFLAGS 00", "EFLAGS 00"],
    },
    Plant {
        name: "frame_if",
        rule: "return_frame",
        says: ["was overwritten before its IRET (IF changed)", "EFLAGS 00", "EFLAGS 00"],
    },
    Plant {
        name: "frame_esp",
        rule: "return_frame",
        says: ["the ESP that #", "ESP 0000", "ESP 0000"],
    },
    Plant {
        name: "frame_ss",
        rule: "return_frame",
        says: ["the SS that #", "SS 00000023", "SS 00000043"],
    },
    Plant {
        name: "gate_16bit",
        rule: "gate_kind",
        says: [
            "the gate of vector 0x80 is a 16-bit interrupt gate",
            "words of four bytes",
            "words of two bytes",
        ],
    },
];

/// Built with no-ops for probes, and without.
const GUESTS: [&str; 2] = ["broken", "broken-plain"];

/// A tick each hundred instructions: these guests wait for ticks and for nothing else.
const QUICK: ClockChoice = ClockChoice::Deterministic { nanoseconds_per_instruction: 100_000 };

fn run(guest: &str, plant: &Plant, clock: ClockChoice, probes: Choice) -> Seen {
    Experiment::with_guest(guest)
        .command_line(&format!("plant={}", plant.name))
        .clock(clock)
        .probes(probes)
        .run()
}

/// The plant's rule found it, said what it is, and no other rule found anything.
#[track_caller]
fn assert_found(seen: &Seen, plant: &Plant, how: &str) {
    let wrong = |why: &str| -> ! {
        panic!(
            "{} on {how}: {why}\nexpected only {} saying {:?}\ngot\n{}",
            plant.name,
            plant.rule,
            plant.says,
            seen.report()
        )
    };
    if seen.findings().count() == 0 {
        wrong("nothing was found");
    }
    for finding in seen.findings() {
        let texts = [&finding.sentence, &finding.expected, &finding.got];
        if finding.rule != plant.rule {
            wrong("another rule found something");
        }
        if finding.subject != Subject::Kernel {
            wrong("the processor is blamed for it");
        }
        if !texts.iter().zip(plant.says).all(|(text, says)| text.contains(says)) {
            wrong("the finding says something else");
        }
        if finding.expected == finding.got || finding.reason.is_none() {
            wrong("the finding does not say why");
        }
    }
    // It is the rule that finds the bug: the guest itself notices nothing.
    if seen.end.ending != Ending::PoweredOff {
        wrong("the guest did not power off");
    }
}

#[test]
fn each_planted_bug_is_found_by_its_rule_and_by_no_other() {
    for plant in &PLANTS {
        assert_found(&run("broken", plant, QUICK, Choice::Auto), plant, "broken");
    }
}

#[test]
fn each_planted_bug_is_found_in_a_kernel_without_no_ops_for_probes() {
    for plant in &PLANTS {
        assert_found(&run("broken-plain", plant, QUICK, Choice::Auto), plant, "broken-plain");
    }
}

#[test]
fn planted_bugs_are_found_by_every_means_of_probing() {
    let some = ["esp0_not_updated", "esp0_off_by_four", "frame_esp", "gate_16bit"];
    for plant in PLANTS.iter().filter(|plant| some.contains(&plant.name)) {
        for guest in GUESTS {
            for probes in [Choice::Patch, Choice::Breakpoint] {
                let how = format!("{guest} with {probes:?}");
                assert_found(&run(guest, plant, QUICK, probes), plant, &how);
            }
        }
    }
}

#[test]
fn planted_bugs_are_found_in_real_time() {
    let some = ["esp0_not_updated", "shared_stack", "wrong_ss0"];
    for plant in PLANTS.iter().filter(|plant| some.contains(&plant.name)) {
        let seen = run("broken", plant, ClockChoice::Real, Choice::Auto);
        assert_found(&seen, plant, "broken in real time");
    }
}

/// A handler may bear to be interrupted by its own interrupt.
#[test]
fn a_trap_gate_for_an_interrupt_is_a_note() {
    for guest in GUESTS {
        let seen = Experiment::with_guest(guest).command_line("plant=gate_trap").clock(QUICK).run();
        seen.assert_clean();
        let notes = seen.events.iter().flat_map(|event| &event.judgement().notes);
        let told = notes.filter(|note| note.rule == "gate_kind").count();
        assert!(told > 0, "{guest}: nothing was told of the trap gate");
    }
}

/// IRET loads sixteen bits of the word: kernels that push a selector from memory leave anything above.
#[test]
fn the_upper_half_of_a_selector_is_nobodys_business() {
    for guest in GUESTS {
        Experiment::with_guest(guest)
            .command_line("plant=frame_cs_high")
            .clock(QUICK)
            .run()
            .assert_clean();
    }
}

#[test]
fn the_clean_twins_have_no_finding() {
    for guest in GUESTS {
        for probes in [Choice::Auto, Choice::Patch, Choice::Breakpoint] {
            let seen = Experiment::with_guest(guest).clock(QUICK).probes(probes).run();
            seen.assert_clean();
            assert!(seen.entries().count() > 20, "{guest} with {probes:?}: too few entries");
        }
        Experiment::with_guest(guest).real_time().run().assert_clean();
    }
}
