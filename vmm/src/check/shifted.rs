//! A whole frame that lies some words beside where an IRET pops one.
//!
//! No entry shows what a task's first frame should hold. If the words at ESP are no valid frame, but those one or two
//! words away are, then ESP is off by that distance.

use crate::entry::Frame;
use crate::machine::LinearMemory;
use ia32::{DescriptorKind, Eflags, FrameShape, Selector, State, Word};

/// Such a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shifted {
    /// How many bytes above ESP it begins; negative: so many were taken off the stack too much.
    pub(super) bytes: i32,
    /// Its words.
    pub(super) frame: Frame,
}

/// In this order: what has been left on the stack lies below the frame; what was taken off too much is the frame's
/// own lowest words.
const PLACES: [i32; 8] = [4, -4, 8, -8, 12, 16, 20, 24];

/// The nearest frame beside that of the IRET that the processor stands in front of in `state`.
#[cold]
pub(super) fn near(linear: &LinearMemory<'_>, state: &State) -> Option<Shifted> {
    PLACES.into_iter().find_map(|bytes| {
        let frame = whole(linear, state, state.stack_address().wrapping_add(bytes as u32))?;
        Some(Shifted { bytes, frame })
    })
}

/// The frame at `address`, if each of its words is such as leads out of the kernel.
fn whole(linear: &LinearMemory<'_>, state: &State, address: u32) -> Option<Frame> {
    let shape = FrameShape {
        changes_stack: true,
        from_virtual_8086: false,
        error_code: false,
        word_size: 4,
    };
    let frame = Frame::read(linear, address, shape);
    let selector =
        |word| frame.get(word).filter(|value| *value <= 0xffff).map(|it| Selector(it as u16));
    let (cs, ss) = (selector(Word::Cs)?, selector(Word::Ss)?);
    let eflags = frame.get(Word::Eflags)?;
    let plain = Eflags(eflags).without(Eflags::RESERVED_ZERO).0 == eflags
        && (Eflags(eflags).contains(Eflags::FIXED) || Eflags(eflags).contains(Eflags::IF))
        && !Eflags(eflags).contains(Eflags::VM);
    let ring = cs.rpl();
    let code = linear.descriptor(state, cs)?;
    let stack = linear.descriptor(state, ss)?;
    let is_code = matches!(code.kind(), DescriptorKind::Code { .. }) && code.present();
    let is_stack =
        matches!(stack.kind(), DescriptorKind::Data { writable: true, .. }) && stack.present();
    let outward =
        ring > state.cpl() && ss.rpl() == ring && code.dpl() == ring && stack.dpl() == ring;
    let eip = code.base().wrapping_add(frame.get(Word::Eip)?);
    (plain && is_code && is_stack && outward && linear.read_u32(eip).is_some()).then_some(frame)
}

impl Shifted {
    /// `EIP 000001f1  CS 001b  EFLAGS 00001202  ESP 00109000  SS 0023`.
    pub(super) fn words(&self) -> String {
        let words = [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss]
            .into_iter()
            .filter_map(|word| {
                let value = self.frame.get(word)?;
                let selector = matches!(word, Word::Cs | Word::Ss);
                Some(if selector {
                    format!("{} {value:04x}", word.name())
                } else {
                    format!("{} {value:08x}", word.name())
                })
            });
        words.collect::<Vec<_>>().join("  ")
    }

    /// What has happened, in words.
    pub(super) fn reason(&self) -> String {
        let few = if self.bytes > 0 { "few" } else { "many" };
        format!(
            "{} bytes too {few} were removed from the stack: at {:08x} lies a whole frame, {}",
            self.bytes.unsigned_abs(),
            self.frame.address,
            self.words()
        )
    }

    /// What to do before the IRET at `eip`.
    pub(super) fn advice(&self, eip: u32) -> String {
        let bytes = self.bytes.unsigned_abs();
        if self.bytes > 0 {
            format!(
                "`add esp, {bytes}` before the IRET at {eip:08x}, or let the saved stack pointer be {bytes} higher"
            )
        } else {
            format!(
                "drop {bytes} bytes less before the IRET at {eip:08x}, or let the saved stack pointer be {bytes} lower"
            )
        }
    }
}
