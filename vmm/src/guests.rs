//! The guests that esp0 carries: its kernels and their programs.

/// A kernel that can be booted by name.
#[derive(Clone, Copy, Debug)]
pub struct CarriedGuest {
    /// What `--guest` calls it.
    pub name: &'static str,
    /// One line for `--help`.
    pub summary: &'static str,
    /// The ELF32 file.
    pub kernel: &'static [u8],
    /// The modules that it is booted with unless others are given: their command strings, the first
    /// word of which names one of [`PROGRAMS`].
    pub modules: &'static [&'static str],
    /// The same where somebody sits at its serial line.
    pub interactive_modules: &'static [&'static str],
}

/// A ring-3 program for one of the kernels.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The ELF32 file.
    pub bytes: &'static [u8],
}

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

/// The kernels.
pub const GUESTS: [CarriedGuest; 4] = [
    CarriedGuest {
        name: "micro",
        summary: "the microkernel, with programs that compute, write, sleep and fault",
        kernel: built!("micro"),
        modules: &["compute", "writer", "sleeper 65", "fault"],
        interactive_modules: &[
            "init",
            "names",
            "console",
            "files",
            "sh",
            "usertests",
            "hostile",
            "compute",
            "writer",
            "sleeper",
            "fault",
            "stress",
            "syscalls",
        ],
    },
    CarriedGuest {
        name: "classic",
        summary: "a kernel in the manner of Linux 0.12: real mode, LDTs, task switches by hardware",
        kernel: built!("classic"),
        modules: &["arguments", "twins"],
        interactive_modules: &[],
    },
    CarriedGuest {
        name: "broken",
        summary: "a small kernel that breaks one rule when told to by --cmdline plant=NAME",
        kernel: built!("broken"),
        modules: &[],
        interactive_modules: &[],
    },
    CarriedGuest {
        name: "broken-plain",
        summary: "the same without a no-op for probes, as any kernel might be",
        kernel: built!("broken-plain"),
        modules: &[],
        interactive_modules: &[],
    },
];

/// The programs.
pub const PROGRAMS: [Program; 17] = [
    Program { name: "compute", bytes: built!("compute") },
    Program { name: "writer", bytes: built!("writer") },
    Program { name: "sleeper", bytes: built!("sleeper") },
    Program { name: "fault", bytes: built!("fault") },
    Program { name: "hostile", bytes: built!("hostile") },
    Program { name: "arguments", bytes: built!("arguments") },
    Program { name: "twins", bytes: built!("twins") },
    Program { name: "init", bytes: built!("init") },
    Program { name: "names", bytes: built!("names") },
    Program { name: "console", bytes: built!("console") },
    Program { name: "files", bytes: built!("files") },
    Program { name: "sh", bytes: built!("sh") },
    Program { name: "usertests", bytes: built!("usertests") },
    Program { name: "claims", bytes: built!("claims") },
    Program { name: "stress", bytes: built!("stress") },
    Program { name: "syscalls", bytes: built!("syscalls") },
    Program { name: "bench", bytes: built!("bench") },
];

/// The kernel of that name.
pub fn guest(name: &str) -> Option<&'static CarriedGuest> {
    GUESTS.iter().find(|guest| guest.name == name)
}

/// The program that the first word of `command` names.
pub fn program(command: &str) -> Option<&'static Program> {
    let name = command.split_whitespace().next()?;
    PROGRAMS.iter().find(|program| program.name == name)
}
