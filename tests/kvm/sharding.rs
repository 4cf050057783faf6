//! `esp0 conform` in parts: as docs/sharding.md has it, killed, and put together.

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::binary::{esp0_with, started};
use tests::{Output, esp0};

fn text(path: &Path) -> &str {
    path.to_str().expect("the name is text")
}

/// What a run printed of its cases, without its time.
fn counts(output: &Output) -> Vec<&str> {
    let lines = output.stdout.lines().skip_while(|line| !line.contains(" cases compared"));
    lines.map(|line| line.split(" compared").next().unwrap_or(line)).collect()
}

#[test]
fn an_array_of_slurms_adds_up_to_the_whole_run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let whole = esp0(&["conform", "--cases", "600", "--seed", "11"]);
    whole.assert_status(0);
    let files: Vec<_> = (1..=3).map(|id| folder.path().join(format!("{id}.results"))).collect();
    for (id, file) in ["1", "2", "3"].into_iter().zip(&files) {
        let array = [
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ];
        let arguments = ["conform", "--cases", "600", "--seed", "11", "--shard", "auto"];
        let arguments = [&arguments[..], &["--results", text(file)]].concat();
        let output = esp0_with(&array, &arguments);
        output.assert_status(0);
        assert!(
            output.stdout.contains(&format!("shard {id} of 3: 200 cases")),
            "{}",
            output.stdout
        );
    }
    let names: Vec<&str> = files.iter().map(|file| text(file)).collect();
    let merged = esp0(&[&["conform", "merge"][..], &names].concat());
    merged.assert_status(0);
    assert_eq!(counts(&merged), counts(&whole));
    let short = esp0(&[&["conform", "merge"][..], &names[..2]].concat());
    short.assert_status(2);
    assert!(short.stderr.contains("of 3 shards there are no results of 3"), "{}", short.stderr);
}

#[test]
fn what_was_killed_goes_on_where_it_was_and_comes_to_the_same() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("results");
    let arguments = ["conform", "--cases", "1200", "--seed", "3", "--results", text(&file)];
    let whole = esp0(&arguments[..5]);
    whole.assert_status(0);
    let mut first = started(&arguments);
    // One chunk is there, and more are to come.
    let chunks = || fs::read_to_string(&file).unwrap_or_default().matches("{\"chunk\"").count();
    while chunks() == 0 && first.try_wait().expect("it is ours").is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let busy = esp0(&arguments);
    first.kill().expect("it can be ended");
    first.wait().expect("it has ended");
    let left = chunks();
    if fs::read_to_string(&file).expect("it is there").contains("{\"end\"") {
        println!("skipped: it was over before it could be killed");
        return;
    }
    busy.assert_status(2);
    assert!(busy.stderr.contains("another run is writing it"), "{}", busy.stderr);
    // A line that was cut off in the middle.
    let mut bytes = fs::read(&file).expect("it is there");
    bytes.extend(b"{\"chunk\":[3,{\"comp");
    fs::write(&file, bytes).expect("it can be written");

    let merged = esp0(&["conform", "merge", text(&file)]);
    merged.assert_status(2);
    assert!(merged.stderr.contains("cut off after"), "{}", merged.stderr);
    let again = esp0(&arguments);
    again.assert_status(0);
    assert!(
        again.stdout.contains(&format!("goes on after {} cases", left * 256)),
        "{}",
        again.stdout
    );
    assert_eq!(counts(&again), counts(&whole));
    let over = esp0(&arguments);
    over.assert_status(0);
    assert!(over.stdout.contains("all of them were run before"), "{}", over.stdout);
    let other =
        esp0(&[&["conform", "--cases", "1200", "--seed", "4"][..], &arguments[5..]].concat());
    other.assert_status(2);
    assert!(other.stderr.contains("the seed is 3 here and 4 there"), "{}", other.stderr);
}

#[test]
fn what_runs_without_the_sandbox_says_so() {
    let off = "sandbox off, as asked for (--no-sandbox)";
    for arguments in [&["doctor"][..], &["conform", "--cases", "64"], &["claims", "H1"]] {
        let boxed = esp0(arguments);
        boxed.assert_status(0);
        assert!(!boxed.stdout.contains("sandbox"), "{arguments:?}: {}", boxed.stdout);
        let free = esp0(&[arguments, &["--no-sandbox"]].concat());
        free.assert_status(0);
        assert!(free.stdout.contains(off), "{arguments:?}: {}", free.stdout);
    }
}

/// Threads in such numbers also have the C library look at the system, which the sandbox has to expect.
#[test]
fn runs_with_many_machines_at_once_are_right_or_say_what_they_lack() {
    let arguments = ["conform", "--cases", "600", "--seed", "11", "--jobs", "64"];
    let runs: Vec<_> = (0..2).map(|_| started(&arguments)).collect();
    for run in runs {
        let output = run.wait_with_output().expect("its output can be read");
        let told = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert_eq!(told, ""),
            Some(2) => assert!(told.contains("of --jobs 64 not all got what they need"), "{told}"),
            other => panic!("{other:?}: {told}"),
        }
    }
}
