//! Who runs next, and the switch: a far jump to a task's TSS.
//!
//! The jump's offset means nothing. Its selector names a TSS, so the processor stores all registers
//! in the TSS of the task that runs, and loads them from the other one: the stack pointer, CS:EIP,
//! the LDT, and with it what the segments mean. The one thing that it never stores is SS0:ESP0.
//!
//! ```text
//!   TR ─► TSS of task 1 ◄── registers          TSS of task 2 ──► registers
//!                                              ▲
//!         jmp 0040:…  ─────────────────────────┘ TR
//! ```
//! A task that was switched away from stands behind the jump, on its kernel stack. One that is new
//! stands in ring 3 already, with an empty kernel stack.

use crate::frame::Frame;
use crate::segments;
use crate::task::{State, Task};
use arch::segment::Selector;
use core::arch::naked_asm;

/// Goes on with the next task that is ready, or with task 0 if there is none. Comes back when it is
/// this one's turn again; at once if there is no other.
pub(crate) fn schedule() {
    let current = Task::current();
    let ready = |task: &&Task| task.state.get() == State::Ready;
    let next = Task::all()
        .find(|task| task.number > current.number && ready(task))
        .or_else(|| Task::all().find(ready))
        .or_else(|| Task::get(0));
    let Some(next) = next.filter(|next| next.number != current.number) else { return };
    next.set_current();
    // SAFETY: the task's TSS is in the GDT and holds the registers of its last switch or its fork.
    unsafe { switch_to(0, segments::tss(next.number)) };
}

/// `jmp far`: the arguments lie on the stack as the instruction wants them, offset and selector.
#[unsafe(naked)]
unsafe extern "C" fn switch_to(offset: u32, tss: Selector) {
    naked_asm!(".byte 0x66, 0x90", "ljmpl *4(%esp)", "ret", options(att_syntax))
}

/// The timer's interrupt: who paused goes on, and the turn of whoever runs is over. But a task that is
/// in the kernel is not switched: it gives its turn up by itself.
pub(crate) fn tick(frame: &Frame) {
    for task in Task::all().filter(|task| task.state.get() == State::Paused) {
        task.state.set(State::Ready);
    }
    if frame.is_from_user() {
        schedule();
    }
}

/// pause: waits for the next tick. Task 0 has nothing else to do, and waits when nobody is ready.
pub(crate) fn pause() {
    let task = Task::current();
    if task.number != 0 {
        task.state.set(State::Paused);
    } else if !Task::all().any(|task| task.state.get() == State::Ready) {
        // SAFETY: interrupts are open here, in ring 0; nothing is borrowed.
        unsafe { arch::cpu::wait_for_interrupt() };
    }
    schedule();
}
