//! From real mode to protected mode, one instruction at a time.
//!
//! A kernel that starts in real mode has 16-bit code, which the disassembly that looks for LIDT does
//! not read, and no IDT to find gates in. There is little of it, so it is stepped: until the kernel
//! runs 32-bit code in protected mode on a stack segment that it has loaded there. From then on
//! probes do. Each stack that it takes on the way is told.

use super::{Ending, Event, Phase, Run, Turn};
use crate::instruction::decode;
use crate::machine::Exit;
use ia32::State;
use iced_x86::Register;

/// Instructions that are stepped at most. Then the guest runs on, and its LIDT may be missed.
pub(super) const LIMIT: u32 = 1_000_000;
/// A stack pointer that changes by more bytes than one instruction pushes or pops has been loaded.
const LARGEST_PUSH: u32 = 32;

/// A stack was taken into use by loading SS or the stack pointer.
#[derive(Clone, Copy, Debug)]
pub struct StackLoad {
    /// The state before the instruction.
    pub before: State,
    /// The state after it. MOV SS and the instruction after it count as one.
    pub after: State,
    code: [u8; 15],
}

impl StackLoad {
    /// The instruction, as far as it says what was loaded from: `mov ss`, `lss`.
    pub fn instruction(&self) -> String {
        let instruction = decode(&self.code, &self.before);
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        match instruction.op0_register() {
            Register::None => name,
            register => format!("{name} {}", format!("{register:?}").to_lowercase()),
        }
    }
}

impl Run {
    /// Steps real mode by one instruction; `left` may still be.
    pub(super) fn step_real_mode(&mut self, left: u32) -> Turn {
        let before = self.machine.vcpu.state();
        if is_set_up(&before) || left == 0 {
            self.owed.step_again = true;
            return self.await_idt(&before);
        }
        self.machine.vcpu.attend_to_signals();
        if self.outside.stop.is_requested() {
            self.end_if(Some(Ending::Stopped));
            return Ok(None);
        }
        if self.outside.alarm.is_over() {
            self.end_if(Some(Ending::TimedOut));
            return Ok(None);
        }
        self.finish()?;
        let mut code = [0; 15];
        self.machine.linear().read_some(before.instruction_address(), &mut code);
        let exit = self.machine.vcpu.step(true)?;
        let after = self.machine.vcpu.state();
        self.phase = Phase::RealMode(left - 1);
        let loaded = loads_stack(&before, &after)
            .then(|| Event::StackLoad(Box::new(StackLoad { before, after, code })));
        if exit == Exit::Step {
            self.counters.exits += 1;
            self.counters.stepped += 1;
            return Ok(loaded);
        }
        // An instruction that leaves the VM loads no stack.
        self.exited(exit)
    }
}

/// 32-bit code in protected mode, on a 32-bit stack segment.
fn is_set_up(state: &State) -> bool {
    state.protected() && state.cs().big() && state.ss().big()
}

fn loads_stack(before: &State, after: &State) -> bool {
    let distance = before.stack_pointer().wrapping_sub(after.stack_pointer()) as i32;
    before.ss() != after.ss() || distance.unsigned_abs() > LARGEST_PUSH
}
