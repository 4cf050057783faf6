//! Where things lie in the world of a case, and what is in them before the case changes anything.
//!
//! One page for one purpose, each with the next page behind it where something may run over its end:
//! ```text
//!  0000 IDT                    7000 the source's code     d000 page directory
//!  1000 GDT                    8000 ring 0's stack        e000 its page table
//!  2000 LDT                    a000 ring 3's stack        f000 the other tasks' page directory
//!  3000 the current TSS        c000 rings 1's and 2's    10000 page table of the landing area
//!  5000 other TSSs                                       11000 end of RAM
//! ```
//! With paging on, linear 0 to 10ffff and c0000000 to c010ffff are these same physical addresses, and
//! with CR4.PSE 800000 to bfffff too. Linear 400000 to 7fffff is the landing area: code is entered
//! there, and there is no RAM. So is everything from 11000 up without paging, which is where
//! virtual-8086 code is entered.

use ia32::{Descriptor, Gate, GateKind, Selector};

pub(super) const PAGE: u32 = 0x1000;
pub(super) const IDT: u32 = 0;
pub(super) const GDT: u32 = 0x1000;
pub(super) const LDT: u32 = 0x2000;
pub(super) const TSS: u32 = 0x3000;
pub(super) const OTHER_TSS: u32 = 0x5000;
pub(super) const TSS_16: u32 = 0x5800;
pub(super) const CODE: u32 = 0x7000;
pub(super) const STACK_0: u32 = 0x8000;
pub(super) const STACK_3: u32 = 0xa000;
pub(super) const STACK_1: u32 = 0xc000;
pub(super) const DIRECTORY: u32 = 0xd000;
pub(super) const TABLE: u32 = 0xe000;
pub(super) const OTHER_DIRECTORY: u32 = 0xf000;
pub(super) const LANDING_TABLE: u32 = 0x1_0000;
/// Bytes of RAM.
pub(super) const RAM: u32 = 0x1_1000;

/// Linear address of the landing area, and base of the descriptors of code segments.
pub(super) const LANDING: u32 = 0x40_0000;
/// Linear addresses at which RAM shows once more, under paging.
pub(super) const ALIAS: u32 = 0xc000_0000;
/// The same in a page of 4 MiB.
pub(super) const LARGE_ALIAS: u32 = 0x80_0000;

/// ESP0 of the current TSS.
pub(super) const ESP_0: u32 = STACK_0 + 0x1800;
pub(super) const ESP_1: u32 = STACK_1 + 0xc00;
pub(super) const ESP_2: u32 = STACK_1 + 0x800;
/// ESP of the source in ring 0 and in ring 3.
pub(super) const SOURCE_ESP_0: u32 = STACK_0 + 0x1400;
pub(super) const SOURCE_ESP_3: u32 = STACK_3 + 0x1800;
/// EIP of the source.
pub(super) const SOURCE: u32 = CODE + 0x800;

/// Slots of the GDT.
pub(super) const CODE_0: u16 = 0x08;
pub(super) const DATA_0: u16 = 0x10;
pub(super) const CODE_3: u16 = 0x18;
pub(super) const DATA_3: u16 = 0x20;
pub(super) const TSS_CURRENT: u16 = 0x28;
pub(super) const TSS_OTHER: u16 = 0x30;
pub(super) const TSS_SMALL: u16 = 0x38;
pub(super) const LDT_SLOT: u16 = 0x40;
pub(super) const CONFORMING_0: u16 = 0x48;
pub(super) const CODE_1: u16 = 0x50;
pub(super) const DATA_1: u16 = 0x58;
pub(super) const CODE_2: u16 = 0x60;
pub(super) const DATA_2: u16 = 0x68;
pub(super) const DATA_0_16: u16 = 0x70;
pub(super) const DATA_3_16: u16 = 0x78;
pub(super) const CODE_0_16: u16 = 0x80;
pub(super) const CODE_3_16: u16 = 0x88;
pub(super) const CONFORMING_3: u16 = 0x90;
pub(super) const EXPAND_DOWN_0: u16 = 0x98;
pub(super) const EXPAND_DOWN_3: u16 = 0xa0;
pub(super) const TASK_GATE: u16 = 0xa8;
pub(super) const CALL_GATE: u16 = 0xb0;
pub(super) const READ_ONLY_0: u16 = 0xb8;
/// Absent data segments: of ring 3, and one for each ring.
pub(super) const ABSENT: u16 = 0xc0;
pub(super) const ABSENT_STACKS: u16 = 0xc8;
/// Bytes of the GDT.
pub(super) const GDT_SIZE: u16 = 0xe8;
/// A selector outside the GDT.
pub(super) const BEYOND: u16 = 0xfff8;
/// Bytes of the LDT.
pub(super) const LDT_SIZE: u16 = 0x40;

/// Offset of the last byte of a 32-bit and of a 16-bit TSS.
pub(super) const TSS_LIMIT: u32 = 103;
pub(super) const TSS_16_LIMIT: u32 = 43;

/// What memory is filled with: HLT, so that code entered by mistake stops soon.
const FILL: u8 = 0xf4;
/// Present, writable, ring 3's, accessed, dirty.
pub(super) const OPEN_PAGE: u32 = 0x67;

const FLAT: u32 = 0xf_ffff;

/// The slots of the GDT with what they hold.
pub(super) const SLOTS: [(u16, Descriptor); 28] = [
    (CODE_0, Descriptor::new(LANDING, FLAT, 0xc09b)),
    (DATA_0, Descriptor::new(0, FLAT, 0xc093)),
    (CODE_3, Descriptor::new(LANDING, FLAT, 0xc0fb)),
    (DATA_3, Descriptor::new(0, FLAT, 0xc0f3)),
    (TSS_CURRENT, Descriptor::new(TSS, TSS_LIMIT, 0x008b)),
    (TSS_OTHER, Descriptor::new(OTHER_TSS, TSS_LIMIT, 0x0089)),
    (TSS_SMALL, Descriptor::new(TSS_16, TSS_16_LIMIT, 0x0081)),
    (LDT_SLOT, Descriptor::new(LDT, LDT_SIZE as u32 - 1, 0x0082)),
    (CONFORMING_0, Descriptor::new(LANDING, FLAT, 0xc09f)),
    (CODE_1, Descriptor::new(LANDING, FLAT, 0xc0bb)),
    (DATA_1, Descriptor::new(0, FLAT, 0xc0b3)),
    (CODE_2, Descriptor::new(LANDING, FLAT, 0xc0db)),
    (DATA_2, Descriptor::new(0, FLAT, 0xc0d3)),
    (DATA_0_16, Descriptor::new(0, 0xffff, 0x0093)),
    (DATA_3_16, Descriptor::new(0, 0xffff, 0x00f3)),
    (CODE_0_16, Descriptor::new(LANDING, 0xffff, 0x009b)),
    (CODE_3_16, Descriptor::new(LANDING, 0xffff, 0x00fb)),
    (CONFORMING_3, Descriptor::new(LANDING, FLAT, 0xc0ff)),
    (EXPAND_DOWN_0, Descriptor::new(0, 0x0, 0xc097)),
    (EXPAND_DOWN_3, Descriptor::new(0, 0x0fff, 0x40f7)),
    (TASK_GATE, Descriptor(0x0000_e500_0030_0000)),
    (CALL_GATE, Descriptor(0x0000_ec00_0008_2000)),
    (READ_ONLY_0, Descriptor::new(0, FLAT, 0xc091)),
    (ABSENT, Descriptor::new(0, FLAT, 0xc073)),
    (ABSENT_STACKS, Descriptor::new(0, FLAT, 0xc013)),
    (ABSENT_STACKS + 0x08, Descriptor::new(0, FLAT, 0xc033)),
    (ABSENT_STACKS + 0x10, Descriptor::new(0, FLAT, 0xc053)),
    (ABSENT_STACKS + 0x18, Descriptor::new(0, FLAT, 0xc073)),
];

/// What the LDT holds, slot by slot.
const LOCAL: [Descriptor; 8] = [
    Descriptor::new(0, FLAT, 0xc0f3),
    Descriptor::new(LANDING, FLAT, 0xc09b),
    Descriptor::new(0, FLAT, 0xc093),
    Descriptor::new(LANDING, FLAT, 0xc0fb),
    Descriptor::new(0, 0xffff, 0x00f2),
    Descriptor::new(OTHER_TSS, TSS_LIMIT, 0x0089),
    Descriptor(0x0000_e500_0030_0000),
    Descriptor::new(LANDING, FLAT, 0xc09e),
];

/// Where the handler of a vector begins, as an offset in its segment.
pub(super) const fn handler(vector: u8) -> u32 {
    0x2000 + vector as u32 * 0x10
}

/// RAM before a case changes it.
pub(super) fn memory() -> Vec<u8> {
    let mut world = World(vec![FILL; RAM as usize]);
    world.zero(IDT, TSS_16 + PAGE);
    for vector in 0..=255 {
        let gate = Gate {
            kind: GateKind::Interrupt32,
            selector: Selector(CODE_0),
            offset: handler(vector),
            dpl: if vector < 32 { 0 } else { 3 },
            present: true,
        };
        world.eight(IDT + 8 * u32::from(vector), gate.encode());
    }
    for (slot, descriptor) in SLOTS {
        world.eight(GDT + u32::from(slot), descriptor.0);
    }
    for (slot, descriptor) in (0..).zip(LOCAL) {
        world.eight(LDT + 8 * slot, descriptor.0);
    }
    for tss in [TSS, OTHER_TSS] {
        world.words(tss, &[0, ESP_0, DATA_0.into(), ESP_1, u32::from(DATA_1) | 1, ESP_2]);
        world.words(tss + 24, &[u32::from(DATA_2) | 2, OTHER_DIRECTORY, 0x6000, 0x2]);
        world.words(tss + 40, &[0xe0e0_0000, 0xe0e0_0001, 0xe0e0_0002, 0xe0e0_0003]);
        world.words(tss + 56, &[STACK_0 + 0x800, 0xe0e0_0005, 0xe0e0_0006, 0xe0e0_0007]);
        let data = u32::from(DATA_0);
        world.words(tss + 72, &[data, CODE_0.into(), data, data, data, data]);
        world.words(tss + 96, &[LDT_SLOT.into(), 0x68 << 16]);
    }
    let data = DATA_0;
    for (offset, value) in (0..).step_by(2).zip([
        0,
        ESP_0 as u16,
        data,
        ESP_1 as u16,
        DATA_1 | 1,
        ESP_2 as u16,
        DATA_2 | 2,
        0x6000,
        0x2,
        0xe000,
        0xe001,
        0xe002,
        0xe003,
        STACK_0 as u16 + 0x800,
        0xe005,
        0xe006,
        0xe007,
        data,
        // A stack of 16 bits: the upper half of ESP is not known in a 16-bit task.
        CODE_0,
        DATA_0_16,
        data,
        LDT_SLOT,
    ]) {
        world.two(TSS_16 + offset, value);
    }
    for directory in [DIRECTORY, OTHER_DIRECTORY] {
        world.zero(directory, directory + PAGE);
        for (linear, entry) in [
            (0, TABLE | OPEN_PAGE),
            (LANDING, LANDING_TABLE | OPEN_PAGE),
            (LARGE_ALIAS, 0x80 | OPEN_PAGE),
            (ALIAS, TABLE | OPEN_PAGE),
        ] {
            world.words(directory + (linear >> 22) * 4, &[entry]);
        }
    }
    world.zero(TABLE, TABLE + PAGE);
    for page in 0..0x110 {
        world.words(TABLE + 4 * page, &[(page * PAGE) | OPEN_PAGE]);
    }
    for page in 0..0x400 {
        world.words(LANDING_TABLE + 4 * page, &[(LANDING + page * PAGE) | OPEN_PAGE]);
    }
    world.0
}

struct World(Vec<u8>);

impl World {
    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.0[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }
    fn zero(&mut self, from: u32, to: u32) {
        self.0[from as usize..to as usize].fill(0);
    }
    fn two(&mut self, at: u32, value: u16) {
        self.put(at, &value.to_le_bytes());
    }
    fn eight(&mut self, at: u32, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
    fn words(&mut self, at: u32, words: &[u32]) {
        for (n, word) in (0..).zip(words) {
            self.put(at + 4 * n, &word.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ia32::{ReadMemory, TssWidth};

    #[test]
    fn tables_and_tasks_lie_where_the_drawing_says() {
        let memory = memory();
        assert_eq!(memory.len(), RAM as usize);
        let read = |at: u32| memory.read_u32(at.into());
        let slot = TssWidth::Bits32.layout();
        assert_eq!(read(OTHER_TSS + slot.eip), 0x6000);
        assert_eq!(read(TSS + 4), ESP_0);
        let small = TssWidth::Bits16.layout();
        assert_eq!(read(TSS_16 + small.ldt) & 0xffff, u32::from(LDT_SLOT));
        assert_eq!(read(TSS_16 + small.segments + 2) & 0xffff, u32::from(CODE_0));
        assert_eq!(read(DIRECTORY), TABLE | OPEN_PAGE);
    }

    #[test]
    fn all_slots_lie_within_the_table() {
        assert!(SLOTS.iter().all(|(slot, _)| slot + 7 < GDT_SIZE));
    }
}
