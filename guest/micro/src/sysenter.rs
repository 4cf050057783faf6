//! SYSENTER: the other way into ring 0.
//!
//! INT 0x80 reads a gate and the TSS and pushes five words. SYSENTER (Intel SDM vol. 2B) takes CS,
//! EIP and ESP from three model-specific registers and pushes nothing: neither where it came from nor
//! on which stack is kept anywhere, unless the program passes it. So here EBP holds the program's
//! ESP, and where to return to it has told once, by [`Call::Fast`](abi::call::Call::Fast).
//!
//! ```text
//!  SYSENTER_ESP ──► ┌──────────┐
//!                   │ ESP0     │  a copy of the TSS's: the first instruction takes it for ESP
//!                   ├──────────┤
//!                   │ a small  │  only for the one thing that can come in between: a program that
//!                   │ stack    │  single-steps brings TF along, and the #DB is taken here
//!                   └──────────┘
//! ```
//! Then the stub pushes by hand what the processor does not, and from there on it is a system call
//! like any other. It is left by SYSEXIT, if no other task ran meanwhile, else by IRET.

use crate::segments::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use crate::trap::frame::{EIP, ESP, Frame, VECTOR};
use abi::vector::SYSTEM_CALL;
use arch::eflags::Eflags;
use arch::{OneCpu, cpu};
use core::arch::global_asm;
use core::cell::Cell;

/// A bit above the vector in a frame: it came by SYSENTER, and may be left by SYSEXIT.
const MARK: u32 = 0x100;

const CS_REGISTER: u32 = 0x174;
const ESP_REGISTER: u32 = 0x175;
const EIP_REGISTER: u32 = 0x176;

#[repr(C, align(16))]
struct Stack {
    small: [Cell<u32>; 255],
    esp0: Cell<u32>,
}

// SAFETY: used by kernel code with interrupts closed, and by the stub.
static STACK: OneCpu<Stack> =
    unsafe { OneCpu::new(Stack { small: [const { Cell::new(0) }; 255], esp0: Cell::new(0) }) };

unsafe extern "C" {
    safe fn sysenter_entry();
}

// SYSENTER and SYSEXIT find the other segments behind this one.
const _: () = assert!(KERNEL_DATA.0 == KERNEL_CODE.0 + 8);
const _: () = assert!(USER_CODE.0 == (KERNEL_CODE.0 + 16) | 3 && USER_DATA.0 == USER_CODE.0 + 8);

/// Takes SYSENTER into use if the processor has it; gives whether it has.
pub(crate) fn start() -> bool {
    let exists = cpu::features() & cpu::SEP != 0;
    if exists {
        let esp = core::ptr::from_ref(&STACK.esp0) as u32;
        let eip = sysenter_entry as *const () as u32;
        // SAFETY: the registers exist; the code is the stub below, on the stack drawn above.
        unsafe {
            cpu::write_msr(CS_REGISTER, KERNEL_CODE.0.into());
            cpu::write_msr(ESP_REGISTER, esp);
            cpu::write_msr(EIP_REGISTER, eip);
        }
    }
    exists
}

/// The next SYSENTER lands just below this address.
pub(crate) fn enter_ring_0_at(stack_top: u32) {
    STACK.esp0.set(stack_top);
}

/// Whether a #DB is the one of a program that single-stepped into SYSENTER.
pub(crate) fn was_stepped_into(frame: &Frame) -> bool {
    frame.eip == sysenter_entry as *const () as u32
}

/// Whether an entry came by SYSENTER.
pub(crate) fn is_marked(frame: &Frame) -> bool {
    frame.vector & MARK != 0
}

/// Lets an entry that came by SYSENTER be left by IRET.
pub(crate) fn unmark(frame: &mut Frame) {
    frame.vector &= !MARK;
}

global_asm!(
    ".section .text.entry, \"ax\"",
    ".globl sysenter_entry",
    "sysenter_entry:",
    "    movl (%esp), %esp",
    "    pushl ${user_data}",
    "    pushl %ebp",
    "    pushl ${flags}",
    "    pushl ${user_code}",
    "    pushl $0", // EIP: see `call::dispatch_sysenter`
    "    pushl $0",
    "    pushl ${vector}",
    "    pushl $2", // NT, AC and DF came along
    "    popfl",
    "    jmp enter_call",
    ".globl leave_by_sysexit",
    "leave_by_sysexit:",
    "    movl {eip}(%esp), %edx",
    "    movl {esp}(%esp), %ecx",
    "    movl %edx, 20(%esp)", // so that POPA loads them
    "    movl %ecx, 24(%esp)",
    "    popal",
    "    sti",
    "    sysexit",
    ".text",
    user_data = const USER_DATA.0,
    user_code = const USER_CODE.0,
    flags = const Eflags::ONE.bits() | Eflags::IF.bits(),
    vector = const SYSTEM_CALL as u32 | MARK,
    eip = const EIP,
    esp = const ESP,
    options(att_syntax),
);

const _: () = assert!(VECTOR == 32);
