//! What several cases need.

use abi::task::{Counters, Report, TASKS};
use alloc::format;
use alloc::string::String;
use user::call;

/// Runs something in a child, which exits with what that gives.
pub(crate) fn child(what: impl FnOnce() -> i32) -> u32 {
    match call::fork() {
        Ok(Some(child)) => child,
        Ok(None) => call::exit(what()),
        Err(error) => {
            user::println!("  no child: {error:?}");
            call::exit(99)
        }
    }
}

/// How a child ended that does this.
pub(crate) fn report(what: impl FnOnce() -> i32) -> Report {
    call::wait(child(what)).unwrap_or_default()
}

/// What is left behind when as many tasks and frames as before should be in use; waits a little, for
/// orphans are reaped by others.
pub(crate) fn settle(before: Counters) -> String {
    let mut now = call::counters();
    for _ in 0..200 {
        if now.tasks <= before.tasks && now.frames <= before.frames {
            return String::new();
        }
        let _ = call::sleep(1);
        now = call::counters();
    }
    let Counters { tasks, frames, .. } = before;
    format!("tasks {tasks} before, {} now; frames {frames}, {}", now.tasks, now.frames)
}

/// What the kernel says of a task, by its identifier.
pub(crate) fn info(task: u32) -> Option<abi::task::Info> {
    (0..TASKS).find_map(|place| call::inspect(place).ok()?.filter(|info| info.task == task))
}

/// Waits until a task is in one of these states; gives up after a while.
pub(crate) fn until_state(task: u32, states: &[u8]) -> bool {
    (0..200).any(|_| {
        let is_there = info(task).is_some_and(|info| states.contains(&(info.state as u8)));
        if !is_there {
            let _ = call::sleep(1);
        }
        is_there
    })
}

/// Computes for a while.
pub(crate) fn spin(rounds: u32) -> u32 {
    let mut value = 1_u32;
    for _ in 0..rounds {
        value = core::hint::black_box(value.wrapping_mul(3));
    }
    value
}
