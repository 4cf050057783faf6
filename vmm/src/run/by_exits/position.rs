//! Where a run is among its exits.

use crate::machine::MemoryImage;
use crate::recording::PackedImage;
use std::sync::Arc;

/// Where a run is among its exits.
#[derive(Clone, Debug)]
pub(in crate::run) struct Position {
    /// Exits that counted, preemptions among them.
    pub(super) exits: u64,
    /// A digest of them.
    pub(super) digest: u64,
    /// The vCPU stands where the last of them left it.
    pub(super) at_exit: bool,
    /// The exit at an open window is asked for, since an interrupt waits.
    pub(super) window: bool,
    pub(super) preemptions: usize,
    pub(super) base: Base,
}

impl Position {
    /// Pages that it takes, and that neither `other` has nor `memory`.
    pub(in crate::run) fn pages_beside(&self, other: &Position, memory: &MemoryImage) -> usize {
        self.base.pages_beside(&other.base, memory)
    }
}

impl Default for Position {
    fn default() -> Self {
        Position {
            exits: 0,
            digest: 0,
            at_exit: true,
            window: false,
            preemptions: 0,
            base: Base::None,
        }
    }
}

/// Memory at the last preemption, without probes.
///
/// A guest may rewrite all of its memory between two preemptions. So many checkpoints would each hold two whole
/// images; they hold one, and this one as what differs from it.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// There was no preemption.
    None,
    Whole(MemoryImage),
    /// Shared by the checkpoints that were taken since.
    Packed(Arc<PackedImage>),
}

impl Base {
    /// There was no preemption.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Base::None)
    }

    /// The image.
    pub(super) fn image(&self) -> Option<MemoryImage> {
        match self {
            Base::None => None,
            Base::Whole(image) => Some(image.clone()),
            Base::Packed(packed) => Some(packed.unpack()),
        }
    }

    /// The same, for it is going to be another one.
    pub(super) fn take(&mut self) -> Option<MemoryImage> {
        match std::mem::replace(self, Base::None) {
            Base::Whole(image) => Some(image),
            base => base.image(),
        }
    }

    /// Holds only what differs from `memory`.
    pub(super) fn pack(&mut self, memory: &MemoryImage) {
        if let Base::Whole(image) = self {
            *self = Base::Packed(Arc::new(PackedImage::of(image, memory)));
        }
    }

    fn is_packed_as(&self, one: &Arc<PackedImage>) -> bool {
        matches!(self, Base::Packed(packed) if Arc::ptr_eq(packed, one))
    }

    /// Pages that it takes, and that neither `other` has nor `memory`.
    fn pages_beside(&self, other: &Base, memory: &MemoryImage) -> usize {
        let beside = match other {
            Base::None => memory,
            Base::Whole(image) => image,
            Base::Packed(packed) => packed.beside(),
        };
        match self {
            Base::None => 0,
            Base::Whole(image) => image.pages_in_neither(memory, beside),
            Base::Packed(packed) if other.is_packed_as(packed) => 0,
            Base::Packed(packed) => {
                packed.beside().pages_in_neither(memory, beside) + packed.size().div_ceil(4096)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_is_packed_is_the_same_and_takes_little() {
        let mut image = MemoryImage::zero(8 << 20);
        (0..2000).for_each(|page| image.set_page(page, &[page as u8 | 1; 4096]));
        let mut memory = MemoryImage::zero(8 << 20);
        for page in 0..2000 {
            let mut bytes = *image.page(page);
            bytes[5] ^= 0x80;
            memory.set_page(page, &bytes);
        }
        let mut base = Base::Whole(image.clone());
        assert_eq!(base.pages_beside(&Base::None, &memory), 2000);
        base.pack(&memory);
        let kept = base.clone();
        assert!(kept.pages_beside(&Base::None, &memory) < 20);
        // It is packed once, and the next checkpoint shares it.
        base.pack(&image);
        assert!(
            matches!((&base, &kept), (Base::Packed(one), Base::Packed(two)) if Arc::ptr_eq(one, two))
        );
        let back = base.take().unwrap();
        assert!(base.is_none());
        assert!((0..2048).all(|page| back.page(page) == image.page(page)));
    }
}
