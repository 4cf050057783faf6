//! Pointers and numbers that mean nothing, to every system call.

use crate::Case;
use crate::tools::{child, report};
use abi::call::{Call, Error};
use abi::layout::{KERNEL, PROGRAM, STACK_SIZE, STACK_TOP, STACKS_START};
use abi::task::{EXITED, right};
use user::call;

pub(crate) const CASES: &[Case] = &[
    ("pointers_that_are_bad_to_every_call", pointers_that_are_bad_to_every_call),
    ("pointers_at_the_edge", pointers_at_the_edge),
    ("wait_with_a_bad_pointer_reaps_nobody", wait_with_a_bad_pointer_reaps_nobody),
    ("calls_that_do_not_exist", calls_that_do_not_exist),
    ("numbers_that_are_out_of_range", numbers_that_are_out_of_range),
    ("registers_are_kept", registers_are_kept),
    ("write_says_how_much", write_says_how_much),
];

/// Addresses that nobody may pass: not mapped, the kernel's, its task blocks, the very end.
const BAD: [u32; 10] = [
    0,
    1,
    PROGRAM - 1,
    STACKS_START - 4,
    STACK_TOP - STACK_SIZE - 4,
    STACK_TOP,
    KERNEL - 2,
    KERNEL,
    0xF000_0000,
    u32::MAX - 3,
];

fn raw(call: Call, arguments: [u32; 5]) -> i32 {
    // SAFETY: what is passed has to be refused.
    unsafe { call::raw(call as u32, arguments) }
}

fn pointers_that_are_bad_to_every_call() -> bool {
    let refused = Error::BadAddress as i32;
    let zombie = child(|| 0);
    while call::inspect(0).is_ok() && !crate::tools::until_state(zombie, b"Z") {}
    for bad in BAD {
        let long = 0x1000;
        let calls = [
            (Call::Write, [bad, 16, 0, 0, 0]),
            (Call::Write, [bad, long, 0, 0, 0]),
            (Call::Wait, [zombie, if bad == 0 { 4 } else { bad }, 0, 0, 0]),
            (Call::Exec, [bad, long, bad, 0, 0]),
            (Call::Exec, [PROGRAM, 100, bad, 16, 1]),
            (Call::Counters, [bad, 0, 0, 0, 0]),
            (Call::Inspect, [0, bad, 0, 0, 0]),
            (Call::Module, [0, 0, bad, 64, 0]),
            (Call::ModuleInfo, [0, bad, 0, 0, 0]),
        ];
        for (call, arguments) in calls {
            let got = raw(call, arguments);
            check!(got == refused, "{call:?} of {bad:08x}: {got}");
        }
        if bad >= KERNEL - 2 {
            check!(raw(Call::Buffer, [bad, 16, 0, 0, 0]) == refused);
        }
    }
    // An address that does not lie in the kernel, but a length that leads there.
    for length in [KERNEL, u32::MAX, 0x8000_0000 + KERNEL / 2] {
        check!(raw(Call::Write, [PROGRAM, length, 0, 0, 0]) == refused);
        check!(raw(Call::Buffer, [PROGRAM, length, 0, 0, 0]) == refused);
    }
    check!(call::wait(zombie).is_ok());
    true
}

/// The last byte of a page is fine, and one more is not.
fn pointers_at_the_edge() -> bool {
    let top = STACK_TOP;
    check!(raw(Call::Write, [top - 1, 0, 0, 0, 0]) == 0);
    check!(raw(Call::Write, [top, 0, 0, 0, 0]) == 0);
    check!(raw(Call::Write, [top - 3, 4, 0, 0, 0]) == Error::BadAddress as i32);
    let size = size_of::<abi::task::Counters>() as u32;
    check!(raw(Call::Counters, [top - size + 1, 0, 0, 0, 0]) == Error::BadAddress as i32);
    true
}

fn wait_with_a_bad_pointer_reaps_nobody() -> bool {
    let child = child(|| 9);
    check!(raw(Call::Wait, [child, KERNEL - 4, 0, 0, 0]) == Error::BadAddress as i32);
    check!(raw(Call::Wait, [child, 4, 0, 0, 0]) == Error::BadAddress as i32);
    check!(call::wait(child).is_ok_and(|report| report.status == 9));
    true
}

fn calls_that_do_not_exist() -> bool {
    for number in [Call::ALL.len() as u32, 100, 0x80, 0xFFFF, 1 << 31, u32::MAX] {
        // SAFETY: there is no such call.
        check!(unsafe { call::raw(number, [1, 2, 3, 4, 5]) } == Error::NoSuchCall as i32);
    }
    true
}

fn numbers_that_are_out_of_range() -> bool {
    let bad = Error::BadArgument as i32;
    check!(raw(Call::Sleep, [1 << 31, 0, 0, 0, 0]) == bad);
    check!(raw(Call::Wait, [0, 0, 2, 0, 0]) == bad);
    check!(raw(Call::Priority, [0, 8, 0, 0, 0]) == bad);
    check!(raw(Call::Inspect, [1 << 20, STACK_TOP - 4096, 0, 0, 0]) == bad);
    check!(raw(Call::Module, [999, 0, STACK_TOP - 4096, 4, 0]) == bad);
    check!(raw(Call::Module, [0, u32::MAX, STACK_TOP - 4096, 4, 0]) == bad);
    check!(raw(Call::Notify, [call::getpid(), 1 << 31, 0, 0, 0]) == bad);
    check!(raw(Call::Attach, [0, 1, 0, 0, 0]) == bad);
    check!(raw(Call::Attach, [16, 1, 0, 0, 0]) == bad);
    check!(raw(Call::Ports, [0x3FF, 2, 0, 0, 0]) == bad);
    check!(raw(Call::Ports, [u32::MAX, 2, 0, 0, 0]) == bad);
    let report = report(|| {
        call::restrict(0);
        let refused = Error::NotAllowed as i32;
        let calls = [
            raw(Call::Ports, [0x3F8, 8, 0, 0, 0]),
            raw(Call::Attach, [4, 1, 0, 0, 0]),
            raw(Call::PowerOff, [0; 5]),
            raw(Call::Priority, [0, 7, 0, 0, 0]),
            raw(Call::Acknowledge, [4, 0, 0, 0, 0]),
        ];
        i32::from(!calls.iter().all(|&result| result == refused))
            + 2 * i32::from(call::restrict(right::ALL) != 0)
    });
    check!(report.how == EXITED && report.status == 0, "{report:?}");
    true
}

fn registers_are_kept() -> bool {
    use user::call::{Registers, int80};
    let before = Registers {
        eax: Call::GetPid as u32,
        ebx: 0x1111_1111,
        ecx: 0x2222_2222,
        edx: 0x3333_3333,
        esi: 0x4444_4444,
        edi: 0x5555_5555,
    };
    let mut after = before;
    // SAFETY: the call does nothing but tell.
    unsafe { int80(&mut after) };
    check!(after == Registers { eax: call::getpid(), ..before });
    true
}

fn write_says_how_much() -> bool {
    check!(call::write(b"") == Ok(0));
    check!(call::write(b"  (a line)\n") == Ok(11));
    true
}
