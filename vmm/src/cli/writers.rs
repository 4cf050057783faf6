//! Who wrote the words that findings are about: the same guest is run again.

use super::machine::Name;
use esp0::check::ChangedWord;
use esp0::instruction;
use esp0::machine::{Machine, MachineError, VcpuImage};
use esp0::run::{End, Event, Run};
use esp0::trace::Told;
use esp0::writer::{Question, Writer, who_wrote};

/// Findings whose writers are looked for: each costs two runs.
const MOST: usize = 3;

/// What a guest is started again from.
pub(super) struct Again<'a> {
    /// The vCPU before the guest's state was set.
    pub(super) vcpu: &'a VcpuImage,
    /// Loads the guest into a machine whose memory is zero.
    pub(super) load: &'a dyn Fn(&mut Machine),
    /// A run of a machine that has been loaded.
    pub(super) start: &'a dyn Fn(Machine) -> Run,
    /// What stands at an address.
    pub(super) names: Name<'a>,
}

impl Again<'_> {
    /// A sentence for each word that was changed: who wrote it.
    pub(super) fn tell(&self, told: &Told, mut machine: Machine) -> Vec<(ChangedWord, String)> {
        let mut all = Vec::new();
        let mut asked = 0;
        for kind in told.kinds() {
            let Some(word) = kind.finding.changed else { continue };
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

    /// The run and its end, where the guest has been shut down and its registers are gone: it runs once more, to the
    /// last exit before, and from there step by step. What was known stays, if that leads elsewhere.
    ///
    /// # Errors
    /// [`MachineError`] if the guest cannot be started again.
    pub(super) fn to_the_end(&self, run: Run, end: End) -> Result<(Run, End), MachineError> {
        let known = end.last_event.as_ref().is_some_and(|last| last.interrupt.is_some());
        if known {
            return Ok((run, end));
        }
        let exits = run.counters();
        let mut run = self.restart(run.into_machine())?.watched_after(exits);
        let again = loop {
            match run.next_event() {
                Ok(Event::End(again)) => break Some(*again),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        let found = again.filter(|again| again.ending == end.ending && again.last_event.is_some());
        Ok((run, found.unwrap_or(end)))
    }

    pub(super) fn restart(&self, mut machine: Machine) -> Result<Run, MachineError> {
        machine.vcpu.put_back(self.vcpu)?;
        machine.memory.clear();
        (self.load)(&mut machine);
        Ok((self.start)(machine))
    }

    pub(super) fn sentence(&self, word: ChangedWord, writer: &Writer) -> String {
        let ChangedWord { address, value, .. } = word;
        let place = |address: u32| match (self.names)(address) {
            Some(name) => format!("{address:08x} ({name})"),
            None => format!("{address:08x}"),
        };
        match writer {
            Writer::Instruction { before, code, after_entry, old } => {
                let at = before.instruction_address();
                let instruction = instruction::text(code, before);
                format!(
                    "{address:08x} was written by `{instruction}` at {}, in ring {}, after #{after_entry}: \
                     {old:08x} before, {value:08x} after",
                    place(at),
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
