//! Where the frame lay that a task was begun with, seen from the ESP0 that it then entered on.

use super::History;
use crate::entry::Entry;

/// How the end of the frame that a task was begun with lay to the ESP0 that it then entered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct FirstFrame {
    /// Linear address behind the frame.
    pub(in crate::check) end: u32,
    /// Linear address of ESP0.
    pub(in crate::check) esp0: u32,
    /// The entry.
    pub(in crate::check) sequence: u64,
}

impl FirstFrame {
    /// The frame ended `bytes` below ESP0.
    pub(in crate::check) fn is_below_by(&self, bytes: i32) -> bool {
        self.esp0.wrapping_sub(self.end) as i32 == bytes
    }
}

impl History {
    /// Of the task that was begun last.
    pub(in crate::check) fn first_frame(&self) -> Option<FirstFrame> {
        self.first_frame
    }

    /// The first entry of a task that was begun with a frame made by hand; the return to it is still the last.
    #[inline]
    pub(super) fn note_first_frame(&mut self, entry: &Entry) {
        if let (Some(last), Some(stack)) = (&self.last_return, entry.inner_stack)
            && last.begins_program()
        {
            let esp0 = entry.after.ss().base.wrapping_add(stack.esp);
            let (end, sequence) = (last.stack_end, entry.sequence);
            self.first_frame = Some(FirstFrame { end, esp0, sequence });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_from_the_frames_end_up_to_esp0() {
        let first = FirstFrame { end: 0x2000, esp0: 0x2800, sequence: 1 };
        assert!(first.is_below_by(0x800));
        assert!(!first.is_below_by(-0x800) && !first.is_below_by(0));
    }
}
