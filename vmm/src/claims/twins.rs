//! The twins: kernels that differ from those that esp0 carries in one thing, of which a claim is false.
//!
//! The program carries none of them, for hardly anybody asks: the package `twins` builds them, as files.

use super::{Claim, Twin, scenario};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Kernels, by the guest that each is the twin of and by what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Twins {
    kernels: Vec<(&'static str, &'static str, Vec<u8>)>,
}

/// A twin is not there.
#[derive(Debug, Error)]
#[error(
    "the twin {name} of {guest} cannot be read from {} ({error}): `cargo build -p twins` makes it", path.display()
)]
pub struct NoTwin {
    guest: &'static str,
    name: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl Twins {
    /// The folder in which the package `twins` leaves them, seen from a program in `target/PROFILE`.
    pub fn folder() -> io::Result<PathBuf> {
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).unwrap_or(Path::new("/"));
        Ok(target.join("twins"))
    }

    /// Reads the twins of these claims.
    ///
    /// # Errors
    /// [`NoTwin`] for the first that cannot be read.
    pub fn read(folder: &Path, claims: &[&'static Claim]) -> Result<Self, NoTwin> {
        let mut twins = Twins::default();
        for claim in claims {
            let Twin::Kernels(kernels) = claim.twin else { continue };
            for (scenario_name, name) in kernels {
                let Some(scenario) = scenario(scenario_name).filter(|found| !found.plants) else {
                    continue;
                };
                let guest = scenario.guest;
                if twins.kernel(guest, name).is_none() {
                    let path = folder.join(format!("{guest}-{name}"));
                    let bytes = std::fs::read(&path).map_err(|error| NoTwin {
                        guest,
                        name,
                        path,
                        error,
                    })?;
                    twins.kernels.push((guest, name, bytes));
                }
            }
        }
        Ok(twins)
    }

    /// The kernel's file.
    pub fn kernel(&self, guest: &str, name: &str) -> Option<&[u8]> {
        let mut kernels = self.kernels.iter();
        kernels.find(|twin| twin.0 == guest && twin.1 == name).map(|twin| twin.2.as_slice())
    }
}
