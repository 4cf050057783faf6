//! What a PC's BIOS leaves in memory for whoever comes after it.
//!
//! A kernel that is loaded directly has no BIOS before it, but it looks for what one leaves behind, and
//! takes zeros for tables at wild addresses. So memory is given what there would be:
//! ```text
//!  0x0_0020  interrupt table      vectors of the two 8259s: 08 to 0F, 70 to 77
//!  0x0_0400  BIOS data area      ports, equipment, memory, video mode, where the EBDA is
//!  0x9_FC00  EBDA                1 KiB, the last of base memory
//!  0xB_8000  text screen         cleared
//!  0xF_6000  MP tables           floating pointer, then the configuration
//!  0xF_6800  ACPI tables         RSDP, RSDT, FADT, MADT, DSDT, HPET, FACS
//!  0xF_6B00  handlers            count the ticks, end the interrupt, return
//!  0xF_6B40  services            vectors 10 to 1A: fail, and tell that they were asked for (`services`)
//! ```
//! Sources: IBM PS/2 and PC BIOS Interface Technical Reference, "BIOS Data Area"; MultiProcessor
//! Specification 1.4, section 4; ACPI Specification 1.0b, section 5; IA-PC HPET
//! Specification 1.0a, section 3.2.4. There is no BIOS to be called: its
//! services fail, and the rest of the interrupt table stays empty. But the timer that a BIOS leaves ticking finds its
//! handler, for a kernel that goes to real mode and opens interrupts there.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::image::KernelImage;
use super::services;
use crate::devices::screen::BLANK;
use crate::devices::{hpet, io_apic, local_apic, power, vga};

/// Where the extended BIOS data area starts, and base memory ends.
pub const EXTENDED_DATA: u32 = 0x9_FC00;
/// Where the root pointer of ACPI lies.
pub const ACPI_ROOT: u32 = 0xF_6800;
/// Where the tables of ACPI lie, the one with all others first.
pub const ACPI_TABLES: std::ops::Range<u32> = RSDT..FACS + 64;

const DATA: u64 = 0x400;
/// Equipment: coprocessor, mouse, 80 × 25 in colour, one serial and one parallel port, no floppy drive. The second
/// serial port is there for whoever looks, and not named, since nobody is at its other end.
const EQUIPMENT: u16 = 0x4226;
const MP_POINTER: u32 = 0xF_6000;
const MP_TABLE: u32 = 0xF_6010;
const RSDT: u32 = 0xF_6840;
const FADT: u32 = 0xF_6880;
const MADT: u32 = 0xF_6900;
const DSDT: u32 = 0xF_6A00;
const HPET: u32 = 0xF_6A40;
const FACS: u32 = 0xF_6A80;

/// Where the handlers of the interrupt table lie: of IRQ 0, of the other lines of the first 8259, of those of the second.
const HANDLERS: [u32; 3] = [0xF_6B00, 0xF_6B20, 0xF_6B30];

/// The system control interrupt of ACPI.
const SCI: u8 = 9;
/// What the tables call their maker.
const MAKER: &[u8; 6] = b"ESP0  ";

/// Some bytes and the physical address at which they belong.
pub type Piece = (u32, Vec<u8>);

/// All that a BIOS leaves.
pub fn pieces() -> Vec<Piece> {
    let mut pieces = data_area();
    pieces.extend(interrupt_table());
    pieces.extend(services::vectors_and_code());
    pieces.push((EXTENDED_DATA, vec![1]));
    let cells = (vga::TEXT.end - vga::TEXT.start) as usize / BLANK.len();
    pieces.push((vga::TEXT.start as u32, BLANK.repeat(cells)));
    pieces.push((MP_POINTER, mp_pointer()));
    pieces.push((MP_TABLE, mp_table()));
    pieces.push((ACPI_ROOT, root_pointer()));
    pieces.push((RSDT, table(b"RSDT", 1, &[FADT, MADT, HPET].map(u32::to_le_bytes).concat())));
    pieces.push((FADT, table(b"FACP", 1, &fixed_description())));
    pieces.push((MADT, table(b"APIC", 1, &interrupt_controllers())));
    // Name (_S5, Package (4) {0, 0, 0, 0}): how to power off.
    pieces.push((DSDT, table(b"DSDT", 1, b"\x08_S5_\x12\x06\x04\0\0\0\0")));
    pieces.push((HPET, table(b"HPET", 1, &event_timer())));
    pieces.push((FACS, [&b"FACS"[..], &64u32.to_le_bytes(), &[0; 56]].concat()));
    pieces
}

/// Writes it. What an image puts at the same place comes later and counts.
///
/// # Errors
/// What guest memory said.
pub fn write<M: GuestMemoryBackend>(memory: &M) -> Result<(), vm_memory::GuestMemoryError> {
    pieces()
        .iter()
        .try_for_each(|(address, bytes)| memory.write_slice(bytes, GuestAddress((*address).into())))
}

/// Says in the BIOS data area which drives there are, where `image` has not put something of its own.
///
/// # Errors
/// What guest memory said.
pub fn tell_drives<M: GuestMemoryBackend>(
    memory: &M,
    image: &KernelImage,
    disks: u8,
    floppies: u8,
) -> Result<(), vm_memory::GuestMemoryError> {
    let drives = match floppies {
        0 => 0,
        count => 1 | (count - 1) << 6,
    };
    // The lower byte of the equipment word, and the number of hard disks.
    for (address, value) in
        [(DATA + 0x10, EQUIPMENT.to_le_bytes()[0] | drives), (DATA + 0x75, disks)]
    {
        let taken =
            image.segments.iter().any(|segment| segment.physical_range().contains(&address));
        if !taken {
            memory.write_obj(value, GuestAddress(address))?;
        }
    }
    Ok(())
}

/// The vectors of the 8259s, and 16-bit code that ends an interrupt.
fn interrupt_table() -> Vec<Piece> {
    // PUSH DS; PUSH AX; DS=0; INC DWORD [046C], the ticks of the day; EOI; POP AX; POP DS; IRET.
    let tick = [
        0x1E, 0x50, 0x31, 0xC0, 0x8E, 0xD8, 0x66, 0xFF, 0x06, 0x6C, 0x04, 0xB0, 0x20, 0xE6, 0x20,
        0x58, 0x1F, 0xCF,
    ];
    // PUSH AX; EOI to the second 8259, to the first; POP AX; IRET.
    let first = [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF];
    let second = [0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF];
    let code: [&[u8]; 3] = [&tick, &first, &second];
    let vector = |handler: u32| (0xF000 << 16 | handler & 0xFFFF).to_le_bytes();
    let [tick, first, second] = HANDLERS.map(vector);
    let mut pieces: Vec<Piece> =
        HANDLERS.into_iter().zip(code).map(|(at, code)| (at, code.to_vec())).collect();
    pieces.push((0x08 * 4, [&tick[..], &first.repeat(7)].concat()));
    pieces.push((0x70 * 4, second.repeat(8)));
    pieces
}

/// The BIOS data area, field by field; what is not named is 0.
fn data_area() -> Vec<Piece> {
    let word = |offset: u64, value: u16| ((DATA + offset) as u32, value.to_le_bytes().to_vec());
    let byte = |offset: u64, value: u8| ((DATA + offset) as u32, vec![value]);
    vec![
        word(0x00, 0x3F8), // COM1.
        word(0x08, 0x378), // LPT1.
        word(0x0E, (EXTENDED_DATA >> 4) as u16),
        word(0x10, EQUIPMENT),
        word(0x13, (EXTENDED_DATA / 1024) as u16), // KiB of base memory.
        word(0x1A, 0x1E),                          // The keyboard buffer is empty:
        word(0x1C, 0x1E),                          // head and tail are the same.
        byte(0x49, 3),                             // Video mode.
        word(0x4A, vga::COLUMNS as u16),
        word(0x4C, 0x1000), // Bytes of a page of text.
        word(0x60, 0x0D0E), // The cursor's lines.
        word(0x63, 0x3D4),  // The CRTC.
        byte(0x65, 0x29),
        word(0x80, 0x1E), // The keyboard buffer's start and end.
        word(0x82, 0x3E),
        byte(0x84, vga::ROWS as u8 - 1),
        word(0x85, 16), // Dots of a character's height.
        byte(0x87, 0x60),
        byte(0x89, 0x11),
        byte(0x96, 0x10), // A keyboard with 101 keys.
    ]
}

/// "MP Floating Pointer Structure".
fn mp_pointer() -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(MP_TABLE.to_le_bytes());
    // One paragraph, version 1.4, checksum, a table is there, no IMCR.
    bytes.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    seal(&mut bytes, 10);
    bytes
}

/// "MP Configuration Table": a processor, two buses, the I/O APIC and who is wired to it.
fn mp_table() -> Vec<u8> {
    const PCI_BUS: u8 = 0;
    const ISA_BUS: u8 = 1;
    const INTERRUPT: u8 = 0;
    const NMI: u8 = 1;
    const EXTERNAL: u8 = 3;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    // Enabled, the bootstrap processor; a Pentium Pro with FPU and APIC.
    let mut processor = vec![0, 0, 0x14, 3, 0x10, 0x06, 0, 0];
    processor.extend(0x201u32.to_le_bytes());
    processor.extend([0; 8]);
    entries.push(processor);
    for (bus, name) in [(PCI_BUS, b"PCI   "), (ISA_BUS, b"ISA   ")] {
        entries.push([&[1, bus], &name[..]].concat());
    }
    let io_apic_base = (io_apic::BASE as u32).to_le_bytes();
    entries.push([&[2, 0, 0x11, 1], &io_apic_base[..]].concat());
    for irq in (0..16).filter(|irq| *irq != 2) {
        let pin = if irq == 0 { 2 } else { irq };
        entries.push(vec![3, INTERRUPT, 0, 0, ISA_BUS, irq, 0, pin]);
    }
    entries.push(vec![4, EXTERNAL, 0, 0, ISA_BUS, 0, 0, 0]);
    entries.push(vec![4, NMI, 0, 0, ISA_BUS, 0, 0xFF, 1]);

    let count = entries.len() as u16;
    let body = entries.concat();
    let mut bytes = b"PCMP".to_vec();
    bytes.extend((44 + body.len() as u16).to_le_bytes());
    bytes.extend([4, 0]);
    bytes.extend(b"ESP0    PC          ");
    bytes.extend([0; 6]);
    bytes.extend(count.to_le_bytes());
    bytes.extend((local_apic::BASE as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    seal(&mut bytes, 7);
    bytes
}

/// "Root System Description Pointer", revision 0.
pub fn root_pointer() -> Vec<u8> {
    let mut bytes = b"RSD PTR ".to_vec();
    bytes.push(0);
    bytes.extend(MAKER);
    bytes.push(0);
    bytes.extend(RSDT.to_le_bytes());
    seal(&mut bytes, 8);
    bytes
}

/// "System Description Table Header" and what follows it.
fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend((36 + body.len() as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(MAKER);
    bytes.extend(b"PC      ");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"ESP0");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(body);
    seal(&mut bytes, 9);
    bytes
}

/// "Fixed ACPI Description Table" of revision 1, from offset 36 on: 80 bytes.
fn fixed_description() -> Vec<u8> {
    let mut bytes = vec![0; 80];
    let mut put = |offset: usize, field: &[u8]| {
        bytes[offset - 36..][..field.len()].copy_from_slice(field);
    };
    put(36, &FACS.to_le_bytes());
    put(40, &DSDT.to_le_bytes());
    put(46, &[SCI, 0]);
    // No SMI command: ACPI is on from the start.
    put(56, &u32::from(power::EVENT).to_le_bytes());
    put(64, &u32::from(power::CONTROL).to_le_bytes());
    put(76, &u32::from(power::TIMER).to_le_bytes());
    // Lengths of event, control and timer block.
    put(88, &[4, 2, 0, 4]);
    // Latencies that say: no C2, no C3.
    put(96, &[101, 0]);
    put(98, &[0xE9, 0x03]);
    put(108, &[0x32]); // Where CMOS keeps the century.
    // WBINVD works; buttons are no fixed hardware.
    put(112, &(1u32 | 1 << 4 | 1 << 5).to_le_bytes());
    bytes
}

/// "Multiple APIC Description Table" from offset 36 on.
fn interrupt_controllers() -> Vec<u8> {
    let mut bytes = (local_apic::BASE as u32).to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes()); // There are 8259s too.
    bytes.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    bytes.extend([1, 12, 0, 0]);
    bytes.extend((io_apic::BASE as u32).to_le_bytes());
    bytes.extend([0; 4]);
    // IRQ 0 is on pin 2; the SCI is level-triggered, active high.
    bytes.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    bytes.extend([2, 10, 0, SCI, SCI, 0, 0, 0, 0x0D, 0]);
    // LINT1 of every processor is the NMI.
    bytes.extend([4, 6, 0xFF, 0, 0, 1]);
    bytes
}

/// "The ACPI 2.0 HPET Description Table" from offset 36 on: the first event timer block, 64 bits wide, in memory.
fn event_timer() -> Vec<u8> {
    let mut bytes = hpet::IDENTITY.to_le_bytes().to_vec();
    bytes.extend([0, 64, 0, 0]);
    bytes.extend(hpet::BASE.to_le_bytes());
    bytes.push(0);
    bytes.extend(hpet::SHORTEST_PERIOD.to_le_bytes());
    // Nothing is said of the rest of its page.
    bytes.push(0);
    bytes
}

/// Sets the byte at `at` so that all of them add up to 0.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = 0u8.wrapping_sub(bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(address: u32) -> Vec<u8> {
        pieces().into_iter().find(|(at, _)| *at == address).unwrap().1
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn an_interrupt_of_each_line_has_a_handler_that_is_there() {
        let pieces = pieces();
        let starts: Vec<u32> = pieces.iter().map(|(at, _)| *at).collect();
        for (at, bytes) in pieces.iter().filter(|(at, _)| *at < 0x400) {
            let lines = if *at == 0x40 { 11 } else { 8 };
            assert!(at % 4 == 0 && bytes.len() == lines * 4, "{at:#x}");
            for vector in bytes.chunks(4) {
                let [ip, cs] = [0, 2].map(|at| u16::from_le_bytes([vector[at], vector[at + 1]]));
                let handler = u32::from(cs) * 16 + u32::from(ip);
                assert!(starts.contains(&handler) || services::asked(handler).is_some());
            }
        }
        for (at, code) in pieces.iter().filter(|(at, _)| HANDLERS.contains(at)) {
            assert_eq!(code.last(), Some(&0xCF), "{at:#x}: IRET");
        }
    }

    #[test]
    fn every_table_has_its_length_and_adds_up_to_0() {
        for address in [RSDT, FADT, MADT, DSDT, HPET] {
            let bytes = find(address);
            assert_eq!(bytes[4..8], (bytes.len() as u32).to_le_bytes(), "{address:#x}");
            assert_eq!(sum(&bytes), 0, "{address:#x}");
        }
        assert_eq!((find(FADT).len(), find(HPET).len()), (116, 56), "ACPI 1.0");
        let mp = find(MP_TABLE);
        assert_eq!(mp[4..6], (mp.len() as u16).to_le_bytes());
        assert_eq!(sum(&mp), 0);
        for (address, length) in [(MP_POINTER, 16), (ACPI_ROOT, 20)] {
            assert_eq!((sum(&find(address)), find(address).len()), (0, length));
        }
    }

    #[test]
    fn the_entries_of_the_mp_table_are_as_many_as_it_says() {
        let bytes = find(MP_TABLE);
        let count = u16::from_le_bytes([bytes[34], bytes[35]]);
        let (mut at, mut seen) = (44, 0);
        while at < bytes.len() {
            at += if bytes[at] == 0 { 20 } else { 8 };
            seen += 1;
        }
        assert_eq!((at, seen), (bytes.len(), count));
    }

    #[test]
    fn no_piece_lies_over_another_and_all_are_below_1_mib() {
        let mut pieces = pieces();
        pieces.sort_by_key(|(address, _)| *address);
        let end = |(address, bytes): &Piece| address + bytes.len() as u32;
        assert!(pieces.windows(2).all(|pair| end(&pair[0]) <= pair[1].0));
        assert!(pieces.last().is_some_and(|last| end(last) <= 0x10_0000));
        assert!([MP_POINTER, ACPI_ROOT, FACS].iter().all(|at| at.is_multiple_of(16)));
        assert!(FACS.is_multiple_of(64));
    }
}
