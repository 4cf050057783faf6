//! Ring 3 from its first instruction on: tasks 0 and 1, which run in the kernel's own memory.

use crate::segments::{USER_CODE, USER_DATA};
use crate::{memory, task};
use arch::eflags::Eflags;
use core::arch::{asm, naked_asm};
use core::ffi::CStr;
use unistd::{Line, exec, exit, fork, getpid, number, wait};

/// Leaves ring 0 for ring 3, on the stack that is in use: a frame as an entry from ring 3 would have
/// pushed it, made by hand, and IRET. Behind it this is task 0, whose kernel stack is empty, and the
/// initial stack is its user stack.
/// ```text
///            │ what main has there │
///            ├─────────────────────┤ ◄─── ESP of task 0
///            │ SS      0017        │
///            │ ESP                 │
///            │ EFLAGS  IF          │
///            │ CS      000F        │
///  ESP ───►  │ EIP                 │
///            └─────────────────────┘
/// ```
/// # Safety
/// Interrupts may come, and the kernel needs nothing that lies on this stack.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn move_to_user_mode() -> ! {
    naked_asm!(
        "movl %esp, %eax",
        "pushl ${data}; pushl %eax",
        "pushfl; orl ${interrupts}, (%esp)",
        "pushl ${code}; pushl ${task_0}",
        ".byte 0x66, 0x90",
        "iretl",
        task_0 = sym task_0,
        code = const USER_CODE.0,
        data = const USER_DATA.0,
        interrupts = const Eflags::IF.bits(),
        options(att_syntax),
    )
}

/// Task 0 in ring 3: forks, and pauses for good. It pushes nothing: from fork on its stack is shared
/// with task 1, which is to find it clean. Task 1's first push is that of the call.
#[unsafe(naked)]
unsafe extern "C" fn task_0() -> ! {
    naked_asm!(
        "movl ${data}, %eax; movl %eax, %ds; movl %eax, %es",
        "movl ${fork}, %eax; int $0x80",
        "testl %eax, %eax",
        "jnz 2f",
        "call {init}",
        "2:",
        "movl ${pause}, %eax; int $0x80",
        "jmp 2b",
        data = const USER_DATA.0,
        fork = const number::FORK,
        pause = const number::PAUSE,
        init = sym init,
        options(att_syntax),
    )
}

/// Task 1: starts everything, and waits until all of it has ended.
extern "C" fn init() -> ! {
    Line::new().text("init: pid ").number(getpid()).end();
    for kind in 0..4 {
        if fork() == Some(0) {
            trespass(kind);
            exit(0)
        }
        reap();
    }
    start(c"arguments", &[c"arguments", c"one", c"two"]);
    start(c"twins", &[c"twins"]);
    while reap() {}
    exit(0)
}

/// Waits for a child, and tells how it ended; false if there is none.
fn reap() -> bool {
    let mut status = 0;
    let Some(pid) = wait(&mut status) else { return false };
    Line::new().text("init: pid ").number(pid).text(" ended with ").number(status as u32).end();
    true
}

fn start(path: &CStr, arguments: &[&CStr]) {
    if fork() == Some(0) {
        exec(path, arguments, &[c"HOME=/", c"TERM=console"]);
        Line::new().text("init: exec failed").end();
        exit(1)
    }
}

/// What ring 3 may not do: it faults, and ends the task. A TSS or a GDT of one's own would mean a kernel
/// stack of one's own choice; so would a word of task 0's TSS, which lies within the 640 KiB of
/// init's children, on a page that is not theirs.
fn trespass(kind: u32) {
    // SAFETY: none of these is executed to its end.
    unsafe {
        match kind {
            0 => asm!("ltr {:x}", in(reg) 0x20),
            1 => asm!("lgdt [{}]", in(reg) &[0_u16; 3]),
            2 => (task::page_of_task_0() as *mut [u32; 32]).write_volatile([0; 32]),
            _ => drop((memory::directory() as *const u32).read_volatile()),
        }
    }
}
