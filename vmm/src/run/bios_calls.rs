//! What a kernel that was loaded directly has asked of a BIOS that is not there ([`crate::boot::services`]).

use super::Run;
use crate::boot::services;
use ia32::{SegmentRegister, State};

/// So many are told apart.
const MOST: usize = 32;

/// A service that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiosCall {
    /// The vector: 10 for the screen, 13 for disks, 15 for memory, 16 for the keyboard.
    pub vector: u8,
    /// AX, of which the upper half names the function, the first time.
    pub ax: u16,
    /// CS and IP of the first INT.
    pub by: (u16, u16),
    /// How often that function was asked for.
    pub count: u64,
}

impl Run {
    /// What was asked of a BIOS that is not there, the first first.
    pub fn bios_calls(&self) -> &[BiosCall] {
        &self.seen.bios_calls
    }

    /// The vCPU stands at an OUT to the port of the BIOS's services; whether it is theirs.
    #[cold]
    pub(super) fn service_is_asked(&mut self) -> bool {
        let state = self.machine.vcpu.state();
        let real = !state.protected() || state.virtual_8086();
        let vector = services::asked(state.instruction_address()).filter(|_| real);
        let Some(vector) = vector.filter(|_| !self.firmware) else { return false };
        let ax = state.general.eax as u16;
        let calls = &mut self.seen.bios_calls;
        let same = |call: &&mut BiosCall| (call.vector, call.ax >> 8) == (vector, ax >> 8);
        if let Some(call) = calls.iter_mut().find(same) {
            call.count += 1;
        } else if calls.len() < MOST {
            let by = self.caller(&state);
            self.seen.bios_calls.push(BiosCall { vector, ax, by, count: 1 });
        }
        true
    }

    /// CS and IP of the two bytes of an INT whose frame is the last that was pushed.
    fn caller(&self, state: &State) -> (u16, u16) {
        let base = state.segments[SegmentRegister::Ss as usize].base;
        let at = |offset: u16| {
            let sp = (state.general.esp as u16).wrapping_add(offset);
            self.machine.linear().read_u16(base.wrapping_add(sp.into())).unwrap_or(0)
        };
        (at(2), at(0).wrapping_sub(2))
    }
}
