//! A kernel that uses the 386 the way Linux 0.12 did, in 1992: segments, an LDT and a TSS for each
//! task, switches by hardware, and one page for a task with its kernel stack.
//!
//! It tells the story of four stacks, and is meant to be read in that order:
//!
//! | stack | where | file |
//! | --- | --- | --- |
//! | the boot stack, 9000:FF00 | real mode | `boot` |
//! | the initial stack, 0010:`user_stack` | ring 0, until there are tasks | `boot`, [`main`] |
//! | each task's kernel stack, from ESP0 down | ring 0 | `task`, `frame`, `trap`, `schedule`, `life` |
//! | each task's user stack | ring 3; task 0's is the initial stack | `init`, `memory`, `user`, `exec` |
//!
//! `segments` has the tables of the 386, `call` what a program can ask for. The programs, and the
//! library that they and [`init`] use, are in `classic-user`.
//!
//! One processor. Kernel code runs with interrupts closed, but for two places that say so.

#![no_std]
#![no_main]

mod boot;
mod call;
mod exec;
mod frame;
mod init;
mod life;
mod memory;
mod schedule;
mod segments;
mod task;
mod trap;
mod user;

use arch::multiboot::Info;
use arch::{pic, pit, println};
use core::panic::PanicInfo;

/// The kernel on its initial stack. It ends as task 0 on the same stack, in ring 3.
fn main(info: Info) -> ! {
    memory::start(info);
    segments::start();
    trap::start();
    task::start();
    exec::start(info);
    let hz = pit::rate(info.option("hz"), 100);
    println!("classic: {} free pages, timer {hz} Hz", memory::free_pages());
    pic::start();
    pit::start(hz);
    // SAFETY: all is set up, and nothing on this stack is needed by the kernel from now on.
    unsafe { init::move_to_user_mode() }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    arch::cpu::close_interrupts();
    match info.location() {
        Some(place) => {
            println!("classic: panic at {}:{}: {}", place.file(), place.line(), info.message())
        }
        None => println!("classic: panic: {}", info.message()),
    }
    arch::power::off(abi::port::EXIT_PANIC)
}
