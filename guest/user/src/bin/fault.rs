//! `fault [WHAT]` does what ring 3 may not, and ends for it, alone.
//!
//! | WHAT | what it does | what comes of it |
//! | --- | --- | --- |
//! | `kernel` (default) | reads the kernel's memory | #PF |
//! | `text` | writes to its own text | #PF |
//! | `null` | reads address 0 | #PF |
//! | `stack` | pushes below its stack | #PF |
//! | `divide` | divides by zero | #DE |
//! | `cli` | closes interrupts | #GP |
//! | `port` | writes to the port that powers the machine off | #GP |
//! | `gate` | uses a gate of the kernel, by `int 14` | #GP |
//! | `float` | uses the FPU | nothing, if there is one |
//! | `trap` | sets TF | #DB |
//! | `int3` | a breakpoint | #BP |
//! | `pointer` | passes pointers that are not its own to `write` | errors, and it goes on |

#![no_std]
#![no_main]

use abi::layout::{KERNEL, PROGRAM, STACK_SIZE, STACK_TOP};
use core::arch::asm;
use user::call;

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    match arguments.get(1).unwrap_or("kernel") {
        "kernel" => read(KERNEL + 0x10_0000),
        "null" => read(0),
        "stack" => read(STACK_TOP - STACK_SIZE - 4),
        "pointer" => return bad_pointers(),
        // SAFETY: each of these faults, and the program ends there.
        what => unsafe {
            match what {
                "text" => asm!("mov dword ptr [{}], 0", in(reg) PROGRAM),
                "divide" => {
                    asm!("xor ecx, ecx", "div ecx", out("ecx") _, out("eax") _, out("edx") _)
                }
                "cli" => asm!("cli"),
                "port" => asm!("out 0xF4, al", in("al") 0_u8),
                "gate" => asm!("int 14"),
                "float" => asm!("fninit"),
                "trap" => asm!("pushfd", "or dword ptr [esp], 0x100", "popfd", "nop"),
                "int3" => asm!("int3"),
                _ => {
                    user::println!("fault: I do not know how to do {what}");
                    return 2;
                }
            }
        },
    }
    user::println!("fault: it was allowed");
    1
}

fn read(address: u32) {
    // SAFETY: it faults, and the program ends there.
    unsafe { asm!("mov {0}, [{0}]", inout(reg) address => _) };
}

/// Every one of these has to be refused; the exit status is how many were not.
fn bad_pointers() -> i32 {
    let claims = [
        (0, 1),
        (KERNEL, 16),
        (KERNEL - 16, 32),
        (STACK_TOP - 16, 17),
        (STACK_TOP - STACK_SIZE - 1, 8),
        (PROGRAM, u32::MAX),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
    ];
    let allowed =
        claims.iter().filter(|&&(address, length)| call::write_raw(address, length).is_ok());
    let allowed = allowed.count();
    user::println!("fault: {} of {} bad pointers refused", claims.len() - allowed, claims.len());
    allowed as i32
}
