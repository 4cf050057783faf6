//! An event through the IDT (SDM vol. 2A, INT n/INTO/INT3/INT1, Operation, from PROTECTED-MODE on;
//! the same steps hold for interrupts and exceptions).
//!
//! ```text
//!  IDTR ─► gate ─┬─ task gate ───────────► switch_tasks, then the error code
//!                └─ interrupt, trap ─► CS ─┬─ DPL < CPL ─────► SSn:ESPn, 5 (9) words
//!                                          └─ DPL = CPL, conforming ─► 3 words
//! ```

use crate::access::{Entry, Word32};
use crate::event::SoftwareInterrupt;
use crate::execution::{Execution, Result, Stop};
use crate::outcome::{Unmodelled, Unspecified};
use crate::saved::{Cause, Saved};
use crate::stack::Stack;
use crate::{
    Branch, DescriptorKind, Eflags, FrameShape, Gate, GateKind, Interruption, InterruptionKind,
    ReadMemory,
};
use crate::{Owner, Segment, SegmentRegister, Vector, Vendor, Word};

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    pub(crate) fn deliver(&mut self, event: &Interruption) -> Result<()> {
        self.ext = u32::from(event.is_external_to_program());
        self.note_event(event);
        let saved = self.saved(event);

        if self.state.virtual_8086() {
            self.int_in_virtual_8086(event)?;
        }

        // IF (vector_number « 3) + 7 is not within IDT limits or the selected descriptor is no gate
        let vector = event.vector;
        let offset = u32::from(vector.0) * 8;
        if offset + 7 > u32::from(self.state.idtr.limit) {
            let code = self.vector_code(vector);
            return self.fail(Vector::GP, code, Branch::GateOutsideIdt, u32::from(vector.0));
        }
        let bytes = self.read_entry(self.state.idtr.base.wrapping_add(offset))?;
        let gate = match Gate::decode(bytes) {
            Ok(gate) => gate,
            Err(invalid) => {
                let (code, ty) = (self.vector_code(vector), u32::from(invalid.0));
                return self.fail(Vector::GP, code, Branch::GateInvalidType, ty);
            }
        };
        // IF software interrupt AND gate DPL < CPL
        if matches!(event.kind, InterruptionKind::Software { .. }) && gate.dpl < self.state.cpl() {
            let code = u32::from(vector.0) << 3 | 2;
            return self.fail(Vector::GP, code, Branch::GatePrivilege, u32::from(gate.dpl));
        }
        if !gate.present {
            let code = self.vector_code(vector);
            return self.fail(Vector::NP, code, Branch::GateNotPresent, 0);
        }

        self.note_gate(&gate);
        if gate.kind == GateKind::Task {
            self.task_gate(event, &gate, &saved)?;
        } else {
            if self.broken {
                self.leave_open(Unspecified::BrokenTask);
            }
            self.trap_or_interrupt_gate(event, &gate, &saved)?;
            self.note(Branch::Entered, self.state.eip);
        }
        self.state.interrupt_shadow = 0;
        self.state.nmi_blocked |= event.kind == InterruptionKind::Nmi;
        Ok(())
    }

    fn note_event(&mut self, event: &Interruption) {
        let branch = match event.kind {
            InterruptionKind::Software { .. } => Branch::SoftwareInterrupt,
            InterruptionKind::Icebp { .. } => Branch::PrivilegedInterrupt,
            InterruptionKind::Fault => Branch::FaultException,
            InterruptionKind::InstructionBreakpoint => Branch::InstructionBreakpoint,
            InterruptionKind::Trap => Branch::TrapException,
            InterruptionKind::Abort => Branch::AbortException,
            InterruptionKind::External => Branch::ExternalInterrupt,
            InterruptionKind::Nmi => Branch::NonMaskable,
        };
        self.note(branch, u32::from(event.vector.0));
    }

    fn note_gate(&mut self, gate: &Gate) {
        let branch = match gate.kind {
            GateKind::Task => Branch::GateTask,
            GateKind::Interrupt16 => Branch::GateInterrupt16,
            GateKind::Trap16 => Branch::GateTrap16,
            GateKind::Interrupt32 => Branch::GateInterrupt32,
            GateKind::Trap32 => Branch::GateTrap32,
        };
        self.note(branch, u32::from(gate.selector.0));
    }

    /// EIP, CS and EFLAGS as the event saves them.
    fn saved(&mut self, event: &Interruption) -> Saved {
        let mut saved = Saved {
            eip: match event.kind {
                InterruptionKind::Software { length, .. } | InterruptionKind::Icebp { length } => {
                    self.next_eip(length)
                }
                _ => Word32::known(self.state.eip),
            },
            eflags: Word32 { value: self.state.eflags.0, undefined: self.undefined.eflags.0 },
            cs_undefined: 0,
        };
        // SDM vol. 3B, "Instruction-breakpoint exception condition" (the RF rules) and vol. 3A,
        // "Interrupt 8" and "Interrupt 18" (CS and EIP).
        let rf = match event.kind {
            InterruptionKind::Abort => {
                saved.eip.undefined = u32::MAX;
                saved.cs_undefined = u32::MAX;
                None
            }
            InterruptionKind::Fault => Some(true),
            InterruptionKind::Software { .. } | InterruptionKind::Icebp { .. } => Some(false),
            // SDM: the current value. APM vol. 2, "Resume flag": cleared.
            InterruptionKind::InstructionBreakpoint if self.processor.vendor == Vendor::Amd => {
                Some(false)
            }
            InterruptionKind::Trap | InterruptionKind::External | InterruptionKind::Nmi
                if event.repeating =>
            {
                self.note(Branch::RepeatInterrupted, 0);
                Some(true)
            }
            InterruptionKind::InstructionBreakpoint
            | InterruptionKind::Trap
            | InterruptionKind::External
            | InterruptionKind::Nmi => Some(self.state.eflags.contains(Eflags::RF)),
        };
        saved.eflags.value &= !Eflags::RF.0;
        match rf {
            Some(set) => {
                saved.eflags.undefined &= !Eflags::RF.0;
                saved.eflags.value |= if set { Eflags::RF.0 } else { 0 };
            }
            None => saved.eflags.undefined |= Eflags::RF.0,
        }
        saved
    }

    /// IF VM = 1 and IOPL < 3 and INT n THEN #GP(0). INT3, INTO and INT1 are not concerned (SDM vol.
    /// 3B, "Class 3—Software interrupt handling in virtual-8086 mode").
    fn int_in_virtual_8086(&mut self, event: &Interruption) -> Result<()> {
        const VME: u32 = 1;
        let InterruptionKind::Software { instruction: SoftwareInterrupt::IntN, .. } = event.kind
        else {
            return Ok(());
        };
        if self.state.cr4 & VME != 0 {
            return Err(Stop::Unmodelled(Unmodelled::VirtualModeExtensions));
        }
        if self.state.eflags.iopl() < 3 {
            return self.fail(Vector::GP, 0, Branch::VirtualIntRefused, 0);
        }
        Ok(())
    }

    /// TASK-GATE
    fn task_gate(&mut self, event: &Interruption, gate: &Gate, saved: &Saved) -> Result<()> {
        self.switch_tasks(gate.selector.0, Cause::Interruption, saved)?;
        if let Some(error_code) = event.error_code {
            self.push_error_code_in_new_task(error_code)?;
        }
        self.check_new_task_eip()
    }

    /// TRAP-OR-INTERRUPT-GATE
    fn trap_or_interrupt_gate(
        &mut self,
        event: &Interruption,
        gate: &Gate,
        saved: &Saved,
    ) -> Result<()> {
        let cpl = self.state.cpl();
        let selector = gate.selector;
        let value = u32::from(selector.0);
        if selector.is_null() {
            return self.fail(Vector::GP, self.ext, Branch::HandlerNull, 0);
        }
        let code = self.selector_code(selector.0);
        let Some(handler) = self.entry(selector)? else {
            return self.fail(Vector::GP, code, Branch::HandlerOutsideTable, value);
        };
        let DescriptorKind::Code { conforming, .. } = handler.descriptor.kind() else {
            return self.fail(Vector::GP, code, Branch::HandlerNotCode, value);
        };
        let dpl = handler.descriptor.dpl();
        if dpl > cpl {
            return self.fail(Vector::GP, code, Branch::HandlerOuter, u32::from(dpl));
        }
        if !handler.descriptor.present() {
            return self.fail(Vector::NP, code, Branch::HandlerNotPresent, value);
        }

        let from_virtual_8086 = self.state.virtual_8086();
        let changes_stack = !conforming && dpl < cpl;
        let shape = FrameShape {
            changes_stack,
            from_virtual_8086,
            error_code: event.error_code.is_some(),
            word_size: gate.kind.word_size(),
        };
        if changes_stack {
            if from_virtual_8086 {
                if dpl != 0 {
                    let branch = Branch::HandlerVirtualRing;
                    return self.fail(Vector::GP, code, branch, u32::from(dpl));
                }
                self.note(Branch::HandlerFromVirtual, 0);
            } else {
                self.note(Branch::HandlerInner, u32::from(dpl));
            }
            self.inter_privilege(event, gate, &handler, shape, saved)
        } else {
            if from_virtual_8086 {
                return self.fail(Vector::GP, code, Branch::HandlerVirtualSame, value);
            }
            let branch = if conforming { Branch::HandlerConforming } else { Branch::HandlerSame };
            self.note(branch, value);
            self.intra_privilege(event, gate, &handler, shape, saved)
        }
    }

    /// INTER-PRIVILEGE-LEVEL-INTERRUPT and INTERRUPT-FROM-VIRTUAL-8086-MODE
    fn inter_privilege(
        &mut self,
        event: &Interruption,
        gate: &Gate,
        handler: &Entry,
        shape: FrameShape,
        saved: &Saved,
    ) -> Result<()> {
        let ring = handler.descriptor.dpl();
        let inner = self.inner_stack(ring)?;
        let mut stack = Stack {
            segment: inner.entry.descriptor.segment(inner.entry.selector.0),
            pointer: inner.pointer,
            cpl: ring,
        };
        if !stack.segment.big() {
            stack.pointer &= 0xffff;
        }
        self.note_width(&stack);
        if !self.has_room(&stack, shape.count(), shape.word_size) {
            let code = self.selector_code(inner.entry.selector.0);
            return self.fail(Vector::SS, code, Branch::InnerStackNoRoom, shape.size());
        }
        self.check_handler_eip(gate, handler)?;

        stack.segment = self.load(&inner.entry, ring)?;
        let code_segment = self.load(handler, ring)?;
        self.push_frame(&mut stack, event, shape, saved)?;

        self.set_segment(SegmentRegister::Ss, stack.segment);
        self.load_stack_pointer(stack.pointer);
        if shape.from_virtual_8086 {
            for register in
                [SegmentRegister::Gs, SegmentRegister::Fs, SegmentRegister::Ds, SegmentRegister::Es]
            {
                self.set_segment(register, Segment::null(0));
            }
        }
        self.begin_handler(gate, code_segment);
        Ok(())
    }

    /// INTRA-PRIVILEGE-LEVEL-INTERRUPT
    fn intra_privilege(
        &mut self,
        event: &Interruption,
        gate: &Gate,
        handler: &Entry,
        shape: FrameShape,
        saved: &Saved,
    ) -> Result<()> {
        let mut stack = self.current_stack();
        if !self.has_room(&stack, shape.count(), shape.word_size) {
            return self.fail(Vector::SS, self.ext, Branch::SameStackNoRoom, shape.size());
        }
        self.check_handler_eip(gate, handler)?;

        let code_segment = self.load(handler, stack.cpl)?;
        self.push_frame(&mut stack, event, shape, saved)?;

        self.move_stack_pointer(stack.pointer);
        self.begin_handler(gate, code_segment);
        Ok(())
    }

    fn check_handler_eip(&mut self, gate: &Gate, handler: &Entry) -> Result<()> {
        if gate.offset > handler.descriptor.limit() {
            return self.fail(Vector::GP, self.ext, Branch::HandlerBeyondLimit, gate.offset);
        }
        Ok(())
    }

    /// Pushes the words of the frame, highest first.
    fn push_frame(
        &mut self,
        stack: &mut Stack,
        event: &Interruption,
        shape: FrameShape,
        saved: &Saved,
    ) -> Result<()> {
        for word in shape.words().iter().rev() {
            let value = self.frame_word(*word, event, saved);
            self.push(stack, shape.word_size, value, Owner::Pushed(*word))?;
        }
        if let Some(error_code) = event.error_code {
            self.note(Branch::PushedErrorCode, error_code);
        }
        Ok(())
    }

    fn frame_word(&self, word: Word, event: &Interruption, saved: &Saved) -> Word32 {
        let selector = |register| Word32::selector(self.state.segment(register).selector);
        match word {
            Word::Gs => selector(SegmentRegister::Gs),
            Word::Fs => selector(SegmentRegister::Fs),
            Word::Ds => selector(SegmentRegister::Ds),
            Word::Es => selector(SegmentRegister::Es),
            Word::Ss => selector(SegmentRegister::Ss),
            // ESP is stored whole, even if SS is a 16-bit segment.
            Word::Esp => {
                Word32 { value: self.state.general.esp, undefined: self.undefined.general.esp }
            }
            Word::Eflags => saved.eflags,
            Word::Cs => {
                let mut cs = selector(SegmentRegister::Cs);
                cs.undefined |= saved.cs_undefined;
                cs
            }
            Word::Eip => saved.eip,
            Word::ErrorCode => Word32::known(event.error_code.unwrap_or(0)),
        }
    }

    /// CS:EIP, and the flags that a handler begins with.
    fn begin_handler(&mut self, gate: &Gate, code_segment: Segment) {
        let mut cleared = Eflags::TF | Eflags::VM | Eflags::RF | Eflags::NT;
        if gate.kind.clears_if() {
            cleared = cleared | Eflags::IF;
        }
        self.state.eflags = self.state.eflags.without(cleared);
        self.undefined.eflags = self.undefined.eflags.without(cleared);
        self.set_segment(SegmentRegister::Cs, code_segment);
        self.state.eip = gate.offset;
        self.broken = false;
    }
}
