//! IRET (SDM vol. 2A, "IRET/IRETD").

use super::super::lab::Lab;
use super::super::layout::{
    KERNEL_CODE, KERNEL_CS, KERNEL_DS, KERNEL_ESP, PORT, USER_CODE, USER_CS, USER_DS, USER_ESP,
    USER_STACK,
};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{Eflags, Segment, SegmentRegister, State};
use iced_x86::code_asm::al;

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "iret to ring 3",
        shows: "registers and flags are those of the frame",
        need: Need::Needed,
        run: |lab| to_ring_3(lab).map(drop),
    },
    Trial {
        name: "iret within ring 0",
        shows: "three words are popped",
        need: Need::Needed,
        run: within_ring_0,
    },
    Trial {
        name: "segments at iret",
        shows: "what ring 3 may not hold becomes null",
        need: Need::Exact(None),
        run: kernel_segments,
    },
];

/// IOPL 3 lets the user's OUT leave the VM, so that ring 3 is seen without another entry.
const FLAGS: Eflags = Eflags(0x3000 | 0x202 | 0x400 | 0x41);

fn to_ring_3(lab: &mut Lab<'_>) -> Result<State, Wrong> {
    lab.code(KERNEL_CODE, |a| a.iretd())?;
    lab.code(USER_CODE, |a| a.out(u32::from(PORT), al))?;
    let esp = USER_STACK + 0x123;
    lab.write_words(KERNEL_ESP, &[USER_CODE, USER_CS.into(), FLAGS.0, esp, USER_DS.into()]);
    let mut before = start::kernel();
    before.segments[SegmentRegister::Fs as usize] = start::user().segments[0];
    lab.start(&before)?;
    let after = lab.run_to(Stop::Marker(USER_CODE))?;
    let user = start::user();
    let mut expected = before;
    expected.general.esp = esp;
    Wrong::unless(
        after.general == expected.general,
        format!("general registers {:08x?}", expected.general),
        format!("{:08x?}", after.general),
    )?;
    Wrong::unless_equal("EFLAGS", FLAGS.0, after.eflags.0)?;
    for (name, expected, got) in [
        ("CS", user.cs(), after.cs()),
        ("SS", user.ss(), after.ss()),
        ("FS", user.ss(), after.segment(SegmentRegister::Fs)),
    ] {
        // Loading a descriptor and reading it back may lose no more than what nobody sees.
        Wrong::unless(expected == got, format!("{name} {expected:x?}"), format!("{got:x?}"))?;
    }
    Wrong::unless(after.cpl() == 3, "ring 3", format!("ring {}", after.cpl()))?;
    Ok(after)
}

fn within_ring_0(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(KERNEL_CODE, |a| a.iretd())?;
    let target = KERNEL_CODE + 0x100;
    lab.code(target, |a| a.out(u32::from(PORT), al))?;
    let eflags = Eflags::FIXED | Eflags::CF | Eflags::IF;
    lab.write_words(KERNEL_ESP, &[target, KERNEL_CS.into(), eflags.0, USER_ESP, USER_DS.into()]);
    lab.start(&start::kernel())?;
    let after = lab.run_to(Stop::Marker(target))?;
    Wrong::unless_equal("ESP", KERNEL_ESP + 12, after.general.esp)?;
    Wrong::unless_equal("SS", KERNEL_DS.into(), after.ss().selector.into())?;
    Wrong::unless_equal("EFLAGS", eflags.0, after.eflags.0)
}

fn kernel_segments(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let after = to_ring_3(lab)?;
    for (name, register) in
        [("DS", SegmentRegister::Ds), ("ES", SegmentRegister::Es), ("GS", SegmentRegister::Gs)]
    {
        let Segment { selector, .. } = *after.segment(register);
        Wrong::unless_equal(name, 0, selector.into()).map_err(Wrong::measured)?;
    }
    Ok(())
}
