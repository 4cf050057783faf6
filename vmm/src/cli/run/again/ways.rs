//! How the guest came to where a finding has it.

use super::super::watch::TextReport;
use super::{Again, Answer, Found, contexts};
use esp0::check::{ChangedWord, LookBack, Retrace};
use esp0::instruction;
use esp0::machine::{Machine, MachineError};
use esp0::retrace::{
    Doer, Exchanged, Question, ReturnAddress, Value, Way, Writer, retrace, who_wrote, written_since,
};
use esp0::run::Run;
use esp0::trace::schema::CodeRecord;
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
        let Some(way) = retrace(&mut run, question)? else {
            return match question {
                Retrace::Written { after_entry, word } => {
                    self.written_before(run, report, word, after_entry, all)
                }
                _ => Ok(()),
            };
        };
        let doer = match &way {
            Way::Left { exchanged: Some(Exchanged { by, .. }), .. }
            | Way::Left { by, .. }
            | Way::Moved { by, .. }
            | Way::Closed { by, .. }
            | Way::Entered { switched: Some((by, _)), .. } => Some(&*by.before),
            Way::Came(value) => Some(&*value.origin.by.before),
            Way::Written { writer, .. } => instruction_of(writer),
            Way::Entered { switched: None, .. } => None,
        };
        let places = doer.map_or_else(Vec::new, |before| self.shown(report, &run, before));
        let linear = run.machine().linear();
        match (way, question) {
            (
                Way::Left { by, to, popped: Some(popped), stack, ran_on_from, exchanged: None },
                Retrace::Departure { after_entry },
            ) => {
                let context =
                    stack.as_ref().and_then(|stack| self.context(&by, popped, stack, &linear));
                all.push((self.left(&by, to, Some(popped)), places));
                let ran_on_from = ran_on_from.filter(|_| context.is_none());
                let fell = ran_on_from.and_then(|from| self.fell_through(from, &by));
                if let Some(sentence) = fell {
                    all.push((sentence, Vec::new()));
                    return Ok(());
                }
                let is_switched = stack.is_some_and(|stack| !stack.pushed);
                let Some(physical) = popped.physical else { return Ok(()) };
                let word = ChangedWord { address: popped.address, physical, value: to };
                let run = match context {
                    // Whoever wrote that word may have cleared the frame: who laid it out is of interest.
                    Some(told) => match self.laid_out(run, report, told, after_entry, all)? {
                        Some(run) => run,
                        None => return Ok(()),
                    },
                    None => run,
                };
                let (run, writer) = self.written(run, word, after_entry)?;
                let Some(writer) = writer else { return Ok(()) };
                let before = instruction_of(&writer);
                let places =
                    before.map_or_else(Vec::new, |before| self.shown(report, &run, before));
                all.push((self.sentence(word, &writer), places));
                let elsewhere = self.on_another_stack(word, &writer).filter(|_| is_switched);
                all.extend(elsewhere.map(|sentence| (sentence, Vec::new())));
            }
            (Way::Closed { by, stack: Some(stack) }, Retrace::Closing { after_entry }) => {
                match self.flags(&by, &stack, &linear) {
                    Some(told) => {
                        all.push((self.closed(&by), places));
                        self.laid_out(run, report, told, after_entry, all)?;
                    }
                    None => all.push((self.closed_for_good(&by), places)),
                }
            }
            (Way::Came(value), Retrace::Register { after_entry, .. }) => {
                all.push((self.came(&value), places));
                let explained = value.not_restored.is_some() || value.origin.argument_of.is_some();
                if let Some(word) = value.origin.from.filter(|_| !explained) {
                    let (run, writer) = self.written(run, word, after_entry)?;
                    let Some(writer) = writer else { return Ok(()) };
                    let before = instruction_of(&writer);
                    let places =
                        before.map_or_else(Vec::new, |before| self.shown(report, &run, before));
                    all.push((self.sentence(word, &writer), places));
                }
            }
            (way, _) => all.push((self.told(&way), places)),
        }
        Ok(())
    }

    /// Who wrote `word` up to this entry.
    fn written_before(
        &self,
        run: Run,
        report: &TextReport,
        word: ChangedWord,
        at_entry: u64,
        all: &mut Vec<(String, Vec<CodeRecord>)>,
    ) -> Result<(), MachineError> {
        let mut run = self.restart(run.into_machine())?;
        let ChangedWord { physical: address, value, .. } = word;
        let Some(writer) = who_wrote(&mut run, Question { address, value, bits: !0, at_entry })?
        else {
            return Ok(());
        };
        let before = instruction_of(&writer);
        let places = before.map_or_else(Vec::new, |before| self.shown(report, &run, before));
        all.push((self.sentence(word, &writer), places));
        Ok(())
    }

    /// What was told of a frame, and who has laid it out. The run, with nothing told, if a task that had run before has
    /// saved the word: it is none of a first frame.
    fn laid_out(
        &self,
        run: Run,
        report: &TextReport,
        told: contexts::Told,
        after_entry: u64,
        all: &mut Vec<(String, Vec<CodeRecord>)>,
    ) -> Result<Option<Run>, MachineError> {
        let (run, writer) = self.written(run, told.laid_out, after_entry)?;
        if writer.as_ref().is_some_and(contexts::is_saved) {
            return Ok(Some(run));
        }
        all.push((told.sentence, Vec::new()));
        if let Some(writer) = writer {
            let before = instruction_of(&writer);
            let places = before.map_or_else(Vec::new, |before| self.shown(report, &run, before));
            all.push((format!("that frame: {}", self.sentence(told.laid_out, &writer)), places));
        }
        Ok(None)
    }

    /// Who wrote `word` before the guest came there, after this entry or before.
    fn written(
        &self,
        run: Run,
        word: ChangedWord,
        after_entry: u64,
    ) -> Result<(Run, Option<Writer>), MachineError> {
        let mut run = self.restart(run.into_machine())?;
        let mut writer = written_since(&mut run, after_entry, word)?;
        if writer.is_none() && after_entry > 0 {
            run = self.restart(run.into_machine())?;
            let ChangedWord { physical: address, value, .. } = word;
            writer = who_wrote(
                &mut run,
                Question { address, value, bits: !0, at_entry: after_entry - 1 },
            )?;
        }
        Ok((run, writer))
    }

    pub(super) fn doer(&self, doer: &Doer) -> String {
        let text = instruction::text(&doer.code, &doer.before);
        format!("`{text}` at {}", self.place(doer.before.instruction_address()))
    }

    /// Where a register's value came from.
    fn came(&self, value: &Value) -> String {
        let Value { register, value, origin, not_restored } = value;
        let name = ia32::General::NAMES[usize::from(*register)];
        let from = origin.from.map(|word| {
            format!(", which took {:08x} from {}", word.value, self.place(word.address))
        });
        let came = format!(
            "{name} is {value:08x}: it came there by {}{}",
            self.doer(&origin.by),
            from.unwrap_or_default()
        );
        if let Some(by) = not_restored {
            return format!(
                "{came}; {} has changed stacks since, and the code that goes on there has its own value in {name}, which \
                 nothing has put back: what to do: push EBX, ESI, EDI and EBP on the old stack before ESP is changed, and pop \
                 them behind it: a function has to keep these four for its caller",
                self.doer(by)
            );
        }
        if let Some((esp, way_back)) = origin.argument_of {
            return format!(
                "{came}, as an argument; RET has led to that function with ESP {}, so its way back is the word there, \
                 {way_back:08x}, and its arguments lie above: what to do: below the arguments of a function that a new thread \
                 begins in, lay out a return address for it, that of code which ends the thread",
                self.place(esp)
            );
        }
        came
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

    fn left(&self, by: &Doer, to: u32, popped: Option<ReturnAddress>) -> String {
        let led = format!("{} led to {}", self.doer(by), self.place(to));
        match popped {
            Some(ReturnAddress { address, .. }) => {
                format!("{led}: it took that from the stack, at {}", self.place(address))
            }
            None => led,
        }
    }

    /// Execution ran on behind a call, past the end of the function that made it, into the one that `by`, a RET, ends.
    fn fell_through(&self, from: u32, by: &Doer) -> Option<String> {
        let at = by.before.instruction_address();
        let symbols = &self.loaded.symbols;
        let caller = symbols.describe(from.wrapping_sub(1)).filter(|place| place.is_code)?;
        let own = symbols.describe(at).filter(|place| place.is_code)?;
        let start = at.wrapping_sub(own.offset);
        // A label within assembly is no function.
        let is_function = symbols.functions().iter().any(|one| one.address == start);
        (is_function && caller.symbol != own.symbol && from <= start).then(|| {
            format!(
                "nobody had called {}: a call in {} had returned to {from:08x}, and execution ran on from there, past the \
                 function's end, into what lies behind it: what to do: let the code behind that call stop: `cli`, then `hlt` \
                 and a jump back to it",
                own.symbol, caller.symbol
            )
        })
    }

    fn closed(&self, by: &Doer) -> String {
        format!(
            "{} closed interrupts, in ring {}, and nothing has opened them since",
            self.doer(by),
            by.before.cpl()
        )
    }

    fn closed_for_good(&self, by: &Doer) -> String {
        format!("{}: what to do: open them (`sti`) on each way out of there", self.closed(by))
    }

    fn told(&self, way: &Way) -> String {
        match way {
            // What lies there now was never the stack's.
            Way::Left { by, to, popped, exchanged, .. } => format!(
                "{}{}",
                self.left(by, *to, *popped),
                exchanged.as_ref().map_or_else(String::new, |one| self.exchanged(one))
            ),
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
            Way::Came(value) => self.came(value),
            Way::Written { word, writer } => self.sentence(*word, writer),
            Way::Closed { by, .. } => self.closed_for_good(by),
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
