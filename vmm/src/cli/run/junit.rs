//! What a run found, as JUnit's XML: what build servers show.
//!
//! A suite is a run. Each kind of finding is a failed test, each kind of note one that passed with
//! something to say, and the guest's ending is a test too. There is always one that can fail, so a run
//! that saw nothing does not look like one that was not started.

use esp0::check::{Degree, Verdict};
use esp0::symbols::Symbols;
use esp0::trace::schema::CauseRecord;
use esp0::trace::{Colour, FindingKind, FindingText, Told, cause_text};
use quick_xml::Writer;
use quick_xml::events::{BytesText, Event};
use std::io;

/// All that the file tells.
pub(super) struct Suite<'a> {
    /// What the kernel is called.
    pub(super) kernel: &'a str,
    pub(super) told: &'a Told,
    /// What is known of what was told, beside the findings.
    pub(super) causes: &'a [CauseRecord],
    pub(super) symbols: &'a Symbols,
    pub(super) verdict: Verdict,
    /// How the run ended, in words.
    pub(super) end: String,
    /// The verdict line.
    pub(super) line: String,
}

impl Suite<'_> {
    pub(super) fn xml(&self) -> io::Result<Vec<u8>> {
        let failed_end = matches!(
            self.verdict,
            Verdict::GuestFailed | Verdict::NoEntries | Verdict::Interrupted
        );
        let findings = self.told.of(Degree::Fault).count();
        let tests = self.told.kinds().len() + 2;
        let failures = findings + usize::from(failed_end);
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        let declaration = quick_xml::events::BytesDecl::new("1.0", Some("UTF-8"), None);
        writer.write_event(Event::Decl(declaration))?;
        writer
            .create_element("testsuites")
            .with_attributes(counts(tests, failures).iter().map(attribute))
            .write_inner_content(|writer| {
                let name = printable(&format!("esp0 {}", self.kernel));
                writer
                    .create_element("testsuite")
                    .with_attribute(("name", name.as_str()))
                    .with_attributes(counts(tests, failures).iter().map(attribute))
                    .write_inner_content(|writer| self.cases(writer, failed_end))?;
                Ok(())
            })?;
        let mut xml = writer.into_inner();
        xml.push(b'\n');
        Ok(xml)
    }

    fn cases(&self, writer: &mut Writer<Vec<u8>>, failed_end: bool) -> io::Result<()> {
        let none = self.told.of(Degree::Fault).next().is_none();
        self.case(writer, "entries", "the rules were applied to all entries", |writer| {
            let text = if none { "no finding" } else { "findings are cases of their own" };
            said(writer, text)
        })?;
        for kind in self.told.kinds() {
            let finding = &kind.finding;
            let name = format!("{}: {}", finding.rule, finding.sentence);
            let times = kind.times().map_or(String::new(), |times| format!(" ({times})"));
            let text = self.text(kind, &times);
            self.case(writer, finding.rule, &name, |writer| match finding.degree {
                Degree::Fault => failure(writer, &format!("{}{times}", finding.sentence), &text),
                Degree::Note => said(writer, &text),
            })?;
        }
        self.case(writer, "ending", "the guest comes to a good end", |writer| {
            if failed_end {
                failure(writer, &self.end, &self.line)
            } else {
                said(writer, &self.end)
            }
        })
    }

    fn case(
        &self,
        writer: &mut Writer<Vec<u8>>,
        class: &str,
        name: &str,
        content: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let class = printable(&format!("{}.{class}", self.kernel));
        let name = printable(name);
        writer
            .create_element("testcase")
            .with_attributes([("classname", class.as_str()), ("name", name.as_str())])
            .write_inner_content(content)?;
        Ok(())
    }

    fn text(&self, kind: &FindingKind, times: &str) -> String {
        let (rule, sentence) = (kind.finding.rule, &kind.finding.sentence);
        let is_its = |cause: &&CauseRecord| {
            cause.rule == rule && cause.at == kind.at && cause.sentence == *sentence
        };
        let more = self.causes.iter().find(is_its).map_or(String::new(), cause_text);
        let text = FindingText {
            finding: &kind.finding,
            place: kind.place.clone(),
            colour: Colour::default(),
            symbols: Some(self.symbols),
        };
        format!("{text}{times}\n{more}")
    }
}

fn counts(tests: usize, failures: usize) -> [(&'static str, String); 3] {
    [("tests", tests.to_string()), ("failures", failures.to_string()), ("errors", "0".into())]
}

fn attribute<'a>((name, value): &'a (&'static str, String)) -> (&'a str, &'a str) {
    (name, value.as_str())
}

fn failure(writer: &mut Writer<Vec<u8>>, message: &str, text: &str) -> io::Result<()> {
    let (message, text) = (printable(message), printable(text));
    writer
        .create_element("failure")
        .with_attribute(("message", message.as_str()))
        .write_text_content(BytesText::new(&text))?;
    Ok(())
}

fn said(writer: &mut Writer<Vec<u8>>, text: &str) -> io::Result<()> {
    let text = printable(text);
    writer.create_element("system-out").write_text_content(BytesText::new(&text))?;
    Ok(())
}

/// What XML 1.0 has no place for becomes a question mark.
fn printable(text: &str) -> String {
    let allowed = |letter: char| {
        matches!(letter, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
            && !matches!(letter, '\u{7f}'..='\u{9f}')
    };
    text.chars().map(|letter| if allowed(letter) { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp0::check::{Finding, Subject};

    #[test]
    fn findings_and_the_ending_are_cases_and_nothing_escapes_its_quotes() {
        let mut told = Told::default();
        let fault = Finding::new("a_rule", Subject::Kernel, "EIP < \"x\" & \x1b", "1", "2");
        told.tell(&fault, "#1", 0, 1);
        told.tell(&fault, "#2", 0, 2);
        told.tell(&fault.clone().as_note(), "#3", 9, 3);
        let cause = CauseRecord {
            rule: "a_rule".into(),
            at: 0,
            sentence: fault.sentence.clone(),
            writer: vec!["00001004 was written by `mov`".into()],
            way: Vec::new(),
            places: Vec::new(),
        };
        let suite = Suite {
            kernel: "k<1>.elf",
            told: &told,
            causes: &[cause],
            symbols: &Symbols::none(),
            verdict: Verdict::Findings,
            end: "the guest powered off".into(),
            line: "verdict: findings".into(),
        };
        let xml = String::from_utf8(suite.xml().unwrap()).unwrap();
        for part in [
            r#"<testsuite name="esp0 k&lt;1&gt;.elf" tests="4" failures="1" errors="0">"#,
            "&quot;x&quot; &amp; ?",
            "(seen 2 times, #1 to #2)",
            "00001004 was written by `mov`",
            "<system-out>the guest powered off</system-out>",
        ] {
            assert!(xml.contains(part), "no {part} in\n{xml}");
        }
        assert_eq!(xml.matches("<testcase").count(), 4, "{xml}");
        assert_eq!(xml.matches("<failure").count(), 1, "{xml}");
    }

    #[test]
    fn a_bad_end_is_a_failure() {
        let suite = Suite {
            kernel: "k",
            told: &Told::default(),
            causes: &[],
            symbols: &Symbols::none(),
            verdict: Verdict::GuestFailed,
            end: "triple fault".into(),
            line: "verdict: guest-failed".into(),
        };
        let xml = String::from_utf8(suite.xml().unwrap()).unwrap();
        assert!(xml.contains(r#"<failure message="triple fault">"#), "{xml}");
        assert!(xml.contains(r#"tests="2" failures="1""#), "{xml}");
    }
}
