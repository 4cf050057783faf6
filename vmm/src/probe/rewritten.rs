//! Probes in a guest that writes over its code, or copies it.

use super::patch::{Fate, WrittenOver};
use super::{Choice, Code, Probes, Site};
use crate::machine::{Machine, MachineError};
use ia32::Eflags;

/// What proves that an entry was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// An interrupt with this vector was injected, and no probe stopped at it.
    Interrupt(u8),
    /// The guest came to the IRET at this linear address in an inner ring, from a return to an outer one.
    BeforeReturn(u32),
}

impl Probes {
    /// An entry is known to have been missed: the guest may have written over its probe.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[cold]
    pub fn missed_entry(
        &mut self,
        machine: &mut Machine,
        missed: Missed,
    ) -> Result<(), MachineError> {
        self.missed_entries += 1;
        self.renew(machine)?;
        let overwritten = self.sites.values().filter(|site| site.overwritten);
        // What has just been executed is code, whatever was there before.
        let proved: Vec<u32> = match missed {
            Missed::Interrupt(vector) => overwritten
                .filter(|site| site.vectors.contains(&vector))
                .map(|site| site.address)
                .collect(),
            Missed::BeforeReturn(iret) => overwritten
                .filter(|site| !site.vectors.is_empty() && self.leads_to(machine, site, iret))
                .map(|site| site.address)
                .collect(),
        };
        for address in proved {
            self.renew_site(machine, address)?;
        }
        Ok(())
    }

    /// Whether the code that is at `site` now comes to the IRET at `iret`.
    fn leads_to(&self, machine: &Machine, site: &Site, iret: u32) -> bool {
        let linear = machine.linear();
        let read = |address, bytes: &mut [u8]| self.patches.read(&linear, address, bytes);
        let found = Code::default().explore(&[site.address], read);
        found.irets.iter().any(|found| found.address == iret)
    }

    /// Patches that the guest has written over are made anew where there is code that they are for.
    #[cold]
    pub(super) fn renew(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        self.looks = 0;
        for WrittenOver { linear, fate } in self.patches.written_over(machine) {
            let Some(site) = self.sites.get_mut(&linear) else { continue };
            site.placed = false;
            let gates = site.call_gates.clone();
            self.unwatched.doubt(&gates);
            match fate {
                Fate::Altered | Fate::Arrived => self.renew_site(machine, linear)?,
                // A patch there might change the guest's data.
                Fate::Gone => site.overwritten = true,
            }
        }
        Ok(())
    }

    /// There is other code than before at the site at `address`: it is explored and probed like a new one.
    fn renew_site(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError> {
        if let Some(site) = self.sites.get_mut(&address) {
            site.overwritten = false;
            site.iret = None;
            site.loads_idt = false;
            site.far_jump = None;
            site.far_return = None;
        }
        self.code.forget(address);
        self.explore(machine, &[address]);
        if self.sites.get(&address).is_some_and(Site::is_empty) {
            self.sites.remove(&address);
        }
        self.place_all(machine)
    }

    /// The site at which the guest stopped by the HLT before its EIP, which no probe was set for, if it has
    /// copied one there with its code. Where interrupts are open a kernel waits by a HLT of its own; where they
    /// are closed, one that is not recognised ends it.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[cold]
    pub fn adopt(&mut self, machine: &mut Machine) -> Result<Option<u32>, MachineError> {
        let address = machine.vcpu.instruction_address().wrapping_sub(1);
        let waits = machine.vcpu.eflags().contains(Eflags::IF);
        if waits || self.choice == Choice::None || !self.patches.adopt(machine, address) {
            return Ok(None);
        }
        self.code.forget(address);
        self.explore(machine, &[address]);
        self.site(address).placed = true;
        Ok(Some(address))
    }
}
