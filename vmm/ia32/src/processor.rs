//! What differs between processors, as far as an event can tell.

/// Whose manual holds where the two differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// The SDM.
    #[default]
    Intel,
    /// The APM.
    Amd,
}

/// The properties of a processor that decide about an event.
///
/// Modelled vendor differences: NMIs are unblocked by an IRET that faults (Intel), or only by one
/// that completes (AMD); the RF pushed for an instruction breakpoint; 4 MiB pages above 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Processor {
    /// Whose manual holds.
    pub vendor: Vendor,
    /// MAXPHYADDR, as CPUID leaf 80000008H gives it: at most 40 of them can be used by a 4 MiB page
    /// (SDM vol. 3A, "32-bit paging").
    pub physical_bits: u8,
    /// PSE-36: bits 20:13 of a directory entry for a 4 MiB page are bits 39:32 of its address.
    pub pse36: bool,
    /// How many bytes from the stack pointer on must lie within a 32-bit TSS's limit when an inner
    /// ring's stack is read from it: 6 by editions of the SDM since 2019 (ESP and SS), 8 by those
    /// before (the reserved half of SS too; QEMU and Bochs do the same).
    pub inner_stack_bytes: u8,
}

impl Processor {
    /// A recent processor by Intel.
    pub const INTEL: Processor =
        Processor { vendor: Vendor::Intel, physical_bits: 40, pse36: true, inner_stack_bytes: 6 };
    /// A recent processor by AMD.
    pub const AMD: Processor = Processor { vendor: Vendor::Amd, ..Processor::INTEL };
}

impl Default for Processor {
    fn default() -> Self {
        Processor::INTEL
    }
}
