//! What a unit answers to its drive, and the bits of the error register that say why it cannot.

use crate::devices::dma::Direction;

/// The command is unknown or cannot be done.
pub const ABORTED: u8 = 0x04;
/// There is no such sector.
pub const NOT_FOUND: u8 = 0x10;
/// The medium may not be written.
pub const PROTECTED: u8 = 0x40;
/// The medium cannot be read.
pub const UNCORRECTABLE: u8 = 0x40;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command is done, and an interrupt says so.
    Done,
    /// The command is done, and the host knows.
    Quiet,
    /// The command has failed, with these bits of the error register.
    Failed(u8),
    /// Bytes for the host to read, an even number.
    Send(Vec<u8>),
    /// So many bytes are wanted from the host, at once and without an interrupt.
    Take(usize),
    /// The host's bus master is to move so many bytes.
    Dma(Direction, usize),
    /// The block was written, an interrupt says so, and so many more bytes are wanted.
    TakeMore(usize),
}
