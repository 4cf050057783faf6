//! How tasks come to be, how they end, and who hears of it: fork, exit, wait.

use crate::frame::Frame;
use crate::memory;
use crate::schedule::schedule;
use crate::segments::{TASKS, USER_DATA};
use crate::task::{SPACE, State, Task};
use arch::page::PAGE;
use arch::tss::Registers;

/// fork: a child that goes on where its parent entered the kernel, in ring 3, with 0 in EAX.
///
/// Its kernel stack is new and empty: nothing of the parent's is copied but the structure and the
/// registers of the frame, which the first switch to it loads from its TSS.
pub(crate) fn fork(frame: &Frame) -> Option<u32> {
    let parent = Task::current();
    let number = (1..TASKS).find(|number| Task::get(*number).is_none())?;
    let page = memory::get_free_page()?;
    let base = number as u32 * SPACE;
    if memory::copy_page_tables(parent.base(), base, parent.size() / PAGE).is_none() {
        memory::free_page_tables(base, SPACE);
        memory::free_page(page);
        return None;
    }
    let Frame { eip, eflags, esp, cs, ss, ds, es, fs, .. } = *frame;
    let Frame { ecx, edx, ebx, ebp, esi, edi, .. } = *frame;
    let (eax, gs) = (0, USER_DATA.0.into());
    #[rustfmt::skip]
    let registers = Registers {
        eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ..Registers::ZERO
    };
    Some(parent.add_child(page, number, registers).pid)
}

/// exit: ends the task that runs. Its memory goes; its page stays, for the kernel is on it.
pub(crate) fn exit(status: i32) -> ! {
    let task = Task::current();
    if task.pid == 1 {
        arch::println!("classic: init has ended, {} free pages", memory::free_pages());
        arch::power::off(if status == 0 { abi::port::EXIT_OK } else { abi::port::EXIT_PANIC });
    }
    memory::free_page_tables(task.base(), SPACE);
    task.become_zombie(status);
    task.children().for_each(Task::go_over_to_init);
    for parent in Task::all().filter(|other| other.state.get() == State::Waiting) {
        parent.state.set(State::Ready); // whoever waits looks again by itself
    }
    schedule();
    unreachable!("a zombie runs")
}

/// wait: the pid and status of a child that has ended; its page becomes free. None without children.
pub(crate) fn wait() -> Option<(u32, i32)> {
    let task = Task::current();
    loop {
        let mut children = task.children().peekable();
        children.peek()?;
        if let Some(zombie) = children.find(|child| child.state.get() == State::Zombie) {
            let told = (zombie.pid, zombie.status.get());
            zombie.remove();
            return Some(told);
        }
        task.state.set(State::Waiting);
        schedule();
    }
}
