//! Words for what the rest of esp0 has types for.

/// What raised an event, by the word that [`Kind::name`](crate::entry::Kind::name) gives it.
pub(super) mod kind {
    use crate::entry::Kind;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(crate) fn serialize<S: Serializer>(kind: &Kind, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(kind.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Kind, D::Error> {
        let name = Cow::<'_, str>::deserialize(from)?;
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| de::Error::unknown_variant(&name, &["int", "fault", "trap", "…"]))
    }
}

/// A word of a frame, by the name of its field.
pub(super) const WORDS: [(ia32::Word, &str); 10] = [
    (ia32::Word::ErrorCode, "error_code"),
    (ia32::Word::Eip, "eip"),
    (ia32::Word::Cs, "cs"),
    (ia32::Word::Eflags, "eflags"),
    (ia32::Word::Esp, "esp"),
    (ia32::Word::Ss, "ss"),
    (ia32::Word::Es, "es"),
    (ia32::Word::Ds, "ds"),
    (ia32::Word::Fs, "fs"),
    (ia32::Word::Gs, "gs"),
];

/// The field of a word.
pub(super) fn word_name(word: ia32::Word) -> &'static str {
    WORDS[word as usize].1
}

/// A word of a frame.
pub(super) mod word {
    use super::{WORDS, word_name};
    use ia32::Word;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(crate) fn serialize<S: Serializer>(word: &Word, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(word_name(*word))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
        let name = Cow::<'_, str>::deserialize(from)?;
        let found = WORDS.iter().find(|(_, known)| *known == name).map(|(word, _)| *word);
        found.ok_or_else(|| de::Error::unknown_variant(&name, &["eip", "cs", "eflags", "…"]))
    }
}

/// Whose fault a finding is, by the word that it prints.
pub(super) mod subject {
    use crate::check::Subject;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(crate) fn serialize<S: Serializer>(subject: &Subject, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(subject)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Subject, D::Error> {
        let name = Cow::<'_, str>::deserialize(from)?;
        let found = [Subject::Kernel, Subject::Processor]
            .into_iter()
            .find(|subject| subject.to_string() == name);
        found.ok_or_else(|| de::Error::unknown_variant(&name, &["kernel", "processor"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_their_own_order() {
        for (index, (word, _)) in WORDS.iter().enumerate() {
            assert_eq!(*word as usize, index);
        }
    }
}
