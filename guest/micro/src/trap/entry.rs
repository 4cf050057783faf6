//! From a gate to Rust, and back.
//!
//! The processor has changed the stack, if it came from ring 3, and pushed up to six words. It has
//! kept all general registers and has loaded no segment register but CS and SS; DF and AC are what
//! the program made of them. So the way in is: which vector, all registers, flat data segments,
//! DF clear. There is one way out, [`leave`](super::frame::leave), by which a new task starts as well.
//!
//! SYSENTER comes in by a stub of its own, and joins in at `enter_call`: see [`crate::sysenter`].
//!
//! DS, ES, FS and GS of a program are not kept. It gets the flat user segment back, whatever it had
//! loaded: then nothing that it did to a selector can fault in the kernel. CS and SS can be nothing
//! else, since no other ring-3 descriptors exist. The kernel itself uses that segment too, as ring 0
//! may: it is as flat as its own, and pages are what protects memory here. So it is loaded on the
//! way in and still there on the way out.
//!
//! The no-ops `66 90` are where the VMM may put its probes: see [`abi::probe`].

use super::frame::{EIP, VECTOR};
use super::{system_call, trap};
use crate::segments::USER_DATA;
use abi::vector;
use core::arch::global_asm;

/// The distance from one vector's stub to the next.
const STUB: u32 = 16;

unsafe extern "C" {
    /// The first of the 256 stubs.
    safe fn vector_0();
}

/// The address of a vector's stub.
pub(super) fn stub(vector: u8) -> u32 {
    vector_0 as *const () as u32 + u32::from(vector) * STUB
}

global_asm!(
    ".section .text.entry, \"ax\"",
    ".altmacro",
    ".macro vector_stub number, error_code",
    "    .balign {stub}",
    "    .globl vector_\\number",
    "vector_\\number:",
    "    .byte 0x66, 0x90",
    "    .if ({with_error_code} >> \\number) & (\\number < 32) & 1",
    "    .else",
    "    pushl $0",
    "    .endif",
    "    pushl $\\number",
    "    .if \\number == {system_call_vector}",
    "    jmp enter_call",
    "    .else",
    "    jmp enter",
    "    .endif",
    ".endm",
    ".set number, 0",
    ".rept 256",
    "    vector_stub %number",
    "    .set number, number + 1",
    ".endr",
    ".noaltmacro",
    "",
    ".macro save_and_call what", // the frame's address in ECX
    "    pushal",
    "    cld",
    "    movl ${user_data}, %eax",
    "    movl %eax, %ds",
    "    movl %eax, %es",
    "    movl %eax, %fs",
    "    movl %eax, %gs",
    "    movl %esp, %ecx",
    "    call \\what",
    ".endm",
    "enter:",
    "    save_and_call {trap}",
    "    jmp leave",
    "enter_call:",
    "    save_and_call {system_call}",
    ".globl leave",
    "leave:",
    "    testb $1, {vector} + 1(%esp)",
    "    jnz leave_by_sysexit",
    "    popal",
    "    addl ${eip} - {vector}, %esp",
    "    .byte 0x66, 0x90",
    "    iretl",
    ".text",
    stub = const STUB,
    with_error_code = const with_error_code(),
    user_data = const USER_DATA.0,
    eip = const EIP,
    vector = const VECTOR,
    trap = sym trap,
    system_call = sym system_call,
    system_call_vector = const vector::SYSTEM_CALL,
    options(att_syntax),
);

/// One bit for each of the first 32 vectors: the processor pushes an error code.
const fn with_error_code() -> u32 {
    let mut bits = 0;
    let mut number = 0;
    while number < vector::EXCEPTIONS {
        bits |= (vector::has_error_code(number) as u32) << number;
        number += 1;
    }
    bits
}
