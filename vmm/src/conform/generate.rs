//! Random cases: valid ones and hostile ones, near each decision of the model.
//!
//! A case starts plain; then a few things are changed, each in the way in which it decides
//! something: an attribute of a descriptor that the event uses, a limit at the last byte that is
//! still enough, a stack pointer at the end of a page, an entry of the page table. Numbers drawn
//! evenly from 32 bits would fail the first check each time.

use super::case::Case;
use super::field::{Field, Part};
use super::layout::*;
use super::random::Random;
use super::start::{STARTS, Start};
use super::via::{INJECTED, Via};
use ia32::{Descriptor, Gate, GateKind, Memory, OperandSize, SegmentRegister, Selector, State, Table};

/// Segments that a code selector may name, good ones first.
const CODES: [u16; 11] = [
    CODE_0, CODE_3 | 3, CODE_1 | 1, CODE_2 | 2, CONFORMING_0, CONFORMING_3 | 3, CODE_0_16,
    CODE_3_16 | 3, 0x0c, 0x1f, 0x3c,
];
const STACKS: [u16; 12] = [
    DATA_0, DATA_3 | 3, DATA_1 | 1, DATA_2 | 2, DATA_0_16, DATA_3_16 | 3, EXPAND_DOWN_0,
    EXPAND_DOWN_3 | 3, 0x14, 0x07, 0x27, 0x14,
];
/// Selectors that are wrong in most places.
const ODD: [u16; 18] = [
    0, 1, 3, 4, BEYOND, 0xe8, 0x44, TSS_CURRENT, TSS_OTHER, LDT_SLOT, TASK_GATE, CALL_GATE,
    READ_ONLY_0, ABSENT | 3, ABSENT_STACKS, ABSENT_STACKS + 0x1b, 0x2c, 0x34,
];
const TASKS: [u16; 6] = [TSS_OTHER, TSS_SMALL, TSS_OTHER, TSS_CURRENT, TASK_GATE, 0x2c];
/// Where a stack may end: within a page, at its end, across it, unaligned, near 0.
const TOPS: [u32; 16] = [
    ESP_0, STACK_0 + 0x1000, STACK_0 + 0x1004, STACK_0 + 0x1002, STACK_0 + 0x100a, STACK_0 + 0x1010,
    STACK_0 + 0x1014, STACK_0 + 0x0fff, ESP_0 - 1, STACK_3 + 0x1000, STACK_3 + 0x1006, 0, 4, 8, 0x10,
    0xffff_fffc,
];
/// Flags worth a change, one by one.
const FLAGS: [u32; 17] = [
    1, 4, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x1_0000, 0x4_0000,
    0x8_0000, 0x10_0000, 0x20_0000,
];
/// Faults that a delivery may raise.
const SECOND: [u8; 8] = [8, 10, 11, 12, 13, 14, 17, 1];

/// Draws the cases of a run.
#[derive(Debug)]
pub(super) struct Generator {
    plain: Vec<u8>,
    seed: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Generator { plain: memory(), seed }
    }

    /// Case `number` of the run.
    pub(super) fn case(&self, number: u64) -> Case {
        let mut draft = Draft { random: Random::new(self.seed, number), plain: &self.plain, case: Case::new(Start::Ring0, Via::Int3), used: Vec::new() };
        draft.draw();
        draft.case
    }
}

struct Draft<'g> {
    random: Random,
    plain: &'g [u8],
    case: Case,
    /// Selectors that the event probably loads.
    used: Vec<u16>,
}

impl Draft<'_> {
    fn draw(&mut self) {
        self.case.start = self.random.of(&STARTS).1;
        if self.random.one_in(3) {
            self.case.start = Start::Ring3;
        }
        self.flags();
        if self.random.one_in(3) {
            self.paging();
        }
        match self.random.below(10) {
            0..=5 => self.event(),
            6..=8 => self.iret(),
            _ => self.far(),
        }
        while self.random.one_in(2) {
            self.change();
        }
    }

    // What is changed.

    fn field(&mut self, field: Field, value: u32) {
        match self.case.fields.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = value,
            None => self.case.fields.push((field, value)),
        }
    }

    fn known(&self, field: Field) -> Option<u32> {
        self.case.fields.iter().find(|(known, _)| *known == field).map(|(_, value)| *value)
    }

    fn word(&self, at: u32) -> u32 {
        let changed = self.case.words.iter().find(|(known, _)| *known == at);
        changed.map_or_else(|| self.plain.read_u32(at.into()), |(_, word)| *word)
    }

    fn put(&mut self, at: u32, word: u32) {
        if at > RAM - 4 {
            return;
        }
        match self.case.words.iter_mut().find(|(known, _)| *known == at) {
            Some((_, known)) => *known = word,
            None => self.case.words.push((at, word)),
        }
    }

    fn put_two(&mut self, at: u32, value: u16) {
        let shift = 8 * (at & 2);
        let at = at & !3;
        let word = self.word(at) & !(0xffff << shift) | u32::from(value) << shift;
        self.put(at, word);
    }

    fn put_eight(&mut self, at: u32, value: u64) {
        self.put(at, value as u32);
        self.put(at + 4, (value >> 32) as u32);
    }

    fn eight(&self, at: u32) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    // How things stand in the source.

    fn state(&self) -> State {
        let mut memory = self.plain.to_vec();
        self.case.prepare(&mut memory)
    }

    fn ring(&self) -> u8 {
        match self.case.start {
            Start::Ring0 => 0,
            Start::Ring1 => 1,
            Start::Ring2 => 2,
            Start::Ring3 | Start::Virtual8086 => 3,
        }
    }

    // The source.

    fn flags(&mut self) {
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

    fn paging(&mut self) {
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
                self.put(TABLE + 4 * page, page * PAGE | 0x63);
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
    fn alias(&mut self) {
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
    fn page(&mut self) {
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
            self.put(TABLE + 4 * page, page * PAGE | bits);
        }
    }

    // The event.

    fn event(&mut self) {
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
            self.put(TABLE + 4 * page, page * PAGE | bits);
        }
        let vector = self.vector();
        let good = !self.random.one_in(3);
        self.gate(vector, good);
        if self.random.one_in(3) {
            self.inner_stack();
        }
    }

    /// The vector that is delivered first.
    fn vector(&self) -> u8 {
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
    fn gate(&mut self, vector: u8, good: bool) {
        let mut kind = self.random.of(&[
            GateKind::Interrupt32, GateKind::Trap32, GateKind::Interrupt32, GateKind::Trap32,
            GateKind::Interrupt16, GateKind::Trap16, GateKind::Task,
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
        let gate = Gate { kind, selector: Selector(selector), offset: handler(vector), dpl, present };
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
    fn inner_stack(&mut self) {
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
            let selector = if self.random.one_in(2) {
                self.random.of(&STACKS)
            } else {
                self.random.of(&ODD)
            };
            self.put(at + 4, selector.into());
            self.used.push(selector);
        }
        if self.random.one_in(6) {
            let limit = at - TSS + self.random.of(&[0, 3, 4, 5, 6, 7, 8]);
            self.field(Field::Tr(Part::Limit), limit);
        }
    }

    // Returns and far transfers.

    fn iret(&mut self) {
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

    fn frame(&mut self, size: OperandSize) {
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
        let words =
            [eip, cs.into(), flags, esp, ss.into(), data[0], data[1], data[2], data[3]];
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
                SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs,
            ]);
            self.data_register(register);
        }
    }

    fn put_bytes(&mut self, at: u32, bytes: &[u8]) {
        for (n, byte) in (0..).zip(bytes) {
            let at = at.wrapping_add(n);
            let shift = 8 * (at & 3);
            let word = self.word_at(at & !3) & !(0xff << shift) | u32::from(*byte) << shift;
            self.put(at & !3, word);
        }
    }

    fn word_at(&self, at: u32) -> u32 {
        if at > RAM - 4 { 0 } else { self.word(at) }
    }

    fn far(&mut self) {
        if let Some(flags) = self.known(Field::Eflags) {
            self.field(Field::Eflags, flags & !0x100);
        }
        let selector = if self.random.one_in(4) {
            self.random.of(&ODD)
        } else {
            self.random.of(&TASKS)
        };
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
    fn task_link(&mut self) {
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
    fn task(&mut self) {
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

    // Changes to anything.

    fn change(&mut self) {
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
                    SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs,
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
                let limit = self.random.of(&[TSS_LIMIT, 0x5f, 0x5d, 0x5e, 0x60, 11, 10, 9, 8, 7, 0x2b]);
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
    fn descriptor(&mut self) {
        let slot = self.random.of(&[
            CODE_0, CODE_0, DATA_0, DATA_0, CODE_3, DATA_3, TSS_OTHER, TSS_SMALL, LDT_SLOT,
            CONFORMING_0, DATA_1, CODE_1, DATA_0_16, TSS_CURRENT, TASK_GATE, CODE_2, DATA_2,
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
                    0xffff, 0x9fff, 0x97ff, 0x97fe, 0x97f0, 0x93ff, 0x2000, 0x1fff, 103, 102, 43, 42, 0x5f, 0,
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
    fn source_stack(&mut self) {
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
            let limit = esp.wrapping_add(self.random.of(&[0, 1, 3, 7, 11, 12, 19, 0u32.wrapping_sub(1), 0u32.wrapping_sub(5)]));
            if limit <= 0xf_ffff {
                self.field(Field::Segment(SegmentRegister::Ss, Part::Limit), limit);
            }
        }
        if self.random.one_in(8) && self.state().paging() {
            self.field(Field::Segment(SegmentRegister::Ss, Part::Base), ALIAS);
        }
    }

    /// 16-bit or conforming code at the source, or code at the end of its segment.
    fn source_code(&mut self) {
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
    fn data_register(&mut self, register: SegmentRegister) {
        let selector = if self.case.start == Start::Virtual8086 {
            self.random.word() as u16
        } else {
            self.random.of(&[0, 3, DATA_0, DATA_3 | 3, DATA_3_16 | 3, CONFORMING_0, 0x07, DATA_2 | 2, CODE_3 | 3, CONFORMING_3 | 3])
        };
        self.field(Field::Segment(register, Part::Loaded), selector.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::world::World;
    use ia32::{Path, Processor};

    #[test]
    fn cases_repeat_and_their_text_says_all() {
        let generator = Generator::new(1);
        for number in 0..2000 {
            let case = generator.case(number);
            assert_eq!(case, generator.case(number));
            assert_eq!(case.to_string().parse(), Ok(case));
        }
    }

    #[test]
    fn most_cases_can_be_run() {
        let generator = Generator::new(2);
        let mut world = World::new();
        let mut reasons = std::collections::BTreeMap::new();
        let mut path = Path::EMPTY;
        const CASES: u64 = 20_000;
        let mut fit = 0;
        for number in 0..CASES {
            match world.prepare(&generator.case(number), &Processor::AMD) {
                Ok(expectation) => {
                    fit += 1;
                    path = path.union(expectation.path());
                }
                Err(unfit) => *reasons.entry(unfit).or_insert(0) += 1,
            }
            world.undo(|_, _| ());
        }
        assert_eq!(world.memory, memory());
        let missing: Vec<_> = ia32::Branch::ALL
            .iter()
            .filter(|branch| !path.contains(**branch))
            .map(|branch| branch.name())
            .collect();
        println!("{fit} of {CASES}; {reasons:?}; never: {missing:?}");
        assert!(fit > CASES / 2, "{fit} of {CASES}: {reasons:?}");
        assert!(missing.len() < 20, "{missing:?}");
    }
}
