//! Which words an event pushes, and in which order
//! (SDM vol. 3A, "Exception- or interrupt-handler procedures"; "Entering virtual-8086 mode" for GS
//! to ES).
//!
//! ```text
//!                  high addresses
//!  SS0:ESP0 ──►  ┌───────────────┐
//!                │ GS FS DS ES   │         from virtual-8086 mode only, four words
//!                │ SS            │  −4     from an outer ring only
//!                │ ESP           │  −8     from an outer ring only
//!                │ EFLAGS        │  −12
//!                │ CS            │  −16
//!                │ EIP           │  −20
//!                │ (error code)  │  −24    some exceptions only
//!  ESP after ─►  └───────────────┘
//! ```
//! Each word is four bytes wide through a 32-bit gate, two through a 16-bit one; the TSS's width has
//! no part in it.

/// One word of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// The error code of an exception.
    ErrorCode,
    /// Instruction pointer.
    Eip,
    /// Code segment.
    Cs,
    /// Flags.
    Eflags,
    /// The interrupted stack pointer.
    Esp,
    /// The interrupted stack segment.
    Ss,
    /// ES of virtual-8086 mode.
    Es,
    /// DS of virtual-8086 mode.
    Ds,
    /// FS of virtual-8086 mode.
    Fs,
    /// GS of virtual-8086 mode.
    Gs,
}

impl Word {
    /// The register's name.
    pub const fn name(self) -> &'static str {
        match self {
            Word::ErrorCode => "error code",
            Word::Eip => "EIP",
            Word::Cs => "CS",
            Word::Eflags => "EFLAGS",
            Word::Esp => "ESP",
            Word::Ss => "SS",
            Word::Es => "ES",
            Word::Ds => "DS",
            Word::Fs => "FS",
            Word::Gs => "GS",
        }
    }
}

/// Low address to high: the order in which a handler finds them above its ESP.
const ASCENDING: [Word; 10] = [
    Word::ErrorCode,
    Word::Eip,
    Word::Cs,
    Word::Eflags,
    Word::Esp,
    Word::Ss,
    Word::Es,
    Word::Ds,
    Word::Fs,
    Word::Gs,
];

/// Which words a frame has, and how wide each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameShape {
    /// The event brought a more privileged ring, so SS and ESP are on the new stack.
    pub changes_stack: bool,
    /// The event came from virtual-8086 mode.
    pub from_virtual_8086: bool,
    /// An error code lies below EIP.
    pub error_code: bool,
    /// Bytes a word takes: 2 or 4.
    pub word_size: u32,
}

impl FrameShape {
    /// The words, lowest address first.
    #[inline]
    pub fn words(self) -> &'static [Word] {
        &ASCENDING[usize::from(!self.error_code)..self.end()]
    }

    /// The number of words with an error code.
    #[inline]
    const fn end(self) -> usize {
        if self.from_virtual_8086 {
            10
        } else if self.changes_stack {
            6
        } else {
            4
        }
    }

    /// How many words.
    #[inline]
    pub const fn count(self) -> u32 {
        self.end() as u32 - !self.error_code as u32
    }

    /// How many bytes.
    #[inline]
    pub const fn size(self) -> u32 {
        self.count() * self.word_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape {
        changes_stack: false,
        from_virtual_8086: false,
        error_code: false,
        word_size: 4,
    };

    #[test]
    fn from_ring_3_five_words_lie_in_the_order_of_the_manual() {
        let shape = FrameShape { changes_stack: true, ..SHAPE };
        assert_eq!(shape.words(), [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss]);
        assert_eq!(shape.size(), 20);
    }

    #[test]
    fn the_other_shapes_have_the_sizes_of_the_manual() {
        let with = |changes_stack, from_virtual_8086, error_code, word_size| {
            FrameShape { changes_stack, from_virtual_8086, error_code, word_size }.size()
        };
        assert_eq!(with(false, false, false, 4), 12);
        assert_eq!(with(false, false, true, 4), 16);
        assert_eq!(with(true, false, true, 4), 24);
        assert_eq!(with(true, true, false, 4), 36);
        assert_eq!(with(true, true, true, 4), 40);
        assert_eq!(with(true, false, false, 2), 10);
    }
}
