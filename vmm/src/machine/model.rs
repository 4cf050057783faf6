//! Which processor a guest is told that it has: this one, or an older one.
//!
//! A kernel asks CPUID and goes another way for each answer; a named model takes it the same way on every
//! machine. It changes what CPUID says and nothing else: an instruction that the model lacks still works.
//! Sources: SDM vol. 2A, "CPUID"; signatures and features of the models from Intel's AP-485, "Intel Processor
//! Identification and the CPUID Instruction".

use kvm_bindings::kvm_cpuid_entry2;
use std::str::FromStr;
use thiserror::Error;

/// The features of leaf 1 that have a name here, as Linux calls them: in ECX or not, and the bit.
const FEATURES: [(&str, bool, u8); 35] = [
    ("fpu", false, 0),
    ("vme", false, 1),
    ("de", false, 2),
    ("pse", false, 3),
    ("tsc", false, 4),
    ("msr", false, 5),
    ("pae", false, 6),
    ("mce", false, 7),
    ("cx8", false, 8),
    ("apic", false, 9),
    ("sep", false, 11),
    ("mtrr", false, 12),
    ("pge", false, 13),
    ("mca", false, 14),
    ("cmov", false, 15),
    ("pat", false, 16),
    ("pse36", false, 17),
    ("clflush", false, 19),
    ("mmx", false, 23),
    ("fxsr", false, 24),
    ("sse", false, 25),
    ("sse2", false, 26),
    ("sse3", true, 0),
    ("pclmulqdq", true, 1),
    ("ssse3", true, 9),
    ("fma", true, 12),
    ("cx16", true, 13),
    ("sse4_1", true, 19),
    ("sse4_2", true, 20),
    ("movbe", true, 22),
    ("popcnt", true, 23),
    ("aes", true, 25),
    ("xsave", true, 26),
    ("avx", true, 28),
    ("rdrand", true, 30),
];

/// A processor by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    name: &'static str,
    /// Family, model and stepping, as leaf 1 has them.
    signature: u32,
    /// The highest leaf.
    leaves: u32,
    features: u32,
}

const I486: u32 = 1 | 1 << 1;
/// DE, PSE, TSC, MSR, MCE, CX8, APIC.
const PENTIUM: u32 = I486 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9;
/// PAE, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, MMX, FXSR, SSE.
const PENTIUM_3: u32 = PENTIUM
    | 1 << 6
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 23
    | 1 << 24
    | 1 << 25;

const NAMED: [Named; 3] = [
    Named { name: "486", signature: 0x480, leaves: 1, features: I486 },
    Named { name: "pentium", signature: 0x543, leaves: 1, features: PENTIUM },
    Named { name: "pentium3", signature: 0x683, leaves: 2, features: PENTIUM_3 },
];

/// The processor that a guest is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// None for this machine's own.
    named: Option<Named>,
    /// What is taken from it: ECX and EDX of leaf 1.
    without: (u32, u32),
}

/// Why a text names no processor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// Another name.
    #[error("it is 486, pentium, pentium3 or host")]
    Name,
    /// What follows a comma.
    #[error("behind the name come features to be left out, such as -sep, and {0:?} is none")]
    Feature(String),
}

impl FromStr for Model {
    type Err = ModelError;

    /// `pentium3,-sep,-apic`.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let mut words = text.split(',');
        let named = match words.next().unwrap_or("") {
            "host" => None,
            name => Some(*NAMED.iter().find(|named| named.name == name).ok_or(ModelError::Name)?),
        };
        let mut without = (0, 0);
        for word in words {
            let feature = word
                .strip_prefix('-')
                .and_then(|name| FEATURES.iter().find(|feature| feature.0 == name))
                .ok_or_else(|| ModelError::Feature(word.to_owned()))?;
            let register = if feature.1 { &mut without.0 } else { &mut without.1 };
            *register |= 1 << feature.2;
        }
        Ok(Model { named, without })
    }
}

impl Model {
    /// What CPUID says, made from what this machine's would.
    pub(super) fn leaves(&self, own: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
        let leaf_1 = own.iter().find(|leaf| leaf.function == 1).copied().unwrap_or_default();
        let mut leaves = match self.named {
            None => own.to_vec(),
            Some(named) => named.leaves(&leaf_1),
        };
        for leaf in leaves.iter_mut().filter(|leaf| leaf.function == 1) {
            leaf.ecx &= !self.without.0;
            leaf.edx &= !self.without.1;
        }
        leaves
    }
}

impl Named {
    fn leaves(self, own: &kvm_cpuid_entry2) -> Vec<kvm_cpuid_entry2> {
        let leaf = |function, [eax, ebx, ecx, edx]: [u32; 4]| kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..kvm_cpuid_entry2::default()
        };
        let [ebx, edx, ecx] = ["Genu", "ineI", "ntel"]
            .map(|part| part.bytes().rev().fold(0, |word, byte| word << 8 | u32::from(byte)));
        let mut leaves = vec![
            leaf(0, [self.leaves, ebx, ecx, edx]),
            // One processor, APIC ID 0, no brand; of the features those that work here.
            leaf(1, [self.signature, 1 << 16, 0, self.features & own.edx]),
        ];
        if self.leaves >= 2 {
            // Caches of a Pentium III: TLBs, 16 KiB of code and of data, 256 KiB of both.
            leaves.push(leaf(2, [0x0302_0101, 0, 0, 0x0C04_0882]));
        }
        leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<kvm_cpuid_entry2> {
        let leaf = |function| kvm_cpuid_entry2 {
            function,
            eax: 0x20,
            ecx: u32::MAX,
            edx: !(1 << 7),
            ..kvm_cpuid_entry2::default()
        };
        vec![leaf(0), leaf(1), leaf(7)]
    }

    #[test]
    fn a_named_processor_has_its_features_as_far_as_they_work_here() {
        let leaves = "pentium,-tsc".parse::<Model>().unwrap().leaves(&own());
        assert_eq!(leaves.len(), 2, "no leaf that it did not have");
        assert_eq!((leaves[1].eax >> 8 & 0xF, leaves[1].ecx), (5, 0));
        assert_eq!(leaves[1].edx, PENTIUM & !(1 << 4) & !(1 << 7));
        assert_eq!(leaves[0].ebx.to_le_bytes(), *b"Genu");
    }

    #[test]
    fn this_machines_own_can_be_had_without_a_feature() {
        let leaves = "host,-sep,-sse3".parse::<Model>().unwrap().leaves(&own());
        assert_eq!((leaves.len(), leaves[1].edx & 1 << 11, leaves[1].ecx & 1), (3, 0, 0));
        assert_eq!(Model::default().leaves(&own()), own());
    }

    #[test]
    fn what_names_no_processor_is_told_so() {
        let read = |text: &str| text.parse::<Model>().unwrap_err().to_string();
        assert_eq!(read("386"), "it is 486, pentium, pentium3 or host");
        assert!(read("486,sep").contains("\"sep\" is none"));
        assert!(read("486,-x").contains("\"-x\" is none"));
    }
}
