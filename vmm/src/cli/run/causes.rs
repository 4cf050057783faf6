//! What is known of each cause when the run is over: the code that it is about, and what other runs have found out.

use super::again::Answer;
use esp0::check::{CodePlace, Finding};
use esp0::report::{CodeReader, Standing, most_telling};
use esp0::trace::schema::{CauseRecord, CodeRecord};
use esp0::trace::{FindingKind, Told};

/// The code that findings are about, read while the guest stands where it ended.
#[derive(Default)]
pub(super) struct Places {
    /// Of the places that findings name.
    named: Vec<(CodePlace, Vec<CodeRecord>)>,
    /// Of causes that name none: what was interrupted, by the handler and the sentence.
    interrupted: Vec<(u32, String, CodeRecord)>,
}

impl Places {
    /// Reads all of them, each once.
    pub(super) fn read(code: &CodeReader, told: &Told, guest: Standing<'_>) -> Self {
        let mut all = Places::default();
        for FindingKind { finding, at, .. } in told.kinds() {
            for place in &finding.places {
                if all.named.iter().all(|(known, _)| known != place) {
                    all.named.push((*place, code.show(*place, guest)));
                }
            }
            if finding.places.is_empty() {
                let shown = code.interrupted(*at, &finding.sentence, guest);
                all.interrupted.extend(shown.map(|shown| (*at, finding.sentence.clone(), shown)));
            }
        }
        all
    }

    /// What there is to say of each cause that was told.
    pub(super) fn causes(&self, told: &Told, answers: &[Answer]) -> Vec<CauseRecord> {
        let causes = told.kinds().iter().map(|kind| self.cause(kind, answers));
        causes.filter(|cause| !cause.is_empty()).collect()
    }

    fn cause(&self, kind: &FindingKind, answers: &[Answer]) -> CauseRecord {
        let FindingKind { finding, at, .. } = kind;
        let own = || answers.iter().filter(|answer| Some(answer.asked) == finding.look_back);
        let sentences: Vec<String> = own().map(|answer| answer.sentence.clone()).collect();
        let (writer, way) = match finding.way() {
            None => (sentences, Vec::new()),
            Some(_) => (Vec::new(), sentences),
        };
        // What was found out comes first: there is the line that is wrong.
        let found = own().flat_map(|answer| &answer.places);
        let places = found.chain(self.of(finding, *at)).cloned();
        CauseRecord {
            rule: finding.rule.into(),
            at: *at,
            sentence: finding.sentence.clone(),
            writer,
            way,
            places: most_telling(places),
        }
    }

    fn of<'s>(&'s self, finding: &'s Finding, at: u32) -> impl Iterator<Item = &'s CodeRecord> {
        let named = finding.places.iter().filter_map(|place| {
            self.named.iter().find(|(known, _)| known == place).map(|(_, code)| code)
        });
        let interrupted = self.interrupted.iter().filter(move |(handler, sentence, _)| {
            finding.places.is_empty() && *handler == at && *sentence == finding.sentence
        });
        named.flatten().chain(interrupted.map(|(.., code)| code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp0::check::{ChangedWord, LookBack, Retrace, Subject};

    fn code(at: u32) -> CodeRecord {
        let row = [format!("{at:08x}"), "cf".into(), "iretd".into()];
        CodeRecord { name: None, at: format!("{at:08x}"), code: vec![row], source: None }
    }

    fn shown(cause: &CauseRecord) -> Vec<&str> {
        cause.places.iter().map(|place| place.at.as_str()).collect()
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
        told.tell(&finding, "here", 0x99, 1);
        let nothing = CodeRecord { code: Vec::new(), ..code(0x30) };
        let named = vec![
            (CodePlace::Instruction(0x10), vec![code(0x10)]),
            (CodePlace::Handler(0x20), vec![code(0x40), code(0x10)]),
            (CodePlace::Instruction(0x30), vec![nothing]),
        ];
        let places = Places { named, ..Places::default() };
        let sentence = "it was written by `mov`".to_owned();
        let answers = [Answer { asked, sentence: sentence.clone(), places: vec![code(0x50)] }];
        let [cause] = &places.causes(&told, &answers)[..] else { panic!("one cause") };
        assert_eq!(shown(cause), ["00000050", "00000010", "00000040"]);
        assert_eq!((cause.at, &cause.writer[..], &cause.way[..]), (0x99, &[sentence][..], &[][..]));
    }

    #[test]
    fn a_finding_that_names_no_code_is_shown_with_what_was_interrupted() {
        let mut told = Told::default();
        let finding = |sentence| Finding::new("a_rule", Subject::Kernel, sentence, "that", "other");
        told.tell(&finding("this"), "here", 0x99, 1);
        let way = Retrace::Departure { after_entry: 1 };
        let led = Finding { look_back: Some(LookBack::Way(way)), ..finding("lost") };
        told.tell(&led, "there", 0x98, 1);
        told.tell(&finding("nothing is known"), "there", 0x97, 1);
        let interrupted = vec![(0x99, "this".to_owned(), code(0x60)), (0x98, "x".into(), code(1))];
        let places = Places { interrupted, ..Places::default() };
        let sentence = "`ret` led there".to_owned();
        let asked = LookBack::Way(way);
        let answers = [Answer { asked, sentence: sentence.clone(), places: Vec::new() }];
        let [first, second] = &places.causes(&told, &answers)[..] else { panic!("two causes") };
        assert_eq!(shown(first), ["00000060"]);
        assert_eq!((&second.way[..], second.places.len()), (&[sentence][..], 0));
    }
}
