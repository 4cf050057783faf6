//! The only place that talks to KVM: guest memory, one vCPU, the run ioctl, register snapshots.
//!
//! Everything above sees [`ia32::State`] and [`Exit`], never a `kvm_*` structure. The interrupt
//! controllers stay in user space on purpose: KVM_INTERRUPT then lets the caller choose the exact
//! instruction boundary at which an external event arrives, and HLT leaves the VM, which makes it a
//! one-byte probe. With an in-kernel interrupt controller neither holds.

mod alarm;
mod checkpoint;
mod cpuid;
mod exit_text;
mod image;
mod memory;
mod model;
mod noted;
mod paging;
mod patience;
mod registers;
mod shadow;
mod stop_request;
mod thread_time;
mod vcpu;
mod watched;

use alarm::Alarm;
#[cfg(feature = "program")]
pub(crate) use alarm::signal as alarm_signal;
pub use checkpoint::MachineCheckpoint;
use checkpoint::Tracker;
pub use image::MemoryImage;
pub use memory::{LoaderMemory, Memory};
pub use model::{Model, ModelError};
pub(crate) use noted::without_noted;
pub use paging::{LinearMemory, LinearMemoryMut, PageRights, Paging};
pub use patience::Patience;
pub use shadow::ChangedByte;
use shadow::Shadow;
pub use stop_request::StopRequest;
pub(crate) use thread_time::time_on_processor;
pub use vcpu::{Exit, Snapshot, Vcpu, VcpuImage};

use crate::host;
use ia32::Processor;
use kvm_bindings::{
    KVM_CAP_EXIT_ON_EMULATION_FAILURE, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER,
    KVM_MSR_EXIT_REASON_UNKNOWN, kvm_enable_cap,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use std::sync::OnceLock;
use thiserror::Error;

/// IA32_SYSENTER_CS; IA32_SYSENTER_ESP and IA32_SYSENTER_EIP follow (SDM vol. 4, "IA-32 architectural MSRs").
pub(crate) const IA32_SYSENTER_CS: u32 = 0x174;

/// An ioctl failed, or KVM lacks something esp0 cannot do without.
#[derive(Debug, Error)]
pub enum MachineError {
    /// /dev/kvm could not be opened.
    #[error("/dev/kvm cannot be opened ({0})")]
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
    /// The operating system gave no thread.
    #[error("no thread can be started ({0})")]
    Thread(#[source] std::io::Error),
    /// Guest memory changed, and KVM's dirty log did not say so.
    #[error("this KVM's dirty log misses writes to guest memory: exact mode cannot work on it")]
    MissedWrite,
    /// A run that was to repeat does not.
    #[error("{0}")]
    Diverged(String),
    /// The timer that interrupts a running vCPU could not be set.
    #[error("the alarm timer cannot be {action} ({source})")]
    Alarm {
        /// What was being done.
        action: &'static str,
        /// What the operating system answered.
        source: std::io::Error,
    },
}

impl MachineError {
    /// The operating system has too little of something just now (open files, memory, timers), which says nothing
    /// of KVM.
    pub fn is_shortage(&self) -> bool {
        let code = match self {
            MachineError::Open(error) | MachineError::Ioctl { source: error, .. } => error.errno(),
            MachineError::Alarm { source, .. } | MachineError::Thread(source) => {
                source.raw_os_error().unwrap_or(0)
            }
            MachineError::Memory { .. } => return true,
            MachineError::Missing(_) | MachineError::MissedWrite | MachineError::Diverged(_) => {
                return false;
            }
        };
        [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM, libc::ENOSPC].contains(&code)
    }
}

/// Names the ioctl that failed.
pub(crate) fn ioctl(action: &'static str) -> impl Fn(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Ioctl { action, source }
}

/// /dev/kvm, which is opened once: in a sandbox it could not be opened again.
fn kvm() -> Result<&'static Kvm, MachineError> {
    static KVM: OnceLock<Kvm> = OnceLock::new();
    match KVM.get() {
        Some(kvm) => Ok(kvm),
        None => {
            let opened = Kvm::new().map_err(MachineError::Open)?;
            Ok(KVM.get_or_init(|| opened))
        }
    }
}

/// Opens /dev/kvm and looks at what stands behind it, which a sandbox may take away; machines can be made
/// afterwards.
///
/// # Errors
/// [`MachineError::Open`] if it cannot be opened.
pub fn prepare() -> Result<(), MachineError> {
    host::processor();
    kvm().map(drop)
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// A virtual machine with one vCPU and one block of RAM from address 0.
#[derive(Debug)]
pub struct Machine {
    /// The processor.
    pub vcpu: Vcpu,
    /// Its memory. Nobody outside this module borrows it mutably: it could be exchanged for another, which KVM
    /// does not know.
    memory: Memory,
    /// Kept for as long as the vCPU lives.
    vm: VmFd,
    /// Memory as it was at the last boundary, where that is asked for.
    shadow: Option<Shadow>,
    /// Memory as it was at the last checkpoint, once one was taken.
    tracker: Option<Tracker>,
    /// The pages that were written since somebody last asked.
    watched: Option<watched::Pages>,
    /// The pages written since the timeline last asked.
    recent: Option<watched::Pages>,
    /// What executes the guest. It is found out when the machine is made: a sandbox may take away later what
    /// tells.
    processor: Processor,
    /// A device's page that the guest reads as memory, and whether it does.
    answered: (Memory, bool),
    /// The memory of a graphics card, if there is one.
    video: Option<Memory>,
}

impl Machine {
    /// Creates a VM with `memory_size` bytes of RAM (a multiple of 4096), its vCPU in the state
    /// that KVM gives it.
    ///
    /// # Errors
    /// [`MachineError`] if /dev/kvm cannot be opened, lacks a capability, or refuses an ioctl.
    pub fn new(memory_size: u64) -> Result<Self, MachineError> {
        Self::with_model(memory_size, &Model::default())
    }

    /// The same, its vCPU being of this model.
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub fn with_model(memory_size: u64, model: &Model) -> Result<Self, MachineError> {
        let kvm = kvm()?;
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
        let answered = Memory::detached(PAGE)?;
        let vcpu = Vcpu::new(kvm, &vm, model, vec![memory.mapping(), answered.mapping()])?;
        Ok(Machine {
            vcpu,
            memory,
            vm,
            shadow: None,
            tracker: None,
            watched: None,
            recent: None,
            processor: host::processor(),
            answered: (answered, false),
            video: None,
        })
    }

    /// From now on the guest reads the device's page at `address`, where there is no RAM, as memory and without an
    /// exit; that it writes there is an exit as before. Does nothing where KVM has no such memory.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses.
    pub fn answer_reads(&mut self, address: u64) -> Result<(), MachineError> {
        if !self.answered.1 && self.vm.check_extension(Cap::ReadonlyMem) {
            self.answered.0.answer_reads(&self.vm, address)?;
            self.answered.1 = true;
        }
        Ok(())
    }

    /// From now on a graphics card has so many bytes of memory at `address`, beyond RAM. They belong to no checkpoint.
    ///
    /// # Errors
    /// [`MachineError`] if there is no such memory to be had, or KVM refuses.
    pub fn attach_video(&mut self, address: u64, size: u64) -> Result<(), MachineError> {
        if self.video.is_none() {
            let video = Memory::detached(size)?;
            // Kept first: the guest may write there as soon as it runs.
            self.vcpu.keep(video.mapping());
            video.show(&self.vm, address)?;
            self.video = Some(video);
        }
        Ok(())
    }

    /// The memory of a graphics card, by offset, if there is one.
    pub fn video_memory(&self) -> Option<&Memory> {
        self.video.as_ref()
    }

    /// Whether there is such a page.
    #[inline]
    pub fn answers_reads(&self) -> bool {
        self.answered.1
    }

    /// What the guest reads at these offsets of that page.
    pub fn set_answers(&mut self, words: impl Iterator<Item = (u16, u32)>) {
        for (offset, word) in words {
            let _ = self.answered.0.write(offset.into(), &word.to_le_bytes());
        }
    }

    /// What the model has to know of the processor that executes the guest.
    pub fn processor(&self) -> Processor {
        self.processor
    }

    /// Its memory, to be read.
    #[inline]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Replaces bytes of memory by physical address; none if any of them is no RAM.
    #[inline]
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        self.memory.write(address, bytes)
    }

    /// All of memory is zeroed, as after power-on.
    pub fn clear_memory(&mut self) {
        self.memory.clear();
    }

    /// All of memory, for loaders.
    pub fn all_memory(&mut self) -> LoaderMemory<'_> {
        self.memory.all()
    }

    /// Guest memory by linear address, as the vCPU's paging maps it now.
    pub fn linear(&self) -> LinearMemory<'_> {
        LinearMemory { memory: &self.memory, paging: self.vcpu.paging() }
    }

    /// The same, to be written too.
    pub fn linear_mut(&mut self) -> LinearMemoryMut<'_> {
        self.linear_mut_by(self.vcpu.paging())
    }

    /// The guest has stopped at a HLT of its own: EIP is behind it, if KVM has left it at one right beyond the limit of CS.
    ///
    /// Of those farther away EIP itself tells ([`Exit::Halt`]); this one may as well be behind a HLT that is the last byte within
    /// the limit, and so memory has to say.
    pub fn go_behind_halt(&mut self) {
        const HLT: u8 = 0xF4;
        let Some(address) = self.vcpu.right_beyond_limit() else { return };
        let mut code = [0; 2];
        let read = self.linear().read(address.wrapping_sub(1), &mut code);
        if read.is_some() && code[1] == HLT && code[0] != HLT {
            self.vcpu.set_eip(self.vcpu.eip_now().wrapping_add(1));
        }
    }

    /// Guest memory by linear address, as `paging` maps it, to be written too.
    pub(crate) fn linear_mut_by(&mut self, paging: Paging) -> LinearMemoryMut<'_> {
        LinearMemoryMut::new(&mut self.memory, paging)
    }

    /// From now on memory can be compared with, and put back to, what it was at the last boundary.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM logs no writes.
    pub fn watch_memory(&mut self) -> Result<(), MachineError> {
        if self.shadow.is_none() {
            self.collect_touched()?;
            self.shadow = Some(Shadow::new(&self.vm, &mut self.memory)?);
        }
        Ok(())
    }

    /// The vCPU stands at a boundary: memory as it is now is what later changes are held against.
    /// Whether it has changed since the boundary before.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM does not give its dirty log.
    pub fn settle_memory(&mut self) -> Result<bool, MachineError> {
        self.shadow.as_mut().map_or(Ok(false), |shadow| shadow.settle(&self.vm, &mut self.memory))
    }

    /// What esp0 itself has written at this boundary is no change.
    pub fn settle_own_writes(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            shadow.settle_own(&mut self.memory);
        }
    }

    /// Puts memory back to the last boundary.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM does not give its dirty log.
    pub fn rewind_memory(&mut self) -> Result<(), MachineError> {
        self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.rewind(&self.vm, &mut self.memory))
    }

    /// The bytes of memory that are not what they were at the last boundary, by address.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM does not give its dirty log.
    pub fn memory_changes(&mut self) -> Result<Vec<ChangedByte>, MachineError> {
        self.shadow
            .as_mut()
            .map_or(Ok(Vec::new()), |shadow| shadow.changes(&self.vm, &mut self.memory))
    }

    /// Memory as it was at the last boundary; empty if it is not watched.
    pub fn memory_before(&self) -> &[u8] {
        self.shadow.as_ref().map_or(&[], Shadow::bytes)
    }

    /// Compares all of memory, and not only the pages that KVM's dirty log names: had the log missed
    /// one, the changes found so far would not have been all.
    ///
    /// # Errors
    /// [`MachineError::MissedWrite`] if it has.
    pub fn verify_memory(&mut self) -> Result<(), MachineError> {
        self.settle_memory()?;
        if self.shadow.as_ref().is_none_or(|shadow| shadow.is_whole(&self.memory)) {
            Ok(())
        } else {
            Err(MachineError::MissedWrite)
        }
    }

    /// From now on an instruction that KVM would have to emulate, and cannot, ends KVM_RUN with
    /// [`Exit::InternalError`] in every ring, and the guest gets no #UD.
    ///
    /// # Errors
    /// [`MachineError::Missing`] if this KVM does not offer it.
    pub fn exit_on_emulation_failure(&mut self) -> Result<(), MachineError> {
        let capability = kvm_enable_cap {
            cap: KVM_CAP_EXIT_ON_EMULATION_FAILURE,
            args: [1, 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        self.vm
            .enable_cap(&capability)
            .map_err(|_| MachineError::Missing("KVM_CAP_EXIT_ON_EMULATION_FAILURE"))
    }

    /// From now on RDMSR and WRMSR of a register that KVM does not know are exits
    /// ([`Exit::MsrRead`], [`Exit::MsrWrite`]) and no #GP, and so is WRMSR of those that SYSENTER loads: whoever
    /// serves that exit writes them ([`Vcpu::write_msr`]).
    ///
    /// # Errors
    /// [`MachineError::Missing`] with a KVM from before Linux 5.10.
    pub fn exit_on_msr(&mut self) -> Result<(), MachineError> {
        let reasons = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
        let capability = kvm_enable_cap {
            cap: KVM_CAP_X86_USER_SPACE_MSR,
            args: [reasons.into(), 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        self.vm
            .enable_cap(&capability)
            .map_err(|_| MachineError::Missing("KVM_CAP_X86_USER_SPACE_MSR"))?;
        let denied = MsrFilterRange {
            flags: MsrFilterRangeFlags::WRITE,
            base: IA32_SYSENTER_CS,
            msr_count: 3,
            bitmap: &[0],
        };
        self.vm
            .set_msr_filter(MsrFilterDefaultAction::ALLOW, &[denied])
            .map_err(|_| MachineError::Missing("KVM_CAP_X86_MSR_FILTER"))
    }
}
