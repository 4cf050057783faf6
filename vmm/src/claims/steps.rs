//! What the kernel does, instruction by instruction, where a scenario has it followed.

use super::stacks::{Change, Stacks};
use crate::instruction::decode_32;
use crate::instruction::operands::register_value;
use crate::machine::LinearMemory;
use ia32::State;
use iced_x86::{
    Instruction, InstructionInfoFactory, InstructionInfoOptions, OpAccess, OpKind, Register,
};

/// ESP went from one kernel stack to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSwitch {
    /// Linear address of the instruction.
    pub at: u32,
    /// ESP in front of it.
    pub from: u32,
    /// ESP behind it.
    pub to: u32,
    /// Where the old value of ESP had been stored just before, off both stacks, and stands now.
    pub stored_at: Option<u32>,
    /// What has been written to stacks since the last stop or switch.
    pub changes: Vec<Change>,
}

/// Ring 0 touched memory that ring 3 may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserAccess {
    /// Linear address of the instruction.
    pub at: u32,
    /// Linear address of the memory.
    pub address: u32,
    /// It was a write.
    pub write: bool,
}

/// What the kernel did between two stops.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// How many instructions were seen.
    pub steps: u32,
    /// The lowest ESP that was seen.
    pub lowest: Option<u32>,
    /// The switches from stack to stack.
    pub switches: Vec<StackSwitch>,
    /// The uses of memory that ring 3 may use too.
    pub user: Vec<UserAccess>,
}

/// How many instructions behind the store of ESP its load may come.
const NEAR: u32 = 32;

/// Follows the instructions.
pub(super) struct Steps {
    trail: Trail,
    factory: InstructionInfoFactory,
    /// Where ESP was stored last, what it was, and how many instructions ago.
    stored: Option<(u32, u32, u32)>,
}

impl Default for Steps {
    fn default() -> Self {
        Steps { trail: Trail::default(), factory: InstructionInfoFactory::new(), stored: None }
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("trail", &self.trail).finish_non_exhaustive()
    }
}

impl Steps {
    /// What was seen since the last call.
    pub(super) fn take(&mut self) -> Trail {
        std::mem::take(&mut self.trail)
    }

    /// The instruction `code` has led from `before` to `after`.
    pub(super) fn add(
        &mut self,
        linear: &LinearMemory<'_>,
        before: &State,
        after: &State,
        code: &[u8],
        stacks: &mut Stacks,
    ) {
        let at = before.instruction_address();
        let instruction = decode_32(code, before.eip);
        self.trail.steps += 1;
        let (from, to) = (before.stack_address(), after.stack_address());
        if after.cpl() == 0 {
            self.trail.lowest = Some(self.trail.lowest.map_or(to, |lowest| lowest.min(to)));
        }
        self.note_stored_esp(before, &instruction);
        if let (Some(old), Some(new)) = (stacks.holding(from), stacks.holding(to))
            && old.top != new.top
        {
            let stored_at = self
                .stored
                .filter(|(address, value, _)| {
                    *value == before.general.esp
                        && linear.read_u32(*address) == Some(*value)
                        && !old.contains(*address)
                        && !new.contains(*address)
                })
                .map(|(address, ..)| address);
            let changes = stacks.look(linear);
            self.trail.switches.push(StackSwitch { at, from, to, stored_at, changes });
        }
        for used in self.memory_used(before, &instruction) {
            let (address, write) = used;
            let user =
                linear.paging.access(linear.memory, address).is_some_and(|access| access.user);
            let used = UserAccess { at, address, write };
            if user && self.trail.user.last() != Some(&used) {
                self.trail.user.push(used);
            }
        }
    }

    fn note_stored_esp(&mut self, before: &State, instruction: &Instruction) {
        if let Some((.., age)) = &mut self.stored {
            *age += 1;
        }
        self.stored = self.stored.filter(|(.., age)| *age < NEAR);
        if instruction.op0_kind() == OpKind::Memory && instruction.op1_register() == Register::ESP {
            let address = instruction.virtual_address(0, 0, |register, _, _| {
                register_value(before, register).map(u64::from)
            });
            if let Some(address) = address {
                self.stored = Some((address as u32, before.general.esp, 0));
            }
        }
    }

    /// Linear addresses that the instruction reads or writes, and whether it writes.
    fn memory_used(&mut self, before: &State, instruction: &Instruction) -> Vec<(u32, bool)> {
        // A repeated instruction with nothing to do touches nothing.
        if (instruction.has_rep_prefix() || instruction.has_repne_prefix())
            && instruction.is_string_instruction()
            && before.general.ecx == 0
        {
            return Vec::new();
        }
        let info =
            self.factory.info_options(instruction, InstructionInfoOptions::NO_REGISTER_USAGE);
        let accessed = |access: OpAccess| match access {
            OpAccess::Read | OpAccess::CondRead => Some(false),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite => Some(true),
            OpAccess::ReadCondWrite => Some(true),
            _ => None,
        };
        info.used_memory()
            .iter()
            .filter_map(|memory| {
                let write = accessed(memory.access())?;
                let address = memory.virtual_address(0, |register, _, _| {
                    register_value(before, register).map(u64::from)
                })?;
                Some((address as u32, write))
            })
            .collect()
    }
}
