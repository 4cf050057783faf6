//! Places where a kernel lets itself be watched, at the price of two bytes each.
//!
//! A kernel puts [`NOP`] as the first instruction of every handler in its IDT, and directly in
//! front of every IRETD. The VMM may write `out imm8, al` over it: two bytes as well, and no
//! register or flag changes. Nothing jumps between the no-op and the IRETD behind it, and at that
//! no-op ESP points at the EIP word of the frame.
//!
//! This is a courtesy. A kernel without it can be watched too, more slowly.

/// `66 90`: an XCHG AX, AX of two bytes that the assembler does not write by itself.
pub const NOP: [u8; 2] = [0x66, 0x90];
