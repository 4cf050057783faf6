//! Leaving one task for another (SDM vol. 3A, "Task switching"; the checks before it in vol. 2A, INT
//! n TASK-GATE, IRET TASK-RETURN, and JMP and CALL TASK-GATE and TASK-STATE-SEGMENT).
//!
//! | | JMP | CALL, event | IRET |
//! | --- | --- | --- | --- |
//! | busy bit of the new TSS | must be 0, set | must be 0, set | must be 1, stays |
//! | busy bit of the old TSS | cleared | stays | cleared |
//! | NT in the new EFLAGS | from its TSS | set | from its TSS |
//! | NT in the saved EFLAGS | as it is | as it is | cleared |
//! | link in the new TSS | stays | selector of the old TSS | stays |
//!
//! Everything up to the point of no return reads and writes but leaves the registers alone, so that
//! a fault is one in the old task. What comes after it is in `task_load.rs`, and a fault there is
//! one in the new task.

use crate::access::{Entry, Word32};
use crate::execution::{Execution, Result};
use crate::outcome::Unspecified;
use crate::saved::{Cause, Saved};
use crate::{Branch, DescriptorKind, Eflags, Owner, ReadMemory, SegmentRegister, Selector};
use crate::{TssWidth, Vector};

/// The fields of a TSS that a switch loads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) width: TssWidth,
    pub(crate) cr3: u32,
    pub(crate) eip: u32,
    pub(crate) eflags: u32,
    pub(crate) general: [u32; 8],
    /// ES, CS, SS, DS, FS, GS.
    pub(crate) segments: [u16; 6],
    pub(crate) ldt: u16,
    /// T: a #DB follows the switch.
    pub(crate) trap: bool,
}

/// The TSS of the task that is switched to.
struct NewTask {
    entry: Entry,
    width: TssWidth,
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// SWITCH-TASKS
    pub(crate) fn switch_tasks(
        &mut self,
        selector: u16,
        cause: Cause,
        saved: &Saved,
    ) -> Result<()> {
        let new = self.new_task(Selector(selector), cause)?;
        let base = new.entry.descriptor.base();
        self.read_image(base, new.width)?;

        // From here on things are written, but until the point of no return a fault undoes it all.
        let old = self.state.tr.selector;
        if matches!(cause, Cause::Jump | Cause::Return) {
            self.clear_old_busy(old)?;
        }
        self.save_task(cause, saved)?;
        if cause.nests() {
            self.note(Branch::TaskNested, u32::from(old));
            self.write_system(base, 2, Word32::known(u32::from(old)), Owner::Backlink)?;
        }
        if cause != Cause::Return {
            self.note(Branch::TaskNewBusySet, u32::from(selector));
            self.write_busy(&new.entry, true)?;
        }

        // The new task's state is loaded once the old one's is saved: where the two TSSs overlap, that is
        // what was just saved. The first look was for its page faults.
        let image = self.read_image(base, new.width)?;
        let branch = match new.width {
            TssWidth::Bits16 => Branch::TaskLoaded16,
            TssWidth::Bits32 => Branch::TaskLoaded32,
        };
        self.note(branch, base);
        self.committed = self.writes.len();
        self.load_task(&new.entry, &image, cause)
    }

    /// The checks of the new TSS's descriptor.
    fn new_task(&mut self, selector: Selector, cause: Cause) -> Result<NewTask> {
        let value = u32::from(selector.0);
        let code = self.selector_code(selector.0);
        let invalid = if cause == Cause::Return { Vector::TS } else { Vector::GP };
        if selector.table() == crate::Table::Ldt {
            return self.fail(invalid, code, Branch::TaskSelectorLocal, value);
        }
        let Some(entry) = self.entry(selector)? else {
            return self.fail(invalid, code, Branch::TaskOutsideTable, value);
        };
        let DescriptorKind::Tss { wide, busy } = entry.descriptor.kind() else {
            return self.fail(invalid, code, Branch::TaskNotTss, value);
        };
        if busy && cause != Cause::Return {
            return self.fail(invalid, code, Branch::TaskBusy, value);
        }
        if !busy && cause == Cause::Return {
            return self.fail(invalid, code, Branch::TaskNotBusy, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::NP, code, Branch::TaskNotPresent, value);
        }
        let width = if wide { TssWidth::Bits32 } else { TssWidth::Bits16 };
        if entry.descriptor.limit() < width.size() - 1 {
            return self.fail(Vector::TS, code, Branch::TaskTooSmall, value);
        }
        Ok(NewTask { entry, width })
    }

    /// Reads the new task's state, while its own address space is not loaded yet.
    fn read_image(&mut self, base: u32, width: TssWidth) -> Result<Image> {
        let mut image = Image {
            width,
            cr3: 0,
            eip: 0,
            eflags: 0,
            general: [0; 8],
            segments: [0; 6],
            ldt: 0,
            trap: false,
        };
        let layout = width.layout();
        let bytes = layout.register_size;
        let field =
            |x: &mut Self, offset: u32, width| x.read_system(base.wrapping_add(offset), width);
        if width == TssWidth::Bits32 {
            image.cr3 = field(self, 28, 4)?;
        }
        image.eip = field(self, layout.eip, bytes)?;
        image.eflags = field(self, layout.eflags, bytes)?;
        for (n, register) in (0..).zip(&mut image.general) {
            *register = field(self, layout.general + n * bytes, bytes)?;
        }
        for (n, segment) in (0..layout.segment_count).zip(&mut image.segments) {
            *segment = field(self, layout.segments + n * bytes, 2)? as u16;
        }
        image.ldt = field(self, layout.ldt, 2)? as u16;
        if width == TssWidth::Bits32 {
            image.trap = field(self, 100, 2)? & 1 != 0;
        }
        Ok(image)
    }

    /// The old task is no longer busy.
    fn clear_old_busy(&mut self, selector: u16) -> Result<()> {
        let old = Selector(selector);
        let address = self.locate(Selector(selector & !4));
        if old.is_null() || old.table() == crate::Table::Ldt || address.is_none() {
            self.leave_open(Unspecified::NoTaskState);
        }
        let Some(address) = address else { return Ok(()) };
        self.note(Branch::TaskOldBusyCleared, u32::from(selector));
        let entry = self.entry_at(old, address)?;
        self.write_busy(&entry, false)
    }

    /// Writes the busy bit: bit 1 of the type, in byte 5 of the descriptor.
    fn write_busy(&mut self, entry: &Entry, busy: bool) -> Result<()> {
        const BUSY: u8 = 2;
        let byte = entry.descriptor.access_byte();
        let byte = if busy { byte | BUSY } else { byte & !BUSY };
        let owner = Owner::Busy(entry.selector.0);
        let word = Word32::known(u32::from(byte));
        self.write_system(entry.address.wrapping_add(5), 1, word, owner)
    }

    /// Saves the old task's registers in the TSS that TR names. ESPn, SSn, CR3 and the LDT selector
    /// are not among what is saved.
    fn save_task(&mut self, cause: Cause, saved: &Saved) -> Result<()> {
        let tr = self.state.tr;
        let width = self.current_tss_width();
        let layout = width.layout();
        let bytes = layout.register_size;
        let last = layout.segments + (layout.segment_count - 1) * bytes + 1;
        if last > tr.limit {
            // Not in the manual's list of checks, but nothing may be written beyond the limit.
            self.leave_open(Unspecified::OldTaskStateTooSmall);
            let code = self.selector_code(tr.selector);
            let value = u32::from(tr.selector);
            return self.fail(Vector::TS, code, Branch::TaskOldTooSmall, value);
        }
        let branch = match width {
            TssWidth::Bits16 => Branch::TaskSaved16,
            TssWidth::Bits32 => Branch::TaskSaved32,
        };
        self.note(branch, tr.base);

        let mut eflags = saved.eflags;
        if cause == Cause::Return {
            eflags.value &= !Eflags::NT.0;
        }
        let at = |offset: u32| tr.base.wrapping_add(offset);
        self.write_system(at(layout.eip), bytes, saved.eip, Owner::TssEip)?;
        self.write_system(at(layout.eflags), bytes, eflags, Owner::TssEflags)?;
        let general = self.state.general.to_array();
        let undefined = self.undefined.general.to_array();
        for (n, (value, undefined)) in (0..).zip(general.into_iter().zip(undefined)) {
            let word = Word32 { value, undefined };
            let owner = Owner::TssGeneral(n as u8);
            self.write_system(at(layout.general + n * bytes), bytes, word, owner)?;
        }
        for (n, register) in (0..layout.segment_count).zip(SegmentRegister::ALL) {
            let mut word = Word32::known(u32::from(self.state.segment(register).selector));
            if register == SegmentRegister::Cs {
                word.undefined = saved.cs_undefined;
            }
            let owner = Owner::TssSegment(register);
            self.write_system(at(layout.segments + n * bytes), 2, word, owner)?;
        }
        Ok(())
    }
}
