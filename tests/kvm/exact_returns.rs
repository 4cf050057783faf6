//! Exact mode and returns that no compiler writes: IRETs with prefixes, and to virtual-8086 mode with RF.

use iced_x86::code_asm::{cr0, cr3, dword_ptr, eax, esp};
use tests::kernels::{
    LOAD, assemble, calls, power_off,
    tables::{DIRECTORY, HANDLERS, USER},
    with_tables,
};
use tests::{Experiment, Seen};

const POWER_OFF: u32 = LOAD + 0x600;
/// The last byte before a page that the kernel's tables leave free.
const PAGE_END: u32 = LOAD + 0x6fff;

#[track_caller]
fn assert_clean(seen: &Seen, entries: usize) {
    seen.assert_clean();
    assert_eq!(seen.entries().count(), entries, "entries");
    assert_eq!(
        seen.returns().count(),
        entries,
        "returns: one before the first entry, none after the last"
    );
}

#[test]
fn an_iret_is_one_with_any_prefixes() {
    for (iret, address) in [
        (&[0x3e, 0xcf][..], HANDLERS),
        (&[0x3e, 0x2e, 0xcf], HANDLERS),
        (&[0xf3, 0x67, 0xcf], HANDLERS),
        // Across a page.
        (&[0x3e, 0x2e, 0xcf], PAGE_END),
        (&[0x3e, 0x2e, 0xcf], PAGE_END - 1),
    ] {
        let kernel = with_tables(
            |_| Ok(()),
            &[
                (address, iret.to_vec()),
                (POWER_OFF, assemble(POWER_OFF, power_off)),
                (USER, calls(50)),
            ],
            &[(0x80, address), (0x81, POWER_OFF)],
        );
        assert_clean(&Experiment::with_kernel(kernel).exact().run(), 51);
    }
}

/// The processor writes to the GDT when it marks a descriptor as accessed, and that makes the GDT's page dirty. One
/// that does not mark it makes no page dirty.
#[test]
fn a_page_that_is_not_dirty_because_no_descriptor_was_marked_is_no_finding_of_its_own() {
    let kernel = with_tables(
        |a| {
            a.mov(eax, DIRECTORY as i32)?;
            a.mov(cr3, eax)?;
            a.mov(eax, cr0)?;
            a.or(eax, 0x8000_0000u32 as i32)?;
            a.mov(cr0, eax)
        },
        &[
            (HANDLERS, assemble(HANDLERS, |a| a.iretd())),
            (POWER_OFF, assemble(POWER_OFF, power_off)),
            (USER, calls(5)),
        ],
        &[(0x80, HANDLERS), (0x81, POWER_OFF)],
    );
    assert_clean(&Experiment::with_kernel(kernel).exact().run(), 6);
}

/// Whose RF it is: QEMU's, which does not load it on the way to virtual-8086 mode; the manual does. The deviation is in
/// the table, and a run in exact mode knows it too.
#[test]
fn rf_in_a_frame_of_virtual_8086_mode_is_the_named_deviation() {
    /// Where real-mode code lies, by segment and linear address.
    const SEGMENT: u32 = 0x1000;
    const LOW: u32 = SEGMENT << 4;
    // mov cx, 50; again: int 0x80; loop again; int 0x81
    const CODE: [u8; 9] = [0xb9, 50, 0, 0xcd, 0x80, 0xe2, 0xfc, 0xcd, 0x81];
    let kernel = with_tables(
        |a| {
            for (at, bytes) in (LOW..).step_by(4).zip(CODE.chunks(4)) {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                a.mov(dword_ptr(at), i32::from_le_bytes(word))?;
            }
            // GS, FS, DS, ES, SS, ESP; VM, IOPL 3 and RF; CS, EIP.
            for word in [0, 0, 0, 0, 0x2000, 0x1000, 0x3_3002, SEGMENT as i32, 0] {
                a.push(word)?;
            }
            a.iretd()
        },
        &[
            (
                HANDLERS,
                assemble(HANDLERS, |a| {
                    a.or(dword_ptr(esp + 8), 0x1_0000)?;
                    a.iretd()
                }),
            ),
            (POWER_OFF, assemble(POWER_OFF, power_off)),
        ],
        &[(0x80, HANDLERS), (0x81, POWER_OFF)],
    );
    assert_clean(&Experiment::with_kernel(kernel).exact().run(), 51);
}
