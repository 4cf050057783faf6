//! IRET in protected mode (SDM vol. 2A, IRET/IRETD, Operation).
//!
//! ```text
//!           low addresses, SS:ESP
//!   EIP     ┐
//!   CS      ├ always
//!   EFLAGS  ┘
//!   ESP     ┐ to an outer ring,       ┐
//!   SS      ┘ RPL of CS > CPL         ├ to virtual-8086 mode:
//!   ES DS FS GS                       ┘ VM set in EFLAGS, at CPL 0
//! ```

use crate::access::{Entry, is_writable_data};
use crate::event::{Iret, OperandSize};
use crate::execution::{Execution, Result};
use crate::saved::Cause;
use crate::stack::Stack;
use crate::{Branch, DescriptorKind, Eflags, ReadMemory, Segment, SegmentRegister, Selector};
use crate::{Vector, Vendor};

/// What an IRET popped first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Popped {
    pub(crate) eip: u32,
    pub(crate) cs: Selector,
    pub(crate) eflags: Eflags,
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    pub(crate) fn iret(&mut self, iret: &Iret) -> Result<()> {
        // NMIs are open again even if the IRET faults (SDM vol. 3C, "Changes to NMI blocking"), on
        // AMD's once it has completed (APM vol. 2, "Non-maskable interrupt").
        if self.processor.vendor == Vendor::Intel {
            self.state.nmi_blocked = false;
        }
        if self.state.virtual_8086() {
            self.return_from_virtual_8086(iret.size)?;
        } else if self.state.eflags.contains(Eflags::NT) {
            self.task_return(iret)?;
        } else {
            self.protected_mode_iret(iret.size)?;
        }
        self.state.interrupt_shadow = 0;
        self.state.nmi_blocked = false;
        Ok(())
    }

    /// TASK-RETURN
    fn task_return(&mut self, iret: &Iret) -> Result<()> {
        self.note(Branch::ReturnTask, 0);
        self.current_tss_width();
        let link = self.read_system(self.state.tr.base, 2)? as u16;
        self.note(Branch::TaskLinkRead, u32::from(link));
        let saved = self.saved_by_instruction(iret.length);
        self.switch_tasks(link, Cause::Return, &saved)?;
        self.check_new_task_eip()
    }

    fn protected_mode_iret(&mut self, size: OperandSize) -> Result<()> {
        let stack = self.current_stack();
        let popped = self.pop_three(&stack, size)?;
        if popped.eflags.contains(Eflags::VM) && stack.cpl == 0 {
            self.return_to_virtual_8086(&stack, &popped)
        } else {
            self.protected_mode_return(&stack, &popped, size)
        }
    }

    /// Pops EIP, CS and EFLAGS.
    pub(crate) fn pop_three(&mut self, stack: &Stack, size: OperandSize) -> Result<Popped> {
        let bytes = size.bytes();
        if !self.can_pop(stack, 0, 3, bytes) {
            return self.fail(Vector::SS, 0, Branch::ReturnNoRoom, 3 * bytes);
        }
        let eip = self.peek(stack, 0, bytes)?;
        let cs = self.peek(stack, 1, bytes)?;
        let eflags = self.peek(stack, 2, bytes)?;
        let branch = match size {
            OperandSize::Bits16 => Branch::ReturnPopped16,
            OperandSize::Bits32 => Branch::ReturnPopped32,
        };
        self.note(branch, eip);
        Ok(Popped { eip, cs: Selector(cs as u16), eflags: Eflags(eflags) })
    }

    /// PROTECTED-MODE-RETURN
    fn protected_mode_return(
        &mut self,
        stack: &Stack,
        popped: &Popped,
        size: OperandSize,
    ) -> Result<()> {
        let code = self.return_code_segment(popped.cs, stack.cpl)?;
        if popped.cs.rpl() > stack.cpl {
            self.return_to_outer_privilege_level(stack, popped, size, &code)
        } else {
            self.return_to_same_privilege_level(stack, popped, size, &code)
        }
    }

    fn return_code_segment(&mut self, cs: Selector, cpl: u8) -> Result<Entry> {
        let value = u32::from(cs.0);
        if cs.is_null() {
            return self.fail(Vector::GP, 0, Branch::ReturnCsNull, value);
        }
        let code = self.selector_code(cs.0);
        let Some(entry) = self.entry(cs)? else {
            return self.fail(Vector::GP, code, Branch::ReturnCsOutsideTable, value);
        };
        let DescriptorKind::Code { conforming, .. } = entry.descriptor.kind() else {
            return self.fail(Vector::GP, code, Branch::ReturnCsNotCode, value);
        };
        if cs.rpl() < cpl {
            return self.fail(Vector::GP, code, Branch::ReturnCsInner, value);
        }
        let dpl = entry.descriptor.dpl();
        if conforming && dpl > cs.rpl() {
            return self.fail(Vector::GP, code, Branch::ReturnCsConformingDpl, value);
        }
        if !conforming && dpl != cs.rpl() {
            return self.fail(Vector::GP, code, Branch::ReturnCsDpl, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::NP, code, Branch::ReturnCsNotPresent, value);
        }
        Ok(entry)
    }

    /// RETURN-TO-SAME-PRIVILEGE-LEVEL
    fn return_to_same_privilege_level(
        &mut self,
        stack: &Stack,
        popped: &Popped,
        size: OperandSize,
        code: &Entry,
    ) -> Result<()> {
        self.note(Branch::ReturnSame, u32::from(stack.cpl));
        self.check_return_eip(popped, code)?;
        let code_segment = self.load(code, popped.cs.rpl())?;

        self.move_stack_pointer(self.popped(stack, 3, size.bytes()));
        self.return_flags(popped.eflags, stack.cpl, size);
        self.go_on(popped.eip, code_segment);
        Ok(())
    }

    /// RETURN-TO-OUTER-PRIVILEGE-LEVEL
    fn return_to_outer_privilege_level(
        &mut self,
        stack: &Stack,
        popped: &Popped,
        size: OperandSize,
        code: &Entry,
    ) -> Result<()> {
        let ring = popped.cs.rpl();
        self.note(Branch::ReturnOuter, u32::from(ring));
        let bytes = size.bytes();
        if !self.can_pop(stack, 3, 5, bytes) {
            return self.fail(Vector::SS, 0, Branch::ReturnNoRoom, 5 * bytes);
        }
        let pointer = self.peek(stack, 3, bytes)?;
        let selector = Selector(self.peek(stack, 4, bytes)? as u16);
        let entry = self.return_stack_segment(selector, ring)?;
        self.check_return_eip(popped, code)?;
        let code_segment = self.load(code, ring)?;
        let stack_segment = self.load(&entry, ring)?;

        self.return_flags(popped.eflags, stack.cpl, size);
        self.set_segment(SegmentRegister::Ss, stack_segment);
        self.load_stack_pointer(pointer);
        self.clear_privileged_segments(ring);
        self.go_on(popped.eip, code_segment);
        Ok(())
    }

    fn return_stack_segment(&mut self, selector: Selector, ring: u8) -> Result<Entry> {
        let value = u32::from(selector.0);
        if selector.is_null() {
            return self.fail(Vector::GP, 0, Branch::ReturnSsNull, value);
        }
        let code = self.selector_code(selector.0);
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::GP, code, Branch::ReturnSsOutsideTable, value);
        };
        if selector.rpl() != ring {
            return self.fail(Vector::GP, code, Branch::ReturnSsRpl, value);
        }
        if !is_writable_data(entry.descriptor) {
            return self.fail(Vector::GP, code, Branch::ReturnSsNotWritable, value);
        }
        if entry.descriptor.dpl() != ring {
            return self.fail(Vector::GP, code, Branch::ReturnSsDpl, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::SS, code, Branch::ReturnSsNotPresent, value);
        }
        Ok(entry)
    }

    fn check_return_eip(&mut self, popped: &Popped, code: &Entry) -> Result<()> {
        if popped.eip > code.descriptor.limit() {
            return self.fail(Vector::GP, 0, Branch::ReturnBeyondLimit, popped.eip);
        }
        Ok(())
    }

    /// A data segment register that the outer ring may not hold becomes null.
    fn clear_privileged_segments(&mut self, ring: u8) {
        for register in
            [SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs, SegmentRegister::Ds]
        {
            let segment = *self.state.segment(register);
            let too_privileged = segment.dpl() < ring && !segment.is_conforming();
            if segment.selector().is_null() || !segment.present() || too_privileged {
                if !segment.selector().is_null() {
                    self.note(Branch::ReturnSegmentCleared, register as u32);
                }
                self.set_segment(register, Segment::null(0));
            }
        }
    }

    /// EFLAGS (CF, PF, AF, ZF, SF, TF, DF, OF, NT) and what size, CPL and IOPL allow beside them.
    fn return_flags(&mut self, popped: Eflags, cpl: u8, size: OperandSize) {
        let mut loaded = Eflags::STATUS | Eflags::TF | Eflags::DF | Eflags::NT;
        if size == OperandSize::Bits32 {
            loaded = loaded | Eflags::RF | Eflags::AC | Eflags::ID;
        }
        if cpl <= self.state.eflags.iopl() {
            loaded = loaded | Eflags::IF;
        } else {
            self.note(Branch::ReturnIfKept, 0);
        }
        if cpl == 0 {
            loaded = loaded | Eflags::IOPL;
            if size == OperandSize::Bits32 {
                loaded = loaded | Eflags::VIF | Eflags::VIP;
            }
        } else {
            self.note(Branch::ReturnIoplKept, 0);
        }
        self.load_flags(popped, loaded);
    }

    /// Loads some flags. An RF that is not among them may be cleared, as by any instruction, or kept
    /// as the operation says.
    pub(crate) fn load_flags(&mut self, popped: Eflags, loaded: Eflags) {
        let before = self.state.eflags;
        self.undefined.eflags = self.undefined.eflags.without(loaded);
        if !loaded.contains(Eflags::RF) {
            self.undefined.eflags = self.undefined.eflags | (before & Eflags::RF);
        }
        self.set_eflags(before.without(loaded) | (popped & loaded));
    }

    pub(crate) fn go_on(&mut self, eip: u32, code_segment: Segment) {
        self.set_segment(SegmentRegister::Cs, code_segment);
        self.state.eip = eip;
        self.note(Branch::Returned, eip);
    }
}
