//! Builds a small machine in memory and explains, step by step, how one event enters it.
//!
//! ```text
//! cargo run -p ia32 --example explain                 int 80H from ring 3
//! cargo run -p ia32 --example explain -- page-fault   the kernel stack is not mapped
//! ```

use ia32::{
    Descriptor, Eflags, Gate, GateKind, General, Interruption, Processor, ReadMemory, Segment,
    Selector, State, TableRegister, WriteMemory,
};

const IDT: u32 = 0;
const GDT: u32 = 0x1000;
const TSS: u32 = 0x2000;
const DIRECTORY: u32 = 0x3000;
const TABLE: u32 = 0x4000;
const ESP0: u32 = 0x8000;
const HANDLER: u32 = 0x5000;

const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const USER_CODE: u16 = 0x1b;
const USER_DATA: u16 = 0x23;

/// Flat segments that have been used already.
const FLAT: [(u16, u16); 4] =
    [(KERNEL_CODE, 0xc09b), (KERNEL_DATA, 0xc093), (USER_CODE, 0xc0fb), (USER_DATA, 0xc0f3)];

fn main() {
    let stack_is_mapped = match std::env::args().nth(1).as_deref() {
        None => true,
        Some("page-fault") => false,
        Some(other) => {
            eprintln!("{other:?} is not known: say nothing, or page-fault");
            std::process::exit(2);
        }
    };
    let memory = machine(stack_is_mapped);
    let before = ring_3(memory.as_slice());
    let outcome =
        ia32::take(&before, memory.as_slice(), Interruption::int(0x80), &Processor::INTEL);
    print!("{}", ia32::explain(&before, &outcome));
}

/// 64 KiB: tables, a gate for each vector, and a page table that maps all of it one to one.
fn machine(stack_is_mapped: bool) -> Vec<u8> {
    let mut memory = vec![0; 0x1_0000];
    for vector in 0..256 {
        let gate = Gate {
            kind: GateKind::Trap32,
            selector: Selector(KERNEL_CODE),
            offset: HANDLER + 16 * vector,
            dpl: if vector == 0x80 { 3 } else { 0 },
            present: true,
        };
        store(&mut memory, IDT + 8 * vector, &gate.encode().to_le_bytes());
    }
    for (selector, attributes) in FLAT {
        let descriptor = Descriptor::new(0, 0xf_ffff, attributes);
        let at = GDT + Selector(selector).offset();
        store(&mut memory, at, &descriptor.0.to_le_bytes());
    }
    store(&mut memory, TSS + 4, &ESP0.to_le_bytes());
    store(&mut memory, TSS + 8, &KERNEL_DATA.to_le_bytes());
    store(&mut memory, DIRECTORY, &(TABLE | 7).to_le_bytes());
    for page in 0..16 {
        let present = stack_is_mapped || page != (ESP0 - 4) >> 12;
        let entry = if present { page << 12 | 3 } else { 0 };
        store(&mut memory, TABLE + 4 * page, &entry.to_le_bytes());
    }
    memory
}

fn store(memory: &mut [u8], at: u32, bytes: &[u8]) {
    for (address, byte) in (u64::from(at)..).zip(bytes) {
        memory.write_u8(address, *byte);
    }
}

/// Ring 3, about to execute INT 80H.
fn ring_3(memory: &[u8]) -> State {
    let load = |selector: u16| -> Segment {
        let at = u64::from(GDT + Selector(selector).offset());
        let bytes = u64::from(memory.read_u32(at)) | u64::from(memory.read_u32(at + 4)) << 32;
        Descriptor(bytes).segment(selector)
    };
    let data = load(USER_DATA);
    State {
        general: General { eax: 4, esp: 0xbfff_f000, ..General::default() },
        eip: 0x0804_8000,
        eflags: Eflags(0x202),
        segments: [data, load(USER_CODE), data, data, data, data],
        tr: Segment { selector: 0x28, attributes: 0x8b, base: TSS, limit: 103 },
        gdtr: TableRegister { base: GDT, limit: 0x27 },
        idtr: TableRegister { base: IDT, limit: 0x7ff },
        cr0: 0x8001_0011,
        cr3: DIRECTORY,
        ..State::default()
    }
}
