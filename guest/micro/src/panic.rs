//! When the kernel itself is wrong: say so, and end the machine.

use core::panic::PanicInfo;

/// `micro: panic at micro/src/file.rs:12: what is wrong`, and off.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    arch::cpu::close_interrupts();
    match info.location() {
        Some(place) => {
            arch::println!("micro: panic at {}:{}: {}", place.file(), place.line(), info.message())
        }
        None => arch::println!("micro: panic: {}", info.message()),
    }
    arch::power::off(abi::port::EXIT_PANIC)
}
