//! A run that is put back goes on as it did the first time.

use esp0::probe::Choice;
use esp0::run::{Checkpoint, ClockChoice, Event, Run};
use std::time::Duration;
use tests::Experiment;

/// More events than any guest here has.
const ENDLESS: usize = 100_000;

/// All events up to the end.
fn rest(run: &mut Run) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..ENDLESS {
        let event = run.next_event().expect("KVM runs the guest");
        told.push(format!("{event:?}"));
        if matches!(event, Event::End(_)) {
            return told;
        }
    }
    panic!("no end after {ENDLESS} events")
}

/// Runs to the end with a checkpoint before every `every`th event, then goes back to each, in an order that
/// leaps to and fro, and on from there.
#[track_caller]
fn goes_on_alike(experiment: &Experiment, every: usize, at_most: usize) {
    let mut run = experiment.start();
    let mut checkpoints: Vec<(usize, Checkpoint)> = Vec::new();
    let mut told = Vec::new();
    loop {
        if told.len().is_multiple_of(every) {
            checkpoints.push((told.len(), run.checkpoint().expect("KVM gives its state")));
        }
        let event = run.next_event().expect("KVM runs the guest");
        told.push(format!("{event:?}"));
        if matches!(event, Event::End(_)) {
            break;
        }
    }
    let counters = run.counters();
    assert!(
        checkpoints.len() > 3,
        "only {} checkpoints in {} events",
        checkpoints.len(),
        told.len()
    );
    // A plain run has the same events: taking checkpoints changes nothing.
    let plain = rest(&mut experiment.start());
    let differs = plain.iter().zip(&told).position(|(one, two)| one != two);
    assert_eq!(
        differs,
        None,
        "with and without checkpoints: {:#?}",
        differs.map(|at| (&plain[at], &told[at]))
    );
    assert_eq!(plain.len(), told.len());
    let count = checkpoints.len();
    for turn in 0..count.min(at_most) {
        let (at, checkpoint) = &checkpoints[turn * 7919 % count];
        run.restore(checkpoint).expect("KVM takes its state");
        let again = rest(&mut run);
        let differs = again.iter().zip(&told[*at..]).position(|(one, two)| one != two);
        assert_eq!(
            differs.map(|n| (&again[n], &told[at + n])),
            None,
            "going on from event {at} of {} differs",
            told.len()
        );
        assert_eq!(again.len(), told.len() - at, "going on from event {at}");
        assert_eq!(run.counters(), counters, "going on from event {at}");
    }
}

/// All runs from one machine together.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn the_microkernel_goes_on_alike_from_anywhere() {
    let experiment = Experiment::with_programs(&["writer 2", "fault", "sleeper 3", "compute 8"]);
    for probes in [Choice::Auto, Choice::Breakpoint] {
        goes_on_alike(&experiment.clone().probes(probes).timeout(PATIENCE), 3, 5);
    }
}

#[test]
fn a_kernel_in_the_manner_of_linux_goes_on_alike_from_real_mode_on() {
    goes_on_alike(&Experiment::with_guest("classic").timeout(PATIENCE), 11, 3);
}

#[test]
fn a_kernel_without_no_ops_goes_on_alike() {
    for guest in ["broken", "broken-plain"] {
        goes_on_alike(&Experiment::with_guest(guest).timeout(PATIENCE), 5, 6);
    }
}

#[test]
fn exact_mode_goes_on_alike() {
    let clock = ClockChoice::Deterministic { nanoseconds_per_instruction: 200_000 };
    let experiment = Experiment::with_programs(&["compute 2"]).clock(clock).exact();
    goes_on_alike(&experiment.timeout(PATIENCE), 2, 4);
}

#[test]
fn memory_that_was_not_touched_is_shared() {
    let mut run = Experiment::with_programs(&["compute 40"]).start();
    let mut images = Vec::new();
    for _ in 0..20 {
        run.next_event().expect("KVM runs the guest");
        images.push(run.checkpoint().expect("KVM gives its state").machine().memory().clone());
    }
    let whole = images[19].pages();
    for pair in images.windows(2) {
        let beside = pair[1].pages_beside(&pair[0]);
        assert!(beside < 64 && beside < whole, "{beside} of {whole} pages are new");
    }
}
