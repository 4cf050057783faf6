//! What can be done wrong on purpose, by `plant=NAME`: for each claim about Linux 0.12 a twin of this
//! kernel of which it is not true.
//!
//! | claim | plant | the twin |
//! | --- | --- | --- |
//! | L1 | `fifth_stack` | builds its hand-made frame on a fifth stack |
//! | L2 | `esp0_in_mid_page` | has ESP0 in the middle of the task's page |
//! | L3 | `flat_kernel` | has kernel segments of 4 GiB |
//! | L4 | `other_user_stack` | gives task 0 another user stack than the initial stack |
//! | L5 | `far_return` | enters ring 3 by a far return |
//! | L6 | `half_the_space` | has its tasks 32 MiB apart |
//! | L7 | `limit_one_mib` | limits tasks 0 and 1 to 1 MiB |
//! | L8 | `fork_copies_stack` | copies the kernel stack too, and lets the child leave the kernel by it |
//! | L9 | `fork_copies_pages` | copies pages at once |
//! | L10 | `task_0_pushes` | lets task 0 push as soon as it has forked |
//! | L11 | `stack_in_the_middle` | puts user stacks into the middle of a program's memory |
//! | K15 | `zombie_freed` | gives the page of a task that has ended to whoever asks for one |
//! | L12 | `switch_saves_esp0` | stores the stack pointer in ESP0 at task 1's first switch |

use crate::boot;
use crate::init::{self, FirstInstruction};
use crate::segments::{USER_CODE, USER_DATA};
use arch::OneCpu;
use arch::eflags::Eflags;
use core::arch::{global_asm, naked_asm};
use core::cell::Cell;
use unistd::number;

const NAMES: &str = "fifth_stack esp0_in_mid_page flat_kernel other_user_stack far_return \
                     half_the_space limit_one_mib fork_copies_stack fork_copies_pages \
                     task_0_pushes stack_in_the_middle switch_saves_esp0 zombie_freed";

// SAFETY: set once, before there are tasks.
static PLANTED: OneCpu<Cell<&str>> = unsafe { OneCpu::new(Cell::new("")) };

/// Plants what the command line asks for.
pub(crate) fn choose(name: &'static str) {
    assert!(NAMES.split(' ').any(|known| known == name), "plant={name}: there is no such plant");
    PLANTED.set(name);
}

/// Whether this one is planted.
pub(crate) fn is(name: &str) -> bool {
    PLANTED.get() == name
}

// A page that nobody uses.
global_asm!(
    ".section .stack, \"aw\", @nobits",
    "    .balign 4096; .skip 4096; .globl other_stack_end; other_stack_end:",
    ".text",
    options(att_syntax),
);

/// What [`init::move_to_user_mode`] is told: where task 0 starts, and how far its user stack is from
/// the stack in use.
pub(crate) fn task_0() -> (FirstInstruction, u32) {
    unsafe extern "C" {
        safe fn other_stack_end();
    }
    let distance = other_stack_end as *const () as u32 - boot::user_stack_end();
    (
        if is("task_0_pushes") { task_0_that_pushes } else { init::task_0 },
        if is("other_user_stack") { distance } else { 0 },
    )
}

/// Moves to user mode from another stack, or without an IRET, if that is planted.
///
/// # Safety
/// As for [`init::move_to_user_mode`].
pub(crate) unsafe fn move_to_user_mode() {
    // SAFETY: as the caller promises.
    unsafe {
        match PLANTED.get() {
            "fifth_stack" => from_other_stack(),
            "far_return" => by_far_return(),
            _ => {}
        }
    }
}

#[unsafe(naked)]
unsafe extern "C" fn from_other_stack() {
    naked_asm!(
        "movl $other_stack_end, %esp",
        "pushl $0; pushl ${task_0}; pushl $0", // distance, first instruction, a return address
        "jmp {move_to_user_mode}",
        task_0 = sym init::task_0,
        move_to_user_mode = sym init::move_to_user_mode,
        options(att_syntax),
    )
}

#[unsafe(naked)]
unsafe extern "C" fn by_far_return() {
    naked_asm!(
        "movl %esp, %eax",
        "pushl ${data}; pushl %eax; pushl ${code}; pushl ${task_0}",
        "pushfl; orl ${interrupts}, (%esp); popfl",
        "lretl",
        task_0 = sym init::task_0,
        code = const USER_CODE.0,
        data = const USER_DATA.0,
        interrupts = const Eflags::IF.bits(),
        options(att_syntax),
    )
}

/// [`init::task_0`] with a push behind the fork.
#[unsafe(naked)]
unsafe extern "C" fn task_0_that_pushes() -> ! {
    naked_asm!(
        "movl ${fork}, %eax; int $0x80",
        "testl %eax, %eax",
        "jz {init}",
        "pushl %eax",
        "jmp pause_for_good",
        fork = const number::FORK,
        init = sym init::init,
        options(att_syntax),
    )
}
