//! Memory as the processor reaches it: through paging, and for segments and tables within limits.

use crate::execution::{Execution, Result, Stop};
use crate::outcome::{RaisedFault, Unspecified};
use crate::paging::{AccessRequest, Denial, PageFault, PagingControls, Privilege, translate};
use crate::writes::Overlay;
use crate::{
    Branch, Descriptor, DescriptorKind, Eflags, Owner, ReadMemory, Segment, Selector, Table,
};
use crate::{Vector, Write};

const PAGE: u32 = 0x1000;

/// A descriptor and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) selector: Selector,
    pub(crate) descriptor: Descriptor,
    /// Linear address.
    pub(crate) address: u32,
}

/// A value with the bits in it that the manuals leave open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Word32 {
    pub(crate) value: u32,
    pub(crate) undefined: u32,
}

impl Word32 {
    pub(crate) const fn known(value: u32) -> Self {
        Word32 { value, undefined: 0 }
    }

    /// A selector in a word of four bytes, as it is pushed: its upper half is not defined (SDM vol.
    /// 2A, INT n: "padded to two words").
    pub(crate) const fn selector(selector: u16) -> Self {
        Word32 { value: selector as u32, undefined: 0xffff_0000 }
    }
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// The physical address of a byte, or the page fault.
    fn translate(&mut self, linear: u32, write: bool, privilege: Privilege) -> Result<u64> {
        if !self.state.paging() || self.memory.is_linear() {
            return Ok(linear.into());
        }
        let over = Overlay { memory: self.memory, writes: self.writes };
        let paging = PagingControls::from(&self.state);
        let walk =
            translate(&over, &paging, linear, AccessRequest { write, privilege }, self.processor);
        if self.undefined.eflags.contains(Eflags::AC) && paging.smap {
            let other = PagingControls { alignment_check: !paging.alignment_check, ..paging };
            let access = AccessRequest { write, privilege };
            if translate(&over, &other, linear, access, self.processor).result != walk.result {
                self.leave_open(Unspecified::AlignmentCheck);
            }
        }
        // An entry becomes accessed when it is used for a translation; whether that is so for one
        // that fails, the manuals do not say.
        let certain = walk.result.is_ok();
        for (update, owner, branch) in [
            (walk.directory, Owner::PageDirectory, Branch::DirectoryMarked),
            (walk.table, Owner::PageTable, Branch::TableMarked),
        ] {
            let Some(update) = update else { continue };
            self.writes.push(Write {
                address: update.address,
                linear,
                value: u32::from(update.value),
                undefined: 0,
                width: 1,
                certain,
                owner,
            });
            if certain {
                self.note(branch, linear);
            }
        }
        if walk.large {
            self.note(Branch::PageLarge, linear);
        }
        walk.result.or_else(|fault| self.page_fault(fault))
    }

    fn page_fault<T>(&mut self, fault: PageFault) -> Result<T> {
        let branch = match fault.denial {
            Denial::DirectoryNotPresent => Branch::PageDirectoryNotPresent,
            Denial::TableNotPresent => Branch::PageTableNotPresent,
            Denial::Reserved => Branch::PageReservedBit,
            Denial::NotUser => Branch::PageNotUser,
            Denial::ReadOnly => Branch::PageReadOnly,
            Denial::Smap => Branch::PageSmap,
        };
        self.note(branch, fault.address);
        Err(Stop::Fault(RaisedFault {
            vector: Vector::PF,
            error_code: fault.error_code,
            address: Some(fault.address),
            branch,
        }))
    }

    /// The physical addresses of the part in the first page, its length, and the part in the next.
    fn pieces(
        &mut self,
        linear: u32,
        width: u32,
        write: bool,
        privilege: Privilege,
    ) -> Result<(u64, u32, u64)> {
        let first = width.min(PAGE - linear % PAGE);
        let low = self.translate(linear, write, privilege)?;
        if first == width {
            return Ok((low, width, 0));
        }
        self.note(Branch::AccessCrossesPage, linear);
        let high = self.translate(linear.wrapping_add(first), write, privilege)?;
        Ok((low, first, high))
    }

    /// Reads one, two or four bytes at a linear address.
    pub(crate) fn read(&mut self, linear: u32, width: u32, privilege: Privilege) -> Result<u32> {
        let (low, first, high) = self.pieces(linear, width, false, privilege)?;
        if self.writes.leaves_open(low, first) || self.writes.leaves_open(high, width - first) {
            self.leave_open(Unspecified::OpenWord);
        }
        let over = Overlay { memory: self.memory, writes: self.writes };
        if first == 4 {
            return Ok(over.read_u32(low));
        }
        Ok((0..width).fold(0, |value, n| {
            let address = if n < first { low + u64::from(n) } else { high + u64::from(n - first) };
            value | u32::from(over.read_u8(address)) << (8 * n)
        }))
    }

    /// Reads from a table or a TSS.
    pub(crate) fn read_system(&mut self, linear: u32, width: u32) -> Result<u32> {
        self.read(linear, width, Privilege::Implicit)
    }

    /// The eight bytes of a descriptor or gate.
    pub(crate) fn read_entry(&mut self, linear: u32) -> Result<u64> {
        let low = self.read_system(linear, 4)?;
        let high = self.read_system(linear.wrapping_add(4), 4)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Writes one, two or four bytes at a linear address.
    pub(crate) fn write(
        &mut self,
        linear: u32,
        width: u32,
        word: Word32,
        privilege: Privilege,
        owner: Owner,
    ) -> Result<()> {
        let (low, first, high) = self.pieces(linear, width, true, privilege)?;
        let mut piece = |address, offset: u32, length: u32| {
            let mask = u32::MAX >> (32 - 8 * length);
            self.writes.push(Write {
                address,
                linear: linear.wrapping_add(offset),
                value: word.value >> (8 * offset) & mask,
                undefined: word.undefined >> (8 * offset) & mask,
                width: length as u8,
                certain: true,
                owner,
            });
        };
        piece(low, 0, first);
        if first < width {
            piece(high, first, width - first);
        }
        Ok(())
    }

    /// Writes to a table or a TSS.
    pub(crate) fn write_system(
        &mut self,
        linear: u32,
        width: u32,
        word: Word32,
        owner: Owner,
    ) -> Result<()> {
        self.write(linear, width, word, Privilege::Implicit, owner)
    }

    /// The linear address of the descriptor that a selector names, or none where it lies outside its
    /// table (SDM vol. 3A, "Segment descriptor tables").
    pub(crate) fn locate(&self, selector: Selector) -> Option<u32> {
        let (base, limit) = match selector.table() {
            Table::Gdt => (self.state.gdtr.base, u32::from(self.state.gdtr.limit)),
            Table::Ldt if self.state.ldtr.present() => {
                (self.state.ldtr.base, self.state.ldtr.limit)
            }
            Table::Ldt => return None,
        };
        let offset = selector.offset();
        (offset + 7 <= limit).then(|| base.wrapping_add(offset))
    }

    /// The descriptor at an address that [`locate`](Self::locate) gave.
    pub(crate) fn entry_at(&mut self, selector: Selector, address: u32) -> Result<Entry> {
        let descriptor = Descriptor(self.read_entry(address)?);
        Ok(Entry { selector, descriptor, address })
    }

    /// The descriptor that a selector names, or none where it lies outside its table.
    pub(crate) fn entry(&mut self, selector: Selector) -> Result<Option<Entry>> {
        self.locate(selector).map(|address| self.entry_at(selector, address)).transpose()
    }

    /// The hidden part of a segment register that is loaded with a code or data segment, whose
    /// descriptor becomes accessed if it is not (SDM vol. 3A, "Code- and data-segment descriptor
    /// types").
    pub(crate) fn load(&mut self, entry: &Entry, rpl: u8) -> Result<Segment> {
        if !entry.descriptor.accessed() {
            self.note(Branch::DescriptorAccessed, u32::from(entry.selector.0));
            self.write_system(
                entry.address.wrapping_add(5),
                1,
                Word32::known(u32::from(entry.descriptor.with_accessed().access_byte())),
                Owner::Accessed(entry.selector.0),
            )?;
        }
        let selector = entry.selector.0 & !3 | u16::from(rpl);
        Ok(entry.descriptor.with_accessed().segment(selector))
    }

    /// Whether `size` bytes at `offset` lie within a segment (SDM vol. 3A, "Limit checking").
    ///
    /// Where the segment has 4 GiB and the bytes run over its end, processors differ, and so may
    /// two runs on one of them.
    pub(crate) fn within(&mut self, segment: &Segment, offset: u32, size: u32) -> bool {
        let last = offset.checked_add(size - 1);
        if !segment.present() {
            false
        } else if segment.is_expand_down() {
            let top = if segment.big() { u32::MAX } else { 0xffff };
            offset > segment.limit && last.is_some_and(|last| last <= top)
        } else if let Some(last) = last {
            last <= segment.limit
        } else {
            if segment.limit == u32::MAX {
                self.leave_open(Unspecified::SegmentWrap);
            }
            false
        }
    }
}

/// A data segment that can be written, as SS has to be.
pub(crate) const fn is_writable_data(descriptor: Descriptor) -> bool {
    matches!(descriptor.kind(), DescriptorKind::Data { writable: true, .. })
}
