//! A finding for people: what, where, expected, got, and the likely reason.

use super::Colour;
use super::schema::FindingRecord;
use crate::check::{Degree, Finding, Subject};
use crate::symbols::{Annotator, Symbols};
use std::fmt;

/// A finding, as it is printed.
#[derive(Debug)]
pub struct FindingText<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Where: `#214 int 0x80 in task 3, at write+9 (user.c:41)`.
    pub place: String,
    /// With colour or without.
    pub colour: Colour,
    /// What the addresses in it are, if that is known.
    pub symbols: Option<&'a Symbols>,
}

/// ```text
/// #214 int 0x80 in task 3, at write+9 (user.c:41): entered on the stack of suspended task 1
///      expected  SS:ESP 0010:c0106fec (kstack3+4076)  (ESP0 of task 3)
///      got       SS:ESP 0010:c0104fec (kstack1+4076)  overwrites EIP CS EFLAGS ESP SS of #198
///      TSS.ESP0 has been c0105000 (kstack1+4096) since #190: …
/// ```
impl fmt::Display for FindingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = Symbols::none();
        let Finding { rule, subject, degree, sentence, expected, got, reason, advice, .. } =
            self.finding;
        Texts {
            rule,
            subject: *subject,
            degree: *degree,
            place: &self.place,
            sentence,
            expected,
            got,
            reason: reason.as_deref(),
            advice: advice.as_deref(),
        }
        .write(f, Annotator::new(self.symbols.unwrap_or(&none)), self.colour)
    }
}

/// The same of one in a trace.
pub(super) fn record_text(finding: &FindingRecord, degree: Degree, colour: Colour) -> String {
    struct Printed<'a>(&'a FindingRecord, Degree, Colour);
    impl fmt::Display for Printed<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let finding = self.0;
            Texts {
                rule: &finding.rule,
                subject: finding.subject,
                degree: self.1,
                place: &finding.place,
                sentence: &finding.sentence,
                expected: &finding.expected,
                got: &finding.got,
                reason: finding.reason.as_deref(),
                advice: finding.advice.as_deref(),
            }
            .write(f, Annotator::with_names(&finding.names), self.2)
        }
    }
    Printed(finding, degree, colour).to_string()
}

struct Texts<'a> {
    rule: &'a str,
    subject: Subject,
    degree: Degree,
    place: &'a str,
    sentence: &'a str,
    expected: &'a str,
    got: &'a str,
    reason: Option<&'a str>,
    advice: Option<&'a str>,
}

impl Texts<'_> {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        mut names: Annotator<'_>,
        colour: Colour,
    ) -> fmt::Result {
        let mut named = |text| names.annotate(text).into_owned();
        let first = format!("{}: {}", self.place, named(self.sentence));
        match self.degree {
            Degree::Fault => writeln!(f, "{}", colour.bad(&first))?,
            Degree::Note => writeln!(f, "{}", colour.odd(&format!("note: {first}")))?,
        }
        writeln!(f, "     expected  {}", named(self.expected))?;
        writeln!(f, "     got       {}", named(self.got))?;
        if let Some(reason) = self.reason {
            writeln!(f, "     {}", named(reason))?;
        }
        if let Some(advice) = self.advice {
            writeln!(f, "     what to do: {}", named(advice))?;
        }
        write!(f, "     {}", colour.dim(&format!("rule {}, about the {}", self.rule, self.subject)))
    }
}
