//! Long runs of the microkernel with its servers: what its tests say, and that nothing is left behind.

use tests::{Experiment, Seen};

/// `init` with the servers and what the programs below start.
fn with_servers(command: &str) -> Experiment {
    Experiment::with_programs(&[
        &format!("init {command}"),
        "names",
        "console",
        "files",
        "usertests",
        "stress",
        "compute",
        "writer",
        "sleeper",
        "fault",
    ])
}

fn assert_says(seen: &Seen, line: &str) {
    assert!(seen.text().contains(line), "expected {line:?} on the console\n{}", seen.text());
}

#[test]
fn what_the_kernel_promises_holds_and_each_entry_of_it_is_right() {
    let seen = with_servers("usertests").real_time().run();
    seen.assert_clean();
    assert_says(&seen, "usertests: 86 passed");
    assert!(seen.entries().count() > 5000, "only {} entries", seen.entries().count());
}

/// Runs the random system calls of `stress` twice: each run is clean, leaves nothing behind, and is the other.
fn leaves_nothing_behind_and_repeats(calls: u32, entries: usize) {
    let run = || with_servers(&format!("stress 7 {calls}")).run();
    let (one, two) = (run(), run());
    for seen in [&one, &two] {
        seen.assert_clean();
        assert_says(seen, "stress: nothing is left behind");
    }
    assert!(one.entries().count() > entries, "only {} entries", one.entries().count());
    let differs = one
        .events
        .iter()
        .zip(&two.events)
        .find(|(one, two)| format!("{one:?}") != format!("{two:?}"));
    assert!(differs.is_none(), "the first event that differs: {differs:#?}");
    assert_eq!((one.events.len(), one.text()), (two.events.len(), two.text()));
}

#[test]
fn a_run_leaves_nothing_behind_and_repeats() {
    leaves_nothing_behind_and_repeats(12, 100);
}

/// All that `scripts/soak` runs.
mod soak {
    #[test]
    #[ignore = "takes minutes: scripts/soak"]
    fn a_long_run_leaves_nothing_behind_and_repeats() {
        super::leaves_nothing_behind_and_repeats(60, 500);
    }
}
