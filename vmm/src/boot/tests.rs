//! The loaders as a whole, on hand-made files.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::elf32_builder::{Elf32Builder, HEADER_SIZE, PROGRAM_HEADER_SIZE, Part};
use super::*;

type GuestMemory = vm_memory::GuestMemoryMmap<()>;

const CODE: [u8; 8] = [0xFA, 0xF4, 0xEB, 0xFD, 1, 2, 3, 4];

fn memory(mebibytes: usize) -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), mebibytes << 20)]).unwrap()
}

fn dirty(mebibytes: usize) -> GuestMemory {
    let memory = memory(mebibytes);
    memory.write_slice(&vec![0xCC; mebibytes << 20], GuestAddress(0)).unwrap();
    memory
}

fn kernel() -> Elf32Builder {
    Elf32Builder::kernel(&CODE, 0x3000)
}

fn part(physical: u32, size: u32) -> Part {
    Part {
        kind: 1,
        physical,
        virtual_address: physical,
        bytes: vec![7; size as usize],
        memory_size: size,
        flags: 6,
    }
}

fn boot(bytes: &[u8], memory: &GuestMemory) -> Result<Boot, BootError> {
    load(memory, KernelFile { name: "k.elf", bytes }, &[], "")
}

fn refusal(bytes: &[u8]) -> String {
    boot(bytes, &memory(4)).unwrap_err().to_string()
}

fn word(memory: &GuestMemory, address: u32) -> u32 {
    memory.read_obj(GuestAddress(address.into())).unwrap()
}

fn text(memory: &GuestMemory, address: u32) -> String {
    let mut bytes = Vec::new();
    for offset in 0.. {
        match memory.read_obj::<u8>(GuestAddress(u64::from(address) + offset)).unwrap() {
            0 => break,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_kernel_is_loaded_its_bss_zeroed_and_the_rest_left_alone() {
    let memory = dirty(4);
    let boot = boot(&kernel().build(), &memory).unwrap();
    assert_eq!(boot.entry.eip, 0x10_0010);
    assert_eq!(boot.entry.eax, 0x2BAD_B002);
    assert_eq!(boot.image.format, Format::Elf32);
    let mut loaded = vec![0; 0x3000];
    memory.read_slice(&mut loaded, GuestAddress(0x10_0000)).unwrap();
    assert_eq!(loaded[16..24], CODE);
    assert!(loaded[24..].iter().all(|byte| *byte == 0), "bss is not zero");
    assert_eq!(word(&memory, 0x10_3000), 0xCCCC_CCCC);
    assert_eq!(word(&memory, 0x0F_FFFC), 0xCCCC_CCCC);
}

#[test]
fn a_higher_half_kernel_goes_to_its_physical_address_and_starts_there() {
    let mut builder = kernel();
    builder.parts[0].virtual_address = 0xC010_0000;
    builder.entry = 0xC010_0012;
    let boot = boot(&builder.build(), &memory(4)).unwrap();
    assert_eq!(boot.entry.eip, 0x10_0012);
    assert_eq!(boot.image.linked_entry, 0xC010_0012);
    assert_eq!(boot.image.segments[0].virtual_address, 0xC010_0000);
}

#[test]
fn the_information_holds_what_the_specification_lists() {
    let memory = dirty(4);
    let modules = [
        ModuleFile { name: "a.elf", command: "first one", bytes: &[1; 5000] },
        ModuleFile { name: "b.elf", command: "second", bytes: &[2; 1] },
        ModuleFile { name: "c.elf", command: "", bytes: &[] },
    ];
    let bytes = kernel().build();
    let boot =
        load(&memory, KernelFile { name: "k.elf", bytes: &bytes }, &modules, "root=/dev/ram quiet")
            .unwrap();
    let info = boot.entry.ebx;
    let field = |offset| word(&memory, info + offset);
    assert_eq!(field(0), 0x124D, "flags 0, 2, 3, 6, 9 and 12");
    assert_eq!(field(4), 639, "KiB below the extended BIOS data area");
    assert_eq!(field(8), 3 * 1024, "KiB above 1 MiB");
    assert_eq!(text(&memory, field(16)), "root=/dev/ram quiet");
    assert_eq!(text(&memory, field(64)), "esp0");

    assert_eq!(field(20), 3);
    let module = |index: u32, offset| word(&memory, field(24) + index * 16 + offset);
    assert_eq!((module(0, 0), module(0, 4)), (0x10_3000, 0x10_3000 + 5000));
    assert_eq!((module(1, 0), module(1, 4)), (0x10_5000, 0x10_5001));
    assert_eq!((module(2, 0), module(2, 4)), (0x10_6000, 0x10_6000));
    assert_eq!(text(&memory, module(0, 8)), "first one");
    assert_eq!(text(&memory, module(1, 8)), "second");
    assert_eq!(module(0, 12), 0, "reserved");
    assert_eq!(word(&memory, 0x10_3000), 0x0101_0101);
    assert_eq!(boot.modules[1].physical, 0x10_5000..0x10_5001);

    assert_eq!(field(44), 3 * 24);
    let entry = |index: u32| {
        let at = field(48) + index * 24;
        assert_eq!(word(&memory, at), 20, "an entry's size does not count the field itself");
        (
            memory.read_obj::<u64>(GuestAddress(u64::from(at) + 4)).unwrap(),
            memory.read_obj::<u64>(GuestAddress(u64::from(at) + 12)).unwrap(),
            word(&memory, at + 20),
        )
    };
    assert_eq!(entry(0), (0, 0x9_FC00, 1));
    assert_eq!(entry(1), (0x9_FC00, 0x6_0400, 2));
    assert_eq!(entry(2), (0x10_0000, 3 << 20, 1));
    for absent in [12, 28, 32, 36, 40, 52, 56, 60, 68, 72, 92] {
        assert_eq!(field(absent), 0, "field at {absent} has no flag");
    }
}

#[test]
fn each_bad_file_gets_its_own_sentence() {
    assert_eq!(refusal(b""), "k.elf is empty");
    assert!(refusal(b"#!/bin/sh").starts_with("k.elf is not an ELF file, nor "));
    assert_eq!(refusal(b"\x1f\x8b\x08"), "k.elf is compressed: unpack it first, with gunzip");
    let mut elf64 = kernel();
    elf64.class = 2;
    assert_eq!(refusal(&elf64.build()), "k.elf is an ELF64 file; esp0 boots 32-bit kernels");
    let mut arm = kernel();
    arm.machine = 40;
    assert_eq!(
        refusal(&arm.build()),
        "k.elf is an ELF file for another machine (e_machine 40); esp0 boots i386 kernels"
    );
    let mut big_endian = kernel();
    big_endian.data = 2;
    assert!(refusal(&big_endian.build()).contains("big-endian"));
    let mut object = kernel();
    object.kind = 1;
    assert!(refusal(&object.build()).contains("an object file (ET_REL), not an ELF executable"));
    let mut without = kernel();
    without.parts[0].kind = 4;
    assert_eq!(refusal(&without.build()), "k.elf has no loadable segment");
    let mut entry = kernel();
    entry.entry = 0x20_0000;
    assert_eq!(
        refusal(&entry.build()),
        "k.elf has its entry point at 0x200000, outside every segment that it loads"
    );
    let mut shrinks = kernel();
    shrinks.parts[0].memory_size = 8;
    assert_eq!(
        refusal(&shrinks.build()),
        "k.elf is damaged: segment 0 has 24 bytes in the file but only 8 in memory"
    );
    let mut headless = kernel();
    headless.parts[0].bytes[0] = 0;
    assert!(refusal(&headless.build()).starts_with("k.elf has no Multiboot header"));
    let mut bzimage = vec![0; 0x300];
    bzimage[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    assert!(refusal(&bzimage).contains("Linux zImage"));
    bzimage[0x211] = 1;
    assert!(refusal(&bzimage).contains("Linux bzImage of boot protocol 0.00"));
}

#[test]
fn a_file_truncated_anywhere_is_refused_and_says_what_is_missing() {
    let whole = kernel().build();
    for length in 0..whole.len() {
        let said = refusal(&whole[..length]);
        let expected = match length {
            0 => "is empty",
            1..4 => "is not an ELF file",
            4..HEADER_SIZE => "its ELF header ends at byte 52",
            HEADER_SIZE..84 => "its program header table ends at byte 84",
            _ => "its segment 0 ends at byte 108",
        };
        assert!(said.contains(expected), "at {length} bytes: {said}");
    }
    assert!(boot(&whole, &memory(4)).is_ok());
}

#[test]
fn a_segment_outside_memory_is_named_with_the_memory_it_needs() {
    let file = kernel().with(part(0x3F_F000, 0x2000)).build();
    assert_eq!(
        refusal(&file),
        "k.elf: segment 1 (0x3ff000..0x401000) lies outside guest memory, which ends at 0x400000 (4 MiB); give --mem 5"
    );
    assert!(boot(&file, &memory(5)).is_ok());
    let mut beyond = part(0xFFFF_F000, 0x10);
    beyond.memory_size = 0x2000;
    assert!(refusal(&kernel().with(beyond).build()).contains("outside guest memory"));
}

#[test]
fn overlapping_segments_are_refused_whatever_their_order() {
    let expected = "k.elf: segments 0 (0x100000..0x103000) and 1 (0x102000..0x103000) overlap in physical memory";
    assert_eq!(refusal(&kernel().with(part(0x10_2000, 0x1000)).build()), expected);
    let below = kernel().with(part(0x0F_F000, 0x1001)).build();
    assert!(refusal(&below).contains("segments 1 (0xff000..0x100001) and 0"));
    assert!(boot(&kernel().with(part(0x10_3000, 0x1000)).build(), &memory(4)).is_ok());
}

#[test]
fn the_boot_information_makes_way_for_the_kernel_or_there_is_no_room() {
    let place = |part: Part| boot(&kernel().with(part).build(), &memory(4)).unwrap().entry;
    assert_eq!(place(part(0x1_0000, 16)).ebx, 0x9000);
    let moved = place(part(0x8FFF, 2));
    assert_eq!((moved.ebx, moved.gdt, moved.esp), (0x1000, Some(0x7FC0), 0x7FC0));
    let mut whole = part(0x1000, 16);
    whole.memory_size = 0x9_F000;
    let said = refusal(&kernel().with(whole).build());
    assert!(said.contains("leaves no room below 636 KiB for the boot information"), "{said}");
}

#[test]
fn a_kernel_finds_its_section_headers_and_its_symbols() {
    let mut builder = Elf32Builder::kernel(&[0x90; 0x30], 0x3000);
    builder.symbols = vec![("main", 0x10_0010, 4, 2)];
    let memory = memory(4);
    let info = boot(&builder.build(), &memory).unwrap().entry.ebx;
    let field = |offset| word(&memory, info + offset);
    assert_eq!(field(0) & 0x20, 0x20, "flag 5");
    assert_eq!(field(32), 40);
    let header = |index: u32, at: u32| word(&memory, field(36) + index * 40 + at);
    let strings = (0..field(28)).find(|index| header(*index, 4) == 3).unwrap();
    assert!(header(strings, 12) >= 0x10_3000, "behind the kernel");
    let name = text(&memory, header(strings, 12) + 1);
    assert!(!name.is_empty(), "{name}");
}

#[test]
fn modules_that_do_not_fit_are_named_with_the_memory_they_need() {
    let bytes = kernel().build();
    let big = vec![0; 3 << 20];
    let modules = [ModuleFile { name: "big.elf", command: "", bytes: &big }];
    let file = KernelFile { name: "k.elf", bytes: &bytes };
    let said = load(&memory(4), file, &modules, "").unwrap_err().to_string();
    assert_eq!(
        said,
        "module big.elf (3 MiB) does not fit at 0x103000 in 4 MiB of memory; give --mem 5"
    );
    assert!(load(&memory(5), file, &modules, "").is_ok());
}

#[test]
fn bad_strings_are_refused_by_name() {
    let bytes = kernel().build();
    let file = KernelFile { name: "k.elf", bytes: &bytes };
    let long = "x".repeat(5000);
    assert_eq!(
        load(&memory(4), file, &[], &long).unwrap_err().to_string(),
        "the kernel command line is 5000 bytes long; at most 4095 are allowed"
    );
    let module = ModuleFile { name: "m", command: "ü", bytes: &[] };
    assert_eq!(
        load(&memory(4), file, &[module], "").unwrap_err().to_string(),
        "the string of module m contains 'ü' at byte 0; only printable ASCII is allowed"
    );
    let module = ModuleFile { name: "m", command: &long[..4000], bytes: &[] };
    let said = load(&memory(4), file, &[module; 8], "").unwrap_err().to_string();
    assert!(said.contains("for 8 modules and their strings; at most 28608 bytes"), "{said}");
}

#[test]
fn a_refused_kernel_leaves_memory_untouched() {
    let memory = dirty(4);
    let bytes = kernel().build();
    let file = KernelFile { name: "k.elf", bytes: &bytes };
    assert!(load(&memory, file, &[], "ä").is_err());
    assert_eq!(word(&memory, 0x10_0000), 0xCCCC_CCCC);
    assert_eq!(word(&memory, 0x9000), 0xCCCC_CCCC);
}

#[test]
fn memory_too_small_for_the_information_is_refused_not_written_past() {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x9000)]).unwrap();
    let mut low = kernel();
    low.parts[0].physical = 0x1000;
    low.parts[0].virtual_address = 0x1000;
    low.entry = 0x1010;
    let said = boot(&low.build(), &memory).unwrap_err().to_string();
    assert!(said.contains("36 KiB of memory are too little"), "{said}");
}

#[test]
fn a_flat_image_is_loaded_by_its_header() {
    let mut file = vec![0xEE; 0x40];
    let flags = 0x1_0000u32;
    let magic = 0x1BAD_B002u32;
    for field in [
        magic,
        flags,
        0u32.wrapping_sub(magic.wrapping_add(flags)),
        0x20_0000,
        0x20_0000,
        0,
        0x20_1000,
        0x20_0020,
    ] {
        file.extend(field.to_le_bytes());
    }
    file.extend(CODE);
    let memory = dirty(4);
    let boot = boot(&file, &memory).unwrap();
    assert_eq!(boot.image.format, Format::Flat);
    assert_eq!(boot.entry.eip, 0x20_0020);
    assert_eq!(word(&memory, 0x20_0000), magic);
    assert_eq!(word(&memory, 0x20_0020), 0xFDEB_F4FA);
    assert_eq!(word(&memory, 0x20_0028), 0);
    assert_eq!(word(&memory, 0x20_1000), 0xCCCC_CCCC);
}

/// What must hold of every accepted image, however odd the file.
fn assert_sound(boot: &Boot, memory: &GuestMemory) {
    let image = &boot.image;
    assert!(!image.segments.is_empty());
    assert!(image.end() <= memory.last_addr().0 + 1);
    assert!(
        image
            .segments
            .iter()
            .any(|segment| segment.loaded_range().contains(&u64::from(boot.entry.eip)))
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = boot(&bytes, &memory(2));
    }

    #[test]
    fn random_bytes_behind_an_elf_identification_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
        file.extend(bytes);
        let _ = elf32::describe(&file);
    }

    #[test]
    fn a_mutated_kernel_is_refused_or_sound(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..8),
        cut in 0usize..80,
    ) {
        let mut builder = kernel().with(part(0x10_4000, 32));
        builder.symbols = vec![("f", 0x10_0010, 4, 2), ("g", 0x10_0014, 0, 0)];
        let mut file = builder.build();
        for (at, value) in changes {
            let at = at % file.len();
            file[at] = value;
        }
        file.truncate(file.len() - cut);
        let memory = memory(2);
        if let Ok(boot) = boot(&file, &memory) {
            assert_sound(&boot, &memory);
        }
    }

    #[test]
    fn random_program_headers_are_refused_or_sound(
        words in proptest::collection::vec(prop_oneof![any::<u32>(), 0u32..0x20_0000], 8),
        entry in prop_oneof![any::<u32>(), 0x10_0000u32..0x10_0020],
    ) {
        let mut builder = kernel().with(part(0x10_4000, 32));
        builder.entry = entry;
        let mut file = builder.build();
        for (index, word) in words.iter().enumerate().skip(1) {
            let at = HEADER_SIZE + PROGRAM_HEADER_SIZE + index * 4;
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let memory = memory(2);
        if let Ok(boot) = boot(&file, &memory) {
            assert_sound(&boot, &memory);
        }
    }

    #[test]
    fn modules_lie_on_pages_in_order_above_the_kernel(
        sizes in proptest::collection::vec(0usize..20_000, 0..12),
        kernel_end in 0u64..0x18_0000,
    ) {
        let memory = memory(8);
        let contents: Vec<Vec<u8>> = sizes.iter().map(|size| vec![3; *size]).collect();
        let files: Vec<ModuleFile<'_>> = contents
            .iter()
            .map(|bytes| ModuleFile { name: "m", command: "m", bytes })
            .collect();
        let placed = multiboot_info::lay_out_modules(&memory, kernel_end, &files).unwrap();
        let mut previous_end = kernel_end.max(0x10_0000);
        for ((_, module), size) in placed.iter().zip(sizes) {
            let start = u64::from(module.physical.start);
            prop_assert_eq!(start % 4096, 0);
            prop_assert!(start >= previous_end && start - previous_end < 4096);
            prop_assert_eq!(module.physical.len(), size);
            previous_end = module.physical.end.into();
        }
    }
}
