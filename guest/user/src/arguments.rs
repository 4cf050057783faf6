//! What a program was told when it was started.

use core::cell::Cell;
use core::ffi::{CStr, c_char};

/// The words that the program was started with; the first one is its name.
#[derive(Clone, Copy)]
pub struct Arguments {
    words: &'static [*const c_char],
}

/// The first of the addresses of the environment's strings; they end with a zero.
struct Environment(Cell<*const *const c_char>);

// SAFETY: written once, before `main`, when there are no threads yet.
unsafe impl Sync for Environment {}

static ENVIRONMENT: Environment = Environment(Cell::new(core::ptr::null()));

impl Arguments {
    /// The arguments on the stack; the environment behind them is kept for [`environment`].
    ///
    /// # Safety
    /// `stack` is what the kernel left in ESP: the count, as many addresses of strings, a zero, and
    /// the addresses of the environment's strings, ended by a zero.
    pub unsafe fn from_stack(stack: *const u32) -> Self {
        // SAFETY: as the caller promises; the stack lives as long as the program.
        unsafe {
            let count = *stack as usize;
            ENVIRONMENT.0.set(stack.add(count + 2).cast());
            Self { words: core::slice::from_raw_parts(stack.add(1).cast(), count) }
        }
    }

    /// The program's own name.
    pub fn name(self) -> &'static str {
        self.get(0).unwrap_or("")
    }

    /// How many words there are, the name included.
    pub fn count(self) -> usize {
        self.words.len()
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

/// The strings of the environment: `NAME=VALUE` each.
pub fn environment() -> impl Iterator<Item = &'static str> {
    let mut next = ENVIRONMENT.0.get();
    core::iter::from_fn(move || {
        // SAFETY: either there is none, or it is a list that ends with a zero, of strings that do.
        unsafe {
            if next.is_null() || (*next).is_null() {
                return None;
            }
            let string = CStr::from_ptr(*next);
            next = next.add(1);
            Some(string.to_str().unwrap_or(""))
        }
    })
}

/// The value that the environment gives a name.
pub fn variable(name: &str) -> Option<&'static str> {
    environment().find_map(|string| string.strip_prefix(name)?.strip_prefix('='))
}
