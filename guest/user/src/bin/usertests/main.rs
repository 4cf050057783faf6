//! `usertests [NAME…]` tries what the kernel promises, from ring 3: all cases, or those whose name
//! contains one of the words.
//!
//! Each case is a function that runs in a child of its own, so that one which faults fails alone, and
//! none leaves anything behind: tasks and page frames are counted before and after. It prints
//! `ok name` or `FAILED name`, and at the end `usertests: N passed` (or `…, M failed`, which is the
//! exit status).

#![no_std]
#![no_main]

extern crate alloc;

/// Ends the case as failed, and says what was not so.
macro_rules! check {
    ($condition:expr $(, $($text:tt)+)?) => {
        if !$condition {
            user::println!("  {}:{}: not so: {}", file!(), line!(), stringify!($condition));
            $(user::println!("  {}", format_args!($($text)+));)?
            return false;
        }
    };
}

mod device;
mod exec;
mod fpu;
mod life;
mod memory;
mod message;
mod pointer;
mod preempt;
mod tools;

use abi::task::{EXITED, Report};
use user::call;

user::program!(main);

/// A name, and what has to give true.
pub(crate) type Case = (&'static str, fn() -> bool);

const GROUPS: [&[Case]; 8] = [
    life::CASES,
    memory::CASES,
    pointer::CASES,
    exec::CASES,
    preempt::CASES,
    message::CASES,
    fpu::CASES,
    device::CASES,
];

fn main(arguments: user::Arguments) -> i32 {
    if arguments.get(1) == Some("--child") {
        return exec::child(arguments);
    }
    let wanted = |name: &str| {
        arguments.count() < 2
            || (1..arguments.count()).filter_map(|n| arguments.get(n)).any(|n| name.contains(n))
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in GROUPS.iter().copied().flatten().filter(|(name, _)| wanted(name)) {
        if run(*case) {
            passed += 1;
            user::println!("ok {name}");
        } else {
            failed += 1;
            user::println!("FAILED {name}");
        }
    }
    match failed {
        0 => user::println!("usertests: {passed} passed"),
        _ => user::println!("usertests: {passed} passed, {failed} failed"),
    }
    failed
}

/// Runs a case in a child, and looks whether it left something behind.
fn run(case: fn() -> bool) -> bool {
    // The first fork makes this program's pages shared; what that costs is not the case's fault.
    let before = call::counters();
    let child = match call::fork() {
        Ok(Some(child)) => child,
        Ok(None) => call::exit(i32::from(!case())),
        Err(error) => {
            user::println!("  no child for it: {error:?}");
            return false;
        }
    };
    let report = match call::wait(child) {
        Ok(report) => report,
        Err(error) => {
            user::println!("  lost it: {error:?}");
            return false;
        }
    };
    if report.how != EXITED {
        let Report { how, vector, error, eip, address, .. } = report;
        user::println!(
            "  ended by {how}: vector {vector} error {error:x} eip {eip:x} at {address:x}"
        );
    }
    let left = tools::settle(before);
    if !left.is_empty() {
        user::println!("  left behind: {left}");
    }
    report.how == EXITED && report.status == 0 && left.is_empty()
}
