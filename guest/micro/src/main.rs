//! A microkernel, first floor: tasks in ring 3, and the ways in and out of ring 0.
//!
//! It is meant to be read from here, in an afternoon, in this order:
//!
//! | file | what it tells |
//! | --- | --- |
//! | `boot` | from the loader to this file: paging on, a stack, [`start`] |
//! | `memory/` | page frames, the kernel's own pages, address spaces, memory that a program claims to own |
//! | `segments` | the GDT and the one TSS, whose ESP0 is the kernel stack of the task that runs |
//! | `trap/` | the 256 ways into ring 0, the words on the stack, and the one way out |
//! | `task/` | a task and its kernel stack in one block, the switch from stack to stack, who is next |
//! | `clock` | the tick that takes the processor away from a task |
//! | `call` | what a program can ask for |
//! | `program`, `elf` | how a Multiboot module becomes a task |
//!
//! One processor. Kernel code runs with interrupts closed; the only place where they are open in
//! ring 0 is the idle task while it waits. So a task in the kernel is never pre-empted, and state
//! that is shared needs cells, but no locks.

#![no_std]
#![no_main]

mod boot;
mod call;
mod clock;
mod elf;
mod memory;
mod panic;
mod program;
mod segments;
mod task;
mod trap;

use arch::multiboot::Info;
use arch::{pic, pit, println};

/// The kernel, once [`boot`] has given it memory as it wants it and a stack.
fn start(info: Info) -> ! {
    memory::start(info);
    segments::start();
    trap::start();

    let hz = pit::rate(info.option("hz"), clock::HZ);
    let (memory, programs) =
        (memory::total().next_multiple_of(1 << 20) >> 20, info.modules().count());
    println!("micro: memory {memory} MiB, timer {hz} Hz, programs {programs}");
    for module in info.modules() {
        program::start(module);
    }

    pic::start();
    pit::start(hz);
    task::idle::become_idle()
}
