//! What can be seen of the machine below, without a guest: as values, for [`super::authority`] to judge.

use super::pace::{self, Pace};
use std::arch::x86_64::__cpuid;
use std::fs;
use std::path::Path;

/// Who makes the processor, or whom it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Intel,
    /// And Hygon, whose are made after AMD's.
    Amd,
    Other,
}

/// What can be seen of the machine below.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The KVM module that is loaded, or `none`.
    pub(super) module: String,
    /// The hypervisor's CPUID signature, if one announces itself.
    pub(super) hypervisor: Option<String>,
    /// Who booted this kernel says that it is QEMU (`esp0.qemu=` on its command line).
    pub(super) is_qemu: bool,
    pub(super) maker: Maker,
    /// As CPUID is displayed: the extended fields added.
    pub(super) family: u32,
    pub(super) model: u32,
    pub(super) stepping: u32,
    /// Whether CPUID has performance counters.
    pub(super) counters: bool,
    /// The microcode's revision, if the processor tells one.
    pub(super) microcode: Option<u32>,
    /// What DMI and ACPI call the machine, its board and its firmware.
    pub(super) names: Vec<String>,
    /// The PCI host bridge: vendor and device.
    pub(super) bridge: Option<(u16, u16)>,
    /// All PCI devices.
    pub(super) devices: Vec<(u16, u16)>,
    /// What instructions cost, where that matters.
    pub(super) pace: Option<Pace>,
}

/// CPUID.1:ECX.31: a hypervisor is present.
const HYPERVISOR_PRESENT: u32 = 1 << 31;
const DMI: &str = "/sys/class/dmi/id";
/// The fields that name something, which anybody may read.
const NAMES: &[&str] = &[
    "sys_vendor",
    "product_name",
    "product_version",
    "board_vendor",
    "board_name",
    "bios_vendor",
    "chassis_vendor",
];
/// Tables whose headers are read, where this user may.
const ACPI: &str = "/sys/firmware/acpi/tables";
const PCI: &str = "/sys/bus/pci/devices";

impl Facts {
    /// Looks.
    pub(super) fn collect(is_qemu: bool) -> Facts {
        let module = ["kvm_intel", "kvm_amd", "kvm_pvm"]
            .into_iter()
            .find(|name| fs::exists(format!("/sys/module/{name}")).unwrap_or(false))
            .unwrap_or("none");
        let hypervisor = (__cpuid(1).ecx & HYPERVISOR_PRESENT != 0).then(|| {
            let leaf = __cpuid(0x4000_0000);
            text(&[leaf.ebx, leaf.ecx, leaf.edx])
        });
        let leaf = __cpuid(0);
        let maker = match text(&[leaf.ebx, leaf.edx, leaf.ecx]).as_str() {
            "GenuineIntel" => Maker::Intel,
            "AuthenticAMD" | "HygonGenuine" => Maker::Amd,
            _ => Maker::Other,
        };
        let (family, model, stepping) = signature(__cpuid(1).eax);
        let counters = match maker {
            Maker::Amd => __cpuid(0x8000_0001).ecx & 1 << 23 != 0,
            _ => leaf.eax >= 10 && __cpuid(10).eax & 0xff != 0,
        };
        // It takes a millisecond or two, and only decides where nothing else has.
        let matters = matches!(module, "kvm_intel" | "kvm_amd")
            && !is_qemu
            && !hypervisor.as_ref().is_some_and(|name| name.starts_with("TCG"));
        Facts {
            module: module.into(),
            hypervisor,
            is_qemu,
            maker,
            family,
            model,
            stepping,
            counters,
            microcode: microcode(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            names: dmi_names(Path::new(DMI)).chain(acpi_names(Path::new(ACPI))).collect(),
            bridge: pci_device(&Path::new(PCI).join("0000:00:00.0")),
            devices: folder(Path::new(PCI)).filter_map(|path| pci_device(&path)).collect(),
            pace: matters.then(pace::measure),
        }
    }
}

/// Family, model and stepping in CPUID.1:EAX (SDM 2A, CPUID).
fn signature(eax: u32) -> (u32, u32, u32) {
    let (family, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let extended = if matches!(family, 6 | 0xf) { eax >> 12 & 0xf0 } else { 0 };
    let family = if family == 0xf { family + (eax >> 20 & 0xff) } else { family };
    (family, model | extended, eax & 0xf)
}

/// The revision in the text of /proc/cpuinfo, which has no such line where the processor has told none.
fn microcode(cpuinfo: &str) -> Option<u32> {
    let line = cpuinfo.lines().find(|line| line.starts_with("microcode"))?;
    u32::from_str_radix(line.split(':').nth(1)?.trim().strip_prefix("0x")?, 16).ok()
}

fn dmi_names(folder: &Path) -> impl Iterator<Item = String> {
    let read = |name: &&str| fs::read_to_string(folder.join(name)).ok();
    let names = NAMES.iter().filter_map(read).map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect::<Vec<_>>().into_iter()
}

/// The OEM identifiers, six bytes at 10, of all tables that can be read. FACS has none (ACPI 6.5, 5.2.6 and 5.2.10).
fn acpi_names(path: &Path) -> impl Iterator<Item = String> {
    let oem = |table: Vec<u8>| {
        let id = String::from_utf8_lossy(table.get(10..16)?).trim_matches(['\0', ' ']).to_owned();
        (!table.starts_with(b"FACS") && !id.is_empty()).then_some(id)
    };
    let mut names: Vec<String> =
        folder(path).filter_map(|table| fs::read(table).ok()).filter_map(oem).collect();
    names.sort();
    names.dedup();
    names.into_iter()
}

fn pci_device(path: &Path) -> Option<(u16, u16)> {
    let word = |name: &str| {
        let text = fs::read_to_string(path.join(name)).ok()?;
        u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    };
    Some((word("vendor")?, word("device")?))
}

fn folder(path: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Bytes of registers as text, up to the first that is 0.
pub(super) fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

/// What some machines show.
#[cfg(test)]
pub(super) mod samples {
    use super::*;

    const PROCESSOR: Pace = Pace { addition: 4.0, division: 13.9 };

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A desktop with a Skylake.
    pub(crate) fn intel() -> Facts {
        Facts {
            module: "kvm_intel".into(),
            hypervisor: None,
            is_qemu: false,
            maker: Maker::Intel,
            family: 6,
            model: 0x5e,
            stepping: 3,
            counters: true,
            microcode: Some(0xf0),
            names: names(&["LENOVO", "10FLS0B400", "ThinkCentre M900", "ALASKA"]),
            bridge: Some((0x8086, 0x191f)),
            devices: vec![(0x8086, 0x191f), (0x8086, 0x1912), (0x10ec, 0x8168)],
            pace: Some(PROCESSOR),
        }
    }

    /// A Ryzen of family 17h, model 71h.
    pub(crate) fn zen() -> Facts {
        Facts {
            module: "kvm_amd".into(),
            maker: Maker::Amd,
            family: 0x17,
            model: 0x71,
            stepping: 0,
            microcode: Some(0x0870_1021),
            names: names(&["Micro-Star International Co., Ltd", "MS-7C02", "ALASKA", "AMD"]),
            bridge: Some((0x1022, 0x1480)),
            devices: vec![(0x1022, 0x1480), (0x10de, 0x1b81)],
            pace: Some(Pace { addition: 3.0, division: 13.0 }),
            ..intel()
        }
    }

    /// AMD's family 15h, whose revisions are numbered otherwise.
    pub(crate) fn older_amd() -> Facts {
        Facts {
            family: 0x15,
            model: 2,
            microcode: Some(0x0600_0852),
            bridge: Some((0x1002, 0x5a14)),
            pace: Some(Pace { addition: 5.5, division: 22.0 }),
            ..zen()
        }
    }

    /// A virtual machine of KVM's, on hardware, that has nested virtual machines.
    pub(crate) fn nested() -> Facts {
        Facts {
            hypervisor: Some("KVMKVMKVM".into()),
            counters: false,
            microcode: Some(1),
            names: names(&["QEMU", "Standard PC (Q35 + ICH9, 2009)", "SeaBIOS", "BOCHS"]),
            bridge: Some((0x8086, 0x29c0)),
            devices: vec![(0x8086, 0x29c0), (0x1234, 0x1111), (0x1af4, 0x1041)],
            ..intel()
        }
    }

    /// kvm_intel in Bochs 2.7 with the model of a Skylake-X and ACPI off, as `scripts/second-opinion` boots it.
    pub(crate) fn bochs() -> Facts {
        Facts {
            model: 0x55,
            stepping: 4,
            microcode: None,
            names: names(&["The Bochs Project", "The Bochs Project"]),
            bridge: Some((0x8086, 0x1237)),
            devices: vec![(0x8086, 0x1237), (0x8086, 0x7000), (0x8086, 0x7010)],
            pace: Some(Pace { addition: 1.4, division: 1.4 }),
            ..intel()
        }
    }

    /// QEMU's TCG as this project boots it.
    pub(crate) fn portable_host() -> Facts {
        Facts { hypervisor: Some("TCGTCGTCGTCG".into()), is_qemu: true, pace: None, ..hidden_tcg() }
    }

    /// QEMU's TCG with the model EPYC and the hypervisor's bit taken away.
    pub(crate) fn hidden_tcg() -> Facts {
        Facts {
            model: 1,
            stepping: 2,
            counters: false,
            microcode: Some(0x0100_0065),
            names: names(&["QEMU", "Standard PC (Q35 + ICH9, 2009)", "pc-q35-10.0", "SeaBIOS"]),
            bridge: Some((0x8086, 0x29c0)),
            devices: vec![(0x8086, 0x29c0), (0x1af4, 0x1041)],
            pace: Some(Pace { addition: 30.2, division: 28.0 }),
            ..zen()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_as_they_are_displayed() {
        assert_eq!(signature(0x0005_06e3), (6, 0x5e, 3));
        assert_eq!(signature(0x0087_0f10), (0x17, 0x71, 0));
        assert_eq!(signature(0x0000_0f4a), (0xf, 4, 0xa));
        assert_eq!(signature(0x0000_0543), (5, 4, 3));
    }

    #[test]
    fn a_revision_is_found_or_is_not_there() {
        assert_eq!(microcode("model name\t: x\nmicrocode\t: 0xf0\n"), Some(0xf0));
        assert_eq!(microcode("model name\t: x\n"), None);
    }

    #[test]
    fn tables_and_devices_are_read_from_where_the_kernel_shows_them() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("sys_vendor"), "QEMU\n").unwrap();
        fs::write(here.path().join("bios_vendor"), "\n").unwrap();
        assert_eq!(dmi_names(here.path()).collect::<Vec<_>>(), ["QEMU"]);
        let tables = here.path().join("tables");
        fs::create_dir_all(tables.join("data")).unwrap();
        fs::write(tables.join("APIC"), b"APIC\x78\0\0\0\x03\0BOCHS BXPC    ").unwrap();
        fs::write(tables.join("FACS"), b"FACS\x40\0\0\0\x03\0NOTHING").unwrap();
        fs::write(tables.join("SSDT"), b"short").unwrap();
        assert_eq!(acpi_names(&tables).collect::<Vec<_>>(), ["BOCHS"]);
        assert_eq!(acpi_names(&here.path().join("none")).count(), 0);
        fs::write(here.path().join("vendor"), "0x8086\n").unwrap();
        assert_eq!(pci_device(here.path()), None);
        fs::write(here.path().join("device"), "0x1237\n").unwrap();
        assert_eq!(pci_device(here.path()), Some((0x8086, 0x1237)));
    }
}
