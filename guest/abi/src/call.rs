//! The system calls: `int 0x80` with a number in EAX.
//!
//! Arguments are in EBX, ECX and EDX, and the result comes back in EAX; a negative result is an
//! [`Error`]. All other registers are kept, but for the segment registers: DS, ES, FS and GS hold
//! the flat user segment after every return to ring 3, whatever the program had loaded there.

/// What a program can ask of the microkernel. The discriminant is the number in EAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    /// `exit(status)`: ends the task; does not return.
    Exit = 0,
    /// `write(address, length)`: writes bytes to the console; returns how many.
    Write = 1,
    /// `yield()`: lets the next task run; returns 0.
    Yield = 2,
    /// `getpid()`: returns the caller's task number, which is never 0.
    GetPid = 3,
    /// `sleep(ticks)`: sleeps through that many timer ticks, fewer than 2³¹; returns 0.
    Sleep = 4,
}

impl Call {
    /// The call with this number, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Exit,
            1 => Self::Write,
            2 => Self::Yield,
            3 => Self::GetPid,
            4 => Self::Sleep,
            _ => return None,
        })
    }
}

/// Why a system call was refused. The discriminant is what EAX holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Error {
    /// There is no call with this number.
    NoSuchCall = -1,
    /// Part of the memory that was passed is not the caller's, or may not be used in this way.
    BadAddress = -2,
    /// An argument has no meaning here.
    BadArgument = -3,
}

impl Error {
    /// The error that a result stands for; `None` if it is no error, or not one of ours.
    pub const fn from_result(result: i32) -> Option<Self> {
        Some(match result {
            -1 => Self::NoSuchCall,
            -2 => Self::BadAddress,
            -3 => Self::BadArgument,
            _ => return None,
        })
    }
}
