//! Finds the IRETs that a kernel's handlers can reach, its LIDTs, and the far jumps by which it may
//! switch tasks, by disassembly.
//!
//! The walk starts at known entry points (the ELF entry, the gates' targets) and follows jumps and
//! calls whose target is in the instruction. Almost all handlers are reached in this way; code to
//! which only a computed jump leads is not. Addresses of code that the code itself
//! mentions as an immediate operand (a return address written onto a new task's stack) are followed
//! as well, where they lie in a page that holds code anyway and everything behind them decodes.
//!
//! A sweep over all executable bytes was rejected: `CF` is also a common byte of operands, and a
//! patch there would corrupt the guest.

use crate::instruction::{LONGEST, decode_32_into};
use iced_x86::{Code as Opcode, FlowControl, Instruction, Mnemonic, OpKind};
use rustc_hash::FxHashSet;

/// Instructions that one exploration looks at, at most. A kernel that is larger than that is
/// explored in part.
const LIMIT: usize = 2_000_000;
/// Instructions in a row without a jump, at most, for a number to be taken for the address of code.
/// Data can decode as instructions for long.
const LONGEST_GUESS: usize = 500;

/// An IRET, and where to stop before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IretSite {
    /// Linear address of the instruction.
    pub address: u32,
    /// The address to probe: that of the no-op `66 90` before it, or its own.
    pub probe_address: u32,
    /// Bytes of each word it pops: 4, or 2 with an operand-size prefix.
    pub word_size: u32,
    /// Bytes of the instruction, prefixes included.
    pub length: u8,
}

/// A far RET, and where to stop before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarReturn {
    /// Linear address of the instruction.
    pub address: u32,
    /// The address to probe: that of the no-op `66 90` before it, or its own.
    pub probe_address: u32,
    /// Bytes that it removes from the stack behind CS:EIP.
    pub removes: u16,
}

/// What an exploration found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) irets: Vec<IretSite>,
    pub(super) lidts: Vec<u32>,
    pub(super) far_jumps: Vec<FarJump>,
    pub(super) far_returns: Vec<FarReturn>,
    /// Where an RDTSC stands.
    pub(super) time_stamp: Option<u32>,
}

/// A far jump that may lead to a TSS, and where to stop before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FarJump {
    /// Linear address of the instruction.
    pub(super) address: u32,
    /// The address to probe: that of the no-op `66 90` before it, or its own.
    pub(super) probe_address: u32,
}

impl FarJump {
    fn new(address: u32, no_op: Option<u32>) -> Self {
        FarJump { address, probe_address: no_op.unwrap_or(address) }
    }
}

/// The code seen so far.
#[derive(Clone, Debug, Default)]
pub struct Code {
    seen: FxHashSet<u32>,
    /// Pages (address / 4096) that hold code which is certain.
    pages: FxHashSet<u32>,
}

impl Code {
    /// Explores from `roots`, reading with `read(address, bytes) -> count`.
    pub(super) fn explore(
        &mut self,
        roots: &[u32],
        read: impl Fn(u32, &mut [u8]) -> usize,
    ) -> Found {
        self.explore_with(roots, true, LIMIT, read)
    }

    /// The same; no more than `limit` instructions are looked at.
    pub(super) fn explore_part(
        &mut self,
        roots: &[u32],
        limit: usize,
        read: impl Fn(u32, &mut [u8]) -> usize,
    ) -> Found {
        self.explore_with(roots, true, limit, read)
    }

    /// The same; numbers that code mentions are not followed.
    pub(super) fn explore_surely(
        &mut self,
        roots: &[u32],
        read: impl Fn(u32, &mut [u8]) -> usize,
    ) -> Found {
        self.explore_with(roots, false, LIMIT, read)
    }

    fn explore_with(
        &mut self,
        roots: &[u32],
        guesses: bool,
        mut budget: usize,
        read: impl Fn(u32, &mut [u8]) -> usize,
    ) -> Found {
        let mut found = Found::default();
        let mut certain: Vec<u32> = roots.to_vec();
        let mut mentioned = Vec::new();
        let mut window = Window::default();
        loop {
            let sure = !certain.is_empty();
            let Some(root) = certain.pop().or_else(|| mentioned.pop()) else { return found };
            if !sure && !self.pages.contains(&(root >> 12)) {
                continue;
            }
            let longest = if sure { LIMIT } else { LONGEST_GUESS };
            let Some(run) = self.walk(root, longest, &read, &mut window, &mut budget) else {
                continue;
            };
            if !sure && !run.ended {
                // It does not decode as code, so it was a number.
                for address in &run.seen {
                    self.seen.remove(address);
                }
                continue;
            }
            if sure {
                self.pages.extend(run.seen.iter().map(|address| address >> 12));
            }
            certain.extend(run.targets);
            if guesses {
                mentioned.extend(run.mentioned);
            }
            found.irets.extend(run.irets);
            found.lidts.extend(run.lidts);
            found.far_jumps.extend(run.far_jumps);
            found.far_returns.extend(run.far_returns);
            found.time_stamp = found.time_stamp.or(run.time_stamp);
        }
    }

    /// The code from `address` on, to the end of its page, is another by now: it can be explored again.
    pub(super) fn forget(&mut self, address: u32) {
        for at in address..=address | 0xfff {
            self.seen.remove(&at);
        }
    }

    /// Follows the instructions from `root` on to the end of their run; none if it was seen before.
    fn walk(
        &mut self,
        root: u32,
        longest: usize,
        read: &impl Fn(u32, &mut [u8]) -> usize,
        window: &mut Window,
        budget: &mut usize,
    ) -> Option<Run> {
        let mut instruction = Instruction::default();
        let mut run = Run::default();
        let mut at = root;
        let mut no_op = None;
        loop {
            if *budget == 0 || run.seen.len() == longest {
                break;
            }
            if !self.seen.insert(at) {
                run.ended = true;
                break;
            }
            *budget -= 1;
            run.seen.push(at);
            let bytes = window.at(at, read);
            decode_32_into(bytes, at, &mut instruction);
            // Two zero bytes decode too, but no compiler emits `add [eax], al`: this is data.
            if instruction.is_invalid() || bytes.starts_with(&[0, 0]) {
                break;
            }
            match instruction.code() {
                Opcode::Iretd | Opcode::Iretw => run.irets.push(IretSite {
                    address: at,
                    probe_address: no_op.unwrap_or(at),
                    word_size: if instruction.code() == Opcode::Iretw { 2 } else { 4 },
                    length: instruction.len() as u8,
                }),
                // Where one leads to, its memory operand tells when it is executed. One with its
                // target inside leads to code, unless its offset is as small as for a TSS, where
                // it means nothing.
                Opcode::Jmp_m1632 => run.far_jumps.push(FarJump::new(at, no_op)),
                Opcode::Jmp_ptr1632 if instruction.far_branch32() < 0x1_0000 => {
                    run.far_jumps.push(FarJump::new(at, no_op));
                }
                Opcode::Retfd | Opcode::Retfd_imm16 => run.far_returns.push(FarReturn {
                    address: at,
                    probe_address: no_op.unwrap_or(at),
                    removes: if instruction.op_count() == 0 {
                        0
                    } else {
                        instruction.immediate16()
                    },
                }),
                Opcode::Lidt_m1632 | Opcode::Lidt_m1632_16 => run.lidts.push(at),
                Opcode::Rdtsc | Opcode::Rdtscp => run.time_stamp = run.time_stamp.or(Some(at)),
                _ => {}
            }
            no_op = bytes.starts_with(&super::patch::NO_OP).then_some(at);
            run.follow(&instruction);
            let next = at.wrapping_add(instruction.len() as u32);
            match instruction.flow_control() {
                FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception => {
                    run.ended = true;
                    break;
                }
                _ => at = next,
            }
        }
        (!run.seen.is_empty()).then_some(run)
    }
}

/// The guest's code around the instruction that is looked at. Reading it piece by piece would walk the
/// page tables for each instruction.
#[derive(Clone, Debug)]
struct Window {
    start: u32,
    length: usize,
    bytes: Box<[u8; 1024]>,
}

impl Default for Window {
    fn default() -> Self {
        Window { start: 0, length: 0, bytes: Box::new([0; 1024]) }
    }
}

impl Window {
    /// The bytes of the instruction at `address`; fewer than the longest has where no more are mapped.
    fn at(&mut self, address: u32, read: &impl Fn(u32, &mut [u8]) -> usize) -> &[u8] {
        let offset = address.wrapping_sub(self.start) as usize;
        if offset + LONGEST > self.length {
            self.start = address;
            self.length = read(address, &mut self.bytes[..]);
            return &self.bytes[..self.length.min(LONGEST)];
        }
        &self.bytes[offset..offset + LONGEST]
    }
}

/// A run of instructions, up to one that does not go on to the next.
#[derive(Clone, Debug, Default)]
struct Run {
    irets: Vec<IretSite>,
    lidts: Vec<u32>,
    far_jumps: Vec<FarJump>,
    far_returns: Vec<FarReturn>,
    time_stamp: Option<u32>,
    targets: Vec<u32>,
    mentioned: Vec<u32>,
    seen: Vec<u32>,
    /// It ended in a jump or return, or joined code seen before.
    ended: bool,
}

impl Run {
    fn follow(&mut self, instruction: &Instruction) {
        for operand in 0..instruction.op_count() {
            match instruction.op_kind(operand) {
                OpKind::NearBranch32 => self.targets.push(instruction.near_branch32()),
                OpKind::FarBranch32 => self.targets.push(instruction.far_branch32()),
                // Small numbers are many, and few kernels lie below 64 KiB. There it has to be pushed, as an address to
                // return to is.
                OpKind::Immediate32
                    if instruction.immediate32() >= 0x1_0000
                        || instruction.mnemonic() == Mnemonic::Push =>
                {
                    self.mentioned.push(instruction.immediate32());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explore(code: &[u8], roots: &[u32]) -> Found {
        const BASE: u32 = 0x10_0000;
        let roots: Vec<u32> = roots.iter().map(|root| BASE + root).collect();
        Code::default().explore(&roots, |address, bytes| {
            let Some(start) = address.checked_sub(BASE) else { return 0 };
            let rest = code.get(start as usize..).unwrap_or(&[]);
            let count = rest.len().min(bytes.len());
            bytes[..count].copy_from_slice(&rest[..count]);
            count
        })
    }

    #[test]
    fn an_iret_behind_a_jump_and_a_call_is_found_with_its_no_op() {
        let code = [
            0x6a, 0x00, // 0: push 0
            0xeb, 0x02, // 2: jmp 6
            0xcf, 0xcf, // 4: not reached
            0xe8, 0x03, 0x00, 0x00, 0x00, // 6: call 14
            0x66, 0x90, // 11: no-op
            0xcf, // 13: iret
            0xc3, // 14: ret
        ];
        let found = explore(&code, &[0]);
        assert_eq!(
            found.irets,
            [IretSite { address: 0x10_000d, probe_address: 0x10_000b, word_size: 4, length: 1 }]
        );
    }

    #[test]
    fn a_byte_cf_in_an_operand_is_no_iret() {
        let code = [0xb8, 0xcf, 0xcf, 0xcf, 0xcf, 0xc3];
        assert!(explore(&code, &[0]).irets.is_empty());
    }

    #[test]
    fn a_return_address_that_the_code_mentions_is_followed() {
        let code = [
            0x68, 0x08, 0x00, 0x10, 0x00, // 0: push 0x100008
            0xc3, // 5: ret
            0x00, 0x00, // padding
            0x66, 0xcf, // 8: iret with 16-bit words
        ];
        let found = explore(&code, &[0]);
        assert_eq!(
            found.irets,
            [IretSite { address: 0x10_0008, probe_address: 0x10_0008, word_size: 2, length: 2 }]
        );
    }

    #[test]
    fn below_64_kib_a_return_address_is_what_is_pushed() {
        let at = |immediate: u8, opcode: u8| {
            let code = [opcode, immediate, 0x10, 0, 0, 0xc3, 0xcf];
            let found = Code::default().explore(&[0x1000], |address, bytes| {
                let rest = address.checked_sub(0x1000).and_then(|start| code.get(start as usize..));
                let rest = rest.unwrap_or(&[]);
                bytes[..rest.len()].copy_from_slice(rest);
                rest.len()
            });
            found.irets.first().map(|iret| iret.address)
        };
        assert_eq!(at(6, 0x68), Some(0x1006), "push");
        assert_eq!(at(6, 0xb8), None, "mov");
    }

    #[test]
    fn a_number_that_points_at_no_code_is_forgotten() {
        let code = [
            0x68, 0x06, 0x00, 0x10, 0x00, // 0: push 0x100006
            0xc3, // 5: ret
            0x0f, 0xff, // 6: ud0 with its operand missing
        ];
        assert!(explore(&code, &[0]).irets.is_empty());
    }

    #[test]
    fn far_jumps_that_may_lead_to_a_tss_are_found_with_their_no_ops() {
        let code = [
            0x66, 0x90, // 0: no-op
            0xff, 0x6c, 0x24, 0x04, // 2: jmp far [esp + 4]
            0xff, 0x64, 0x24, 0x04, // 6: not reached
            0xea, 0x00, 0x00, 0x00, 0x00, 0x30, 0x00, // 10: jmp 0030:0
            0xea, 0x18, 0x00, 0x10, 0x00, 0x08, 0x00, // 17: jmp 0008:0x100018, code
            0xff, 0x24, 0x24, // 24: jmp near [esp]
        ];
        let found = explore(&code, &[0, 10, 17]);
        let mut jumps: Vec<(u32, u32)> =
            found.far_jumps.iter().map(|jump| (jump.probe_address, jump.address)).collect();
        jumps.sort_unstable();
        assert_eq!(jumps, [(0x10_0000, 0x10_0002), (0x10_000a, 0x10_000a)]);
    }

    #[test]
    fn far_returns_are_found_with_what_they_remove() {
        let code = [0x75, 0x02, 0x90, 0xcb, 0x66, 0x90, 0xca, 0x08, 0x00];
        let mut found = explore(&code, &[0]).far_returns;
        found.sort_by_key(|one| one.address);
        let all: Vec<_> = found.iter().map(|one| (one.probe_address, one.removes)).collect();
        assert_eq!(all, [(0x10_0003, 0), (0x10_0004, 8)]);
        // One that pops words of two bytes is none of a 32-bit gate's.
        assert!(explore(&[0x66, 0xcb], &[0]).far_returns.is_empty());
    }

    #[test]
    fn an_rdtsc_is_found() {
        assert_eq!(explore(&[0x90, 0x0f, 0x31, 0xc3], &[0]).time_stamp, Some(0x10_0001));
        assert_eq!(explore(&[0xb8, 0x0f, 0x31, 0, 0, 0xc3], &[0]).time_stamp, None);
    }

    #[test]
    fn a_lidt_is_found() {
        let code = [0x0f, 0x01, 0x1d, 0x00, 0x00, 0x10, 0x00, 0xfa, 0xf4, 0xeb, 0xfd];
        assert_eq!(explore(&code, &[0]).lidts, [0x10_0000]);
    }
}
