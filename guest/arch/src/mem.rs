//! The six functions that the compiler calls by itself to copy, fill, compare and measure memory.
//!
//! There is no C library to bring them. They are assembly, because a loop in Rust that copies bytes
//! is recognised as a copy and compiled into a call of the function it stands in. Linked into the
//! ring-3 programs too. DF is clear whenever compiled code runs.

use core::arch::naked_asm;

/// `memcpy(to, from, count)`: EDI and ESI belong to the caller and are kept.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    naked_asm!(
        "pushl %esi",
        "pushl %edi",
        "movl 12(%esp), %edi",
        "movl 16(%esp), %esi",
        "movl 20(%esp), %ecx",
        "movl %edi, %eax",
        "movl %ecx, %edx",
        "shrl $2, %ecx",
        "rep movsl",
        "movl %edx, %ecx",
        "andl $3, %ecx",
        "rep movsb",
        "popl %edi",
        "popl %esi",
        "ret",
        options(att_syntax),
    )
}

/// `memmove(to, from, count)`: backwards if `to` lies inside the bytes to copy.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    naked_asm!(
        "movl 4(%esp), %eax",
        "subl 8(%esp), %eax",
        "cmpl 12(%esp), %eax", // to − from, unsigned: below count if copying forwards would overwrite
        "jae {memcpy}",
        "pushl %esi",
        "pushl %edi",
        "movl 12(%esp), %edi",
        "movl 16(%esp), %esi",
        "movl 20(%esp), %ecx",
        "movl %edi, %eax",
        "leal -1(%edi,%ecx), %edi",
        "leal -1(%esi,%ecx), %esi",
        "std",
        "rep movsb",
        "cld",
        "popl %edi",
        "popl %esi",
        "ret",
        memcpy = sym memcpy,
        options(att_syntax),
    )
}

/// `memset(to, byte, count)`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    naked_asm!(
        "pushl %edi",
        "movl 8(%esp), %edi",
        "movzbl 12(%esp), %eax",
        "imull $0x01010101, %eax, %eax",
        "movl 16(%esp), %edx",
        "movl %edx, %ecx",
        "shrl $2, %ecx",
        "rep stosl",
        "movl %edx, %ecx",
        "andl $3, %ecx",
        "rep stosb",
        "movl 8(%esp), %eax",
        "popl %edi",
        "ret",
        options(att_syntax),
    )
}

/// `memcmp(a, b, count)`: negative, zero or positive, by the first bytes that differ.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    naked_asm!(
        "pushl %esi",
        "pushl %edi",
        "movl 12(%esp), %esi",
        "movl 16(%esp), %edi",
        "movl 20(%esp), %ecx",
        "xorl %eax, %eax",
        "cmpl %eax, %eax", // REPE with a count of 0 leaves the flags alone: let them say equal
        "repe cmpsb",
        "je 2f",
        "movzbl -1(%esi), %eax",
        "movzbl -1(%edi), %ecx",
        "subl %ecx, %eax",
        "2:",
        "popl %edi",
        "popl %esi",
        "ret",
        options(att_syntax),
    )
}

/// `bcmp(a, b, count)`: zero if equal.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp, options(att_syntax))
}

/// `strlen(text)`: how many bytes there are before the first zero.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    naked_asm!(
        "movl 4(%esp), %ecx",
        "movl $-1, %eax",
        "2:",
        "incl %eax",
        "cmpb $0, (%ecx,%eax)",
        "jne 2b",
        "ret",
        options(att_syntax),
    )
}
