//! What README.md and docs/four-stacks.md show of a run is what the run prints.
//!
//! The rule: the excerpt is compared to the letter with the output of the command that its section names. `[…]`, and the end of
//! a block, stand for any lines that were cut out; without one, lines that follow each other there follow each other in the
//! output. Empty lines do not count. Of the authority's line QEMU's version is not compared, and nothing else is let off: an
//! address that changes with a guest's code is to be changed in the page as well.
//!
//! The pages show the portable host that `scripts/setup` makes. Another processor has other deviations and probes, so elsewhere
//! nothing is compared, and the test says so.

use esp0::host::Authority;
use std::fmt::Write as _;
use std::path::Path;
use tests::{esp0, host};

/// Stands for lines that were cut out.
const CUT: &str = "[…]";

/// The lines of the fenced blocks below a heading, each with its number in the page, a cut after each block.
fn excerpt<'a>(page: &'a str, heading: &str, command: &str) -> Vec<(usize, &'a str)> {
    let level = heading.split(' ').next().unwrap_or_default();
    let (mut inside, mut fenced, mut named) = (false, false, false);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        if !fenced && line.split(' ').next() == Some(level) {
            inside = line == heading;
        }
        if !inside {
            continue;
        }
        named |= line.contains(command);
        if line.starts_with("```") {
            fenced = !fenced;
            lines.push((number, CUT));
        } else if fenced && !line.starts_with("$ ") {
            lines.push((number, line));
        }
    }
    assert!(named, "the section {heading:?} does not name its command, {command}");
    assert!(lines.iter().any(|(_, line)| *line != CUT), "there is no excerpt below {heading:?}");
    lines
}

/// The line without what differs between two versions of QEMU.
fn comparable(line: &str) -> &str {
    let line = line.trim_end();
    match line.starts_with("authority ") {
        true => line.split(" on QEMU ").next().unwrap_or(line),
        false => line,
    }
}

/// The excerpt is what was printed; else the first line that is not, and what is there in its stead.
fn compare(excerpt: &[(usize, &str)], output: &str) -> Result<(), String> {
    let printed: Vec<&str> =
        output.lines().map(comparable).filter(|line| !line.is_empty()).collect();
    let (mut next, mut follows) = (0, false);
    for (number, line) in excerpt.iter().map(|(number, line)| (number, comparable(line))) {
        if line == CUT {
            follows = false;
        }
        if line == CUT || line.is_empty() {
            continue;
        }
        let rest = &printed[next..];
        let found = match follows {
            true => (rest.first() == Some(&line)).then_some(0),
            false => rest.iter().position(|candidate| *candidate == line),
        };
        let Some(found) = found else {
            let mut why = format!("line {number} is not what was printed\n  page     {line}\n");
            let start: String = line.chars().take(16).collect();
            for candidate in rest.iter().filter(|candidate| candidate.starts_with(&start)).take(3) {
                let _ = writeln!(why, "  printed  {candidate}");
            }
            if follows {
                let _ = writeln!(why, "  next     {}", rest.first().unwrap_or(&"nothing"));
            }
            return Err(why);
        };
        next += found + 1;
        follows = true;
    }
    Ok(())
}

/// Runs the command that a section names, and holds its excerpt against what is printed.
#[track_caller]
fn assert_true(page: &str, heading: &str, command: &str, status: i32) {
    let backend = &host().backend;
    let known = backend.to_string();
    if backend.authority != Authority::Tcg || !known.starts_with("kvm_amd on QEMU 10.") {
        println!("skipped: {page} shows kvm_amd on QEMU 10, and this is {known}");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path).expect("the page is there");
    let excerpt = excerpt(&text, heading, command);
    let arguments: Vec<&str> =
        command.split(" -- ").nth(1).unwrap_or("").split_whitespace().collect();
    let output = esp0(&arguments);
    output.assert_status(status);
    if let Err(why) = compare(&excerpt, &output.stdout) {
        panic!("{page}, {heading:?}: {why}");
    }
}

#[test]
fn what_the_readme_says_that_esp0_prints_is_what_it_prints() {
    assert_true("README.md", "## What it prints", "cargo run", 0);
}

#[test]
fn the_finding_in_the_readme_is_the_one_that_is_found() {
    let command = "cargo run -- --guest broken --cmdline plant=esp0_not_updated";
    assert_true("README.md", "## A finding", command, 1);
}

#[test]
fn the_story_of_the_four_stacks_is_what_classic_shows() {
    let command = "cargo run -- run --guest classic -vv";
    assert_true("README.md", "## The story of the four stacks", command, 0);
    assert_true("docs/four-stacks.md", "# The story of the four stacks", command, 0);
}

#[test]
fn an_excerpt_that_is_not_true_is_refused() {
    const PAGE: &str = "## A\n```\na 1\n[…]\nc 3\nd 4\n```\n## B\n`cargo run`\n```text\na 1\n```\n";
    let of = |text: &'static str| excerpt(text, "## B", "cargo run");
    assert_eq!(of(PAGE).iter().filter(|(_, line)| *line != CUT).count(), 1);
    let lines = |page: &'static str| page.lines().map(|line| (1, line)).collect::<Vec<_>>();
    let printed = "a 1\nb 2\n\nc 3\nd 4\nauthority    tcg: kvm_amd on QEMU 10.2 (x)\n";
    for right in ["a 1\n[…]\nc 3\nd 4", "b 2\nc 3", "authority    tcg: kvm_amd on QEMU 10.0 (y)"]
    {
        assert_eq!(compare(&lines(right), printed), Ok(()), "{right:?}");
    }
    for wrong in
        ["a 2", "a 1\nc 3", "c 3\n[…]\na 1", "d 4\nd 4", "authority    tcg: kvm_intel on QEMU 10.2"]
    {
        assert!(compare(&lines(wrong), printed).is_err(), "{wrong:?}");
    }
}
