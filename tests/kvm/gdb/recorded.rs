//! gdb with a run that was recorded, or is to be.

use super::*;

/// A run that was recorded is gone through both ways, and ends as it did.
#[test]
fn a_recorded_run_is_debugged() {
    let Some(kernel) = Kernel::of(case("stack_overflow")) else { return };
    let path = kernel.path.display().to_string();
    let recording = kernel.path.with_extension("recording").display().to_string();
    let recorded = esp0(&["run", &path, "--record", &recording]);
    let verdict = |out: &str| out.lines().last().unwrap_or_default().to_owned();
    let ended = verdict(&recorded.stdout);
    assert!(ended.starts_with("verdict: findings"), "{ended}");
    let debugged = Debugged::start(&[&path, "--replay", &recording]);
    let commands = "monitor stop-on finding\ncontinue\nset $found = $eip\nreverse-stepi\nmonitor status\n\
        stepi\nprint $eip == $found\ngoto #1\nmonitor status\ngoto start\ndetach\n";
    let Some(text) = debugged.gdb(&kernel.path, commands) else { return debugged.kill() };
    follow(&text, &["$1 = 1"]);
    follow(
        &text,
        &["in the past", "one instruction was taken back", "after entry #1, in the past"],
    );
    let (status, out, errors) = debugged.end();
    assert_eq!((status, verdict(&out)), (Some(1), ended), "{out}{errors}");
}

/// What was gone forwards under gdb is recorded, however often somebody went back.
#[test]
fn a_run_under_gdb_is_recorded() {
    let Some(kernel) = Kernel::of(case("esp0_stale")) else { return };
    let path = kernel.path.display().to_string();
    let recording = kernel.path.with_extension("recording").display().to_string();
    let run = |commands: &str| {
        let debugged = Debugged::start(&[&path, "--record", &recording]);
        let text = debugged.gdb(&kernel.path, commands);
        text.map(|text| (text, debugged.end()))
    };
    let told = |out: &str| {
        let all = out.lines().filter(|line| line.starts_with('#') || line.starts_with("verdict"));
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let commands = "watch current\ncontinue\ncontinue\ncontinue\nreverse-continue\nreverse-stepi\nreverse-stepi\n\
        continue\ncontinue\ndelete\ngoto #1\n";
    let Some((text, (status, out, errors))) = run(&format!("{commands}detach\n")) else { return };
    follow(&text, &["Hardware watchpoint 1: current", "New value = 1", "New value = 0"]);
    assert_eq!(status, Some(1), "{out}{errors}");
    let again = esp0(&["run", "-q", &path, "--replay", &recording]);
    assert_eq!(told(&again.stdout), told(&out), "{}", again.stderr);
    assert!(told(&out).len() > 1, "{out}");
    // Where gdb ended it the other run ends too.
    let Some((_, (_, out, errors))) = run(&format!("{commands}kill\n")) else { return };
    let again = esp0(&["run", "-q", &path, "--replay", &recording]);
    let findings = |out: &str| {
        let mut told = told(out);
        told.retain(|line| line.starts_with('#'));
        told
    };
    assert_eq!(findings(&again.stdout), findings(&out), "{errors}{}", again.stderr);
    assert!(!again.stderr.contains("has left"), "{}", again.stderr);
    // What gdb stored is in no recording.
    let Some((_, (_, _, errors))) = run("stepi\nset var $ebx = 7\ndetach\n") else { return };
    assert!(errors.contains("is not written: the guest was changed in gdb"), "{errors}");
}
