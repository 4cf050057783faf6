//! Entries by call gates, and the far RETs that leave for an outer ring.
//!
//! The code that a call gate leads to may be come to by a jump of the kernel's as well, by a far CALL of its own ring, or by
//! falling through: then nothing was pushed, and nothing is told. Who was running before decides. Where that is not known,
//! what lies on the stack does: the words of such an entry begin at SS0:ESP0, and a far CALL stands before the CS:EIP among
//! them. The same words at the same place once more, with no way out in between, are a jump back to the start.

use super::departure::{Cause, Departure};
use super::probed::AtProbe;
use super::{Event, Outward, Run, Turn};
use crate::entry::{CallScene, capture_call, capture_far_return, far_call};
use crate::machine::MachineError;
use crate::probe::CallGate;
use ia32::State;

impl Run {
    /// The vCPU stands in `state` in front of an IRET that goes to `ring`, or of a far RET: call gates are looked for before an
    /// outer ring can use them.
    #[inline]
    pub(super) fn look_for_call_gates(
        &mut self,
        state: &State,
        ring: u8,
    ) -> Result<(), MachineError> {
        if ring > state.cpl() {
            let late = std::mem::take(&mut self.seen.left_unseen);
            self.probes.watch_call_gates(&mut self.machine, state, late)?;
        }
        Ok(())
    }

    /// The entry by one of `gates` that a stop shows, if it is one.
    #[cold]
    pub(super) fn call_at(
        &mut self,
        gates: &[CallGate],
        departure: Option<&Departure>,
        stop: &AtProbe,
    ) -> Option<Event> {
        let state = stop.state();
        let mut scene = CallScene {
            sequence: self.seen.sequence,
            time: self.clock.counted(),
            from_outside: self.seen.outward.ring.is_some_and(|ring| ring > state.cpl()),
            ..CallScene::default()
        };
        match departure {
            Some(Departure { before, cause: Cause::Instruction(_), .. })
                if before.cpl() > state.cpl() =>
            {
                let mut code = [0; 15];
                let (linear, at) = (self.machine.linear(), before.instruction_address());
                let count = self.probes.read_code(&linear, at, &mut code);
                far_call(&code[..count])?;
                scene.before = Some(before.clone());
            }
            Some(_) => return None,
            None => {}
        }
        let (known, from_outside) = (scene.before.is_some(), scene.from_outside);
        let call = capture_call(&self.machine, &self.probes, gates, &state, scene)?;
        if !known && !from_outside {
            // The frame of an interrupt that has just come from an outer ring begins there too.
            let of_interrupt =
                |end: u32| self.seen.outward.entered.is_some_and(|frame| frame.end() == end);
            if of_interrupt(call.frame.end()) {
                return None;
            }
            if self.seen.called.as_ref() == Some(&call.frame) {
                if !self.probes.has_far_returns() {
                    self.probes.doubt(gates);
                }
                return None;
            }
        }
        self.seen.called = Some(call.frame.clone());
        self.seen.outward = Outward::default();
        Some(Event::Crossing(Box::new(call)))
    }

    /// The far RET that a stop shows, if one stands there and leaves for an outer ring.
    #[cold]
    pub(super) fn far_return_at(&mut self, stop: &AtProbe) -> Turn {
        let state = stop.state();
        let site = self.probes.site_at(state.instruction_address());
        let Some(far_return) = site.and_then(|site| site.far_return) else { return Ok(None) };
        let (sequence, time) = (self.seen.sequence, self.clock.counted());
        let Some(leaving) = capture_far_return(&self.machine, far_return, &state, sequence, time)
        else {
            return Ok(None);
        };
        let ring = leaving.to_ring();
        self.look_for_call_gates(&state, ring)?;
        self.seen.called = None;
        self.seen.outward = Outward { ring: Some(ring), ..Outward::default() };
        Ok(Some(Event::Crossing(Box::new(leaving))))
    }
}
