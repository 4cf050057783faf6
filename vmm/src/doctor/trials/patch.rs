//! Instructions that leave the VM, put over the guest's own.

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{
    KERNEL_CODE, KERNEL_ESP, OUT, SYSTEM_CALL, USER_CODE, USER_CS, USER_DS, USER_ESP,
};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use crate::machine::Exit;
use ia32::{State, Vector, Word};
use iced_x86::code_asm::{eax, ebx};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "probe by out",
        shows: "over a no-op: stops with EIP at it, goes on behind it",
        need: Need::Needed,
        run: out,
    },
    Trial {
        name: "probe by hlt",
        shows: "over any instruction: stops with EIP behind it; put back, it can be stepped",
        need: Need::Needed,
        run: halt,
    },
    Trial {
        name: "probe by hlt on iret",
        shows: "stepped, it leads to ring 3, and the next frame shows no TF",
        need: Need::Needed,
        run: halt_on_iret,
    },
];

const HLT: u8 = 0xf4;

fn out(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let at = lab.code(KERNEL_CODE, |a| a.inc(eax))?;
    lab.write(at, &OUT);
    let end = lab.code(at + OUT.len() as u32, |a| {
        a.inc(eax)?;
        a.hlt()
    })?;
    let before = start::kernel();
    lab.start(&before)?;
    let stopped = lab.run_to(Stop::Marker(at))?;
    Wrong::unless_equal("EIP at the stop", at, stopped.eip)?;
    let mut expected = before.general;
    expected.eax += 1;
    Wrong::unless(
        stopped.general == expected,
        format!("general registers {expected:08x?}"),
        format!("{:08x?}", stopped.general),
    )?;
    let after = lab.run_to(Stop::Exit(Exit::Halt))?;
    Wrong::unless_equal("EAX", before.general.eax + 2, after.general.eax)?;
    Wrong::unless_equal("EIP", end, after.eip)
}

/// Stops at a HLT at `address`, puts `original` back there, and goes back to it.
fn displace(lab: &mut Lab<'_>, address: u32, original: u8) -> Result<(), Wrong> {
    lab.write(address, &[HLT]);
    let stopped = lab.run_to(Stop::Exit(Exit::Halt))?;
    Wrong::unless_equal("EIP at the stop", address + 1, stopped.eip)?;
    lab.write(address, &[original]);
    lab.machine.vcpu.set_eip(address);
    Ok(())
}

fn halt(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    const VALUE: u32 = 0x5eed_0001;
    let at = lab.code(KERNEL_CODE, |a| a.inc(eax))?;
    let next = lab.code(at, |a| a.mov(ebx, VALUE))?;
    lab.code(next, |a| a.hlt())?;
    const MOV_EBX: u8 = 0xbb;
    lab.start(&start::kernel())?;
    displace(lab, at, MOV_EBX)?;
    let stepped = lab.step_to(next)?;
    Wrong::unless_equal("EBX", VALUE, stepped.general.ebx)?;
    // The patch again, with an instruction cache that may know the original.
    lab.machine.vcpu.set_eip(at);
    displace(lab, at, MOV_EBX)
}

fn halt_on_iret(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    const IRETD: u8 = 0xcf;
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let user = start::user();
    lab.write_words(
        KERNEL_ESP,
        &[USER_CODE, USER_CS.into(), user.eflags.0, USER_ESP, USER_DS.into()],
    );
    lab.start(&start::kernel())?;
    displace(lab, KERNEL_CODE, IRETD)?;
    let returned = lab.step_to(USER_CODE)?;
    Wrong::unless_equal("ESP", USER_ESP, returned.general.esp)?;
    Wrong::unless_equal("CS", USER_CS.into(), returned.cs().selector.into())?;
    Wrong::unless_equal("EFLAGS", user.eflags.0, returned.eflags.0)?;
    let vector = Vector(SYSTEM_CALL);
    let after = lab.run_to(Stop::Entry(vector))?;
    let entry = Entry { before: State { eip: next, ..returned }, vector, error_code: None };
    entry.check(lab, &after)?;
    let eflags = pushed(lab, &entry, &after, Word::Eflags);
    Wrong::unless_equal("pushed EFLAGS", user.eflags.0, eflags)
}
