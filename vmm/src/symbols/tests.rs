//! Names out of files made here, of the guests that esp0 carries, and of broken ones.

use super::*;
use crate::guests;
use proptest::prelude::*;

const TEXT: u32 = 0x10_0000;
const BSS: u32 = 0x20_0000;
const FUNCTION: u8 = 2;
const OBJECT: u8 = 1;
const LABEL: u8 = 0;

/// An ELF32 file with 64 bytes of code at [`TEXT`] and 0x4000 bytes of bss at [`BSS`].
fn elf(code: [u8; 64], symbols: &[(&str, u32, u32, u8)]) -> Vec<u8> {
    let (mut names, mut table) = (vec![0u8], vec![0u8; 16]);
    for (name, address, size, kind) in symbols {
        for word in [names.len() as u32, *address, *size] {
            table.extend(word.to_le_bytes());
        }
        table.extend([0x10 | kind, 0, if *address >= BSS { 2 } else { 1 }, 0]);
        names.extend(name.as_bytes());
        names.push(0);
    }
    const CODE_AT: u32 = 52 + 32;
    let table_at = CODE_AT + 64;
    let names_at = table_at + table.len() as u32;
    let sections_at = names_at + names.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 3, 0]);
    for word in [1, TEXT, 52, sections_at, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 40, 5, 4] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, CODE_AT, TEXT, TEXT, 64, 64, 5, 4] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file.extend(&table);
    file.extend(&names);
    let sections: [[u32; 10]; 5] = [
        [0; 10],
        [0, 1, 6, TEXT, CODE_AT, 64, 0, 0, 4, 0],
        [0, 8, 3, BSS, 0, 0x4000, 0, 0, 4, 0],
        [0, 2, 0, 0, table_at, table.len() as u32, 4, 1, 4, 16],
        [0, 3, 0, 0, names_at, names.len() as u32, 0, 0, 1, 0],
    ];
    for word in sections.iter().flatten() {
        file.extend(word.to_le_bytes());
    }
    file
}

fn kernel(symbols: &[(&str, u32, u32, u8)]) -> Symbols {
    Symbols::none().with_kernel(elf([0x90; 64], symbols))
}

fn text(place: Option<Place>) -> Option<String> {
    place.map(|place| place.to_string())
}

#[test]
fn an_address_is_told_by_its_symbol_and_the_offset() {
    let names = kernel(&[
        ("dispatch", TEXT, 16, FUNCTION),
        ("halt", TEXT + 20, 0, LABEL),
        ("after", TEXT + 24, 0, LABEL),
        ("kstack", BSS, 4096, OBJECT),
    ]);
    let at = |address| text(names.describe(address));
    assert_eq!(at(TEXT).as_deref(), Some("dispatch+0"));
    assert_eq!(at(TEXT + 15).as_deref(), Some("dispatch+15"));
    assert_eq!(at(TEXT + 16), None, "between a function's end and the next label");
    assert_eq!(at(TEXT + 23).as_deref(), Some("halt+3"), "a label reaches to the next symbol");
    assert_eq!(at(TEXT + 63).as_deref(), Some("after+39"), "or to the end of its section");
    assert_eq!(at(TEXT + 64), None);
    assert_eq!(at(BSS + 4095).as_deref(), Some("kstack+4095"));
    assert_eq!(at(BSS + 4096).as_deref(), Some("kstack+4096"), "an object's end is the object's");
    assert_eq!(at(BSS + 4097), None);
}

#[test]
fn a_stack_that_ends_where_the_next_begins_is_told_as_ending() {
    let names = kernel(&[("first", BSS, 4096, OBJECT), ("second", BSS + 4096, 4096, OBJECT)]);
    assert_eq!(text(names.describe_top(BSS + 4096)).as_deref(), Some("first+4096"));
    assert_eq!(text(names.describe(BSS + 4096)).as_deref(), Some("second+0"));
    assert_eq!(text(names.describe_top(BSS + 4092)).as_deref(), Some("first+4092"));
}

#[test]
fn a_number_that_a_linker_script_counts_with_is_no_name() {
    let names = kernel(&[("dispatch", TEXT, 16, FUNCTION), ("KERNEL_PHYSICAL", 0x100, 0, LABEL)]);
    assert_eq!(text(names.describe(TEXT + 20)), None);
    assert_eq!(text(names.describe(0x200)), None);
}

#[test]
fn a_label_inside_a_function_does_not_take_its_name() {
    let names = kernel(&[("common", TEXT, 32, FUNCTION), ("out", TEXT + 8, 0, LABEL)]);
    assert_eq!(text(names.describe(TEXT + 9)).as_deref(), Some("common+9"));
}

#[test]
fn where_a_call_goes_on_is_told_of_the_caller() {
    let names = kernel(&[("panic", TEXT, 16, FUNCTION), ("next", TEXT + 16, 16, FUNCTION)]);
    let behind = names.describe_behind(TEXT + 16, SeenCode::default());
    assert_eq!(text(behind).as_deref(), Some("panic+16"));
}

#[test]
fn programs_at_the_same_place_are_told_apart_by_their_code() {
    let file = |byte: u8, name: &str| elf([byte; 64], &[(name, TEXT, 64, FUNCTION)]);
    let names = Symbols::none()
        .with_program("first", file(0x90, "spin"))
        .with_program("second", file(0x40, "count"));
    assert_eq!(names.describe(TEXT + 4), None, "two programs are there");
    let seen = SeenCode { behind: &[0x40, 0x40], at: &[] };
    assert_eq!(text(names.describe_code(TEXT + 4, seen)).as_deref(), Some("second: count+4"));
    let seen = SeenCode { behind: &[], at: &[0x90] };
    assert_eq!(text(names.describe_code(TEXT + 4, seen)).as_deref(), Some("first: spin+4"));
    let seen = SeenCode { behind: &[], at: &[0xcc] };
    assert_eq!(names.describe_code(TEXT + 4, seen), None, "it is neither's");
}

#[test]
fn of_programs_at_the_same_place_the_one_that_is_mapped_is_found() {
    let file = |byte: u8| elf([byte; 64], &[("main", TEXT, 64, FUNCTION)]);
    let names = Symbols::none()
        .with_kernel(file(0x50))
        .with_program("first", file(0x90))
        .with_program("second", file(0x40));
    let mapped = |byte: u8| {
        names.programs_in(|address, bytes| {
            let inside = (TEXT..TEXT + 64).contains(&address);
            bytes.fill(byte);
            if inside { bytes.len() } else { 0 }
        })
    };
    assert_eq!(mapped(0x90), ["first"]);
    assert_eq!(mapped(0x40), ["second"]);
    assert!(mapped(0x50).is_empty(), "the kernel is no program");
    assert!(names.programs_in(|_, _| 0).is_empty(), "nothing is mapped");
    let lies = loaded_ranges(&file(0x90));
    assert!(lies.iter().any(|range| range.contains(&u64::from(TEXT))), "{lies:x?}");
    assert!(loaded_ranges(b"no ELF file").is_empty());
}

#[test]
fn what_programs_share_is_told_of_none_of_them_and_the_kernel_comes_first() {
    let file = |name: &str| elf([0x90; 64], &[(name, TEXT, 64, FUNCTION)]);
    let both = Symbols::none().with_program("a", file("write")).with_program("b", file("write"));
    assert_eq!(text(both.describe(TEXT)).as_deref(), Some("write+0"));
    let all = both.with_program("c", file("other")).with_kernel(file("idle"));
    assert_eq!(text(all.describe(TEXT)).as_deref(), Some("idle+0"));
}

#[test]
fn names_are_demangled_and_move_no_cursor() {
    let names = kernel(&[
        ("_ZN5micro4task6switch17h0123456789abcdefE", TEXT, 8, FUNCTION),
        ("evil\x1b[2Jname", TEXT + 8, 8, FUNCTION),
    ]);
    assert_eq!(text(names.describe(TEXT)).as_deref(), Some("task::switch+0"));
    assert_eq!(text(names.describe(TEXT + 8)).as_deref(), Some("evil?[2Jname+0"));
}

#[test]
fn addresses_in_a_sentence_get_their_names_once() {
    let names = kernel(&[
        ("isr", TEXT, 16, FUNCTION),
        ("kstack", BSS, 4096, OBJECT),
        ("table", BSS + 4096, 64, OBJECT),
    ]);
    let mut annotator = Annotator::new(&names);
    assert_eq!(
        annotator.annotate("TSS.ESP0 has been 00201000 since the IRET at 00100004"),
        "TSS.ESP0 has been 00201000 (kstack+4096) since the IRET at 00100004 (isr+4)"
    );
    assert_eq!(annotator.annotate("SS:ESP 0010:00201000"), "SS:ESP 0010:00201000", "told before");
    assert_eq!(
        annotator.annotate("SS:ESP 0010:00200ff0, the word at 00201004"),
        "SS:ESP 0010:00200ff0 (kstack+4080), the word at 00201004 (table+4)"
    );
    assert_eq!(annotator.annotate("EFLAGS 00100002"), "EFLAGS 00100002", "it is no address");
    assert_eq!(annotator.annotate("EIP 0010000"), "EIP 0010000", "seven digits are none either");
    assert_eq!(annotator.annotate("at 00100008 (isr+8)"), "at 00100008 (isr+8)".to_owned());
    let mut annotator = Annotator::new(&names);
    assert_eq!(
        annotator.annotate("is not empty (ESP0 00201000)"),
        "is not empty (ESP0 00201000 = kstack+4096)"
    );
}

#[test]
fn paths_of_rust_are_told_by_their_ends() {
    for (mangled, name) in [
        ("_ZN4core3fmt9Formatter12pad_integral17h0123456789abcdefE", "Formatter::pad_integral"),
        (
            "_ZN54_$LT$user..print..Line$u20$as$u20$core..fmt..Write$GT$9write_str17h0123456789abcdefE",
            "Line::write_str",
        ),
        ("_ZN4main17h0123456789abcdefE", "main"),
        ("memcpy", "memcpy"),
    ] {
        assert_eq!(&*table::readable(mangled), name);
    }
}

#[test]
fn names_of_cpp_are_told_by_their_ends_without_parameters() {
    for (mangled, name) in [
        ("_Z7free_fniPKc", "free_fn"),
        ("_ZN6kernel5sched7currentE", "sched::current"),
        ("_ZN6kernel4TaskC1Ei", "Task::Task"),
        ("_ZN6kernel4TaskD2Ev", "Task::~Task"),
        ("_ZNK6kernel4Task3runEi", "Task::run"),
        ("_ZNK6kernel4TaskltERKS0_", "Task::operator<"),
        ("_ZN6kernel4TaskclEv", "Task::operator()"),
        ("_ZN6kernel5schedL6hiddenEi", "sched::hidden"),
        ("_ZN6kernel12_GLOBAL__N_14anonEi", "(anonymous namespace)::anon"),
        ("_ZN6kernel5sched4pickINS_4TaskEEEPT_S4_", "sched::pick<kernel::Task>"),
        ("_ZN6kernel5sched4ListIPNS_4TaskELi4EE4pushES3_", "List<kernel::Task*, 4>::push"),
        ("_ZN6kernel5sched1D1gEv.cold", "D::g"),
        ("_ZZN6kernel5sched8instanceEvE1t", "instance()::t"),
        ("_ZTVN6kernel5sched1DE", "vtable for sched::D"),
        ("_ZTIN6kernel5sched1DE", "typeinfo for sched::D"),
        ("_ZdlPvj", "operator delete"),
        ("_Znwj", "operator new"),
        // C's, and what cannot be read.
        ("_Zone", "_Zone"),
        ("i", "i"),
        ("_Z", "_Z"),
        ("_ZN6kernel4Ta", "_ZN6kernel4Ta"),
    ] {
        assert_eq!(&*table::readable(mangled), name, "{mangled}");
    }
}

/// Names made to be long when written down, to be deep, or to be tried in ever more ways.
#[test]
fn a_hostile_name_of_cpp_stays_as_it_is_at_once() {
    let begun = std::time::Instant::now();
    let doubled: String = (0..40).map(|index| format!("1aIS{index}_S{index}_E")).collect();
    for name in [
        format!("_Z1fI1aI1bE{doubled}E"),
        format!("_Z1f{}i", "P".repeat(400)),
        format!("_Z1f{}i", "1aI".repeat(150)),
        format!("_Z1fIX{}iE", "nati".repeat(60)),
        format!("_Z1fDT{}1aE", "nw".repeat(200)),
        format!("_Z{}", "a".repeat(1 << 20)),
    ] {
        let short: String = name.chars().take(60).collect();
        assert_eq!(*table::readable(&name), format!("{short}…"));
    }
    let spent = begun.elapsed();
    assert!(spent < std::time::Duration::from_secs(5), "{spent:?}");
}

#[test]
fn a_symbol_is_found_by_its_name_of_whatever_type_it_is() {
    let names = kernel(&[
        ("_ZN6kernel4main17h0123456789abcdefE", TEXT, 4, FUNCTION),
        ("alias", TEXT, 0, LABEL),
        ("twice", TEXT + 8, 0, LABEL),
        ("twice", TEXT + 16, 4, FUNCTION),
        ("_ZN6kernel4Task3runEi", TEXT + 24, 4, FUNCTION),
        ("kstack", BSS, 0x1000, OBJECT),
    ]);
    for (name, address) in [
        ("_ZN6kernel4main17h0123456789abcdefE", Some(TEXT)),
        ("kernel::main", Some(TEXT)),
        ("_ZN6kernel4Task3runEi", Some(TEXT + 24)),
        ("kernel::Task::run", Some(TEXT + 24)),
        ("alias", Some(TEXT)),
        ("twice", Some(TEXT + 16)),
        ("kstack", Some(BSS)),
        ("kstac", None),
        ("", None),
    ] {
        assert_eq!(names.address_of(name), address, "{name}");
    }
    let program =
        Symbols::none().with_program("p", elf([0x90; 64], &[("main", TEXT, 4, FUNCTION)]));
    assert_eq!(program.address_of("main"), None, "a program's names are not the kernel's");
}

#[test]
fn a_kernel_of_the_higher_half_is_known_before_it_has_paging() {
    let mut file = elf([0x90; 64], &[("start", TEXT, 64, FUNCTION)]);
    // The program header's physical address.
    file[52 + 12..52 + 16].copy_from_slice(&0x5000u32.to_le_bytes());
    let names = Symbols::none().with_kernel(file);
    assert_eq!(text(names.describe_physical(0x5004)).as_deref(), Some("start+4"));
    assert_eq!(names.describe(0x5004), None);
}

#[test]
fn the_guests_that_esp0_carries_have_functions_and_lines() {
    for guest in &guests::GUESTS {
        let symbols = Symbols::none().with_kernel(guest.kernel);
        let file = &symbols.0[0];
        assert!(file.table().len() > 20, "{}: {} symbols", guest.name, file.table().len());
        let functions = file.table().code_addresses();
        let with_lines = functions
            .iter()
            .filter(|address| symbols.describe(**address).is_some_and(|place| place.line.is_some()))
            .count();
        assert!(with_lines > 10, "{}: {with_lines} of {} have lines", guest.name, functions.len());
    }
}

#[test]
fn nothing_is_read_before_a_name_is_wanted() {
    let symbols = kernel(&[("f", TEXT, 4, FUNCTION)]);
    assert!(symbols.0[0].table.get().is_none());
    let copy = symbols.clone();
    assert!(copy.describe(TEXT).is_some());
    assert!(symbols.0[0].table.get().is_some(), "a clone shares what was read");
    assert!(symbols.0[0].lines.get().is_some());
}

/// A program with DWARF, and the addresses of its functions.
fn program() -> (&'static [u8], Vec<u32>) {
    let program = guests::program("fault").expect("esp0 carries it");
    let table = Elf::parse(program.bytes).map(Table::of).unwrap_or_default();
    (program.bytes, table.code_addresses())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever stands in a file, asking it for names comes to an end.
    #[test]
    fn broken_files_have_fewer_names(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (bytes, addresses) = program();
        let mut bytes = bytes.to_vec();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        ask(bytes, &addresses);
    }

    /// Whatever a name is, it is read or stays as it is.
    #[test]
    fn any_name_can_be_told(
        parts in prop::collection::vec(
            prop::sample::select(&[
                "N", "E", "I", "J", "X", "T_", "S_", "S0_", "1a", "3foo", "cv", "DT", "L", "i", "K", "C1", "nw", "sr",
                "Ul", "_", "Z", "St", "4294967295", "TV", "Th", "cl", "é", "\u{202e}", ".cold",
            ][..]),
            0..80,
        ),
    ) {
        let told = table::readable(&format!("_Z{}", parts.concat()));
        let moves_a_cursor = told.contains('\u{202e}');
        prop_assert!(!moves_a_cursor && told.chars().count() <= 61, "{}", told);
    }

    /// The headers decide where all else is looked for.
    #[test]
    fn broken_headers_have_fewer_names(
        changes in prop::collection::vec((0usize..0x200, any::<u8>()), 1..8),
        at_the_end in prop::collection::vec((1usize..0x400, any::<u8>()), 0..8),
    ) {
        let (bytes, addresses) = program();
        let mut bytes = bytes.to_vec();
        let length = bytes.len();
        for (index, value) in changes {
            bytes[index] = value;
        }
        for (index, value) in at_the_end {
            bytes[length - index] = value;
        }
        ask(bytes, &addresses);
    }
}

fn ask(bytes: Vec<u8>, addresses: &[u32]) {
    let symbols = Symbols::none().with_program("mutant", bytes);
    for address in addresses.iter().copied().chain([0, 1, u32::MAX]) {
        let seen = SeenCode { behind: &[0xcd, 0x80], at: &[0x90; 15] };
        let _ = symbols.describe(address);
        let _ = symbols.describe_top(address);
        let _ = symbols.describe_behind(address.wrapping_add(3), seen);
    }
}
