//! Which cases can be run, and can be judged.
//!
//! A case has to be a state that a processor can be in; the manuals have to decide what comes of it;
//! and it has to end where the laboratory sees it end. What is refused is counted by its reason, so that
//! no part of the world is left out without a word.

use super::via::Via;
use ia32::paging::{AccessRequest, PagingControls, Privilege, translate};
use ia32::{
    Descriptor, DescriptorKind, Eflags, Processor, Segment, SegmentRegister, Selector, State, Table,
};
use std::fmt;

/// Why a case is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// No processor can be in this state, or the event cannot arise in it.
    Impossible,
    /// The source's code is not where it could be executed.
    NoSource,
    /// The model does not cover it.
    Unmodelled,
    /// The manuals do not decide what happens.
    Unspecified,
    /// Faults without end.
    Endless,
    /// It touches memory where there is none.
    BeyondMemory,
    /// It goes on where there is RAM, or where the next event is a page fault.
    NoLanding,
}

impl Unfit {
    /// All reasons.
    pub const ALL: [Unfit; 7] = [
        Unfit::Impossible,
        Unfit::NoSource,
        Unfit::Unmodelled,
        Unfit::Unspecified,
        Unfit::Endless,
        Unfit::BeyondMemory,
        Unfit::NoLanding,
    ];
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unfit::Impossible => "no processor can be in such a state",
            Unfit::NoSource => "the event's code cannot be executed",
            Unfit::Unmodelled => "not modelled",
            Unfit::Unspecified => "the manuals do not decide",
            Unfit::Endless => "faults without end",
            Unfit::BeyondMemory => "memory is used where there is none",
            Unfit::NoLanding => "it goes on where it would not stop",
        })
    }
}

/// Whether a processor can be in `state`, and the event arise in it.
pub(super) fn possible(state: &State, via: Via) -> bool {
    const ALLOWED_CR0: u32 = 0x8005_003f;
    const ALLOWED_CR4: u32 = 1 << 4 | 1 << 21;
    let virtual_8086 = state.virtual_8086();
    let plain = state.cr0 & !ALLOWED_CR0 == 0
        && state.cr0 & 0x11 == 0x11
        && state.cr4 & !ALLOWED_CR4 == 0
        && state.cr3 & 0xfff == 0
        && is_tss(&state.tr)
        && is_ldt(&state.ldtr);
    let segments = if virtual_8086 {
        state.segments.iter().all(|segment| *segment == Segment::virtual_8086(segment.selector))
    } else {
        code_and_stack(state)
            && state.segments.iter().enumerate().all(|(n, segment)| {
                let is_data =
                    n != SegmentRegister::Cs as usize && n != SegmentRegister::Ss as usize;
                !is_data || data(segment, state.cpl())
            })
    };
    let limits = state
        .segments
        .iter()
        .all(|segment| segment.limit <= 0xf_ffff || segment.limit & 0xfff == 0xfff);
    let length = via.instruction(state).map_or(1, |instruction| instruction.bytes().len() as u32);
    let last = state.eip.checked_add(length - 1);
    let narrow = virtual_8086 || !state.cs().big();
    let eip = last.is_some_and(|last| last <= state.cs().limit && (!narrow || last <= 0xffff));
    plain && segments && limits && eip && arises(state, via)
}

fn is_tss(tr: &Segment) -> bool {
    tr.present()
        && !tr.is_code_or_data()
        && matches!(tr.ty(), 3 | 11)
        && !tr.selector().is_null()
        && tr.selector().table() == Table::Gdt
        && tr.limit <= 0xf_ffff
}

fn is_ldt(ldtr: &Segment) -> bool {
    let used =
        ldtr.present() && !ldtr.is_code_or_data() && ldtr.ty() == 2 && !ldtr.selector().is_null();
    let null = !ldtr.present() && ldtr.selector().is_null();
    (used || null) && ldtr.selector().table() == Table::Gdt && ldtr.limit <= 0xf_ffff
}

fn code_and_stack(state: &State) -> bool {
    let (cs, ss, cpl) = (state.cs(), state.ss(), state.cpl());
    let code = cs.present()
        && cs.is_code()
        && cs.selector().rpl() == cpl
        && !cs.selector().is_null()
        && (if cs.is_conforming() { cs.dpl() <= cpl } else { cs.dpl() == cpl });
    let stack = ss.present()
        && ss.is_code_or_data()
        && ss.ty() & 0b1010 == 0b0010
        && ss.selector().rpl() == cpl
        && !ss.selector().is_null();
    code && stack
}

fn data(segment: &Segment, cpl: u8) -> bool {
    if !segment.present() {
        return segment.selector().is_null() && segment.attributes == 0;
    }
    !segment.selector().is_null()
        && segment.is_code_or_data()
        && (!segment.is_code() || segment.ty() & 2 != 0)
        && segment.ty() & 1 != 0
        && (segment.is_conforming() || segment.dpl() >= cpl.max(segment.selector().rpl()))
}

/// Whether the event arises in this state, and no other before or after it.
fn arises(state: &State, via: Via) -> bool {
    let flags = state.eflags;
    // STI's shadow needs IF; the first instruction behind it is the event's.
    let shadow = match state.interrupt_shadow {
        0 => true,
        1 | 2 => flags.contains(Eflags::IF) && via.instruction(state).is_some(),
        _ => false,
    };
    let possible = match via {
        Via::Interrupt(_) => state.interruptible(),
        Via::Nmi => !state.nmi_blocked,
        // A trap flag that is set would trap behind the instruction.
        Via::Iret(_) | Via::Jump(_) | Via::Call(_) => !flags.contains(Eflags::TF),
        Via::Beyond => !state.virtual_8086() && state.gdtr.limit < 0xfff8,
        Via::NotPresent | Via::NoStack => !state.virtual_8086() && state.cr4 >> 21 == 0,
        Via::Fetch => state.paging(),
        _ => true,
    };
    shadow && possible
}

/// A page walk without effects, by code in the state's ring.
pub(super) fn walk(
    state: &State,
    memory: &[u8],
    linear: u32,
    processor: &Processor,
) -> ia32::paging::Translation {
    let access = AccessRequest { write: false, privilege: Privilege::of(state.cpl()) };
    // SMAP does not concern fetches.
    let paging = PagingControls { smap: false, ..PagingControls::from(state) };
    translate(memory, &paging, linear, access, processor)
}

/// Whether the selector's descriptor is where MOV finds it, and absent as the event wants it.
pub(super) fn absent_descriptor(
    state: &State,
    memory: &[u8],
    selector: u16,
    processor: &Processor,
) -> bool {
    let selector = Selector(selector);
    if selector.offset() + 7 > u32::from(state.gdtr.limit) {
        return false;
    }
    let at = state.gdtr.base.wrapping_add(selector.offset());
    let mut bytes = 0u64;
    for n in 0..8 {
        let found = walk(
            &State { eflags: Eflags(2), ..supervisor(state) },
            memory,
            at.wrapping_add(n),
            processor,
        );
        let (Ok(address), None, None) = (found.result, found.directory, found.table) else {
            return false;
        };
        let Some(byte) = memory.get(address as usize) else { return false };
        bytes |= u64::from(*byte) << (8 * n);
    }
    let descriptor = Descriptor(bytes);
    !descriptor.present()
        && matches!(descriptor.kind(), DescriptorKind::Data { writable: true, .. })
        && descriptor.dpl() == selector.rpl()
}

/// The state with ring 0's rights to pages.
fn supervisor(state: &State) -> State {
    let mut state = *state;
    state.segments[SegmentRegister::Ss as usize].attributes &= !(3 << 5);
    state
}
