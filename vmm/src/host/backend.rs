//! What stands behind /dev/kvm.

use std::arch::x86_64::__cpuid;
use std::fmt;
use std::fs;

/// Who executes the guest's entries into ring 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A processor: kvm_intel or kvm_amd on hardware.
    Silicon,
    /// QEMU's CPU model: kvm_amd inside its TCG.
    Tcg,
    /// Software, in whatever form: any KVM that runs 32-bit code without the processor.
    Emulated,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Authority::Silicon => "silicon",
            Authority::Tcg => "tcg",
            Authority::Emulated => "emulated",
        })
    }
}

/// The version of a processor model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Before the dot.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl Version {
    /// The first `N.N` in `text`.
    pub fn find(text: &str) -> Option<Version> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
            let mut parts = word.split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            Some(Version { major, minor })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What stands behind /dev/kvm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Who executes the guest.
    pub authority: Authority,
    /// The KVM module that is loaded, or `none`.
    pub module: String,
    /// Version of the processor model, where it is one.
    pub version: Option<Version>,
    /// The processor's name, as it gives it.
    pub processor: String,
    /// The hypervisor below this system, if there is one, by its CPUID signature.
    pub hypervisor: Option<String>,
    /// Release of the running Linux kernel.
    pub kernel: String,
}

/// CPUID.1:ECX.31: a hypervisor is present.
const HYPERVISOR_PRESENT: u32 = 1 << 31;

impl Backend {
    /// Looks at the modules, the processor and the firmware tables.
    pub fn detect() -> Backend {
        let module = ["kvm_intel", "kvm_amd", "kvm_pvm"]
            .into_iter()
            .find(|name| fs::exists(format!("/sys/module/{name}")).unwrap_or(false))
            .unwrap_or("none");
        let hypervisor = (__cpuid(1).ecx & HYPERVISOR_PRESENT != 0).then(|| {
            let leaf = __cpuid(0x4000_0000);
            text(&[leaf.ebx, leaf.ecx, leaf.edx])
        });
        let version = qemu_version();
        let authority = match (module, hypervisor.as_deref()) {
            ("kvm_intel" | "kvm_amd", Some("TCGTCGTCGTCG")) => Authority::Tcg,
            ("kvm_intel" | "kvm_amd", _) => Authority::Silicon,
            _ => Authority::Emulated,
        };
        Backend {
            authority,
            module: module.into(),
            version: version.filter(|_| authority == Authority::Tcg),
            processor: processor(),
            hypervisor,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".into(), |release| release.trim().into()),
        }
    }
}

impl Backend {
    /// The same after a self-test that saw 32-bit code executed in software, whatever the module's
    /// name promises.
    #[must_use]
    pub fn seen_to_emulate(self) -> Backend {
        Backend { authority: Authority::Emulated, version: None, ..self }
    }
}

/// `kvm_amd on QEMU 10.0 (QEMU TCG CPU version 2.5+)`.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.module)?;
        if self.authority == Authority::Tcg {
            f.write_str(" on QEMU")?;
            if let Some(version) = self.version {
                write!(f, " {version}")?;
            }
        }
        write!(f, " ({})", self.processor)
    }
}

/// QEMU's version: from the kernel's command line, where who booted it may say, or from the machine
/// type in the firmware tables.
fn qemu_version() -> Option<Version> {
    let said = fs::read_to_string("/proc/cmdline").ok().and_then(|line| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix("esp0.qemu="))?;
        Version::find(value)
    });
    said.or_else(|| Version::find(&fs::read_to_string("/sys/class/dmi/id/product_version").ok()?))
}

/// The brand string of CPUID leaves 0x80000002 to 0x80000004.
fn processor() -> String {
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return "unnamed processor".into();
    }
    let words: Vec<u32> = (0x8000_0002..=0x8000_0004)
        .flat_map(|leaf| {
            let leaf = __cpuid(leaf);
            [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
        })
        .collect();
    text(&words)
}

fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_machine_types_and_command_lines() {
        assert_eq!(Version::find("pc-q35-10.0"), Some(Version { major: 10, minor: 0 }));
        assert_eq!(Version::find("7.2.13"), Some(Version { major: 7, minor: 2 }));
        assert_eq!(Version::find("none here"), None);
        assert!(Version { major: 7, minor: 2 } < Version { major: 10, minor: 0 });
    }

    #[test]
    fn something_is_always_found() {
        let backend = Backend::detect();
        assert!(!backend.module.is_empty() && !backend.processor.is_empty());
    }
}
