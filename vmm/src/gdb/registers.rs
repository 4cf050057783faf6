//! The registers, as gdb names and orders them.
//!
//! Those of gdb's own i386 features come first; then a group of esp0's with the registers that a kernel is about.
//! What is written back is the general registers, EIP and EFLAGS.

use gdbstub::arch::{Arch, Registers};
use ia32::{Eflags, State};
use std::fmt::Debug;

/// A processor as gdb sees it.
#[derive(Debug)]
pub(super) enum Ia32 {}

impl Arch for Ia32 {
    type Usize = u32;
    type Registers = Set;
    type BreakpointKind = usize;
    type RegId = ();

    fn target_description_xml() -> Option<&'static str> {
        Some(include_str!("target.xml"))
    }
}

/// All registers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set {
    pub(super) state: State,
    /// As FXSAVE has them.
    pub(super) fpu: [u8; 512],
    /// What gdb wants the registers of esp0's own group to be.
    system: Option<[u32; 12]>,
}

impl Set {
    /// It has other values for registers that cannot be changed than `now`.
    pub(super) fn changes_system(&self, now: &State) -> bool {
        self.system.is_some_and(|wanted| wanted != system(now))
    }
}

impl Default for Set {
    fn default() -> Self {
        Set { state: State::default(), fpu: [0; 512], system: None }
    }
}

/// Bytes of all registers: those of gdb's features i386 core, SSE, and esp0's group.
const SENT: usize = 4 * 16 + 10 * 8 + 4 * 8 + 16 * 8 + 4 + 4 * 12;

/// CS, SS, DS, ES, FS, GS, as numbers in `State::segments`, whose order is that of the instruction set.
const SEGMENTS: [usize; 6] = [1, 2, 3, 0, 4, 5];

/// The general registers, EIP and EFLAGS, in gdb's order.
fn core(state: &State) -> [u32; 10] {
    let [eax, ecx, edx, ebx, esp, ebp, esi, edi] = state.general.to_array();
    [eax, ecx, edx, ebx, esp, ebp, esi, edi, state.eip, state.eflags.0]
}

/// The registers of esp0's own group, in the order of the description.
fn system(state: &State) -> [u32; 12] {
    [
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
        state.gdtr.base,
        state.gdtr.limit.into(),
        state.idtr.base,
        state.idtr.limit.into(),
        state.tr.selector.into(),
        state.tr.base,
        state.ldtr.selector.into(),
        state.cpl().into(),
    ]
}

impl Registers for Set {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.state.eip
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut put = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        for word in core(&self.state) {
            put(&word.to_le_bytes());
        }
        for index in SEGMENTS {
            put(&u32::from(self.state.segments[index].selector).to_le_bytes());
        }
        for register in 0..8 {
            let at = 32 + 16 * register;
            put(&self.fpu[at..at + 10]);
        }
        let half = |at: usize| u32::from(u16::from_le_bytes([self.fpu[at], self.fpu[at + 1]]));
        let word = |at: usize| half(at) | half(at + 2) << 16;
        // Control, status, tags, instruction, operand, opcode. Of a tag FXSAVE keeps whether it is empty.
        let is_empty = |n: u32| self.fpu[4] >> n & 1 == 0;
        let tags = (0..8).filter(|n| is_empty(*n)).map(|n| 3 << (2 * n)).sum();
        for value in [half(0), half(2), tags, half(12), word(8), half(20), word(16), half(6)] {
            put(&value.to_le_bytes());
        }
        put(&self.fpu[160..160 + 8 * 16]);
        put(&word(24).to_le_bytes());
        for value in system(&self.state) {
            put(&value.to_le_bytes());
        }
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .take(16)
            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        if words.len() < 16 {
            return Err(());
        }
        let general = &mut self.state.general;
        general.eax = words[0];
        general.ecx = words[1];
        general.edx = words[2];
        general.ebx = words[3];
        general.esp = words[4];
        general.ebp = words[5];
        general.esi = words[6];
        general.edi = words[7];
        self.state.eip = words[8];
        self.state.eflags = Eflags(words[9]);
        for (index, word) in SEGMENTS.into_iter().zip(&words[10..]) {
            self.state.segments[index].selector = *word as u16;
        }
        // A gdb that writes all of them sends the system registers last.
        let group = bytes.len().saturating_sub(4 * system(&self.state).len());
        let last = bytes[group..].chunks_exact(4);
        self.system = (bytes.len() == SENT).then(|| {
            let mut words = [0; 12];
            for (word, four) in words.iter_mut().zip(last) {
                *word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            }
            words
        });
        Ok(())
    }
}

/// What of `wanted` cannot be changed is as in `now`.
pub(super) fn changes_only_general(now: &State, wanted: &State) -> bool {
    SEGMENTS.iter().all(|index| now.segments[*index].selector == wanted.segments[*index].selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_are_sent_as_the_description_has() {
        let xml = Ia32::target_description_xml().unwrap();
        let bits: usize = xml
            .split("bitsize=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse::<usize>().ok())
            .sum();
        let mut sent = 0;
        Set::default().gdb_serialize(|_| sent += 1);
        assert_eq!(sent * 8, bits);
        assert_eq!(sent, SENT);
    }

    #[test]
    fn what_is_sent_comes_back() {
        let mut set = Set::default();
        set.state.general.edi = 7;
        set.state.eip = 0xc010_0000;
        set.state.eflags = Eflags(0x202);
        set.state.segments[1].selector = 8;
        let mut bytes = Vec::new();
        set.gdb_serialize(|byte| bytes.push(byte.unwrap()));
        let mut back = Set::default();
        back.gdb_deserialize(&bytes).unwrap();
        assert_eq!(back.state, set.state);
        assert!(!back.changes_system(&set.state));
        set.state.cr0 ^= 1;
        assert!(back.changes_system(&set.state));
        assert!(back.gdb_deserialize(&bytes[..40]).is_err());
    }
}
