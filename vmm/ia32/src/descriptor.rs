//! Segment and system descriptors as they stand in the GDT and the LDT
//! (SDM vol. 3A, "Segment descriptors" and "System descriptor types").
//!
//! ```text
//!  63       56 55 54 53 52 51   48 47 46 45 44 43   40 39          16 15            0
//! ┌───────────┬──┬──┬──┬──┬───────┬──┬─────┬──┬───────┬──────────────┬──────────────┐
//! │base 31:24 │G │DB│L │AV│lim19:1│P │ DPL │S │ type  │  base 23:0   │  limit 15:0  │
//! └───────────┴──┴──┴──┴──┴───────┴──┴─────┴──┴───────┴──────────────┴──────────────┘
//! ```

use crate::state::Segment;

/// An eight-byte descriptor, undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

/// What a descriptor describes, as far as entering a kernel cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorKind {
    /// A code segment.
    Code {
        /// It runs at the caller's privilege level.
        conforming: bool,
        /// It can be read as data.
        readable: bool,
    },
    /// A data or stack segment.
    Data {
        /// The segment grows down: valid offsets lie above the limit.
        expand_down: bool,
        /// It can be written.
        writable: bool,
    },
    /// A task-state segment.
    Tss {
        /// 32-bit layout (104 bytes) rather than 16-bit (44 bytes).
        wide: bool,
        /// The task is running or was left by a nested switch.
        busy: bool,
    },
    /// A local descriptor table.
    Ldt,
    /// A call, task, interrupt or trap gate; the number is the four-bit type.
    Gate(u8),
    /// A type the manual reserves.
    Reserved(u8),
}

impl Descriptor {
    /// Linear address of the segment's first byte.
    pub const fn base(self) -> u32 {
        ((self.0 >> 16) & 0x00ff_ffff) as u32 | ((self.0 >> 32) & 0xff00_0000) as u32
    }

    /// The last valid offset in bytes, granularity applied.
    pub const fn limit(self) -> u32 {
        let raw = (self.0 & 0xffff) as u32 | ((self.0 >> 32) & 0x000f_0000) as u32;
        if self.granularity() { (raw << 12) | 0xfff } else { raw }
    }

    /// G: the limit counts 4 KiB pages.
    pub const fn granularity(self) -> bool {
        self.0 & (1 << 55) != 0
    }

    /// P: the segment is present.
    pub const fn present(self) -> bool {
        self.0 & (1 << 47) != 0
    }

    /// Descriptor privilege level, 0 to 3.
    pub const fn dpl(self) -> u8 {
        ((self.0 >> 45) & 3) as u8
    }

    /// D/B: 32-bit code, or a stack addressed by ESP rather than SP.
    pub const fn big(self) -> bool {
        self.0 & (1 << 54) != 0
    }

    /// Bits 40 to 55 with the limit's taken out: type, S, DPL, P, AVL, L, D/B, G, in the layout of
    /// [`Segment::attributes`].
    pub const fn attributes(self) -> u16 {
        ((self.0 >> 40) & 0xf0ff) as u16
    }

    /// The accessed bit of a code or data segment.
    pub const fn accessed(self) -> bool {
        self.0 & (1 << 40) != 0
    }

    /// The same, accessed.
    #[must_use]
    pub const fn with_accessed(self) -> Self {
        Descriptor(self.0 | 1 << 40)
    }

    /// Byte 5, which holds type, S, DPL and P: the only one that the processor itself changes.
    pub const fn access_byte(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// What it describes.
    pub const fn kind(self) -> DescriptorKind {
        let ty = ((self.0 >> 40) & 0xf) as u8;
        if self.0 & (1 << 44) != 0 {
            return if ty & 8 != 0 {
                DescriptorKind::Code { conforming: ty & 4 != 0, readable: ty & 2 != 0 }
            } else {
                DescriptorKind::Data { expand_down: ty & 4 != 0, writable: ty & 2 != 0 }
            };
        }
        match ty {
            1 | 3 | 9 | 11 => DescriptorKind::Tss { wide: ty & 8 != 0, busy: ty & 2 != 0 },
            2 => DescriptorKind::Ldt,
            4..=7 | 12 | 14 | 15 => DescriptorKind::Gate(ty),
            _ => DescriptorKind::Reserved(ty),
        }
    }

    /// The hidden part that loading this descriptor gives a segment register.
    pub const fn segment(self, selector: u16) -> Segment {
        Segment { selector, attributes: self.attributes(), base: self.base(), limit: self.limit() }
    }

    /// Builds a descriptor. `limit` is the twenty-bit field as it stands, `attributes` as in
    /// [`Segment::attributes`].
    pub const fn new(base: u32, limit: u32, attributes: u16) -> Self {
        let base = base as u64;
        let limit = limit as u64;
        Descriptor(
            (limit & 0xffff)
                | ((base & 0x00ff_ffff) << 16)
                | (((attributes & 0xf0ff) as u64) << 40)
                | ((limit & 0xf_0000) << 32)
                | ((base & 0xff00_0000) << 32),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flat kernel code segment that almost every 32-bit kernel has.
    const FLAT_CODE: Descriptor = Descriptor(0x00cf_9a00_0000_ffff);
    /// Linux 0.12's kernel code segment: 16 MiB.
    const LINUX_012_CODE: Descriptor = Descriptor(0x00c0_9a00_0000_0fff);

    #[test]
    fn flat_code_spans_four_gigabytes() {
        assert_eq!(FLAT_CODE.base(), 0);
        assert_eq!(FLAT_CODE.limit(), 0xffff_ffff);
        assert_eq!(FLAT_CODE.kind(), DescriptorKind::Code { conforming: false, readable: true });
        assert_eq!(FLAT_CODE.dpl(), 0);
        assert!(FLAT_CODE.present() && FLAT_CODE.big());
    }

    #[test]
    fn linux_012_code_spans_sixteen_megabytes() {
        assert_eq!(LINUX_012_CODE.limit(), 0x00ff_ffff);
    }

    #[test]
    fn a_built_descriptor_reads_back() {
        assert_eq!(Descriptor::new(0, 0xf_ffff, FLAT_CODE.attributes()), FLAT_CODE);
        let odd = Descriptor::new(0x1234_5678, 0xa_bcde, 0x40f2);
        assert_eq!((odd.base(), odd.limit(), odd.dpl()), (0x1234_5678, 0xa_bcde, 3));
        assert_eq!(odd.kind(), DescriptorKind::Data { expand_down: false, writable: true });
    }

    #[test]
    fn a_busy_task_state_segment_is_seen() {
        let tss = Descriptor::new(0xc010_0000, 103, 0x008b);
        assert_eq!(tss.kind(), DescriptorKind::Tss { wide: true, busy: true });
        assert_eq!(tss.limit(), 103);
    }
}
