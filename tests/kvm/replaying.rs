//! The clock of exits: a run repeats to the byte at full speed, by itself or from a recording.

use esp0::run::{ClockChoice, Event};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::{Experiment, Output, compiled, esp0};

/// A machine that stands still for a moment preempts a guest that hardly computes: so often it is tried again.
const ATTEMPTS: usize = 4;

/// What a run printed and traced.
fn run(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let trace = folder.join("trace.jsonl");
    let trace_too = ["--trace", trace.to_str().expect("text")];
    let output = esp0(&[&["run"][..], arguments, &trace_too].concat());
    (output, fs::read_to_string(&trace).expect("there is a trace"))
}

fn kernel(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = folder.join(format!("{name}.elf"));
    fs::write(&path, compiled(name)?).expect("the kernel can be written");
    Some(path)
}

#[test]
fn two_runs_by_exits_are_the_same_where_nobody_computes_for_long() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for guest in [&["--guest", "micro"][..], &["--guest", "classic"], &["--guest", "broken-plain"]]
    {
        let arguments = [guest, &["--clock", "exits"]].concat();
        let mut last = None;
        for attempt in 0.. {
            let one = run(folder.path(), &arguments);
            let two = run(folder.path(), &arguments);
            one.0.assert_status(0);
            last = Some((one, two));
            let [one, two] = last.as_ref().map(|(one, two)| [&one.0, &two.0]).expect("just run");
            if ![one, two].iter().any(|output| output.stdout.contains("repeats      no")) {
                break;
            }
            println!("{guest:?} was preempted while it computed");
            if attempt == ATTEMPTS {
                println!("skipped: this machine is too busy to run {guest:?} without that");
                return;
            }
        }
        let ((one, trace), (two, other)) = last.expect("it was run");
        assert!(trace.lines().count() > 20 && trace.contains("\"clock\":\"exits\""), "{trace}");
        assert_eq!(one.stdout, two.stdout, "what is printed of {guest:?}");
        assert_eq!(trace, other, "the traces of {guest:?}");
    }
}

#[test]
fn a_guest_that_computes_is_the_same_again_from_its_recording() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let recording = folder.path().join("recording");
    let recording = recording.to_str().expect("text");
    for name in ["TASKS_COMPUTE", "KERNEL_SPINS"] {
        let Some(path) = kernel(folder.path(), name) else { return };
        let path = path.to_str().expect("text");
        let (plain, _) = run(folder.path(), &[path, "--clock", "exits"]);
        plain.assert_status(0);
        assert!(plain.stdout.contains("repeats      no: preempted"), "{}", plain.stdout);
        let (output, trace) = run(folder.path(), &[path, "--record", recording]);
        output.assert_status(0);
        assert!(
            trace.contains("external") && !output.stdout.contains("repeats"),
            "{}",
            output.stdout
        );
        for _ in 0..2 {
            let (again, other) = run(folder.path(), &[path, "--replay", recording]);
            again.assert_status(0);
            assert_eq!(output.stdout, again.stdout, "what is printed of {name}");
            assert_eq!(trace, other, "the trace of {name}");
        }
        let size = fs::metadata(recording).expect("it is there").len();
        assert!(size < 64 << 10, "{size} bytes");
    }
}

#[test]
fn a_run_that_was_cut_off_while_it_computed_ends_there_again() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let recording = folder.path().join("recording");
    let recording = recording.to_str().expect("text");
    let Some(path) = kernel(folder.path(), "NEVER_ENDS") else { return };
    let path = path.to_str().expect("text");
    let (output, trace) = run(folder.path(), &[path, "--record", recording, "--timeout", "3"]);
    output.assert_status(4);
    let (again, other) = run(folder.path(), &[path, "--replay", recording]);
    again.assert_status(4);
    assert!(again.stdout.contains("time-out"), "{}", again.stdout);
    assert_eq!(output.stdout, again.stdout);
    assert_eq!(trace, other);
}

#[test]
fn a_recording_of_something_else_is_refused_and_one_that_is_not_whole() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let recording = folder.path().join("recording");
    let name = recording.to_str().expect("text");
    let Some(path) = kernel(folder.path(), "TASKS_COMPUTE") else { return };
    let path = path.to_str().expect("text");
    esp0(&["run", path, "--record", name]).assert_status(0);
    let refused = |arguments: &[&str], why: &str| {
        let output = esp0(&[&["run"][..], arguments].concat());
        output.assert_status(2);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{why}: {}", output.stderr);
        assert!(!output.stdout.contains("verdict"), "{}", output.stdout);
    };
    let mut altered = fs::read(path).expect("it is there");
    *altered.last_mut().expect("it has bytes") ^= 1;
    let other = folder.path().join("altered.elf");
    fs::write(&other, altered).expect("it can be written");
    let other = other.to_str().expect("text");
    refused(&[other, "--replay", name], "is of another run: the kernel was");
    refused(&[path, "--replay", name, "--cmdline", "x"], "the command line was none, and is x");
    refused(&[path, "--replay", name, "--mem", "32"], "the memory was 16 MiB, and is 32 MiB");
    refused(&[path, "--replay", name, "--clock", "real"], "need the clock of exits");
    refused(&[path, "--replay", path], "it is no recording of esp0");
    let bytes = fs::read(&recording).expect("it is there");
    fs::write(&recording, &bytes[..bytes.len() / 2]).expect("it can be written");
    refused(&[path, "--replay", name], "it is truncated");
}

#[test]
fn a_replay_that_leaves_the_recording_says_so() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let recording = folder.path().join("recording");
    let recording = recording.to_str().expect("text");
    let Some(path) = kernel(folder.path(), "READS_TSC") else { return };
    let path = path.to_str().expect("text");
    let output = esp0(&["run", path, "--record", recording]);
    assert!(output.stdout.contains("powered off"), "{}", output.stdout);
    let output = esp0(&["run", path, "--replay", recording]);
    output.assert_status(2);
    assert!(output.stderr.contains("has left its recording"), "{}", output.stderr);
    assert!(!output.stdout.contains("verdict"), "{}", output.stdout);
}

#[test]
fn a_guest_without_a_timer_is_not_preempted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let Some(path) = kernel(folder.path(), "NO_TIMER") else { return };
    let path = path.to_str().expect("text");
    let output = esp0(&["run", path, "--clock", "exits"]);
    // It is never entered either.
    output.assert_status(4);
    assert!(output.stdout.contains("powered off"), "{}", output.stdout);
    assert!(!output.stdout.contains("repeats"), "{}", output.stdout);
}

/// `cargo test -p tests --test kvm by_exits_costs -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn a_run_by_exits_costs_so_much_beside_one_on_the_real_clock() {
    const TIMES: usize = 12;
    let boots = compiled("BOOTS");
    let computes = compiled("TASKS_COMPUTE");
    let mut guests = vec![("the default workload", Experiment::with_guest("micro"))];
    guests.extend(boots.map(|kernel| ("a boot of ten million", Experiment::with_kernel(kernel))));
    guests
        .extend(computes.map(|kernel| ("two tasks that compute", Experiment::with_kernel(kernel))));
    for (name, guest) in guests {
        // One after the other, so that what else the machine does falls on all alike.
        let mut spent = [const { Vec::new() }; 3];
        let mut preempted = 0;
        for _ in 0..TIMES {
            for (kind, spent) in spent.iter_mut().enumerate() {
                let clock = if kind == 0 { ClockChoice::Real } else { ClockChoice::EXITS };
                let mut run = guest.clone().clock(clock).start();
                if kind == 2 {
                    run = run.recorded(1 << 30);
                }
                let begun = on_processor();
                while !matches!(run.next_event().expect("KVM runs the guest"), Event::End(_)) {}
                spent.push(on_processor() - begun);
                preempted = run.preemptions();
            }
        }
        let [real, exits, recorded] = spent.map(|mut times| {
            times.sort();
            times[TIMES / 2].as_secs_f64() * 1e3
        });
        println!(
            "{name}: real {real:.1} ms, exits {exits:.1} ms ({:.2}), recorded {recorded:.1} ms ({:.2}), {preempted} preemptions",
            exits / real,
            recorded / real
        );
    }
}

/// The time that this thread has had a processor, guest and all.
fn on_processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.expect("a number of nanoseconds"))
}
