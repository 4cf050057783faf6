//! The idle task: what runs when nobody is ready.
//!
//! It waits for interrupts. It is also the parent of the boot modules: it frees what is left of each
//! that has ended, and when the last task is gone, or init, powers the machine off.

use super::record::Task;
use super::{life, scheduler, switch, table};
use arch::{cpu, power, println};

/// Makes the idle task, whose children the boot modules will be.
pub(crate) fn create() -> &'static Task {
    let idle = Task::create_idle(body).expect("no memory for the idle task");
    table::add(idle);
    idle
}

/// Leaves the boot stack for ever, and goes on as the idle task.
pub(crate) fn become_idle(idle: &'static Task) -> ! {
    switch::leave_boot_stack(idle)
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
