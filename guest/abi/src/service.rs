//! What the servers of the microkernel can be asked, by the label of a message.
//!
//! An answer's label is 0, or one of [`error`]. Programs learn the servers' task identifiers from
//! their environment: `names=2 console=3 files=4`.

/// The name server.
pub mod names {
    /// The bytes are a name, which the sender wants to be found by.
    pub const REGISTER: u32 = 1;
    /// The bytes are a name; the answer's word is the identifier of the task that has it.
    pub const FIND: u32 = 2;
}

/// The console server.
pub mod console {
    /// Writes the bytes.
    pub const WRITE: u32 = 1;
    /// Waits until something is typed; the answer's bytes are the keys, up to the end of a line and as far as
    /// there is room for (the word). The answer's word is 1 if [`INTERRUPTED`] was sent since the last answer.
    pub const READ: u32 = 2;
    /// The bit of the notification that comes of Ctrl-C, to the task that read last.
    pub const INTERRUPTED: u32 = 1;
}

/// The file server. A file has a name, of at most [`files::NAME`] bytes, and no folder.
pub mod files {
    /// The longest name, in bytes.
    pub const NAME: usize = 24;
    /// The word is a number from 0; the answer's bytes are the name of the file with that number, its
    /// word the file's length. [`error::NONE`](super::error::NONE) behind the last one.
    pub const LIST: u32 = 1;
    /// The bytes are a name, the word is an offset; the answer's bytes are the file's bytes from
    /// there on, its word the file's length.
    pub const READ: u32 = 2;
    /// The bytes are a name, a zero byte, and what to put into the file at the offset (the word). A
    /// file that is not there is made. At offset 0 it is emptied first.
    pub const WRITE: u32 = 3;
    /// The bytes are the name of a file to remove.
    pub const REMOVE: u32 = 4;
}

/// Labels of answers.
pub mod error {
    /// It went well.
    pub const NO: u32 = 0;
    /// There is nothing of that name or number.
    pub const NONE: u32 = 1;
    /// No room is left.
    pub const FULL: u32 = 2;
    /// The question makes no sense.
    pub const BAD: u32 = 3;
    /// It may only be read.
    pub const READ_ONLY: u32 = 4;
}
