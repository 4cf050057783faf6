//! What programs of the kernel `classic` use: the system calls, lines of text, and the way from the
//! first instruction to `main`. The kernel's own `init` uses it too, before there is a program.

#![no_std]

// Brings memcpy and its like, which compiled code calls without being asked.
use arch as _;

use core::arch::asm;
use core::ffi::{CStr, c_char};

/// The numbers of the system calls, as Linux has them.
pub mod number {
    /// `exit(status)`
    pub const EXIT: u32 = 1;
    /// `fork()`
    pub const FORK: u32 = 2;
    /// `write(file, address, length)`; there is one file, the console
    pub const WRITE: u32 = 4;
    /// `wait(address of the status)`
    pub const WAIT: u32 = 7;
    /// `execve(path, arguments, environment)`
    pub const EXEC: u32 = 11;
    /// `getpid()`
    pub const GETPID: u32 = 20;
    /// `pause()`
    pub const PAUSE: u32 = 29;
}

/// `int 0x80` with three arguments; gives what EAX holds behind it.
fn call(number: u32, first: u32, second: u32, third: u32) -> i32 {
    let result;
    // SAFETY: the kernel changes nothing but EAX, and the memory that the call is about.
    unsafe {
        asm!("int 0x80", inlateout("eax") number => result,
             in("ebx") first, in("ecx") second, in("edx") third);
    }
    result
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    loop {
        call(number::EXIT, status.cast_unsigned(), 0, 0);
    }
}

/// Becomes two: gives 0 to the child, its pid to the parent, and none if there is no room for one.
#[inline(always)]
pub fn fork() -> Option<u32> {
    u32::try_from(call(number::FORK, 0, 0, 0)).ok()
}

/// Writes to the console; a negative result is an error.
pub fn write(address: u32, length: u32) -> i32 {
    call(number::WRITE, 1, address, length)
}

/// The pid of a child that has ended; none if there are no children.
pub fn wait(status: &mut i32) -> Option<u32> {
    u32::try_from(call(number::WAIT, core::ptr::from_mut(status) as u32, 0, 0)).ok()
}

/// Becomes another program. Comes back if there is none of that name.
pub fn exec(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) {
    let list = |strings: &[&CStr]| {
        let mut list = [core::ptr::null(); 8];
        for (pointer, string) in list[..7].iter_mut().zip(strings) {
            *pointer = string.as_ptr();
        }
        list
    };
    let (arguments, environment) = (list(arguments), list(environment));
    let lists = [arguments.as_ptr() as u32, environment.as_ptr() as u32];
    call(number::EXEC, path.as_ptr() as u32, lists[0], lists[1]);
}

/// The pid of the program.
pub fn getpid() -> u32 {
    call(number::GETPID, 0, 0, 0).cast_unsigned()
}

/// Waits for the next tick.
pub fn pause() {
    call(number::PAUSE, 0, 0, 0);
}

/// A line in the making. It does without `core::fmt`, so that a program stays a few hundred bytes.
#[must_use]
pub struct Line {
    text: [u8; 64],
    length: usize,
}

impl Line {
    /// An empty line.
    #[expect(clippy::new_without_default, reason = "there is one way to begin a line")]
    pub fn new() -> Self {
        Self { text: [0; 64], length: 0 }
    }

    /// Adds text; what does not fit is lost.
    pub fn text(mut self, text: &str) -> Self {
        for (to, from) in self.text[self.length..].iter_mut().zip(text.bytes()) {
            *to = from;
            self.length += 1;
        }
        self
    }

    /// Adds a number in decimal.
    pub fn number(self, number: u32) -> Self {
        let mut digits = *b"0000000000";
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] += (rest % 10) as u8;
            rest /= 10;
            if rest == 0 || first == 0 {
                return self.text(str::from_utf8(&digits[first..]).unwrap_or(""));
            }
        }
    }

    /// Adds the end of the line, and writes it.
    pub fn end(self) {
        let line = self.text("\n");
        write(line.text.as_ptr() as u32, line.length as u32);
    }
}

/// What exec put onto the stack.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Arguments(*const u32);

impl Arguments {
    /// The arguments, the program's name first, and then the environment.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        // SAFETY: the kernel put the count there, and then two lists that end with a null.
        let count = unsafe { *self.0 } as usize;
        (1..)
            .filter(move |index| *index != count + 1)
            // SAFETY: as above.
            .map(move |index| unsafe { *self.0.add(index) } as *const c_char)
            .take_while(|pointer| !pointer.is_null())
            // SAFETY: it is the address of a string.
            .map(|string| unsafe { CStr::from_ptr(string) }.to_str().unwrap_or("?"))
    }
}

/// Names the function that is the program: `fn(Arguments) -> i32`, which gives the exit status.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        /// ESP points at the argument count.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn _start() -> ! {
            core::arch::naked_asm!(
                "xorl %ebp, %ebp",
                "pushl %esp",
                "call {main}",
                main = sym program_main,
                options(att_syntax)
            )
        }

        extern "C" fn program_main(arguments: $crate::Arguments) -> ! {
            $crate::exit($main(arguments))
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::exit(101)
        }
    };
}
