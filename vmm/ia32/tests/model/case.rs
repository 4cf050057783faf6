//! Bytes to a case: a state, memory and an operation. Property tests and fuzz targets make their
//! cases with it.
//!
//! Two ways: the lab's machine with a few things changed, which reaches deep, or a state and memory
//! that are nothing but the bytes, which reaches everywhere.

use crate::lab::*;
use ia32::{
    Descriptor, Eflags, FarTransfer, Gate, GateKind, General, Interruption, InterruptionKind, Iret,
    OperandSize, Operation, Processor, Segment, SegmentRegister, Selector, SoftwareInterrupt,
    State, TableRegister, Vector,
};

/// Bytes, and zeros behind them.
pub(crate) struct Source<'b> {
    bytes: &'b [u8],
}

impl<'b> Source<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Source { bytes }
    }

    pub(crate) fn u8(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.u8().is_multiple_of(n)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.u8()) % from.len()]
    }

    const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

const SELECTORS: [u16; 17] = [
    0,
    3,
    KERNEL_CODE,
    KERNEL_DATA,
    USER_CODE,
    USER_DATA,
    TSS_SELECTOR,
    OTHER_TSS_SELECTOR,
    TSS_16_SELECTOR,
    LDT_SELECTOR,
    CONFORMING,
    RING_1_CODE,
    RING_1_DATA,
    USER_DATA_16,
    LDT_DATA,
    SPARE,
    BEYOND,
];

fn selector(from: &mut Source<'_>) -> u16 {
    match from.u8() % 8 {
        0 => from.u16(),
        1 => from.pick(&SELECTORS) ^ u16::from(from.u8() & 7),
        _ => from.pick(&SELECTORS),
    }
}

fn offset(from: &mut Source<'_>) -> u32 {
    let near =
        from.pick(&[0, 0x1000, 0x7000, ESP0, USER_ESP, 0xffff, 0xffff_ffff, OTHER_TSS, 0xf000]);
    match from.u8() % 8 {
        0 => from.u32(),
        1..4 => near.wrapping_add_signed(i32::from(from.u8() as i8)),
        _ => near,
    }
}

fn attributes(from: &mut Source<'_>) -> u16 {
    let common =
        from.pick(&[CODE_0, DATA_0, CODE_3, DATA_3, 0x0093, 0x4097, 0xc09f, 0xc0ff, 0x89, 0x82]);
    match from.u8() % 4 {
        0 => from.u16(),
        1 => common ^ 1 << (from.u8() % 16),
        _ => common,
    }
}

fn vector(from: &mut Source<'_>) -> u8 {
    from.pick(&[0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 17, 0x30, 0x80, 0xff])
}

pub(crate) fn operation(from: &mut Source<'_>) -> Operation {
    let error_code = |vector: u8, from: &mut Source<'_>| {
        Vector(vector).has_error_code().then(|| u32::from(from.u16()))
    };
    let size = if from.bool() { OperandSize::Bits16 } else { OperandSize::Bits32 };
    match from.u8() % 16 {
        0..4 => Iret { size, length: 1 + from.u8() % 3 }.into(),
        4..6 => {
            let selector = match from.u8() % 4 {
                0 => selector(from),
                1 => SPARE | u16::from(from.u8() & 3),
                _ => from.pick(&[OTHER_TSS_SELECTOR, TSS_16_SELECTOR]),
            };
            FarTransfer { call: from.bool(), selector, length: 7 }.into()
        }
        6 => Interruption::int(vector(from)).into(),
        7 => from
            .pick(&[
                Interruption::int3(),
                Interruption::into(),
                Interruption::icebp(),
                Interruption::nmi(),
            ])
            .into(),
        8 => Interruption { repeating: from.bool(), ..Interruption::external(vector(from)) }.into(),
        9 => Interruption::double_fault().into(),
        10 => {
            let instruction = SoftwareInterrupt::IntN;
            let kind = InterruptionKind::Software { instruction, length: from.u8() };
            Interruption { kind, ..Interruption::int(vector(from)) }.into()
        }
        11 => Interruption {
            kind: InterruptionKind::InstructionBreakpoint,
            ..Interruption::trap(Vector::DB)
        }
        .into(),
        12 => Interruption { repeating: from.bool(), ..Interruption::trap(Vector(vector(from))) }
            .into(),
        _ => {
            let vector = vector(from);
            Interruption::fault(Vector(vector), error_code(vector, from)).into()
        }
    }
}

fn processor(from: &mut Source<'_>) -> Processor {
    let base = from.pick(&[Processor::INTEL, Processor::AMD]);
    let inner_stack_bytes = from.pick(&[6, 8]);
    Processor { inner_stack_bytes, pse36: from.bool(), physical_bits: 28 + from.u8() % 40, ..base }
}

/// The lab's machine with some things changed.
pub(crate) fn changed(bytes: &[u8]) -> (Lab, Operation) {
    let from = &mut Source::new(bytes);
    let mut lab = match from.u8() % 4 {
        0 => Lab::kernel(),
        1 => Lab::virtual_8086(u32::from(from.u8() & 3)),
        _ => Lab::user(),
    };
    if from.bool() {
        lab = lab.paged();
    }
    lab.processor = processor(from);
    let operation = operation(from);
    if matches!(operation, Operation::Iret(_)) {
        return_frame(&mut lab, from);
    }
    if from.one_in(4) {
        nest(&mut lab, from);
    }
    for _ in 0..16 {
        if from.is_empty() {
            break;
        }
        change(&mut lab, from);
    }
    (lab, operation)
}

fn return_frame(lab: &mut Lab, from: &mut Source<'_>) {
    let top = lab.state.stack_address();
    if top > 0xff00 {
        return;
    }
    let size = if from.bool() { 2 } else { 4 };
    let code = from.pick(&[KERNEL_CODE, USER_CODE, USER_CODE, RING_1_CODE, CONFORMING, SPARE]);
    let data =
        from.pick(&[KERNEL_DATA, USER_DATA, USER_DATA, USER_DATA_16, RING_1_DATA, SPARE | 3]);
    let eflags = from.pick(&[0x202, 0x2_0202, 0x3246, 0x1_4302]);
    let frame = [0x6100, code.into(), eflags, USER_ESP, data.into(), 0x100, 0x200, 0x300, 0x400];
    for (n, word) in (0..).zip(frame) {
        lab.write(top + n * size, size, word);
    }
}

/// NT, and a link to the other task.
fn nest(lab: &mut Lab, from: &mut Source<'_>) {
    lab.flags(Eflags::NT);
    let link = if from.one_in(4) { selector(from) } else { OTHER_TSS_SELECTOR };
    lab.write(TSS, 2, u32::from(link));
    lab.descriptor(OTHER_TSS_SELECTOR, Descriptor::new(OTHER_TSS, 103, 0x8b));
}

fn change(lab: &mut Lab, from: &mut Source<'_>) {
    match from.u8() % 22 {
        0 | 1 => {
            let kind = from.pick(&[
                GateKind::Task,
                GateKind::Interrupt16,
                GateKind::Trap16,
                GateKind::Interrupt32,
                GateKind::Trap32,
            ]);
            let (selector, offset) = (Selector(selector(from)), offset(from));
            let (dpl, present) = (from.u8() & 3, !from.one_in(8));
            lab.gate_as(vector(from), |gate| {
                *gate = Gate { kind, selector, offset, dpl, present };
            });
        }
        2 => {
            let kind = from.pick(&[OTHER_TSS_SELECTOR, TSS_16_SELECTOR]);
            lab.task_gate(vector(from), kind);
        }
        3 | 4 => {
            let limit = from.pick(&[0xf_ffff, 0xffff, 103, 43, 0x7fff, 0]);
            let base = from.pick(&[0, 0, OTHER_TSS, LDT, 0xf000]);
            let descriptor = Descriptor::new(base, limit, attributes(from));
            lab.descriptor(selector(from) & 0x78, descriptor);
        }
        5 => {
            let at = from.pick(&[TSS, OTHER_TSS, TSS_16]) + u32::from(from.u8() % 102);
            let width = from.pick(&[2, 4]);
            let value = if from.bool() { offset(from) } else { selector(from).into() };
            lab.write(at, width, value);
        }
        6 => {
            let register = from.pick(&SegmentRegister::ALL);
            lab.task_segment(register, selector(from));
        }
        7 => lab.state.general.esp = offset(from),
        8 => lab.state.eip = offset(from),
        9 => {
            let keep = lab.state.eflags & Eflags::VM;
            let flags = Eflags(from.u32()).without(Eflags::RESERVED_ZERO | Eflags::VM);
            lab.state.eflags = flags | keep | Eflags::FIXED;
        }
        10 => {
            let register = from.pick(&SegmentRegister::ALL) as usize;
            let (limit, attributes) = (offset(from), attributes(from));
            if from.bool() {
                lab.state.segments[register].limit = limit;
            } else if register != SegmentRegister::Cs as usize {
                lab.state.segments[register].attributes = attributes | 0x80;
            }
        }
        11 => {
            let entry = from.pick(&[0, 1, 3, 5, 7, 0x27, 0x67]);
            let page = u32::from(from.u8() & 15) << 12;
            lab.page(page, page | entry);
        }
        12 => {
            let entry = from.pick(&[0, 0x83, 0x87, 0x20_0087, 0xe7, TABLE | 5, TABLE | 3]);
            lab.write(DIRECTORY, 4, entry);
        }
        13 => match from.u8() % 8 {
            0 => lab.state.idtr.limit = from.u16() & 0x7ff,
            1 => lab.state.gdtr.limit = from.u16() & 0x7f,
            2 => lab.state.tr.limit = u32::from(from.u8() & 0x7f),
            3 => lab.state.ldtr = Segment::null(0),
            4 => lab.state.cr4 ^= 1 << (from.u8() % 24),
            5 => lab.state.tr = Descriptor::new(TSS_16, 43, 0x83).segment(TSS_16_SELECTOR),
            6 => lab.state.cr0 ^= 1 << 16,
            _ => lab.state.cr0 |= 1 << 18,
        },
        14 => {
            // One bit of a descriptor's access byte: type, S, DPL or P.
            let at = (GDT + u32::from(selector(from) & 0x78) + 5) as usize;
            lab.memory[at] ^= 1 << from.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 7, 7]);
        }
        15 => {
            // A word of the frame that an IRET pops.
            let at = lab.state.stack_address().wrapping_add(u32::from(from.u8() % 9) * 4);
            if at <= 0xff00 {
                let value = if from.bool() { offset(from) } else { selector(from).into() };
                lab.write(at, 4, value);
            }
        }
        16 => {
            // A task gate in the GDT, and a TSS in the LDT.
            let access = from.pick(&[0x85, 0xe5, 0x65]);
            lab.write(GDT + u32::from(SPARE), 4, u32::from(OTHER_TSS_SELECTOR) << 16);
            lab.write(GDT + u32::from(SPARE) + 4, 4, access << 8);
            lab.write(LDT + 8, 4, Descriptor::new(OTHER_TSS, 103, 0xe9).0 as u32);
            lab.write(LDT + 12, 4, (Descriptor::new(OTHER_TSS, 103, 0xe9).0 >> 32) as u32);
        }
        17 => {
            // The LDT and the T bit of the other task.
            let ldt = if from.bool() { LDT_SELECTOR } else { selector(from) };
            lab.write(OTHER_TSS + 96, 2, u32::from(ldt));
            lab.write(OTHER_TSS + 100, 2, u32::from(from.u8() & 1));
        }
        18 => {
            // Alignment checks, with handlers in ring 3.
            lab.state.cr0 |= 1 << 18;
            lab.flags(Eflags::AC);
            lab.state.general.esp ^= u32::from(from.u8() & 3);
            for vector in [17, vector(from)] {
                lab.gate(vector, GateKind::Trap32, USER_CODE, 3);
            }
        }
        19 => {
            // The stack segment of the other task, and of a frame that an IRET pops.
            let selector = SPARE | u16::from(from.u8() & 3);
            let attributes = from.pick(&[DATA_0, DATA_3, DATA_3 & !0x80, 0xc0b3]);
            lab.descriptor(SPARE, flat(attributes));
            lab.task_segment(SegmentRegister::Ss, selector);
            let at = lab.state.stack_address().wrapping_add(16);
            if at <= 0xff00 {
                lab.write(at, 4, selector.into());
            }
        }
        20 => {
            let at = u32::from(from.u16()) & 0xfffc;
            let value = from.u32();
            lab.write(at, 4, value);
        }
        _ => {
            let selector = selector(from);
            lab.write(TSS + 4 + 4 * u32::from(from.u8() % 6), 4, u32::from(selector));
        }
    }
}

/// A state and memory that are nothing but the bytes.
pub(crate) fn arbitrary(bytes: &[u8]) -> (Lab, Operation) {
    let from = &mut Source::new(bytes);
    let mut segment = || Segment {
        selector: from.u16(),
        attributes: from.u16(),
        base: from.u32(),
        limit: from.u32(),
    };
    let segments = std::array::from_fn(|_| segment());
    let (tr, ldtr) = (segment(), segment());
    let mut table = || TableRegister { base: from.u32(), limit: from.u16() };
    let (gdtr, idtr) = (table(), table());
    let state = State {
        general: General::from_array(std::array::from_fn(|_| from.u32())),
        eip: from.u32(),
        eflags: Eflags(from.u32()),
        segments,
        tr,
        ldtr,
        gdtr,
        idtr,
        cr0: from.u32() | 1,
        cr2: from.u32(),
        cr3: from.u32(),
        cr4: from.u32(),
        interrupt_shadow: from.u8(),
        nmi_blocked: from.bool(),
    };
    let (processor, operation) = (processor(from), operation(from));
    let memory = from.bytes.iter().copied().cycle().take(0x1_0000).collect();
    (Lab { memory, state, processor }, operation)
}
