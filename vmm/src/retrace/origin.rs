//! Where the value of a register came from: which instruction loaded it, and from which word.
//!
//! ```text
//!  mov ebx, [esp+8] ─ push ebx ─ call ─ … ─ pop ebx ─ add [ebx], esi ─► fault
//!  └ this one loaded it, through all that was done with it since
//! ```
//! A wrong pointer is used long after it was loaded. Copies, pushes and pops are followed on the way, by value; what is
//! computed otherwise begins where it was computed.

use super::{Doer, Retrace, follow, loads_stack, stack::SwitchedStack, stand};
use crate::check::ChangedWord;
use crate::instruction::operands::operands;
use crate::instruction::valid_32;
use crate::machine::MachineError;
use crate::run::{Event, Run};
use ia32::State;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

/// So many words of memory are remembered.
const KEPT: usize = 1 << 14;
/// The arguments of a function are looked for in so many words.
const ARGUMENTS: u32 = 4;
const ESP: usize = 4;

/// The instruction that a value came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The instruction.
    pub by: Doer,
    /// The word that it was loaded from; none where it was computed, or stands in the instruction.
    pub from: Option<ChangedWord>,
    /// How many calls and returns had been seen then, and instructions.
    turns: u64,
    /// The function was led to by RET, and takes this for an argument: what lies where the way back should be, and where.
    pub argument_of: Option<(u32, u32)>,
}

/// Where a register's value came from.
#[derive(Clone, Debug)]
pub struct Value {
    /// The register's number.
    pub register: u8,
    /// What it held.
    pub value: u32,
    /// What it came from.
    pub origin: Origin,
    /// What has changed stacks since, by a function that has not put another value there.
    pub not_restored: Option<Doer>,
}

type Known = Option<Rc<Origin>>;

/// What is known on the way.
#[derive(Default)]
struct Trail {
    registers: [Known; 8],
    /// What a register has stored in memory, by linear address.
    stored: BTreeMap<u32, (u32, Rc<Origin>)>,
    turns: u64,
    switched: Option<(Doer, u64)>,
    /// ESP where RET has led to code behind no CALL.
    led: Option<u32>,
}

/// Goes on from here to the next entry, or to the end.
pub(super) fn of_register(run: &mut Run, register: u8) -> Result<Option<Value>, MachineError> {
    let give_up_at = Instant::now() + super::PATIENCE;
    let (mut trail, mut stack) = (Trail::default(), None);
    while Instant::now() < give_up_at {
        let by = stand(run);
        let moment = run.go_on_by_one()?;
        if let Some(Event::Entry(_) | Event::End(_) | Event::Switch(_)) = moment.event {
            return Ok(trail.value(register, &by));
        }
        let after = run.state();
        if by.before.cpl() == 0 && after.cpl() == 0 {
            trail.take_in(&by, &after, run, &mut stack);
        }
    }
    Ok(None)
}

impl Trail {
    fn value(self, register: u8, at: &Doer) -> Option<Value> {
        let origin = self.registers[usize::from(register)].as_deref()?.clone();
        let not_restored = self.switched.filter(|(_, turns)| {
            // Who loads all registers and then ESP, in one piece, has restored them.
            let is_kept_by_functions = matches!(register, 3 | 5..=7);
            is_kept_by_functions && origin.turns < *turns
        });
        let value = at.before.general.to_array()[usize::from(register)];
        let not_restored = not_restored.map(|(by, _)| by);
        Some(Value { register, value, origin, not_restored })
    }

    fn take_in(&mut self, by: &Doer, after: &State, run: &Run, stack: &mut Option<SwitchedStack>) {
        follow(stack, run, by, after);
        let Some(one) = valid_32(&by.code, by.before.eip) else { return };
        if loads_stack(by, after) {
            self.switched = Some((by.clone(), self.turns));
        }
        match one.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                self.turns += 1;
                self.led = None;
            }
            FlowControl::Return => {
                self.turns += 1;
                let led = stack.as_ref().is_some_and(|stack| stack.led.is_some());
                self.led = led.then_some(after.general.esp);
            }
            _ => {}
        }
        let touched = operands(&by.code, &by.before).0;
        let read = touched.iter().find(|touch| !touch.write).map(|touch| touch.linear);
        let written = touched.iter().find(|touch| touch.write).map(|touch| touch.linear);
        self.registers_of(&one, by, after, run, read);
        self.memory_of(&one, by, after, written);
    }

    /// What the registers hold now.
    fn registers_of(
        &mut self,
        one: &Instruction,
        by: &Doer,
        after: &State,
        run: &Run,
        read: Option<u32>,
    ) {
        let (was, is) = (by.before.general.to_array(), after.general.to_array());
        let target = number(one.op0_register());
        let new = match (one.mnemonic(), target) {
            (Mnemonic::Mov, Some(target)) if let Some(source) = number(one.op1_register()) => {
                Some((target, self.registers[source].clone()))
            }
            (Mnemonic::Lea, Some(target)) if one.memory_index() == Register::None => {
                let base = number(one.memory_base());
                Some((target, base.and_then(|base| self.registers[base].clone())))
            }
            (Mnemonic::Mov, Some(target)) if one.op1_kind() == OpKind::Memory => {
                let origin = read.and_then(|at| self.loaded(at, is[target], by, run));
                Some((target, origin))
            }
            (Mnemonic::Pop, Some(target)) => {
                let known = self.known(by.before.stack_address(), is[target]);
                Some((target, known))
            }
            (Mnemonic::Add | Mnemonic::Sub | Mnemonic::Inc | Mnemonic::Dec, Some(target))
                if one.op_count() == 1 || number(one.op1_register()).is_none() =>
            {
                Some((target, self.registers[target].clone()))
            }
            (Mnemonic::Popad, _) => {
                for register in (0..8).filter(|register| *register != ESP) {
                    let at = by.before.stack_address().wrapping_add((7 - register as u32) * 4);
                    self.registers[register] = self.known(at, is[register]);
                }
                return;
            }
            (Mnemonic::Leave, _) => {
                let at = by.before.general.ebp;
                let (known, esp) = (self.known(at, is[5]), self.registers[5].clone());
                (self.registers[5], self.registers[ESP]) = (known, esp);
                return;
            }
            (_, Some(target)) => Some((target, None)),
            _ => None,
        };
        // What was not followed has been computed here.
        for register in
            (0..8).filter(|register| *register != ESP && was[*register] != is[*register])
        {
            if new.as_ref().is_none_or(|(target, origin)| *target != register || origin.is_none()) {
                self.registers[register] = Some(self.origin(by, None, None));
            }
        }
        if let Some((target, origin @ Some(_))) = new {
            self.registers[target] = origin;
        } else if let Some((target, None)) = new
            && was[target] == is[target]
            && writes_first(one)
        {
            self.registers[target] = Some(self.origin(by, None, None));
        }
    }

    /// What lies in memory now.
    fn memory_of(&mut self, one: &Instruction, by: &Doer, after: &State, written: Option<u32>) {
        if self.stored.len() > KEPT {
            self.stored.clear();
        }
        let was = by.before.general.to_array();
        if one.mnemonic() == Mnemonic::Pushad {
            for (register, value) in was.iter().enumerate() {
                let at = after.stack_address().wrapping_add((7 - register as u32) * 4);
                self.store(at, *value, self.registers[register].clone());
            }
            return;
        }
        let source = match one.mnemonic() {
            Mnemonic::Push => number(one.op0_register()),
            Mnemonic::Mov if one.op0_kind() == OpKind::Memory => number(one.op1_register()),
            _ => None,
        };
        let at = match one.mnemonic() {
            Mnemonic::Push => Some(after.stack_address()),
            _ => written,
        };
        let Some(at) = at else { return };
        match source {
            Some(source) => self.store(at, was[source], self.registers[source].clone()),
            None => {
                self.stored.remove(&at);
            }
        }
    }

    fn store(&mut self, at: u32, value: u32, origin: Known) {
        match origin {
            Some(origin) => self.stored.insert(at, (value, origin)),
            None => self.stored.remove(&at),
        };
    }

    /// What a word has got from a register, if it holds that still.
    fn known(&self, at: u32, value: u32) -> Known {
        let (was, origin) = self.stored.get(&at)?;
        (*was == value).then(|| origin.clone())
    }

    fn loaded(&self, at: u32, value: u32, by: &Doer, run: &Run) -> Known {
        if let Some(known) = self.known(at, value) {
            return Some(known);
        }
        let linear = run.machine().linear();
        let physical = linear.paging.translate(linear.memory, at)?;
        let word = ChangedWord { address: at, physical, value };
        let argument = self.led.filter(|esp| {
            let offset = at.wrapping_sub(esp.wrapping_add(4));
            offset % 4 == 0 && offset / 4 < ARGUMENTS
        });
        let argument = argument.and_then(|esp| Some((esp, linear.read_u32(esp)?)));
        Some(self.origin(by, Some(word), argument))
    }

    fn origin(
        &self,
        by: &Doer,
        from: Option<ChangedWord>,
        argument_of: Option<(u32, u32)>,
    ) -> Rc<Origin> {
        Rc::new(Origin { by: by.clone(), from, turns: self.turns, argument_of })
    }
}

/// The number of a register of 32 bits.
fn number(register: Register) -> Option<usize> {
    register.is_gpr32().then(|| register.number())
}

/// The first operand is written, whatever was there.
fn writes_first(one: &Instruction) -> bool {
    matches!(one.mnemonic(), Mnemonic::Mov | Mnemonic::Xor | Mnemonic::Lea | Mnemonic::Movzx)
}

/// The register by which `code` reaches memory, in a way that its value can be told where it came from.
pub(crate) fn pointer(code: &[u8]) -> Option<u8> {
    let one = valid_32(code, 0)?;
    let is_memory = one.op_kinds().any(|kind| kind == OpKind::Memory);
    let base = number(one.memory_base()).filter(|base| *base != ESP && *base != 5);
    let index = || number(one.memory_index());
    is_memory.then(|| base.or_else(index)).flatten().map(|register| register as u8)
}

impl Retrace {
    /// Where the register came from by which the instruction of `code`, which was refused at `entry`, reaches memory.
    pub(crate) fn of_pointer(code: &[u8], entry: u64) -> Option<Retrace> {
        let after_entry = entry.checked_sub(1)?;
        Some(Retrace::Register { after_entry, register: pointer(code)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_the_base_register_or_the_index_where_the_base_is_the_frames() {
        // add [ebx], esi
        assert_eq!(pointer(&[0x01, 0x33]), Some(3));
        // mov eax, [ebp+esi*4]
        assert_eq!(pointer(&[0x8b, 0x44, 0xb5, 0x00]), Some(6));
        // mov eax, [esp+4]
        assert_eq!(pointer(&[0x8b, 0x44, 0x24, 0x04]), None);
        // mov eax, [100h]
        assert_eq!(pointer(&[0xa1, 0, 1, 0, 0]), None);
        // lea is no access, but names one; call [ecx+8]
        assert_eq!(pointer(&[0xff, 0x51, 0x08]), Some(1));
        assert_eq!(pointer(&[0xc3]), None);
    }
}
