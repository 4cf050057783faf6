//! Runs scenarios, and asks the judges what each shows.

use super::collector::Collector;
use super::observation::Observation;
use super::scenario::{Scenario, scenario};
use super::table::ClaimsRow;
use super::{Claim, Doubt, Twin, Twins};
use crate::guest::{Guest, GuestError};
use crate::guests;
use crate::host::Backend;
use crate::machine::StopRequest;
use crate::probe::{Choice, DebugRegisters};
use crate::run::Ending;
use std::time::Duration;
use thiserror::Error;

/// A twin need not come to an end: what it did until it had executed so many instructions is judged. Three times as many
/// if it is followed.
const TWIN_STEPS: u64 = 1_000_000;

/// What the scenarios run on.
#[derive(Clone, Debug)]
pub struct Testbed {
    /// What stands behind /dev/kvm.
    pub backend: Backend,
    /// What hardware breakpoints are good for.
    pub breakpoints: DebugRegisters,
    /// How entries are caught.
    pub probes: Choice,
    /// Wall-clock time after which a scenario is ended.
    pub timeout: Duration,
    /// The kernels of which a claim is false.
    pub twins: Twins,
    /// What ends all of them.
    pub stop: StopRequest,
}

/// Why there is no observation.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The guest cannot be loaded, or KVM refused something.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The user has ended it.
    #[error("stopped by the user")]
    Stopped,
    /// esp0 does not carry what the scenario names.
    #[error("esp0 carries no {0}")]
    Unknown(&'static str),
    /// [`Testbed::twins`] does not hold it.
    #[error("the twin {1} of {0} was not read")]
    Missing(&'static str, String),
}

/// Runs a scenario to its end, with this twin in the guest's place, if any.
///
/// # Errors
/// [`SessionError`] if it cannot be run. That the guest fails is none: the judges see how it ended.
pub fn run(
    scenario: &Scenario,
    twin: Option<&str>,
    host: &Testbed,
) -> Result<Observation, SessionError> {
    let guest = guests::guest(scenario.guest).ok_or(SessionError::Unknown(scenario.guest))?;
    let mut command_line = scenario.command_line.to_owned();
    let mut kernel = guest.kernel;
    match twin {
        Some(plant) if scenario.plants => command_line += &format!(" plant={plant}"),
        Some(twin) => {
            let found = host.twins.kernel(guest.name, twin);
            kernel = found.ok_or_else(|| SessionError::Missing(guest.name, twin.to_owned()))?;
        }
        None => {}
    }
    let mut setup = Guest::from_bytes(guest.name, kernel)
        .command_line(command_line.trim())
        .nanoseconds_per_instruction(scenario.nanoseconds)
        .probes(host.probes)
        .timeout(host.timeout)
        .stop_request(host.stop.clone());
    for command in scenario.commands() {
        let program = guests::program(command).ok_or(SessionError::Unknown(command))?;
        setup = setup.module(*command, program.bytes);
    }
    if scenario.follow {
        setup = setup.follow_kernel();
    }
    let mut guest = setup.boot_on(&host.backend, host.breakpoints)?;
    let mut collector = Collector::new(scenario);
    let most = twin.map_or(u64::MAX, |_| TWIN_STEPS * if scenario.follow { 3 } else { 1 });
    let end = guest.run_to(&mut collector, |counters| counters.stepped <= most)?;
    if end.ending == Ending::Stopped {
        return Err(SessionError::Stopped);
    }
    Ok(collector.finish(end, guest.machine(), scenario))
}

/// The observations of a session: each scenario is run once, whatever asks for it.
#[derive(Debug)]
pub struct Observations<'a> {
    host: &'a Testbed,
    made: Vec<(&'static str, Option<&'static str>, Observation)>,
}

impl<'a> Observations<'a> {
    /// None yet.
    pub fn new(host: &'a Testbed) -> Self {
        Observations { host, made: Vec::new() }
    }

    /// The observation of a scenario; `progress` is told before one is made.
    ///
    /// # Errors
    /// As [`run`].
    pub fn get(
        &mut self,
        scenario: &'static Scenario,
        twin: Option<&'static str>,
        progress: impl FnOnce(&str),
    ) -> Result<&Observation, SessionError> {
        let same = |(name, with, _): &(&str, Option<&str>, Observation)| {
            *name == scenario.name && *with == twin
        };
        let index = match self.made.iter().position(same) {
            Some(index) => index,
            None => {
                progress(&scenario.describe(twin));
                self.made.push((scenario.name, twin, run(scenario, twin, self.host)?));
                self.made.len() - 1
            }
        };
        Ok(&self.made[index].2)
    }
}

/// What its scenarios show of a claim, a row for each kernel; or its twins, if it is to be `broken`.
///
/// # Errors
/// As [`run`].
pub fn judge(
    claim: &'static Claim,
    broken: bool,
    kernel: Option<&str>,
    observations: &mut Observations<'_>,
    progress: &dyn Fn(&str),
) -> Result<Vec<ClaimsRow>, SessionError> {
    let wanted = |scenario: &&Scenario| kernel.is_none_or(|kernel| kernel == scenario.guest);
    let mut rows = Vec::new();
    match claim.twin {
        Twin::Kernels(twins) if broken => {
            for (name, twin) in twins {
                let scenario = scenario(name).ok_or(SessionError::Unknown(name))?;
                let observation = observations.get(scenario, Some(twin), progress)?;
                let what = scenario.name_of(twin);
                rows.push(ClaimsRow::new(
                    claim,
                    scenario.guest,
                    (claim.judge)(observation),
                    Some(what),
                ));
            }
        }
        _ => {
            for name in claim.scenarios {
                let scenario = scenario(name).ok_or(SessionError::Unknown(name))?;
                if !wanted(&scenario) {
                    continue;
                }
                let observation = observations.get(scenario, None, progress)?;
                let Twin::Altered { what, alter } = claim.twin else {
                    rows.push(ClaimsRow::new(
                        claim,
                        scenario.guest,
                        (claim.judge)(observation),
                        None,
                    ));
                    continue;
                };
                if !broken {
                    rows.push(ClaimsRow::new(
                        claim,
                        scenario.guest,
                        (claim.judge)(observation),
                        None,
                    ));
                    continue;
                }
                let mut altered = observation.clone();
                let (judgement, what) = if alter(&mut altered) {
                    ((claim.judge)(&altered), format!("the observation was altered: {what}"))
                } else {
                    let why = "there is nothing in the observation to alter".to_owned();
                    (Err(Doubt::Open(why)), "nothing was altered".to_owned())
                };
                rows.push(ClaimsRow::new(claim, scenario.guest, judgement, Some(what)));
            }
        }
    }
    Ok(rows)
}
