//! A microkernel: tasks in ring 3, messages between them, and the ways in and out of ring 0.
//!
//! It is meant to be read from here, in an afternoon, in this order:
//!
//! | file | what it tells |
//! | --- | --- |
//! | `boot` | from the loader to this file: paging on, a stack, [`start`] |
//! | `memory/` | page frames, the kernel's own pages, address spaces, memory that a program claims to own |
//! | `segments`, `ports` | the GDT and the TSS, whose ESP0 is the kernel stack of the task that runs; the ports that it may use |
//! | `trap/` | the 256 ways into ring 0, the words on the stack, and the one way out |
//! | `interrupts` | where the kernel can be pre-empted |
//! | `task/` | a task and its kernel stack in one block, the switch from stack to stack, who is next, how tasks live and end, messages |
//! | `clock` | ticks and moments |
//! | `call/` | what a program can ask for |
//! | `sysenter` | the way in that pushes nothing |
//! | `device` | ports and interrupts for drivers in ring 3 |
//! | `modules`, `program`, `elf` | how a file becomes a program |
//!
//! One processor. Kernel code runs with interrupts closed but where it takes long; there it holds
//! nothing that another task could miss. So state that is shared needs cells, but no locks.

#![no_std]
#![no_main]

mod boot;
mod call;
mod clock;
mod device;
mod elf;
mod interrupts;
mod memory;
mod modules;
mod options;
mod panic;
mod ports;
mod program;
mod segments;
mod sysenter;
mod task;
mod trap;

use arch::multiboot::Info;
use arch::{pic, pit, println};
use task::{fpu, idle};

/// The kernel, once [`boot`] has given it memory as it wants it and a stack.
fn start(info: Info) -> ! {
    memory::start(info);
    let (double_fault, stack) = trap::double_fault::start();
    segments::start(double_fault, stack);
    trap::start();

    let hz = pit::rate(info.option("hz"), clock::HZ);
    let (memory, programs) =
        (memory::total().next_multiple_of(1 << 20) >> 20, info.modules().count());
    println!("micro: memory {memory} MiB, timer {hz} Hz, programs {programs}");
    options::start(info);
    if !fpu::start() {
        println!("micro: the processor has no FXSAVE: programs have no FPU");
    }
    let idle = idle::create();
    modules::start(info, idle);

    pic::start();
    pit::start(hz);
    interrupts::start();
    idle::become_idle(idle)
}
