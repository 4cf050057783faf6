//! `esp0 claims`: what is said of kernel stacks, and what the guests show of it.

use super::arguments::ClaimsOptions;
use super::failure::{Failure, no_machine, tell, with_output};
use super::files::Destination;
use super::output::Output;
use super::page;
use super::{FINDINGS, INTERRUPTED, OK, colour};
use esp0::claims::{self, CLAIMS, Claim, Host, Recordings, Status, Table};
use esp0::doctor;
use esp0::host::Backend;
use esp0::machine::{Machine, StopRequest};
use esp0::probe::Choice;
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
        let json: Vec<_> = json.identity("table").into_iter().collect();
        page.differs_from("page", &json)?;
    }
    let host = host(options, stop)?;
    host.stop.on_signals()?;
    let mut recordings = Recordings::new(&host);
    let mut rows = Vec::new();
    for claim in wanted {
        let progress = |what: &str| tell(&format!("running {what}"));
        let kernel = options.kernel.as_deref();
        match claims::judge(claim, broken, kernel, &mut recordings, &progress) {
            Ok(found) => rows.extend(found),
            Err(claims::Failure::Stopped) => return Ok(INTERRUPTED),
            Err(claims::Failure::Machine(error)) => return Err(error.into()),
            Err(error) => return Err(Failure::Input(error.to_string())),
        }
    }
    if rows.is_empty() {
        return Err(Failure::Input(
            "none of these claims is shown by this kernel: nothing was judged".into(),
        ));
    }
    let table = Table { rows, backend: host.backend.clone() };
    let proved = table.count(Status::Proved) == table.rows.len();
    let mut out = Output::standard();
    let mut written =
        out.write_all(table.text(colour(options.color)).as_bytes()).and_then(|()| out.flush());
    if let Some(json) = json {
        let kept = json.begin().and_then(|mut file| file.write_all(table.json().as_bytes()));
        written = written.and(kept);
    }
    if let Some(page) = page {
        page::of_claims(&table, page)?;
    }
    Ok(with_output(if proved { OK } else { FINDINGS }, written))
}

/// The claims that the user names, and whether their twins are meant.
fn wanted(options: &ClaimsOptions) -> Result<(Vec<&'static Claim>, bool), Failure> {
    let unknown = |id: &str| Failure::Input(format!("there is no claim {id}"));
    if let Some(id) = &options.broken {
        return Ok((vec![claims::claim(id).ok_or_else(|| unknown(id))?], true));
    }
    if options.ids.is_empty() {
        return Ok((CLAIMS.iter().collect(), false));
    }
    let mut wanted: Vec<&Claim> = Vec::new();
    for id in &options.ids {
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
    Ok((wanted, false))
}

fn host(options: &ClaimsOptions, stop: StopRequest) -> Result<Host, Failure> {
    let mut machine = Machine::new(2 << 20).map_err(no_machine)?;
    let quick = doctor::quick(&mut machine);
    if let Err(problem) = &quick.usable {
        return Err(Failure::NoKvm(problem.to_string()));
    }
    Ok(Host {
        backend: quick.corrected(Backend::detect()),
        breakpoints: quick.breakpoints,
        probes: match options.probe.as_str() {
            "breakpoint" => Choice::Breakpoint,
            "patch" => Choice::Patch,
            _ => Choice::Auto,
        },
        timeout: TIMEOUT,
        stop,
    })
}
