//! Tasks: how they come to be, how they end, and who hears of it.

use crate::Case;
use crate::tools::{child, info, report, spin, until_state};
use abi::call::Error;
use abi::layout::{KERNEL, PROGRAM};
use abi::task::{EXITED, FAULTED, KILLED, TASKS};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use user::{call, message};

pub(crate) const CASES: &[Case] = &[
    ("fork_returns_twice", fork_returns_twice),
    ("fork_and_wait_in_a_row", fork_and_wait_in_a_row),
    ("fork_and_wait_side_by_side", fork_and_wait_side_by_side),
    ("fork_until_the_table_is_full", fork_until_the_table_is_full),
    ("exit_status_can_be_negative", exit_status_can_be_negative),
    ("wait_without_children", wait_without_children),
    ("wait_for_one_child", wait_for_one_child),
    ("wait_not_waiting", wait_not_waiting),
    ("identifiers_are_not_used_again", identifiers_are_not_used_again),
    ("orphans_go_to_init", orphans_go_to_init),
    ("orphans_in_quantity", orphans_in_quantity),
    ("kill_one_that_runs", kill_one_that_runs),
    ("kill_one_that_sleeps", kill_one_that_sleeps),
    ("kill_one_that_receives", kill_one_that_receives),
    ("kill_one_that_waits", kill_one_that_waits),
    ("kill_oneself", kill_oneself),
    ("kill_is_not_for_everybody", kill_is_not_for_everybody),
    ("fault_is_told_to_the_parent", fault_is_told_to_the_parent),
    ("fault_of_each_kind", fault_of_each_kind),
    ("threads_share_memory", threads_share_memory),
    ("threads_have_stacks_of_their_own", threads_have_stacks_of_their_own),
    ("threads_in_quantity", threads_in_quantity),
];

fn fork_returns_twice() -> bool {
    let parent = call::getpid();
    let report = report(|| i32::from(call::getpid() == parent));
    check!(report.how == EXITED && report.status == 0);
    check!(call::getpid() == parent);
    true
}

fn fork_and_wait_in_a_row() -> bool {
    for status in 0..12 {
        check!(report(|| status).status == status);
    }
    true
}

fn fork_and_wait_side_by_side() -> bool {
    const COUNT: i32 = 12;
    for status in 0..COUNT {
        child(|| status);
    }
    let mut sum = 0;
    for _ in 0..COUNT {
        match call::wait(0) {
            Ok(report) => sum += report.status,
            Err(error) => check!(false, "{error:?}"),
        }
    }
    check!(sum == COUNT * (COUNT - 1) / 2);
    check!(call::wait(0) == Err(Error::NoChild));
    true
}

fn fork_until_the_table_is_full() -> bool {
    let mut count = 0;
    let error = loop {
        match call::fork() {
            Ok(Some(_)) => count += 1,
            Ok(None) => {
                let _ = message::receive(0);
                call::exit(0)
            }
            Err(error) => break error,
        }
    };
    check!(error == Error::NoMemory);
    check!(count > 20 && count < TASKS, "{count} children");
    for place in 0..TASKS {
        if let Ok(Some(info)) = call::inspect(place)
            && info.parent == call::getpid()
        {
            check!(call::kill(info.task) == Ok(()));
        }
    }
    for _ in 0..count {
        check!(call::wait(0).is_ok_and(|report| report.how == KILLED));
    }
    true
}

fn exit_status_can_be_negative() -> bool {
    check!(report(|| -7).status == -7);
    check!(report(|| i32::MIN).status == i32::MIN);
    true
}

fn wait_without_children() -> bool {
    check!(call::wait(0) == Err(Error::NoChild));
    check!(call::wait(1) == Err(Error::NoChild));
    check!(call::wait(u32::MAX) == Err(Error::NoChild));
    check!(call::wait_not(0) == Err(Error::NoChild));
    true
}

fn wait_for_one_child() -> bool {
    let (first, second) = (child(|| 1), child(|| 2));
    check!(call::wait(second).is_ok_and(|report| report.status == 2 && report.task == second));
    check!(call::wait(first).is_ok_and(|report| report.status == 1 && report.task == first));
    check!(call::wait(first) == Err(Error::NoChild));
    true
}

fn wait_not_waiting() -> bool {
    let child = child(|| {
        let _ = message::receive(0);
        5
    });
    check!(call::wait_not(child) == Ok(None));
    check!(message::notify(child, 1) == Ok(()));
    check!(until_state(child, b"Z"));
    check!(matches!(call::wait_not(child), Ok(Some(report)) if report.status == 5));
    true
}

fn identifiers_are_not_used_again() -> bool {
    let first = child(|| 0);
    check!(call::wait(first).is_ok());
    let second = child(|| 0);
    check!(first != second);
    check!(call::kill(first) == Err(Error::NoSuchTask));
    check!(message::notify(first, 1) == Err(Error::NoSuchTask));
    check!(call::wait(second).is_ok());
    true
}

static SEEN: AtomicU32 = AtomicU32::new(0);

/// A child starts a grandchild and ends; the grandchild sees who its parent is then.
fn orphans_go_to_init() -> bool {
    let grandparent = call::getpid();
    let middle = child(|| {
        let middle = call::getpid();
        child(move || {
            for _ in 0..100 {
                let parent = info(call::getpid()).map_or(0, |info| info.parent);
                if parent != middle {
                    // Neither the child that is gone nor its parent: init, or idle without one.
                    let good = parent != grandparent && parent <= 1;
                    let _ = message::notify(grandparent, if good { 1 } else { 2 });
                    return 0;
                }
                let _ = call::sleep(1);
            }
            let _ = message::notify(grandparent, 4);
            0
        });
        0
    });
    check!(call::wait(middle).is_ok());
    let mut bits = 0;
    while bits & 7 == 0 {
        bits = message::receive(0).map_or(8, |(_, message)| message.label);
    }
    check!(bits & 7 == 1, "bits {bits:x}");
    check!(call::wait(0) == Err(Error::NoChild));
    true
}

fn orphans_in_quantity() -> bool {
    for _ in 0..5 {
        let middle = child(|| {
            for _ in 0..4 {
                child(|| 0);
            }
            0
        });
        check!(call::wait(middle).is_ok());
    }
    check!(call::wait(0) == Err(Error::NoChild));
    true
}

fn killed(task: u32) -> bool {
    call::kill(task) == Ok(()) && call::wait(task).is_ok_and(|report| report.how == KILLED)
}

fn kill_one_that_runs() -> bool {
    check!(killed(child(|| loop {
        spin(100);
    })));
    true
}

fn kill_one_that_sleeps() -> bool {
    let sleeper = child(|| i32::from(call::sleep(100_000).is_ok()));
    check!(until_state(sleeper, b"S"));
    check!(killed(sleeper));
    true
}

fn kill_one_that_receives() -> bool {
    let receiver = child(|| i32::from(message::receive(0).is_ok()));
    check!(until_state(receiver, b"M"));
    check!(killed(receiver));
    true
}

fn kill_one_that_waits() -> bool {
    let waiting = child(|| {
        child(|| {
            loop {
                let _ = call::sleep(1);
                if info(call::getpid()).is_none_or(|info| info.parent <= 1) {
                    return 0;
                }
            }
        });
        call::wait(0).map_or(1, |_| 0)
    });
    check!(until_state(waiting, b"W"));
    check!(killed(waiting));
    true
}

fn kill_oneself() -> bool {
    let report = report(|| {
        let _ = call::kill(call::getpid());
        3
    });
    check!(report.how == KILLED);
    true
}

fn kill_is_not_for_everybody() -> bool {
    let parent = call::getpid();
    let report = report(|| {
        call::restrict(0);
        let refused = call::kill(parent) == Err(Error::NotAllowed);
        let none = call::kill(0xFFFF) == Err(Error::NoSuchTask);
        let idle = call::kill(0) == Err(Error::NoSuchTask);
        i32::from(!(refused && none && idle))
    });
    check!(report.how == EXITED && report.status == 0);
    true
}

fn fault_is_told_to_the_parent() -> bool {
    let address = KERNEL + 0x10_0000;
    let report = report(|| {
        // SAFETY: it faults, and the child ends there.
        unsafe { (address as *const u32).read_volatile() as i32 }
    });
    check!(report.how == FAULTED && report.vector == 14);
    check!(report.address == address && report.error == 5, "{report:?}");
    check!((PROGRAM..PROGRAM + 0x4_0000).contains(&report.eip), "{report:?}");
    true
}

fn fault_of_each_kind() -> bool {
    let kinds: [(u32, fn()); 8] = [
        // SAFETY: each of these faults, and the child ends there.
        (0, || unsafe {
            asm!("xor ecx, ecx", "div ecx", out("ecx") _, out("eax") _, out("edx") _)
        }),
        // SAFETY: as above.
        (3, || unsafe { asm!("int3") }),
        // SAFETY: as above.
        (6, || unsafe { asm!("ud2") }),
        // SAFETY: as above.
        (13, || unsafe { asm!("cli") }),
        // SAFETY: as above.
        (13, || unsafe { asm!("hlt") }),
        // SAFETY: as above.
        (13, || unsafe { asm!("int 14") }),
        // SAFETY: as above.
        (13, || unsafe { asm!("mov ds, eax", in("eax") 0x10) }),
        // SAFETY: as above.
        (14, || unsafe { asm!("mov dword ptr [eax], 0", in("eax") PROGRAM) }),
    ];
    for (vector, fault) in kinds {
        let report = report(|| {
            fault();
            0
        });
        check!(report.how == FAULTED && report.vector == vector, "{vector}: {report:?}");
    }
    true
}

extern "C" fn add(argument: u32) -> ! {
    SEEN.fetch_add(argument, SeqCst);
    call::exit(argument as i32)
}

fn threads_share_memory() -> bool {
    SEEN.store(0, SeqCst);
    for argument in [3, 4] {
        let thread = call::thread(add, argument).unwrap_or(0);
        check!(call::wait(thread).is_ok_and(|report| report.status == argument as i32));
    }
    check!(SEEN.load(SeqCst) == 7);
    true
}

extern "C" fn tell_stack(_: u32) -> ! {
    let local = 0_u32;
    let address = core::ptr::from_ref(&local) as u32;
    SEEN.store(address, SeqCst);
    let _ = message::receive(0);
    call::exit(0)
}

fn threads_have_stacks_of_their_own() -> bool {
    let mut addresses = [0; 4];
    let mut threads = [0; 4];
    for (address, thread) in addresses.iter_mut().zip(&mut threads) {
        SEEN.store(0, SeqCst);
        *thread = call::thread(tell_stack, 0).unwrap_or(0);
        check!(*thread != 0);
        check!(until_state(*thread, b"M"));
        *address = SEEN.load(SeqCst);
    }
    let local = 0_u32;
    let mine = core::ptr::from_ref(&local) as u32;
    let size = abi::layout::STACK_SIZE;
    for (index, address) in addresses.iter().enumerate() {
        check!(address.abs_diff(mine) >= size);
        check!(addresses[..index].iter().all(|other| other.abs_diff(*address) >= size));
    }
    for thread in threads {
        check!(message::notify(thread, 1) == Ok(()));
        check!(call::wait(thread).is_ok_and(|report| report.how == EXITED));
    }
    true
}

fn threads_in_quantity() -> bool {
    for _ in 0..3 {
        let mut threads = alloc::vec::Vec::new();
        while let Ok(thread) = call::thread(tell_stack, 0) {
            threads.push(thread);
            check!(threads.len() < abi::layout::STACKS as usize);
        }
        check!(threads.len() == abi::layout::STACKS as usize - 1);
        for thread in threads {
            check!(message::notify(thread, 1) == Ok(()));
            check!(call::wait(thread).is_ok_and(|report| report.how == EXITED));
        }
    }
    true
}
