//! Who wrote the words that findings are about.

use super::super::watch::TextReport;
use super::{Again, Answer, Found};
use esp0::check::{ChangedWord, LookBack};
use esp0::instruction;
use esp0::machine::Machine;
use esp0::retrace::{Question, Writer, who_wrote};

/// Findings whose writers are looked for: each costs two runs.
const MOST: usize = 3;

impl Again<'_> {
    /// A sentence for each word that was changed: who wrote it.
    pub(super) fn who_wrote(&self, report: &TextReport, mut machine: Machine) -> Found {
        let mut all: Vec<Answer> = Vec::new();
        let mut questions = 0;
        for kind in report.told().kinds() {
            let Some((word, asked)) = kind.finding.written().zip(kind.finding.look_back) else {
                continue;
            };
            if all.iter().any(|answer| answer.asked == asked) {
                continue;
            }
            if questions == MOST {
                break;
            }
            questions += 1;
            let bits = match asked {
                LookBack::StoredPart { bits, .. } | LookBack::StoredBefore { bits, .. } => bits,
                _ => !0,
            };
            let at_entry = match asked {
                LookBack::StoredBefore { at_entry, .. } => at_entry,
                _ => kind.first,
            };
            let ChangedWord { physical: address, value, .. } = word;
            let question = Question { address, value, bits, at_entry };
            let mut run = match self.restart(machine) {
                Ok(run) => run,
                Err(error) => {
                    let answer = format!("who wrote {:08x} is not known: {error}", word.address);
                    all.push(Answer { asked, sentence: answer, places: Vec::new() });
                    return Found::answers(all);
                }
            };
            let mut places = Vec::new();
            let sentence = match who_wrote(&mut run, question) {
                Ok(Some(writer)) => {
                    if let Writer::Instruction { before, .. } = &writer {
                        places = self.shown(report, &run, before);
                    }
                    self.sentence(word, &writer)
                }
                // It stands so in the kernel's file.
                Ok(None) if kind.finding.stored().is_some() => {
                    machine = run.into_machine();
                    continue;
                }
                Ok(None) => format!(
                    "who wrote {:08x} is not known: it did not change when the guest was run again",
                    word.address
                ),
                Err(error) => format!("who wrote {:08x} is not known: {error}", word.address),
            };
            all.push(Answer { asked, sentence, places });
            machine = run.into_machine();
        }
        Found::answers(all)
    }

    pub(super) fn sentence(&self, word: ChangedWord, writer: &Writer) -> String {
        let address = word.address;
        match writer {
            Writer::Instruction { before, code, after_entry, old, new, .. } => {
                let at = before.instruction_address();
                let instruction = instruction::text(code, before);
                format!(
                    "{address:08x} was written by `{instruction}` at {}, in ring {}, {}: {old:08x} before, {new:08x} after",
                    self.place(at),
                    before.cpl(),
                    when(*after_entry),
                )
            }
            Writer::Push { entry, old, new } => format!(
                "{address:08x} was written by the processor, which pushed the frame of #{entry} there: \
                 {old:08x} before, {new:08x} after"
            ),
            Writer::Unseen { after_entry, old, new } => format!(
                "{address:08x} was written between two stops {}: {old:08x} before, {new:08x} after",
                when(*after_entry)
            ),
        }
    }
}

/// When something was done, by the number of the last entry before it.
fn when(after_entry: u64) -> String {
    match after_entry {
        0 => "before the first entry".into(),
        number => format!("after #{number}"),
    }
}
