//! Probes where task gates of the IDT lead to: at the CS:EIP of their TSS.
//!
//! That place changes: an IRET stores what is behind it, and a kernel may fill the TSS in long after the gate. So it is read again
//! at each look at the IDT, and known beforehand where a task is about to leave. A task switch clears the debug registers' local
//! enables and may set T, so none of these places gets a register.

use super::{Choice, Probes, TaskGate};
use crate::entry::TssWords;
use crate::machine::{LinearMemory, Machine, MachineError};
use ia32::{Descriptor, DescriptorKind, Selector, State};

impl Probes {
    /// The TSSs of the task gates may lead elsewhere by now: lets the sites follow.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[inline]
    pub(super) fn follow_task_gates(
        &mut self,
        machine: &mut Machine,
        state: &State,
    ) -> Result<(), MachineError> {
        if !self.unwatched.has_task_gates() || self.task_words_stand(machine) {
            return Ok(());
        }
        self.read_task_gates(machine, state)
    }

    /// What the task gates' TSSs say of the place has been read, and stands there still.
    #[inline]
    fn task_words_stand(&self, machine: &Machine) -> bool {
        let stands = |(at, word): &(u64, u32)| machine.memory().read_u32(*at) == Some(*word);
        self.task_words.as_ref().is_some_and(|words| words.iter().all(stands))
    }

    #[cold]
    fn read_task_gates(
        &mut self,
        machine: &mut Machine,
        state: &State,
    ) -> Result<(), MachineError> {
        let linear = machine.linear();
        // The task that runs is not entered by its gate: its TSS has what it was entered with.
        let here = state.tr.selector().0 & !7;
        let leads = |gate: &TaskGate| {
            let target = target(&linear, state, Selector(gate.tss))?;
            (gate.tss & !7 != here).then_some((*gate, target))
        };
        let words = self.unwatched.task_gates().flat_map(|(gate, _)| {
            let tss = linear.descriptor(state, Selector(gate.tss)).map(Descriptor::base);
            [TssWords::EIP, TssWords::CS].map(|index| {
                let at = tss?.wrapping_add(4 * index as u32);
                Some((linear.paging.translate(linear.memory, at)?, linear.read_u32(at)?))
            })
        });
        self.task_words = words.collect();
        let found: Vec<_> =
            self.unwatched.task_gates().filter_map(|(gate, _)| leads(&gate)).collect();
        for (gate, address) in found {
            self.move_task_gate(machine, gate, address)?;
        }
        Ok(())
    }

    /// The task of the TSS `tss` is about to leave, and will go on at this linear address.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub(crate) fn task_leaves(
        &mut self,
        machine: &mut Machine,
        (tss, address): (Selector, u32),
    ) -> Result<(), MachineError> {
        if !self.unwatched.has_task_gates() {
            return Ok(());
        }
        let gates = self.unwatched.task_gates().map(|(gate, _)| gate);
        let gates: Vec<TaskGate> = gates.filter(|gate| gate.tss & !7 == tss.0 & !7).collect();
        for gate in gates {
            self.move_task_gate(machine, gate, address)?;
        }
        Ok(())
    }

    /// A task gate leads to the TSS with this selector.
    pub(crate) fn is_task_gates(&self, tss: Selector) -> bool {
        self.unwatched.task_gates().any(|(gate, _)| gate.tss & !7 == tss.0 & !7)
    }

    /// The guest is stopped where the task of this gate goes on, or was.
    pub(crate) fn stops_task_gate(&self, gate: TaskGate) -> bool {
        let mut sites = self.sites.values();
        sites.any(|site| {
            site.task_gates.contains(&gate) && (site.placed || self.is_exposed(site.address))
        })
    }

    /// An entry by a task gate to this TSS was seen.
    pub(crate) fn entered_by_task_gate(&mut self, tss: Selector) {
        self.unwatched.entered_by_task_gate(tss);
    }

    fn move_task_gate(
        &mut self,
        machine: &mut Machine,
        gate: TaskGate,
        address: u32,
    ) -> Result<(), MachineError> {
        if self.choice == Choice::None
            || self.sites.get(&address).is_some_and(|site| site.task_gates.contains(&gate))
        {
            return Ok(());
        }
        let old = self.sites.values().find(|site| site.task_gates.contains(&gate));
        if let Some(old) = old.map(|site| site.address) {
            let site = self.site(old);
            site.task_gates.retain(|one| *one != gate);
            if site.is_empty() {
                self.uncover(machine, old)?;
                self.sites.remove(&old);
                self.exposed.retain(|exposed| *exposed != old);
            }
        }
        self.site(address).task_gates.push(gate);
        self.explore(machine, &[address]);
        self.place_all(machine)
    }
}

/// Linear address at which the task of a TSS begins, if that is 32-bit code of ring 0.
fn target(linear: &LinearMemory<'_>, state: &State, tss: Selector) -> Option<u32> {
    let descriptor = linear.descriptor(state, tss)?;
    if !descriptor.present() || !matches!(descriptor.kind(), DescriptorKind::Tss { wide: true, .. })
    {
        return None;
    }
    let word = |index: usize| linear.read_u32(descriptor.base().wrapping_add(4 * index as u32));
    let (eip, cs) = (word(TssWords::EIP)?, Selector(word(TssWords::CS)? as u16));
    let code = linear.descriptor(state, cs)?;
    let usual = code.present()
        && code.big()
        && cs.rpl() == 0
        && matches!(code.kind(), DescriptorKind::Code { .. });
    (usual && eip != 0).then(|| Descriptor::base(code).wrapping_add(eip))
}
