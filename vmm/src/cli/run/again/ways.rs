//! How the guest came to where a finding has it.

use super::{Again, Found};
use esp0::check::{ChangedWord, LookBack, Retrace};
use esp0::instruction;
use esp0::machine::{Machine, MachineError};
use esp0::retrace::{Doer, ReturnAddress, Way, retrace, written_since};
use esp0::trace::Told;
use esp0::writer::{Question, who_wrote};

impl Again<'_> {
    /// What the way to a finding has shown, in a sentence or two.
    pub(super) fn what_led_there(&self, told: &Told, machine: Machine) -> Found {
        // The first: where the guest has left the code it is of no interest what closed interrupts there.
        let Some(question) = told.kinds().iter().find_map(|kind| kind.finding.way()) else {
            return Found::default();
        };
        let mut all = Vec::new();
        if let Err(error) = self.way(question, machine, &mut all) {
            all.push(format!("the way there is not known: {error}"));
        }
        let look_back = LookBack::Way(question);
        Found::answers(all.into_iter().map(|sentence| (look_back, sentence)).collect())
    }

    fn way(
        &self,
        question: Retrace,
        machine: Machine,
        all: &mut Vec<String>,
    ) -> Result<(), MachineError> {
        let mut run = self.restart(machine)?;
        let Some(way) = retrace(&mut run, question)? else { return Ok(()) };
        all.push(self.told(&way));
        let Way::Left { to, popped: Some(popped), .. } = way else { return Ok(()) };
        let Retrace::Departure { after_entry } = question else { return Ok(()) };
        let Some(physical) = popped.physical else { return Ok(()) };
        let mut run = self.restart(run.into_machine())?;
        let word = ChangedWord { address: popped.address, physical, value: to };
        let mut writer = written_since(&mut run, after_entry, word)?;
        if writer.is_none() && after_entry > 0 {
            let mut run = self.restart(run.into_machine())?;
            let question = Question { address: physical, value: to, at_entry: after_entry - 1 };
            writer = who_wrote(&mut run, question)?;
        }
        all.extend(writer.map(|writer| self.sentence(word, &writer)));
        Ok(())
    }

    fn doer(&self, doer: &Doer) -> String {
        let text = instruction::text(&doer.code, &doer.before);
        format!("`{text}` at {}", self.place(doer.before.instruction_address()))
    }

    fn told(&self, way: &Way) -> String {
        match way {
            Way::Left { by, to, popped: Some(ReturnAddress { address, .. }) } => format!(
                "{} led to {}: it took that from the stack, at {}",
                self.doer(by),
                self.place(*to),
                self.place(*address)
            ),
            Way::Left { by, to, popped: None } => {
                format!("{} led to {}", self.doer(by), self.place(*to))
            }
            Way::Written { word, writer } => self.sentence(*word, writer),
            Way::Closed(by) => format!(
                "{} closed interrupts, in ring {}, and nothing has opened them since: what to do: open them (`sti`) on \
                 each way out of there",
                self.doer(by),
                by.before.cpl()
            ),
            Way::Entered { sequence, switched: None } => format!(
                "the gate of #{sequence} closed interrupts, and its handler has opened none and executed no IRET since"
            ),
            Way::Entered { sequence, switched: Some((by, at)) } => format!(
                "the gate of #{sequence} closed interrupts, and its handler changed to another stack with {}: what goes on \
                 there, at {}, opens none: what to do: `sti` where a new thread starts, or give it a frame with IF set \
                 that an IRET pops",
                self.doer(by),
                self.place(*at)
            ),
        }
    }
}
