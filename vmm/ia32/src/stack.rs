//! Pushes and pops, with the checks that come before them.

use crate::access::Word32;
use crate::execution::{Execution, Result};
use crate::outcome::Unspecified;
use crate::paging::Privilege;
use crate::{Branch, Eflags, Owner, ReadMemory, Segment, Vector};

/// A stack that is pushed to or popped from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    pub(crate) segment: Segment,
    /// ESP or SP; offset of the last word that was pushed.
    pub(crate) pointer: u32,
    /// The ring that uses it.
    pub(crate) cpl: u8,
}

impl Stack {
    /// The bits of the stack pointer that count (SDM vol. 3A, "Segment descriptors", D/B flag).
    const fn mask(&self) -> u32 {
        if self.segment.big() { u32::MAX } else { 0xffff }
    }

    /// The offset `bytes` further down (or, wrapped, up).
    const fn offset(&self, by: u32) -> u32 {
        self.pointer.wrapping_add(by) & self.mask()
    }
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// The stack that SS:ESP names.
    pub(crate) fn current_stack(&mut self) -> Stack {
        let stack = Stack {
            segment: *self.state.ss(),
            pointer: self.state.stack_pointer(),
            cpl: self.state.cpl(),
        };
        if self.undefined.general.esp & stack.mask() != 0 {
            self.leave_open(Unspecified::StackPointer);
        }
        self.note_width(&stack);
        stack
    }

    pub(crate) fn note_width(&mut self, stack: &Stack) {
        let branch = if stack.segment.big() { Branch::Stack32 } else { Branch::Stack16 };
        self.note(branch, stack.pointer);
    }

    /// Whether `words` of `size` bytes each can be pushed.
    pub(crate) fn has_room(&mut self, stack: &Stack, words: u32, size: u32) -> bool {
        (1..=words).all(|n| {
            let offset = stack.offset((n * size).wrapping_neg());
            self.within(&stack.segment, offset, size)
        })
    }

    /// Whether the words from `from` to `to`, counted from the top, can be popped.
    pub(crate) fn can_pop(&mut self, stack: &Stack, from: u32, to: u32, size: u32) -> bool {
        (from..to).all(|n| {
            let offset = stack.offset(n * size);
            self.within(&stack.segment, offset, size)
        })
    }

    /// Alignment is checked for what ring 3 does with its memory, if CR0.AM and EFLAGS.AC are set
    /// (SDM vol. 3A, "Interrupt 17").
    fn is_unaligned(&mut self, cpl: u8, address: u32, size: u32) -> bool {
        const ALIGNMENT_MASK: u32 = 1 << 18;
        let matters =
            cpl == 3 && self.state.cr0 & ALIGNMENT_MASK != 0 && !address.is_multiple_of(size);
        if matters && self.undefined.eflags.contains(Eflags::AC) {
            self.leave_open(Unspecified::AlignmentCheck);
        }
        matters && self.state.eflags.contains(Eflags::AC)
    }

    /// Pushes a word of `size` bytes. Room has been checked.
    pub(crate) fn push(
        &mut self,
        stack: &mut Stack,
        size: u32,
        word: Word32,
        owner: Owner,
    ) -> Result<()> {
        let pointer = stack.offset(size.wrapping_neg());
        let address = stack.segment.base.wrapping_add(pointer);
        if self.is_unaligned(stack.cpl, address, size) {
            // SDM vol. 2A, INT n, protected-mode exceptions: #AC(EXT).
            return self.fail(Vector::AC, self.ext, Branch::PushUnaligned, address);
        }
        self.write(address, size, word, Privilege::of(stack.cpl), owner)?;
        stack.pointer = pointer;
        Ok(())
    }

    /// The word of `size` bytes that is the `n`th from the top. The limit has been checked.
    pub(crate) fn peek(&mut self, stack: &Stack, n: u32, size: u32) -> Result<u32> {
        let address = stack.segment.base.wrapping_add(stack.offset(n * size));
        if self.is_unaligned(stack.cpl, address, size) {
            return self.fail(Vector::AC, 0, Branch::ReturnUnaligned, address);
        }
        self.read(address, size, Privilege::of(stack.cpl))
    }

    /// The stack pointer once `words` have been popped.
    pub(crate) fn popped(&self, stack: &Stack, words: u32, size: u32) -> u32 {
        stack.offset(words * size)
    }
}
