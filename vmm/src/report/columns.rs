//! Columns of numbers, packed so that a page of a hundred thousand entries stays small and opens fast.
//!
//! Each column takes the smallest of four forms, and the page unpacks one when it first needs it:
//! ```text
//!  c       one number: all rows have it
//!  d, i/j  the different numbers, and for each row which (one byte, or two)
//!  v       the difference to the row before, seven bits a byte, the sign lowest
//!  r       the numbers, four bytes each
//! ```
//! Bytes are in base64: the page is text, and the browser has a decoder for it. Packing the whole was
//! rejected: browsers unpack by another path, later than the first picture.

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

/// A number a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Column(Vec<u64>);

impl Column {
    pub(super) fn push(&mut self, value: impl Into<u64>) {
        self.0.push(value.into());
    }

    pub(super) fn set(&mut self, row: usize, value: impl Into<u64>) {
        self.0[row] = value.into();
    }

    pub(super) fn get(&self, row: usize) -> u64 {
        self.0[row]
    }

    /// This column, and where it has 0, or more than `offset`, another's number behind `offset`, if that has one.
    pub(super) fn or(&self, other: &Column, offset: u64) -> Column {
        let rows = self.0.iter().zip(&other.0);
        Column(
            rows.map(|(own, other)| match (*own, *other) {
                (own @ 1.., _) if own <= offset => own,
                (_, 0) => 0,
                (_, other) => offset + other,
            })
            .collect(),
        )
    }

    /// The column as the page reads it.
    pub(super) fn pack(&self) -> Value {
        let first = self.0.first().copied().unwrap_or(0);
        if self.0.iter().all(|value| *value == first) {
            return json!({ "c": first });
        }
        let differences = differences(&self.0);
        let fits = self.0.iter().all(|value| *value <= u64::from(u32::MAX));
        let plain = if fits { self.0.len() * 4 } else { usize::MAX };
        let dictionary = if fits { Dictionary::of(&self.0) } else { None };
        let packed = dictionary.as_ref().map_or(usize::MAX, Dictionary::size);
        match dictionary {
            Some(dictionary) if packed <= differences.len() && packed <= plain => dictionary.pack(),
            _ if differences.len() <= plain => json!({ "v": base64(&differences) }),
            _ => json!({ "r": base64(&words(&self.0)) }),
        }
    }
}

/// The different numbers of a column.
struct Dictionary {
    values: Vec<u64>,
    rows: Vec<u16>,
}

impl Dictionary {
    fn of(column: &[u64]) -> Option<Self> {
        let mut values = Vec::new();
        let mut known: FxHashMap<u64, u16> = FxHashMap::default();
        let mut rows = Vec::with_capacity(column.len());
        for value in column {
            let index = match known.get(value) {
                Some(index) => *index,
                None => {
                    let index = u16::try_from(values.len()).ok()?;
                    values.push(*value);
                    known.insert(*value, index);
                    index
                }
            };
            rows.push(index);
        }
        Some(Dictionary { values, rows })
    }

    fn is_small(&self) -> bool {
        self.values.len() <= 256
    }

    fn size(&self) -> usize {
        self.values.len() * 4 + self.rows.len() * if self.is_small() { 1 } else { 2 }
    }

    fn pack(&self) -> Value {
        let values = base64(&words(&self.values));
        if self.is_small() {
            let rows: Vec<u8> = self.rows.iter().map(|row| *row as u8).collect();
            json!({ "d": values, "i": base64(&rows) })
        } else {
            let rows: Vec<u8> = self.rows.iter().flat_map(|row| row.to_le_bytes()).collect();
            json!({ "d": values, "j": base64(&rows) })
        }
    }
}

fn words(column: &[u64]) -> Vec<u8> {
    column.iter().flat_map(|value| (*value as u32).to_le_bytes()).collect()
}

fn differences(column: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(column.len());
    let mut last = 0u64;
    for value in column {
        let difference = value.wrapping_sub(last) as i64;
        last = *value;
        let mut rest = (difference << 1 ^ difference >> 63) as u64;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

/// RFC 4648, section 4.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(column: impl IntoIterator<Item = u64>) -> String {
        let packed = Column(column.into_iter().collect()).pack();
        packed.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join("")
    }

    #[test]
    fn base64_is_the_standards() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn each_column_takes_the_smallest_form() {
        assert_eq!(form([7; 100]), "c");
        assert_eq!(form([]), "c");
        assert_eq!(form((0..1000).map(|row| row % 3 * 0x1234_5678)), "di");
        assert_eq!(form((0..60_000u64).map(|row| (row * 0x9e37 % 1000) * 0x10_0001)), "dj");
        assert_eq!(form(0..1000), "v");
        assert_eq!(form([1 << 40, 0, 1 << 41]), "v");
        let mut state = 1u64;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 32
        });
        assert_eq!(form(random.take(1000)), "r");
    }

    #[test]
    fn differences_keep_their_sign() {
        assert_eq!(differences(&[1, 0, 64, 0]), [2, 1, 0x80, 1, 0x7f]);
    }
}
