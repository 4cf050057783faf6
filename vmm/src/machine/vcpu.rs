//! The vCPU: run it, see why it stopped, read and change its state.
//!
//! Registers come with each exit by KVM_CAP_SYNC_REGS, so that looking at them costs no ioctl.
//!
//! After an exit for port I/O the state is that *before* the instruction has ended: KVM completes
//! it when the vCPU runs next. [`Vcpu::finish_instruction`] completes it without going on.

use super::model::Model;
use super::registers::{Packing, kvm_events_from, kvm_regs_from, kvm_sregs_from, state};
use super::{Alarm, MachineError, Paging, ioctl, kick};
use ia32::{Eflags, State, Vector};
use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
    KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN,
    KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, KVM_MAX_CPUID_ENTRIES,
    KVM_VCPUEVENT_VALID_SHADOW, KVM_X86_SHADOW_INT_STI, KVMIO, Msrs, kvm_debugregs,
    kvm_guest_debug, kvm_interrupt, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_sync_regs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, SyncReg, VcpuFd, VmFd};
use std::arch::x86_64::__cpuid;
use std::sync::Arc;
use std::time::Duration;
use vmm_sys_util::ioctl::ioctl_with_ref;
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

/// Why the vCPU stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// OUT or OUTS; the bytes are in [`Vcpu::port_data`].
    PortWrite {
        /// I/O address.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        size: u8,
    },
    /// IN or INS; the bytes are to be put into [`Vcpu::port_data`].
    PortRead {
        /// I/O address.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        size: u8,
    },
    /// A read where there is no RAM; the guest gets what is put into [`Vcpu::mmio_data`].
    MemoryRead {
        /// Guest physical address.
        address: u64,
        /// Bytes: 1 to 8.
        size: u8,
    },
    /// A write where there is no RAM.
    MemoryWrite {
        /// Guest physical address.
        address: u64,
        /// Bytes: 1 to 8.
        size: u8,
        /// What is written, in the low `size` bytes.
        value: u64,
    },
    /// RDMSR of a register that this KVM does not know; the guest gets what is given to
    /// [`Vcpu::answer_msr_read`].
    MsrRead {
        /// ECX.
        index: u32,
    },
    /// WRMSR of a register that this KVM does not know.
    MsrWrite {
        /// ECX.
        index: u32,
        /// EDX:EAX.
        value: u64,
    },
    /// HLT; EIP is behind it.
    Halt,
    /// A maskable interrupt would be taken at this boundary, as asked for.
    InterruptWindow,
    /// One instruction has been stepped.
    Step,
    /// A hardware breakpoint matched; its instruction has not been executed.
    Breakpoint {
        /// Linear address.
        address: u32,
    },
    /// A triple fault; the registers may be reset already.
    Shutdown,
    /// KVM gave up, most often on an instruction that it cannot emulate.
    InternalError {
        /// KVM_INTERNAL_ERROR_*: 1 emulation, 2 simultaneous exceptions, 3 delivery, 4 unexpected
        /// exit.
        suberror: u32,
        /// What KVM added.
        data: Vec<u64>,
    },
    /// The processor refused the guest's state.
    EntryFailed {
        /// The vendor's reason code.
        reason: u64,
    },
    /// An alarm or another signal.
    Interrupted,
    /// Anything else.
    Other(
        /// The number of the exit reason.
        u32,
    ),
}

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

/// One virtual processor.
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
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        kick::forget(&raw mut self.fd.get_kvm_run().immediate_exit);
    }
}

impl Vcpu {
    pub(super) fn new(kvm: &Kvm, vm: &VmFd, model: &Model) -> Result<Self, MachineError> {
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
    pub fn alarm_rang(&self) -> bool {
        self.alarm.as_ref().is_some_and(Alarm::rang)
    }

    /// A signal that this thread gets from now on ([`StopRequest::on_signals`](super::StopRequest::on_signals))
    /// makes the next KVM_RUN return at once. To be called before the request is looked at.
    #[inline]
    pub fn attend_to_signals(&mut self) {
        kick::attend(&raw mut self.fd.get_kvm_run().immediate_exit);
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

    fn exit(&mut self) -> Exit {
        let run = self.fd.get_kvm_run();
        let reason = run.exit_reason;
        // SAFETY: the exit reason tells which member of the union KVM has filled.
        unsafe {
            let detail = &run.__bindgen_anon_1;
            match reason {
                KVM_EXIT_IO => {
                    let (port, size) = (detail.io.port, detail.io.size);
                    if u32::from(detail.io.direction) == KVM_EXIT_IO_OUT {
                        Exit::PortWrite { port, size }
                    } else {
                        Exit::PortRead { port, size }
                    }
                }
                KVM_EXIT_HLT => Exit::Halt,
                KVM_EXIT_IRQ_WINDOW_OPEN => Exit::InterruptWindow,
                KVM_EXIT_DEBUG => {
                    let debug = &detail.debug.arch;
                    let address = debug.pc as u32;
                    // A processor may also set the bit of a register that is not in use and holds the
                    // address by chance, such as 0 (SDM vol. 3B, "Debug status register").
                    let in_use = (0..4).any(|index| {
                        debug.dr6 & (1 << index) != 0 && self.breakpoints[index] == Some(address)
                    });
                    // A step that ends at a breakpoint is a step: the breakpoint comes next.
                    if debug.dr6 & DR6_SINGLE_STEP != 0 {
                        Exit::Step
                    } else if in_use {
                        Exit::Breakpoint { address }
                    } else {
                        Exit::Other(reason)
                    }
                }
                KVM_EXIT_MMIO => {
                    let (address, size) = (detail.mmio.phys_addr, detail.mmio.len.min(8) as u8);
                    if detail.mmio.is_write == 0 {
                        Exit::MemoryRead { address, size }
                    } else {
                        let mut data = [0; 8];
                        data[..size.into()].copy_from_slice(&detail.mmio.data[..size.into()]);
                        Exit::MemoryWrite { address, size, value: u64::from_le_bytes(data) }
                    }
                }
                KVM_EXIT_X86_RDMSR => Exit::MsrRead { index: detail.msr.index },
                KVM_EXIT_X86_WRMSR => {
                    Exit::MsrWrite { index: detail.msr.index, value: detail.msr.data }
                }
                KVM_EXIT_SHUTDOWN => Exit::Shutdown,
                KVM_EXIT_INTERNAL_ERROR => {
                    let internal = &detail.internal;
                    let count = (internal.ndata as usize).min(internal.data.len());
                    Exit::InternalError {
                        suberror: internal.suberror,
                        data: internal.data[..count].to_vec(),
                    }
                }
                KVM_EXIT_FAIL_ENTRY => {
                    Exit::EntryFailed { reason: detail.fail_entry.hardware_entry_failure_reason }
                }
                KVM_EXIT_INTR => Exit::Interrupted,
                other => Exit::Other(other),
            }
        }
    }

    /// The bytes of the port access that the last exit was for: `size` bytes for each of the
    /// accesses of a string instruction.
    pub fn port_data(&mut self) -> &mut [u8] {
        let run = self.fd.get_kvm_run();
        if run.exit_reason != KVM_EXIT_IO {
            return &mut [];
        }
        // SAFETY: the exit reason says that KVM filled `io`; the offset and length that KVM gives
        // lie within the mapping of which `run` is the beginning.
        unsafe {
            let io = run.__bindgen_anon_1.io;
            let start = (&raw mut *run).cast::<u8>().add(io.data_offset as usize);
            std::slice::from_raw_parts_mut(start, io.count as usize * usize::from(io.size))
        }
    }

    /// The bytes of the access beyond RAM that the last exit was for.
    pub fn mmio_data(&mut self) -> &mut [u8] {
        let run = self.fd.get_kvm_run();
        if run.exit_reason != KVM_EXIT_MMIO {
            return &mut [];
        }
        // SAFETY: the exit reason says that KVM filled `mmio`.
        let mmio = unsafe { &mut run.__bindgen_anon_1.mmio };
        let length = (mmio.len as usize).min(mmio.data.len());
        &mut mmio.data[..length]
    }

    /// What the RDMSR that the last exit was for gives.
    pub fn answer_msr_read(&mut self, value: u64) {
        let run = self.fd.get_kvm_run();
        if run.exit_reason == KVM_EXIT_X86_RDMSR {
            // SAFETY: the exit reason says that KVM filled `msr`.
            let msr = unsafe { &mut run.__bindgen_anon_1.msr };
            (msr.data, msr.error) = (value, 0);
        }
    }

    /// Completes the instruction that the last exit was for, without running on.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails.
    pub fn finish_instruction(&mut self) -> Result<Exit, MachineError> {
        self.fd.set_kvm_immediate_exit(1);
        let exit = self.resume();
        self.fd.set_kvm_immediate_exit(0);
        exit
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
        exception.injected | exception.pending | interrupt.injected | events.nmi.injected == 0
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

    /// Linear address of the next instruction.
    #[inline]
    pub fn instruction_address(&mut self) -> u32 {
        let sync = self.fd.sync_regs_mut();
        (sync.sregs.cs.base as u32).wrapping_add(sync.regs.rip as u32)
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

    /// KVM takes all of the synchronised registers at the next run.
    fn all_dirty(&mut self) {
        if self.available_tss {
            self.fd.sync_regs_mut().sregs.tr.type_ &= !TSS_BUSY;
        }
        for set in [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents] {
            self.fd.set_sync_dirty_reg(set);
        }
    }

    /// Asks for [`Exit::InterruptWindow`] as soon as a maskable interrupt would be taken.
    pub fn request_interrupt_window(&mut self, on: bool) {
        self.fd.get_kvm_run().request_interrupt_window = u8::from(on);
    }

    /// Keeps maskable interrupts, and so the exit for an open window, from coming before the next
    /// instruction has been executed: the shadow that STI casts.
    pub fn hold_interrupts_for_one_instruction(&mut self) {
        let events = &mut self.fd.sync_regs_mut().events;
        events.interrupt.shadow = KVM_X86_SHADOW_INT_STI as u8;
        events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
    }

    /// Takes the shadow of [`hold_interrupts_for_one_instruction`](Vcpu::hold_interrupts_for_one_instruction)
    /// back, where the instruction has not been executed.
    pub fn release_interrupts(&mut self) {
        let events = &mut self.fd.sync_regs_mut().events;
        events.interrupt.shadow = 0;
        events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
    }

    /// KVM would take an interrupt now: IF is set, no shadow, no event half delivered.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails.
    pub fn ready_for_interrupt(&mut self) -> Result<bool, MachineError> {
        // What KVM said last is of the state before those changes; and an interrupt that is injected before KVM
        // has taken them is lost with them.
        if self.fd.get_kvm_run().kvm_dirty_regs != 0 {
            self.finish_instruction()?;
        }
        let run = self.fd.get_kvm_run();
        Ok(run.ready_for_interrupt_injection != 0 && run.if_flag != 0)
    }

    /// Delivers an external interrupt at this instruction boundary, before anything else is
    /// executed.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM takes none now.
    pub fn inject(&mut self, vector: u8) -> Result<(), MachineError> {
        let interrupt = kvm_interrupt { irq: u32::from(vector) };
        // SAFETY: KVM_INTERRUPT reads a `kvm_interrupt`, and nothing else.
        if unsafe { ioctl_with_ref(&self.fd, KVM_INTERRUPT(), &interrupt) } != 0 {
            return Err(ioctl("inject an interrupt")(kvm_ioctls::Error::last()));
        }
        Ok(())
    }

    /// Delivers the #DB of the guest's own single-stepping, which KVM has reported as an exit.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses the debug registers.
    pub fn reflect_single_step(&mut self) -> Result<(), MachineError> {
        let mut registers = self.fd.get_debug_regs().map_err(ioctl("read the debug registers"))?;
        registers.dr6 |= DR6_SINGLE_STEP;
        self.fd.set_debug_regs(&registers).map_err(ioctl("write the debug registers"))?;
        let exception = &mut self.fd.sync_regs_mut().events.exception;
        exception.injected = 1;
        exception.nr = Vector::DB.0;
        exception.has_error_code = 0;
        exception.pending = 0;
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
        Ok(())
    }

    /// Delivers an exception at this instruction boundary, before anything else is executed. EIP and
    /// EFLAGS are pushed as they are.
    pub fn inject_exception(&mut self, vector: u8, error_code: Option<u32>) {
        let exception = &mut self.fd.sync_regs_mut().events.exception;
        exception.injected = 1;
        exception.nr = vector;
        exception.has_error_code = u8::from(error_code.is_some());
        exception.error_code = error_code.unwrap_or(0);
        exception.pending = 0;
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
    }

    /// Delivers an external interrupt in the state that was just set. [`Vcpu::inject`] alone would be
    /// undone by that state's events, which KVM takes at the next run.
    pub fn inject_with_state(&mut self, vector: u8) {
        let interrupt = &mut self.fd.sync_regs_mut().events.interrupt;
        interrupt.injected = 1;
        interrupt.nr = vector;
        interrupt.soft = 0;
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
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

    /// Delivers a non-maskable interrupt as soon as the guest takes one.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses.
    pub fn inject_nmi(&mut self) -> Result<(), MachineError> {
        self.fd.nmi().map_err(ioctl("inject an NMI"))
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
