//! What a hostile program can bring along when it enters ring 0, row by row.
//!
//! Each row runs in a child. Either ring 3 goes on and finds its registers as they were, or the
//! processor or the kernel refuses, and the child ends for it, alone. What ring 3 cannot even try on
//! this kernel is listed as well, with the reason: no descriptor or no call offers it.

use abi::call::Call;
use abi::layout::{KERNEL, STACK_TOP};
use abi::task::{EXITED, FAULTED, Report};
use core::arch::asm;
use user::call::{self, Registers};
use user::println;

/// How a row has to end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Ring 3 goes on, and all is as it was.
    GoesOn,
    /// The child ends by this exception, with this error code.
    Faults(u32, u32),
    /// Either is fine: that it can be tried at all is an error of the processor.
    GoesOnOrEnds,
    /// One or the other: a single step is lost where somebody else single-steps.
    GoesOnOrFaults(u32),
}
use End::{Faults, GoesOn, GoesOnOrEnds, GoesOnOrFaults};

/// A name, how it has to end, and what it does: 0 if all is as it was.
type Row = (&'static str, End, fn() -> i32);

const DEBUG: u32 = 1;
const PROTECTION: u32 = 13;

const ROWS: &[Row] = &[
    ("ESP is 0", GoesOn, || with_stack(0)),
    ("ESP is odd", GoesOn, || with_stack(STACK_TOP - 8191)),
    ("ESP leads to where nothing is mapped", GoesOn, || with_stack(0x7000_0000)),
    ("ESP leads into the kernel's text", GoesOn, || with_stack(KERNEL + 0x10_2000)),
    ("ESP leads into a kernel stack", GoesOn, || with_stack(0xF000_7FF0)),
    ("ESP is at the very end", GoesOn, || with_stack(u32::MAX)),
    ("DF is set", GoesOn, || with_flags(1 << 10)),
    ("AC is set", GoesOn, || with_flags(1 << 18)),
    ("NT is set", GoesOn, || with_flags(1 << 14)),
    ("NT is set, by SYSENTER", GoesOn, || by_sysenter(1 << 14)),
    ("DF and AC are set, by SYSENTER", GoesOn, || by_sysenter(1 << 10 | 1 << 18)),
    ("TF is set", GoesOnOrFaults(DEBUG), || with_flags(1 << 8)),
    ("TF is set, by SYSENTER", GoesOnOrFaults(DEBUG), || by_sysenter(1 << 8)),
    ("MOV SS in front of INT, with TF", GoesOnOrFaults(DEBUG), mov_ss),
    ("ICEBP", Faults(DEBUG, 0), || {
        // SAFETY: the child ends there.
        unsafe { asm!(".byte 0xF1") };
        1
    }),
    ("INT 0, whose gate has DPL 0", Faults(PROTECTION, 2), || {
        // SAFETY: as above.
        unsafe { asm!("int 0") };
        1
    }),
    ("INT 8, whose gate is a task gate", Faults(PROTECTION, 8 * 8 + 2), || {
        // SAFETY: as above.
        unsafe { asm!("int 8") };
        1
    }),
    ("INT 14, which would push an error code", Faults(PROTECTION, 14 * 8 + 2), || {
        // SAFETY: as above.
        unsafe { asm!("int 14") };
        1
    }),
    ("INT 32, the timer's", Faults(PROTECTION, 32 * 8 + 2), || {
        // SAFETY: as above.
        unsafe { asm!("int 32") };
        1
    }),
    ("INT 255, the last one", Faults(PROTECTION, 255 * 8 + 2), || {
        // SAFETY: as above.
        unsafe { asm!("int 255") };
        1
    }),
    ("DS, ES, FS and GS are null", GoesOn, || with_segments(0)),
    ("DS, ES, FS and GS are null with RPL 3", GoesOn, || with_segments(3)),
    ("DS, ES, FS and GS are the code segment", GoesOn, || with_segments(0x1B)),
    ("DS is the kernel's", Faults(PROTECTION, 0x10), || with_segments(0x10)),
    ("DS is in an LDT that is not there", Faults(PROTECTION, 0x04), || with_segments(0x07)),
    ("SS is null", Faults(PROTECTION, 0), || {
        // SAFETY: the child ends there.
        unsafe { asm!("mov ss, eax", in("eax") 0) };
        1
    }),
    ("SS is the kernel's", Faults(PROTECTION, 0x10), || {
        // SAFETY: as above.
        unsafe { asm!("mov ss, eax", in("eax") 0x10) };
        1
    }),
    ("SS is in an LDT, as a 16-bit segment would be", Faults(PROTECTION, 0x0C), || {
        // SAFETY: as above.
        unsafe { asm!("mov ss, eax", in("eax") 0x0F) };
        1
    }),
    ("a far return to the kernel's code", Faults(PROTECTION, 0x08), || far_return(0x08)),
    ("a far return to nowhere", Faults(PROTECTION, 0), || far_return(0)),
    ("a far return to a data segment", Faults(PROTECTION, 0x20), || far_return(0x23)),
    ("an IRET to the kernel's code", Faults(PROTECTION, 0x08), || iret(0x08, 0x202)),
    ("an IRET with NT", Faults(10, 0), iret_nested),
    // VM is not for ring 3 to change; QEMU's CPU model does change it.
    ("an IRET to virtual-8086 mode", GoesOnOrEnds, || iret(0x1B, 1 << 17 | 0x202)),
    ("an IRET with IOPL 3 and IF 0", GoesOn, || iret(0x1B, 3 << 12 | 2)),
    ("CLI", Faults(PROTECTION, 0), || {
        // SAFETY: the child ends there.
        unsafe { asm!("cli") };
        1
    }),
    ("CLI after POPF with IOPL 3", Faults(PROTECTION, 0), || {
        with_flags(3 << 12);
        // SAFETY: as above.
        unsafe { asm!("pushfd", "or dword ptr [esp], 0x3000", "popfd", "cli") };
        1
    }),
    ("HLT", Faults(PROTECTION, 0), || {
        // SAFETY: as above.
        unsafe { asm!("hlt") };
        1
    }),
    ("a string instruction that goes on", GoesOn, long_string),
];

/// Rows of the table that this kernel gives ring 3 no means for.
const NO_MEANS: [(&str, &str); 5] = [
    ("a data watchpoint on MOV SS", "debug registers are the kernel's, and it offers none"),
    (
        "SS a 16-bit segment, CS with a base",
        "the GDT holds flat segments only, and there is no LDT",
    ),
    ("a return frame with bad CS or SS", "no call takes a frame"),
    ("ESP0 on a page that is not mapped", "see `claims k10`"),
    ("an NMI, then IRET inside its handler", "NMIs come from outside"),
];

/// Runs all rows; gives how many did not end as they have to.
pub(crate) fn all() -> i32 {
    let mut wrong = 0;
    for (name, end, row) in ROWS {
        let report = match call::fork() {
            Ok(None) => call::exit(row()),
            Ok(Some(child)) => call::wait(child).unwrap_or_default(),
            Err(_) => Report { how: u32::MAX, ..Report::default() },
        };
        if is_right(*end, &report) {
            println!("survived {name}: {}", how(&report));
        } else {
            println!("WRONG {name}: {} instead of {end:?}: {report:?}", how(&report));
            wrong += 1;
        }
    }
    for (name, reason) in NO_MEANS {
        println!("no means {name}: {reason}");
    }
    println!("hostile: {} rows survived", ROWS.len() as i32 - wrong);
    wrong
}

fn is_right(end: End, report: &Report) -> bool {
    let goes_on = report.how == EXITED && report.status == 0;
    let faults = |vector| report.how == FAULTED && report.vector == vector;
    match end {
        GoesOn => goes_on,
        Faults(vector, error) => faults(vector) && report.error == error,
        GoesOnOrEnds => goes_on || report.how == FAULTED,
        GoesOnOrFaults(vector) => goes_on || faults(vector),
    }
}

fn how(report: &Report) -> &'static str {
    match report.how {
        EXITED => "went on",
        FAULTED => abi::vector::mnemonic(report.vector as u8),
        _ => "killed",
    }
}

/// Two calls, and a wait for a tick between them, with ESP at `stack`.
fn with_stack(stack: u32) -> i32 {
    let (pid, after): (u32, u32);
    // SAFETY: nothing uses the stack before it is put back.
    unsafe {
        asm!(
            "mov edx, esp",
            "mov esp, {stack}",
            "2:",
            "dec ecx",
            "jnz 2b",
            "int 0x80",
            "mov {stack}, esp",
            "mov esp, edx",
            stack = inout(reg) stack => after,
            inout("eax") Call::GetPid as u32 => pid,
            inout("ecx") 300 => _,
            out("edx") _,
        );
    }
    i32::from(after != stack || pid != call::getpid())
}

/// A call with flags set that an honest program leaves alone.
fn with_flags(flags: u32) -> i32 {
    let (before, after): (u32, u32);
    // SAFETY: flags and stack are as before at the end, and DF is clear.
    unsafe {
        asm!(
            "pushfd",
            "pushfd",
            "or [esp], {before}",
            "mov {before}, [esp]",
            "popfd",
            "int 0x80",
            "pushfd",
            "pop {after}",
            "popfd",
            before = inout(reg) flags => before,
            after = lateout(reg) after,
            inout("eax") Call::GetPid as u32 => _,
        );
    }
    // IOPL is not for ring 3 to change, and TF is lost where somebody else single-steps.
    i32::from((before ^ after) & !(3 << 12 | 1 << 8) != 0)
}

/// The same by SYSENTER, which keeps no flags: all that counts is that it comes back.
fn by_sysenter(flags: u32) -> i32 {
    if call::fast().is_err() {
        return 0;
    }
    let mut registers = Registers { eax: Call::GetPid as u32, ..Registers::default() };
    // SAFETY: the call writes no memory; flags are made harmless behind it.
    unsafe {
        asm!("pushfd", "or [esp], {}", "popfd", in(reg) flags);
        call::sysenter(&mut registers);
        asm!("pushfd", "and dword ptr [esp], 0xFFFBBAFF", "popfd", "cld");
    }
    i32::from(registers.eax != call::getpid())
}

fn mov_ss() -> i32 {
    let pid: u32;
    // SAFETY: SS is loaded with what it holds; flags and stack are as before at the end.
    unsafe {
        asm!(
            "mov ecx, ss",
            "pushfd",
            "pushfd",
            "or dword ptr [esp], 0x100",
            "popfd",
            "mov ss, ecx",
            "int 0x80",
            "popfd",
            inout("eax") Call::GetPid as u32 => pid,
            out("ecx") _,
        );
    }
    i32::from(pid != call::getpid())
}

/// A call with a selector in all data segment registers, after a tick had time to come.
fn with_segments(selector: u32) -> i32 {
    let pid: u32;
    // SAFETY: no memory is used but by SS before all segments are flat again.
    unsafe {
        asm!(
            "mov ds, edx",
            "mov es, edx",
            "mov fs, edx",
            "mov gs, edx",
            "int 0x80",
            "mov edx, ss",
            "mov ds, edx",
            "mov es, edx",
            "mov fs, edx",
            "mov gs, edx",
            inout("edx") selector => _,
            inout("eax") Call::GetPid as u32 => pid,
        );
    }
    i32::from(pid != call::getpid())
}

fn far_return(selector: u32) -> i32 {
    // SAFETY: the child ends there.
    unsafe { asm!("push {}", "push 0", "retf", in(reg) selector) };
    1
}

/// An IRET in ring 3, to the instruction behind it.
fn iret(selector: u32, flags: u32) -> i32 {
    let after: u32;
    // SAFETY: it comes out behind the IRET with the stack as it was, or the child ends there.
    unsafe {
        asm!(
            "push {flags}",
            "push {selector}",
            "lea {flags}, [2f]",
            "push {flags}",
            "iretd",
            "2:",
            "pushfd",
            "pop {flags}",
            flags = inout(reg) flags => after,
            selector = in(reg) selector,
        );
    }
    // Interrupts are open, there is no IOPL, and no virtual-8086 mode.
    i32::from(after & (1 << 9) == 0 || after & (3 << 12 | 1 << 17) != 0)
}

/// With NT it would be a return to the task in the TSS's backlink, which is none.
fn iret_nested() -> i32 {
    // SAFETY: the child ends there.
    unsafe { asm!("pushfd", "or dword ptr [esp], 0x4000", "popfd", "iretd") };
    1
}

/// REP STOS over some ticks.
fn long_string() -> i32 {
    const COUNT: usize = 900;
    let mut bytes = [0_u8; COUNT];
    // SAFETY: as many bytes as there are.
    unsafe {
        asm!(
            "rep stosb",
            inout("edi") bytes.as_mut_ptr() => _,
            inout("ecx") COUNT => _,
            in("al") 7_u8,
        );
    }
    i32::from(bytes != [7; COUNT])
}
