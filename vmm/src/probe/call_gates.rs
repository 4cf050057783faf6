//! Probes where call gates lead to, and at the far RETs behind them.
//!
//! A call gate leaves interrupts as they are, so such a place may be interrupted before its first instruction; where RF is
//! pushed then, as on QEMU's model, a breakpoint would be passed over. So none of them gets a register.

use super::{CallGate, Choice, Probes, Seen};
use crate::machine::{Machine, MachineError};
use ia32::State;

impl Probes {
    /// An outer ring is about to be left for, in `state`: call gates that stand in its tables by now get sites where they lead to.
    /// `late`: an outer ring may have run, and used them, since this was asked last.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[inline]
    pub(crate) fn watch_call_gates(
        &mut self,
        machine: &mut Machine,
        state: &State,
        late: bool,
    ) -> Result<(), MachineError> {
        if self.choice == Choice::None || !self.unwatched.tables_changed(machine, state) {
            return Ok(());
        }
        self.take_call_gates(machine, state, late)
    }

    #[cold]
    fn take_call_gates(
        &mut self,
        machine: &mut Machine,
        state: &State,
        late: bool,
    ) -> Result<(), MachineError> {
        let gates = self.unwatched.watch_call_gates(machine, state, late);
        if gates.is_empty() {
            return Ok(());
        }
        for gate in &gates {
            self.site(gate.address).call_gates.push(*gate);
        }
        let targets: Vec<u32> = gates.iter().map(|gate| gate.address).collect();
        self.explore(machine, &targets);
        for found in std::mem::take(&mut self.far_returns) {
            self.site(found.probe_address).far_return = Some(found);
        }
        self.place_all(machine)?;
        for gate in gates {
            if !self.is_site(gate.address) && !self.is_exposed(gate.address) {
                self.doubt(&[gate]);
            }
        }
        Ok(())
    }

    /// A far RET is stopped at.
    pub(crate) fn has_far_returns(&self) -> bool {
        self.sites.values().any(|site| site.placed && site.far_return.is_some())
    }

    /// Something may have come by these call gates unseen: it could not be told from a jump, or no probe stood there.
    pub(crate) fn doubt(&mut self, gates: &[CallGate]) {
        self.unwatched.doubt(gates);
    }

    /// What is known of each call gate that was seen, and whether it is watched now.
    pub fn call_gates(&self) -> impl Iterator<Item = (CallGate, Seen)> {
        self.unwatched.call_gates().map(|(gate, mut seen)| {
            let site = self.sites.get(&gate.address);
            seen.watched &= site.is_some_and(|site| site.placed || self.is_exposed(site.address));
            (gate, seen)
        })
    }

    /// The guest is stopped where a call gate leads to.
    pub(crate) fn stops_calls(&self) -> bool {
        self.unwatched.has_call_gates()
            && self.sites.values().any(|site| site.placed && !site.call_gates.is_empty())
    }
}
