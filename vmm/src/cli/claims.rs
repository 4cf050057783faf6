//! `esp0 claims`: what is said of kernel stacks, and what the guests show of it.

use super::arguments::ClaimsOptions;
use super::boxed::Boxed;
use super::failure::{Failure, tell, with_output};
use super::files::Destination;
use super::output::Output;
use super::page;
use super::{FINDINGS, INTERRUPTED, OK, colour};
use esp0::claims::{self, CLAIMS, Claim, ClaimsTable, Observations, Status, Testbed, Twins};
use esp0::doctor::TestedMachine;
use esp0::guest::GuestError;
use esp0::machine::StopRequest;
use esp0::probe::Choice;
use esp0::sandbox::Phase;
use std::io::Write;
use std::time::Duration;

/// Longer than any scenario takes, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn claims(options: &ClaimsOptions) -> Result<u8, Failure> {
    let (wanted, broken) = wanted(options)?;
    let stop = StopRequest::default();
    let json = options.json.as_deref().map(|path| Destination::open(path, "table", None, &stop));
    let json = json.transpose()?;
    let page = options.report.as_deref().map(|path| Destination::open(path, "page", None, &stop));
    let page = page.transpose()?;
    if let (Some(json), Some(page)) = (&json, &page) {
        let json: Vec<_> = json.identity().into_iter().collect();
        page.differs_from(&json)?;
    }
    let mut host = host(&options.probe, stop)?;
    if broken {
        host.twins = twins(&wanted)?;
    }
    host.stop.on_signals()?;
    let colour = colour(options.color);
    let boxed = Boxed::withdraw(options.no_sandbox)?;
    boxed.filter(Phase::Machines)?;
    let Some(table) = judged(&wanted, broken, options.kernel.as_deref(), &host)? else {
        return Ok(INTERRUPTED);
    };
    if table.rows.is_empty() {
        return Err(Failure::Input(
            "none of these claims is shown by this kernel: nothing was judged".into(),
        ));
    }
    let proved = table.count(Status::Proved) == table.rows.len();
    let mut out = Output::standard();
    let text = table.text(colour) + boxed.told();
    let mut written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Some(json) = json {
        let kept = json.begin().and_then(|mut file| file.write_all(table.json().as_bytes()));
        written = written.and(kept);
    }
    if let Some(page) = page {
        page::of_claims(&table, page)?;
    }
    Ok(with_output(if proved { OK } else { FINDINGS }, written))
}

/// What the guests show of these claims; nothing if the user has ended it.
pub(super) fn judged(
    wanted: &[&'static Claim],
    broken: bool,
    kernel: Option<&str>,
    host: &Testbed,
) -> Result<Option<ClaimsTable>, Failure> {
    let mut observations = Observations::new(host);
    let mut rows = Vec::new();
    for claim in wanted {
        let progress = |what: &str| tell(&format!("running {what}"));
        match claims::judge(claim, broken, kernel, &mut observations, &progress) {
            Ok(found) => rows.extend(found),
            Err(claims::SessionError::Stopped) => return Ok(None),
            Err(claims::SessionError::Guest(GuestError::Machine(error))) => {
                return Err(error.into());
            }
            Err(error) => return Err(Failure::Input(error.to_string())),
        }
    }
    Ok(Some(ClaimsTable { rows, backend: host.backend.clone() }))
}

/// The claims that the user names, and whether their twins are meant.
fn wanted(options: &ClaimsOptions) -> Result<(Vec<&'static Claim>, bool), Failure> {
    if let Some(id) = &options.broken {
        return Ok((vec![claims::claim(id).ok_or_else(|| unknown(id))?], true));
    }
    Ok((named(&options.ids)?, false))
}

/// Their twins, which are files beside the program.
fn twins(wanted: &[&'static Claim]) -> Result<Twins, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::Input(why.to_string());
    let folder = Twins::folder().map_err(|why| fail(&why))?;
    Twins::read(&folder, wanted).map_err(|why| fail(&why))
}

fn unknown(id: &str) -> Failure {
    Failure::Input(format!("there is no claim {id}"))
}

/// The claims with these names or initials; all if there is none.
pub(super) fn named(ids: &[String]) -> Result<Vec<&'static Claim>, Failure> {
    if ids.is_empty() {
        return Ok(CLAIMS.iter().collect());
    }
    let mut wanted: Vec<&Claim> = Vec::new();
    for id in ids {
        let fits = |claim: &&Claim| {
            claim.id.eq_ignore_ascii_case(id)
                || (id.len() == 1 && claim.id[..1].eq_ignore_ascii_case(id))
        };
        let found: Vec<&Claim> = CLAIMS.iter().filter(fits).collect();
        if found.is_empty() {
            return Err(unknown(id));
        }
        wanted.extend(found);
    }
    Ok(wanted)
}

/// The host, tested, with this way to catch entries.
pub(super) fn host(probe: &str, stop: StopRequest) -> Result<Testbed, Failure> {
    let TestedMachine { backend, breakpoints, .. } = TestedMachine::new(2 << 20)?;
    Ok(Testbed {
        backend,
        breakpoints,
        probes: match probe {
            "breakpoint" => Choice::Breakpoint,
            "patch" => Choice::Patch,
            _ => Choice::Auto,
        },
        timeout: TIMEOUT,
        twins: Twins::default(),
        stop,
    })
}
