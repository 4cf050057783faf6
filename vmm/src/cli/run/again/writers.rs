//! Who wrote the words that findings are about.

use super::{Again, Found};
use esp0::check::{ChangedWord, LookBack};
use esp0::instruction;
use esp0::machine::Machine;
use esp0::trace::Told;
use esp0::writer::{Question, Writer, who_wrote};

/// Findings whose writers are looked for: each costs two runs.
const MOST: usize = 3;

impl Again<'_> {
    /// A sentence for each word that was changed: who wrote it.
    pub(super) fn who_wrote(&self, told: &Told, machine: Machine) -> Found {
        let writers = self.writers(told, machine).into_iter();
        Found::answers(writers.map(|(word, sentence)| (LookBack::Writer(word), sentence)).collect())
    }

    fn writers(&self, told: &Told, mut machine: Machine) -> Vec<(ChangedWord, String)> {
        let mut all = Vec::new();
        let mut asked = 0;
        for kind in told.kinds() {
            let Some(word) = kind.finding.changed() else { continue };
            if asked == MOST {
                break;
            }
            asked += 1;
            let question =
                Question { address: word.physical, value: word.value, at_entry: kind.first };
            let mut run = match self.restart(machine) {
                Ok(run) => run,
                Err(error) => {
                    let answer = format!("who wrote {:08x} is not known: {error}", word.address);
                    all.push((word, answer));
                    return all;
                }
            };
            let answer = match who_wrote(&mut run, question) {
                Ok(Some(writer)) => self.sentence(word, &writer),
                Ok(None) => format!(
                    "who wrote {:08x} is not known: it did not change when the guest was run again",
                    word.address
                ),
                Err(error) => format!("who wrote {:08x} is not known: {error}", word.address),
            };
            all.push((word, answer));
            machine = run.into_machine();
        }
        all
    }

    pub(super) fn sentence(&self, word: ChangedWord, writer: &Writer) -> String {
        let ChangedWord { address, value, .. } = word;
        match writer {
            Writer::Instruction { before, code, after_entry, old } => {
                let at = before.instruction_address();
                let instruction = instruction::text(code, before);
                format!(
                    "{address:08x} was written by `{instruction}` at {}, in ring {}, after #{after_entry}: \
                     {old:08x} before, {value:08x} after",
                    self.place(at),
                    before.cpl(),
                )
            }
            Writer::Push { entry, old } => format!(
                "{address:08x} was written by the processor, which pushed the frame of #{entry} there: \
                 {old:08x} before, {value:08x} after"
            ),
            Writer::Unseen { after_entry, old } => format!(
                "{address:08x} was written between two stops after #{after_entry}: {old:08x} before, \
                 {value:08x} after"
            ),
        }
    }
}
