//! What CPUID tells a guest: this processor, without what the machine around it has not got.
//!
//! KVM_GET_SUPPORTED_CPUID says what KVM *can* do, and some of that takes an interrupt controller in the
//! kernel or another device that is not there. A kernel believes these bits: it switches to x2APIC mode and
//! gets #GP. So each bit whose device is missing is cleared, by a table.

use super::model::Model;
use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// A register of a leaf.
#[derive(Clone, Copy)]
enum Register {
    Ecx,
    Edx,
}
use Register::{Ecx, Edx};

/// Bits of features that are not there, by leaf and register: those whose device is missing, and ways into a kernel that
/// esp0 does not watch.
const MISSING: [(u32, Register, u8, &str); 10] = [
    (1, Ecx, 3, "MONITOR and MWAIT"),
    (1, Ecx, 5, "VMX"),
    (1, Ecx, 15, "IA32_PERF_CAPABILITIES"),
    (1, Ecx, 21, "x2APIC"),
    (1, Ecx, 24, "the APIC timer's TSC deadline"),
    (1, Ecx, 31, "a hypervisor's leaves"),
    (0x8000_0001, Ecx, 2, "SVM"),
    (0x8000_0001, Ecx, 3, "the extended APIC space"),
    (0x8000_0001, Edx, 11, "SYSCALL, which Intel's processors have in long mode only"),
    (0x8000_0001, Edx, 29, "long mode"),
];

/// Bits of features that this machine has, whatever KVM says of them.
const PRESENT: [(u32, Register, u8, &str); 1] = [(1, Edx, 9, "a local APIC")];

/// Leaves that describe what is not there: MONITOR, performance counters, x2APIC topology, SVM, and all
/// that a hypervisor says of itself.
const MISSING_LEAVES: [u32; 5] = [0x5, 0xA, 0xB, 0x1F, 0x8000_000A];
const HYPERVISOR_LEAVES: std::ops::Range<u32> = 0x4000_0000..0x5000_0000;

/// What CPUID tells of this `model`: the leaves of `supported` without what this machine lacks.
///
/// # Errors
/// If there are more leaves than KVM takes, which cannot be.
pub(super) fn without_missing_devices(
    supported: &CpuId,
    model: &Model,
) -> Result<CpuId, vmm_sys_util::fam::Error> {
    let leaves: Vec<kvm_cpuid_entry2> = supported
        .as_slice()
        .iter()
        .filter(|leaf| !HYPERVISOR_LEAVES.contains(&leaf.function))
        .map(|leaf| adjusted(*leaf))
        .collect();
    CpuId::from_entries(&model.leaves(&leaves))
}

fn adjusted(mut leaf: kvm_cpuid_entry2) -> kvm_cpuid_entry2 {
    if MISSING_LEAVES.contains(&leaf.function) {
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0);
    }
    let mut change = |table: &[(u32, Register, u8, &str)], on: bool| {
        for (function, register, bit, _) in table {
            if *function != leaf.function {
                continue;
            }
            let register = match register {
                Ecx => &mut leaf.ecx,
                Edx => &mut leaf.edx,
            };
            *register = if on { *register | 1 << bit } else { *register & !(1 << bit) };
        }
    };
    change(&MISSING, false);
    change(&PRESENT, true);
    if leaf.function == 1 {
        // One processor, APIC ID 0.
        leaf.ebx &= 0x0000_FFFF;
        leaf.ebx |= 1 << 16;
        leaf.edx &= !(1 << 28);
    }
    leaf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_devices_are_not_announced_and_the_local_apic_is() {
        let all = |function| kvm_cpuid_entry2 {
            function,
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
            ..kvm_cpuid_entry2::default()
        };
        let leaves = [0, 1, 0xB, 0x4000_0000, 0x8000_0001].map(all);
        let cpuid =
            without_missing_devices(&CpuId::from_entries(&leaves).unwrap(), &Model::default());
        let cpuid = cpuid.unwrap();
        let leaf = |function| cpuid.as_slice().iter().find(|leaf| leaf.function == function);
        let features = leaf(1).unwrap();
        assert_eq!(features.ecx & (1 << 21 | 1 << 24 | 1 << 31 | 1 << 3), 0);
        assert_eq!(features.edx & (1 << 9 | 1 << 28), 1 << 9);
        assert_eq!(features.ebx, 0x0001_FFFF);
        assert_eq!(leaf(0x8000_0001).unwrap().edx, !(1 << 11 | 1 << 29));
        assert_eq!(leaf(0xB).unwrap().eax, 0);
        assert_eq!(leaf(0).unwrap().eax, u32::MAX);
        assert!(leaf(0x4000_0000).is_none());
    }
}
