//! Several machines in one process: each has its own alarm and its own end.

use esp0::run::{Ending, Event, Run};
use std::time::Duration;
use tests::Experiment;

fn events(run: &mut Run) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = run.next_event().expect("KVM runs the guest");
        told.push(format!("{event:?}"));
        if matches!(event, Event::End(_)) {
            return told;
        }
    }
}

fn experiment() -> Experiment {
    Experiment::with_programs(&["writer 1", "sleeper 2"])
}

#[test]
fn two_machines_that_take_turns_on_one_thread_do_not_disturb_each_other() {
    let alone = events(&mut experiment().start());
    let mut runs = [experiment().start(), experiment().start()];
    let mut told = [Vec::new(), Vec::new()];
    // The second has a start of seven events.
    for turn in 0.. {
        let index = usize::from(turn % 2 == 0 || turn < 14);
        if told.iter().all(|told: &Vec<String>| told.len() == alone.len()) {
            break;
        }
        if told[index].len() < alone.len() {
            let event = runs[index].next_event().expect("KVM runs the guest");
            told[index].push(format!("{event:?}"));
        }
    }
    assert!(told[0] == alone && told[1] == alone, "the runs differ");
}

#[test]
fn two_machines_on_two_threads_do_not_disturb_each_other() {
    let alone = events(&mut experiment().start());
    let both = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| events(&mut experiment().start())));
        threads.map(|thread| thread.join().expect("it runs"))
    });
    assert!(both[0] == alone && both[1] == alone, "the runs differ");
}

#[test]
fn one_run_is_ended_and_times_out_without_the_other() {
    // In real time, so that each needs its own alarm.
    let endless = || Experiment::with_programs(&["sleeper 1000000"]).real_time();
    let mut stopped = endless().start();
    let mut timed = endless().timeout(Duration::from_secs(3)).start();
    let stop = stopped.stop_request().clone();
    for _ in 0..5 {
        stopped.next_event().expect("KVM runs the guest");
        timed.next_event().expect("KVM runs the guest");
    }
    stop.request();
    let ending = |run: &mut Run| loop {
        if let Event::End(end) = run.next_event().expect("KVM runs the guest") {
            return end.ending;
        }
    };
    assert_eq!(ending(&mut stopped), Ending::Stopped);
    assert_eq!(ending(&mut timed), Ending::TimedOut);
    // One whose machine was dropped leaves the other its alarm.
    let mut last = endless().timeout(Duration::from_secs(2)).start();
    drop(endless().start());
    assert_eq!(ending(&mut last), Ending::TimedOut);
}
