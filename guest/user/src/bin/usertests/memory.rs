//! Memory: copy-on-write, stacks that grow, the heap, and what happens when there is no more.

use crate::Case;
use crate::tools::{child, report};
use abi::call::Error;
use abi::layout::{PAGE, PROGRAM, STACK_SIZE, STACK_TOP};
use abi::task::{Counters, FAULTED};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use user::{call, message};

pub(crate) const CASES: &[Case] = &[
    ("memory_of_a_child_is_its_own", memory_of_a_child_is_its_own),
    ("memory_of_a_parent_is_its_own", memory_of_a_parent_is_its_own),
    ("memory_shared_by_three_generations", memory_shared_by_three_generations),
    ("memory_that_the_kernel_writes_is_copied_too", memory_that_the_kernel_writes_is_copied_too),
    ("text_is_read_only_for_the_kernel_too", text_is_read_only_for_the_kernel_too),
    ("stack_grows_on_demand", stack_grows_on_demand),
    ("stack_has_a_limit", stack_has_a_limit),
    ("stack_grows_for_the_kernel_too", stack_grows_for_the_kernel_too),
    ("heap_grows_and_is_zero", heap_grows_and_is_zero),
    ("heap_shrinks", heap_shrinks),
    ("heap_has_limits", heap_has_limits),
    ("heap_until_memory_is_used_up", heap_until_memory_is_used_up),
    ("fork_when_memory_is_used_up", fork_when_memory_is_used_up),
    ("stack_when_memory_is_used_up", stack_when_memory_is_used_up),
    ("allocator_gives_memory_back", allocator_gives_memory_back),
];

static WORD: AtomicU32 = AtomicU32::new(0);

fn memory_of_a_child_is_its_own() -> bool {
    WORD.store(1, SeqCst);
    let report = report(|| {
        WORD.store(2, SeqCst);
        WORD.load(SeqCst) as i32
    });
    check!(report.status == 2);
    check!(WORD.load(SeqCst) == 1);
    true
}

fn memory_of_a_parent_is_its_own() -> bool {
    WORD.store(1, SeqCst);
    let child = child(|| {
        let _ = message::receive(0);
        WORD.load(SeqCst) as i32
    });
    WORD.store(2, SeqCst);
    check!(message::notify(child, 1) == Ok(()));
    check!(call::wait(child).is_ok_and(|report| report.status == 1));
    check!(WORD.load(SeqCst) == 2);
    true
}

fn memory_shared_by_three_generations() -> bool {
    WORD.store(1, SeqCst);
    let report = report(|| {
        let grandchild = report(|| {
            WORD.store(30, SeqCst);
            WORD.load(SeqCst) as i32
        });
        WORD.fetch_add(1, SeqCst);
        grandchild.status + WORD.load(SeqCst) as i32
    });
    check!(report.status == 32 && WORD.load(SeqCst) == 1);
    true
}

/// The kernel is the first to write to a page that is shared since the fork.
fn memory_that_the_kernel_writes_is_copied_too() -> bool {
    let page = alloc::boxed::Box::new([7_u8; 64]);
    let address = page.as_ptr() as u32;
    let report = report(|| {
        // SAFETY: the page is the child's own, though not yet alone.
        let result = unsafe { call::raw(18, [address, 0, 0, 0, 0]) };
        let changed = core::hint::black_box(&page)[..size_of::<Counters>()].iter().any(|&b| b != 7);
        i32::from(result != 0 || !changed)
    });
    check!(report.status == 0);
    check!(core::hint::black_box(&page).iter().all(|&byte| byte == 7));
    true
}

fn text_is_read_only_for_the_kernel_too() -> bool {
    // SAFETY: it has to be refused.
    check!(unsafe { call::raw(18, [PROGRAM, 0, 0, 0, 0]) } == Error::BadAddress as i32);
    true
}

fn stack_grows_on_demand() -> bool {
    let before = call::counters();
    let bottom = STACK_TOP - STACK_SIZE;
    for page in (bottom..STACK_TOP - 2 * PAGE).step_by(PAGE as usize) {
        // SAFETY: below what is used of this stack, and above its end.
        unsafe {
            check!((page as *const u32).read_volatile() == 0);
            (page as *mut u32).write_volatile(page);
        }
    }
    let after = call::counters();
    check!(after.frames >= before.frames + STACK_SIZE / PAGE - 4);
    true
}

fn stack_has_a_limit() -> bool {
    for below in [4, PAGE, PAGE + 4] {
        let address = STACK_TOP - STACK_SIZE - below;
        let report = report(|| {
            // SAFETY: it faults, and the child ends there.
            unsafe { (address as *mut u32).write_volatile(1) };
            0
        });
        check!(report.how == FAULTED && report.address == address, "{report:?}");
    }
    true
}

fn stack_grows_for_the_kernel_too() -> bool {
    let bottom = STACK_TOP - STACK_SIZE;
    // SAFETY: nothing of this stack is used down there.
    check!(unsafe { call::raw(18, [bottom, 0, 0, 0, 0]) } == 0);
    // SAFETY: as above; now the page is there.
    check!(unsafe { (bottom as *const u32).read_volatile() } > 0);
    // SAFETY: it has to be refused.
    check!(unsafe { call::raw(18, [bottom - 4, 0, 0, 0, 0]) } == Error::BadAddress as i32);
    true
}

fn heap_grows_and_is_zero() -> bool {
    let Ok(start) = call::grow(3 * PAGE as i32) else { return false };
    for at in (start..start + 3 * PAGE).step_by(252) {
        // SAFETY: the memory has just been given to us.
        unsafe {
            check!((at as *const u32).read_volatile() == 0);
            (at as *mut u32).write_volatile(at);
        }
    }
    check!(call::grow(0) == Ok(start + 3 * PAGE));
    true
}

fn heap_shrinks() -> bool {
    let Ok(start) = call::grow(2 * PAGE as i32) else { return false };
    check!(call::grow(-(PAGE as i32)) == Ok(start + 2 * PAGE));
    let gone = start.next_multiple_of(PAGE) + PAGE;
    let report = report(|| {
        // SAFETY: it faults, and the child ends there.
        unsafe { (gone as *mut u32).write_volatile(1) };
        0
    });
    check!(report.how == FAULTED, "{report:?}");
    true
}

fn heap_has_limits() -> bool {
    check!(call::grow(i32::MIN) == Err(Error::BadArgument));
    check!(call::grow(-(64 << 20)) == Err(Error::BadArgument));
    let Ok(end) = call::grow(0) else { return false };
    check!(end > PROGRAM && end < STACK_TOP);
    true
}

fn heap_until_memory_is_used_up() -> bool {
    let Ok(start) = call::grow(0) else { return false };
    let mut step = 1 << 22;
    while step >= PAGE {
        match call::grow(step as i32) {
            Ok(at) => {
                // SAFETY: the memory has just been given to us.
                unsafe { (at as *mut u32).write_volatile(at) };
            }
            Err(error) => {
                check!(error == Error::NoMemory || error == Error::BadArgument);
                step /= 2;
            }
        }
    }
    let Ok(end) = call::grow(0) else { return false };
    check!(end - start > 1 << 20);
    check!(call::counters().frames_free < 16);
    check!(call::grow(start.cast_signed().wrapping_sub(end.cast_signed())) == Ok(end));
    check!(call::counters().frames_free > (end - start) / PAGE - 16);
    true
}

/// Uses memory up but for so many frames.
fn use_memory_up(but: u32) {
    let free = call::counters().frames_free;
    // Page tables take some as well.
    let mut pages = free.saturating_sub(but + free / 1000);
    while pages > 0 && call::grow((pages * PAGE) as i32).is_err() {
        pages -= 1;
    }
    while call::counters().frames_free > but && call::grow(PAGE as i32).is_ok() {}
}

fn fork_when_memory_is_used_up() -> bool {
    for left in [0, 1, 2, 3, 5, 6] {
        let report = report(|| {
            use_memory_up(left);
            let before = call::counters();
            match call::fork() {
                Err(Error::NoMemory) => i32::from(call::counters().tasks != before.tasks),
                _ => 1,
            }
        });
        // It may itself end for want of a page to write to.
        let starved = report.how == FAULTED && report.vector == 14;
        check!(report.status == 0 && report.how == 0 || starved, "{left} frames left: {report:?}");
    }
    true
}

fn stack_when_memory_is_used_up() -> bool {
    let report = report(|| {
        let bottom = STACK_TOP - STACK_SIZE;
        use_memory_up(0);
        // A system call is told so; the program itself has to end for it.
        // SAFETY: nothing of this stack is used down there.
        let refused = unsafe { call::raw(18, [bottom, 0, 0, 0, 0]) } == Error::NoMemory as i32;
        if !refused {
            return 1;
        }
        // SAFETY: as above.
        unsafe { (bottom as *mut u32).write_volatile(1) };
        2
    });
    check!(report.how == FAULTED && report.vector == 14, "{report:?}");
    true
}

fn allocator_gives_memory_back() -> bool {
    use alloc::vec::Vec;
    let mut kept: Vec<Vec<u32>> = Vec::new();
    for round in 0..6_u32 {
        for size in [1_usize, 10, 100] {
            kept.push((0..size as u32).map(|n| n ^ round).collect());
        }
        kept.retain(|list| list.len() % 3 != 1 || list.len() == 10);
    }
    check!(
        kept.iter()
            .all(|list| (1..list.len()).all(|n| list[n] ^ list[n - 1] == (n ^ (n - 1)) as u32))
    );
    drop(kept);
    let Ok(before) = call::grow(0) else { return false };
    for _ in 0..10 {
        let list: Vec<u8> = Vec::with_capacity(8000);
        core::hint::black_box(&list);
    }
    check!(call::grow(0) == Ok(before));
    true
}
