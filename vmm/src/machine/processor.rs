//! What the model has to know of the processor that executes the guest.

use ia32::{Processor, Vendor};
use std::arch::x86_64::__cpuid;

/// The processor below, by CPUID. The guest sees the same: its CPUID leaves are those that KVM
/// supports.
pub fn processor() -> Processor {
    let leaf = __cpuid(0);
    let amd = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
    let leaves = __cpuid(0x8000_0000).eax;
    let physical_bits =
        if leaves >= 0x8000_0008 { (__cpuid(0x8000_0008).eax & 0xff) as u8 } else { 36 };
    Processor {
        vendor: if amd { Vendor::Amd } else { Vendor::Intel },
        physical_bits: physical_bits.clamp(32, 40),
        pse36: __cpuid(1).edx & (1 << 17) != 0,
        ..Processor::INTEL
    }
}
