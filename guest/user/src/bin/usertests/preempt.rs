//! Turns, priorities, sleep, and pre-emption, inside system calls too.

use crate::Case;
use crate::tools::{child, info, report, spin, until_state};
use abi::call::Error;
use abi::layout::KERNEL_STACK;
use abi::task::{NORMAL, TASKS};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use user::{call, message};

pub(crate) const CASES: &[Case] = &[
    ("programs_are_preempted", programs_are_preempted),
    ("system_calls_are_preempted", system_calls_are_preempted),
    ("string_instructions_are_resumed", string_instructions_are_resumed),
    ("sleep_lasts", sleep_lasts),
    ("priority_decides", priority_decides),
    ("priority_is_not_for_everybody", priority_is_not_for_everybody),
    ("yield_lets_others_run", yield_lets_others_run),
    ("kernel_stacks_are_never_used_up", kernel_stacks_are_never_used_up),
];

static SHARED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_for_ever(_: u32) -> ! {
    loop {
        SHARED.fetch_add(1, SeqCst);
    }
}

fn programs_are_preempted() -> bool {
    SHARED.store(0, SeqCst);
    let Ok(thread) = call::thread(count_for_ever, 0) else { return false };
    let mut rounds = 0;
    while SHARED.load(SeqCst) < 20 {
        spin(50);
        rounds += 1;
        check!(rounds < 10_000_000);
    }
    check!(call::kill(thread) == Ok(()) && call::wait(thread).is_ok());
    true
}

/// Two tasks copy long pieces of a module, which is a long path, until one was pre-empted in it.
fn system_calls_are_preempted() -> bool {
    let before = call::counters().kernel_preemptions;
    let other = child(|| {
        loop {
            spin(100);
        }
    });
    let mut buffer = alloc::vec![0; 8 * 4096];
    let mut rounds = 0;
    while call::counters().kernel_preemptions == before {
        check!(call::module(0, 0, &mut buffer).is_ok());
        check!(&buffer[..4] == b"\x7fELF");
        rounds += 1;
        check!(rounds < 100_000);
    }
    check!(call::kill(other) == Ok(()) && call::wait(other).is_ok());
    true
}

fn string_instructions_are_resumed() -> bool {
    const COUNT: usize = 1000;
    let other = child(|| {
        loop {
            spin(100);
        }
    });
    let from = core::array::from_fn::<u8, COUNT, _>(|n| (n * 7) as u8);
    let mut to = [0_u8; COUNT];
    for _ in 0..2 {
        to.fill(0);
        copy(&from, &mut to);
        check!(from == to);
    }
    check!(call::kill(other) == Ok(()) && call::wait(other).is_ok());
    true
}

fn copy(from: &[u8], to: &mut [u8]) {
    // SAFETY: as many bytes as both have; ESI is put back.
    unsafe {
        asm!(
            "xchg esi, {from}",
            "rep movsb",
            "mov esi, {from}",
            from = inout(reg) from.as_ptr() => _,
            inout("edi") to.as_mut_ptr() => _,
            inout("ecx") from.len().min(to.len()) => _,
        );
    }
}

fn sleep_lasts() -> bool {
    for ticks in [1, 2, 5] {
        let before = call::uptime();
        check!(call::sleep(ticks) == Ok(()));
        let slept = call::uptime() - before;
        check!(slept >= ticks && slept <= ticks + 3, "{slept} ticks for {ticks}");
    }
    check!(call::sleep(0) == Ok(()));
    true
}

/// A task with a higher priority runs at once when it is woken, and one with a lower one waits.
fn priority_decides() -> bool {
    SHARED.store(0, SeqCst);
    extern "C" fn set(argument: u32) -> ! {
        let _ = call::set_priority(0, argument);
        let _ = message::receive(0);
        SHARED.store(1, SeqCst);
        call::exit(0)
    }
    let Ok(high) = call::thread(set, NORMAL + 1) else { return false };
    check!(until_state(high, b"M"));
    check!(message::notify(high, 1) == Ok(()));
    check!(SHARED.load(SeqCst) == 1);
    check!(call::wait(high).is_ok());

    SHARED.store(0, SeqCst);
    let Ok(low) = call::thread(set, NORMAL - 1) else { return false };
    check!(until_state(low, b"M"));
    check!(message::notify(low, 1) == Ok(()));
    spin(2_000);
    call::yield_now();
    check!(SHARED.load(SeqCst) == 0);
    check!(call::wait(low).is_ok() && SHARED.load(SeqCst) == 1);
    true
}

fn priority_is_not_for_everybody() -> bool {
    let parent = call::getpid();
    let report = report(|| {
        call::restrict(0);
        let results = [
            call::set_priority(0, NORMAL + 1),
            call::set_priority(parent, 0),
            call::set_priority(0xFFFF, 0),
        ];
        let errors = [Error::NotAllowed, Error::NotAllowed, Error::NoSuchTask].map(Err);
        i32::from(results != errors || call::set_priority(0, 0) != Ok(()))
    });
    check!(report.status == 0);
    true
}

fn yield_lets_others_run() -> bool {
    SHARED.store(0, SeqCst);
    extern "C" fn set(_: u32) -> ! {
        SHARED.store(1, SeqCst);
        call::exit(0)
    }
    let Ok(thread) = call::thread(set, 0) else { return false };
    for _ in 0..10 {
        call::yield_now();
    }
    check!(SHARED.load(SeqCst) == 1);
    check!(call::wait(thread).is_ok());
    true
}

/// By now every path of the kernel was taken that the cases before take.
fn kernel_stacks_are_never_used_up() -> bool {
    for place in 0..TASKS {
        if let Ok(Some(info)) = call::inspect(place) {
            check!(info.kernel_stack_used <= KERNEL_STACK - 1024, "{info:?}");
        }
    }
    check!(info(call::getpid()).is_some_and(|info| info.kernel_stack_used > 100));
    true
}
