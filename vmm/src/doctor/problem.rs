//! Why there is no usable KVM, and what to do about it.

use super::wrong::Wrong;
use crate::host::Backend;
use crate::machine::MachineError;
use thiserror::Error;

/// There is no KVM here that can run a 32-bit kernel.
#[derive(Debug, Error)]
pub enum Problem {
    /// No virtual machine can be created.
    #[error("{}; {}: {}", reason(.error), modules(.backend), advice(.error, .backend))]
    NoMachine {
        /// What was found.
        backend: Box<Backend>,
        /// What failed.
        error: MachineError,
    },
    /// A virtual machine was created, and does not do what it has to.
    #[error(
        "{backend} does not run 32-bit kernels: of {shows}, expected {}, got {}; {HOST}",
        .wrong.expected, .wrong.got
    )]
    Unusable {
        /// What was found.
        backend: Box<Backend>,
        /// What was tried.
        shows: &'static str,
        /// What was expected, and what came.
        wrong: Wrong,
    },
}

/// What always helps.
const HOST: &str = "use scripts/kvm-host, which brings a KVM of its own (scripts/setup fetches what \
                    it needs)";

impl Problem {
    /// A machine could not be created.
    pub fn no_machine(error: MachineError) -> Problem {
        Problem::NoMachine { backend: Box::new(Backend::detect()), error }
    }

    pub(super) fn unusable(shows: &'static str, wrong: Wrong) -> Problem {
        Problem::Unusable { backend: Box::new(Backend::detect()), shows, wrong }
    }
}

fn reason(error: &MachineError) -> String {
    match error {
        MachineError::Open(error) => format!("/dev/kvm cannot be opened: {error}"),
        other => format!("no virtual machine can be created: {other}"),
    }
}

fn modules(backend: &Backend) -> String {
    match backend.module.as_str() {
        "none" => "no KVM module is loaded".into(),
        module => format!("module {module} is loaded"),
    }
}

fn advice(error: &MachineError, backend: &Backend) -> String {
    let first = match error {
        MachineError::Open(error)
            if error.errno() == libc::EACCES && backend.module != "kvm_pvm" =>
        {
            "let this user open it (group kvm), or "
        }
        _ if backend.module == "none" => "load kvm_intel or kvm_amd, or ",
        _ => "",
    };
    format!("{first}{HOST}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Authority;

    fn backend(module: &str) -> Box<Backend> {
        Box::new(Backend {
            authority: Authority::Emulated,
            doubts: Vec::new(),
            module: module.into(),
            version: None,
            processor: "a processor".into(),
            hypervisor: None,
            kernel: "6.12".into(),
        })
    }

    #[test]
    fn a_closed_device_is_named_with_what_to_do() {
        let error = MachineError::Open(kvm_ioctls::Error::new(libc::EACCES));
        let text = Problem::NoMachine { backend: backend("kvm_intel"), error }.to_string();
        assert!(text.starts_with("/dev/kvm cannot be opened: Permission denied"), "{text}");
        assert!(text.contains("; module kvm_intel is loaded: let this user open it"), "{text}");
        let error = MachineError::Open(kvm_ioctls::Error::new(libc::ENOENT));
        let text = Problem::NoMachine { backend: backend("none"), error }.to_string();
        assert!(text.contains("; no KVM module is loaded: load kvm_intel or kvm_amd"), "{text}");
    }

    #[test]
    fn a_kvm_that_cannot_do_it_is_named_with_what_it_did() {
        let wrong = Wrong::new("an entry by vector 0x80", "a triple fault");
        let problem = Problem::Unusable { backend: backend("kvm_pvm"), shows: "int 0x80", wrong };
        assert_eq!(
            problem.to_string(),
            "kvm_pvm (a processor) does not run 32-bit kernels: of int 0x80, expected an entry by \
             vector 0x80, got a triple fault; use scripts/kvm-host, which brings a KVM of its own \
             (scripts/setup fetches what it needs)"
        );
    }
}
