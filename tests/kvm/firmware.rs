//! Images that a BIOS boots: a boot sector that goes to protected mode is watched from its IDT on.

use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, ax, ds, dword_ptr, eax, ecx, edi, es, esp, ss};
use std::fs;
use std::path::Path;
use tests::kernels::assemble;
use tests::{Output, esp0};

type Code = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Where a BIOS loads a boot sector.
const SECTOR: u32 = 0x7C00;
/// Where its 32-bit code begins, behind [`TO_PROTECTED_MODE`].
const PROTECTED: u32 = SECTOR + TO_PROTECTED_MODE.len() as u32;
const HANDLER: u32 = 0x7D40;
/// GDTR, IDTR, and the GDT behind them.
const TABLES: u32 = 0x7D00;
const IDT: u32 = 0x6000;

/// CLI; DS=0; LGDT; CR0.PE; a far jump to 32-bit code, which is right behind where it begins at [`SECTOR`].
const TO_PROTECTED_MODE: [u8; 23] = [
    0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x0F, 0x01, 0x16, 0x00, 0x7D, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F,
    0x22, 0xC0, 0xEA, 0x17, 0x7C, 0x08, 0x00,
];

/// Loads an IDT with one gate and enters by it, without a look at any device.
fn kernel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    make_gate(a, HANDLER)?;
    a.lidt(dword_ptr(TABLES + 8))?;
    a.int(0x80)?;
    a.int(0x80)?;
    a.xor(eax, eax)?;
    a.out(0xF4, al)
}

/// The same; the LIDT is come to by an address that is computed, and a device is told between the entries.
fn hidden(a: &mut CodeAssembler) -> Result<(), IcedError> {
    make_gate(a, HANDLER)?;
    let mut loads = a.create_label();
    a.call(loads)?;
    a.set_label(&mut loads)?;
    a.pop(eax)?;
    // To the NOP: POP has one byte, ADD five, JMP two.
    a.add(eax, 8)?;
    a.jmp(eax)?;
    a.nop()?;
    a.lidt(dword_ptr(TABLES + 8))?;
    a.int(0x80)?;
    a.out(0x80, al)?;
    a.int(0x80)?;
    a.xor(eax, eax)?;
    a.out(0xF4, al)
}

fn make_gate(a: &mut CodeAssembler, handler: u32) -> Result<(), IcedError> {
    a.mov(ax, 0x10)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(esp, 0x7000)?;
    a.mov(edi, IDT)?;
    a.mov(ecx, 0x102)?;
    a.xor(eax, eax)?;
    a.cld()?;
    a.rep().stosd()?;
    a.mov(dword_ptr(IDT + 0x400), 0x8 << 16 | handler & 0xFFFF)?;
    a.mov(dword_ptr(IDT + 0x404), handler & 0xFFFF_0000 | 0x8E00)
}

/// Where a bzImage's protected-mode part goes; its handler is in another of the pieces that are moved, and IDTR in front of it.
const HIGH: u32 = 0x10_0000;
const HIGH_HANDLER: u32 = HIGH + 0x8_8010;

/// A bzImage of protocol 2.07, which asks for a BIOS: in real mode it prints the first letter of its command line.
fn old_bzimage() -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1F1, &[1]);
    put(0x1FE, &[0x55, 0xAA, 0xEB, 0x66, b'H', b'd', b'r', b'S', 7, 2]);
    put(0x211, &[1]);
    put(0x238, &[0xFF]);
    // SI = the line, whose segment is this one; LODSB; OUT E9.
    put(0x268, &[0x8B, 0x36, 0x28, 0x02, 0xAC, 0xE6, 0xE9]);
    // LGDT; CR0.PE; a far jump to 32-bit code.
    put(0x26F, &[0x0F, 0x01, 0x16, 0x00, 0x03, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0]);
    put(0x27C, &[0x66, 0xEA, 0x00, 0x00, 0x10, 0x00, 0x08, 0x00]);
    put(0x300, &[23, 0, 0x10, 0x03, 0x01, 0]);
    put(
        0x310,
        &[0u64, 0x00cf_9a00_0000_ffff, 0x00cf_9200_0000_ffff].map(u64::to_le_bytes).concat(),
    );
    let mut high = assemble(HIGH, |a| {
        make_gate(a, HIGH_HANDLER)?;
        a.lidt(dword_ptr(HIGH_HANDLER - 16))?;
        a.int(0x80)?;
        a.xor(eax, eax)?;
        a.out(0xF4, al)
    });
    high.resize((HIGH_HANDLER - 16 - HIGH) as usize, 0);
    high.extend([0x07, 0x04, 0x00, 0x60]);
    high.resize((HIGH_HANDLER - HIGH) as usize, 0);
    high.extend(assemble(HIGH_HANDLER, |a| a.iretd()));
    [file, high].concat()
}

#[test]
fn a_bzimage_without_a_32_bit_entry_is_loaded_by_a_bios_with_its_command_line() {
    let Some(output) = boot(&old_bzimage(), &["--cmdline", "quiet"]) else { return };
    output.assert_status(0);
    let text = &output.stdout;
    assert!(text.contains("│ q"), "{text}");
    assert!(output.last_line().contains("verdict: ok entries=1"), "{text}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("old.lkrn");
    fs::write(&path, old_bzimage()).expect("the kernel can be written");
    let path = Path::to_str(&path).expect("its name is text");
    let output = esp0(&["run", path, "--initrd", path]);
    output.assert_status(2);
    assert!(output.stderr.contains("a boot protocol before 2.10"), "{}", output.stderr);
}

/// A disk of one sector.
fn boot_sector() -> Vec<u8> {
    sector(&[], kernel)
}

/// One whose kernel has asked the BIOS for something before.
fn sector(asks: &[u8], kernel: Code) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let mut put = |address: u32, bytes: &[u8]| {
        sector[(address - SECTOR) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    let protected = PROTECTED + asks.len() as u32;
    let mut switch = TO_PROTECTED_MODE;
    switch[19..21].copy_from_slice(&(protected as u16).to_le_bytes());
    put(SECTOR, &[asks, &switch].concat());
    put(protected, &assemble(protected, kernel));
    put(HANDLER, &assemble(HANDLER, |a| a.iretd()));
    let register = |limit: u16, base: u32| [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat();
    put(TABLES, &register(23, TABLES + 0x10));
    put(TABLES + 8, &register(0x407, IDT));
    let segments = [0u64, 0x00cf_9a00_0000_ffff, 0x00cf_9200_0000_ffff];
    put(TABLES + 0x10, &segments.map(u64::to_le_bytes).concat());
    put(SECTOR + 510, &[0x55, 0xAA]);
    sector
}

/// The program's output for an image with this boot sector; none, with the reason printed, without a BIOS.
fn boot(image: &[u8], options: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("disk.img");
    fs::write(&path, image).expect("the image can be written");
    let path = Path::to_str(&path).expect("its name is text");
    let output = esp0(&[&["run", path, "--timeout", "120", "--frames", "none"], options].concat());
    if output.status == Some(2) && output.stderr.contains("booted by a BIOS") {
        println!("skipped: {}", output.stderr);
        return None;
    }
    Some(output)
}

#[test]
fn a_boot_sector_is_booted_and_its_entries_are_judged_from_its_idt_on() {
    let Some(output) = boot(&boot_sector(), &[]) else { return };
    output.assert_status(0);
    let text = &output.stdout;
    assert!(output.last_line().contains("verdict: ok entries=2"), "{text}");
    assert!(text.contains("int 0x80 from ring 0"), "{text}");
    // Its LIDT was stopped at.
    assert!(!output.last_line().contains("unjudged"), "{text}");
    // What SeaBIOS says to its debug port is none of the kernel's affairs.
    assert!(!text.contains("port 0x402"), "{text}");
    let earlier = "places, asked for by the BIOS and the boot loader";
    assert!(
        text.lines().any(|line| line.starts_with("nobody there ") && line.ends_with(earlier)),
        "{text}"
    );
    assert!(text.contains("SeaBIOS"), "the screen shows who booted it\n{text}");
}

#[test]
fn what_comes_before_an_idt_whose_lidt_was_not_found_is_named() {
    let Some(output) = boot(&sector(&[], hidden), &[]) else { return };
    output.assert_status(0);
    let text = &output.stdout;
    let verdict = output.last_line();
    assert!(
        verdict.contains("verdict: ok entries=1") && verdict.contains("unjudged=before_idt"),
        "{text}"
    );
    let row =
        "not judged   entries before the first IDT behind the BIOS was seen, at 00006000: at exit ";
    assert!(text.contains(row), "{text}");
}

#[test]
fn a_kernel_behind_its_boot_sector_needs_no_padding() {
    let image = [boot_sector(), vec![0x90; 100]].concat();
    let Some(output) = boot(&image, &[]) else { return };
    output.assert_status(0);
    assert!(output.last_line().contains("verdict: ok entries=2"), "{}", output.stdout);
    assert!(output.stdout.contains("Booting from Floppy"), "{}", output.stdout);
}

/// Function 4F02 of int 10h: mode 115, 800 x 600 dots of 24 bits, with its memory in one piece.
const GRAPHICS: [u8; 8] = [0xB8, 0x02, 0x4F, 0xBB, 0x15, 0x41, 0xCD, 0x10];

#[test]
fn a_picture_of_a_mode_that_was_set_by_the_bios_is_drawn() {
    let image = sector(&GRAPHICS, |a| {
        a.mov(ax, 0x10)?;
        a.mov(ds, ax)?;
        a.mov(dword_ptr(0xE000_0000u32), 0x0011_2233)?;
        a.mov(dword_ptr(0xE000_0000u32 + 599 * 2400 + 799 * 3 - 1), 0x4455_6600)?;
        a.xor(eax, eax)?;
        a.out(0xF4, al)
    });
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("screen.png");
    let options = ["--screenshot", file.to_str().expect("its name is text")];
    let Some(output) = boot(&image, &options) else { return };
    let row = "framebuffer (800 x 600, 24 bits, at 0xe0000000): --screenshot FILE.png draws it";
    assert!(output.stdout.contains(row), "{}", output.stdout);
    let file = std::io::BufReader::new(fs::File::open(file).expect("it was written"));
    let mut reader = png::Decoder::new(file).read_info().expect("it is a PNG");
    let mut dots = vec![0; reader.output_buffer_size().expect("it is not too large")];
    reader.next_frame(&mut dots).expect("it is whole");
    assert_eq!(dots.len(), 800 * 600 * 3);
    assert_eq!(
        (&dots[..3], &dots[dots.len() - 3..]),
        (&[0x11, 0x22, 0x33][..], &[0x44, 0x55, 0x66][..])
    );
}
