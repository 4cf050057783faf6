//! The only place that talks to KVM: guest memory, one vCPU, the run ioctl, register snapshots.
//!
//! Everything above sees [`ia32::State`] and [`Exit`], never a `kvm_*` structure. The interrupt
//! controllers stay in user space on purpose: KVM_INTERRUPT then lets the caller choose the exact
//! instruction boundary at which an external event arrives, and HLT leaves the VM, which makes it a
//! one-byte probe. With an in-kernel interrupt controller neither holds.

mod kick;
mod memory;
mod paging;
mod registers;
mod vcpu;

use kick::Alarm;
pub use kick::{request_stop, stop_on_signals, stop_requested};
pub use memory::Memory;
pub use paging::{Access, LinearMemory, Paging};
pub use vcpu::{Exit, Snapshot, Vcpu};

use kvm_ioctls::{Cap, Kvm, VmFd};
use thiserror::Error;

/// An ioctl failed, or KVM lacks something esp0 cannot do without.
#[derive(Debug, Error)]
pub enum MachineError {
    /// /dev/kvm could not be opened.
    #[error("/dev/kvm cannot be opened ({0}): load kvm_intel or kvm_amd, or use scripts/kvm-host")]
    Open(#[source] kvm_ioctls::Error),
    /// A capability is missing.
    #[error("this KVM has no {0}")]
    Missing(&'static str),
    /// An ioctl failed.
    #[error("KVM refused to {action} ({source})")]
    Ioctl {
        /// What was being done.
        action: &'static str,
        /// What KVM answered.
        source: kvm_ioctls::Error,
    },
    /// Guest memory could not be mapped.
    #[error("{size} bytes of guest memory cannot be mapped ({reason})")]
    Memory {
        /// Bytes asked for.
        size: u64,
        /// What the operating system answered.
        reason: String,
    },
    /// The timer that interrupts a running vCPU could not be set.
    #[error("the alarm timer cannot be {action} ({source})")]
    Alarm {
        /// What was being done.
        action: &'static str,
        /// What the operating system answered.
        source: std::io::Error,
    },
}

/// Names the ioctl that failed.
pub(crate) fn ioctl(action: &'static str) -> impl Fn(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Ioctl { action, source }
}

/// A virtual machine with one vCPU and one block of RAM from address 0.
#[derive(Debug)]
pub struct Machine {
    /// The processor.
    pub vcpu: Vcpu,
    /// Its memory.
    pub memory: Memory,
    /// Kept for as long as the vCPU lives.
    vm: VmFd,
}

impl Machine {
    /// Creates a VM with `memory_size` bytes of RAM (a multiple of 4096), its vCPU in the state
    /// that KVM gives it.
    ///
    /// # Errors
    /// [`MachineError`] if /dev/kvm cannot be opened, lacks a capability, or refuses an ioctl.
    pub fn new(memory_size: u64) -> Result<Self, MachineError> {
        let kvm = Kvm::new().map_err(MachineError::Open)?;
        for (capability, name) in [
            (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
            (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
            (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
            (Cap::SetGuestDebug, "KVM_CAP_SET_GUEST_DEBUG"),
        ] {
            if !kvm.check_extension(capability) {
                return Err(MachineError::Missing(name));
            }
        }
        let vm = kvm.create_vm().map_err(ioctl("create a VM"))?;
        if kvm.check_extension(Cap::SetTssAddr) {
            // Intel needs three pages for real mode; they lie above any RAM given to the guest.
            vm.set_tss_address(0xfffb_d000).map_err(ioctl("place the TSS for real mode"))?;
        }
        let memory = Memory::new(&vm, memory_size)?;
        let vcpu = Vcpu::new(&kvm, &vm)?;
        Ok(Machine { vcpu, memory, vm })
    }

    /// Guest memory by linear address, as the vCPU's paging maps it now.
    pub fn linear(&self) -> LinearMemory<'_> {
        LinearMemory { memory: &self.memory, paging: self.vcpu.paging() }
    }

    /// The VM's file, for ioctls that no wrapper has.
    pub fn vm(&self) -> &VmFd {
        &self.vm
    }
}
