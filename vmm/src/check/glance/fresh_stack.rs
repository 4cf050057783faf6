//! A stack that TSS.ESP0 names and that nobody was on yet.

use crate::check::objects::Objects;
use crate::entry::Return;
use crate::machine::LinearMemory;
use ia32::TssWidth;

/// How much below ESP0 is kept: no frame is larger.
pub(in crate::check) const BELOW: usize = 40;

/// A stack that TSS.ESP0 names and that no entry was on yet, in front of the return to an outer ring.
#[derive(Clone, Debug)]
pub(in crate::check) struct FreshStack {
    /// Linear address of SS0:ESP0.
    pub(in crate::check) top: u32,
    /// The bytes right below.
    pub(in crate::check) below: [u8; BELOW],
    /// How many bytes from there on are all the same, up to a page.
    pub(in crate::check) unused_above: u32,
    /// One of those words is an address of code: what returns leave on a stack, such as the one that the
    /// kernel booted on.
    pub(in crate::check) was_stack: bool,
    /// How many of the [`DENSE`] words right below are not zero.
    pub(in crate::check) filled_below: u32,
}

/// So many words below ESP0 are looked at.
pub(in crate::check) const DENSE: u32 = 64;

impl FreshStack {
    /// None where an entry from an outer ring `was_on` the stack with that top, or the kernel runs on it.
    pub(super) fn read(
        linear: &LinearMemory<'_>,
        returning: &Return,
        objects: &Objects,
        was_on: impl Fn(u32) -> bool,
    ) -> Option<FreshStack> {
        const PAGE: usize = 4096;
        let state = &returning.state;
        if TssWidth::from_type(state.tr.ty()) != Some(TssWidth::Bits32) {
            return None;
        }
        let esp0 = linear.read_u32(state.tr.base.wrapping_add(4))?;
        let top = state.ss().base.wrapping_add(esp0);
        // The kernel runs on it, or the frame lies at its top: it is in use.
        let lowest = match objects.at(top.wrapping_sub(1)) {
            Some(object) => object.start,
            None => top.wrapping_sub(PAGE as u32),
        };
        if was_on(top) || (lowest..top).contains(&returning.frame.address) {
            return None;
        }
        let mut below = [0; BELOW];
        linear.read(top.wrapping_sub(BELOW as u32), &mut below)?;
        let mut page = [0; PAGE];
        let count = linear.read_some(top, &mut page);
        let unused = page[..count].iter().take_while(|byte| **byte == page[0]).count() as u32;
        let mut words = [0; DENSE as usize * 4];
        let _ = linear.read(top.wrapping_sub(DENSE * 4), &mut words);
        let words = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        let filled = words.clone().filter(|word| *word != 0).count() as u32;
        let was_stack = words.into_iter().any(|word| objects.function_at(word).is_some());
        Some(FreshStack { top, below, unused_above: unused, was_stack, filled_below: filled })
    }
}
