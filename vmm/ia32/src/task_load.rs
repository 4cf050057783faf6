//! What a task switch does past its point of no return: the new task's registers and segments are
//! loaded, and a fault is one in the new task (SDM vol. 3A, "Task switching" and its table "Exception
//! conditions checked during a task switch").

use crate::access::{Entry, Word32, is_writable_data};
use crate::execution::{Execution, Result};
use crate::outcome::{LDTR, Unspecified};
use crate::saved::Cause;
use crate::task_switch::Image;
use crate::{Branch, DescriptorKind, Eflags, General, Owner, ReadMemory, Segment, SegmentRegister};
use crate::{Selector, Table, TssWidth, Vector, Word};

/// In the order in which the manual's table has them.
const DATA: [SegmentRegister; 4] =
    [SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs];

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    pub(crate) fn load_task(&mut self, tss: &Entry, image: &Image, cause: Cause) -> Result<()> {
        const TASK_SWITCHED: u32 = 1 << 3;
        const BUSY: u16 = 2;
        self.broken = true;
        self.state.tr = tss.descriptor.segment(tss.selector.0);
        self.state.tr.attributes |= BUSY;
        self.state.cr0 |= TASK_SWITCHED;
        self.state.interrupt_shadow = 0;
        self.debug_trap = image.trap;
        self.load_registers(image, cause);
        self.load_directory(image);
        self.name_segments(image);

        let first = self.load_segments(image);
        if first.is_err() {
            // Nothing is known of hidden parts once one of them could not be loaded.
            self.undefined.hidden = 0b1011_1111;
            return first;
        }
        self.broken = false;
        if image.trap {
            self.note(Branch::TaskDebugTrap, 0);
        }
        self.note(Branch::Switched, self.state.eip);
        Ok(())
    }

    fn load_registers(&mut self, image: &Image, cause: Cause) {
        let mut eflags = Eflags(image.eflags);
        self.undefined.eflags = Eflags::default();
        self.undefined.general = General::default();
        self.undefined.selectors = 0;
        if image.width == TssWidth::Bits16 {
            // A 16-bit TSS has no upper halves, and no FS and GS: what those become is not said.
            self.undefined.general = General::from_array([0xffff_0000; 8]);
            self.undefined.eflags =
                Eflags(0xffff_0000).without(Eflags::RESERVED_ZERO).without(Eflags::VM);
            self.undefined.selectors =
                1 << SegmentRegister::Fs as u8 | 1 << SegmentRegister::Gs as u8;
        }
        if cause.nests() {
            eflags = eflags | Eflags::NT;
        }
        self.set_eflags(eflags);
        self.state.general = General::from_array(image.general);
        self.state.eip = image.eip;
    }

    /// CR3, if the TSS has one. Whether it is loaded while paging is off is not said.
    fn load_directory(&mut self, image: &Image) {
        if image.width == TssWidth::Bits16 {
            return;
        }
        if self.state.paging() {
            self.note(Branch::TaskDirectoryLoaded, image.cr3);
            self.undefined.cr3 = 0;
        } else {
            self.undefined.cr3 |= self.state.cr3 ^ image.cr3;
        }
        self.state.cr3 = image.cr3;
    }

    /// The selectors are loaded before any of them is checked, so that a fault finds them all. No
    /// hidden part can be used yet.
    fn name_segments(&mut self, image: &Image) {
        let open = self.undefined.selectors;
        for (register, selector) in SegmentRegister::ALL.into_iter().zip(image.segments) {
            self.set_segment(register, Segment::null(selector));
        }
        self.undefined.selectors = open;
        // CPL is the RPL of CS; State::cpl finds it in SS.
        let cpl = Selector(image.segments[SegmentRegister::Cs as usize]).rpl();
        self.state.segments[SegmentRegister::Ss as usize].attributes = u16::from(cpl) << 5;
        self.state.ldtr = Segment::null(image.ldt);
        self.undefined.hidden |= 1 << LDTR;
    }

    /// Loads LDTR, CS, SS and the data segments, in this order. The manual's table gives one for
    /// the P6 family and calls it model-specific, so it does not matter while only one is bad.
    fn load_segments(&mut self, image: &Image) -> Result<()> {
        let ldt = self.load_ldt(Selector(image.ldt));
        if self.state.virtual_8086() {
            self.note(Branch::TaskVirtual, 0);
            ldt?;
            for (register, selector) in SegmentRegister::ALL.into_iter().zip(image.segments) {
                self.set_segment(register, Segment::virtual_8086(selector));
            }
            return Ok(());
        }
        let selector = |register| Selector(image.segments[register as usize]);
        let cpl = selector(SegmentRegister::Cs).rpl();
        let mut first = ldt;
        for register in [SegmentRegister::Cs, SegmentRegister::Ss].into_iter().chain(DATA) {
            let mark = first.is_err().then(|| self.trace.mark());
            let segment = match register {
                SegmentRegister::Cs => self.task_code_segment(selector(register)),
                SegmentRegister::Ss => self.task_stack_segment(selector(register), cpl),
                _ => self.task_data_segment(selector(register), cpl),
            };
            match (first, segment) {
                (Ok(()), Ok(segment)) if segment.present() => self.set_segment(register, segment),
                (Ok(()), Ok(_)) => {}
                (Ok(()), Err(stop)) => first = Err(stop),
                (Err(earlier), Err(stop)) if earlier != stop => {
                    self.leave_open(Unspecified::CheckOrder);
                }
                (Err(_), _) => {}
            }
            // What is looked at after the first fault only tells whether there is another.
            if let Some(mark) = mark {
                self.trace.back_to(mark);
            }
        }
        first
    }

    fn load_ldt(&mut self, selector: Selector) -> Result<()> {
        let value = u32::from(selector.0);
        let code = self.selector_code(selector.0);
        if selector.is_null() {
            self.note(Branch::TaskLdtNull, value);
            return Ok(());
        }
        if selector.table() == Table::Ldt {
            return self.fail(Vector::TS, code, Branch::TaskLdtLocal, value);
        }
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::TS, code, Branch::TaskLdtOutsideTable, value);
        };
        if entry.descriptor.kind() != DescriptorKind::Ldt {
            return self.fail(Vector::TS, code, Branch::TaskLdtType, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::TS, code, Branch::TaskLdtNotPresent, value);
        }
        self.state.ldtr = entry.descriptor.segment(selector.0);
        self.undefined.hidden &= !(1 << LDTR);
        self.note(Branch::TaskLdtLoaded, value);
        Ok(())
    }

    fn task_code_segment(&mut self, selector: Selector) -> Result<Segment> {
        let value = u32::from(selector.0);
        let code = self.selector_code(selector.0);
        if selector.is_null() {
            return self.fail(Vector::TS, code, Branch::TaskCsNull, value);
        }
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::TS, code, Branch::TaskCsOutsideTable, value);
        };
        let DescriptorKind::Code { conforming, .. } = entry.descriptor.kind() else {
            return self.fail(Vector::TS, code, Branch::TaskCsNotCode, value);
        };
        let dpl = entry.descriptor.dpl();
        if !conforming && dpl != selector.rpl() {
            return self.fail(Vector::TS, code, Branch::TaskCsDpl, value);
        }
        if conforming && dpl > selector.rpl() {
            return self.fail(Vector::TS, code, Branch::TaskCsConformingDpl, value);
        }
        if !entry.descriptor.present() {
            return self.fail(Vector::NP, code, Branch::TaskCsNotPresent, value);
        }
        self.load(&entry, selector.rpl())
    }

    fn task_stack_segment(&mut self, selector: Selector, cpl: u8) -> Result<Segment> {
        let value = u32::from(selector.0);
        let code = self.selector_code(selector.0);
        if selector.is_null() {
            return self.fail(Vector::TS, code, Branch::TaskSsNull, value);
        }
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::TS, code, Branch::TaskSsOutsideTable, value);
        };
        if !is_writable_data(entry.descriptor) {
            return self.fail(Vector::TS, code, Branch::TaskSsNotWritable, value);
        }
        let bad_dpl = entry.descriptor.dpl() != cpl;
        let bad_rpl = entry.descriptor.dpl() != selector.rpl();
        if !entry.descriptor.present() {
            if bad_dpl || bad_rpl {
                self.leave_open(Unspecified::CheckOrder);
            }
            return self.fail(Vector::SS, code, Branch::TaskSsNotPresent, value);
        }
        if bad_dpl {
            return self.fail(Vector::TS, code, Branch::TaskSsDpl, value);
        }
        if bad_rpl {
            return self.fail(Vector::TS, code, Branch::TaskSsRpl, value);
        }
        self.load(&entry, cpl)
    }

    fn task_data_segment(&mut self, selector: Selector, cpl: u8) -> Result<Segment> {
        let value = u32::from(selector.0);
        let code = self.selector_code(selector.0);
        if selector.is_null() {
            self.note(Branch::TaskDataNull, value);
            return Ok(Segment::null(selector.0));
        }
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::TS, code, Branch::TaskDataOutsideTable, value);
        };
        let conforming = match entry.descriptor.kind() {
            DescriptorKind::Data { .. } => false,
            DescriptorKind::Code { readable: true, conforming } => conforming,
            _ => return self.fail(Vector::TS, code, Branch::TaskDataNotReadable, value),
        };
        let dpl = entry.descriptor.dpl();
        let bad_dpl = !conforming && dpl < cpl.max(selector.rpl());
        if !entry.descriptor.present() {
            if bad_dpl {
                self.leave_open(Unspecified::CheckOrder);
            }
            return self.fail(Vector::NP, code, Branch::TaskDataNotPresent, value);
        }
        if bad_dpl {
            return self.fail(Vector::TS, code, Branch::TaskDataPrivilege, value);
        }
        self.load(&entry, selector.rpl())
    }

    /// Pushes the error code of an event that came through a task gate, in the width of the new
    /// task's TSS.
    pub(crate) fn push_error_code_in_new_task(&mut self, error_code: u32) -> Result<()> {
        let (size, branch) = match self.current_tss_width() {
            TssWidth::Bits16 => (2, Branch::TaskErrorCode16),
            TssWidth::Bits32 => (4, Branch::TaskErrorCode32),
        };
        let mut stack = self.current_stack();
        if !self.has_room(&stack, 1, size) {
            return self.fail(Vector::SS, self.ext, Branch::TaskErrorCodeNoRoom, size);
        }
        self.note(branch, error_code);
        let owner = Owner::Pushed(Word::ErrorCode);
        self.push(&mut stack, size, Word32::known(error_code), owner)?;
        self.move_stack_pointer(stack.pointer);
        Ok(())
    }

    /// IF EIP is not within the code segment's limit THEN #GP, in the new task.
    pub(crate) fn check_new_task_eip(&mut self) -> Result<()> {
        if self.state.eip > self.state.cs().limit {
            let eip = self.state.eip;
            return self.fail(Vector::GP, self.ext, Branch::TaskBeyondLimit, eip);
        }
        Ok(())
    }
}
