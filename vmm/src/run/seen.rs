//! What has been seen of the guest so far, as far as the next event needs it.

use super::bios_calls::BiosCall;
use super::departure::Departure;
use super::unjudged::FirstIdt;
use crate::boot::sector::Sighting;
use crate::entry::{CallFrame, Frame, PendingSwitch, SysenterRegisters};
use ia32::State;

/// What a run knows of the way from the last event to the next. It is the guest's, and part of each checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The state before what happens next, where it is known.
    pub(super) departure: Option<Departure>,
    /// What the last return or task switch led to, until something is entered.
    pub(super) outward: Outward,
    /// A task switch that the vCPU stood in front of at the last stop.
    pub(super) switching: Option<PendingSwitch>,
    /// The frame of the last entry by a call gate, until an outer ring is left for.
    pub(super) called: Option<CallFrame>,
    /// The TSS that was entered by a task gate last, until its task is left.
    pub(super) gate_task: Option<u16>,
    /// An outer ring may have been left for unseen, since call gates were looked for last.
    pub(super) left_unseen: bool,
    /// Entries so far.
    pub(super) sequence: u64,
    /// The registers at the last stop.
    pub(super) last_state: State,
    /// What SYSENTER loads, as far as the guest was seen to set it.
    pub(super) sysenter: SysenterRegisters,
    /// The first IDT behind a BIOS, once it has been found.
    pub(super) first_idt: Option<FirstIdt>,
    /// The base of the IDT that was loaded by the last LIDT behind a BIOS that was seen.
    pub(super) lidt_base: Option<u32>,
    /// Places that sectors which were read have told of, and that nobody has looked at so far.
    pub(super) sightings: Vec<Sighting>,
    /// What was asked of a BIOS that is not there.
    pub(super) bios_calls: Vec<BiosCall>,
    /// The first RDTSC that was stepped.
    pub(super) time_stamp: Option<u32>,
    /// KVM was seen to hold interrupts off for one instruction when asked to.
    pub(super) holds_interrupts: bool,
}

/// What a return or a switch to an outer ring led to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outward {
    /// The privilege level, until something is entered.
    pub(super) ring: Option<u8>,
    /// Ring 3 has been returned to, and that has not been told yet.
    pub(super) untold: bool,
    /// The frame of the last entry, until something is returned from.
    pub(super) entered: Option<Frame>,
}
