//! Statics of a machine with one processor.

use core::ops::Deref;

/// A static that may hold cells, because there is only one processor to reach it.
///
/// Rust wants statics to be `Sync`, since it does not know that a second processor is missing. What
/// remains is the interrupt handler: it runs between two instructions of other kernel code.
pub struct OneCpu<T>(T);

// SAFETY: whoever makes a `OneCpu` has promised that no two flows of control use it at a time.
unsafe impl<T> Sync for OneCpu<T> {}

impl<T> OneCpu<T> {
    /// Wraps a value for use as a static.
    ///
    /// # Safety
    /// The machine has one processor, and no code that runs with interrupts open is in the middle
    /// of using the value while an interrupt handler uses it as well.
    pub const unsafe fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for OneCpu<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
