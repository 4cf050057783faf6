//! How the guest came to where a finding has it: the same guest is run again.

use super::writers::Again;
use esp0::check::{ChangedWord, Retrace};
use esp0::instruction;
use esp0::machine::{Machine, MachineError};
use esp0::retrace::{Doer, Popped, Way, retrace, written_since};
use esp0::trace::Told;
use esp0::writer::{Question, who_wrote};

impl Again<'_> {
    /// What the ways to the findings have shown, a sentence or two for each that was found.
    pub(super) fn tell_ways(&self, told: &Told, machine: Machine) -> Vec<String> {
        let mut questions: Vec<Retrace> = Vec::new();
        for question in told.kinds().iter().filter_map(|kind| kind.finding.retrace) {
            // Where the guest has left the code it is of no interest what closed interrupts there.
            if questions.is_empty() {
                questions.push(question);
            }
        }
        let mut all = Vec::new();
        let mut machine = Some(machine);
        for question in questions {
            let Some(owned) = machine.take() else { break };
            match self.way(question, owned, &mut all) {
                Ok(back) => machine = Some(back),
                Err(error) => all.push(format!("the way there is not known: {error}")),
            }
        }
        all
    }

    fn way(
        &self,
        question: Retrace,
        machine: Machine,
        all: &mut Vec<String>,
    ) -> Result<Machine, MachineError> {
        let mut run = self.restart(machine)?;
        let way = retrace(&mut run, question)?;
        let mut machine = run.into_machine();
        let Some(way) = way else { return Ok(machine) };
        all.push(self.told(&way));
        let Way::Left { to, popped: Some(popped), .. } = way else { return Ok(machine) };
        let Retrace::Departure { after_entry } = question else { return Ok(machine) };
        let Some(physical) = popped.physical else { return Ok(machine) };
        let mut run = self.restart(machine)?;
        let word = ChangedWord { address: popped.address, physical, value: to };
        let mut writer = written_since(&mut run, after_entry, word)?;
        machine = run.into_machine();
        if writer.is_none() && after_entry > 0 {
            let mut run = self.restart(machine)?;
            let question = Question { address: physical, value: to, at_entry: after_entry - 1 };
            writer = who_wrote(&mut run, question)?;
            machine = run.into_machine();
        }
        if let Some(writer) = writer {
            all.push(self.sentence(word, &writer));
        }
        Ok(machine)
    }

    fn place(&self, address: u32) -> String {
        match (self.names)(address) {
            Some(name) => format!("{address:08x} ({name})"),
            None => format!("{address:08x}"),
        }
    }

    fn doer(&self, doer: &Doer) -> String {
        let text = instruction::text(&doer.code, &doer.before);
        format!("`{text}` at {}", self.place(doer.before.instruction_address()))
    }

    fn told(&self, way: &Way) -> String {
        match way {
            Way::Left { by, to, popped: Some(Popped { address, .. }) } => format!(
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
