//! Breakpoints through KVM_SET_GUEST_DEBUG.

use super::super::frame::Entry;
use super::super::lab::Lab;
use super::super::layout::{KERNEL_CODE, PORT, SYSTEM_CALL, USER_CODE, handler};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use crate::machine::Exit;
use ia32::{Eflags, State, Vector};
use iced_x86::code_asm::{al, eax};
use kvm_bindings::KVM_EXIT_DEBUG;

/// A name that [`super::super::DoctorReport::breakpoints`] asks for.
pub(in super::super) const FOUR_BREAKPOINTS: &str = "four breakpoints";
/// The same, in the place where they are needed.
pub(in super::super) const AT_A_HANDLER: &str = "breakpoint at a handler";

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: FOUR_BREAKPOINTS,
        shows: "each debug register stops before its instruction; with RF set it goes on",
        need: Need::Useful,
        run: four,
    },
    Trial {
        name: AT_A_HANDLER,
        shows: "stops after an entry, before the handler's first instruction",
        need: Need::Useful,
        run: at_a_handler,
    },
    Trial {
        name: "breakpoint by INT3",
        shows: "INT3 leaves the VM and raises no #BP",
        need: Need::Useful,
        run: int3,
    },
];

fn four(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let mut places = [KERNEL_CODE; 4];
    let mut at = KERNEL_CODE;
    for place in &mut places {
        *place = at;
        at = lab.code(at, |a| a.inc(eax))?;
    }
    lab.code(at, |a| a.out(u32::from(PORT), al))?;
    let before = start::kernel();
    lab.start(&before)?;
    lab.machine.vcpu.set_breakpoints(&places.map(Some))?;
    for (executed, address) in (0..).zip(places) {
        let state = lab.run_to(Stop::Exit(Exit::Breakpoint { address }))?;
        Wrong::unless_equal("EIP", address, state.eip)?;
        Wrong::unless_equal("EAX", before.general.eax + executed, state.general.eax)?;
        lab.machine.vcpu.set_eflags((state.eflags | Eflags::RF).0);
    }
    let state = lab.run_to(Stop::Marker(at))?;
    Wrong::unless_equal("EAX", before.general.eax + 4, state.general.eax)
}

fn at_a_handler(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let before = start::user();
    lab.start(&before)?;
    let address = handler(SYSTEM_CALL);
    lab.machine.vcpu.set_breakpoints(&[None, None, None, Some(address)])?;
    let after = lab.run_to(Stop::Exit(Exit::Breakpoint { address }))?;
    let vector = Vector(SYSTEM_CALL);
    Entry { before: State { eip: next, ..before }, vector, error_code: None }.check(lab, &after)
}

fn int3(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(KERNEL_CODE, |a| a.int3())?;
    lab.start(&start::kernel())?;
    lab.machine.vcpu.intercept_int3(true)?;
    let state = lab.run_to(Stop::Exit(Exit::Other(KVM_EXIT_DEBUG)))?;
    Wrong::unless_equal("EIP", KERNEL_CODE, state.eip)
}
