//! A few plain instructions, done on values: enough to tell that a short loop never ends.
//!
//! ```text
//!  state, memory ─► instruction ─► state, bytes that were written ─► … ─► a state that was there before
//! ```
//! Where registers, flags and all that was written are what they were at an earlier instruction, all that follows is
//! what followed then, for as long as nothing else runs. What this does not know ends the attempt: ports, segment
//! registers, strings, MSRs, the time-stamp counter, memory that is not RAM.

mod goes_by;
mod halts;
mod polling;
#[cfg(test)]
mod tests;

pub(crate) use goes_by::goes_by_eax;
pub(crate) use halts::would_leave;
pub(crate) use polling::{Polling, polling};

use super::valid_32;
use crate::machine::LinearMemory;
use ia32::{Eflags, General, State};
use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;

/// The flags that these instructions set.
const STATUS: u32 = Eflags::STATUS.0;
const CF: u32 = 1;
const PF: u32 = 1 << 2;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
const OF: u32 = 1 << 11;

/// What a loop of ring 0 depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// How many instructions it has.
    pub(crate) length: usize,
    /// The memory that it reads beside its stack, each with the instruction that does.
    pub(crate) reads: Vec<(u32, Instruction)>,
}

/// The code that runs: its bytes at a linear address.
pub(crate) type Code<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Goes on from `state` until all is as it was before, nothing else running; none if that does not come soon, or what
/// comes is not known here.
pub(crate) fn cycle(state: &State, linear: &LinearMemory<'_>, code: Code<'_>) -> Option<Cycle> {
    /// So many instructions are done at most.
    const MOST: usize = 2048;
    is_flat(state).then(|| Values::of(state, linear).cycle(code, MOST)).flatten()
}

/// One segment for all, of 32 bits.
fn is_flat(state: &State) -> bool {
    let base = state.cs().base;
    state.segments.iter().take(4).all(|one| one.base == base)
        && state.cs().big()
        && state.ss().big()
}

/// Goes on from `state` to the instruction at `end`, nothing else running, over a branch that depends on memory: what it has
/// read on the way; none if that does not come soon, or what comes is not known here.
pub(crate) fn waits_until(
    state: &State,
    linear: &LinearMemory<'_>,
    code: Code<'_>,
    end: u32,
) -> Option<Cycle> {
    /// So many instructions are done at most.
    const MOST: usize = 64;
    let (mut now, mut reads) = (Values::of(state, linear), Vec::new());
    let mut branches = false;
    for length in 1..=MOST {
        let one = now.step(code)?;
        branches |= one.flow_control() == FlowControl::ConditionalBranch;
        if !is_of_stack(&one) {
            reads.extend(now.read.drain(..).map(|at| (at, one)));
        }
        if now.eip == end {
            return (branches && !reads.is_empty()).then_some(Cycle { length, reads });
        }
    }
    None
}

/// All that decides about what comes next.
type Key = (u32, General, u32, BTreeMap<u32, u8>);

struct Values<'a> {
    linear: &'a LinearMemory<'a>,
    base: u32,
    eip: u32,
    general: General,
    flags: u32,
    /// What has been written, by linear address.
    written: BTreeMap<u32, u8>,
    /// Where the last instruction has read.
    read: Vec<u32>,
    /// A port, and what each read of it gives; of others it is not known.
    input: Option<(u16, u32)>,
}

impl<'a> Values<'a> {
    fn of(state: &State, linear: &'a LinearMemory<'a>) -> Self {
        Values {
            linear,
            base: state.cs().base,
            eip: state.eip,
            general: state.general,
            flags: state.eflags.0 & STATUS,
            written: BTreeMap::new(),
            read: Vec::new(),
            input: None,
        }
    }

    /// On until all is as it was, which so many instructions may take.
    fn cycle(&mut self, code: Code<'_>, most: usize) -> Option<Cycle> {
        let (mut mark, mut next_mark) = (self.key(), 1);
        for step in 1..=most {
            self.step(code)?;
            if self.key() == mark {
                return self.once_round(code, &mark);
            }
            if step == next_mark {
                (mark, next_mark) = (self.key(), next_mark * 2);
            }
        }
        None
    }

    fn key(&self) -> Key {
        (self.eip, self.general, self.flags, self.written.clone())
    }

    /// Once through the cycle, which begins where this stands, to see what it reads.
    fn once_round(&mut self, code: Code<'_>, start: &Key) -> Option<Cycle> {
        let (mut reads, mut length) = (Vec::new(), 0);
        loop {
            let instruction = self.step(code)?;
            length += 1;
            if !is_of_stack(&instruction) {
                reads.extend(self.read.drain(..).map(|at| (at, instruction)));
            }
            if self.key() == *start {
                break;
            }
        }
        Some(Cycle { length, reads })
    }

    fn step(&mut self, code: Code<'_>) -> Option<Instruction> {
        self.read.clear();
        let one = valid_32(&code(self.base.wrapping_add(self.eip)), self.eip)?;
        let repeats = one.has_rep_prefix() || one.has_repne_prefix();
        if repeats && !matches!(one.mnemonic(), Mnemonic::Pause | Mnemonic::Ret) {
            return None;
        }
        let next = one.next_ip32();
        self.eip = match one.flow_control() {
            FlowControl::Next => {
                self.execute(&one)?;
                next
            }
            FlowControl::ConditionalBranch if one.is_jcc_short_or_near() => {
                if self.holds(one.condition_code())? { one.near_branch32() } else { next }
            }
            FlowControl::UnconditionalBranch if one.op0_kind() == OpKind::NearBranch32 => {
                one.near_branch32()
            }
            FlowControl::Call if one.op0_kind() == OpKind::NearBranch32 => {
                self.push(next)?;
                one.near_branch32()
            }
            FlowControl::Return if one.mnemonic() == Mnemonic::Ret && one.op_count() == 0 => {
                self.pop()?
            }
            _ => return None,
        };
        Some(one)
    }

    fn execute(&mut self, one: &Instruction) -> Option<()> {
        use Mnemonic as M;
        let size = self.size(one, 0);
        match one.mnemonic() {
            M::Nop | M::Pause | M::Cld | M::Cli => {}
            M::Mov => {
                let value = self.get(one, 1)?;
                self.set(one, 0, value)?;
            }
            M::Movzx => {
                let value = self.get(one, 1)?;
                self.set(one, 0, value)?;
            }
            M::Movsx => {
                let value = self.get(one, 1)?;
                let shift = 32 - 8 * self.size(one, 1)?;
                self.set(one, 0, ((value << shift) as i32 >> shift) as u32)?;
            }
            M::In => {
                let (port, value) = self.input?;
                let at = match one.op1_kind() {
                    OpKind::Immediate8 => one.immediate8().into(),
                    _ => self.general.edx as u16,
                };
                (at == port).then(|| self.set(one, 0, value)).flatten()?;
            }
            M::Lea => {
                let at = self.address(one)?;
                self.set(one, 0, at)?;
            }
            M::Xchg => {
                let (first, second) = (self.get(one, 0)?, self.get(one, 1)?);
                self.set(one, 0, second)?;
                self.set(one, 1, first)?;
            }
            M::Cmp => {
                let (a, b) = (self.get(one, 0)?, self.get(one, 1)?);
                self.subtract(a, b, size?);
            }
            M::Sub => {
                let (a, b) = (self.get(one, 0)?, self.get(one, 1)?);
                let result = self.subtract(a, b, size?);
                self.set(one, 0, result)?;
            }
            M::Add => {
                let (a, b) = (self.get(one, 0)?, self.get(one, 1)?);
                let result = self.add(a, b, size?);
                self.set(one, 0, result)?;
            }
            M::Inc | M::Dec => {
                let (a, carry) = (self.get(one, 0)?, self.flags & CF);
                let result = match one.mnemonic() {
                    M::Inc => self.add(a, 1, size?),
                    _ => self.subtract(a, 1, size?),
                };
                self.flags = self.flags & !CF | carry;
                self.set(one, 0, result)?;
            }
            M::Test => {
                let (a, b) = (self.get(one, 0)?, self.get(one, 1)?);
                self.logic(a & b, size?);
            }
            M::And | M::Or | M::Xor => {
                let (a, b) = (self.get(one, 0)?, self.get(one, 1)?);
                let result = match one.mnemonic() {
                    M::And => a & b,
                    M::Or => a | b,
                    _ => a ^ b,
                };
                self.logic(result, size?);
                self.set(one, 0, result)?;
            }
            M::Cmpxchg => {
                let size = size?;
                let (is, new) = (self.get(one, 0)?, self.get(one, 1)?);
                let wanted = self.general.eax & mask(size);
                self.subtract(wanted, is, size);
                match is == wanted {
                    true => self.set(one, 0, new)?,
                    false => self.general.eax = self.general.eax & !mask(size) | is,
                }
            }
            M::Bt | M::Bts | M::Btr => {
                // A bit offset in a register may lead beyond a word of memory.
                let offset = self.get(one, 1)?;
                if size? != 4 || offset > 31 {
                    return None;
                }
                let (is, bit) = (self.get(one, 0)?, 1 << offset);
                self.flags = self.flags & !CF | u32::from(is & bit != 0);
                match one.mnemonic() {
                    M::Bts => self.set(one, 0, is | bit)?,
                    M::Btr => self.set(one, 0, is & !bit)?,
                    _ => {}
                }
            }
            M::Push if size? == 4 => {
                let value = self.get(one, 0)?;
                self.push(value)?;
            }
            M::Pop if size? == 4 && one.op0_kind() == OpKind::Register => {
                let value = self.pop()?;
                self.set(one, 0, value)?;
            }
            M::Leave => {
                self.general.esp = self.general.ebp;
                self.general.ebp = self.pop()?;
            }
            _ if one.condition_code() != ConditionCode::None && one.op_count() == 1 => {
                // SETcc.
                let is_set = self.holds(one.condition_code())?;
                self.set(one, 0, is_set.into())?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Bytes of an operand; of immediate ones, those of the first.
    fn size(&self, one: &Instruction, index: u32) -> Option<u32> {
        let size = match one.op_kind(index) {
            OpKind::Register => one.op_register(index).size(),
            OpKind::Memory => one.memory_size().size(),
            OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
            OpKind::Immediate8 => 1,
            _ => return None,
        };
        matches!(size, 1 | 2 | 4).then_some(size as u32)
    }

    fn address(&self, one: &Instruction) -> Option<u32> {
        let far = matches!(one.segment_prefix(), Register::FS | Register::GS);
        let register = |register: Register| match register {
            Register::None => Some(0),
            register if register.is_gpr32() => Some(self.general.to_array()[register.number()]),
            _ => None,
        };
        let index = register(one.memory_index())?.wrapping_mul(one.memory_index_scale());
        let sum = register(one.memory_base())?.wrapping_add(index);
        (!far).then_some(sum.wrapping_add(one.memory_displacement32()))
    }

    fn get(&mut self, one: &Instruction, index: u32) -> Option<u32> {
        match one.op_kind(index) {
            OpKind::Register => self.register(one.op_register(index)),
            OpKind::Memory => {
                let at = self.address(one)?;
                self.load(at, one.memory_size().size() as u32)
            }
            OpKind::Immediate8 => Some(one.immediate8().into()),
            OpKind::Immediate32 => Some(one.immediate32()),
            OpKind::Immediate8to32 => Some(one.immediate8to32() as u32),
            _ => None,
        }
    }

    fn set(&mut self, one: &Instruction, index: u32, value: u32) -> Option<()> {
        match one.op_kind(index) {
            OpKind::Register => {
                let register = one.op_register(index);
                let mut all = self.general.to_array();
                let full = all.get_mut(register.full_register32().number())?;
                match register {
                    one if one.is_gpr32() => *full = value,
                    one if one.is_gpr16() => *full = *full & !0xffff | value & 0xffff,
                    one if is_high(one) => *full = *full & !0xff00 | (value & 0xff) << 8,
                    one if one.is_gpr8() => *full = *full & !0xff | value & 0xff,
                    _ => return None,
                }
                self.general = General::from_array(all);
                Some(())
            }
            OpKind::Memory => {
                let at = self.address(one)?;
                self.store(at, value, one.memory_size().size() as u32)
            }
            _ => None,
        }
    }

    fn register(&self, register: Register) -> Option<u32> {
        let full = *self.general.to_array().get(register.full_register32().number())?;
        match register {
            one if one.is_gpr32() => Some(full),
            one if one.is_gpr16() => Some(full & 0xffff),
            one if is_high(one) => Some(full >> 8 & 0xff),
            one if one.is_gpr8() => Some(full & 0xff),
            _ => None,
        }
    }

    fn load(&mut self, at: u32, size: u32) -> Option<u32> {
        let at = self.base.wrapping_add(at);
        let mut bytes = [0; 4];
        for (index, byte) in bytes.iter_mut().enumerate().take(size as usize) {
            let at = at.wrapping_add(index as u32);
            *byte = match self.written.get(&at) {
                Some(byte) => *byte,
                None => {
                    let mut one = [0];
                    self.linear.read(at, &mut one)?;
                    one[0]
                }
            };
        }
        self.read.push(at);
        Some(u32::from_le_bytes(bytes))
    }

    fn store(&mut self, at: u32, value: u32, size: u32) -> Option<()> {
        let at = self.base.wrapping_add(at);
        for (index, byte) in value.to_le_bytes().into_iter().enumerate().take(size as usize) {
            let at = at.wrapping_add(index as u32);
            // Where there is RAM.
            self.linear.read(at, &mut [0])?;
            self.written.insert(at, byte);
        }
        Some(())
    }

    fn push(&mut self, value: u32) -> Option<()> {
        self.general.esp = self.general.esp.wrapping_sub(4);
        self.store(self.general.esp, value, 4)
    }

    fn pop(&mut self) -> Option<u32> {
        let value = self.load(self.general.esp, 4)?;
        self.general.esp = self.general.esp.wrapping_add(4);
        Some(value)
    }

    fn subtract(&mut self, a: u32, b: u32, size: u32) -> u32 {
        let result = a.wrapping_sub(b) & mask(size);
        let overflow = (a ^ b) & (a ^ result) & sign(size) != 0;
        self.status(result, a & mask(size) < b & mask(size), overflow, size);
        result
    }

    fn add(&mut self, a: u32, b: u32, size: u32) -> u32 {
        let result = a.wrapping_add(b) & mask(size);
        let overflow = !(a ^ b) & (a ^ result) & sign(size) != 0;
        self.status(result, result < a & mask(size), overflow, size);
        result
    }

    fn logic(&mut self, result: u32, size: u32) {
        self.status(result & mask(size), false, false, size);
    }

    fn status(&mut self, result: u32, carry: bool, overflow: bool, size: u32) {
        let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        self.flags = flag(carry, CF)
            | flag(overflow, OF)
            | flag(result == 0, ZF)
            | flag(result & sign(size) != 0, SF)
            | flag((result as u8).count_ones().is_multiple_of(2), PF);
    }

    fn holds(&self, condition: ConditionCode) -> Option<bool> {
        use ConditionCode as C;
        let is = |bit: u32| self.flags & bit != 0;
        let less = is(SF) != is(OF);
        Some(match condition {
            C::o => is(OF),
            C::no => !is(OF),
            C::b => is(CF),
            C::ae => !is(CF),
            C::e => is(ZF),
            C::ne => !is(ZF),
            C::be => is(CF) || is(ZF),
            C::a => !is(CF) && !is(ZF),
            C::s => is(SF),
            C::ns => !is(SF),
            C::p => is(PF),
            C::np => !is(PF),
            C::l => less,
            C::ge => !less,
            C::le => less || is(ZF),
            C::g => !less && !is(ZF),
            C::None => return None,
        })
    }
}

/// It reads the stack: what the loop itself, or who called it, has put there.
fn is_of_stack(one: &Instruction) -> bool {
    matches!(one.memory_base(), Register::ESP | Register::EBP)
        || matches!(one.mnemonic(), Mnemonic::Pop | Mnemonic::Ret | Mnemonic::Leave)
}

fn is_high(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

fn mask(size: u32) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

fn sign(size: u32) -> u32 {
    1 << (8 * size - 1)
}
