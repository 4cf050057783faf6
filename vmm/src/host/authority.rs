//! Who executes the guest's entries, and how much of that is known.
//!
//! An emulator that announces itself is believed. One that does not would be taken for a processor, and all that
//! it does wrong for the kernel's fault or the manual's. So `silicon` is not what is left when no emulator has
//! been found: it takes evidence of its own, and one fact that speaks against it is enough to say
//! `unconfirmed` instead, which is not "no processor" but "cannot be told from here".
//!
//! ```text
//!  facts ─► module? ─► says that it is QEMU? ─► what speaks against a processor ─┬─ nothing ─► silicon
//!             │              │                  what would speak for one, missing ┘
//!             ▼              ▼                                └───────── anything ──► unconfirmed, and why
//!          emulated         tcg
//! ```
//! Rejected: flags that the manual leaves undefined, after MUL or SHLD. They differ between makers and
//! generations, and no table of them could be verified. Rejected: the time that CPUID takes, which a hypervisor
//! decides. What instructions cost beside each other cannot be had cheaply by software ([`super::pace`]).

use super::facts::{Facts, Maker};
use std::fmt;

/// Who executes the guest's entries into ring 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A processor: kvm_intel or kvm_amd on hardware. Nothing speaks against it, and some things for it.
    Silicon,
    /// A processor, or an emulator that does not announce itself.
    Unconfirmed,
    /// QEMU's CPU model: kvm_amd inside its TCG.
    Tcg,
    /// Software, in whatever form: any KVM that runs 32-bit code without the processor.
    Emulated,
}

impl Authority {
    /// Whether what a processor needs has to be done for this one.
    pub fn may_be_silicon(self) -> bool {
        matches!(self, Authority::Silicon | Authority::Unconfirmed)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Authority::Silicon => "silicon",
            Authority::Unconfirmed => "unconfirmed",
            Authority::Tcg => "tcg",
            Authority::Emulated => "emulated",
        })
    }
}

/// CPUID signatures of hypervisors that cannot do without a processor: what their guests do, it does. QEMU has
/// KVM's and Microsoft's only where it uses KVM (target/i386/kvm).
const NEED_A_PROCESSOR: &[&str] = &[
    "KVMKVMKVM",
    "Linux KVM Hv",
    "Microsoft Hv",
    "VMwareVMware",
    "XenVMMXenVMM",
    "bhyve bhyve",
    "ACRNACRNACRN",
];
/// QEMU's TCG (target/i386/cpu.c).
const TCG: &str = "TCGTCGTCGTCG";

/// Names of machines that are none, as DMI and ACPI have them; in lower case, and whole words.
const NO_MACHINES: &[&str] = &[
    "qemu",
    "bochs",
    "bxpc",
    "kvm",
    "seabios",
    "standard pc",
    "virtual machine",
    "virtualbox",
    "vbox",
    "innotek gmbh",
    "vmware",
    "xen",
    "bhyve",
    "parallels",
    "cloud hypervisor",
    "firecracker",
    "crosvm",
];

/// PCI devices that are on no board: QEMU's and Bochs's display adapter, and VirtualBox's.
const NO_DEVICES: &[(u16, u16)] = &[(0x1234, 0x1111), (0x80ee, 0xbeef)];
/// Red Hat's, for devices that QEMU has made up.
const QEMUS_OWN: u16 = 0x1b36;
/// Intel's 430FX and 440FX: no processor that fits has VMX or SVM.
const OLD_BRIDGES: &[u16] = &[0x122d, 0x1237];
const INTEL: u16 = 0x8086;
const AMD: u16 = 0x1022;

/// How often the time of an integer operation a floating-point addition takes: 2 to 5 on processors, each of which
/// has an adder; 1 to 1.4 where instructions are counted instead; more than 20 where a program adds.
const ADDITION: std::ops::RangeInclusive<f64> = 1.7..=9.0;
/// A division likewise: 10 to 40 on processors; 1 to 2 where instructions are counted.
const DIVISION: std::ops::RangeInclusive<f64> = 5.0..=60.0;

/// Who executes the guest, and what keeps it from being called silicon.
pub(super) fn judge(facts: &Facts) -> (Authority, Vec<String>) {
    if !matches!(facts.module.as_str(), "kvm_intel" | "kvm_amd") {
        return (Authority::Emulated, Vec::new());
    }
    if facts.is_qemu || facts.hypervisor.as_deref() == Some(TCG) {
        return (Authority::Tcg, Vec::new());
    }
    let mut doubts = Vec::new();
    match &facts.hypervisor {
        Some(name) if NEED_A_PROCESSOR.contains(&name.as_str()) => {}
        Some(name) => doubts.push(format!("the hypervisor below, {name:?}, may do without one")),
        None => {
            names(facts, &mut doubts);
            board(facts, &mut doubts);
            counters(facts, &mut doubts);
            microcode(facts, &mut doubts);
        }
    }
    pace(facts, &mut doubts);
    let authority = if doubts.is_empty() { Authority::Silicon } else { Authority::Unconfirmed };
    (authority, doubts)
}

/// Firmware names its machine, and a machine that is none announces itself as a hypervisor if it hides nothing.
fn names(facts: &Facts, doubts: &mut Vec<String>) {
    if facts.names.is_empty() {
        doubts.push("no firmware table names this machine".into());
    }
    let found = facts.names.iter().find(|name| NO_MACHINES.iter().any(|no| has_words(name, no)));
    if let Some(name) = found {
        doubts.push(format!("firmware tables have the name {name:?}, and no hypervisor says so"));
    }
}

/// Whether `words` stand in `text` as whole words, whatever their case.
fn has_words(text: &str, words: &str) -> bool {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let text: String = format!(" {text} ").chars().map(plain).collect();
    text.contains(&format!(" {words} "))
}

/// Whether the processor could sit on this board.
fn board(facts: &Facts, doubts: &mut Vec<String>) {
    if let Some((vendor, device)) = facts.bridge {
        let bridge = format!("the PCI host bridge {vendor:04x}:{device:04x}");
        match facts.maker {
            _ if vendor == INTEL && OLD_BRIDGES.contains(&device) => {
                doubts.push(format!("{bridge} is older than all processors for virtual machines"));
            }
            Maker::Amd if vendor == INTEL => doubts.push(format!("{bridge} is not for AMD's")),
            Maker::Intel if vendor == AMD => doubts.push(format!("{bridge} is not for Intel's")),
            _ => {}
        }
    }
    let no_device = |id: &&(u16, u16)| NO_DEVICES.contains(id) || id.0 == QEMUS_OWN;
    if let Some((vendor, device)) = facts.devices.iter().find(no_device) {
        doubts.push(format!("the PCI device {vendor:04x}:{device:04x} is on no board"));
    }
}

/// Performance counters: architectural on Intel's family 6, the extended ones on AMD's from family 15h on.
fn counters(facts: &Facts, doubts: &mut Vec<String>) {
    let expected = match facts.maker {
        Maker::Intel => facts.family == 6,
        Maker::Amd => facts.family >= 0x15,
        Maker::Other => false,
    };
    if expected && !facts.counters {
        doubts.push("CPUID has no performance counters, which this processor has".into());
    }
}

/// Firmware loads microcode, and its revision can be read. AMD's names the processor from family 17h on: extended
/// family, extended model, model and stepping (Linux, arch/x86/kernel/cpu/microcode/amd.c, `zen_patch_rev`). Family 18h
/// is Hygon's, who number theirs in their own way.
fn microcode(facts: &Facts, doubts: &mut Vec<String>) {
    let Some(revision) = facts.microcode else {
        doubts.push("the processor tells no revision of its microcode".into());
        return;
    };
    match facts.maker {
        Maker::Amd if facts.family >= 0x17 && facts.family != 0x18 => {
            let family = 0xf + (revision >> 24);
            let model = (revision >> 16 & 0xf0) | (revision >> 12 & 0xf);
            let stepping = revision >> 8 & 0xf;
            if (family, model, stepping) != (facts.family, facts.model, facts.stepping) {
                doubts.push(format!("microcode {revision:#x} is that of another processor"));
            }
        }
        // What QEMU, KVM and Microsoft's hypervisor say where they have nothing to say.
        _ if matches!(revision, 0 | 1 | 0x0100_0065 | u32::MAX) => {
            doubts.push(format!("microcode {revision:#x} is what emulators say"));
        }
        _ => {}
    }
}

/// What instructions cost, beside each other.
fn pace(facts: &Facts, doubts: &mut Vec<String>) {
    let Some(pace) = facts.pace else {
        doubts.push("what instructions cost was not measured".into());
        return;
    };
    for (what, cost, range) in
        [("addition", pace.addition, ADDITION), ("division", pace.division, DIVISION)]
    {
        if !range.contains(&cost) {
            doubts.push(format!(
                "a floating-point {what} takes {cost:.1} times as long as an integer operation, and {} to \
                 {} on processors",
                range.start(),
                range.end()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::samples;
    use super::super::pace::Pace;
    use super::*;

    fn unconfirmed(facts: &Facts, reasons: &[&str]) {
        let (authority, doubts) = judge(facts);
        assert_eq!(authority, Authority::Unconfirmed, "{doubts:?}");
        for reason in reasons {
            assert!(doubts.iter().any(|doubt| doubt.contains(reason)), "{reason}: {doubts:?}");
        }
    }

    #[test]
    fn processors_are_silicon() {
        for facts in [samples::intel(), samples::zen(), samples::nested(), samples::older_amd()] {
            assert_eq!(judge(&facts), (Authority::Silicon, Vec::new()), "{facts:?}");
        }
    }

    #[test]
    fn who_says_what_it_is_is_believed() {
        assert_eq!(judge(&samples::portable_host()).0, Authority::Tcg);
        let said = Facts { hypervisor: None, ..samples::portable_host() };
        assert_eq!(judge(&said).0, Authority::Tcg);
        let other = Facts { module: "kvm_pvm".into(), ..samples::intel() };
        assert_eq!(judge(&other).0, Authority::Emulated);
        let none = Facts { module: "none".into(), ..samples::zen() };
        assert_eq!(judge(&none).0, Authority::Emulated);
    }

    #[test]
    fn an_emulator_that_hides_is_found_by_more_than_one_sign() {
        let bochs = samples::bochs();
        unconfirmed(&bochs, &["Bochs Project", "8086:1237", "microcode", "1.4 times"]);
        assert_eq!(judge(&bochs).1.len(), 5);
        unconfirmed(
            &samples::hidden_tcg(),
            &["QEMU", "not for AMD's", "another processor", "counters", "30.2 times"],
        );
    }

    #[test]
    fn one_sign_is_enough() {
        let intel = samples::intel;
        unconfirmed(&Facts { names: Vec::new(), ..intel() }, &["no firmware table"]);
        unconfirmed(
            &Facts { names: vec!["Standard PC (Q35)".into()], ..intel() },
            &["Standard PC"],
        );
        unconfirmed(&Facts { bridge: Some((0x8086, 0x1237)), ..intel() }, &["older"]);
        unconfirmed(&Facts { bridge: Some((0x1022, 0x1480)), ..intel() }, &["Intel's"]);
        unconfirmed(&Facts { devices: vec![(0x1234, 0x1111)], ..intel() }, &["1234:1111"]);
        unconfirmed(&Facts { counters: false, ..intel() }, &["counters"]);
        unconfirmed(&Facts { microcode: None, ..intel() }, &["microcode"]);
        unconfirmed(&Facts { microcode: Some(1), ..intel() }, &["0x1 "]);
        unconfirmed(&Facts { pace: None, ..intel() }, &["not measured"]);
        let counted = Pace { addition: 1.0, division: 1.9 };
        unconfirmed(&Facts { pace: Some(counted), ..intel() }, &["addition", "division"]);
        let other = Facts { hypervisor: Some("VBoxVBoxVBox".into()), ..samples::nested() };
        unconfirmed(&other, &["VBoxVBoxVBox"]);
    }

    #[test]
    fn microcode_of_another_zen_is_none_of_this() {
        let next = Facts { stepping: 3, ..samples::zen() };
        unconfirmed(&next, &["another processor"]);
        let hygon = Facts { family: 0x18, microcode: Some(0x8090_1047), ..samples::zen() };
        assert_eq!(judge(&hygon).0, Authority::Silicon);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(has_words("QEMU Standard PC (Q35 + ICH9, 2009)", "standard pc"));
        assert!(has_words("KVM", "kvm"));
        assert!(!has_words("Xenon W-2145", "xen"));
        assert!(!has_words("AKVMX", "kvm"));
    }
}
