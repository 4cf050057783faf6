//! The idle task: what runs when nobody is ready.
//!
//! It waits for interrupts, the only code in ring 0 that runs with them open. Before it waits it
//! does what ended tasks cannot do for themselves: it gives back their kernel stacks, on which they
//! stood until the last switch. When the last one is gone it powers the machine off.

use super::{Task, table};
use arch::{cpu, power, println};

/// Leaves the boot stack for ever, and goes on as the idle task.
pub(crate) fn become_idle() -> ! {
    let idle = Task::create_idle(body).expect("no memory for the idle task");
    table::add(idle);
    idle.be_the_first()
}

extern "C" fn body() -> ! {
    loop {
        table::clear_away_ended();
        if table::is_empty() {
            println!("micro: all tasks have ended");
            power::off(abi::port::EXIT_OK);
        }
        if table::anyone_ready() {
            table::switch();
        } else {
            // SAFETY: the interrupt table is loaded, and nothing is borrowed here.
            unsafe { cpu::wait_for_interrupt() };
        }
    }
}
