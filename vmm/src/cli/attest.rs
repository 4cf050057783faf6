//! `esp0 attest`: what this machine's KVM was seen to do, in one file.

use super::arguments::{AttestCommand, AttestOptions};
use super::boxed::Boxed;
use super::failure::{Failure, tell, with_output};
use super::files::{self, Destination};
use super::output::Output;
use super::{FINDINGS, INTERRUPTED, OK, claims, conform as cases, results};
use esp0::attestation::{self, AttestedProgram, Content};
use esp0::conform::{self, Means, Plan, Results, ResultsHeader};
use esp0::doctor;
use esp0::machine::StopRequest;
use esp0::sandbox::Phase;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;

pub(super) fn attest(options: &AttestOptions) -> Result<u8, Failure> {
    let path = match (&options.command, &options.out) {
        (Some(AttestCommand::Verify { file }), _) => return verify(file),
        (None, Some(path)) => path,
        (None, None) => return Err(Failure::Input("--out FILE is missing".into())),
    };
    let stop = StopRequest::default();
    let merged = match options.conform.as_slice() {
        [] => None,
        files => Some(results::merge(files)?),
    };
    let wanted = claims::named(&options.claims)?;
    let file = Destination::open(path, "attestation", None, &stop)?;
    let inputs: Vec<_> = options.conform.iter().filter_map(|path| files::identity(path)).collect();
    file.differs_from(&inputs)?;
    let program = AttestedProgram::this(&std::fs::read("/proc/self/exe")?);
    let host = claims::host("auto", stop.clone())?;
    stop.on_signals()?;
    let plan =
        Plan { cases: options.cases, seed: options.seed, shard: 0, shards: 1, jobs: options.jobs };
    let here = ResultsHeader::of(&plan, &host.backend);
    if let Some((header, _)) = &merged
        && let Some(conflict) = header.differs_below(&here)
    {
        return Err(Failure::Input(format!("{}: {conflict}", options.conform[0].display())));
    }
    let boxed = Boxed::withdraw(options.no_sandbox)?;
    let begin = || boxed.filter(Phase::Machines);
    let (header, found) = match merged {
        Some(merged) => {
            begin()?;
            merged
        }
        None => {
            tell(&format!("running {} cases of seed {:#x}", plan.cases, plan.seed));
            let means = Means {
                backend: &host.backend,
                collect: false,
                progress: &AtomicU64::new(0),
                stop: &stop,
                done: &BTreeSet::new(),
                known: &[],
                sink: &|_, _| (),
            };
            let summary = conform::run_with(&plan, &means, begin)?;
            if summary.interrupted {
                return Ok(INTERRUPTED);
            }
            let found = Results::of(&summary);
            if summary.failed.is_some() {
                return Ok(cases::status(&found, &cases::Failed::of(&summary, plan.jobs)));
            }
            (here, found)
        }
    };
    tell("running the doctor's trials");
    let report = doctor::examine()?;
    let Some(table) = claims::judged(&wanted, false, None, &host)? else {
        return Ok(INTERRUPTED);
    };
    let content = Content::new(program, &report, (&header, found), &table);
    let (text, digest) = attestation::write(&content);
    let kept = file.begin().and_then(|mut file| file.write_all(text.as_bytes()));
    told(&content, &digest, boxed.told(), kept)
}

/// `esp0 attest verify`.
fn verify(path: &Path) -> Result<u8, Failure> {
    let (bytes, _) = files::read(path)?;
    let (content, digest) = attestation::read(&bytes)
        .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    told(&content, &digest, "", Ok(()))
}

/// Prints what an attestation says; the exit status.
fn told(
    content: &Content,
    digest: &str,
    sandbox: &str,
    kept: std::io::Result<()>,
) -> Result<u8, Failure> {
    let status = if content.is_right() { OK } else { FINDINGS };
    let verdict = if content.is_right() { "right" } else { "not right" };
    // A file may say anything.
    let text: String = content
        .summary()
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect();
    let mut out = Output::standard();
    let written = out
        .write_all(format!("{text}{sandbox}attest: {verdict} {digest}\n").as_bytes())
        .and_then(|()| out.flush());
    Ok(with_output(status, kept.and(written)))
}
