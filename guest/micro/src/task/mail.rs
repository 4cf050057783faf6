//! What a task is sending, and what it has been sent.

use super::Id;
use core::cell::Cell;

/// What is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Message {
    /// What it is about.
    pub(crate) label: u32,
    /// The first word.
    pub(crate) word: u32,
    /// The second word, or the address of the bytes.
    pub(crate) third: u32,
    /// How many bytes.
    pub(crate) length: u32,
}

/// A task's mail, a part of its record.
pub(crate) struct Mail {
    /// What it is sending, while it waits for the receiver to take it.
    pub(super) outgoing: Cell<Message>,
    /// What it has received: a message, or the answer to its own.
    pub(super) incoming: Cell<Message>,
    /// From whom; [`Id::IDLE`] for a notification.
    pub(super) from: Cell<Id>,
    /// Notifications that it has not received yet.
    pub(super) bits: Cell<u32>,
    /// Where the bytes of messages go: address and length.
    pub(super) buffer: Cell<(u32, u32)>,
    /// How many tasks are sending to it.
    pub(super) senders: Cell<u32>,
    /// The place in the table of the one that was served last.
    pub(super) served: Cell<u32>,
}

impl Mail {
    pub(super) fn empty() -> Self {
        Self {
            outgoing: Cell::default(),
            incoming: Cell::default(),
            from: Cell::new(Id::IDLE),
            bits: Cell::new(0),
            buffer: Cell::new((0, 0)),
            senders: Cell::new(0),
            served: Cell::new(0),
        }
    }

    /// Whether nothing waits to be received.
    pub(super) fn is_empty(&self) -> bool {
        self.senders.get() == 0 && self.bits.get() == 0
    }

    /// Label, two words and length of what has come, and from whom.
    pub(super) fn incoming(&self) -> (Id, [u32; 4]) {
        let Message { label, word, third, length } = self.incoming.get();
        (self.from.get(), [label, word, third, length])
    }

    pub(super) fn set_incoming(&self, from: Id, words: [u32; 4]) {
        let [label, word, third, length] = words;
        self.incoming.set(Message { label, word, third, length });
        self.from.set(from);
    }

    /// Names the buffer for long messages.
    pub(crate) fn set_buffer(&self, address: u32, length: u32) {
        self.buffer.set((address, length));
    }

    pub(super) fn forget_buffer(&self) {
        self.buffer.set((0, 0));
    }

    pub(super) fn copy_buffer(&self, other: &Self) {
        self.buffer.set(other.buffer.get());
    }
}
