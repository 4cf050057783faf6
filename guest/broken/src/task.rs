//! Two tasks, a kernel stack each, and the switch between them.

use crate::frame::{Frame, Registers};
use crate::plant::Plant;
use crate::ring3;
use crate::segments::{OTHER_KERNEL_DATA, TSS, USER_CODE, USER_DATA};
use abi::port::EXIT_OK;
use arch::eflags::Eflags;
use arch::{OneCpu, power, println};
use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};

/// A kernel stack of a page, and a page behind it that belongs to somebody else.
#[repr(C, align(4096))]
struct Stack {
    stack: UnsafeCell<[u8; 4096]>,
    behind: UnsafeCell<[u8; 4096]>,
}

struct Task {
    /// The address just above its kernel stack.
    stack_top: Cell<u32>,
    /// Where its kernel stack was left.
    stack_pointer: Cell<u32>,
    ended: Cell<bool>,
}

// SAFETY: used by kernel code that no interrupt handler can interrupt while it does.
static STACKS: OneCpu<[Stack; 2]> = unsafe {
    OneCpu::new(
        [const { Stack { stack: UnsafeCell::new([0; 4096]), behind: UnsafeCell::new([0; 4096]) } };
            2],
    )
};
// SAFETY: as above.
static TASKS: OneCpu<[Task; 2]> = unsafe {
    OneCpu::new(
        [const { Task { stack_top: Cell::new(0), stack_pointer: Cell::new(0), ended: Cell::new(false) } };
            2],
    )
};
// SAFETY: as above.
static CURRENT: OneCpu<Cell<usize>> = unsafe { OneCpu::new(Cell::new(0)) };

/// What a new task's stack starts with: what [`exchange`] pops, and what `leave` does.
#[repr(C)]
struct Start {
    edi_esi_ebx_ebp: [u32; 4],
    return_address: u32,
    registers: Registers,
    vector: u32,
    frame: Frame,
}

unsafe extern "C" {
    safe fn leave();
}

/// Makes both tasks, and leaves the boot stack, which ends at `boot_stack`, for the first one.
pub(crate) fn start(boot_stack: u32) -> ! {
    for (number, (task, stack)) in TASKS.iter().zip(STACKS.iter()).enumerate() {
        let top = stack.behind.get() as u32;
        task.stack_top.set(top);
        task.stack_pointer.set(fill(number, top));
    }
    if Plant::SharedStack.is_planted() {
        // Two tasks on one kernel stack: each entry of one is written over what the other left.
        TASKS[1].stack_top.set(TASKS[0].stack_top.get());
    }
    // A TSS initialised with the wrong kernel stack (FreeBSD D4414).
    let boots_wrong = Plant::Esp0BootStack.is_planted();
    TSS.set_esp0(if boots_wrong { boot_stack } else { TASKS[0].stack_top.get() });
    let mut nobody = 0;
    // SAFETY: the stack was filled just now; the boot stack is not used again by Rust.
    unsafe { exchange(&raw mut nobody, TASKS[0].stack_pointer.get()) };
    unreachable!()
}

/// Fills a new stack; gives the ESP to start with.
fn fill(number: usize, top: u32) -> u32 {
    let start = Start {
        edi_esi_ebx_ebp: [0; 4],
        return_address: leave as *const () as u32,
        registers: Registers {
            edi_esi_ebp_esp: [0; 4],
            ebx: u32::from(b'a') + number as u32,
            edx: 0,
            ecx: 0,
            eax: 0,
        },
        vector: 0,
        frame: Frame {
            eip: ring3::CODE,
            cs: USER_CODE.0.into(),
            eflags: (Eflags::ONE | Eflags::IF).bits(),
            esp: ring3::stack_top(number),
            ss: USER_DATA.0.into(),
        },
    };
    let address = top - size_of::<Start>() as u32;
    // SAFETY: the top of a stack of a page that nobody uses yet.
    unsafe { (address as *mut Start).write(start) };
    address
}

/// Ends the task that runs.
pub(crate) fn end() {
    TASKS[CURRENT.get()].ended.set(true);
}

/// Goes on with the other task, unless it has ended.
#[inline(never)]
pub(crate) fn switch() {
    let (old, new) = (CURRENT.get(), 1 - CURRENT.get());
    if TASKS[new].ended.get() {
        if TASKS[old].ended.get() {
            println!("\nbroken: all tasks have ended");
            power::off(EXIT_OK);
        }
        return;
    }
    CURRENT.set(new);
    let top = TASKS[new].stack_top.get();
    if Plant::Esp0NotUpdated.is_planted() {
        // The bug that this project is named after: the next entry lands on the old task's stack.
    } else if Plant::Esp0OffByFour.is_planted() {
        TSS.set_esp0(top - 4);
    } else if Plant::Esp0AboveByFour.is_planted() {
        TSS.set_esp0(top + 4);
    } else {
        TSS.set_esp0(top);
    }
    if Plant::WrongSs0.is_planted() {
        TSS.set_ss0(OTHER_KERNEL_DATA);
    }
    // SAFETY: the other stack was left by `exchange`, or filled to look so.
    unsafe { exchange(TASKS[old].stack_pointer.as_ptr(), TASKS[new].stack_pointer.get()) };
}

/// Keeps ESP in `keep`, takes `other` for it, and returns to whoever called when that was kept.
#[unsafe(naked)]
unsafe extern "C" fn exchange(keep: *mut u32, other: u32) {
    naked_asm!(
        "movl 4(%esp), %eax",
        "movl 8(%esp), %edx",
        "pushl %ebp",
        "pushl %ebx",
        "pushl %esi",
        "pushl %edi",
        "movl %esp, (%eax)",
        "movl %edx, %esp",
        "popl %edi",
        "popl %esi",
        "popl %ebx",
        "popl %ebp",
        "ret",
        options(att_syntax),
    )
}
