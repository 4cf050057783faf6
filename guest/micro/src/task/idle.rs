//! The idle task: what runs when nobody is ready.
//!
//! It waits for interrupts. It is also the parent of the boot modules: it says how each of them
//! ended, frees what is left of it, and when the last task is gone, or init, powers the machine off.

use super::record::Task;
use super::{life, scheduler, table};
use crate::trap::reason::Reason;
use abi::task::{EXITED, FAULTED, Report};
use arch::{cpu, power, println};

/// Makes the idle task, whose children the boot modules will be.
pub(crate) fn create() -> &'static Task {
    Task::create_idle(body).expect("no memory for the idle task")
}

/// Leaves the boot stack for ever, and goes on as the idle task.
pub(crate) fn become_idle(idle: &'static Task) -> ! {
    idle.be_the_first()
}

extern "C" fn body() -> ! {
    loop {
        life::reap_for_idle();
        if life::has_lost_init() {
            println!("micro: init has ended");
            power::off(abi::port::EXIT_PANIC);
        }
        if table::all().next().is_none() {
            println!("micro: all tasks have ended");
            power::off(abi::port::EXIT_OK);
        }
        if scheduler::is_anyone_ready() {
            scheduler::give_way(false);
        } else {
            // SAFETY: the interrupt table is loaded, and nothing is borrowed here.
            unsafe { cpu::wait_for_interrupt() };
        }
    }
}

/// Says how a task ended that has no other parent.
pub(super) fn tell(task: &Task, report: &Report) {
    match report.how {
        EXITED => println!("micro: task {task} exit {}", report.status),
        FAULTED => println!("micro: task {task} {}", Reason(report)),
        _ => println!("micro: task {task} killed"),
    }
}
