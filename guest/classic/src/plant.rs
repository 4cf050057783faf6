//! What can be done wrong on purpose, by `plant=NAME`: for each claim about Linux 0.12 a twin of this
//! kernel of which it is not true.

use crate::boot;
use crate::init::{self, FirstInstruction};
use crate::segments::{USER_CODE, USER_DATA};
use arch::OneCpu;
use arch::eflags::Eflags;
use core::arch::{global_asm, naked_asm};
use core::cell::Cell;
use unistd::number;

/// A deviation from the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// L1: the hand-made frame is built on a fifth stack.
    FifthStack,
    /// L2: ESP0 is the middle of the task's page.
    Esp0InMidPage,
    /// L3: the kernel's segments span 4 GiB.
    FlatKernel,
    /// L4: task 0 gets another user stack than the initial stack.
    OtherUserStack,
    /// L5: ring 3 is entered by a far return.
    FarReturn,
    /// L6: tasks lie 32 MiB apart.
    HalfTheSpace,
    /// L7: tasks 0 and 1 are limited to 1 MiB.
    LimitOneMib,
    /// L8: fork copies the kernel stack too, and the child leaves the kernel by it.
    ForkCopiesStack,
    /// L9: fork copies the pages at once.
    ForkCopiesPages,
    /// L10: task 0 pushes as soon as it has forked.
    TaskZeroPushes,
    /// L11: exec puts the stack into the middle of the task's memory.
    StackInTheMiddle,
    /// L12: the first switch stores the stack pointer of the old task in its ESP0.
    SwitchSavesEsp0,
}

const NAMES: [(&str, Plant); 12] = [
    ("fifth_stack", Plant::FifthStack),
    ("esp0_in_mid_page", Plant::Esp0InMidPage),
    ("flat_kernel", Plant::FlatKernel),
    ("other_user_stack", Plant::OtherUserStack),
    ("far_return", Plant::FarReturn),
    ("half_the_space", Plant::HalfTheSpace),
    ("limit_one_mib", Plant::LimitOneMib),
    ("fork_copies_stack", Plant::ForkCopiesStack),
    ("fork_copies_pages", Plant::ForkCopiesPages),
    ("task_0_pushes", Plant::TaskZeroPushes),
    ("stack_in_the_middle", Plant::StackInTheMiddle),
    ("switch_saves_esp0", Plant::SwitchSavesEsp0),
];

// SAFETY: set once, before there are tasks.
static PLANTED: OneCpu<Cell<Option<Plant>>> = unsafe { OneCpu::new(Cell::new(None)) };

/// Plants what the command line asks for.
pub(crate) fn choose(name: Option<&str>) {
    let Some(name) = name else { return };
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, plant)) => PLANTED.set(Some(*plant)),
        None => panic!("plant={name}: there is no such plant"),
    }
}

impl Plant {
    /// Whether it is the one.
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}

// A page that nobody uses.
global_asm!(
    ".section .stack, \"aw\", @nobits",
    ".balign 4096",
    "    .skip 4096",
    ".globl other_stack_end",
    "other_stack_end:",
    ".text",
    options(att_syntax),
);

/// What [`init::move_to_user_mode`] is told: where task 0 starts, and how far its user stack is from
/// the stack in use.
pub(crate) fn task_0() -> (FirstInstruction, u32) {
    unsafe extern "C" {
        safe fn other_stack_end();
    }
    let other = Plant::OtherUserStack.is_planted();
    let distance = other_stack_end as *const () as u32 - boot::user_stack_end();
    let pushes = Plant::TaskZeroPushes.is_planted();
    (if pushes { task_0_that_pushes } else { init::task_0 }, if other { distance } else { 0 })
}

/// Moves to user mode from another stack, or without an IRET, if that is planted.
///
/// # Safety
/// As for [`init::move_to_user_mode`].
pub(crate) unsafe fn move_to_user_mode() {
    // SAFETY: as the caller promises.
    unsafe {
        if Plant::FifthStack.is_planted() {
            from_other_stack(init::task_0, 0);
        }
        if Plant::FarReturn.is_planted() {
            by_far_return(init::task_0);
        }
    }
}

#[unsafe(naked)]
unsafe extern "C" fn from_other_stack(first: FirstInstruction, distance: u32) {
    naked_asm!(
        "movl $other_stack_end, %esp",
        "pushl $0",
        "pushl ${task_0}",
        "pushl $0", // a return address
        "jmp {move_to_user_mode}",
        task_0 = sym init::task_0,
        move_to_user_mode = sym init::move_to_user_mode,
        options(att_syntax),
    )
}

#[unsafe(naked)]
unsafe extern "C" fn by_far_return(first: FirstInstruction) {
    naked_asm!(
        "movl 4(%esp), %ecx",
        "movl %esp, %eax",
        "pushl ${data}",
        "pushl %eax",
        "pushl ${code}",
        "pushl %ecx",
        "pushfl",
        "orl ${interrupts}, (%esp)",
        "popfl",
        "lretl",
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
        "movl ${data}, %eax",
        "movl %eax, %ds",
        "movl %eax, %es",
        "movl ${fork}, %eax",
        "int $0x80",
        "testl %eax, %eax",
        "jz {init}",
        "pushl %eax",
        "1:",
        "movl ${pause}, %eax",
        "int $0x80",
        "jmp 1b",
        data = const USER_DATA.0,
        fork = const number::FORK,
        pause = const number::PAUSE,
        init = sym init::init,
        options(att_syntax),
    )
}
