//! Hardware breakpoints through KVM_SET_GUEST_DEBUG.
//!
//! They change nothing in the guest and stop before the instruction. There are four. Where KVM or
//! the processor below it ignores them, [`crate::host`] finds out and this means gets no registers.

use super::step::step_over;
use super::{Means, Passed, Site};
use crate::machine::{Exit, Machine, MachineError};
use ia32::Eflags;
use rustc_hash::FxHashMap;

/// What the debug registers of a processor, or of a model of one, are good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugRegisters {
    /// How many breakpoints fire.
    pub usable: usize,
    /// Code beside an armed breakpoint runs many times slower than without: so it is where a model
    /// translates code, as QEMU's does, and then stops after each instruction of that page.
    pub slow: bool,
}

impl DebugRegisters {
    /// No breakpoint fires.
    pub const NONE: DebugRegisters = DebugRegisters { usable: 0, slow: false };
}

/// The debug registers.
#[derive(Clone, Debug)]
pub(super) struct Breakpoints {
    addresses: [Option<u32>; 4],
    usable: usize,
    /// How many of them are for sites that a patch could serve as well.
    spare: usize,
}

impl Breakpoints {
    /// So many registers work, and `spare` of them are for sites that a patch could serve as well.
    pub(super) fn new(usable: usize, spare: usize) -> Self {
        let usable = usable.min(4);
        Breakpoints { addresses: [None; 4], usable, spare: spare.min(usable) }
    }

    pub(super) fn usable(&self) -> usize {
        self.usable
    }

    /// The site that a register has to be taken from for another, if none is free: the least used one.
    pub(super) fn least_needed(&self, sites: &FxHashMap<u32, Site>) -> Option<u32> {
        let held = self.addresses[..self.usable].iter().copied();
        let held: Option<Vec<u32>> = held.collect();
        let others = held?.into_iter().filter_map(|address| sites.get(&address));
        others.filter(|site| !site.asked).min_by_key(|site| site.weight()).map(|site| site.address)
    }

    /// The registers that no site has stop the guest at these addresses, as far as there are enough.
    pub(super) fn lend(
        &self,
        machine: &mut Machine,
        addresses: impl IntoIterator<Item = u32>,
    ) -> Result<(), MachineError> {
        let mut lent = self.addresses;
        let free = lent[..self.usable].iter_mut().filter(|slot| slot.is_none());
        for (slot, address) in free.zip(addresses) {
            *slot = Some(address);
        }
        machine.vcpu.set_breakpoints(&lent)
    }

    pub(super) fn holds(&self, address: u32) -> bool {
        self.usable != 0 && self.addresses.contains(&Some(address))
    }
}

impl Means for Breakpoints {
    fn place(&mut self, machine: &mut Machine, site: &Site) -> Result<bool, MachineError> {
        if self.holds(site.address) {
            return Ok(true);
        }
        let registers = if site.asked { self.usable } else { self.spare };
        // The last one is taken first by a site that needs it: it is the last that others get.
        let mut slots = self.addresses[..registers].iter_mut();
        let free = match site.asked {
            true => slots.rfind(|slot| slot.is_none()),
            false => slots.find(|slot| slot.is_none()),
        };
        let Some(free) = free else {
            return Ok(false);
        };
        *free = Some(site.address);
        machine.vcpu.set_breakpoints(&self.addresses)?;
        Ok(true)
    }

    fn remove(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError> {
        for slot in &mut self.addresses {
            if *slot == Some(address) {
                *slot = None;
            }
        }
        machine.vcpu.set_breakpoints(&self.addresses)
    }

    fn recognise(&self, _: &mut Machine, exit: &Exit) -> Option<u32> {
        let Exit::Breakpoint { address } = exit else { return None };
        self.holds(*address).then_some(*address)
    }

    /// RF makes the processor ignore the breakpoint for one instruction
    /// (SDM vol. 3B, "Instruction-breakpoint exception condition"). Where an interrupt could be taken
    /// first, its frame would show that RF: there the instruction is stepped.
    fn pass(&mut self, machine: &mut Machine, site: &Site) -> Result<Passed, MachineError> {
        let eflags = machine.vcpu.eflags();
        machine.vcpu.set_eflags((eflags | Eflags::RF).0);
        if !eflags.contains(Eflags::IF) {
            return Ok(Passed::WithNextRun);
        }
        let mut code = [0; 15];
        let count = machine.linear().read_some(site.address, &mut code);
        if step_over(machine, &code[..count])? {
            return Ok(Passed::Stepped);
        }
        self.remove(machine, site.address)?;
        machine.vcpu.set_eflags(eflags.0);
        Ok(Passed::Exposed)
    }
}
