//! The instructions that handlers begin with, done by esp0 in the guest's stead.
//!
//! A patched HLT displaces an instruction. Stepping over it costs a second exit and two more ioctls;
//! what a push or a jump does can be said in a line. Only instructions are done here that cannot
//! fault once their stack word is known to be writable, that change no flag but DF, and whose meaning
//! leaves nothing open. All others are stepped.

use crate::machine::LinearMemoryMut;
use ia32::{Eflags, General, State};

/// CR0.WP: ring 0 may not write to read-only pages.
const WRITE_PROTECT: u32 = 1 << 16;

/// Does the instruction that `code` begins with, on `state` and the stack; false, with nothing
/// changed, if it is none of those known here.
pub(super) fn execute(state: &mut State, linear: &mut LinearMemoryMut<'_>, code: &[u8]) -> bool {
    // 16-bit code and 16-bit stacks mean something else by the same bytes.
    if !state.cs().big() || !state.ss().big() || !state.protected() || state.virtual_8086() {
        return false;
    }
    let immediate = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(code.get(at..at + 4)?.try_into().ok()?))
    };
    let length = match code.first() {
        // PUSH r32.
        Some(opcode @ 0x50..=0x57) => {
            let value = register(&state.general, opcode & 7);
            push(state, linear, &[value]).then_some(1)
        }
        // PUSHA: EAX first, EDI last, ESP as it was.
        Some(0x60) => {
            let general = state.general;
            let words: [u32; 8] = std::array::from_fn(|index| register(&general, index as u8));
            push(state, linear, &words).then_some(1)
        }
        // PUSH imm32.
        Some(0x68) => immediate(1).filter(|value| push(state, linear, &[*value])).map(|_| 5),
        // PUSH imm8, sign-extended.
        Some(0x6a) => code
            .get(1)
            .map(|byte| *byte as i8 as u32)
            .filter(|value| push(state, linear, &[*value]))
            .map(|_| 2),
        // PUSHF: VM and RF are 0 in what it pushes (SDM vol. 2B, "PUSHF").
        Some(0x9c) => {
            let image = state.eflags.0 & 0x00fc_ffff;
            push(state, linear, &[image]).then_some(1)
        }
        // NOP.
        Some(0x90) => Some(1),
        // JMP rel32, JMP rel8.
        Some(0xe9) => immediate(1).map(|distance| distance.wrapping_add(5)),
        Some(0xeb) => code.get(1).map(|byte| (*byte as i8 as u32).wrapping_add(2)),
        // CLD.
        Some(0xfc) => {
            state.eflags = state.eflags.without(Eflags::DF);
            Some(1)
        }
        _ => None,
    };
    let Some(length) = length else { return false };
    state.eip = state.eip.wrapping_add(length);
    state.eflags = state.eflags.without(Eflags::RF);
    true
}

/// The register that an instruction encodes as `number`.
fn register(general: &General, number: u8) -> u32 {
    general.to_array()[usize::from(number & 7)]
}

/// Pushes `words`, the first one highest; false, with nothing changed, if the stack does not take
/// them all without a fault.
fn push(state: &mut State, linear: &mut LinearMemoryMut<'_>, words: &[u32]) -> bool {
    let size = words.len() as u32 * 4;
    let esp = state.general.esp.wrapping_sub(size);
    let lowest = state.ss().base.wrapping_add(esp);
    // Within one page, that of the frame that was just pushed: its accessed and dirty bits are set.
    let top = state.ss().base.wrapping_add(state.general.esp);
    if lowest >> 12 != top >> 12 {
        return false;
    }
    let Some(access) = linear.access(lowest) else { return false };
    if !access.writable && state.cr0 & WRITE_PROTECT != 0 || state.ss().limit != u32::MAX {
        return false;
    }
    let mut bytes = [0; 32];
    for (slot, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words.iter().rev()) {
        *slot = word.to_le_bytes();
    }
    if linear.write_physical(access.physical, &bytes[..size as usize]).is_none() {
        return false;
    }
    state.general.esp = esp;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};

    fn state() -> State {
        let mut state = State { cr0: 0x11, eip: 0x1000, ..State::default() };
        for segment in &mut state.segments {
            segment.attributes = 0xc093;
            segment.limit = u32::MAX;
        }
        state.general = General {
            eax: 0xa,
            ecx: 0xc,
            edx: 0xd,
            ebx: 0xb,
            esp: 0x2ff0,
            ebp: 0xbb,
            esi: 0x51,
            edi: 0xd1,
        };
        state
    }

    fn run(code: &[u8]) -> (bool, State, Memory) {
        let mut memory = Memory::detached(0x4000).unwrap();
        let mut state = state();
        let mut linear = LinearMemoryMut::new(&mut memory, Paging::default());
        let done = execute(&mut state, &mut linear, code);
        (done, state, memory)
    }

    #[test]
    fn pushes_write_their_word_and_go_on() {
        let (done, state, memory) = run(&[0x6a, 0xfe]);
        assert!(done);
        assert_eq!((state.eip, state.general.esp), (0x1002, 0x2fec));
        assert_eq!(memory.read_u32(0x2fec), Some(0xffff_fffe));
        let (_, state, memory) = run(&[0x68, 0x78, 0x56, 0x34, 0x12]);
        assert_eq!((state.eip, memory.read_u32(0x2fec)), (0x1005, Some(0x1234_5678)));
        let (_, _, memory) = run(&[0x53]);
        assert_eq!(memory.read_u32(0x2fec), Some(0xb));
    }

    #[test]
    fn pusha_pushes_in_the_order_of_the_manual() {
        let (done, state, memory) = run(&[0x60]);
        assert!(done);
        assert_eq!(state.general.esp, 0x2fd0);
        let words: Vec<u32> = (0..8).map(|n| memory.read_u32(0x2fd0 + n * 4).unwrap()).collect();
        assert_eq!(words, [0xd1, 0x51, 0xbb, 0x2ff0, 0xb, 0xd, 0xc, 0xa]);
    }

    #[test]
    fn pushf_pushes_the_flags_without_rf() {
        let mut memory = Memory::detached(0x4000).unwrap();
        let mut linear = LinearMemoryMut::new(&mut memory, Paging::default());
        let mut state = State { eflags: Eflags(0x1_0246), ..state() };
        assert!(execute(&mut state, &mut linear, &[0x9c]));
        assert_eq!((state.eip, memory.read_u32(0x2fec)), (0x1001, Some(0x246)));
    }

    #[test]
    fn jumps_go_both_ways() {
        assert_eq!(run(&[0xeb, 0xfe]).1.eip, 0x1000);
        assert_eq!(run(&[0xe9, 0x00, 0x01, 0x00, 0x00]).1.eip, 0x1105);
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        for code in [&[0x83, 0xec, 0x04][..], &[0xcf], &[0x1e], &[0x68, 0x00], &[]] {
            let (done, after, memory) = run(code);
            assert!(!done, "{code:02x?}");
            assert_eq!(after, state());
            assert_eq!(memory.read_u32(0x2fec), Some(0));
        }
    }

    #[test]
    fn a_stack_that_would_fault_is_left_to_the_processor() {
        let mut memory = Memory::detached(0x4000).unwrap();
        let mut paged = state();
        paged.cr0 |= 1 << 31 | WRITE_PROTECT;
        // The directory at 0x1000 maps 4 MiB through the table at 0x2000; page 2 is read-only.
        memory.write(0x1000, &0x3007u32.to_le_bytes()).unwrap();
        memory.write(0x3008, &0x2005u32.to_le_bytes()).unwrap();
        let paging = Paging { enabled: true, root: 0x1000, ..Paging::default() };
        let before = paged;
        assert!(!execute(&mut paged, &mut LinearMemoryMut::new(&mut memory, paging), &[0x50]));
        assert_eq!(paged, before);
    }
}
