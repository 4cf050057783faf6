//! What code takes off a stack that it has changed to: the switch between two tasks, and the first frame of a new one.
//!
//! ```text
//!  mov esp, [edx] ─ pop edi ─ pop esi ─ pop ebx ─ pop ebp ─ ret ─► a function ─ … ─ ret ─►
//!  └ changes stacks └ each takes the next word up            └ nobody has called it: its RET takes the next
//! ```
//! A task's first frame is laid out by one part of a kernel and taken apart by another. Where they do not agree, a word
//! that is meant for EIP goes to a register, and EIP gets another.

use super::doer::{Doer, loads_stack};
use ia32::{Eflags, State};

/// A word that an instruction has taken off the stack.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The instruction.
    pub by: Doer,
    /// The register that got it.
    pub register: &'static str,
    /// The word's linear address.
    pub address: u32,
    /// The word.
    pub value: u32,
}

/// A stack that code has changed to, and what it has taken off it.
#[derive(Clone, Debug)]
pub struct SwitchedStack {
    /// What loaded ESP.
    pub changed_by: Doer,
    /// The words that were taken since, in their order; none where something has been pushed.
    pub taken: Vec<Taken>,
    /// The RET that has led from there to code behind no CALL.
    pub led: Option<Taken>,
    /// Something has been pushed since.
    pub pushed: bool,
    /// The words above the one that was taken last.
    pub above: Vec<u32>,
}

/// How many words above are looked at.
pub(super) const ABOVE: usize = 8;

impl SwitchedStack {
    /// Takes in that `by` has been executed and `after` has come of it; `word` reads memory, `is_behind_call` tells where
    /// calls return to.
    pub(super) fn follow(
        this: &mut Option<SwitchedStack>,
        by: &Doer,
        after: &State,
        word: impl Fn(u32) -> Option<u32>,
        is_behind_call: impl Fn(u32) -> bool,
    ) {
        if loads_stack(by, after) {
            let changed_by = by.clone();
            *this = Some(SwitchedStack {
                changed_by,
                taken: vec![],
                led: None,
                pushed: false,
                above: vec![],
            });
            return;
        }
        let Some(stack) = this else { return };
        let address = by.before.stack_address();
        let taken = |register| {
            let value = word(address)?;
            Some(Taken { by: by.clone(), register, address, value })
        };
        let moved = after.general.esp.wrapping_sub(by.before.general.esp) as i32;
        if moved < 0 {
            stack.taken.clear();
            stack.pushed = true;
        } else if is_ret(&by.code) {
            stack.taken.clear();
            stack.led = taken("EIP");
            if is_behind_call(after.instruction_address()) {
                *this = None;
            }
        } else if let Some(register) = popped_register(&by.code) {
            stack.taken.extend(taken(register));
        }
    }

    /// What lies there is what whoever changed to it has found.
    pub(super) fn has_pushed_nothing(&self) -> bool {
        !self.pushed
    }

    /// The place of the last word that a POP took and `is_function` calls the start of one, before the RET takes its own
    /// at `address`: its index, and how many words lie from there to that.
    pub fn function_taken(
        &self,
        address: u32,
        is_function: impl Fn(u32) -> bool,
    ) -> Option<(usize, u32)> {
        let index = self.taken.iter().rposition(|taken| is_function(taken.value))?;
        let words = address.wrapping_sub(self.taken[index].address) / 4;
        (1..=ABOVE as u32 * 2).contains(&words).then_some((index, words))
    }

    /// How many words above the one that RET takes lies the start of a function, if no other code is nearer.
    pub fn function_above(
        &self,
        is_function: impl Fn(u32) -> bool,
        is_code: impl Fn(u32) -> bool,
    ) -> Option<(u32, u32)> {
        let index = self.above.iter().position(|word| is_code(*word))?;
        let value = self.above[index];
        is_function(value).then_some((index as u32 + 1, value))
    }

    /// The RET at the end of a function that nobody has called takes the word above the one that led to it.
    pub fn not_called(&self, address: u32) -> Option<&Taken> {
        self.led.as_ref().filter(|led| led.address.wrapping_add(4) == address)
    }

    /// Where `code`, which begins with POPFD and takes a word that no PUSHFD has pushed, pops one into a register that
    /// could be EFLAGS: the register, and how many words above it lies.
    pub fn flags_above(&self, code: &[u8]) -> Option<(&'static str, u32, u32)> {
        let pops = code.iter().skip(1).map(|byte| popped_register(&[*byte]));
        let pops = pops.take_while(Option::is_some).flatten();
        pops.zip(&self.above).enumerate().find_map(|(index, (register, value))| {
            is_flags(*value).then_some((register, index as u32 + 1, *value))
        })
    }
}

/// Bit 1 is set, IF is, and nothing that a task does not start with.
fn is_flags(word: u32) -> bool {
    let usual = Eflags::FIXED | Eflags::IF | Eflags::STATUS | Eflags::DF | Eflags::IOPL;
    Eflags(word).without(usual).0 == 0
        && Eflags(word).contains(Eflags::FIXED)
        && Eflags(word).contains(Eflags::IF)
}

fn is_ret(code: &[u8]) -> bool {
    matches!(code.first(), Some(0xc3 | 0xc2))
}

/// The register that POP fills, by its first bytes.
fn popped_register(code: &[u8]) -> Option<&'static str> {
    Some(match *code {
        [opcode @ 0x58..=0x5f, ..] => ia32::General::NAMES[usize::from(opcode - 0x58)],
        [0x9d, ..] => "EFLAGS",
        [0x1f, ..] => "DS",
        [0x07, ..] => "ES",
        [0x0f, 0xa1, ..] => "FS",
        [0x0f, 0xa9, ..] => "GS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: u32 = 0x10_0200;

    fn doer(code: &[u8], esp: u32) -> Doer {
        let mut before = State::default();
        before.general.esp = esp;
        Doer { before: Box::new(before), code: code.to_vec() }
    }

    /// A stack at 1000 with `words`, and `pops` executed on it.
    fn stack(words: &[u32], pops: &[u8]) -> SwitchedStack {
        let mut stack = None;
        let word = |address: u32| words.get(((address - 0x1000) / 4) as usize).copied();
        let after = |esp| *doer(&[], esp).before;
        SwitchedStack::follow(
            &mut stack,
            &doer(&[0x8b, 0x22], 0x8000),
            &after(0x1000),
            word,
            |_| false,
        );
        for (index, pop) in pops.iter().enumerate() {
            let esp = 0x1000 + index as u32 * 4;
            SwitchedStack::follow(&mut stack, &doer(&[*pop], esp), &after(esp + 4), word, |_| {
                false
            });
        }
        let mut stack = stack.expect("it was changed to");
        let used = pops.len() + 1;
        stack.above = words.get(used..).unwrap_or_default().to_vec();
        stack
    }

    #[test]
    fn a_function_that_a_pop_has_taken_is_told_with_its_distance() {
        let stack = stack(&[FUNCTION, 0, 0, 0, 0], &[0x5f, 0x5e, 0x5b, 0x5d]);
        let (index, words) = stack.function_taken(0x1010, |word| word == FUNCTION).unwrap();
        assert_eq!((stack.taken[index].register, index, words), ("EDI", 0, 4));
        assert_eq!(stack.function_taken(0x1010, |_| false), None);
    }

    #[test]
    fn a_function_above_is_told_unless_other_code_is_nearer() {
        let stack = stack(&[0, 0, 0, 0, FUNCTION], &[0x5f, 0x5e]);
        let is_function = |word| word == FUNCTION;
        assert_eq!(stack.function_above(is_function, is_function), Some((2, FUNCTION)));
        assert_eq!(stack.function_above(|_| false, is_function), None);
    }

    #[test]
    fn the_ret_of_a_function_that_was_not_called_takes_the_word_above() {
        let stack = stack(&[0, FUNCTION, 7], &[0x5f, 0xc3]);
        assert_eq!(stack.not_called(0x1008).map(|led| led.value), Some(FUNCTION));
        assert!(stack.not_called(0x100c).is_none());
        assert!(stack.taken.is_empty(), "another function pops its own");
    }

    #[test]
    fn the_flags_that_a_pop_takes_are_told() {
        let stack = stack(&[0, 0, 0, 0, 0x202], &[]);
        let code = [0x9d, 0x5f, 0x5e, 0x5b, 0x5d, 0xc3];
        assert_eq!(stack.flags_above(&code), Some(("EBP", 4, 0x202)));
        assert_eq!(stack.flags_above(&code[..4]), None);
        assert!(!is_flags(0) && !is_flags(0x200) && !is_flags(0x10_0202));
    }
}
