//! What is expected of the guest's console, and what is answered.
//!
//! ```text
//!   expect "$ "   ─►   send "ls\n"   ─►   expect "README"      the last one is reached: a good end
//! ```
//! An answer goes to the serial port at the exit at which the text that it answers was complete, not when
//! a clock or a thread gets to it. So a dialogue is as repeatable as the run: on the deterministic clock
//! to the byte.
//!
//! A kernel may print on the screen only. As long as its console says nothing, the screen is listened to
//! ([`WatchedScreen`]): at each entry, when it halts, and on the real clock now and then. Once the console
//! speaks it alone counts, for what is written to both would be heard twice; a single expectation, with which the run
//! ends, is met by either.

use super::watched_screen::WatchedScreen;
use super::{Ending, Run};
use crate::devices::{screen, vga};
use std::collections::VecDeque;

/// One step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialogueStep {
    /// The guest's console says this.
    Expect(String),
    /// This goes to its serial port.
    Send(String),
}

/// Steps that follow each other. Where the last one is an expectation, the run ends when it is met; all
/// is met where nothing is expected.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    steps: VecDeque<DialogueStep>,
    /// What the console said since the last expectation was met, as far as it can matter.
    heard: Vec<u8>,
    /// The expectation that was met last, if it was the last step.
    ends_with: Option<String>,
    /// A guest that waits in HLT has come to its end, once all is met.
    until_halt: bool,
    /// The console has said something.
    spoken: bool,
    /// It is a single expectation.
    single: bool,
    screen: WatchedScreen,
    /// The screen's cells when it was last looked at.
    cells: Vec<u8>,
}

impl Dialogue {
    /// A dialogue of these steps.
    pub fn new(steps: impl IntoIterator<Item = DialogueStep>) -> Self {
        let steps: VecDeque<DialogueStep> = steps.into_iter().collect();
        let single = steps.len() == 1;
        Dialogue { steps, single, ..Dialogue::default() }
    }

    /// The run ends when all has been said and the guest waits in HLT, with interrupts open or closed.
    #[must_use]
    pub fn until_halt(mut self) -> Self {
        self.until_halt = true;
        self
    }

    /// Hears what the console says, or begins with nothing; what is answered at once.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.spoken |= !bytes.is_empty();
        self.heard.extend_from_slice(bytes);
        let answer = self.go_on(Self::was_heard);
        if self.steps.is_empty() {
            self.heard.clear();
        }
        answer
    }

    /// Whether the screen counts.
    pub fn listens_to_screen(&self) -> bool {
        !self.steps.is_empty() && (self.single || !self.spoken)
    }

    /// Sees what stands on the screen, its rows with the blanks at their ends; what is answered at once.
    pub fn see(&mut self, rows: &[String]) -> Vec<u8> {
        if !self.listens_to_screen() {
            return Vec::new();
        }
        self.screen.show(rows);
        self.go_on(|dialogue, text| dialogue.screen.find(text))
    }

    /// From step to step, up to an expectation that is not met.
    fn go_on(&mut self, is_met: fn(&mut Self, &str) -> bool) -> Vec<u8> {
        let mut answer = Vec::new();
        while let Some(step) = self.steps.pop_front() {
            match &step {
                DialogueStep::Send(text) => answer.extend_from_slice(text.as_bytes()),
                DialogueStep::Expect(text) => {
                    if !is_met(self, text) {
                        self.steps.push_front(step);
                        break;
                    }
                    if self.steps.is_empty() {
                        self.ends_with = Some(text.clone());
                    }
                }
            }
        }
        answer
    }

    /// The console has said it; what it said up to there is done with.
    fn was_heard(&mut self, text: &str) -> bool {
        let wanted = text.as_bytes();
        let found = position(&self.heard, wanted);
        let done = found.map_or_else(
            // The beginning of it may have been heard.
            || self.heard.len() - self.heard.len().min(wanted.len().saturating_sub(1)),
            |at| at + wanted.len(),
        );
        self.heard.drain(..done);
        found.is_some()
    }

    /// What is still expected of the console.
    pub fn awaits(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            DialogueStep::Expect(text) => Some(text.as_str()),
            DialogueStep::Send(_) => None,
        })
    }

    /// How a run ends whose dialogue has come to its end; `None` before that, and where a guest that
    /// waits in HLT is the end.
    fn ending(&self) -> Option<Ending> {
        let text = self.ends_with.as_ref().filter(|_| !self.until_halt)?;
        Some(Ending::Said(text.clone()))
    }

    fn ends_at_halt(&self) -> bool {
        self.until_halt && self.steps.is_empty()
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

impl Run {
    /// The guest's console is listened to and answered.
    #[must_use]
    pub fn with_dialogue(mut self, dialogue: Dialogue) -> Self {
        self.dialogue = Some(dialogue);
        self.converse(b"");
        self
    }

    /// The dialogue, as far as it has come.
    pub fn dialogue(&self) -> Option<&Dialogue> {
        self.dialogue.as_ref()
    }

    /// The console said something.
    pub(super) fn converse(&mut self, bytes: &[u8]) {
        let Some(dialogue) = &mut self.dialogue else { return };
        let answer = dialogue.hear(bytes);
        if !answer.is_empty() {
            self.devices.receive_console_input(&answer);
        }
    }

    /// The cells of the text screen, two bytes each; none where they reach beyond RAM.
    pub fn screen(&self) -> Option<Vec<u8>> {
        let mut cells = vec![0; vga::COLUMNS * vga::ROWS * 2];
        self.machine.memory().read(self.devices.vga().text_address(), &mut cells)?;
        Some(cells)
    }

    /// The screen is looked at, where somebody may wait for what it shows; how the run ends if that is all.
    #[inline]
    pub(super) fn look_at_screen(&mut self) -> Option<Ending> {
        let dialogue = self.dialogue.as_mut().filter(|dialogue| dialogue.listens_to_screen())?;
        let at = self.devices.vga().text_address();
        if !dialogue.cells.is_empty() && self.machine.memory().equals(at, &dialogue.cells) {
            return None;
        }
        self.screen_changed()
    }

    #[cold]
    fn screen_changed(&mut self) -> Option<Ending> {
        let cells = self.screen()?;
        let dialogue = self.dialogue.as_mut()?;
        let answer = dialogue.see(&screen::rows(&cells));
        dialogue.cells = cells;
        if !answer.is_empty() {
            self.devices.receive_console_input(&answer);
        }
        self.dialogue_over()
    }

    /// The dialogue has come to its end.
    pub(super) fn dialogue_over(&self) -> Option<Ending> {
        self.dialogue.as_ref()?.ending()
    }

    /// The guest waits in HLT, and that is the end which was asked for.
    pub(super) fn ends_at_halt(&self) -> bool {
        self.dialogue.as_ref().is_some_and(Dialogue::ends_at_halt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(text: &str) -> DialogueStep {
        DialogueStep::Expect(text.into())
    }

    fn send(text: &str) -> DialogueStep {
        DialogueStep::Send(text.into())
    }

    #[test]
    fn an_answer_comes_when_what_it_answers_is_complete() {
        let mut dialogue = Dialogue::new([expect("$ "), send("ls\n"), expect("README")]);
        assert_eq!(dialogue.hear(b""), b"");
        assert_eq!(dialogue.hear(b"hello $"), b"");
        assert_eq!(dialogue.hear(b" "), b"ls\n");
        assert_eq!(dialogue.awaits(), Some("README"));
        assert_eq!(dialogue.ending(), None);
        assert_eq!(dialogue.hear(b"ls\r\nREAD"), b"");
        assert_eq!(dialogue.hear(b"ME\r\n$ "), b"");
        assert_eq!(dialogue.awaits(), None);
        assert_eq!(dialogue.ending(), Some(Ending::Said("README".into())));
    }

    #[test]
    fn what_one_write_says_can_meet_several_expectations_in_their_order() {
        let mut dialogue = Dialogue::new([expect("a"), send("1"), expect("b"), send("2")]);
        assert_eq!(dialogue.hear(b"b a b"), b"12");
        assert_eq!(dialogue.ending(), None, "it ends with an answer: the guest goes on");
    }

    #[test]
    fn what_is_sent_first_is_sent_at_once() {
        let mut dialogue = Dialogue::new([send("x"), send("y"), expect("z")]);
        assert_eq!(dialogue.hear(b""), b"xy");
        assert_eq!(dialogue.awaits(), Some("z"));
    }

    #[test]
    fn a_guest_that_talks_without_end_fills_no_memory() {
        let mut dialogue = Dialogue::new([expect("never")]);
        for _ in 0..1000 {
            dialogue.hear(b"neve neve neve ");
        }
        assert!(dialogue.heard.len() < 5);
    }

    #[test]
    fn the_screen_counts_as_long_as_the_console_says_nothing() {
        let rows = |text: &str| vec![format!("{text:80}")];
        let mut dialogue = Dialogue::new([expect("$ "), send("ls\n"), expect("README")]);
        assert_eq!(dialogue.see(&rows("boot $")), b"ls\n");
        assert_eq!(dialogue.see(&rows("boot $ ls README")), b"");
        assert_eq!(dialogue.ending(), Some(Ending::Said("README".into())));
        let mut dialogue = Dialogue::new([expect("$ "), send("x"), expect("$ ")]);
        assert_eq!(dialogue.hear(b"$ "), b"x");
        assert_eq!(dialogue.see(&rows("$")), b"", "the console said it, and then the screen");
        assert_eq!(dialogue.ending(), None);
        let mut dialogue = Dialogue::new([expect("panic")]);
        dialogue.hear(b"hello");
        dialogue.see(&rows("panic"));
        assert_eq!(dialogue.ending(), Some(Ending::Said("panic".into())));
    }

    #[test]
    fn a_halt_is_the_end_when_all_has_been_said() {
        let mut dialogue = Dialogue::new([expect("done")]).until_halt();
        assert!(!dialogue.ends_at_halt());
        dialogue.hear(b"done");
        assert!(dialogue.ends_at_halt());
        assert_eq!(dialogue.ending(), None, "it is not over before");
    }
}
