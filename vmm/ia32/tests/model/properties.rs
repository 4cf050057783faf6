//! Properties that hold for every input.

use crate::case::{Source, arbitrary, changed};
use crate::invariants::check;
use crate::lab::*;
use ia32::paging::{AccessRequest, PagingControls, Privilege, translate};
use ia32::{
    Branch, Eflags, Interruption, Iret, Path, Segment, SegmentRegister, Vector, WriteMemory,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_changed_machine_has_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
        let (lab, operation) = changed(&bytes);
        check(&lab, operation);
    }

    #[test]
    fn anything_at_all_has_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let (lab, operation) = arbitrary(&bytes);
        check(&lab, operation);
    }

    #[test]
    fn a_frame_that_was_pushed_returns_to_where_it_was(
        ring_3: bool,
        paged: bool,
        eip: u32,
        esp in prop_oneof![any::<u32>(), Just(0), Just(USER_ESP)],
        flags: u32,
        gate in 0..2u8,
        kind in 0..5u8,
    ) {
        let mut lab = if ring_3 { Lab::user() } else { Lab::kernel() };
        if paged {
            lab = lab.paged();
        }
        lab.state.eip = eip;
        if ring_3 {
            lab.state.general.esp = esp;
            // IRET makes the kernel's own null, and there is none to begin with.
            lab.state.segments[SegmentRegister::Gs as usize] = Segment::null(0);
        }
        let open = Eflags::RESERVED_ZERO | Eflags::VM | Eflags::RF;
        lab.state.eflags = Eflags(flags).without(open) | Eflags::FIXED;
        let (event, vector) = match kind {
            0 => (Interruption::int(0x30), 0x30),
            1 => (Interruption::external(0x30), 0x30),
            2 => (Interruption::fault(Vector::GP, Some(eip)), 13),
            3 => (Interruption::fault(Vector::UD, None), 6),
            _ => (Interruption::nmi(), 2),
        };
        lab.gate_as(vector, |to| {
            to.dpl = 3;
            if gate == 1 {
                to.kind = ia32::GateKind::Trap32;
            }
        });
        let entered = lab.done(event);
        let mut handler = lab.then(&entered);
        if event.error_code.is_some() {
            handler.state.general.esp += 4;
        }
        let back = handler.done(Iret::BITS32).state;
        let mut expected = lab.state;
        if kind == 0 {
            expected.eip = eip.wrapping_add(2);
        }
        if matches!(kind, 2 | 3) {
            expected.eflags = expected.eflags | Eflags::RF;
        }
        let differences: Vec<_> =
            ia32::Undefined::default().differences(&expected, &back).collect();
        prop_assert_eq!(differences, []);
    }

    #[test]
    fn a_walk_that_has_marked_its_entries_has_nothing_left_to_mark(
        directory: u32,
        table: u32,
        linear: u32,
        write: bool,
        privilege in 0..3u8,
        bits: u8,
    ) {
        let mut memory = vec![0; 0x3000];
        let at = 0x1000 + (linear >> 22) as usize * 4;
        let directory =
            if directory & 0x80 == 0 { directory & 0xfff | 0x2000 } else { directory };
        memory[at..at + 4].copy_from_slice(&directory.to_le_bytes());
        let at = 0x2000 + (linear >> 12 & 0x3ff) as usize * 4;
        memory[at..at + 4].copy_from_slice(&table.to_le_bytes());
        let privilege = match privilege {
            0 => Privilege::User,
            1 => Privilege::Supervisor,
            _ => Privilege::Implicit,
        };
        let access = AccessRequest { write, privilege };
        let paging = PagingControls {
            enabled: true,
            write_protect: bits & 1 != 0,
            large_pages: bits & 2 != 0,
            smap: bits & 4 != 0,
            alignment_check: bits & 8 != 0,
            root: 0x1000 | u32::from(bits),
        };
        let processor = ia32::Processor { pse36: bits & 16 != 0, ..ia32::Processor::INTEL };
        let first = translate(memory.as_slice(), &paging, linear, access, &processor);
        for update in [first.directory, first.table].into_iter().flatten() {
            memory.write_u8(update.address, update.value);
        }
        let second = translate(memory.as_slice(), &paging, linear, access, &processor);
        prop_assert_eq!(second.result, first.result);
        prop_assert_eq!((second.directory, second.table), (None, None));
        if let Ok(physical) = first.result {
            prop_assert_eq!(physical & 0xfff, u64::from(linear & 0xfff));
            // What may be written may be read.
            let read = AccessRequest { write: false, privilege };
            let read = translate(memory.as_slice(), &paging, linear, read, &processor);
            prop_assert_eq!(read.result, Ok(physical));
        }
    }
}

/// The next number of a sequence that looks random (xorshift).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// No branch of the model is dead: changing a small machine at random finds each.
#[test]
fn every_branch_can_be_taken() {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut found = Path::EMPTY;
    for _ in 0..100_000 {
        let bytes: Vec<u8> = (0..10).flat_map(|_| next(&mut seed).to_le_bytes()).collect();
        let length = usize::from(bytes[79]) % 64 + 8;
        let (lab, operation) = changed(&bytes[..length]);
        found = found.union(lab.take(operation).path());
    }
    let missing: Vec<_> = Branch::ALL.iter().filter(|branch| !found.contains(**branch)).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), Branch::ALL.len());
    assert_eq!(Source::new(&[]).u32(), 0);
}
