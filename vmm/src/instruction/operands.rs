//! What an instruction's memory operands are, and which of them it touches.

use super::decode;
use ia32::State;
use iced_x86::{InstructionInfoFactory, OpAccess, OpKind, Register};

/// A place in memory that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// Linear address.
    pub(crate) linear: u32,
    /// It may be read.
    pub(crate) read: bool,
    /// It may be written.
    pub(crate) write: bool,
}

/// Bytes in memory that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryAccess {
    /// Linear address.
    pub(crate) linear: u32,
    /// In bytes.
    pub(crate) size: u32,
    /// They may be read.
    pub(crate) reads: bool,
}

/// What the instruction that `code` begins with reads and writes by its operands and on the stack; of one that is
/// repeated, the next time.
pub(crate) fn accesses(code: &[u8], before: &State) -> Vec<MemoryAccess> {
    let instruction = decode(code, before);
    if instruction.is_invalid() {
        return Vec::new();
    }
    let value =
        |register: Register, _: usize, _: usize| register_value(before, register).map(u64::from);
    let count = match instruction.op_kind(0) {
        OpKind::MemorySegDI | OpKind::MemoryESDI => before.general.ecx & 0xffff,
        _ => before.general.ecx,
    };
    let is_repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if is_repeated && instruction.is_string_instruction() && count == 0 {
        return Vec::new();
    }
    // Of what is repeated the list has no size.
    let own_size = instruction.memory_size().size() as u32;
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&instruction).used_memory().iter();
    used.filter_map(|memory| {
        let reads = match memory.access() {
            OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite => {
                true
            }
            OpAccess::Write | OpAccess::CondWrite => false,
            _ => return None,
        };
        let linear = memory.virtual_address(0, value)? as u32;
        let size = Some(memory.memory_size().size() as u32).filter(|size| *size > 0);
        Some(MemoryAccess { linear, size: size.unwrap_or(own_size), reads })
    })
    .collect()
}

/// A general register, AL (the index of XLAT), or the base of a segment register.
pub(crate) fn register_value(state: &State, register: Register) -> Option<u32> {
    let general = state.general.to_array();
    Some(match register {
        register if register.is_segment_register() => state.segments[register.number()].base,
        register if register.is_gpr32() => general[register.number()],
        register if register.is_gpr16() => general[register.number()] & 0xffff,
        Register::AL => general[0] & 0xff,
        _ => return None,
    })
}

/// Where `size` bytes at `linear` begin in a second page, if they reach one.
pub(crate) fn across(linear: u32, size: u32) -> Option<u32> {
    let last = linear.wrapping_add(size.max(1) - 1);
    (linear >> 12 != last >> 12).then_some(last & !0xfff)
}

/// The memory operands of the instruction that `code` begins with, and whether those are all that
/// it reaches: descriptors that it loads are not among them.
pub(crate) fn operands(code: &[u8], before: &State) -> (Vec<Operand>, bool) {
    let instruction = decode(code, before);
    if instruction.is_invalid() {
        return (Vec::new(), false);
    }
    let value =
        |register: Register, _: usize, _: usize| register_value(before, register).map(u64::from);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&instruction);
    let loads_descriptor = info.used_registers().iter().any(|used| {
        used.register().is_segment_register()
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    });
    let mut all = !loads_descriptor && !instruction.is_privileged();
    let mut touched = Vec::new();
    for memory in info.used_memory() {
        let Some(first) = memory.virtual_address(0, value) else {
            all = false;
            continue;
        };
        let (read, write) = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => (true, false),
            OpAccess::Write | OpAccess::CondWrite => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            // No access: LEA, INVLPG.
            _ => continue,
        };
        let size = memory.memory_size().size() as u32;
        all &= size != 0;
        let first = first as u32;
        for linear in [Some(first), across(first, size)].into_iter().flatten() {
            touched.push(Operand { linear, read, write });
        }
    }
    (touched, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ia32::{Eflags, Segment};

    fn flat() -> State {
        let segment = Segment { selector: 8, attributes: 0xc093, base: 0, limit: u32::MAX };
        let mut state = State { cr0: 1, eflags: Eflags::FIXED, eip: 0x10, ..State::default() };
        state.segments = [segment; 6];
        state.segments[1].attributes = 0xc09b;
        state.general.esp = 0x100;
        state.general.ebx = 0x40;
        state
    }

    #[test]
    fn what_is_read_and_written_is_known_with_its_size() {
        let access = |linear, size, reads| MemoryAccess { linear, size, reads };
        // add [ebx+4], eax
        assert_eq!(accesses(&[0x01, 0x43, 0x04], &flat()), [access(0x44, 4, true)]);
        // cmp byte [ebx], 0
        assert_eq!(accesses(&[0x80, 0x3b, 0], &flat()), [access(0x40, 1, true)]);
        // push dword [ebx]
        let both = accesses(&[0xff, 0x33], &flat());
        assert!(both.contains(&access(0x40, 4, true)) && both.contains(&access(0xfc, 4, false)));
        // rep movsd, once
        let mut state = flat();
        (state.general.esi, state.general.edi, state.general.ecx) = (0x200, 0x300, 5);
        let both = accesses(&[0xf3, 0xa5], &state);
        assert!(both.contains(&access(0x200, 4, true)) && both.contains(&access(0x300, 4, false)));
        assert_eq!(both.len(), 2);
        state.general.ecx = 0;
        assert_eq!(accesses(&[0xf3, 0xa5], &state), [], "no more");
        // lea eax, [ebx]
        assert_eq!(accesses(&[0x8d, 0x03], &flat()), []);
    }

    #[test]
    fn the_operands_of_an_instruction_are_found() {
        let touch = |linear, read| Operand { linear, read, write: true };
        // add [ebx+4], eax
        assert_eq!(operands(&[0x01, 0x43, 0x04], &flat()), (vec![touch(0x44, true)], true));
        // push eax
        assert_eq!(operands(&[0x50], &flat()), (vec![touch(0xfc, false)], true));
        // mov [ebx], eax, into two pages
        let mut state = flat();
        state.general.ebx = 0x1ffe;
        let both = vec![touch(0x1ffe, false), touch(0x2000, false)];
        assert_eq!(operands(&[0x89, 0x03], &state), (both, true));
        // mov ds, ax reads a descriptor.
        assert_eq!(operands(&[0x8e, 0xd8], &flat()), (vec![], false));
        assert_eq!(operands(&[0x90], &flat()), (vec![], true));
    }
}
