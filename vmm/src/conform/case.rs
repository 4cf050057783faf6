//! One case: where it starts, how the event comes about, and what differs from the plain world.
//!
//! A case is a line of text that lists only what differs, so that a shrunk one can be read:
//! ```text
//! ring3 int:80 eflags=00000246 ss=007b [00000400]=00081234
//! ```
//! `[ADDRESS]=WORD` are four bytes of memory, by physical address.

use super::field::Field;
use super::layout::RAM;
use super::start::{STARTS, Start};
use super::via::Via;
use crate::host::granular;
use ia32::{Eflags, State};
use std::fmt;
use std::str::FromStr;

/// One event in one state of processor and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub(super) start: Start,
    pub(super) via: Via,
    /// What differs from the start's state, in the order in which it is set.
    pub(super) fields: Vec<(Field, u32)>,
    /// Physical address and four bytes.
    pub(super) words: Vec<(u32, u32)>,
}

impl Case {
    /// The plain case of an event.
    pub(super) fn new(start: Start, via: Via) -> Self {
        Case { start, via, fields: Vec::with_capacity(8), words: Vec::with_capacity(16) }
    }

    /// Changes `memory` and gives the state before the event.
    pub(super) fn prepare(&self, memory: &mut [u8]) -> State {
        for (at, word) in &self.words {
            let at = *at as usize;
            memory[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let mut state = self.start.state(memory);
        for (field, value) in &self.fields {
            field.set(&mut state, *value, memory);
        }
        let flags = &mut state.eflags;
        *flags = (*flags | Eflags::FIXED).without(Eflags::RESERVED_ZERO | Eflags::VM);
        if self.start == Start::Virtual8086 {
            *flags = *flags | Eflags::VM;
        }
        match self.via {
            Via::Into => *flags = *flags | Eflags::OF,
            Via::NoMath => state.cr0 |= 1 << 2,
            // Faults push RF as 1; see `via`.
            Via::Exception(..) => *flags = *flags | Eflags::RF,
            Via::Fetch => state.cr2 = state.cs().base.wrapping_add(state.eip),
            _ => {}
        }
        let registers = state.segments.iter_mut().chain([&mut state.tr, &mut state.ldtr]);
        registers.for_each(|segment| segment.attributes = granular(segment));
        if let Some(eax) = self.via.instruction(&state).and_then(|instruction| instruction.eax) {
            state.general.eax = eax;
        }
        state
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.start.name(), self.via)?;
        for (field, value) in &self.fields {
            write!(f, " {field}={value:x}")?;
        }
        for (at, word) in &self.words {
            write!(f, " [{at:x}]={word:08x}")?;
        }
        Ok(())
    }
}

/// What is wrong with the text of a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no part of a case")]
pub struct NoCase(String);

/// The cases of a text: a line each; empty lines and those that begin with # are passed over.
///
/// # Errors
/// [`NoCase`] for the first line that is none.
pub fn cases(text: &str) -> Result<Vec<Case>, NoCase> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::parse).collect()
}

impl FromStr for Case {
    type Err = NoCase;

    fn from_str(text: &str) -> Result<Self, NoCase> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().ok_or_else(|| NoCase(text.to_owned()));
        let (start, via) = (next()?, next()?);
        let start = STARTS.iter().find(|(name, _)| *name == start).ok_or(NoCase(start.into()))?.1;
        let via = Via::find(via).ok_or_else(|| NoCase(via.into()))?;
        let mut case = Case::new(start, via);
        for part in words {
            case.add(part).ok_or_else(|| NoCase(part.into()))?;
        }
        Ok(case)
    }
}

impl Case {
    fn add(&mut self, part: &str) -> Option<()> {
        let (name, value) = part.split_once('=')?;
        let value = u32::from_str_radix(value, 16).ok()?;
        match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => {
                let address = u32::from_str_radix(address, 16).ok()?;
                (address <= RAM - 4).then(|| self.words.push((address, value)))
            }
            None => Field::find(name).map(|field| self.fields.push((field, value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::layout;

    #[test]
    fn a_case_is_read_as_it_was_printed() {
        for text in [
            "ring0 iret",
            "virtual interrupt:20 eflags=23202 ss=a00 [1008]=0000ffff [2000]=00000001",
            "ring3 exception:d:1234 ss.limit=fff tr.base=3000 nmi-blocked=1",
        ] {
            assert_eq!(text.parse::<Case>().map(|case| case.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "ring0", "ring4 iret", "ring0 int:x", "ring0 iret esp", "ring0 iret [fffff]=0"]
        {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }

    #[test]
    fn changed_memory_comes_before_the_selectors_that_are_loaded_from_it() {
        let case: Case = "ring3 int:80 ds=c3 [10c4]=00cff300".parse().unwrap();
        let mut memory = layout::memory();
        let state = case.prepare(&mut memory);
        assert_eq!((state.segments[3].selector, state.segments[3].attributes), (0xc3, 0xc0f3));
        assert_eq!(state.cpl(), 3);
    }
}
