//! Changes to anything that an event may use.

use super::Draft;
use super::choices::*;
use crate::conform::field::{Field, Part};
use crate::conform::layout::*;
use crate::conform::start::Start;
use ia32::{Descriptor, SegmentRegister, Selector, Table};

impl Draft<'_> {
    pub(super) fn change(&mut self) {
        match self.random.below(14) {
            0 | 1 => self.descriptor(),
            2 => self.source_stack(),
            3 => {
                let limit = self.random.of(&[0, 7, 0x67, 0x6f, 0x3fe, 0x3ff, 0x407, 0x40e]);
                self.field(Field::IdtrLimit, limit);
            }
            4 => {
                let limit = self.random.of(&[0x0f, 0x0e, 0x17, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0xc7]);
                self.field(Field::GdtrLimit, limit);
            }
            5 => {
                let register = self.random.of(&[
                    SegmentRegister::Ds,
                    SegmentRegister::Es,
                    SegmentRegister::Fs,
                    SegmentRegister::Gs,
                ]);
                self.data_register(register);
            }
            6 => {
                // Another gate on the way through a chain of faults.
                let vector = self.random.of(&SECOND);
                let good = self.random.one_in(3);
                self.gate(vector, good);
            }
            7 => self.inner_stack(),
            8 => self.task(),
            9 => match self.random.below(4) {
                0 => self.field(Field::NmiBlocked, 1),
                1 => self.field(Field::Shadow, 1),
                2 => self.field(Field::Shadow, 2),
                _ => self.field(Field::Ldtr(Part::Loaded), 0),
            },
            10 => {
                let limit = self.random.of(&[0x3f, 0x0f, 0x0e, 0x17, 0]);
                self.field(Field::Ldtr(Part::Limit), limit);
            }
            11 => self.source_code(),
            12 => {
                let limit =
                    self.random.of(&[TSS_LIMIT, 0x5f, 0x5d, 0x5e, 0x60, 11, 10, 9, 8, 7, 0x2b]);
                self.field(Field::Tr(Part::Limit), limit);
            }
            _ => {
                let number = self.random.below(8) as u8;
                if number != 4 {
                    let value = self.random.word();
                    self.field(Field::General(number), value);
                }
            }
        }
    }

    /// A descriptor that the event may use.
    pub(super) fn descriptor(&mut self) {
        let slot = self.random.of(&[
            CODE_0,
            CODE_0,
            DATA_0,
            DATA_0,
            CODE_3,
            DATA_3,
            TSS_OTHER,
            TSS_SMALL,
            LDT_SLOT,
            CONFORMING_0,
            DATA_1,
            CODE_1,
            DATA_0_16,
            TSS_CURRENT,
            TASK_GATE,
            CODE_2,
            DATA_2,
        ]);
        let slot = if self.random.one_in(3) || self.used.is_empty() {
            slot
        } else {
            let used = self.random.below(self.used.len() as u32) as usize;
            self.used[used]
        };
        let at = match Selector(slot).table() {
            _ if slot >= GDT_SIZE => return,
            Table::Gdt => GDT + Selector(slot).offset(),
            Table::Ldt => LDT + Selector(slot).offset() % u32::from(LDT_SIZE),
        };
        let bytes = self.eight(at);
        let descriptor = Descriptor(bytes);
        let changed = match self.random.below(7) {
            // Present, accessed, type, DPL, D/B.
            0 => bytes & !(1 << 47),
            1 => bytes & !(1 << 40),
            2 => bytes ^ 1 << (40 + self.random.below(5)),
            3 => bytes & !(3 << 45) | u64::from(self.random.below(4)) << 45,
            4 => bytes ^ 1 << 54,
            5 => {
                let limit = self.random.of(&[
                    0xffff, 0x9fff, 0x97ff, 0x97fe, 0x97f0, 0x93ff, 0x2000, 0x1fff, 103, 102, 43,
                    42, 0x5f, 0,
                ]);
                Descriptor::new(descriptor.base(), limit, descriptor.attributes() & 0x7fff).0
            }
            _ => {
                let base = self.random.of(&[LANDING, LANDING + 0x10, 0x100, 0x100, 0x20]);
                let base = if self.random.one_in(20) { 0xffff_ff00 } else { base };
                let limit = (bytes & 0xffff) as u32 | (bytes >> 32) as u32 & 0xf_0000;
                Descriptor::new(base, limit, descriptor.attributes()).0
            }
        };
        self.put_eight(at, changed);
    }

    /// The source's stack: pointer, segment, limit.
    pub(super) fn source_stack(&mut self) {
        if self.case.start == Start::Virtual8086 {
            let esp = self.random.of(&[0x800, 0x10, 4, 2, 0, 0xffff, 0xfffe, 0x1_0800]);
            self.field(Field::General(4), esp);
            return;
        }
        let ring = self.ring();
        if self.random.one_in(2) {
            let fitting: Vec<u16> =
                STACKS.iter().copied().filter(|selector| selector & 3 == u16::from(ring)).collect();
            let selector = self.random.of(&fitting);
            self.field(Field::Segment(SegmentRegister::Ss, Part::Loaded), selector.into());
        }
        if self.random.one_in(2) {
            let esp = self.random.of(&TOPS);
            let high = if self.random.one_in(6) { 0xabcd_0000 } else { 0 };
            self.field(Field::General(4), esp | high);
        }
        if self.random.one_in(4) {
            let esp = self.state().general.esp;
            let limit = esp.wrapping_add(self.random.of(&[
                0,
                1,
                3,
                7,
                11,
                12,
                19,
                0u32.wrapping_sub(1),
                0u32.wrapping_sub(5),
            ]));
            if limit <= 0xf_ffff {
                self.field(Field::Segment(SegmentRegister::Ss, Part::Limit), limit);
            }
        }
        if self.random.one_in(8) && self.state().paging() {
            self.field(Field::Segment(SegmentRegister::Ss, Part::Base), ALIAS);
        }
    }

    /// 16-bit or conforming code at the source, or code at the end of its segment.
    pub(super) fn source_code(&mut self) {
        if self.case.start == Start::Virtual8086 {
            return;
        }
        let cs = |part| Field::Segment(SegmentRegister::Cs, part);
        let ring = u32::from(self.ring());
        match self.random.below(3) {
            0 => {
                self.field(cs(Part::Attributes), 0x9b | ring << 5);
                self.field(cs(Part::Limit), 0xffff);
            }
            1 => self.field(cs(Part::Attributes), 0x409f),
            _ => {
                self.field(cs(Part::Attributes), 0x9b | ring << 5);
                self.field(cs(Part::Limit), 0xffff);
                self.field(cs(Part::Base), SOURCE.wrapping_sub(0xfffe));
                self.field(Field::Eip, 0xfffe);
            }
        }
    }

    /// DS, ES, FS or GS.
    pub(super) fn data_register(&mut self, register: SegmentRegister) {
        let selector = if self.case.start == Start::Virtual8086 {
            self.random.word() as u16
        } else {
            self.random.of(&[
                0,
                3,
                DATA_0,
                DATA_3 | 3,
                DATA_3_16 | 3,
                CONFORMING_0,
                0x07,
                DATA_2 | 2,
                CODE_3 | 3,
                CONFORMING_3 | 3,
            ])
        };
        self.field(Field::Segment(register, Part::Loaded), selector.into());
    }
}
