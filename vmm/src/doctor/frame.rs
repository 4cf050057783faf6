//! Whether an entry into ring 0 is what the manual says, to the word.
//!
//! What deviates on some processor models is left out here, so that one deviation does not fail all
//! trials: EFLAGS.RF as pushed, AC afterwards, the upper halves of CS and SS. Each has a trial of
//! its own.

use super::lab::Lab;
use super::layout::{ESP0, FILL, KERNEL_CS, KERNEL_DS, handler};
use super::wrong::Wrong;
use ia32::{Eflags, FrameShape, State, Vector, Word};

/// Bytes on either side of a frame that have to be as they were.
const MARGIN: u32 = 32;

/// An entry, as it has to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The state before, EIP being what is pushed.
    pub(super) before: State,
    /// By which vector.
    pub(super) vector: Vector,
    /// Error code on the stack.
    pub(super) error_code: Option<u32>,
}

impl Entry {
    fn shape(&self) -> FrameShape {
        FrameShape {
            changes_stack: self.before.cpl() != 0,
            from_virtual_8086: false,
            error_code: self.error_code.is_some(),
            word_size: 4,
        }
    }

    fn word(&self, word: Word) -> u32 {
        let before = &self.before;
        match word {
            Word::ErrorCode => self.error_code.unwrap_or(0),
            Word::Eip => before.eip,
            Word::Cs => u32::from(before.cs().selector),
            Word::Eflags => before.eflags.0,
            Word::Esp => before.general.esp,
            Word::Ss => u32::from(before.ss().selector),
            Word::Es | Word::Ds | Word::Fs | Word::Gs => 0,
        }
    }

    /// Looks at memory and at the state before the handler's first instruction.
    pub(super) fn check(&self, lab: &Lab<'_>, after: &State) -> Result<(), Wrong> {
        let shape = self.shape();
        let top = if shape.changes_stack { ESP0 } else { self.before.general.esp };
        let esp = top - shape.size();
        let got = (after.cpl(), after.cs().selector, after.ss().selector);
        Wrong::unless(
            got == (0, KERNEL_CS, KERNEL_DS),
            format!("ring 0 with CS {KERNEL_CS:04x} and SS {KERNEL_DS:04x}"),
            format!("ring {} with CS {:04x} and SS {:04x}", got.0, got.1, got.2),
        )?;
        Wrong::unless_equal("ESP", esp, after.general.esp)?;
        Wrong::unless_equal("EIP", handler(self.vector.0), after.eip)?;
        for (index, word) in shape.words().iter().enumerate() {
            let mask = match word {
                Word::Eflags => !Eflags::RF.0,
                Word::Cs | Word::Ss => 0xffff,
                _ => !0,
            };
            let got = lab.word(esp + 4 * index as u32);
            Wrong::unless_equal(
                &format!("pushed {}", word.name()),
                self.word(*word) & mask,
                got & mask,
            )?;
        }
        unchanged(lab, esp - MARGIN, esp)?;
        unchanged(lab, top, top + MARGIN)?;
        self.check_registers(after)
    }

    fn check_registers(&self, after: &State) -> Result<(), Wrong> {
        let mut general = self.before.general;
        general.esp = after.general.esp;
        Wrong::unless(
            general == after.general,
            format!("general registers {general:08x?}"),
            format!("{:08x?}", after.general),
        )?;
        let cleared = Eflags::TF | Eflags::NT | Eflags::RF | Eflags::VM | Eflags::IF | Eflags::AC;
        Wrong::unless_equal(
            "EFLAGS in the handler, AC aside,",
            self.before.eflags.without(cleared).0,
            after.eflags.without(Eflags::AC).0,
        )
    }
}

/// The bytes from `start` to `end` are those that stacks are filled with.
fn unchanged(lab: &Lab<'_>, start: u32, end: u32) -> Result<(), Wrong> {
    for address in (start..end).step_by(4) {
        let fill = u32::from_le_bytes([FILL; 4]);
        Wrong::unless_equal(
            &format!("beside the frame, at {address:08x}, still"),
            fill,
            lab.word(address),
        )?;
    }
    Ok(())
}

/// The word named `word` of the frame of `entry` that the stack pointer of `after` points at.
pub(super) fn pushed(lab: &Lab<'_>, entry: &Entry, after: &State, word: Word) -> u32 {
    let index = entry.shape().words().iter().position(|other| *other == word).unwrap_or(0);
    lab.word(after.general.esp.wrapping_add(4 * index as u32))
}
