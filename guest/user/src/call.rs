//! The system calls, as functions.

use abi::call::{Call, Error};
use core::arch::asm;

/// `int 0x80` with two arguments: all that any call takes.
fn call(call: Call, first: u32, second: u32) -> Result<u32, Error> {
    let result: i32;
    // SAFETY: the kernel changes nothing but EAX, and reads no more memory than the call says.
    unsafe {
        asm!(
            "int 0x80",
            inlateout("eax") call as u32 => result,
            in("ebx") first,
            in("ecx") second,
            options(nostack, preserves_flags),
        );
    }
    match Error::from_result(result) {
        Some(error) => Err(error),
        None => Ok(result.cast_unsigned()),
    }
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    loop {
        let _ = call(Call::Exit, status.cast_unsigned(), 0);
    }
}

/// Writes bytes to the console; gives how many.
pub fn write(bytes: &[u8]) -> Result<u32, Error> {
    write_raw(bytes.as_ptr() as u32, bytes.len() as u32)
}

/// Asks the kernel to write memory that the program need not own, to see what it says.
pub fn write_raw(address: u32, length: u32) -> Result<u32, Error> {
    call(Call::Write, address, length)
}

/// Lets the next task run.
pub fn yield_now() {
    let _ = call(Call::Yield, 0, 0);
}

/// The number of the task that this program is.
pub fn getpid() -> u32 {
    call(Call::GetPid, 0, 0).unwrap_or(0)
}

/// Sleeps through that many ticks of the timer.
pub fn sleep(ticks: u32) -> Result<(), Error> {
    call(Call::Sleep, ticks, 0).map(|_| ())
}
