//! A kernel that breaks a rule when told to.
//!
//! A checker that never fails proves nothing. This kernel is as small as one can be that has what
//! the checker looks at: two tasks in ring 3, a kernel stack each, one TSS, a timer that takes the
//! processor away, system calls. With `plant=NAME` on its command line it does exactly one thing
//! wrong, at the place where real kernels did; without it, it is the clean twin. All variants run
//! to the end and power off as if all were well: what finds the bug is the rule, not a crash.
//! [`Plant`](plant::Plant) lists them.
//!
//! There is no paging, and segments are flat: ring 3 is a privilege level and nothing else. The two
//! tasks are the same thirty lines of assembly, which use a stack as little as they can, so that a
//! task whose registers were swapped for the other's still comes to its end.
//!
//! It is built twice: `broken` has the no-ops of [`abi::probe`], `broken-plain` has none, and its
//! handlers begin in different ways. See `entry.s`, which is all that differs.

#![no_std]

pub mod boot;
mod calls;
mod clock;
pub mod frame;
mod gates;
mod plant;
mod ring3;
mod segments;
mod task;
pub mod trap;

use abi::port::EXIT_PANIC;
use arch::multiboot::Info;
use arch::{pic, pit, power, println};
use core::panic::PanicInfo;
use plant::Plant;

/// Timer ticks a second.
const HZ: u32 = 100;

/// The kernel, once the loader's words have reached Rust.
fn start(info: Info) -> ! {
    let hz = pit::rate(info.option("hz"), HZ);
    match info.option("plant") {
        None => println!("broken: nothing planted"),
        Some(name) => match Plant::named(name) {
            Some(plant) => {
                println!("broken: planted {name}");
                plant.choose();
            }
            None => panic!("there is no plant={name}"),
        },
    }
    // From here on nothing of the loader's is used: low memory is free.
    ring3::copy_down();
    segments::start();
    gates::start();
    pic::start();
    pit::start(hz);
    task::start(boot::STACK.get() as u32 + boot::STACK_SIZE as u32)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    arch::cpu::close_interrupts();
    println!("\nbroken: panic: {}", info.message());
    power::off(EXIT_PANIC)
}
