//! What is delivered to the vCPU: interrupts, NMIs, exceptions; and when it takes one.

use super::{DR6_SINGLE_STEP, KVM_INTERRUPT, Vcpu};
use crate::machine::{MachineError, ioctl};
use ia32::Vector;
use kvm_bindings::{KVM_VCPUEVENT_VALID_SHADOW, KVM_X86_SHADOW_INT_STI, kvm_interrupt};
use kvm_ioctls::SyncReg;
use vmm_sys_util::ioctl::ioctl_with_ref;

impl Vcpu {
    /// Asks for [`Exit::InterruptWindow`](super::Exit::InterruptWindow) as soon as a maskable interrupt would be taken.
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

    /// KVM would take an NMI now: none is being handled, no shadow, no event half delivered.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM_RUN fails.
    pub fn ready_for_nmi(&mut self) -> Result<bool, MachineError> {
        if self.fd.get_kvm_run().kvm_dirty_regs != 0 {
            self.finish_instruction()?;
        }
        let events = &self.fd.sync_regs().events;
        let busy = events.exception.injected | events.exception.pending | events.interrupt.injected;
        Ok(busy | events.interrupt.shadow == 0 && !self.masks_nmi())
    }

    /// An NMI is being handled, or is about to be: until the next IRET no other one is taken.
    pub fn masks_nmi(&self) -> bool {
        let nmi = &self.fd.sync_regs().events.nmi;
        nmi.injected | nmi.pending | nmi.masked != 0
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

    /// Delivers a non-maskable interrupt as soon as the guest takes one.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses.
    pub fn inject_nmi(&mut self) -> Result<(), MachineError> {
        self.fd.nmi().map_err(ioctl("inject an NMI"))
    }
}
