//! The processor before the event: flags and paging.

use super::Draft;
use super::choices::*;
use crate::conform::field::{Field, Part};
use crate::conform::layout::*;
use crate::conform::start::Start;

impl Draft<'_> {
    pub(super) fn flags(&mut self) {
        let mut flags = 0x202;
        if self.case.start == Start::Virtual8086 {
            flags |= 0x3000;
        }
        while self.random.one_in(2) {
            flags ^= self.random.of(&FLAGS);
        }
        if self.random.one_in(8) {
            flags = self.random.word() & 0x003d_7ed5;
        }
        if flags != 0x202 {
            self.field(Field::Eflags, flags);
        }
        if self.random.one_in(8) {
            // CR0.AM: alignment is checked in ring 3 with AC.
            self.field(Field::Cr0, 0x4_0011);
            self.field(Field::Eflags, flags | 0x4_0000);
        }
    }

    pub(super) fn paging(&mut self) {
        let write_protect = if self.random.one_in(2) { 1 << 16 } else { 0 };
        let cr0 = self.known(Field::Cr0).unwrap_or(0x11) | 1 << 31 | write_protect;
        self.field(Field::Cr0, cr0);
        if self.random.one_in(3) {
            self.field(Field::Cr4, 0x10);
        }
        if self.random.one_in(10) {
            // SMAP: then the pages of tables and inner stacks have to be the supervisor's.
            self.field(Field::Cr4, 0x20_0000);
            for page in [0, 1, 2, 3, 4, 5, 6, 8, 9, 0xc] {
                self.put(TABLE + 4 * page, (page * PAGE) | 0x63);
            }
        }
        if self.random.one_in(3) {
            self.alias();
        }
        while self.random.one_in(2) {
            self.page();
        }
    }

    /// Tables at other linear addresses.
    pub(super) fn alias(&mut self) {
        let large = self.known(Field::Cr4) == Some(0x10) && self.random.one_in(2);
        let base = if large { LARGE_ALIAS } else { ALIAS };
        if large && self.random.one_in(4) {
            // A reserved bit, or accessed and dirty bits that have to be set.
            let bits = self.random.of(&[0x20_00e7, 0x87, 0xa7, 0x85, 0x83, 0x86]);
            self.put(DIRECTORY + 4 * (LARGE_ALIAS >> 22), bits);
        }
        let which = self.random.below(5);
        if which == 0 || which == 4 {
            self.field(Field::IdtrBase, base + IDT);
        }
        if which == 1 || which == 4 {
            self.field(Field::GdtrBase, base + GDT);
        }
        if which == 2 || which == 4 {
            self.field(Field::Tr(Part::Base), base + TSS);
        }
        if which == 3 {
            self.field(Field::Ldtr(Part::Base), base + LDT);
        }
    }

    /// An entry of a page table or directory.
    pub(super) fn page(&mut self) {
        let bits = self.random.of(&[0x66, 0x65, 0x63, 0x61, 0x47, 0x27, 0x07, 0x03, 0x05, 0x01]);
        if self.random.one_in(8) {
            let entry = self.random.of(&[0, LARGE_ALIAS, ALIAS]) >> 22;
            let directory = self.random.of(&[DIRECTORY, OTHER_DIRECTORY]);
            let at = directory + 4 * entry;
            let reserved = if entry == 2 && self.random.one_in(2) { 0x80 | 1 << 21 } else { 0 };
            let large = if entry == 2 { 0x80 } else { 0 };
            let address = if entry == 2 { 0 } else { TABLE };
            self.put(at, address | bits | large | reserved);
        } else {
            let page = self.random.of(&[0, 1, 2, 3, 4, 5, 6, 8, 9, 0xa, 0xb, 0xc]);
            self.put(TABLE + 4 * page, (page * PAGE) | bits);
        }
    }
}
