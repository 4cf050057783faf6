//! A small machine to put questions to: 64 KiB of memory with all tables in it, and a state in ring
//! 0, ring 3 or virtual-8086 mode.
//!
//! ```text
//!  0000 IDT, 256 gates      2000 TSS of ring 0..2's stacks, current     3000 page directory
//!  1000 GDT                 2100 another 32-bit TSS                     4000 page table
//!  1800 LDT                 2200 a 16-bit TSS                           8000, 9000 stacks
//! ```

use ia32::{
    Descriptor, Eflags, Gate, GateKind, General, Interruption, Operation, Outcome, Owner,
    Processor, ReadMemory, Segment, SegmentRegister, Selector, State, TableRegister, Vector, Word,
};

pub(crate) const IDT: u32 = 0;
pub(crate) const GDT: u32 = 0x1000;
pub(crate) const LDT: u32 = 0x1800;
pub(crate) const TSS: u32 = 0x2000;
pub(crate) const OTHER_TSS: u32 = 0x2100;
pub(crate) const TSS_16: u32 = 0x2200;
pub(crate) const DIRECTORY: u32 = 0x3000;
pub(crate) const TABLE: u32 = 0x4000;
/// ESP0 in the current TSS.
pub(crate) const ESP0: u32 = 0x8000;
/// ESP in ring 3.
pub(crate) const USER_ESP: u32 = 0x9000;
/// Where handlers begin: this, plus the vector.
pub(crate) const HANDLER: u32 = 0x5000;

pub(crate) const KERNEL_CODE: u16 = 0x08;
pub(crate) const KERNEL_DATA: u16 = 0x10;
pub(crate) const USER_CODE: u16 = 0x1b;
pub(crate) const USER_DATA: u16 = 0x23;
pub(crate) const TSS_SELECTOR: u16 = 0x28;
pub(crate) const OTHER_TSS_SELECTOR: u16 = 0x30;
pub(crate) const TSS_16_SELECTOR: u16 = 0x38;
pub(crate) const LDT_SELECTOR: u16 = 0x40;
pub(crate) const CONFORMING: u16 = 0x48;
pub(crate) const RING_1_CODE: u16 = 0x51;
pub(crate) const RING_1_DATA: u16 = 0x59;
pub(crate) const KERNEL_DATA_16: u16 = 0x60;
pub(crate) const USER_DATA_16: u16 = 0x6b;
/// Free for a test's own descriptor.
pub(crate) const SPARE: u16 = 0x70;
/// In the LDT: a copy of the user's data segment.
pub(crate) const LDT_DATA: u16 = 0x0f;
/// Outside the GDT.
pub(crate) const BEYOND: u16 = 0x100;

/// Attributes of flat segments, accessed.
pub(crate) const CODE_0: u16 = 0xc09b;
pub(crate) const DATA_0: u16 = 0xc093;
pub(crate) const CODE_3: u16 = 0xc0fb;
pub(crate) const DATA_3: u16 = 0xc0f3;

pub(crate) struct Lab {
    pub(crate) memory: Vec<u8>,
    pub(crate) state: State,
    pub(crate) processor: Processor,
}

pub(crate) fn flat(attributes: u16) -> Descriptor {
    Descriptor::new(0, 0xf_ffff, attributes)
}

fn loaded(selector: u16, attributes: u16) -> Segment {
    flat(attributes).segment(selector)
}

impl Lab {
    /// Ring 0, on the stack that ends at [`ESP0`], no paging.
    pub(crate) fn kernel() -> Self {
        let data = loaded(KERNEL_DATA, DATA_0);
        let mut lab = Lab {
            memory: vec![0; 0x1_0000],
            state: State {
                general: General::from_array([1, 2, 3, 4, ESP0 - 0x100, 6, 7, 8]),
                eip: 0x6000,
                eflags: Eflags(0x202),
                segments: [data, loaded(KERNEL_CODE, CODE_0), data, data, data, data],
                tr: Segment { selector: TSS_SELECTOR, attributes: 0x8b, base: TSS, limit: 103 },
                ldtr: Segment { selector: LDT_SELECTOR, attributes: 0x82, base: LDT, limit: 0x1f },
                gdtr: TableRegister { base: GDT, limit: 0x7f },
                idtr: TableRegister { base: IDT, limit: 0x7ff },
                cr0: 0x0001_0011,
                cr3: DIRECTORY,
                ..State::default()
            },
            processor: Processor::INTEL,
        };
        lab.fill_tables();
        lab
    }

    fn fill_tables(&mut self) {
        for (selector, descriptor) in [
            (KERNEL_CODE, flat(CODE_0)),
            (KERNEL_DATA, flat(DATA_0)),
            (USER_CODE, flat(CODE_3)),
            (USER_DATA, flat(DATA_3)),
            (TSS_SELECTOR, Descriptor::new(TSS, 103, 0x8b)),
            (OTHER_TSS_SELECTOR, Descriptor::new(OTHER_TSS, 103, 0x89)),
            (TSS_16_SELECTOR, Descriptor::new(TSS_16, 43, 0x81)),
            (LDT_SELECTOR, Descriptor::new(LDT, 0x1f, 0x82)),
            (CONFORMING, flat(0xc09f)),
            (RING_1_CODE, flat(0xc0bb)),
            (RING_1_DATA, flat(0xc0b3)),
            (KERNEL_DATA_16, Descriptor::new(0, 0xffff, 0x0093)),
            (USER_DATA_16, Descriptor::new(0, 0xffff, 0x00f3)),
        ] {
            self.descriptor(selector, descriptor);
        }
        self.write(LDT + 8, 4, flat(DATA_3).0 as u32);
        self.write(LDT + 12, 4, (flat(DATA_3).0 >> 32) as u32);
        for vector in 0..=255 {
            self.gate(vector, GateKind::Interrupt32, KERNEL_CODE, 0);
        }
        self.write(TSS + 4, 4, ESP0);
        self.write(TSS + 8, 4, u32::from(KERNEL_DATA));
        self.write(TSS + 12, 4, ESP0 - 0x400);
        self.write(TSS + 16, 4, u32::from(RING_1_DATA));
        // A ring-0 task in the other TSS.
        self.write(OTHER_TSS + 28, 4, DIRECTORY);
        self.write(OTHER_TSS + 32, 4, 0x7000);
        self.write(OTHER_TSS + 36, 4, 0x46);
        for n in 0..8 {
            self.write(OTHER_TSS + 40 + 4 * n, 4, 0xa0 + n);
        }
        self.write(OTHER_TSS + 56, 4, 0x7800);
        for register in SegmentRegister::ALL {
            self.task_segment(register, KERNEL_DATA);
        }
        self.task_segment(SegmentRegister::Cs, KERNEL_CODE);
        // The same in the 16-bit one.
        self.write(TSS_16 + 14, 2, 0x7000);
        self.write(TSS_16 + 16, 2, 0x46);
        self.write(TSS_16 + 26, 2, 0x7800);
        for (n, selector) in
            [KERNEL_DATA, KERNEL_CODE, KERNEL_DATA_16, KERNEL_DATA].into_iter().enumerate()
        {
            self.write(TSS_16 + 34 + 2 * n as u32, 2, u32::from(selector));
        }
    }

    /// Ring 3, flat.
    pub(crate) fn user() -> Self {
        let mut lab = Lab::kernel();
        let data = loaded(USER_DATA, DATA_3);
        lab.state.segments = [data, loaded(USER_CODE, CODE_3), data, data, data, data];
        lab.state.general.esp = USER_ESP;
        lab
    }

    /// Virtual-8086 mode with the given IOPL.
    pub(crate) fn virtual_8086(iopl: u32) -> Self {
        let mut lab = Lab::user();
        lab.state.eflags = Eflags(0x2_0202 | iopl << 12);
        lab.state.segments = [0x100, 0x200, 0x300, 0x400, 0x500, 0x600].map(Segment::virtual_8086);
        lab.state.eip = 0x10;
        lab.state.general.esp = 0x80;
        lab
    }

    /// Paging on, with everything mapped one to one, for ring 3 too, nothing accessed yet.
    pub(crate) fn paged(mut self) -> Self {
        self.state.cr0 |= 1 << 31;
        self.write(DIRECTORY, 4, TABLE | 7);
        for page in 0..16 {
            self.write(TABLE + 4 * page, 4, page << 12 | 7);
        }
        self
    }

    pub(crate) fn page(&mut self, linear: u32, entry: u32) {
        self.write(TABLE + 4 * (linear >> 12), 4, entry);
    }

    pub(crate) fn write(&mut self, at: u32, width: u32, value: u32) {
        let (at, width) = (at as usize, width as usize);
        self.memory[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    pub(crate) fn read(&self, at: u32) -> u32 {
        self.memory.as_slice().read_u32(u64::from(at))
    }

    pub(crate) fn descriptor(&mut self, selector: u16, descriptor: Descriptor) {
        let at = GDT + Selector(selector).offset();
        self.write(at, 4, descriptor.0 as u32);
        self.write(at + 4, 4, (descriptor.0 >> 32) as u32);
    }

    pub(crate) fn gate(&mut self, vector: u8, kind: GateKind, selector: u16, dpl: u8) {
        self.gate_as(vector, |gate| {
            *gate = Gate {
                kind,
                selector: Selector(selector),
                offset: HANDLER + u32::from(vector),
                dpl,
                present: true,
            };
        });
    }

    /// Changes the gate of a vector.
    pub(crate) fn gate_as(&mut self, vector: u8, change: impl FnOnce(&mut Gate)) {
        let at = IDT + 8 * u32::from(vector);
        let mut gate = Gate::decode(u64::from(self.read(at + 4)) << 32).unwrap_or(Gate {
            kind: GateKind::Interrupt32,
            selector: Selector(0),
            offset: 0,
            dpl: 0,
            present: false,
        });
        gate.selector = Selector((self.read(at) >> 16) as u16);
        gate.offset |= self.read(at) & 0xffff;
        change(&mut gate);
        self.write(at, 4, gate.encode() as u32);
        self.write(at + 4, 4, (gate.encode() >> 32) as u32);
    }

    /// A task gate to the other 32-bit task.
    pub(crate) fn task_gate(&mut self, vector: u8, tss: u16) {
        self.gate(vector, GateKind::Task, tss, 3);
    }

    /// The selector in the other task's TSS.
    pub(crate) fn task_segment(&mut self, register: SegmentRegister, selector: u16) {
        self.write(OTHER_TSS + 72 + 4 * register as u32, 4, u32::from(selector));
    }

    /// SS0 of the current TSS.
    pub(crate) fn ss0(&mut self, selector: u16) {
        self.write(TSS + 8, 4, u32::from(selector));
    }

    pub(crate) fn flags(&mut self, flags: Eflags) {
        self.state.eflags = self.state.eflags | flags;
    }

    pub(crate) fn take(&self, operation: impl Into<Operation>) -> Outcome {
        ia32::take(&self.state, self.memory.as_slice(), operation, &self.processor)
    }

    pub(crate) fn attempt(&self, operation: impl Into<Operation>) -> Outcome {
        ia32::attempt(&self.state, self.memory.as_slice(), operation, &self.processor)
    }

    /// The fault that an operation raises first.
    #[track_caller]
    pub(crate) fn refused(&self, operation: impl Into<Operation>) -> (Vector, u32) {
        let outcome = self.attempt(operation);
        match outcome.fault() {
            Some(fault) => {
                assert_eq!(outcome.unspecified, None, "{fault:?}");
                assert!(outcome.path().contains(fault.branch));
                (fault.vector, fault.error_code)
            }
            None => panic!("no fault:\n{}", ia32::explain(&self.state, &outcome)),
        }
    }

    /// The outcome of an operation that goes through.
    #[track_caller]
    pub(crate) fn done(&self, operation: impl Into<Operation>) -> Outcome {
        let outcome = self.attempt(operation);
        let text = ia32::explain(&self.state, &outcome);
        assert!(outcome.is_completed() && outcome.unspecified.is_none(), "{text}");
        outcome
    }

    /// Memory after the outcome's writes.
    pub(crate) fn after(&self, outcome: &Outcome) -> Vec<u8> {
        let mut memory = self.memory.clone();
        outcome.writes.apply(memory.as_mut_slice());
        memory
    }

    /// The lab in the state after an outcome.
    pub(crate) fn then(&self, outcome: &Outcome) -> Lab {
        Lab { memory: self.after(outcome), state: outcome.state, processor: self.processor }
    }

    /// Makes frame words at ESP, lowest first.
    pub(crate) fn stack(&mut self, words: &[u32]) {
        let esp = self.state.general.esp;
        for (n, word) in (0..).zip(words) {
            self.write(esp + 4 * n, 4, *word);
        }
    }
}

/// The words that were pushed, lowest address first: which, where, and the value.
pub(crate) fn frame(outcome: &Outcome) -> Vec<(Word, u32, u32)> {
    let mut words: Vec<_> = outcome
        .writes
        .iter()
        .filter(|write| write.certain)
        .filter_map(|write| match write.owner {
            Owner::Pushed(word) => Some((word, write.linear, write.value)),
            _ => None,
        })
        .collect();
    words.reverse();
    words
}

/// The pushed value of one word.
pub(crate) fn pushed(outcome: &Outcome, word: Word) -> Option<u32> {
    frame(outcome).into_iter().find(|(found, ..)| *found == word).map(|(.., value)| value)
}

/// An error code that refers to the IDT.
pub(crate) const fn idt(vector: u8, ext: u32) -> u32 {
    vector as u32 * 8 + 2 + ext
}

/// Events of each kind, with their EXT, through vector 0x30 where they may choose.
pub(crate) fn events() -> [(Interruption, u32); 4] {
    [
        (Interruption::int(0x30), 0),
        (Interruption::external(0x30), 1),
        (Interruption::nmi(), 1),
        (Interruption::fault(Vector::UD, None), 1),
    ]
}
