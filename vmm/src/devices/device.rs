//! What the machine asks of every device, whatever registers it has.
//!
//! A device is a state machine over bytes and time. Its registers differ, so they are methods of its own;
//! what does not differ is that time passes for it, that it may want to be woken, and that it drives
//! interrupt lines. [`Devices`](super::Devices) goes through them by this trait, and knows no more.

/// One device, seen from the wires.
pub trait Device {
    /// Moves time on to `now`, in nanoseconds. Time that runs backwards stands still.
    fn advance_to(&mut self, _now: u64) {}

    /// When it next changes a line by itself, if no register is written before; `None` if never.
    /// `is_open` tells whether an interrupt line reaches the CPU: nobody needs to be woken for one that
    /// does not.
    fn deadline(&self, _is_open: &dyn Fn(u8) -> bool) -> Option<u64> {
        None
    }

    /// Tells the level of each interrupt line that it is wired to.
    fn drive(&self, _line: &mut dyn FnMut(u8, bool)) {}
}
