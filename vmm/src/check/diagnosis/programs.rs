//! Where programs of ring 3 were sent to: the place at which each was begun, and a way back from a call that does not
//! lead to the instruction behind it.

use super::Aftermath;
use super::explained::Explained;
use crate::check::{ChangedWord, Retrace};
use crate::entry::{Entry, Fault, Kind, Reach, Return, Walk};
use crate::instruction::sequence;
use crate::machine::LinearMemory;
use ia32::{Vector, Word};

/// How many programs' beginnings are kept; the oldest goes first.
const BEGUN: usize = 16;
/// No instruction is longer, in bytes.
const LONGEST: u32 = 15;

/// What `int n` of an outer ring has pushed, until something returns to that ring.
#[derive(Clone, Copy, Debug)]
struct Asked {
    sequence: u64,
    /// The word that was pushed as EIP, and where.
    eip: u32,
    address: u32,
    /// The linear address that it stands for.
    linear: u32,
}

/// A return that led into the middle of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Astray {
    sequence: u64,
    pushed: u32,
    popped: u32,
    word: ChangedWord,
}

/// What is kept of programs.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    asked: Option<Asked>,
    astray: Option<Astray>,
    /// ESP and CR3 that programs were begun with.
    begun: Vec<(u32, u32)>,
}

impl Programs {
    /// The kernel was entered.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry) {
        if !entry.from_outer_ring() {
            return;
        }
        let asks = entry.kind == Kind::Software && !entry.frame.shape.error_code;
        let place = entry.frame.get(Word::Eip).zip(entry.code.linear).filter(|_| asks);
        self.asked = place.map(|(eip, linear)| Asked {
            sequence: entry.sequence,
            eip,
            address: entry.frame.address,
            linear,
        });
    }

    /// The kernel is about to return to an outer ring.
    #[inline]
    pub(super) fn leave(&mut self, linear: &LinearMemory<'_>, returning: &Return) {
        let Some(asked) = self.asked.take() else { return };
        let popped = returning.frame.get(Word::Eip).unwrap_or(asked.eip);
        let distance = popped.wrapping_sub(asked.eip);
        if (1..=LONGEST).contains(&distance) && returning.frame.address == asked.address {
            self.look(linear, returning, asked, popped);
        }
    }

    #[cold]
    fn look(&mut self, linear: &LinearMemory<'_>, returning: &Return, asked: Asked, popped: u32) {
        let mut code = [0; 2 * LONGEST as usize];
        let length = linear.read_some(asked.linear, &mut code);
        let splits = splits(&code[..length], popped.wrapping_sub(asked.eip));
        let Some(physical) = returning.frame.physical.filter(|_| splits) else { return };
        let word = ChangedWord { address: asked.address, physical, value: popped };
        let Asked { sequence, eip: pushed, .. } = asked;
        self.astray.get_or_insert(Astray { sequence, pushed, popped, word });
    }

    /// A program was begun, by a frame that no entry has pushed.
    pub(super) fn begin(&mut self, returning: &Return) {
        let Some(esp) = returning.frame.get(Word::Esp) else { return };
        if self.begun.len() == BEGUN {
            self.begun.remove(0);
        }
        self.begun.push((esp, returning.state.cr3));
    }

    /// The return that has led a program astray, if one has not long before this entry: some programs have data behind
    /// INT n, which their kernels go over.
    pub(super) fn astray(&self, sequence: u64) -> Option<Astray> {
        const SOON: u64 = 8;
        self.astray.filter(|astray| sequence.saturating_sub(astray.sequence) <= SOON)
    }

    /// A program's first function has returned: RET took the word that ESP named when the program was begun.
    pub(super) fn main_returned(&self, fault: &Fault) -> Option<Explained> {
        let at = fault.stack_pointer().wrapping_sub(4);
        let began = self.begun.contains(&(at, fault.after.cr3));
        let is_popped = fault.stack[0] == Some(fault.eip());
        (fault.ring == 3 && began && is_popped).then(|| {
            Explained::because(format!(
                "EIP {:08x} is the word at {at:08x}, where ESP was when the program was begun: the program's first function \
                 has returned, and nothing had called it",
                fault.eip()
            ))
            .advise(
                "let a program begin with code that calls its main function and then asks the kernel to end it, or put the \
                 address of such code on the new stack",
            )
        })
    }
}

/// What is pushed first lies so near below a new stack's end.
const FIRST_PUSHED: u32 = 256;

impl Programs {
    /// A program's stack was begun at its start, and not at its end: the first words pushed are below the page that was
    /// mapped for it.
    pub(super) fn begun_at_the_start(
        &self,
        fault: &Fault,
        aftermath: &Aftermath<'_>,
    ) -> Option<Explained> {
        let address = fault.after.cr2;
        if fault.vector != Vector::PF || fault.ring != 3 || fault.error_code()? & 1 != 0 {
            return None;
        }
        let begun = self.begun.iter().map(|(esp, _)| *esp);
        let esp = begun
            .filter(|esp| (1..=FIRST_PUSHED).contains(&esp.wrapping_sub(address)))
            .find(|esp| esp >> 12 != address >> 12)?;
        // With a word above that was meant to be there, ESP may be a little inside.
        let reach = Reach { user: true, write: true };
        let walk = Walk::of(aftermath.memory, &fault.after, esp)?;
        let missing = Walk::of(aftermath.memory, &fault.after, address)?;
        if walk.denies(reach).is_some() {
            return None;
        }
        Some(
            Explained::because(format!(
                "the program was begun with ESP {esp:08x}, where the page {:08x} begins, which is mapped; what is pushed goes \
                 below it: {}",
                esp & !0xfff,
                missing.sentence(reach)
            ))
            .advise(
                "let ESP begin at the end of the stack's last page, which is its start plus its size, or map the pages below",
            ),
        )
    }
}

impl Astray {
    /// In words.
    pub(super) fn explain(&self) -> Explained {
        let Astray { sequence, pushed, popped, .. } = *self;
        Explained::because(format!(
            "the IRET after #{sequence} went to {popped:08x}, {} bytes behind the {pushed:08x} that was pushed, into the middle \
             of an instruction: what ring 3 has executed since is not its program",
            popped.wrapping_sub(pushed)
        ))
        .advise(
            "leave the pushed EIP of a system call as it is: it is that of the instruction behind INT n, and nothing has to \
             be added",
        )
    }

    /// Who changed the word.
    pub(super) fn way(&self) -> Retrace {
        Retrace::Written { after_entry: self.sequence, word: self.word }
    }
}

/// No instruction of `code` begins at `distance`, and one reaches over it.
fn splits(code: &[u8], distance: u32) -> bool {
    let mut end = 0;
    for (_, bytes) in sequence(code, 0) {
        end += bytes.len() as u32;
        if end >= distance {
            return end > distance;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_within_an_instruction_is_told_from_one_between_two() {
        // mov ebx, 0x35; ret
        let code = [0xbb, 0x35, 0, 0, 0, 0xc3];
        assert!(splits(&code, 4));
        assert!(!splits(&code, 5));
        assert!(!splits(&code, 6));
        assert!(!splits(&[0xf0, 0xcf], 1), "LOCK IRET is none");
    }
}
