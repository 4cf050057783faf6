//! What the model has to know of the processor that executes the guest.

use super::{Authority, Backend};
use ia32::{Processor, Vendor};
use std::arch::x86_64::__cpuid;
use std::sync::OnceLock;

/// The processor behind /dev/kvm. The guest sees the same: its CPUID leaves are those that KVM supports.
///
/// It is looked at once, for a sandbox may take away what tells.
pub fn processor() -> Processor {
    static PROCESSOR: OnceLock<Processor> = OnceLock::new();
    *PROCESSOR.get_or_init(|| {
        let leaf = __cpuid(0);
        let signature = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat();
        let leaves = __cpuid(0x8000_0000).eax;
        let physical_bits =
            if leaves >= 0x8000_0008 { (__cpuid(0x8000_0008).eax & 0xff) as u8 } else { 36 };
        Processor {
            vendor: vendor(&signature),
            physical_bits: physical_bits.clamp(32, 40),
            pse36: __cpuid(1).edx & (1 << 17) != 0,
            inner_stack_bytes: inner_stack_bytes(Backend::detect().authority),
        }
    })
}

/// Whose way the processor with this CPUID signature goes: Hygon's are made after AMD's, the others
/// after Intel's.
fn vendor(signature: &[u8]) -> Vendor {
    match signature {
        b"AuthenticAMD" | b"HygonGenuine" => Vendor::Amd,
        _ => Vendor::Intel,
    }
}

/// QEMU reads the reserved half of SS0 too (target/i386/tcg/seg_helper.c, get_ss_esp_from_tss).
fn inner_stack_bytes(authority: Authority) -> u8 {
    match authority {
        Authority::Tcg => 8,
        Authority::Silicon | Authority::Unconfirmed | Authority::Emulated => {
            Processor::INTEL.inner_stack_bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amds_way_is_gone_by_amd_and_hygon() {
        assert_eq!(vendor(b"AuthenticAMD"), Vendor::Amd);
        assert_eq!(vendor(b"HygonGenuine"), Vendor::Amd);
        assert_eq!(vendor(b"GenuineIntel"), Vendor::Intel);
        assert_eq!(vendor(b"CentaurHauls"), Vendor::Intel);
    }

    #[test]
    fn how_much_of_a_tss_is_read_is_the_models_own() {
        assert_eq!(inner_stack_bytes(Authority::Tcg), 8);
        assert_eq!(inner_stack_bytes(Authority::Silicon), 6);
    }
}
