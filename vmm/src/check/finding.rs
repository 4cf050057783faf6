//! What a rule says when something is wrong.

use crate::entry::{Entry, Frame};
use ia32::{Owner, TssWidth, Word};
use std::fmt;

/// Whose fault a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The processor, or what emulates it, did not do what the manual says.
    Processor,
    /// The kernel broke a rule that kernels with a stack per task live by.
    Kernel,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Processor => "processor",
            Subject::Kernel => "kernel",
        })
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Degree {
    /// A fault that has hurt or is bound to: the verdict says so.
    #[default]
    Fault,
    /// Unusual, but consistent: told once, and the verdict stays as it is.
    Note,
}

/// A word that differs, for known deviations to be matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordDifference {
    /// Which word of the frame.
    pub word: Word,
    /// What it should be.
    pub expected: u32,
    /// What it is.
    pub got: u32,
}

/// Where a processor and the model differ, for known deviations to be matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// A register, or a part of one, by the model's name for it: `CS attributes`.
    Register(&'static str),
    /// Memory that the model writes.
    Written(Owner),
}

/// How they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where.
    pub aspect: Aspect,
    /// What the model says.
    pub expected: u32,
    /// What was found.
    pub got: u32,
    /// For a write the linear address that it was for; with an entry of a paging structure, the one
    /// whose translation used it.
    pub linear: Option<u32>,
}

/// A word of memory that somebody wrote who should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedWord {
    /// Its linear address.
    pub address: u32,
    /// Where that lies in physical memory.
    pub physical: u64,
    /// What it holds now.
    pub value: u32,
}

/// What another run of the same guest can tell of the way to what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrace {
    /// Which instruction led out of the code.
    Departure {
        /// The last entry before.
        after_entry: u64,
    },
    /// Who wrote a word, before the next entry.
    Written {
        /// The last entry before.
        after_entry: u64,
        /// The word.
        word: ChangedWord,
    },
    /// What a register's value came from that the next entry, a fault, was about.
    Register {
        /// The last entry before.
        after_entry: u64,
        /// The register's number.
        register: u8,
    },
    /// What took ESP onto a stack, last before the next return.
    OntoStack {
        /// The last entry before.
        after_entry: u64,
        /// Where that stack ends.
        end: u32,
        /// How far it reaches down from there.
        size: u32,
    },
    /// What closed interrupts, which nothing has opened since.
    Closing {
        /// The last entry before.
        after_entry: u64,
    },
}

/// What another run of the same guest can find out about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookBack {
    /// Who wrote this word, up to the entry at which it was found.
    Writer(ChangedWord),
    /// Who stored this word, which is what is wrong: it may have stood there from the start.
    Stored(ChangedWord),
    /// Who stored what is wrong in a word, the rest of which may be written apart or by the processor.
    StoredPart {
        /// The word.
        word: ChangedWord,
        /// The bits that count.
        bits: u32,
    },
    /// Who stored this word up to this entry: it has been used since, and other words have come there.
    StoredBefore {
        /// The word, as it was then.
        word: ChangedWord,
        /// The bits that count.
        bits: u32,
        /// The entry.
        at_entry: u64,
    },
    /// How the guest came there.
    Way(Retrace),
}

/// Code that a finding is about, by linear address. Where it is shown comes its source, or its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodePlace {
    /// This instruction.
    Instruction(u32),
    /// The IRET of a switch. Whoever is called before it decides where it leads.
    Switch(u32),
    /// The handler that begins here.
    Handler(u32),
}

/// One thing that is wrong with one entry or return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule, as its file is called.
    pub rule: &'static str,
    /// Whose fault it is.
    pub subject: Subject,
    /// How much it matters.
    pub degree: Degree,
    /// What happened, for someone who does not know esp0.
    pub sentence: String,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub got: String,
    /// The likely reason.
    pub reason: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The word of the frame that differs, if it is one.
    pub difference: Option<WordDifference>,
    /// What another run can find out about it.
    pub look_back: Option<LookBack>,
    /// Where the model says something else, if that is what is wrong.
    pub mismatch: Option<Mismatch>,
    /// The code to look at, that which is likeliest to be wrong first.
    pub places: Vec<CodePlace>,
}

impl Finding {
    /// A finding without a reason or a word.
    pub fn new(
        rule: &'static str,
        subject: Subject,
        sentence: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Finding {
            rule,
            subject,
            degree: Degree::Fault,
            sentence: sentence.into(),
            expected: expected.into(),
            got: got.into(),
            reason: None,
            advice: None,
            difference: None,
            mismatch: None,
            look_back: None,
            places: Vec::new(),
        }
    }

    /// Adds the likely reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Makes a note of it: unusual, but consistent.
    #[must_use]
    pub fn as_note(mut self) -> Self {
        self.degree = Degree::Note;
        self
    }

    /// Names the word of `frame` in memory that was changed to `value`.
    #[must_use]
    pub(super) fn written_in(self, frame: &Frame, word: Word, value: u32) -> Self {
        let place = frame.address_of(word).zip(frame.physical);
        self.written_at(place.map(|(address, physical)| {
            let offset = u64::from(address.wrapping_sub(frame.address));
            ChangedWord { address, physical: physical + offset, value }
        }))
    }

    /// Names the word that somebody wrote who should not have, where it is known.
    #[must_use]
    pub(super) fn written_at(mut self, word: Option<ChangedWord>) -> Self {
        self.look_back = word.map(LookBack::Writer).or(self.look_back);
        self
    }

    /// Names the code to look at, behind what has been named already.
    #[must_use]
    pub fn about(mut self, place: CodePlace) -> Self {
        if !self.places.contains(&place) {
            self.places.push(place);
        }
        self
    }

    /// The same of an instruction, by its linear address.
    #[must_use]
    pub fn about_instruction(self, address: u32) -> Self {
        self.about(CodePlace::Instruction(address))
    }

    /// The same, where it is known.
    #[must_use]
    pub(super) fn about_some(mut self, address: Option<u32>) -> Self {
        if let Some(address) = address {
            self = self.about_instruction(address);
        }
        self
    }

    /// Names the word that holds what is wrong: whoever stored it has to store something else.
    #[must_use]
    pub(super) fn stored_at(mut self, word: Option<ChangedWord>) -> Self {
        self.look_back = word.map(LookBack::Stored).or(self.look_back);
        self
    }

    /// The same of a word that was used after entry `at_entry`.
    #[must_use]
    pub(super) fn stored_before(mut self, word: ChangedWord, bits: u32, at_entry: u64) -> Self {
        self.look_back = Some(LookBack::StoredBefore { word, bits, at_entry });
        self
    }

    /// The same of the ESP0 that `entry` was given.
    #[must_use]
    pub(super) fn stored_as_esp0(self, entry: &Entry) -> Self {
        let tr = &entry.after.tr;
        let stack =
            entry.inner_stack.filter(|_| TssWidth::from_type(tr.ty()) == Some(TssWidth::Bits32));
        self.stored_at(stack.map(|stack| {
            let address = tr.base.wrapping_add(4);
            // Rules know nothing of page tables: the judge does.
            ChangedWord { address, physical: address.into(), value: stack.esp }
        }))
    }

    /// Says what another run can tell of the way to it, where nothing more is known to be asked.
    #[must_use]
    pub(super) fn retraced(mut self, retrace: Retrace) -> Self {
        if self.stored().is_none() {
            self.look_back = Some(LookBack::Way(retrace));
        }
        self
    }

    /// The word whose writer another run can find.
    pub fn written(&self) -> Option<ChangedWord> {
        match self.look_back {
            Some(LookBack::Writer(word) | LookBack::Stored(word)) => Some(word),
            Some(LookBack::StoredPart { word, .. } | LookBack::StoredBefore { word, .. }) => {
                Some(word)
            }
            _ => None,
        }
    }

    /// The word of memory that holds what is wrong.
    pub fn stored(&self) -> Option<ChangedWord> {
        match self.look_back {
            Some(
                LookBack::Stored(word)
                | LookBack::StoredPart { word, .. }
                | LookBack::StoredBefore { word, .. },
            ) => Some(word),
            _ => None,
        }
    }

    /// The word of memory that was changed, if that is what is wrong.
    pub fn changed(&self) -> Option<ChangedWord> {
        match self.look_back {
            Some(LookBack::Writer(word)) => Some(word),
            _ => None,
        }
    }

    /// What the way to it can tell, if it is about where the guest has come to.
    pub fn way(&self) -> Option<Retrace> {
        match self.look_back {
            Some(LookBack::Way(way)) => Some(way),
            _ => None,
        }
    }

    /// Names the word that differs.
    #[must_use]
    pub fn of_word(mut self, word: Word, expected: u32, got: u32) -> Self {
        self.difference = Some(WordDifference { word, expected, got });
        self
    }
}

impl Finding {
    /// Names where the model says something else.
    #[must_use]
    pub(super) fn beside_the_model(mut self, aspect: Aspect, expected: u32, got: u32) -> Self {
        self.mismatch = Some(Mismatch { aspect, expected, got, linear: None });
        self
    }

    /// Says for which linear address the write was that differs.
    #[must_use]
    pub(super) fn for_linear(mut self, linear: u32) -> Self {
        if let Some(mismatch) = &mut self.mismatch {
            mismatch.linear = Some(linear);
        }
        self
    }
}

/// Collects the findings of one entry or return.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    #[cold]
    pub fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `rule` has found something already.
    pub fn has(&self, rule: &str) -> bool {
        self.0.iter().any(|finding| finding.rule == rule)
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding::new("a_rule", Subject::Kernel, "this", "that", "other")
    }

    #[test]
    fn code_to_look_at_is_named_once_and_in_order() {
        let finding = finding().about_instruction(2).about(CodePlace::Handler(1));
        let finding = finding.about_instruction(2);
        assert_eq!(finding.places, [CodePlace::Instruction(2), CodePlace::Handler(1)]);
    }

    #[test]
    fn who_stored_a_wrong_value_is_asked_before_the_way_to_what_came_of_it() {
        let word = ChangedWord { address: 4, physical: 4, value: 1 };
        let way = Retrace::Departure { after_entry: 0 };
        let stored = finding().stored_at(Some(word)).retraced(way);
        assert_eq!((stored.written(), stored.changed(), stored.way()), (Some(word), None, None));
        let led = finding().stored_at(None).retraced(way);
        assert_eq!((led.written(), led.way()), (None, Some(way)));
    }
}
