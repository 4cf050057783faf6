//! One file that says what a machine's KVM was seen to do: by the doctor, by `conform`, by the claims, and with what.
//!
//! ```text
//!  { "format": "esp0-attestation", "version": 1,
//!    "content": { program, guests, host, doctor, conform, claims },
//!    "digest": "sha256:…" }         of the content, whatever its spaces and the order of its fields
//! ```
//! The digest tells whether the content is what was written. It says nothing of who wrote it: whoever collects such files
//! has to know from where they come, or to have them signed by whoever ran them.

use crate::claims::{ClaimsTable, Status};
use crate::conform::{Results, ResultsHeader};
use crate::doctor::{DoctorReport, Listing, TrialOutcome};
use crate::host::Backend;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;

/// The version of the format.
const VERSION: u64 = 1;
const FORMAT: &str = "esp0-attestation";

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedProgram {
    /// Of esp0.
    pub version: String,
    /// SHA-256 of the program's file.
    pub sha256: String,
    /// SHA-256 of the guests that it carries, and of their programs, by name.
    pub guests: BTreeMap<String, String>,
}

impl AttestedProgram {
    /// This program, whose file holds `bytes`.
    pub fn this(bytes: &[u8]) -> Self {
        let guests = crate::guests::GUESTS.iter().map(|guest| (guest.name, guest.kernel));
        let programs = crate::guests::PROGRAMS.iter().map(|program| (program.name, program.bytes));
        let hashed = |(name, bytes): (&str, &[u8])| (name.to_owned(), sha256(bytes));
        AttestedProgram {
            version: env!("CARGO_PKG_VERSION").into(),
            sha256: sha256(bytes),
            guests: guests.chain(programs).map(hashed).collect(),
        }
    }
}

/// On what it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Who executed the guests.
    pub authority: String,
    /// What speaks against a processor.
    pub doubts: Vec<String>,
    /// The KVM module.
    pub module: String,
    /// The processor's name, as it gives it.
    pub processor: String,
    /// The hypervisor below, by its CPUID signature.
    pub hypervisor: Option<String>,
    /// Version of the processor model, where it is one.
    pub model_version: Option<String>,
    /// Release of Linux.
    pub kernel: String,
}

impl Host {
    fn of(backend: &Backend) -> Self {
        Host {
            authority: backend.authority.to_string(),
            doubts: backend.doubts.clone(),
            module: backend.module.clone(),
            processor: backend.processor.clone(),
            hypervisor: backend.hypervisor.clone(),
            model_version: backend.version.map(|version| version.to_string()),
            kernel: backend.kernel.clone(),
        }
    }
}

/// What a trial of the doctor's, or a claim, came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name; of a claim, with the kernel that showed it.
    pub name: String,
    /// `works`, `fails`, `deviates`, …; `proved`, `refuted`, `open`.
    pub outcome: String,
    /// What was expected and what was seen; the evidence.
    pub detail: String,
}

/// What the doctor saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// Whether 32-bit kernels can be run.
    pub usable: bool,
    /// How many hardware breakpoints can be used.
    pub breakpoints: u64,
    /// Each trial.
    pub trials: Vec<Row>,
}

impl Doctor {
    fn of(report: &DoctorReport) -> Self {
        let trials = report.results.iter().map(|result| {
            let (outcome, detail) = match &result.outcome {
                TrialOutcome::Works => ("works", String::new()),
                TrialOutcome::Outdated(name) => ("works", format!("although {name} is known")),
                TrialOutcome::Fails(wrong) => ("fails", wrong.to_string()),
                TrialOutcome::Deviates(wrong, Listing::Unknown) => ("deviates", wrong.to_string()),
                TrialOutcome::Deviates(wrong, _) => ("deviates as known", wrong.to_string()),
            };
            Row { name: result.trial.name.into(), outcome: outcome.into(), detail }
        });
        Doctor {
            usable: report.usable(),
            breakpoints: report.breakpoints() as u64,
            trials: trials.collect(),
        }
    }
}

/// What `conform` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conform {
    /// How many cases were drawn.
    pub cases: u64,
    /// From what.
    pub seed: u64,
    /// What came of them.
    pub results: Results,
}

/// All that is attested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// What was run.
    pub program: AttestedProgram,
    /// On what.
    pub host: Host,
    /// What the doctor saw.
    pub doctor: Doctor,
    /// What `conform` found.
    pub conform: Conform,
    /// What was seen of the claims.
    pub claims: Vec<Row>,
}

impl Content {
    /// From what each has found.
    pub fn new(
        program: AttestedProgram,
        doctor: &DoctorReport,
        (header, results): (&ResultsHeader, Results),
        claims: &ClaimsTable,
    ) -> Self {
        let claim = |row: &crate::claims::ClaimsRow| Row {
            name: format!("{} {}", row.claim.id, row.kernel),
            outcome: row.status.name().into(),
            detail: row.evidence.clone(),
        };
        Content {
            program,
            host: Host::of(&doctor.backend),
            doctor: Doctor::of(doctor),
            conform: Conform { cases: header.cases, seed: header.seed, results },
            claims: claims.rows.iter().map(claim).collect(),
        }
    }

    /// Whether all of it is as it should be.
    pub fn is_right(&self) -> bool {
        let trials = &self.doctor.trials;
        let results = &self.conform.results;
        self.doctor.usable
            && !trials.iter().any(|trial| trial.outcome == "deviates")
            && results.compared > 0
            && results.mismatches == 0
            && results.refused.is_none()
            && self.claims.iter().all(|claim| claim.outcome == Status::Proved.name())
    }

    /// What it says, in lines.
    pub fn summary(&self) -> String {
        let Host { authority, module, processor, kernel, doubts, .. } = &self.host;
        let count =
            |rows: &[Row], outcome: &str| rows.iter().filter(|row| row.outcome == outcome).count();
        let trials = &self.doctor.trials;
        let Conform { cases, seed, results } = &self.conform;
        let mut text = format!("authority  {authority}: {module} ({processor}), Linux {kernel}\n");
        for doubt in doubts {
            text += &format!("           {doubt}\n");
        }
        let usable = if self.doctor.usable { "usable" } else { "not usable" };
        text += &format!(
            "doctor     {usable}, {} trials: {} work, {} fail, {} deviate as known, {} otherwise\n",
            trials.len(),
            count(trials, "works"),
            count(trials, "fails"),
            count(trials, "deviates as known"),
            count(trials, "deviates"),
        );
        text += &format!(
            "conform    {cases} cases of seed {seed:#x}: {} compared, {} known deviations, {} mismatches\n",
            results.compared,
            results.deviations.len(),
            results.mismatches
        );
        let claims = [Status::Proved, Status::Refuted, Status::Open].map(Status::name);
        let claims = claims.map(|name| format!("{} {name}", count(&self.claims, name)));
        text += &format!("claims     {}\n", claims.join(", "));
        text + &format!(
            "program    esp0 {}, sha256:{}\n",
            self.program.version, self.program.sha256
        )
    }
}

/// Why a file is no attestation.
#[derive(Debug, Error)]
pub enum NoAttestation {
    /// It is something else.
    #[error("it is no attestation of esp0's: {0}")]
    Other(String),
    /// The content is not what was written.
    #[error("its content was changed: the digest is {is} and should be {should}")]
    Changed {
        /// The content's.
        is: String,
        /// The one in the file.
        should: String,
    },
}

/// An attestation as a file has it, and its digest.
pub fn write(content: &Content) -> (String, String) {
    let content = serde_json::to_value(content).expect("all fields are of JSON");
    let digest = digest(&content);
    let file = serde_json::json!({
        "format": FORMAT, "version": VERSION, "content": content, "digest": digest,
    });
    let text = serde_json::to_string_pretty(&file).expect("all fields are of JSON");
    (text + "\n", digest)
}

/// Reads an attestation, and sees that it is as it was written.
///
/// # Errors
/// [`NoAttestation`] if it is not.
pub fn read(bytes: &[u8]) -> Result<(Content, String), NoAttestation> {
    let other = |why: &dyn std::fmt::Display| NoAttestation::Other(why.to_string());
    let file: Value = serde_json::from_slice(bytes).map_err(|error| other(&error))?;
    if file["format"] != FORMAT || file["version"] != VERSION {
        return Err(other(&format_args!("its format is {} {}", file["format"], file["version"])));
    }
    let should = file["digest"].as_str().ok_or_else(|| other(&"it has no digest"))?.to_owned();
    let content = &file["content"];
    let is = digest(content);
    if is != should {
        return Err(NoAttestation::Changed { is, should });
    }
    let content = serde_json::from_value(content.clone()).map_err(|error| other(&error))?;
    Ok((content, is))
}

/// Of a value in one form: no spaces, fields by their names.
fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    format!("sha256:{}", sha256(text.as_bytes()))
}

fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Array(values) => {
            into.push('[');
            for value in values {
                canonical(value, into);
                into.push(',');
            }
            into.push(']');
        }
        Value::Object(fields) => {
            into.push('{');
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            for (name, value) in fields {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        plain => into.push_str(&plain.to_string()),
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        let row = |name: &str, outcome: &str| Row {
            name: name.into(),
            outcome: outcome.into(),
            detail: "\u{e9}\"".into(),
        };
        Content {
            program: AttestedProgram {
                version: "0".into(),
                sha256: "00".into(),
                guests: BTreeMap::new(),
            },
            host: Host::of(&Backend::detect()),
            doctor: Doctor { usable: true, breakpoints: 4, trials: vec![row("int n", "works")] },
            conform: Conform {
                cases: 10,
                seed: 1,
                results: Results { compared: 9, ..Results::default() },
            },
            claims: vec![row("H1 micro", "proved")],
        }
    }

    #[test]
    fn what_was_written_is_read_whatever_its_layout() {
        let (text, digest) = write(&content());
        let (read_back, same) = read(text.as_bytes()).unwrap();
        assert_eq!((read_back, same), (content(), digest.clone()));
        let value: Value = serde_json::from_str(&text).unwrap();
        let compact = format!(
            r#"{{"digest":{},"content":{},"version":1,"format":"esp0-attestation"}}"#,
            value["digest"], value["content"]
        );
        assert_eq!(read(compact.as_bytes()).unwrap().1, digest);
    }

    #[test]
    fn each_change_is_seen() {
        let (text, _) = write(&content());
        for (from, to) in [
            ("\"compared\": 9", "\"compared\": 8"),
            ("proved", "refuted"),
            ("\"usable\": true", "\"usable\": false"),
            ("sha256:", "sha256:0"),
        ] {
            assert!(text.contains(from));
            let error = read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(matches!(error, NoAttestation::Changed { .. }), "{from}: {error}");
        }
        for wrong in ["", "{}", "[]", "{\"format\":\"esp0-attestation\",\"version\":2}"] {
            assert!(matches!(read(wrong.as_bytes()), Err(NoAttestation::Other(_))), "{wrong}");
        }
    }

    #[test]
    fn one_thing_that_is_wrong_is_enough() {
        assert!(content().is_right());
        let mut wrong = [content(), content(), content(), content(), content()];
        wrong[0].doctor.usable = false;
        wrong[1].doctor.trials[0].outcome = "deviates".into();
        wrong[2].conform.results.mismatches = 1;
        wrong[3].conform.results.compared = 0;
        wrong[4].claims[0].outcome = "open".into();
        assert!(wrong.iter().all(|content| !content.is_right()));
        assert!(content().summary().contains("1 trials: 1 work, 0 fail, 0 deviate as known"));
    }

    #[test]
    fn the_hash_is_the_one_that_others_have() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
    }
}
