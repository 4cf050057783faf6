//! The words on a stack.

use super::hex;
use super::names::{WORDS, word_name};
use crate::entry::Frame;
use ia32::Word;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Words of a frame. In the trace they stand under their names in the order in which they were pushed; one that lies
/// in a page that is not mapped is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRecord {
    /// Linear address of the lowest word.
    pub address: u32,
    /// Bytes a word takes: 2 or 4.
    pub word_size: u8,
    /// The words, lowest address first.
    pub words: Vec<(Word, Option<u32>)>,
}

impl FrameRecord {
    /// One word; none if the frame has it not, or it could not be read.
    pub fn get(&self, word: Word) -> Option<u32> {
        self.words.iter().find(|(one, _)| *one == word).and_then(|(_, value)| *value)
    }

    /// The frame has this word, whether it could be read or not.
    pub fn has(&self, word: Word) -> bool {
        self.words.iter().any(|(one, _)| *one == word)
    }

    /// The linear address behind the frame: what ESP was before it was pushed.
    pub fn end(&self) -> u32 {
        self.address.wrapping_add(self.words.len() as u32 * u32::from(self.word_size))
    }

    /// Linear address of a word.
    pub fn address_of(&self, word: Word) -> Option<u32> {
        let index = self.words.iter().position(|(one, _)| *one == word)?;
        Some(self.address.wrapping_add(index as u32 * u32::from(self.word_size)))
    }
}

impl From<&Frame> for FrameRecord {
    fn from(frame: &Frame) -> Self {
        FrameRecord {
            address: frame.address,
            word_size: frame.shape.word_size as u8,
            words: frame.words().collect(),
        }
    }
}

impl Serialize for FrameRecord {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("address", &hex::text(self.address))?;
        if self.word_size != 4 {
            map.serialize_entry("word_size", &self.word_size)?;
        }
        for (word, value) in self.words.iter().rev() {
            map.serialize_entry(word_name(*word), &value.map(hex::text))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for FrameRecord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = FrameRecord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the words of a frame")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FrameRecord, A::Error> {
                let (mut address, mut word_size, mut words) = (None, 4, Vec::with_capacity(6));
                let number = |text: &str| {
                    hex::parse(text).ok_or_else(|| {
                        de::Error::invalid_value(de::Unexpected::Str(text), &"8 hexadecimal digits")
                    })
                };
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    if name == "address" {
                        address = Some(number(&map.next_value::<Cow<'de, str>>()?)?);
                    } else if name == "word_size" {
                        word_size = map.next_value()?;
                    } else if let Some((word, _)) = WORDS.iter().find(|(_, known)| *known == name) {
                        let value: Option<Cow<'de, str>> = map.next_value()?;
                        words.push((*word, value.map(|text| number(&text)).transpose()?));
                    } else {
                        map.next_value::<de::IgnoredAny>()?;
                    }
                }
                if !matches!(word_size, 2 | 4) {
                    let got = de::Unexpected::Unsigned(word_size.into());
                    return Err(de::Error::invalid_value(got, &"2 or 4 bytes a word"));
                }
                words.sort_by_key(|(word, _)| *word);
                let doubled = words.windows(2).any(|pair| pair[0].0 == pair[1].0);
                if doubled || words.is_empty() {
                    return Err(de::Error::custom("the words of a frame are each there once"));
                }
                let address = address.ok_or_else(|| de::Error::missing_field("address"))?;
                Ok(FrameRecord { address, word_size, words })
            }
        }

        from.deserialize_map(Words)
    }
}
