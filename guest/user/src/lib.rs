//! The runtime for ring-3 programs: from the first instruction to `main`, and the system calls.
//!
//! A program is a binary of this package:
//! ```ignore
//! #![no_std]
//! #![no_main]
//! user::program!(main);
//!
//! fn main(arguments: user::Arguments) -> i32 {
//!     user::println!("hello from {}", arguments.name());
//!     0
//! }
//! ```
//! The microkernel's deterministic clock pays for each instruction of ring 3, so the runtime does
//! little: one buffer on the stack for each line, and a heap only for those who allocate.
//!
//! | file | what it gives |
//! | --- | --- |
//! | `arguments` | the words and the environment that a program was started with |
//! | `call` | the system calls |
//! | `message` | messages between tasks |
//! | `heap` | an allocator, so `alloc` can be used |
//! | `print` | formatted output |
//! | `console`, `files` | the servers, as their clients see them |
//! | `random` | numbers from a seed |

#![no_std]

// Brings memcpy and its like, which compiled code calls without being asked.
use arch as _;

extern crate alloc;

mod arguments;
pub mod call;
pub mod console;
pub mod files;
mod heap;
pub mod message;
mod print;
pub mod random;

pub use arguments::{Arguments, environment, variable};
pub use print::Line;

use core::arch::naked_asm;
use core::panic::PanicInfo;

/// The exit status of a program that panicked.
pub const PANICKED: i32 = 101;

/// Names the function that is the program: `fn(Arguments) -> i32`, which gives the exit status.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn program_main(stack: *const u32) -> ! {
            // SAFETY: called by `_start` alone, with what the kernel left in ESP.
            let arguments = unsafe { $crate::Arguments::from_stack(stack) };
            let main: fn($crate::Arguments) -> i32 = $main;
            $crate::call::exit(main(arguments))
        }
    };
}

unsafe extern "C" {
    fn program_main(stack: *const u32) -> !;
}

/// The first instruction. ESP points at the argument count, as `abi::layout` draws it.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "movl %esp, %eax",
        "xorl %ebp, %ebp",
        "pushl %eax",
        "call {main}",
        main = sym program_main,
        options(att_syntax),
    )
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    call::exit(PANICKED)
}
