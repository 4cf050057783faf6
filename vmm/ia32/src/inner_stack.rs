//! The stack of an inner ring, out of the current TSS (SDM vol. 2A, INT n, Operation,
//! INTER-PRIVILEGE-LEVEL-INTERRUPT; vol. 3A, "Stack switching").

use crate::access::{Entry, is_writable_data};
use crate::execution::{Execution, Result};
use crate::outcome::Unspecified;
use crate::{Branch, ReadMemory, Selector, TssWidth, Vector};

/// SSn:ESPn, with the segment checked as far as it can be before the frame's size is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InnerStack {
    pub(crate) entry: Entry,
    pub(crate) pointer: u32,
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    pub(crate) fn inner_stack(&mut self, ring: u8) -> Result<InnerStack> {
        let (segment, pointer) = self.inner_stack_pointer(ring)?;
        let value = u32::from(segment.0);

        if segment.is_null() {
            return self.fail(Vector::TS, self.ext, Branch::InnerStackNull, 0);
        }
        let code = self.selector_code(segment.0);
        let Some(address) = self.locate(segment) else {
            return self.fail(Vector::TS, code, Branch::InnerStackOutsideTable, value);
        };
        if segment.rpl() != ring {
            return self.fail(Vector::TS, code, Branch::InnerStackRpl, value);
        }
        let entry = self.entry_at(segment, address)?;
        if entry.descriptor.dpl() != ring {
            return self.fail(Vector::TS, code, Branch::InnerStackDpl, value);
        }
        if !is_writable_data(entry.descriptor) {
            return self.fail(Vector::TS, code, Branch::InnerStackNotWritable, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::SS, code, Branch::InnerStackNotPresent, value);
        }
        Ok(InnerStack { entry, pointer })
    }

    /// NewSS and NewESP of the manual.
    fn inner_stack_pointer(&mut self, ring: u8) -> Result<(Selector, u32)> {
        let tr = self.state.tr;
        let width = self.current_tss_width();
        let slot = width.stack_slot(ring);
        let bytes = match width {
            TssWidth::Bits16 => 4,
            TssWidth::Bits32 => u32::from(self.processor.inner_stack_bytes),
        };
        if slot.pointer.saturating_add(bytes).saturating_sub(1) > tr.limit {
            let code = self.selector_code(tr.selector);
            return self.fail(Vector::TS, code, Branch::InnerStackBeyondTss, tr.limit);
        }
        let segment = self.read_system(tr.base.wrapping_add(slot.segment), 2)?;
        let pointer = self.read_system(tr.base.wrapping_add(slot.pointer), width.pointer_size())?;
        let branch = match width {
            TssWidth::Bits16 => Branch::InnerStackTss16,
            TssWidth::Bits32 => Branch::InnerStackTss32,
        };
        self.note(branch, pointer);
        Ok((Selector(segment as u16), pointer))
    }

    /// The layout of the TSS in TR.
    pub(crate) fn current_tss_width(&mut self) -> TssWidth {
        let tr = self.state.tr;
        let width = TssWidth::from_type(tr.ty());
        if width.is_none() || !tr.present() || tr.is_code_or_data() {
            self.leave_open(Unspecified::NoTaskState);
        }
        width.unwrap_or(TssWidth::Bits32)
    }
}
