//! The guests that exercise the claims.

use crate::guests;

/// A guest, and how it is run: always on the deterministic clock, for the states before are to be
/// known, and two runs are to show the same.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Which of the guests that esp0 carries.
    pub guest: &'static str,
    /// The kernel's command line.
    pub command_line: &'static str,
    /// The modules; if there are none, those that the guest has by default.
    pub modules: &'static [&'static str],
    /// Time that an instruction takes, in nanoseconds.
    pub nanoseconds: u64,
    /// Show each instruction of ring 0.
    pub follow: bool,
    /// The system calls that take an address: what the ABI of the guest's programs says.
    pub pointer_calls: &'static [PointerCall],
    /// The guest itself does what `plant=NAME` says, where others have twins.
    pub plants: bool,
    /// How it ends if all is well.
    pub ends: Ends,
}

/// The number of a system call in EAX, and which register, in the order of [`ia32::General`], holds
/// the address that it is passed.
pub type PointerCall = (u32, usize);

/// How a scenario ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The guest powers off.
    Well,
    /// The guest gives up, as it is meant to.
    InFailure,
}

/// Any guest, of which nothing is known.
pub(crate) const STRANGER: Scenario = Scenario { name: "guest", guest: "guest", ..MICRO };

const MICRO: Scenario = Scenario {
    name: "micro",
    guest: "micro",
    command_line: "",
    modules: &[],
    nanoseconds: 40_000,
    follow: false,
    pointer_calls: &[],
    plants: false,
    ends: Ends::Well,
};

const CLASSIC: Scenario = Scenario {
    name: "classic",
    guest: "classic",
    nanoseconds: 20_000,
    // write(file, address, length)
    pointer_calls: &[(4, 1)],
    ..MICRO
};

/// A case of the program that shows claims on the microkernel.
const fn micro(name: &'static str, modules: &'static [&'static str]) -> Scenario {
    // write(address, length), counters(address)
    Scenario { name, modules, pointer_calls: &[(1, 3), (18, 3)], ..MICRO }
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    MICRO,
    Scenario { follow: true, ..micro("micro followed", &["compute", "writer", "sleeper 10"]) },
    micro("micro tasks", &["claims tasks"]),
    micro("micro h8", &["claims h8"]),
    micro("micro h9", &["claims h9"]),
    micro("micro h10", &["claims h10"]),
    micro("micro k2", &["claims k2"]),
    micro("micro k5", &["claims k5"]),
    Scenario { follow: true, ..micro("micro k6", &["claims k6"]) },
    micro("micro k9", &["claims k9"]),
    Scenario {
        command_line: "allow=recurse",
        ends: Ends::InFailure,
        ..micro("micro k10", &["claims k10"])
    },
    micro("micro k11", &["claims k11"]),
    micro("micro k12", &["claims k12"]),
    micro("micro k13", &["claims k13"]),
    Scenario { follow: true, ..micro("micro k14", &["claims k14"]) },
    micro("micro k15", &["claims k15"]),
    CLASSIC,
    Scenario { name: "classic followed", follow: true, ..CLASSIC },
    Scenario { name: "broken", guest: "broken", plants: true, ..MICRO },
];

/// The scenario of that name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// The guest and its modules, for whoever waits.
    pub fn describe(&self, twin: Option<&str>) -> String {
        let modules = self.commands().join(", ");
        let mut text = twin.map_or(self.guest.to_owned(), |twin| self.name_of(twin));
        if !modules.is_empty() {
            text += &format!(" with {modules}");
        }
        if self.follow {
            text += ", each instruction of ring 0 followed";
        }
        text
    }

    /// What is said of a twin.
    pub(super) fn name_of(&self, twin: &str) -> String {
        match self.plants {
            true => format!("{} with plant={twin}", self.guest),
            false => format!("the twin {twin} of {}", self.guest),
        }
    }

    pub(super) fn commands(&self) -> &'static [&'static str] {
        match guests::guest(self.guest) {
            Some(guest) if self.modules.is_empty() => guest.modules,
            _ => self.modules,
        }
    }
}
