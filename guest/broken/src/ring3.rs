//! What runs in ring 3, and the memory below 64 KiB in which it does.
//!
//! ```text
//! 0x8000 ┌─────────────────────────────┐
//!        │ jump to `enter_16`          │ for a gate of 16 bits, which knows no higher address
//! 0x7000 ├─────────────────────────────┤ GATE_16
//!        │ stack of task 1             │
//! 0x6000 ├─────────────────────────────┤ stack_top(0)
//!        │ stack of task 0             │
//! 0x5000 ├─────────────────────────────┤
//!        │ the tasks' code, a copy     │
//! 0x4000 └─────────────────────────────┘ CODE
//! ```
//! A frame of 16-bit words keeps only half of each address. Down here the other half is zero, so
//! that even with such a gate the tasks run to their end.

use crate::calls::{EXIT, NOTHING, WRITE, YIELD};
use crate::clock::TICKS;
use arch::eflags::Eflags;
use core::arch::global_asm;

/// Where the tasks' code is copied to: the first instruction of both.
pub(crate) const CODE: u32 = 0x4000;
/// Where the jump to the handler of the 16-bit gate is put.
pub(crate) const GATE_16: u32 = 0x7000;

/// How often a task waits, writes its letter, and lets the other run.
const ROUNDS: u32 = 4;

/// The address just above a task's stack in ring 3.
pub(crate) const fn stack_top(task: usize) -> u32 {
    CODE + 0x2000 + 0x1000 * task as u32
}

unsafe extern "C" {
    static ring3_start: u8;
    static ring3_end: u8;
    safe fn enter_16();
}

// EBX: the letter to write. The code is copied, so it names no address of its own. It waits for two
// ticks, by whatever clock they come; but if a planted bug has closed interrupts none will come.
global_asm!(
    "ring3_start:",
    "    movl ${rounds}, %esi",
    "1:  movl {ticks}, %edi",
    "    addl $2, %edi",
    "2:  pushfl",
    "    popl %eax",
    "    testl ${interrupts}, %eax",
    "    jz 3f",
    "    cmpl %edi, {ticks}",
    "    js 2b",
    "3:  movl ${write}, %eax",
    "    int $0x80",
    "    movl ${yield_}, %eax",
    "    int $0x81",
    "    movl ${nothing}, %eax",
    "    int $0x82",
    "    movl ${nothing}, %eax",
    "    int $0x83",
    "    decl %esi",
    "    jnz 1b",
    "4:  movl ${exit}, %eax",
    "    int $0x80",
    "    jmp 4b", // a task that took the other's place has to end twice
    "ring3_end:",
    rounds = const ROUNDS,
    ticks = sym TICKS,
    interrupts = const Eflags::IF.bits(),
    write = const WRITE,
    yield_ = const YIELD,
    nothing = const NOTHING,
    exit = const EXIT,
    options(att_syntax),
);

/// Copies the tasks' code, and the jump, to where they run.
pub(crate) fn copy_down() {
    const JUMP: u8 = 0xE9;
    let distance = (enter_16 as *const () as u32).wrapping_sub(GATE_16 + 7);
    let [a, b, c, d] = distance.to_le_bytes();
    let [first, second] = abi::probe::NOP;
    let (start, end) = (&raw const ring3_start, &raw const ring3_end);
    // SAFETY: memory below 64 KiB is the kernel's, and nothing else of it is there any more.
    unsafe {
        start.copy_to(CODE as *mut u8, end as usize - start as usize);
        (GATE_16 as *mut [u8; 7]).write([first, second, JUMP, a, b, c, d]);
    }
}
