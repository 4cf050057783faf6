//! The registers that the kernel does not save unless it must.

use crate::Case;
use crate::tools::{child, spin};
use core::arch::asm;
use user::call;

pub(crate) const CASES: &[Case] = &[
    ("fpu_registers_survive_switches", fpu_registers_survive_switches),
    ("fpu_registers_are_inherited", fpu_registers_are_inherited),
    ("fpu_is_fresh_for_a_program", fpu_is_fresh_for_a_program),
    ("sse_registers_survive_switches", sse_registers_survive_switches),
];

/// Adds up on the x87 stack, with turns given away in between: the sum of the numbers below `count`.
fn sum(start: u32, count: u32) -> u32 {
    let mut value = start;
    // SAFETY: one value is pushed onto the x87 stack, which nothing else uses here.
    unsafe { asm!("fild dword ptr [{}]", in(reg) &raw const value) };
    for number in 0..count {
        // SAFETY: as above.
        unsafe { asm!("fiadd dword ptr [{}]", in(reg) &raw const number) };
        match number % 3 {
            0 => call::yield_now(),
            _ => {
                spin(10);
            }
        }
    }
    // SAFETY: the value is popped again.
    unsafe { asm!("fistp dword ptr [{}]", in(reg) &raw mut value) };
    value
}

fn fpu_registers_survive_switches() -> bool {
    const COUNT: u32 = 15;
    let expected = |start: u32| start + COUNT * (COUNT - 1) / 2;
    let children = [1000, 2000, 3000]
        .map(|start| child(move || i32::from(sum(start, COUNT) != expected(start))));
    check!(sum(7, COUNT) == expected(7));
    for child in children {
        check!(call::wait(child).is_ok_and(|report| report.how == 0 && report.status == 0));
    }
    true
}

fn fpu_registers_are_inherited() -> bool {
    let mut value = 12_345_u32;
    // SAFETY: pushed here, and popped below by parent and child alike.
    unsafe { asm!("fild dword ptr [{}]", in(reg) &raw const value) };
    let child = call::fork();
    // SAFETY: as above.
    unsafe { asm!("fistp dword ptr [{}]", in(reg) &raw mut value) };
    match child {
        Ok(None) => call::exit(i32::from(value != 12_345)),
        Ok(Some(child)) => {
            check!(call::wait(child).is_ok_and(|report| report.status == 0));
            check!(value == 12_345);
            true
        }
        Err(_) => false,
    }
}

fn fpu_is_fresh_for_a_program() -> bool {
    let mut control = 0_u16;
    // SAFETY: two bytes are stored.
    unsafe { asm!("fnstcw word ptr [{}]", in(reg) &raw mut control) };
    check!(control == 0x37F, "{control:x}");
    true
}

/// XMM0 holds a number of its own in each of four tasks.
fn sse_registers_survive_switches() -> bool {
    fn holds(number: u32) -> bool {
        let wanted = [number, !number, number ^ 0x5555, number.rotate_left(9)];
        let mut got = [0_u32; 4];
        // SAFETY: no compiled code here uses XMM0.
        unsafe { asm!("movups xmm0, [{}]", in(reg) &raw const wanted) };
        for _ in 0..8 {
            call::yield_now();
            spin(10);
        }
        // SAFETY: sixteen bytes are stored.
        unsafe { asm!("movups [{}], xmm0", in(reg) &raw mut got) };
        got == wanted
    }
    if core::arch::x86::__cpuid(1).edx & 1 << 25 == 0 {
        user::println!("  (this processor has no SSE)");
        return true;
    }
    let children = [11, 22, 33].map(|number| child(move || i32::from(!holds(number))));
    check!(holds(44));
    for child in children {
        check!(call::wait(child).is_ok_and(|report| report.how == 0 && report.status == 0));
    }
    true
}
