//! What a device wants of memory: bytes to go there, or bytes from there.
//!
//! No device holds the memory. Whoever has both asks for the next transfer, does it, and says what came of it
//! ([`Devices::take_transfer`](super::Devices::take_transfer), [`Devices::moved`](super::Devices::moved)), until there is
//! none, before the guest goes on: nobody sees that it happens one after the other.

/// What is to be done with memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// These bytes go to memory.
    ToMemory(
        /// Where.
        u32,
        /// What.
        Vec<u8>,
    ),
    /// So many bytes of memory are wanted.
    FromMemory(
        /// Where they are.
        u32,
        /// How many.
        usize,
    ),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// The floppy controller, by the 8237.
    Floppy,
    /// A channel of the IDE function, by itself.
    Ide(usize),
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    /// The bytes that were asked for, ones where there is no RAM; nothing for [`Transfer::ToMemory`].
    pub bytes: &'a [u8],
    /// All of it is RAM.
    pub answered: bool,
}
