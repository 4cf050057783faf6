//! Protocol Buffers, as far as Perfetto's traces need them: fields are written in any order, numbers as varints.
//!
//! A message is a sequence of fields, each a key (number and wire type) and a value
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

impl Message {
    /// The bytes of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A number of the types `uint32`, `uint64`, `int64` that is not negative, or `enum`.
    #[must_use]
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    /// A number of the type `fixed64`.
    #[must_use]
    pub(super) fn fixed(mut self, field: u32, value: u64) -> Self {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A `string`.
    #[must_use]
    pub(super) fn text(mut self, field: u32, value: &str) -> Self {
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// Another message.
    #[must_use]
    pub(super) fn message(mut self, field: u32, value: &Message) -> Self {
        self.key(field, LENGTH);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
        self
    }
}
