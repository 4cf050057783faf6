//! Ports, interrupts, and the other way into the kernel.

use crate::Case;
use crate::tools::{child, report};
use abi::call::{Call, Error};
use abi::task::{EXITED, FAULTED};
use core::arch::asm;
use user::call::{self, Registers};
use user::message::{self, Message};

pub(crate) const CASES: &[Case] = &[
    ("ports_are_closed", ports_are_closed),
    ("ports_are_opened_one_by_one", ports_are_opened_one_by_one),
    ("ports_are_not_inherited", ports_are_not_inherited),
    ("interrupts_have_one_driver", interrupts_have_one_driver),
    ("sysenter_does_the_same", sysenter_does_the_same),
    ("sysenter_in_quantity", sysenter_in_quantity),
    ("sysenter_waits_too", sysenter_waits_too),
    ("sysenter_without_a_way_back", sysenter_without_a_way_back),
    ("sysenter_with_strange_flags", sysenter_with_strange_flags),
];

/// The scratch register of the serial port: it only remembers a byte.
const SCRATCH: u16 = 0x3FF;

fn write_port(port: u16, value: u8) {
    // SAFETY: the ports that are passed do no harm, or the program ends here.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value) };
}

fn read_port(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value) };
    value
}

fn faults(what: impl FnOnce()) -> bool {
    let report = report(|| {
        what();
        0
    });
    report.how == FAULTED && report.vector == 13
}

fn ports_are_closed() -> bool {
    for port in [0, 0x20, 0x40, 0xE9, 0xF4, SCRATCH, 0x400, 0xFFFF] {
        check!(faults(|| write_port(port, 0)), "{port:x}");
        check!(faults(|| {
            read_port(port);
        }));
    }
    true
}

fn ports_are_opened_one_by_one() -> bool {
    check!(call::ports(SCRATCH, 1) == Ok(()));
    for value in [0x5A, 0xA5] {
        write_port(SCRATCH, value);
        call::yield_now();
        check!(read_port(SCRATCH) == value);
    }
    check!(faults(|| write_port(SCRATCH - 1, 0)));
    check!(faults(|| write_port(SCRATCH + 1, 0)));
    true
}

fn ports_are_not_inherited() -> bool {
    check!(call::ports(SCRATCH, 1) == Ok(()));
    write_port(SCRATCH, 1);
    check!(faults(|| write_port(SCRATCH, 2)));
    check!(read_port(SCRATCH) == 1);
    // Nor does who opens others get these as well.
    let other = || {
        let _ = call::ports(SCRATCH - 1, 1);
        read_port(SCRATCH - 1);
        call::yield_now();
        read_port(SCRATCH - 1);
        0
    };
    check!(report(other).status == 0 && report(other).how == EXITED);
    check!(faults(|| {
        other();
        write_port(SCRATCH, 2);
    }));
    check!(read_port(SCRATCH) == 1);
    true
}

fn interrupts_have_one_driver() -> bool {
    check!(call::attach(5, 1) == Ok(()) && call::attach(5, 2) == Ok(()));
    check!(call::acknowledge(5) == Ok(()) && call::acknowledge(6) == Err(Error::NotAllowed));
    let other = report(|| i32::from(call::attach(5, 1) != Err(Error::NotAllowed)));
    check!(other.status == 0);
    check!(report(|| i32::from(call::attach(6, 1) != Ok(()))).status == 0);
    // The driver has ended, so the line is free.
    check!(call::attach(6, 1) == Ok(()));
    true
}

/// Whether there is a SYSENTER to try.
fn has_sysenter() -> bool {
    let has = call::fast().is_ok();
    if !has {
        user::println!("  (this processor has no SYSENTER)");
    }
    has
}

fn by_sysenter(call: Call, ebx: u32, words: [u32; 4]) -> Registers {
    let [ecx, edx, esi, edi] = words;
    let mut registers = Registers { eax: call as u32, ebx, ecx, edx, esi, edi };
    // SAFETY: callers pass calls that write no memory; `fast` has said where it returns to.
    unsafe { call::sysenter(&mut registers) };
    registers
}

fn sysenter_does_the_same() -> bool {
    if !has_sysenter() {
        return true;
    }
    let got = by_sysenter(Call::GetPid, 1, [2, 3, 4, 5]);
    check!(got.eax == call::getpid() && got.esi == 4 && got.edi == 5, "{got:?}");
    check!(by_sysenter(Call::Sleep, 1 << 31, [0; 4]).eax == Error::BadArgument as u32);
    check!(by_sysenter(Call::Write, 0xC000_0000, [4, 0, 0, 0]).eax == Error::BadAddress as u32);
    true
}

fn sysenter_in_quantity() -> bool {
    if !has_sysenter() {
        return true;
    }
    let me = call::getpid();
    for _ in 0..50 {
        check!(by_sysenter(Call::GetPid, 0, [0; 4]).eax == me);
    }
    let child = child(|| i32::from(by_sysenter(Call::GetPid, 0, [0; 4]).eax != call::getpid()));
    check!(call::wait(child).is_ok_and(|report| report.status == 0));
    true
}

fn sysenter_waits_too() -> bool {
    if !has_sysenter() {
        return true;
    }
    let before = call::uptime();
    check!(by_sysenter(Call::Sleep, 2, [0; 4]).eax == 0);
    check!(call::uptime() >= before + 2);
    let server = child(|| match message::receive(0) {
        Ok((from, message)) => i32::from(message::reply(from, message).is_err()),
        Err(_) => 1,
    });
    let Message { label, word, third, length } = Message::short(1, 2, 3);
    let got = by_sysenter(Call::Call, server, [label, word, third, length]);
    check!(got.eax == 0 && [got.ecx, got.edx, got.esi, got.edi] == [1, 2, 3, 0], "{got:?}");
    check!(call::wait(server).is_ok_and(|report| report.status == 0));
    true
}

fn sysenter_without_a_way_back() -> bool {
    if !has_sysenter() {
        return true;
    }
    let report = report(|| {
        // SAFETY: 0 is nowhere.
        unsafe { call::raw(Call::Fast as u32, [0; 5]) };
        by_sysenter(Call::GetPid, 0, [0; 4]);
        0
    });
    check!(report.how == FAULTED && report.vector == 13, "{report:?}");
    true
}

/// NT, TF, DF and AC come along into the kernel; the program ends, or goes on, alone.
fn sysenter_with_strange_flags() -> bool {
    if !has_sysenter() {
        return true;
    }
    for flag in [1_u32 << 14, 1 << 8, 1 << 10, 1 << 18] {
        let report = report(|| {
            let mut registers = Registers { eax: Call::GetPid as u32, ..Registers::default() };
            // SAFETY: the flags are cleared again; with TF the program may end here.
            unsafe {
                asm!("pushfd", "or [esp], {}", "popfd", in(reg) flag);
                call::sysenter(&mut registers);
                asm!("pushfd", "and dword ptr [esp], 0xFFFBBAFF", "popfd", "cld");
            }
            i32::from(registers.eax != call::getpid())
        });
        check!(report.status == 0 && report.how == 0 || flag == 1 << 8, "{flag:x}: {report:?}");
    }
    true
}
