//! What has been told, so that one cause is told once.
//!
//! A wrong line in a handler is wrong each time it runs. The first time is told in full; what is of the
//! same kind later is counted. Two findings are of one kind if the same rule says the same of the same
//! subject, numbers aside, at the same instruction of the kernel: the handler that was entered, or the
//! IRET. Numbers are left out because the tasks, stacks and entries change while the cause stays.

use super::schema::FindingRecord;
use crate::check::{Degree, Finding, Subject};
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// How many kinds are told in full. A kernel that has more is past being explained, and what is printed
/// is not to grow without bound.
const MOST: usize = 100;

/// Findings of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingKind<F = Finding> {
    /// The first, as it was found.
    pub finding: F,
    /// How much it matters.
    pub degree: Degree,
    /// What it says.
    pub sentence: String,
    /// Where the first was.
    pub place: String,
    /// The kernel's instruction there.
    pub at: u32,
    /// How many there were.
    pub count: u64,
    /// The entry at or after which the first was found.
    pub first: u64,
    /// The same of the last.
    pub last: u64,
}

impl<F> FindingKind<F> {
    /// How often and when: `seen 49 times, #3 to #5,869`; nothing if once.
    pub fn times(&self) -> Option<String> {
        let (first, last) = (grouped(self.first), grouped(self.last));
        match self.count {
            1 => None,
            count if self.first == self.last => Some(format!("seen {count} times at #{first}")),
            count => Some(format!("seen {} times, #{first} to #{last}", grouped(count))),
        }
    }
}

/// What tells the rule and subject of findings apart, where they are, and what they say, numbers aside.
type Key = (bool, u32, String);

/// All kinds in the order in which they were first seen.
#[derive(Debug)]
pub struct Told<F = Finding> {
    kinds: Vec<FindingKind<F>>,
    known: FxHashMap<Key, usize>,
    /// Findings of kinds for which there was no room.
    beyond: u64,
}

impl<F> Default for Told<F> {
    fn default() -> Self {
        Told { kinds: Vec::new(), known: FxHashMap::default(), beyond: 0 }
    }
}

impl Told {
    /// Counts a finding that was made at entry `sequence`, by the kernel's instruction `at`; whether it
    /// is the first of its kind and to be told.
    pub fn tell(&mut self, finding: &Finding, place: &str, at: u32, sequence: u64) -> bool {
        let key = key(finding.rule, finding.subject, at, &finding.sentence);
        let (sentence, degree) = (&finding.sentence, finding.degree);
        self.count(key, sequence, || (finding.clone(), degree, sentence.clone(), place.into()))
    }

    /// Whether [`Told::tell`] would find that there is something to be told.
    pub fn is_news(&self, finding: &Finding, at: u32) -> bool {
        self.has_room_for(&key(finding.rule, finding.subject, at, &finding.sentence))
    }
}

impl Told<FindingRecord> {
    /// The same of a finding in a trace.
    pub fn tell_record(&mut self, finding: &FindingRecord, degree: Degree, sequence: u64) -> bool {
        let FindingRecord { rule, subject, at, sentence, place, .. } = finding;
        let key = key(rule, *subject, *at, sentence);
        self.count(key, sequence, || (finding.clone(), degree, sentence.clone(), place.clone()))
    }

    /// The same of [`Told::tell_record`].
    pub fn is_news_record(&self, finding: &FindingRecord) -> bool {
        let FindingRecord { rule, subject, at, sentence, .. } = finding;
        self.has_room_for(&key(rule, *subject, *at, sentence))
    }
}

fn key(rule: &str, subject: Subject, at: u32, sentence: &str) -> Key {
    let what = format!("{rule} {}", without_numbers(sentence));
    (subject == Subject::Processor, at, what)
}

impl<F> Told<F> {
    fn has_room_for(&self, key: &Key) -> bool {
        self.kinds.len() < MOST && !self.known.contains_key(key)
    }

    fn count(
        &mut self,
        key: Key,
        sequence: u64,
        new: impl FnOnce() -> (F, Degree, String, String),
    ) -> bool {
        if let Some(index) = self.known.get(&key) {
            let kind = &mut self.kinds[*index];
            kind.count += 1;
            kind.last = sequence;
            return false;
        }
        if self.kinds.len() == MOST {
            self.beyond += 1;
            return false;
        }
        let at = key.1;
        self.known.insert(key, self.kinds.len());
        let (finding, degree, sentence, place) = new();
        self.kinds.push(FindingKind {
            finding,
            degree,
            sentence,
            place,
            at,
            count: 1,
            first: sequence,
            last: sequence,
        });
        true
    }

    /// The kinds.
    pub fn kinds(&self) -> &[FindingKind<F>] {
        &self.kinds
    }

    /// The kinds of one degree.
    pub fn of(&self, degree: Degree) -> impl Iterator<Item = &FindingKind<F>> {
        self.kinds.iter().filter(move |kind| kind.degree == degree)
    }

    /// How many findings were of further kinds, which are counted only.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

/// The text with `#` for each number: a run of letters and digits that reads as one, with at least one
/// digit in it or eight of them.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let word = &rest[..end];
        if is_number(word) {
            out.push('#');
        } else {
            out.push_str(word);
        }
        let between = rest[end..].find(char::is_alphanumeric).unwrap_or(rest.len() - end);
        out.push_str(&rest[end..end + between]);
        rest = &rest[end + between..];
    }
    out
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (digits.len() == 8 || digits.bytes().any(|byte| byte.is_ascii_digit()))
}

/// `5,869`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(sentence: &str) -> Finding {
        Finding::new("a_rule", Subject::Kernel, sentence, "this", "that")
    }

    #[test]
    fn one_cause_is_told_once_and_counted() {
        let mut told = Told::default();
        let sentence = |task| finding(&format!("entered on the stack of suspended task {task}"));
        assert!(told.is_news(&sentence(1), 0x10_0000));
        assert!(told.tell(&sentence(1), "here", 0x10_0000, 3));
        assert!(!told.is_news(&sentence(2), 0x10_0000) && told.is_news(&sentence(2), 0x10_0004));
        for sequence in 4..=5869 {
            assert!(!told.tell(&sentence(sequence), "there", 0x10_0000, sequence));
        }
        let [kind] = told.kinds() else { panic!("{:?}", told.kinds()) };
        assert_eq!(kind.times().as_deref(), Some("seen 5,867 times, #3 to #5,869"));
        assert_eq!((kind.place.as_str(), &kind.finding), ("here", &sentence(1)));
    }

    #[test]
    fn another_rule_sentence_subject_or_handler_is_another_cause() {
        let mut told = Told::default();
        let first = finding("the EIP that #1 pushed was overwritten");
        assert!(told.tell(&first, "", 1, 1));
        assert!(told.tell(&first, "", 2, 1), "another handler");
        assert!(told.tell(&finding("the CS that #1 pushed was overwritten"), "", 1, 1));
        assert!(told.tell(&Finding { rule: "other", ..first.clone() }, "", 1, 1));
        assert!(told.tell(&Finding { subject: Subject::Processor, ..first.clone() }, "", 1, 1));
        assert!(!told.tell(&finding("the EIP that #99 pushed was overwritten"), "", 1, 1));
    }

    #[test]
    fn numbers_are_left_out_and_names_stay() {
        assert_eq!(
            without_numbers("ESP0 is c0106fec, not 0x80: 3 of 0402"),
            "ESP0 is #, not #: # of #"
        );
        assert_eq!(without_numbers("add a face at deadbeef…"), "add a face at #…");
        assert_eq!(without_numbers(""), "");
    }

    #[test]
    fn what_is_told_has_an_end() {
        let mut told = Told::default();
        for at in 0..1000 {
            told.tell(&finding("x"), "", at, 1);
        }
        assert_eq!((told.kinds().len(), told.beyond()), (MOST, 1000 - MOST as u64));
        assert!(!told.is_news(&finding("y"), 0), "there is no room for it");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1000), grouped(1234567)],
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
