//! What is expected of the guest's console, and what is answered.
//!
//! ```text
//!   expect "$ "   ─►   send "ls\n"   ─►   expect "README"      the last one is reached: a good end
//! ```
//! An answer goes to the serial port at the exit at which the text that it answers was complete, not when
//! a clock or a thread gets to it. So a dialogue is as repeatable as the run: on the deterministic clock
//! to the byte.

use super::{Ending, Run};
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
}

impl Dialogue {
    /// A dialogue of these steps.
    pub fn new(steps: impl IntoIterator<Item = DialogueStep>) -> Self {
        Dialogue { steps: steps.into_iter().collect(), ..Dialogue::default() }
    }

    /// The run ends when all has been said and the guest waits in HLT, with interrupts open or closed.
    #[must_use]
    pub fn until_halt(mut self) -> Self {
        self.until_halt = true;
        self
    }

    /// Hears what the console says, or begins with nothing; what is answered at once.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        self.heard.extend_from_slice(bytes);
        while let Some(step) = self.steps.front() {
            match step {
                DialogueStep::Send(text) => answer.extend_from_slice(text.as_bytes()),
                DialogueStep::Expect(text) => {
                    let wanted = text.as_bytes();
                    let Some(at) = position(&self.heard, wanted) else {
                        // The beginning of it may have been heard.
                        let kept = self.heard.len().min(wanted.len().saturating_sub(1));
                        self.heard.drain(..self.heard.len() - kept);
                        return answer;
                    };
                    self.heard.drain(..at + wanted.len());
                    if self.steps.len() == 1 {
                        self.ends_with = Some(text.clone());
                    }
                }
            }
            self.steps.pop_front();
        }
        self.heard.clear();
        answer
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
    fn a_halt_is_the_end_when_all_has_been_said() {
        let mut dialogue = Dialogue::new([expect("done")]).until_halt();
        assert!(!dialogue.ends_at_halt());
        dialogue.hear(b"done");
        assert!(dialogue.ends_at_halt());
        assert_eq!(dialogue.ending(), None, "it is not over before");
    }
}
