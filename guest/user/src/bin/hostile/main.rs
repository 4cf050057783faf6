//! `hostile WHAT [SPINS]` enters ring 0 in a state that no honest program is in: by the timer, while
//! it spins, and by int 0x80. The kernel has to survive it, and the frames have to be exact.
//!
//! | WHAT | the state |
//! | --- | --- |
//! | `esp0` (default) | ESP = 0 |
//! | `espkernel` | ESP in the kernel's text |
//! | `flags` | DF, NT, AC and ID set |
//! | `all` | every row of the table in [`rows`], each in a child |
//! | `segments` | DS null, ES null with RPL 3, FS the flat code segment, GS the flat data segment with RPL 0… |
//!
//! The exit status is 0 if ring 3 found its registers as it left them. The routines are assembly
//! from end to end, because no compiled code can run in such a state.

#![no_std]
#![no_main]

mod rows;

use abi::call::Call;
use abi::layout::KERNEL;
use arch::eflags::Eflags;
use core::arch::asm;
use user::call;

user::program!(main);

/// How often the loop runs if nothing else is said: two instructions each.
const SPINS: u32 = 600;

fn main(arguments: user::Arguments) -> i32 {
    let what = arguments.get(1).unwrap_or("esp0");
    let spins = arguments.number(2, SPINS).max(1);
    user::println!("hostile: {what}");
    match what {
        "esp0" => spin_and_exit(0, spins),
        "espkernel" => spin_and_exit(KERNEL + 0x10_2000, spins),
        "all" => rows::all(),
        "flags" => flags(spins),
        "segments" => segments(spins),
        _ => {
            user::println!("hostile: I do not know that");
            2
        }
    }
}

/// Spins with ESP at `stack`, and exits without ever having one again. The status is how far ESP
/// and EAX are from where they were.
fn spin_and_exit(stack: u32, spins: u32) -> ! {
    // SAFETY: the program ends here, and the loop uses no stack.
    unsafe {
        asm!(
            "mov esp, edx",
            "2:",
            "dec ecx",
            "jnz 2b",
            "mov eax, {getpid}",
            "int 0x80",
            "mov ebx, esp",
            "sub ebx, edx",
            "mov eax, {exit}",
            "int 0x80",
            "ud2",
            getpid = const Call::GetPid as u32,
            exit = const Call::Exit as u32,
            in("edx") stack,
            in("ecx") spins,
            options(noreturn),
        );
    }
}

/// Spins and calls with flags set that an honest program leaves alone.
fn flags(spins: u32) -> i32 {
    let wild = Eflags::DF | Eflags::NT | Eflags::AC | Eflags::ID;
    let before: u32;
    let after: u32;
    // SAFETY: flags and stack are as before at the end, and DF is clear.
    unsafe {
        asm!(
            "pushfd",
            "pushfd",
            "or [esp], {before}",
            "mov {before}, [esp]",
            "popfd",
            "2:",
            "dec ecx",
            "jnz 2b",
            "int 0x80",
            "pushfd",
            "pop {after}",
            "popfd",
            before = inout(reg) wild.bits() => before,
            after = lateout(reg) after,
            inout("ecx") spins => _,
            inout("eax") Call::GetPid as u32 => _,
        );
    }
    // The loop itself changes the arithmetic flags.
    let wild = wild.bits();
    i32::from(before & wild != wild || after & wild != wild)
}

/// Spins and calls with selectors in the data segment registers that lead nowhere, or elsewhere.
fn segments(spins: u32) -> i32 {
    let pid: u32;
    // SAFETY: no memory is used but by SS before all segments are flat again.
    unsafe {
        asm!(
            "xor edx, edx",
            "mov ds, edx",
            "mov edx, 3",
            "mov es, edx",
            "mov edx, 0x1B",
            "mov fs, edx",
            "mov edx, 0x20",
            "mov gs, edx",
            "2:",
            "dec ecx",
            "jnz 2b",
            "int 0x80",
            "mov edx, ss",
            "mov ds, edx",
            "mov es, edx",
            "mov fs, edx",
            "mov gs, edx",
            inout("ecx") spins => _,
            inout("eax") Call::GetPid as u32 => pid,
            out("edx") _,
        );
    }
    i32::from(pid != call::getpid())
}
