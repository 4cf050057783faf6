//! The event, and the gate and the stack that it meets.

use super::Draft;
use super::choices::*;
use crate::conform::field::{Field, Part};
use crate::conform::layout::*;
use crate::conform::start::Start;
use crate::conform::via::{INJECTED, Via};
use ia32::{Gate, GateKind, Selector};

impl Draft<'_> {
    pub(super) fn event(&mut self) {
        let ring = self.ring();
        let virtual_8086 = self.case.start == Start::Virtual8086;
        let interrupts = self.known(Field::Eflags).unwrap_or(0x202) & 0x200 != 0;
        let user = u8::from(ring == 3);
        let via = match self.random.below(16) {
            0..=4 => Via::Int(self.random.of(&[0x80, 0x20, 0x30, 0xff, 3, 13, 14, 8, 0])),
            5 => Via::Int3,
            6 => Via::Into,
            7 => Via::Icebp,
            8 => Via::Divide,
            9 => self.random.of(&[Via::Undefined, Via::NoMath]),
            10 if !virtual_8086 => Via::Beyond,
            11 if !virtual_8086 => self.random.of(&[Via::NotPresent, Via::NoStack]),
            12 if self.state().paging() => Via::Fetch,
            13 => {
                let vector = self.random.of(&INJECTED);
                Via::Exception(vector, (self.random.word() & 0xffff) as u16 & !u16::from(user))
            }
            14 if interrupts => Via::Interrupt(self.random.of(&[0x20, 0x21, 0x80, 0xff])),
            15 => Via::Nmi,
            _ => Via::Int(0x80),
        };
        self.case.via = via;
        if via == Via::Fetch {
            // In the alias of a page that nothing else uses.
            let page = CODE / PAGE;
            let bits = self.random.of(&[0x66, 0x60, 0]);
            self.put(TABLE + 4 * page, (page * PAGE) | bits);
        }
        let vector = self.vector();
        let good = !self.random.one_in(3);
        self.gate(vector, good);
        if self.random.one_in(3) {
            self.inner_stack();
        }
    }

    /// The vector that is delivered first.
    pub(super) fn vector(&self) -> u8 {
        match self.case.via {
            Via::Int(vector) | Via::Exception(vector, _) | Via::Interrupt(vector) => vector,
            Via::Int3 => 3,
            Via::Into => 4,
            Via::Icebp => 1,
            Via::Divide => 0,
            Via::Undefined => 6,
            Via::NoMath => 7,
            Via::NotPresent => 11,
            Via::NoStack => 12,
            Via::Fetch => 14,
            Via::Nmi => 2,
            Via::Beyond | Via::Iret(_) | Via::Jump(_) | Via::Call(_) => 13,
        }
    }

    /// The gate of a vector: a good one, or any.
    pub(super) fn gate(&mut self, vector: u8, good: bool) {
        let mut kind = self.random.of(&[
            GateKind::Interrupt32,
            GateKind::Trap32,
            GateKind::Interrupt32,
            GateKind::Trap32,
            GateKind::Interrupt16,
            GateKind::Trap16,
            GateKind::Task,
        ]);
        let ring = self.ring();
        let selector = if kind == GateKind::Task {
            if good { self.random.of(&[TSS_OTHER, TSS_SMALL]) } else { self.random.of(&TASKS) }
        } else if !good && self.random.one_in(3) {
            self.random.of(&ODD)
        } else if self.random.one_in(2) {
            self.random.of(&CODES)
        } else {
            CODE_0
        };
        if self.random.one_in(16) {
            kind = GateKind::Interrupt32;
        }
        let dpl = if good { ring } else { self.random.below(4) as u8 };
        let present = good || !self.random.one_in(6);
        self.used.push(selector);
        if kind == GateKind::Task && !self.random.one_in(3) {
            self.task();
        }
        let gate =
            Gate { kind, selector: Selector(selector), offset: handler(vector), dpl, present };
        let mut bytes = gate.encode();
        if !good && self.random.one_in(8) {
            // Any type, one that an IDT may not hold among them.
            bytes = bytes & !(0x1f << 40) | u64::from(self.random.below(32)) << 40;
        }
        if self.random.one_in(12) {
            // An EIP at or beyond the end of a 64 KiB segment.
            bytes = bytes & !0xffff | u64::from(self.random.of(&[0xffffu16, 0xfffe]));
            bytes |= u64::from(self.random.below(2)) << 48;
        }
        self.put_eight(IDT + 8 * u32::from(vector), bytes);
    }

    /// SSn:ESPn of the current TSS.
    pub(super) fn inner_stack(&mut self) {
        let ring = self.random.of(&[0, 0, 0, 1, 2]);
        if self.random.one_in(8) {
            // A 16-bit TSS is the current one.
            self.field(Field::Tr(Part::Attributes), 0x83);
            self.field(Field::Tr(Part::Base), TSS_16);
            let limit = self.random.of(&[TSS_16_LIMIT, TSS_16_LIMIT, 5, 4, 3, 2]);
            self.field(Field::Tr(Part::Limit), limit);
            return;
        }
        let at = TSS + 4 + 8 * ring;
        if self.random.one_in(2) {
            let top = self.random.of(&TOPS);
            self.put(at, top);
        }
        if self.random.one_in(2) {
            let selector =
                if self.random.one_in(2) { self.random.of(&STACKS) } else { self.random.of(&ODD) };
            self.put(at + 4, selector.into());
            self.used.push(selector);
        }
        if self.random.one_in(6) {
            let limit = at - TSS + self.random.of(&[0, 3, 4, 5, 6, 7, 8]);
            self.field(Field::Tr(Part::Limit), limit);
        }
    }
}
