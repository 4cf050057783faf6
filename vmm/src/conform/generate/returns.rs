//! IRET, far transfers, and the tasks that they lead to.

use super::Draft;
use super::choices::*;
use crate::conform::field::Field;
use crate::conform::layout::*;
use crate::conform::random::Random;
use crate::conform::start::Start;
use crate::conform::via::Via;
use ia32::{Gate, GateKind, OperandSize, SegmentRegister, Selector};

impl Draft<'_> {
    pub(super) fn iret(&mut self) {
        let size = self.random.of(&[OperandSize::Bits32, OperandSize::Bits32, OperandSize::Bits16]);
        self.case.via = Via::Iret(size);
        if let Some(flags) = self.known(Field::Eflags) {
            // Neither a trap behind it nor, most of the time, a task return.
            let nt = if self.random.one_in(4) { flags & 0x4000 } else { 0 };
            self.field(Field::Eflags, flags & !0x4100 | nt);
        }
        if self.random.one_in(6) && self.case.start != Start::Virtual8086 {
            let flags = self.known(Field::Eflags).unwrap_or(0x202);
            self.field(Field::Eflags, flags | 0x4000);
            self.task_link();
            return;
        }
        if self.random.one_in(4) {
            self.source_stack();
        }
        self.frame(size);
    }

    pub(super) fn frame(&mut self, size: OperandSize) {
        let ring = self.ring();
        let inside = self.case.start == Start::Virtual8086;
        let outer = self.random.below(u32::from(4 - ring)) as u8 + ring;
        let to_virtual = ring == 0 && size == OperandSize::Bits32 && self.random.one_in(4);
        let of_ring = |list: &[u16], random: &mut Random| {
            let fitting: Vec<u16> =
                list.iter().copied().filter(|selector| selector & 3 == u16::from(outer)).collect();
            if fitting.is_empty() { list[0] } else { random.of(&fitting) }
        };
        let mut cs = of_ring(&CODES, &mut self.random);
        let mut ss = of_ring(&STACKS, &mut self.random);
        if self.random.one_in(6) {
            cs = self.random.of(&ODD);
        }
        if self.random.one_in(6) {
            ss = self.random.of(&ODD);
        }
        if self.random.one_in(10) {
            cs = cs & !3 | self.random.below(4) as u16;
        }
        if self.random.one_in(10) {
            ss = ss & !3 | self.random.below(4) as u16;
        }
        let mut flags = (self.random.word() & 0x003d_7fd5) & !0x4000 | 2;
        if self.random.one_in(30) {
            flags |= 1 << 17;
        }
        if self.random.one_in(2) {
            flags = 0x202;
        }
        let mut eip = self.random.of(&[0x2000, 0x2001, 0x3ffe, 0xfffe, 0xffff]);
        if self.random.one_in(8) && size == OperandSize::Bits32 {
            eip = self.random.of(&[0x1_0000, 0x3f_f000]);
        }
        if to_virtual || inside {
            cs = self.random.of(&[0x2000, 0x1100, 0x4567, 0xf000]);
            ss = self.random.word() as u16;
        }
        if to_virtual {
            flags |= 1 << 17;
        }
        self.used.extend([cs, ss]);
        let esp = if self.random.one_in(3) { self.random.word() } else { self.random.of(&TOPS) };
        let data: [u32; 4] = std::array::from_fn(|_| self.random.word());
        let words = [eip, cs.into(), flags, esp, ss.into(), data[0], data[1], data[2], data[3]];
        let state = self.state();
        let count = if to_virtual { 9 } else { 5 };
        let mut at = state.stack_address();
        for word in &words[..count] {
            if at >= ALIAS {
                at -= ALIAS;
            }
            let physical = at;
            match size {
                OperandSize::Bits32 => self.put_bytes(physical, &word.to_le_bytes()),
                OperandSize::Bits16 => self.put_bytes(physical, &word.to_le_bytes()[..2]),
            }
            at = at.wrapping_add(size.bytes());
        }
        // What the outer ring may not hold.
        if self.random.one_in(3) {
            let register = self.random.of(&[
                SegmentRegister::Ds,
                SegmentRegister::Es,
                SegmentRegister::Fs,
                SegmentRegister::Gs,
            ]);
            self.data_register(register);
        }
    }

    pub(super) fn put_bytes(&mut self, at: u32, bytes: &[u8]) {
        for (n, byte) in (0..).zip(bytes) {
            let at = at.wrapping_add(n);
            let shift = 8 * (at & 3);
            let word = self.word_at(at & !3) & !(0xff << shift) | u32::from(*byte) << shift;
            self.put(at & !3, word);
        }
    }

    pub(super) fn word_at(&self, at: u32) -> u32 {
        if at > RAM - 4 { 0 } else { self.word(at) }
    }

    pub(super) fn far(&mut self) {
        if let Some(flags) = self.known(Field::Eflags) {
            self.field(Field::Eflags, flags & !0x100);
        }
        let selector =
            if self.random.one_in(4) { self.random.of(&ODD) } else { self.random.of(&TASKS) };
        self.case.via =
            if self.random.one_in(2) { Via::Jump(selector) } else { Via::Call(selector) };
        if self.case.start == Start::Virtual8086 {
            self.case.start = Start::Ring0;
        }
        let ring = self.ring();
        if ring != 0 && !self.random.one_in(4) {
            // TSSs and the gate are open to the ring.
            for slot in [TSS_OTHER, TSS_SMALL, TASK_GATE] {
                let at = GDT + u32::from(slot);
                let bytes = self.eight(at) & !(3 << 45) | u64::from(ring) << 45;
                self.put_eight(at, bytes);
            }
        }
        self.task();
    }

    /// The current TSS links to a busy one.
    pub(super) fn task_link(&mut self) {
        let link = if self.random.one_in(4) {
            self.random.of(&ODD)
        } else {
            self.random.of(&[TSS_OTHER, TSS_SMALL])
        };
        self.put_two(TSS, link);
        if !self.random.one_in(6) && [TSS_OTHER, TSS_SMALL].contains(&link) {
            let at = GDT + u32::from(link);
            let bytes = self.eight(at) | 1 << 41;
            self.put_eight(at, bytes);
        }
        self.task();
    }

    /// A field of a task that may be switched to.
    pub(super) fn task(&mut self) {
        self.used.extend([TSS_OTHER, TSS_SMALL, LDT_SLOT, TASK_GATE]);
        let wide = !self.random.one_in(4);
        if !self.random.one_in(3) {
            // A fault in a new task whose segments are not loaded has to be handled by another one.
            let handler = if wide { TSS_SMALL } else { TSS_OTHER };
            for vector in [10, 11, 12, 13] {
                let gate = Gate {
                    kind: GateKind::Task,
                    selector: Selector(handler),
                    offset: 0,
                    dpl: 0,
                    present: true,
                };
                self.put_eight(IDT + 8 * vector, gate.encode());
            }
        }
        loop {
            let selector = if self.random.one_in(2) {
                self.random.of(&ODD)
            } else if self.random.one_in(2) {
                self.random.of(&CODES)
            } else {
                self.random.of(&STACKS)
            };
            let segment = self.random.below(6);
            match (self.random.below(8), wide) {
                (0..=2, true) => {
                    self.put(OTHER_TSS + 72 + 4 * segment, selector.into());
                    self.used.push(selector);
                }
                (0..=2, false) => {
                    self.put_two(TSS_16 + 34 + 2 * (segment & 3), selector);
                    self.used.push(selector);
                }
                (3, true) => {
                    let ring = self.random.of(&[1, 2, 3]);
                    let (code, data) = match ring {
                        1 => (CODE_1 | 1, DATA_1 | 1),
                        2 => (CODE_2 | 2, DATA_2 | 2),
                        _ => (CODE_3 | 3, DATA_3 | 3),
                    };
                    for register in 0..6 {
                        let selector = if register == 1 { code } else { data };
                        self.put(OTHER_TSS + 72 + 4 * register, selector.into());
                    }
                }
                (4, true) => {
                    let selector = self.random.of(&[0, 4, LDT_SLOT, LDT_SLOT | 4, BEYOND, DATA_0]);
                    self.put(OTHER_TSS + 96, selector.into());
                }
                (5, true) => {
                    let flags = self.random.word() & 0x003d_7fd5 | 2;
                    self.put(OTHER_TSS + 36, flags & !0x100);
                }
                (6, true) if self.random.one_in(2) => {
                    // A task in virtual-8086 mode.
                    self.put(OTHER_TSS + 36, 0x2_0202);
                    self.put(OTHER_TSS + 72 + 4, 0x2000);
                }
                (6, true) => self.put(OTHER_TSS + 100, 0x68_0001),
                (7, true) => {
                    if self.random.one_in(2) {
                        self.put(OTHER_TSS + 76, CODE_0_16.into());
                    }
                    let eip = self.random.of(&[0xffff, 0x1_0000, 0x6001]);
                    self.put(OTHER_TSS + 32, eip);
                }
                (4, false) => {
                    let selector = self.random.of(&[0, 4, LDT_SLOT, BEYOND]);
                    self.put_two(TSS_16 + 42, selector);
                }
                (5, false) => {
                    let flags = self.random.word() as u16 & 0x7cd5 | 0x202;
                    self.put_two(TSS_16 + 16, flags);
                }
                _ => {
                    let at = if wide { OTHER_TSS + 56 } else { TSS_16 + 26 };
                    let top = self.random.of(&TOPS);
                    if wide { self.put(at, top) } else { self.put_two(at, top as u16) }
                }
            }
            if !self.random.one_in(4) {
                break;
            }
        }
    }
}
