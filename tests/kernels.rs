//! Kernels and programs of a few instructions, made from bytes: what no compiled guest would do.

use iced_x86::IcedError;
use iced_x86::code_asm::CodeAssembler;

/// Where [`kernel`] is loaded.
pub const LOAD: u32 = 0x10_0000;
/// Bytes of the Multiboot header in front of the code.
const HEADER: u32 = 32;
/// Where the first instruction lies.
pub const ENTRY: u32 = LOAD + HEADER;
/// Where ring-3 programs of the microkernel are linked to.
const PROGRAM: u32 = 0x0804_8000;

/// The bytes of a few instructions that start at `address`.
///
/// # Panics
/// If they cannot be assembled.
pub fn assemble(
    address: u32,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(32).expect("32 is a width of code");
    write(&mut assembler).expect("the instructions exist");
    assembler.assemble(address.into()).expect("the instructions can be encoded")
}

/// A flat kernel with a Multiboot header: 32-bit protected mode, flat segments, no paging, no stack,
/// no tables (Multiboot Specification 0.6.96, sections 3.1.3 and 3.2).
pub fn kernel(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    image(assemble(ENTRY, write))
}

fn image(code: Vec<u8>) -> Vec<u8> {
    const MAGIC: u32 = 0x1BAD_B002;
    const ADDRESSES: u32 = 1 << 16;
    let checksum = 0u32.wrapping_sub(MAGIC + ADDRESSES);
    // Magic, flags, checksum; header, load, load end, bss end, entry.
    let mut file: Vec<u8> = [MAGIC, ADDRESSES, checksum, LOAD, LOAD, 0, LOAD + 0x1_0000, ENTRY]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert_eq!(file.len(), HEADER as usize);
    file.extend(code);
    file
}

/// An ELF32 program for the microkernel, of these instructions and nothing else.
pub fn program(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    const FILE_HEADER: u32 = 52;
    const PROGRAM_HEADER: u32 = 32;
    const BEFORE: u32 = FILE_HEADER + PROGRAM_HEADER;
    let code = assemble(PROGRAM + BEFORE, write);
    let size = BEFORE + code.len() as u32;
    let mut file = vec![0x7F, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|half| half.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|word| word.to_le_bytes()));
    };
    // An executable for the 386; version, entry, program headers, section headers, flags.
    halves(&mut file, &[2, 3]);
    words(&mut file, &[1, PROGRAM + BEFORE, FILE_HEADER, 0, 0]);
    halves(&mut file, &[FILE_HEADER as u16, PROGRAM_HEADER as u16, 1, 40, 0, 0]);
    // PT_LOAD: offset, virtual and physical address, sizes, read and execute, alignment.
    words(&mut file, &[1, 0, PROGRAM, PROGRAM, size, size, 5, 4096]);
    file.extend(code);
    file
}

/// Where [`with_tables`] puts what.
///
/// ```text
/// LOAD + 0x800   pieces   + 0x1000  GDT   + 0x2000  IDT   + 0x3000  TSS   + 0x4000  ring 3
///      + 0x8000  ESP0                                                     + 0xa000  its stack
///      + 0xb000  page directory, + 0xc000 page table: the first 4 MiB as they are, for every ring
/// ```
pub mod tables {
    use super::LOAD;

    /// Descriptors: null, code and data of ring 0, code and data of ring 3, TSS.
    pub const GDT: u32 = LOAD + 0x1000;
    /// Gates.
    pub const IDT: u32 = LOAD + 0x2000;
    /// The TSS.
    pub const TSS: u32 = LOAD + 0x3000;
    /// Code of ring 3.
    pub const USER: u32 = LOAD + 0x4000;
    /// The kernel's stack.
    pub const ESP0: u32 = LOAD + 0x8000;
    /// The stack of ring 3.
    pub const USER_STACK: u32 = LOAD + 0xa000;
    /// For handlers.
    pub const HANDLERS: u32 = LOAD + 0x800;
    /// A page directory.
    pub const DIRECTORY: u32 = LOAD + 0xb000;
}

/// A kernel that loads its tables, does what `start` says and returns to ring 3, with these pieces of code, and
/// these gates of DPL 3 to them.
pub fn with_tables(
    start: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    pieces: &[(u32, Vec<u8>)],
    gates: &[(u8, u32)],
) -> Vec<u8> {
    use iced_x86::code_asm::{ax, dword_ptr, esp};
    use tables::{DIRECTORY, ESP0, GDT, IDT, TSS, USER, USER_STACK};
    let mut file = kernel(|a| {
        a.lgdt(dword_ptr(GDT - 8))?;
        a.lidt(dword_ptr(IDT - 8))?;
        a.mov(esp, ESP0 as i32)?;
        a.mov(ax, 0x28)?;
        a.ltr(ax)?;
        start(a)?;
        // To ring 3: SS, ESP, EFLAGS, CS, EIP.
        for word in [0x23, USER_STACK as i32, 2, 0x1b, USER as i32] {
            a.push(word)?;
        }
        a.iretd()
    });
    let mut put = |address: u32, bytes: &[u8]| {
        let at = (address - LOAD) as usize;
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for (address, bytes) in pieces {
        put(*address, bytes);
    }
    // Flat segments for both rings, and the TSS at its place (SDM vol. 3A, "Segment descriptors").
    let tss = 0x0000_8900_0000_0067 | u64::from(TSS) << 16;
    let segments = [
        0,
        0x00cf_9a00_0000_ffff,
        0x00cf_9200_0000_ffff,
        0x00cf_fa00_0000_ffff,
        0x00cf_f200_0000_ffff,
        tss,
    ];
    let gate = |target: u32| {
        u64::from(target & 0xffff)
            | 0x0008 << 16
            | 0xee00 << 32
            | u64::from(target & 0xffff_0000) << 32
    };
    let bytes = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let register = |limit: u16, base: u32| [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat();
    put(GDT - 8, &register(segments.len() as u16 * 8 - 1, GDT));
    put(GDT, &bytes(&segments));
    let last = gates.iter().map(|(vector, _)| *vector).max().unwrap_or(0);
    put(IDT - 8, &register(u16::from(last) * 8 + 7, IDT));
    for (vector, target) in gates {
        put(IDT + u32::from(*vector) * 8, &bytes(&[gate(*target)]));
    }
    put(TSS + 4, &ESP0.to_le_bytes());
    put(TSS + 8, &0x10u32.to_le_bytes());
    // Present, writable, for ring 3.
    put(DIRECTORY, &((DIRECTORY + 0x1000) | 7).to_le_bytes());
    let table: Vec<u8> = (0..1024u32).flat_map(|page| (page << 12 | 7).to_le_bytes()).collect();
    put(DIRECTORY + 0x1000, &table);
    file
}

/// The instructions that power off.
pub fn power_off(a: &mut CodeAssembler) -> Result<(), IcedError> {
    use iced_x86::code_asm::{al, eax};
    a.xor(eax, eax)?;
    a.out(0xf4, al)
}

/// Code of ring 3 that makes `calls` system calls that do nothing, and then powers off.
pub fn calls(calls: u32) -> Vec<u8> {
    use iced_x86::code_asm::ecx;
    assemble(tables::USER, |a| {
        let mut again = a.create_label();
        a.mov(ecx, calls as i32)?;
        a.set_label(&mut again)?;
        a.int(0x80)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.int(0x81)
    })
}

/// A kernel whose one task makes `calls` system calls that do nothing, and then powers off: no
/// device is touched in between.
pub fn caller(calls: u32) -> Vec<u8> {
    use tables::{HANDLERS, USER};
    const POWER_OFF: u32 = HANDLERS + 0x10;
    with_tables(
        |_| Ok(()),
        &[
            (HANDLERS, assemble(HANDLERS, |a| a.iretd())),
            (POWER_OFF, assemble(POWER_OFF, power_off)),
            (USER, self::calls(calls)),
        ],
        &[(0x80, HANDLERS), (0x81, POWER_OFF)],
    )
}
