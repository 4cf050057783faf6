//! From real mode to protected mode, one instruction at a time.
//!
//! A kernel that starts in real mode has 16-bit code, which the disassembly that looks for LIDT does
//! not read, and no IDT to find gates in. There is little of it, so it is stepped: until the kernel
//! runs 32-bit code in protected mode on a stack segment that it has loaded there. From then on
//! probes do. Each stack that it takes on the way is told to the observer.

use super::{Ending, Observer, Run};
use crate::machine::{Exit, MachineError, stop_requested};
use ia32::State;
use iced_x86::{Decoder, DecoderOptions, Register};
use std::time::Instant;

/// Instructions that are stepped at most. Then the guest runs on, and its LIDT may be missed.
const LIMIT: u32 = 1_000_000;
/// A stack pointer that changes by more bytes than one instruction pushes or pops has been loaded.
const LARGEST_PUSH: u32 = 32;

/// A stack was taken into use by loading SS or the stack pointer.
#[derive(Clone, Copy, Debug)]
pub struct StackLoad {
    /// The state before the instruction.
    pub before: State,
    /// The state behind it. MOV SS and the instruction behind it count as one.
    pub after: State,
    code: [u8; 15],
}

impl StackLoad {
    /// The instruction, as far as it says what was loaded from: `mov ss`, `lss`.
    pub fn instruction(&self) -> String {
        let bits = if self.before.cs().big() { 32 } else { 16 };
        let instruction = Decoder::new(bits, &self.code, DecoderOptions::NONE).decode();
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        match instruction.op0_register() {
            Register::None => name,
            register => format!("{name} {}", format!("{register:?}").to_lowercase()),
        }
    }
}

impl Run {
    /// Steps through real mode, if the guest stands there.
    pub(super) fn leave_real_mode(
        &mut self,
        observer: &mut impl Observer,
    ) -> Result<Option<Ending>, MachineError> {
        for _ in 0..LIMIT {
            let before = self.machine.vcpu.state();
            if is_set_up(&before) {
                break;
            }
            if stop_requested() {
                return Ok(Some(Ending::Stopped));
            }
            if self.give_up_at.is_some_and(|at| Instant::now() >= at) {
                return Ok(Some(Ending::TimedOut));
            }
            self.finish()?;
            let mut code = [0; 15];
            self.machine.linear().read_some(before.instruction_address(), &mut code);
            let exit = self.machine.vcpu.step(true)?;
            let after = self.machine.vcpu.state();
            if loads_stack(&before, &after) {
                observer.stack_load(&StackLoad { before, after, code });
            }
            if exit == Exit::Step {
                self.counters.exits += 1;
                self.counters.stepped += 1;
            } else if let Some(ending) = self.handle(exit, observer)? {
                return Ok(Some(ending));
            }
        }
        self.step_again = true;
        Ok(None)
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
