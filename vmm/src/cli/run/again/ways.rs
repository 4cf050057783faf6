//! How the guest came to where a finding has it.

use super::super::watch::TextReport;
use super::{Again, Answer, Found};
use esp0::check::{ChangedWord, LookBack, Retrace};
use esp0::instruction;
use esp0::machine::{Machine, MachineError};
use esp0::retrace::{Doer, Exchanged, ReturnAddress, Way, retrace, written_since};
use esp0::trace::schema::CodeRecord;
use esp0::writer::{Question, Writer, who_wrote};
use ia32::State;

impl Again<'_> {
    /// What the way to a finding has shown, in a sentence or two.
    pub(super) fn what_led_there(&self, report: &TextReport, machine: Machine) -> Found {
        // The first: where the guest has left the code it is of no interest what closed interrupts there.
        let Some(question) = report.told().kinds().iter().find_map(|kind| kind.finding.way())
        else {
            return Found::default();
        };
        let mut all = Vec::new();
        if let Err(error) = self.way(question, machine, report, &mut all) {
            all.push((format!("the way there is not known: {error}"), Vec::new()));
        }
        let asked = LookBack::Way(question);
        let answer = |(sentence, places)| Answer { asked, sentence, places };
        Found::answers(all.into_iter().map(answer).collect())
    }

    fn way(
        &self,
        question: Retrace,
        machine: Machine,
        report: &TextReport,
        all: &mut Vec<(String, Vec<CodeRecord>)>,
    ) -> Result<(), MachineError> {
        let mut run = self.restart(machine)?;
        let Some(way) = retrace(&mut run, question)? else { return Ok(()) };
        let doer = match &way {
            Way::Left { exchanged: Some(Exchanged { by, .. }), .. }
            | Way::Left { by, .. }
            | Way::Moved { by, .. }
            | Way::Closed(by)
            | Way::Entered { switched: Some((by, _)), .. } => Some(&*by.before),
            Way::Written { writer, .. } => instruction_of(writer),
            Way::Entered { switched: None, .. } => None,
        };
        let places = doer.map_or_else(Vec::new, |before| self.shown(report, &run, before));
        all.push((self.told(&way), places));
        // What lies there now was never the stack's.
        let Way::Left { to, popped: Some(popped), exchanged: None, .. } = way else {
            return Ok(());
        };
        let Retrace::Departure { after_entry } = question else { return Ok(()) };
        let Some(physical) = popped.physical else { return Ok(()) };
        let mut run = self.restart(run.into_machine())?;
        let word = ChangedWord { address: popped.address, physical, value: to };
        let mut writer = written_since(&mut run, after_entry, word)?;
        if writer.is_none() && after_entry > 0 {
            run = self.restart(run.into_machine())?;
            let question =
                Question { address: physical, value: to, bits: !0, at_entry: after_entry - 1 };
            writer = who_wrote(&mut run, question)?;
        }
        if let Some(writer) = writer {
            let before = instruction_of(&writer);
            let places = before.map_or_else(Vec::new, |before| self.shown(report, &run, before));
            all.push((self.sentence(word, &writer), places));
        }
        Ok(())
    }

    fn doer(&self, doer: &Doer) -> String {
        let text = instruction::text(&doer.code, &doer.before);
        format!("`{text}` at {}", self.place(doer.before.instruction_address()))
    }

    fn exchanged(&self, one: &Exchanged) -> String {
        format!(
            "; {} had put other memory under the stack: the page of ESP, {:08x}, was at physical {:08x}, and is at {:08x} \
             since, where nothing was pushed: what to do: load CR3 where nothing more is popped of the old stack, right \
             before ESP is loaded with the next task's",
            self.doer(&one.by),
            one.by.before.general.esp & !0xfff,
            one.was,
            one.is
        )
    }

    fn told(&self, way: &Way) -> String {
        match way {
            Way::Left { by, to, popped: Some(ReturnAddress { address, .. }), exchanged } => {
                format!(
                    "{} led to {}: it took that from the stack, at {}{}",
                    self.doer(by),
                    self.place(*to),
                    self.place(*address),
                    exchanged.as_ref().map_or_else(String::new, |one| self.exchanged(one))
                )
            }
            Way::Left { by, to, popped: None, .. } => {
                format!("{} led to {}", self.doer(by), self.place(*to))
            }
            Way::Moved { by, to } => format!(
                "{} took ESP from {} to {}{}",
                self.doer(by),
                self.place(by.before.general.esp),
                self.place(*to),
                if loads_from_ebp(&by.code) {
                    ": it loads ESP with EBP, which held an address of that stack: what to do: where a stack is copied, \
                     add the distance to the copy to each saved EBP in it, or let the new task begin without them"
                } else {
                    ""
                }
            ),
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

/// LEAVE, MOV ESP, EBP, or LEA ESP, [EBP-n].
fn loads_from_ebp(code: &[u8]) -> bool {
    matches!(code, [0xc9, ..] | [0x89, 0xec, ..] | [0x8b, 0xe5, ..] | [0x8d, 0x65, ..])
}

/// The state in front of the instruction that wrote, if it was one.
fn instruction_of(writer: &Writer) -> Option<&State> {
    match writer {
        Writer::Instruction { before, .. } => Some(before),
        Writer::Push { .. } | Writer::Unseen { .. } => None,
    }
}
