//! Which vector means what. The first 32 are the processor's (Intel SDM vol. 3A, table 6-1).

/// Debug: a single step, or a breakpoint in a debug register.
pub const DEBUG: u8 = 1;
/// The non-maskable interrupt.
pub const NMI: u8 = 2;
/// INT3.
pub const BREAKPOINT: u8 = 3;
/// INTO.
pub const OVERFLOW: u8 = 4;
/// The FPU may not be used (now).
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
/// A fault while another was being delivered.
pub const DOUBLE_FAULT: u8 = 8;
/// General protection.
pub const GENERAL_PROTECTION: u8 = 13;
/// A page fault; CR2 holds the address.
pub const PAGE_FAULT: u8 = 14;
/// The machine itself is broken.
pub const MACHINE_CHECK: u8 = 18;

/// How many vectors belong to the processor.
pub const EXCEPTIONS: u8 = 32;

/// The first of the sixteen vectors of the two 8259s.
pub const IRQ: u8 = 0x20;
/// IRQ 0: channel 0 of the 8254.
pub const TIMER: u8 = IRQ;
/// IRQ 7, which the first 8259 also gives when a request has vanished.
pub const SPURIOUS_FIRST: u8 = IRQ + 7;
/// IRQ 15, the same of the second.
pub const SPURIOUS_SECOND: u8 = IRQ + 15;

/// System calls.
pub const SYSTEM_CALL: u8 = 0x80;

/// The short name of a processor exception, as the manuals write it.
pub const fn mnemonic(vector: u8) -> &'static str {
    match vector {
        0 => "#DE",
        1 => "#DB",
        2 => "NMI",
        3 => "#BP",
        4 => "#OF",
        5 => "#BR",
        6 => "#UD",
        7 => "#NM",
        8 => "#DF",
        10 => "#TS",
        11 => "#NP",
        12 => "#SS",
        13 => "#GP",
        14 => "#PF",
        16 => "#MF",
        17 => "#AC",
        18 => "#MC",
        19 => "#XM",
        _ => "vector",
    }
}

/// Whether the processor pushes an error code for this vector (not so for INT n, or from outside).
pub const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}
