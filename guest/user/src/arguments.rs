//! What a program was told when it was started.

use core::ffi::{CStr, c_char};

/// The words of the program's module string; the first one is its name.
#[derive(Clone, Copy)]
pub struct Arguments {
    words: &'static [*const c_char],
}

impl Arguments {
    /// The arguments on the stack.
    ///
    /// # Safety
    /// `stack` is what the kernel left in ESP: the count, then as many addresses of strings.
    pub unsafe fn from_stack(stack: *const u32) -> Self {
        // SAFETY: as the caller promises; the stack lives as long as the program.
        let words = unsafe { core::slice::from_raw_parts(stack.add(1).cast(), *stack as usize) };
        Self { words }
    }

    /// The program's own name.
    pub fn name(self) -> &'static str {
        self.get(0).unwrap_or("")
    }

    /// Argument `index`, counted from 1.
    pub fn get(self, index: usize) -> Option<&'static str> {
        let word = *self.words.get(index)?;
        // SAFETY: the kernel put a string with a zero behind it there.
        unsafe { CStr::from_ptr(word) }.to_str().ok()
    }

    /// Argument `index` as a number, or `default` if it is not there or is none.
    pub fn number(self, index: usize, default: u32) -> u32 {
        self.get(index).and_then(|word| word.parse().ok()).unwrap_or(default)
    }
}
