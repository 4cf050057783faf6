//! The double fault: how the overflow of a kernel stack ends.
//!
//! A push below a kernel stack hits the guard page. The page fault cannot be delivered, since its
//! words would have to go on the same stack; and so a double fault is raised, whose gate is a task
//! gate: the processor switches to another TSS, with a stack of its own, and stores the state that
//! it left in the TSS of all others. From there it can be told whose stack it was. The kernel was
//! in the middle of something, so there is nothing to go on with.

use crate::segments;
use crate::task::{block_of_stack, table};
use abi::layout::{KERNEL_STACK, PAGE};
use abi::port::EXIT_PANIC;
use arch::{OneCpu, control, power, println};
use core::arch::naked_asm;
use core::cell::Cell;

const STACK: usize = 4096;

#[repr(C, align(16))]
struct Stack([Cell<u8>; STACK]);

// SAFETY: used by the double fault's task alone.
static MEMORY: OneCpu<Stack> = unsafe { OneCpu::new(Stack([const { Cell::new(0) }; STACK])) };

/// Where the task starts, and where its stack ends.
pub(crate) fn start() -> (u32, u32) {
    let stack = core::ptr::from_ref::<Stack>(&MEMORY) as u32 + STACK as u32;
    (begin as *const () as u32, stack)
}

/// The processor has pushed an error code, which is 0.
#[unsafe(naked)]
extern "C" fn begin() -> ! {
    naked_asm!("cld", "call {tell}", tell = sym tell, options(att_syntax))
}

extern "C" fn tell() -> ! {
    let (eip, esp, _) = segments::left_by_double_fault();
    let cr2 = control::cr2();
    let top = segments::esp0();
    let stack = top - KERNEL_STACK..top;
    // The CPU may have moved ESP before it found out, so the address that it could not use counts.
    let guard = stack.start - PAGE..stack.start;
    if guard.contains(&cr2) && block_of_stack(cr2) == block_of_stack(top - 1) {
        match table::with_stack_top(top) {
            Some(task) => println!(
                "micro: double fault: the kernel stack of task {task} ({:08x} to {top:08x}) has \
                 overflowed: esp {esp:08x}, eip {eip:08x}, guard page hit at {cr2:08x}",
                stack.start
            ),
            None => println!("micro: double fault: the idle task's kernel stack has overflowed"),
        }
    } else {
        println!("micro: double fault: esp {esp:08x}, eip {eip:08x}, cr2 {cr2:08x}");
    }
    power::off(EXIT_PANIC)
}
