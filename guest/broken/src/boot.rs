//! What `entry.s` needs from Rust, and the macro that puts it into a binary.

use arch::OneCpu;
use arch::multiboot::Info;
use core::cell::UnsafeCell;

/// The size of [`STACK`].
pub const STACK_SIZE: usize = 8192;

/// The stack until the first task runs.
// SAFETY: written and read by pushes and pops only.
pub static STACK: OneCpu<UnsafeCell<[u64; STACK_SIZE / 8]>> =
    unsafe { OneCpu::new(UnsafeCell::new([0; STACK_SIZE / 8])) };

/// The first Rust code, with what the loader left in EAX and EBX.
pub extern "C" fn enter(magic: u32, info: u32) -> ! {
    // SAFETY: called by `entry.s` with those registers. Memory is used where the loader put it;
    // what is overwritten later is not looked at again.
    match unsafe { Info::new(magic, info, 0) } {
        Some(info) => crate::start(info),
        None => panic!("not started by a Multiboot loader"),
    }
}

/// Puts all assembly of the kernel into a binary: with no-ops for probes, or without.
#[macro_export]
macro_rules! entries {
    (cooperative = $cooperative:literal) => {
        ::core::arch::global_asm!(
            ::core::include_str!("../entry.s"),
            cooperative = const $cooperative,
            magic = const $crate::boot::HEADER_MAGIC,
            flags = const $crate::boot::HEADER_FLAGS,
            stub = const $crate::trap::STUB,
            kernel_data = const $crate::boot::KERNEL_DATA,
            user_data = const $crate::boot::USER_DATA,
            system_call = const $crate::boot::SYSTEM_CALL,
            stack = sym $crate::boot::STACK,
            stack_size = const $crate::boot::STACK_SIZE,
            start = sym $crate::boot::enter,
            trap = sym $crate::trap::trap,
            options(att_syntax),
        );
    };
}

pub use abi::vector::SYSTEM_CALL;
pub use arch::multiboot::{HEADER_FLAGS, HEADER_MAGIC};

/// The selector that the kernel's data segment registers hold.
pub const KERNEL_DATA: u16 = crate::segments::KERNEL_DATA.0;
/// The selector that ring 3's hold.
pub const USER_DATA: u16 = crate::segments::USER_DATA.0;
