//! The claims as people and programs read them.

use super::{CLAIMS, Claim, Doubt, Proof, Status};
use crate::host::Backend;
use serde::Serialize;
use std::fmt::Write;

/// What one kernel showed of one claim.
#[derive(Clone, Debug)]
pub struct ClaimsRow {
    /// The claim.
    pub claim: &'static Claim,
    /// The guest, as `--guest` calls it.
    pub kernel: &'static str,
    /// What became of it.
    pub status: Status,
    /// The evidence, or what is missing.
    pub evidence: String,
    /// What was made wrong on purpose: which twin ran, or what was altered in the observation.
    pub broken: Option<String>,
}

impl ClaimsRow {
    /// From what the judge said.
    pub fn new(
        claim: &'static Claim,
        kernel: &'static str,
        judgement: Proof,
        broken: Option<String>,
    ) -> Self {
        let (status, evidence) = match judgement {
            Ok(evidence) => (Status::Proved, evidence),
            Err(Doubt::Refuted(evidence)) => (Status::Refuted, evidence),
            Err(Doubt::Open(reason)) => (Status::Open, reason),
        };
        ClaimsRow { claim, kernel, status, evidence, broken }
    }
}

/// All that was found.
#[derive(Clone, Debug)]
pub struct ClaimsTable {
    /// A row for each claim and kernel, in the order of the claims.
    pub rows: Vec<ClaimsRow>,
    /// Who executed the guests.
    pub backend: Backend,
}

impl ClaimsTable {
    /// How many rows have that status.
    pub fn count(&self, status: Status) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    /// As text: a claim, then a line for each kernel.
    pub fn text(&self, colour: crate::trace::Colour) -> String {
        let mut text = String::new();
        let mut subject = None;
        for claim in CLAIMS {
            let rows: Vec<&ClaimsRow> =
                self.rows.iter().filter(|row| row.claim.id == claim.id).collect();
            if rows.is_empty() {
                continue;
            }
            if subject != Some(claim.subject) {
                let gap = if subject.is_some() { "\n" } else { "" };
                let _ = writeln!(text, "{gap}{}", claim.subject.title());
                subject = Some(claim.subject);
            }
            let _ = writeln!(text, "{:<4} {}", claim.id, claim.sentence);
            for row in rows {
                let status = format!("{:<7}", row.status.name());
                let status = match row.status {
                    Status::Proved => colour.good(&status),
                    Status::Refuted => colour.bad(&status),
                    Status::Open => colour.dim(&status),
                };
                let _ = writeln!(text, "     {:<7} {status} {}", row.kernel, row.evidence);
                if let Some(broken) = &row.broken {
                    let _ = writeln!(text, "             broken  {broken}");
                }
            }
        }
        let _ = writeln!(text, "\nauthority  {}: {}", self.backend.authority, self.backend);
        let _ = writeln!(
            text,
            "claims: proved={} refuted={} open={} authority={}",
            self.count(Status::Proved),
            self.count(Status::Refuted),
            self.count(Status::Open),
            self.backend.authority
        );
        text
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.document())
            .expect("the fields of a claim are all of JSON");
        text.push('\n');
        text
    }

    /// The same, for the report page.
    pub fn value(&self) -> serde_json::Value {
        serde_json::to_value(self.document()).expect("the fields of a claim are all of JSON")
    }

    fn document(&self) -> Document<'_> {
        Document {
            format: "esp0-claims",
            version: 1,
            authority: self.backend.authority.to_string(),
            backend: self.backend.to_string(),
            claims: (self.rows.iter())
                .map(|row| Entry {
                    id: row.claim.id,
                    subject: row.claim.subject.title(),
                    claim: row.claim.sentence,
                    kernel: row.kernel,
                    status: row.status.name(),
                    evidence: &row.evidence,
                    broken: row.broken.as_deref(),
                })
                .collect(),
        }
    }
}

/// The table as JSON has it.
#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    authority: String,
    backend: String,
    claims: Vec<Entry<'a>>,
}

/// What one kernel showed of one claim.
#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    subject: &'a str,
    claim: &'a str,
    kernel: &'a str,
    status: &'a str,
    evidence: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<&'a str>,
}
