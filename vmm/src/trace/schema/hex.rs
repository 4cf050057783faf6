//! Numbers of the machine as strings of hexadecimal digits: lower case, of fixed width.

use serde::{Deserialize, Deserializer, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A number with a width of its own.
pub(super) trait Digits: Copy {
    const WIDTH: usize;
    fn to_u64(self) -> u64;
    fn from_u64(value: u64) -> Self;
}

macro_rules! digits {
    ($($number:ty),+) => {
        $(impl Digits for $number {
            const WIDTH: usize = size_of::<$number>() * 2;
            fn to_u64(self) -> u64 {
                self.into()
            }
            fn from_u64(value: u64) -> Self {
                value as $number
            }
        })+
    };
}

digits!(u8, u16, u32, u64);

/// The digits of a number.
pub(super) fn text<T: Digits>(value: T) -> String {
    format!("{:0width$x}", value.to_u64(), width = T::WIDTH)
}

/// The number of these digits, if there are as many as it has.
pub(super) fn parse<T: Digits>(text: &str) -> Option<T> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let right = text.len() == T::WIDTH && lower;
    right.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(T::from_u64)
}

struct Number<T>(PhantomData<T>);

impl<T: Digits> de::Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", T::WIDTH)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

pub(super) fn serialize<T: Digits, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&text(*value))
}

pub(super) fn deserialize<'de, T: Digits, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_str(Number(PhantomData))
}

/// A number in a place of its own, where serde wants a type instead of functions.
#[derive(Clone, Copy)]
struct Hex<T>(T);

impl<T: Digits> serde::Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, out)
    }
}

impl<'de, T: Digits> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        deserialize(from).map(Hex)
    }
}

/// A number that may be missing or null.
pub(super) mod option {
    use super::{Digits, Hex};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Digits, S: Serializer>(
        value: &Option<T>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Hex).serialize(out)
    }

    pub(crate) fn deserialize<'de, T: Digits, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::<Hex<T>>::deserialize(from)?.map(|value| value.0))
    }
}

/// Some numbers.
pub(super) mod list {
    use super::{Digits, Hex};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Digits, S: Serializer>(
        values: &[T],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_seq(values.iter().copied().map(Hex))
    }

    pub(crate) fn deserialize<'de, T: Digits, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<Hex<T>>::deserialize(from)?.into_iter().map(|value| value.0).collect())
    }
}

/// Two numbers.
pub(super) mod pair {
    use super::{Digits, Hex};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Digits, S: Serializer>(
        value: &[T; 2],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Hex).serialize(out)
    }

    pub(crate) fn deserialize<'de, T: Digits, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[T; 2], D::Error> {
        Ok(<[Hex<T>; 2]>::deserialize(from)?.map(|value| value.0))
    }
}

/// Bytes, two digits each.
pub(super) fn bytes_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(text).collect()
}

/// The bytes of these digits.
pub(super) fn bytes_from(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|pair| parse(std::str::from_utf8(pair).ok()?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// Bytes that may be missing.
pub(super) mod bytes_option {
    use super::{Cow, bytes_from, bytes_text};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Vec<u8>>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_deref().map(bytes_text).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let Some(text) = Option::<Cow<'_, str>>::deserialize(from)? else { return Ok(None) };
        let wrong =
            || de::Error::invalid_value(de::Unexpected::Str(&text), &"bytes in hexadecimal");
        bytes_from(&text).map(Some).ok_or_else(wrong)
    }
}
