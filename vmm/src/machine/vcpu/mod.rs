//! The vCPU: run it, see why it stopped, read and change its state.
//!
//! Registers come with each exit by KVM_CAP_SYNC_REGS, so that looking at them costs no ioctl.
//!
//! After an exit for port I/O the state is that *before* the instruction has ended: KVM completes
//! it when the vCPU runs next. [`Vcpu::finish_instruction`] completes it without going on.

mod bytes;
mod events;
mod exit;
mod image;

pub use exit::Exit;
pub use image::{Snapshot, VcpuImage};

use super::memory::Mapping;
use super::model::Model;
use super::registers::{Packing, kvm_events_from, kvm_regs_from, kvm_sregs_from, state};
use super::{Alarm, MachineError, Paging, ioctl, stop_request};
use ia32::{Eflags, State, Vector};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP,
    KVM_MAX_CPUID_ENTRIES, KVMIO, kvm_guest_debug, kvm_interrupt, kvm_sync_regs,
};
use kvm_ioctls::{Kvm, SyncReg, VcpuFd, VmFd};
use std::arch::x86_64::__cpuid;
use std::time::Duration;
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);

/// DR6.BS: the debug exception came from single-stepping.
const DR6_SINGLE_STEP: u64 = 1 << 14;

/// IA32_APIC_BASE: the local APIC's page, on, in the bootstrap processor (SDM vol. 3A, "Local APIC Status
/// and Location").
const APIC_BASE: u64 = 0xFEE0_0000 | 1 << 11 | 1 << 8;

/// The bit of a TSS descriptor's type that says busy.
const TSS_BUSY: u8 = 2;

/// CPUID.80000001:ECX.2: the processor virtualises by SVM.
fn has_svm() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).ecx & 4 != 0
}

/// One virtual processor. It runs, and stays, on the thread that made it, as its alarm does.
#[derive(Debug)]
pub struct Vcpu {
    /// Declared, and so dropped, before the mapping that it writes to.
    alarm: Option<Alarm>,
    fd: VcpuFd,
    /// Linear addresses of the hardware breakpoints.
    breakpoints: [Option<u32>; 4],
    /// INT3 leaves the VM.
    int3_intercepted: bool,
    /// KVM is single-stepping.
    stepping: bool,
    /// The processor keeps the TSS in TR as not busy. AMD's does, and KVM hides that by reporting it
    /// as busy; written back so, QEMU's model of it aborts at the next change of stack. Intel's
    /// refuses to enter a guest whose TR is *not* busy.
    available_tss: bool,
    packing: Packing,
    /// The model-specific registers that KVM gives and takes; found when they are first asked for.
    model_specific: Option<Vec<u32>>,
    /// What KVM lists of them.
    listed: Vec<u32>,
    /// What the VM's slots name, kept whatever becomes of the rest of the machine. Declared, and so dropped, after
    /// `fd`.
    mapped: Vec<Mapping>,
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        stop_request::forget(&raw mut self.fd.get_kvm_run().immediate_exit);
    }
}

impl Vcpu {
    /// A processor of `vm`, whose slots are of these mappings and of no others.
    pub(super) fn new(
        kvm: &Kvm,
        vm: &VmFd,
        model: &Model,
        mapped: Vec<Mapping>,
    ) -> Result<Self, MachineError> {
        let fd = vm.create_vcpu(0).map_err(ioctl("create a vCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(ioctl("tell which CPUID leaves it supports"))?;
        let cpuid = super::cpuid::without_missing_devices(&cpuid, model)
            .map_err(|_| MachineError::Missing("room for the CPUID leaves"))?;
        fd.set_cpuid2(&cpuid).map_err(ioctl("take the CPUID leaves"))?;
        let mut vcpu = Vcpu {
            alarm: None,
            fd,
            breakpoints: [None; 4],
            int3_intercepted: false,
            stepping: false,
            available_tss: has_svm(),
            packing: Packing::default(),
            model_specific: None,
            listed: Vec::new(),
            mapped,
        };
        if let Ok(list) = kvm.get_msr_index_list() {
            vcpu.listed = list.as_slice().to_vec();
        }
        for set in [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents] {
            vcpu.fd.set_sync_valid_reg(set);
        }
        // Before the first run the synchronised registers are empty: fill them by ioctl.
        let sync = kvm_sync_regs {
            regs: vcpu.fd.get_regs().map_err(ioctl("read the registers"))?,
            sregs: vcpu.fd.get_sregs().map_err(ioctl("read the system registers"))?,
            events: vcpu.fd.get_vcpu_events().map_err(ioctl("read the events"))?,
        };
        *vcpu.fd.sync_regs_mut() = sync;
        // KVM shows the APIC bit in CPUID only where this register says that it is on.
        vcpu.fd.sync_regs_mut().sregs.apic_base = APIC_BASE;
        vcpu.all_dirty();
        Ok(vcpu)
    }

    /// Makes [`Vcpu::run`] return [`Exit::Interrupted`] once, after `delay`, on this thread; `None`
    /// switches the alarm off.
    ///
    /// # Errors
    /// [`MachineError::Alarm`] if the operating system gives no timer.
    pub fn set_alarm(&mut self, delay: Option<Duration>) -> Result<(), MachineError> {
        if self.alarm.is_none() {
            let flag = &raw mut self.fd.get_kvm_run().immediate_exit;
            // SAFETY: the byte lies in the `kvm_run` mapping, which lives as long as `fd`; the
            // alarm is dropped before it.
            self.alarm = Some(unsafe { Alarm::new(flag) }?);
        }
        self.alarm.as_ref().map_or(Ok(()), |alarm| alarm.set(delay))
    }

    /// Whether the alarm has gone off since this was last asked; [`Exit::Interrupted`] may have been
    /// the exit of an instruction that was only finished or stepped over.
    #[inline]
    pub fn alarm_rang(&mut self) -> bool {
        self.alarm.as_ref().is_some_and(Alarm::rang)
    }

    /// A signal that this thread gets from now on ([`StopRequest::on_signals`](super::StopRequest::on_signals))
    /// makes the next KVM_RUN return at once. To be called before the request is looked at.
    #[inline]
    pub fn attend_to_signals(&mut self) {
        stop_request::attend(&raw mut self.fd.get_kvm_run().immediate_exit);
    }

    /// Runs the guest until the next exit, without stepping.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails for another reason than a signal.
    #[inline]
    pub fn run(&mut self) -> Result<Exit, MachineError> {
        if self.stepping {
            self.set_debug(false)?;
        }
        self.resume()
    }

    /// Executes one instruction: [`Exit::Step`] if it caused no other exit.
    ///
    /// KVM steps with EFLAGS.TF, and leaves it set for the next step. `again` sets it anew: it is
    /// needed for the first step and after an instruction that loads EFLAGS.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_SET_GUEST_DEBUG or KVM_RUN fails.
    #[inline]
    pub fn step(&mut self, again: bool) -> Result<Exit, MachineError> {
        if again || !self.stepping {
            self.set_debug(true)?;
        }
        // KVM sets TF only where EIP is the one it knew at KVM_SET_GUEST_DEBUG. Registers that were
        // changed reach it later, and so they bring TF along.
        if self.fd.get_kvm_run().kvm_dirty_regs & SyncReg::Register as u64 != 0 {
            self.fd.sync_regs_mut().regs.rflags |= u64::from(Eflags::TF.0);
        }
        self.resume()
    }

    #[inline]
    fn resume(&mut self) -> Result<Exit, MachineError> {
        if let Err(error) = self.fd.run() {
            if matches!(error.errno(), libc::EINTR | libc::EAGAIN) {
                self.fd.set_kvm_immediate_exit(0);
                return Ok(Exit::Interrupted);
            }
            return Err(ioctl("run the vCPU")(error));
        }
        Ok(self.exit())
    }

    /// Completes the instruction that the last exit was for, without running on.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails.
    pub fn finish_instruction(&mut self) -> Result<Exit, MachineError> {
        self.fd.set_kvm_immediate_exit(1);
        let exit = self.resume();
        self.fd.set_kvm_immediate_exit(0);
        // A signal that came meanwhile has set it too, and will not come again: the next run returns at once.
        if stop_request::is_signalled() || self.alarm.as_ref().is_some_and(Alarm::has_rung) {
            self.fd.set_kvm_immediate_exit(1);
        }
        exit
    }

    /// Brings what the last exit was for to an end, whatever comes of it: the vCPU is to be put back, and KVM would go on
    /// with a half of an instruction first.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails.
    pub fn abandon_instruction(&mut self) -> Result<(), MachineError> {
        // One that reads and writes where there is no RAM has two parts, each of eight bytes at most.
        const PARTS: usize = 64;
        for _ in 0..PARTS {
            if self.finish_instruction()? == Exit::Interrupted {
                break;
            }
        }
        Ok(())
    }

    /// The state at the last exit, with all changes made since.
    #[inline]
    pub fn state(&mut self) -> State {
        state(self.fd.sync_regs_mut(), &mut self.packing)
    }

    /// EFLAGS.
    #[inline]
    pub fn eflags(&mut self) -> Eflags {
        Eflags(self.fd.sync_regs_mut().regs.rflags as u32)
    }

    /// EIP.
    #[inline]
    pub fn eip(&mut self) -> u32 {
        self.fd.sync_regs_mut().regs.rip as u32
    }

    /// No event is half delivered.
    pub(crate) fn is_between_events(&mut self) -> bool {
        let events = &self.fd.sync_regs_mut().events;
        let (exception, interrupt) = (&events.exception, &events.interrupt);
        (exception.injected | exception.pending | interrupt.injected | events.nmi.injected) == 0
    }

    /// The external interrupt that is half delivered.
    pub(crate) fn interrupt_under_way(&mut self) -> Option<Vector> {
        let interrupt = &self.fd.sync_regs_mut().events.interrupt;
        (interrupt.injected != 0 && interrupt.soft == 0).then_some(Vector(interrupt.nr))
    }

    /// EIP, to be told.
    pub(crate) fn eip_now(&self) -> u32 {
        self.fd.sync_regs().regs.rip as u32
    }

    /// A few registers as one number, which another state hardly has.
    #[inline]
    pub(crate) fn digest(&mut self) -> u64 {
        let regs = &self.fd.sync_regs_mut().regs;
        let low = (regs.rip << 32) ^ regs.rsp ^ (regs.rax << 20) ^ (regs.rcx << 10);
        // Who steps the guest or stops it shows in those two.
        let flags = regs.rflags & !u64::from(Eflags::TF.0 | Eflags::RF.0);
        low ^ (flags << 40)
    }

    /// Linear address of the next instruction.
    #[inline]
    pub fn instruction_address(&mut self) -> u32 {
        let sync = self.fd.sync_regs_mut();
        (sync.sregs.cs.base as u32).wrapping_add(sync.regs.rip as u32)
    }

    /// A slot of the VM names this mapping from now on.
    pub(super) fn keep(&mut self, mapping: Mapping) {
        self.mapped.push(mapping);
    }

    /// The control bits that decide how linear addresses are translated now.
    #[inline]
    pub fn paging(&self) -> Paging {
        let sregs = self.fd.sync_regs().sregs;
        Paging::from_registers(sregs.cr0 as u32, sregs.cr3 as u32, sregs.cr4 as u32)
    }

    /// Puts the vCPU into `state`, with no event pending.
    pub fn set_state(&mut self, state: &State) {
        let sync = self.fd.sync_regs_mut();
        sync.regs = kvm_regs_from(state);
        sync.sregs = kvm_sregs_from(state, &sync.sregs);
        sync.events = kvm_events_from(state);
        self.all_dirty();
    }

    /// Takes the general registers, EIP and EFLAGS of `state`.
    pub fn set_registers(&mut self, state: &State) {
        self.fd.sync_regs_mut().regs = kvm_regs_from(state);
        self.fd.set_sync_dirty_reg(SyncReg::Register);
    }

    /// Changes EIP.
    pub fn set_eip(&mut self, eip: u32) {
        self.fd.sync_regs_mut().regs.rip = u64::from(eip);
        self.fd.set_sync_dirty_reg(SyncReg::Register);
    }

    /// Changes EFLAGS.
    pub fn set_eflags(&mut self, eflags: u32) {
        self.fd.sync_regs_mut().regs.rflags = u64::from(eflags);
        self.fd.set_sync_dirty_reg(SyncReg::Register);
    }

    /// KVM takes all of the synchronised registers at the next run.
    fn all_dirty(&mut self) {
        if self.available_tss {
            self.fd.sync_regs_mut().sregs.tr.type_ &= !TSS_BUSY;
        }
        for set in [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents] {
            self.fd.set_sync_dirty_reg(set);
        }
    }

    /// Sets the four hardware breakpoints, by linear address.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses.
    pub fn set_breakpoints(&mut self, addresses: &[Option<u32>; 4]) -> Result<(), MachineError> {
        if *addresses == self.breakpoints {
            return Ok(());
        }
        self.breakpoints = *addresses;
        self.set_debug(self.stepping)
    }

    /// Asks for an exit ([`Exit::Other`]) at INT3 in place of a #BP in the guest. Not every KVM
    /// heeds it.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses.
    pub fn intercept_int3(&mut self, on: bool) -> Result<(), MachineError> {
        if on == self.int3_intercepted {
            return Ok(());
        }
        self.int3_intercepted = on;
        self.set_debug(self.stepping)
    }

    fn set_debug(&mut self, step: bool) -> Result<(), MachineError> {
        let mut debug = kvm_guest_debug::default();
        for (index, address) in self.breakpoints.iter().enumerate() {
            if let Some(address) = address {
                debug.arch.debugreg[index] = u64::from(*address);
                // Ln and Gn; length and kind 0: execution.
                debug.arch.debugreg[7] |= 3 << (2 * index);
            }
        }
        if debug.arch.debugreg[7] != 0 {
            debug.arch.debugreg[7] |= 0x700;
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        }
        if self.int3_intercepted {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
        }
        if step {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        }
        self.fd.set_guest_debug(&debug).map_err(ioctl("set guest debugging"))?;
        self.stepping = step;
        Ok(())
    }
}
