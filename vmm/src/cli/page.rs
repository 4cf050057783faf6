//! The page of a run: `esp0 run --report`, and of a trace: `esp0 trace report`.
//!
//! A page is made from a trace. Where none is asked for, the run writes one into a file without a name, which is
//! gone when esp0 is.

use super::OK;
use super::failure::Failure;
use super::files::{Begun, Destination, identity_of, standard_output};
use super::progress::Progress;
use super::run::Answer;
use esp0::check::{CodePlace, Finding, Verdict};
use esp0::claims::Table;
use esp0::machine::StopRequest;
use esp0::report::read;
use esp0::symbols::{Annotator, Symbols};
use esp0::trace::schema::{CodeRecord, HeaderRecord, Record};
use esp0::trace::{Told, TraceReader};
use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Seek as _};
use std::path::Path;

/// Places of one finding that are shown.
const MOST_PLACES: usize = 3;

/// A page that is going to be written when the run is over.
pub(super) struct PageFile {
    out: Begun,
    /// What the trace is read from.
    trace: File,
}

/// What the page takes from the end of the run, beside the trace.
pub(super) struct Shown {
    /// The summary as it is printed.
    pub(super) summary: String,
    /// The text screen.
    pub(super) screen: String,
    /// Places at which the guest found nothing.
    pub(super) unanswered: String,
    pub(super) verdict: Verdict,
    /// The verdict line.
    pub(super) line: String,
}

/// What was told on the terminal, and what names and shows its places.
pub(super) struct Causes<'a> {
    pub(super) told: &'a Told,
    pub(super) symbols: &'a Symbols,
    /// The code that they are about.
    pub(super) places: &'a [(CodePlace, Vec<CodeRecord>)],
    /// What other runs have found out about them.
    pub(super) answers: &'a [Answer],
}

impl PageFile {
    /// Takes the page's file, and finds out where its trace is to be read; with the file that the trace is to
    /// be written to, if none was asked for.
    pub(super) fn begin(
        page: Destination,
        trace: Option<&Destination>,
    ) -> Result<(Self, Option<File>), Failure> {
        let (trace, unnamed) = match trace {
            Some(trace) if !trace.path().is_file() => {
                return Err(Failure::Input(format!(
                    "the page is made from the trace, and {} is no file that can be read back",
                    trace.path().display()
                )));
            }
            Some(trace) => {
                let file = File::open(trace.path()).map_err(|error| {
                    let path = trace.path().display();
                    Failure::Input(format!("the trace {path} cannot be read back: {error}"))
                })?;
                (file, None)
            }
            None => {
                let both = unnamed_file().and_then(|file| Ok((file.try_clone()?, Some(file))));
                both.map_err(|error| {
                    Failure::Input(format!("there is no room for the page's trace: {error}"))
                })?
            }
        };
        Ok((PageFile { out: page.begun()?, trace }, unnamed))
    }

    /// Writes the page.
    pub(super) fn write(mut self, shown: Shown, causes: Vec<Value>) -> Result<(), Failure> {
        let fail = |error: &dyn std::fmt::Display| {
            Failure::Input(format!("the {} is not written: {error}", self.out.name))
        };
        self.trace.rewind().map_err(|error| fail(&error))?;
        let screen: Vec<&str> =
            shown.screen.lines().filter_map(|line| line.strip_prefix("  │")).collect();
        let run = json!({
            "summary": shown.summary + &shown.unanswered,
            "screen": screen,
            "verdict": shown.verdict.name(),
            "verdict_line": shown.line,
            "told": causes,
        });
        let trace = Progress::of(self.trace, "making the page");
        let trace = TraceReader::of_file(trace, false).map_err(|error| fail(&error))?;
        let page = read(trace).map_err(|error| fail(&error))?.with_run(run);
        self.out.write(|out| page.write(&mut BufWriter::new(out)))
    }
}

impl Causes<'_> {
    /// Each cause as it was told: with names for addresses, the source of what it is about, and who wrote what.
    pub(super) fn told(&self) -> Vec<Value> {
        let Causes { told, symbols, .. } = *self;
        told.kinds()
            .iter()
            .map(|kind| {
                let finding = &kind.finding;
                let mut annotator = Annotator::new(symbols);
                let mut texts = Map::new();
                texts.insert("rule".into(), finding.rule.into());
                texts.insert("plain".into(), finding.sentence.clone().into());
                texts.insert("place".into(), kind.place.clone().into());
                for (name, text) in [
                    ("sentence", Some(&finding.sentence)),
                    ("expected", Some(&finding.expected)),
                    ("got", Some(&finding.got)),
                    ("reason", finding.reason.as_ref()),
                    ("advice", finding.advice.as_ref()),
                ] {
                    if let Some(text) = text {
                        texts.insert(name.into(), annotator.annotate(text).into());
                    }
                }
                let own: Vec<&str> = self.of(finding).map(|one| one.sentence.as_str()).collect();
                texts.insert("where".into(), json!(self.places_of(finding)));
                let name = if finding.way().is_some() { "way" } else { "writer" };
                if !own.is_empty() {
                    texts.insert(name.into(), own.join("; ").into());
                }
                Value::Object(texts)
            })
            .collect()
    }

    /// What other runs have found out about this one.
    fn of<'s>(&'s self, finding: &'s Finding) -> impl Iterator<Item = &'s Answer> {
        self.answers.iter().filter(|answer| Some(answer.asked) == finding.look_back)
    }

    /// The code that it is about. What was found out comes first: there is the line that is wrong.
    fn places_of<'s>(&'s self, finding: &'s Finding) -> Vec<&'s CodeRecord> {
        let found = self.of(finding).flat_map(|answer| &answer.places);
        let own = finding.places.iter().filter_map(|place| {
            self.places.iter().find(|(known, _)| known == place).map(|(_, code)| code)
        });
        let mut all: Vec<&CodeRecord> = Vec::new();
        for code in found.chain(own.flatten()) {
            let same = |known: &&CodeRecord| {
                known.at == code.at || known.source.is_some() && known.source == code.source
            };
            let is_empty = code.source.is_none() && code.code.is_empty();
            if all.len() < MOST_PLACES && !is_empty && !all.iter().any(same) {
                all.push(code);
            }
        }
        all
    }
}

/// A file without a name, on the disk if there is one that can have such, else in memory.
fn unnamed_file() -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(std::env::temp_dir(), flags, mode) {
        Ok(file) => Ok(file.into()),
        Err(_) => Ok(rustix::fs::memfd_create("trace", rustix::fs::MemfdFlags::CLOEXEC)?.into()),
    }
}

/// Writes a page of claims alone, without a run.
pub(super) fn of_claims(table: &Table, page: Destination) -> Result<(), Failure> {
    let name = page.path().display().to_string();
    let header = HeaderRecord {
        kernel: "claims".into(),
        authority: table.backend.authority.to_string(),
        backend: table.backend.to_string(),
        clock: "deterministic".into(),
        ..HeaderRecord::new()
    };
    let header = Record::Header(header).to_line();
    let fail = |error: &dyn std::fmt::Display| {
        Failure::Input(format!("the page {name} is not written: {error}"))
    };
    let trace = TraceReader::new(&*header).map_err(|error| fail(&error))?;
    let read = read(trace).and_then(|page| page.with_claims(table.value()));
    let read = read.map_err(|error| fail(&error))?;
    page.begun()?.write(|out| read.write(&mut BufWriter::new(out)))
}

/// Makes a page of a trace, with claims if there are some.
pub(super) fn report(trace: &Path, page: &Path, claims: Option<&Path>) -> Result<u8, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", trace.display()));
    let file = File::open(trace).map_err(|error| fail(&error))?;
    let compressed = trace.extension().is_some_and(|extension| extension == "zst");
    let destination = Destination::open(page, "page", None, &StopRequest::default())?;
    let mut taken: Vec<_> = standard_output().into_iter().collect();
    taken.extend(identity_of(&file, "the trace"));
    destination.differs_from(&taken)?;
    let claims = claims.map(|path| Ok::<_, Failure>((path, super::files::read(path)?)));
    let claims = claims.transpose()?;
    if let Some((_, (_, Some(id)))) = &claims {
        destination.differs_from(&[(*id, "the table of claims".to_owned())])?;
    }
    let file = Progress::of(file, "making a page");
    let trace = TraceReader::of_file(file, compressed).map_err(|error| fail(&error))?;
    let mut page = read(trace).map_err(|error| fail(&error))?;
    if let Some((path, (bytes, _))) = claims {
        let fail =
            |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
        // What is no JSON at all is no table either, and told so.
        let claims = serde_json::from_slice(&bytes).unwrap_or_default();
        page = page.with_claims(claims).map_err(|error| fail(&error))?;
    }
    destination.begun()?.write(|out| page.write(&mut BufWriter::new(out)))?;
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp0::check::{ChangedWord, LookBack, Subject};

    fn code(at: u32) -> CodeRecord {
        let row = [format!("{at:08x}"), "cf".into(), "iretd".into()];
        CodeRecord { name: None, at: format!("{at:08x}"), code: vec![row], source: None }
    }

    #[test]
    fn the_writer_comes_before_the_places_that_a_finding_names_and_each_is_shown_once() {
        let asked = LookBack::Writer(ChangedWord { address: 4, physical: 4, value: 1 });
        let mut finding = Finding::new("a_rule", Subject::Kernel, "this", "that", "other")
            .about_instruction(0x10)
            .about(CodePlace::Handler(0x20))
            .about_instruction(0x30);
        finding.look_back = Some(asked);
        let mut told = Told::default();
        told.tell(&finding, "here", 0, 1);
        let nothing = CodeRecord { code: Vec::new(), ..code(0x30) };
        let places = [
            (CodePlace::Instruction(0x10), vec![code(0x10)]),
            (CodePlace::Handler(0x20), vec![code(0x40), code(0x10)]),
            (CodePlace::Instruction(0x30), vec![nothing]),
        ];
        let sentence = "it was written by `mov`".to_owned();
        let answers = [Answer { asked, sentence: sentence.clone(), places: vec![code(0x50)] }];
        let symbols = Symbols::none();
        let causes = Causes { told: &told, symbols: &symbols, places: &places, answers: &answers };
        let [cause] = &causes.told()[..] else { panic!("one cause") };
        let shown: Vec<&str> = cause["where"]
            .as_array()
            .unwrap()
            .iter()
            .map(|place| place["at"].as_str().unwrap())
            .collect();
        assert_eq!(shown, ["00000050", "00000010", "00000040"]);
        assert_eq!(cause["writer"], sentence);
    }
}
