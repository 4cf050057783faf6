//! What stands behind /dev/kvm.

use super::authority::{self, Authority};
use super::facts::{Facts, text};
use std::arch::x86_64::__cpuid;
use std::fmt;
use std::fs;
use std::sync::OnceLock;

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
    /// What keeps it from being called silicon, a sentence each, where the processor is [`Authority::Unconfirmed`].
    pub doubts: Vec<String>,
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

impl Backend {
    /// What stands behind /dev/kvm. It is looked at once, for a sandbox may take away what tells.
    pub fn detect() -> Backend {
        static BACKEND: OnceLock<Backend> = OnceLock::new();
        BACKEND.get_or_init(Backend::look).clone()
    }

    /// Looks at the modules, the processor and the firmware tables.
    fn look() -> Backend {
        let said = version_on_command_line();
        let facts = Facts::collect(said.is_some());
        let (authority, doubts) = authority::judge(&facts);
        let version = said.or_else(machine_version).filter(|_| authority == Authority::Tcg);
        Backend {
            authority,
            doubts,
            module: facts.module,
            version,
            processor: processor(),
            hypervisor: facts.hypervisor,
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
        Backend { authority: Authority::Emulated, doubts: Vec::new(), version: None, ..self }
    }
}

/// `kvm_amd on QEMU 10.0 (QEMU TCG CPU version 2.5+)`, and why it is not called silicon.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.module)?;
        if self.authority == Authority::Tcg {
            f.write_str(" on QEMU")?;
            if let Some(version) = self.version {
                write!(f, " {version}")?;
            }
        }
        write!(f, " ({})", self.processor)?;
        match self.doubts.as_slice() {
            [] => Ok(()),
            [doubt] => write!(f, "; {doubt}"),
            [doubt, others @ ..] => write!(f, "; {doubt}, and {} more", others.len()),
        }
    }
}

/// QEMU's version, where who booted it says it on the kernel's command line.
fn version_on_command_line() -> Option<Version> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    Version::find(line.split_whitespace().find_map(|word| word.strip_prefix("esp0.qemu="))?)
}

/// QEMU's version, from the machine type in the firmware tables.
fn machine_version() -> Option<Version> {
    Version::find(&fs::read_to_string("/sys/class/dmi/id/product_version").ok()?)
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
    fn a_doubt_is_told_with_the_processor() {
        let mut backend = Backend { doubts: vec!["one".into()], ..Backend::detect() };
        assert!(backend.to_string().ends_with("; one"));
        backend.doubts.extend(["two".into(), "three".into()]);
        assert!(backend.to_string().ends_with("; one, and 2 more"));
        assert!(backend.seen_to_emulate().doubts.is_empty());
    }

    #[test]
    fn something_is_always_found() {
        let backend = Backend::detect();
        assert!(!backend.module.is_empty() && !backend.processor.is_empty());
    }
}
