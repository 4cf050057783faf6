//! Forks. Both twins count in the same variable, and each sees only its own steps: after the first
//! write each has a page of its own. Then the parent does what a kernel must not trust, and lets a child
//! be a zombie for a while.

#![no_std]
#![no_main]

use core::arch::asm;
use unistd::{Arguments, Line, exit, fork, getpid, number, pause, wait, write};

unistd::program!(main);

/// The error of a call that was given a bad address.
const BAD_ADDRESS: i32 = -14;

fn main(_: Arguments) -> i32 {
    // In memory, not in a register.
    let mut steps = 0;
    let steps = core::hint::black_box(&mut steps);
    let child = fork();
    let (name, length) = if child == Some(0) { ("child", 3) } else { ("parent", 2) };
    for _ in 0..length {
        *steps += 1;
        Line::new().text("twins: ").text(name).text(" at step ").number(*steps).end();
        pause();
    }
    if child == Some(0) {
        return *steps as i32;
    }
    // Beyond the end of its memory, and across it.
    if write(0xFFFF_FFF0, 4) != BAD_ADDRESS || write(0x03FF_FFFE, 4) != BAD_ADDRESS {
        return 1;
    }
    let mut status = 0;
    wait(&mut status);
    if any_stack_will_do() && zombies_wait() { status } else { 1 }
}

/// Enters the kernel with stack pointers at which there is no stack.
fn any_stack_will_do() -> bool {
    [0, 1, 0xFFFF_FFFC].into_iter().all(|stack: u32| {
        let pid: u32;
        // SAFETY: the stack is put back before anything uses it.
        unsafe {
            asm!("xchg esp, {stack}", "int 0x80", "xchg esp, {stack}",
                 stack = inout(reg) stack => _, inout("eax") number::GETPID => pid);
        }
        pid == getpid()
    })
}

/// One child has ended, others are made and end, and only then all are waited for. Who asks for memory
/// behind that gets theirs.
fn zombies_wait() -> bool {
    /// Where nothing else lies, and more pages than the kernel would rather give away.
    const PAGES: core::ops::Range<usize> = 0x100..0x118;
    let mut well = zombie() && zombie() && zombie();
    for _ in 0..3 {
        well &= wait(&mut 0).is_some();
    }
    for page in PAGES {
        // SAFETY: inside of the 64 MiB, where each page is there as soon as it is used.
        unsafe { ((page * 4096) as *mut u32).write_volatile(1) };
    }
    well
}

/// Makes a child that ends at once.
fn zombie() -> bool {
    let child = fork();
    if child == Some(0) {
        exit(0);
    }
    pause();
    pause();
    child.is_some()
}
