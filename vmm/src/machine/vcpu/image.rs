//! The vCPU as a value: at an instruction boundary, and all of it.

use super::{TSS_BUSY, Vcpu};
use crate::machine::registers::{Packing, state};
use crate::machine::{MachineError, ioctl};
use ia32::State;
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_sync_regs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use std::sync::Arc;

/// All that [`Vcpu::restore`] needs to put the vCPU back to an instruction boundary.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    pub(super) regs: kvm_regs,
    pub(super) sregs: kvm_sregs,
    pub(super) events: kvm_vcpu_events,
}

impl Snapshot {
    /// The registers that the snapshot holds.
    pub fn state(&self) -> State {
        let sync = kvm_sync_regs { regs: self.regs, sregs: self.sregs, events: self.events };
        state(&sync, &mut Packing::default())
    }
}

/// All of a vCPU at an instruction boundary, as far as a guest can tell.
#[derive(Clone)]
pub struct VcpuImage {
    pub(super) snapshot: Snapshot,
    pub(super) fpu: Arc<kvm_xsave>,
    pub(super) extended_control: kvm_xcrs,
    pub(super) debug: kvm_debugregs,
    pub(super) model_specific: Vec<kvm_msr_entry>,
    pub(super) breakpoints: [Option<u32>; 4],
}

impl std::fmt::Debug for VcpuImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VcpuImage").field("state", &self.snapshot.state()).finish_non_exhaustive()
    }
}

/// MSRs that are KVM's own or Hyper-V's: writing one has an effect of its own.
fn is_paravirtual(index: u32) -> bool {
    (0x4b56_4d00..=0x4b56_4dff).contains(&index)
        || (0x4000_0000..=0x4000_00ff).contains(&index)
        || matches!(index, 0x11 | 0x12)
}

impl Vcpu {
    /// The vCPU as it is at this instruction boundary.
    pub fn snapshot(&mut self) -> Snapshot {
        let kvm_sync_regs { regs, sregs, events } = *self.fd.sync_regs_mut();
        Snapshot { regs, sregs, events }
    }

    /// Puts the vCPU back to where the snapshot was taken. Memory is not part of it.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        let Snapshot { regs, sregs, events } = *snapshot;
        *self.fd.sync_regs_mut() = kvm_sync_regs { regs, sregs, events };
        self.all_dirty();
    }

    /// The FPU's registers, as FXSAVE lays them out (SDM vol. 1, "Operation of FXSAVE").
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses them.
    pub fn fpu(&self) -> Result<[u8; 512], MachineError> {
        let all = self.fd.get_xsave().map_err(ioctl("read the FPU"))?;
        let mut bytes = [0; 512];
        for (four, word) in bytes.chunks_exact_mut(4).zip(&all.region) {
            four.copy_from_slice(&word.to_le_bytes());
        }
        Ok(bytes)
    }

    /// All of the vCPU.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set.
    pub fn image(&mut self) -> Result<VcpuImage, MachineError> {
        let snapshot = self.snapshot();
        let fpu = self.fd.get_xsave().map_err(ioctl("read the FPU"))?;
        Ok(VcpuImage {
            snapshot,
            fpu: Arc::new(fpu),
            extended_control: self.fd.get_xcrs().map_err(ioctl("read XCR0"))?,
            debug: self.fd.get_debug_regs().map_err(ioctl("read the debug registers"))?,
            model_specific: self.read_model_specific()?,
            breakpoints: self.breakpoints,
        })
    }

    fn read_model_specific(&mut self) -> Result<Vec<kvm_msr_entry>, MachineError> {
        let entry = |index| kvm_msr_entry { index, ..kvm_msr_entry::default() };
        let full = |_| MachineError::Missing("room for its own list of MSRs");
        if self.model_specific.is_none() {
            // KVM stops at the first that it does not have: each is tried alone, once.
            let mut found = Vec::new();
            for index in self.listed.iter().copied().filter(|index| !is_paravirtual(*index)) {
                let mut one = Msrs::from_entries(&[entry(index)]).map_err(full)?;
                let readable = matches!(self.fd.get_msrs(&mut one), Ok(1));
                // Some can only be read.
                if readable && matches!(self.fd.set_msrs(&one), Ok(1)) {
                    found.push(index);
                }
            }
            self.model_specific = Some(found);
        }
        let wanted: Vec<_> = self.model_specific.iter().flatten().copied().map(entry).collect();
        let mut registers = Msrs::from_entries(&wanted).map_err(full)?;
        self.fd.get_msrs(&mut registers).map_err(ioctl("read the MSRs"))?;
        Ok(registers.as_slice().to_vec())
    }

    /// Writes a model-specific register in the guest's stead.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses the value.
    pub fn write_msr(&mut self, index: u32, data: u64) -> Result<(), MachineError> {
        let entry = kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
        let full = |_| MachineError::Missing("room for its own list of MSRs");
        let one = Msrs::from_entries(&[entry]).map_err(full)?;
        match self.fd.set_msrs(&one).map_err(ioctl("write an MSR"))? {
            1 => Ok(()),
            _ => Err(MachineError::Missing("a register of SYSENTER that can be written")),
        }
    }

    /// Puts all of the vCPU back. What the last exit was for must have been finished.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set.
    pub fn put_back(&mut self, image: &VcpuImage) -> Result<(), MachineError> {
        // Translations of pages that memory holds no more.
        self.forget_translations(&image.snapshot.state())?;
        self.set_breakpoints(&image.breakpoints)?;
        let full = |_| MachineError::Missing("room for its own list of MSRs");
        let registers = Msrs::from_entries(&image.model_specific).map_err(full)?;
        self.fd.set_msrs(&registers).map_err(ioctl("write the MSRs"))?;
        self.fd.set_xcrs(&image.extended_control).map_err(ioctl("write XCR0"))?;
        // SAFETY: KVM reads as many bytes as the structure has unless a larger area was asked for by
        // KVM_CAP_XSAVE2 and arch_prctl, which nothing here does.
        unsafe { self.fd.set_xsave(&image.fpu) }.map_err(ioctl("write the FPU"))?;
        self.fd.set_debug_regs(&image.debug).map_err(ioctl("write the debug registers"))?;
        self.restore(&image.snapshot);
        Ok(())
    }

    /// Puts all of the vCPU back but for the breakpoints, which stay as they are.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set.
    pub(crate) fn put_back_beside_breakpoints(
        &mut self,
        image: &VcpuImage,
    ) -> Result<(), MachineError> {
        self.put_back(&VcpuImage { breakpoints: self.breakpoints, ..image.clone() })
    }

    /// Loads another CR3 now, so that the state that is set next loads its own anew and no
    /// translation is left from before.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses the registers.
    pub fn forget_translations(&mut self, next: &State) -> Result<(), MachineError> {
        let mut sregs = self.fd.sync_regs().sregs;
        sregs.cr3 = u64::from(next.cr3 ^ 0x1000);
        if self.available_tss {
            sregs.tr.type_ &= !TSS_BUSY;
        }
        self.fd.set_sregs(&sregs).map_err(ioctl("load another CR3"))
    }
}
