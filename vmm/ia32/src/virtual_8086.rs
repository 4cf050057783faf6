//! IRET within virtual-8086 mode and back to it (SDM vol. 2A, IRET/IRETD, Operation,
//! RETURN-FROM-VIRTUAL-8086-MODE and RETURN-TO-VIRTUAL-8086-MODE; vol. 3B, "8086 emulation").
//!
//! The way in from virtual-8086 mode is in `deliver.rs`. With CR4.VME set INT n and IRET behave
//! otherwise there; that is not modelled, and reported so.

use crate::event::OperandSize;
use crate::execution::{Execution, Result, Stop};
use crate::iret::Popped;
use crate::outcome::{Unmodelled, Unspecified};
use crate::stack::Stack;
use crate::{Branch, Eflags, ReadMemory, Segment, SegmentRegister, Vector};

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// RETURN-FROM-VIRTUAL-8086-MODE: the processor is in virtual-8086 mode and stays in it.
    pub(crate) fn return_from_virtual_8086(&mut self, size: OperandSize) -> Result<()> {
        const VME: u32 = 1;
        if self.state.eflags.iopl() < 3 {
            // With IOPL 3 an IRET does the same with and without VME.
            if self.state.cr4 & VME != 0 {
                return Err(Stop::Unmodelled(Unmodelled::VirtualModeExtensions));
            }
            return self.fail(Vector::GP, 0, Branch::ReturnVirtualRefused, 0);
        }
        self.note(Branch::ReturnWithinVirtual, 0);
        let stack = self.current_stack();
        let popped = self.pop_three(&stack, size)?;
        if popped.eip > self.state.cs().limit {
            let branch = Branch::ReturnWithinVirtualBeyondLimit;
            return self.fail(Vector::GP, 0, branch, popped.eip);
        }

        // VM, IOPL, VIP and VIF are not modified; IF is, as CPL 3 does not exceed IOPL.
        let mut loaded = Eflags::STATUS | Eflags::TF | Eflags::DF | Eflags::NT | Eflags::IF;
        if size == OperandSize::Bits32 {
            loaded = loaded | Eflags::RF | Eflags::AC | Eflags::ID;
        }
        self.load_flags(popped.eflags, loaded);
        self.move_stack_pointer(self.popped(&stack, 3, size.bytes()));
        self.go_on(popped.eip, Segment::virtual_8086(popped.cs.0));
        Ok(())
    }

    /// RETURN-TO-VIRTUAL-8086-MODE: VM is set in the popped EFLAGS, at CPL 0.
    pub(crate) fn return_to_virtual_8086(&mut self, stack: &Stack, popped: &Popped) -> Result<()> {
        self.note(Branch::ReturnToVirtual, 0);
        if !self.can_pop(stack, 3, 9, 4) {
            if popped.eip > 0xffff {
                // Editions differ in which of the two is checked first.
                self.leave_open(Unspecified::CheckOrder);
            }
            return self.fail(Vector::SS, 0, Branch::ReturnNoRoom, 36);
        }
        if popped.eip > 0xffff {
            return self.fail(Vector::GP, 0, Branch::ReturnToVirtualBeyondLimit, popped.eip);
        }
        let esp = self.peek(stack, 3, 4)?;
        let registers = [
            SegmentRegister::Ss,
            SegmentRegister::Es,
            SegmentRegister::Ds,
            SegmentRegister::Fs,
            SegmentRegister::Gs,
        ];
        let mut selectors = [0; 5];
        for (n, selector) in (4..).zip(&mut selectors) {
            *selector = self.peek(stack, n, 4)? as u16;
        }

        self.set_eflags(popped.eflags);
        self.undefined.eflags = Eflags::default();
        for (register, selector) in registers.into_iter().zip(selectors) {
            self.set_segment(register, Segment::virtual_8086(selector));
        }
        self.state.general.esp = esp;
        self.undefined.general.esp = 0;
        self.go_on(popped.eip, Segment::virtual_8086(popped.cs.0));
        Ok(())
    }
}
