//! A recording as a file: what it is of, and what has been kept, in one zstd frame behind a mark.
//!
//! ```text
//!   "esp0 recording 2\n"  zstd( of what: JSON │ digests │ preemptions │ how it ended )
//! ```
//! The frame has a checksum and an end, so a file that was cut off is told from a whole one. What it is of is compared
//! before anything runs: kernel, modules, options, the processor below, esp0 itself.

use super::{Cut, CutOff, RecordedEnd, RecordedState, Recording};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use thiserror::Error;

const MARK: &[u8] = b"esp0 recording 2\n";
/// What any version's mark begins with.
const MARK_OF_ANY: &[u8] = b"esp0 recording ";
/// Bytes that a recording may have, unpacked; no run keeps more.
pub const LARGEST: u64 = 1 << 30;
/// Beside that, what it is of.
const LARGEST_IDENTITY: usize = 1 << 20;

/// What a recording is of: names of things and what they are, in an order of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(Vec<(String, String)>);

impl Identity {
    /// With one more thing.
    #[must_use]
    pub fn with(mut self, what: &str, value: impl Into<String>) -> Self {
        self.0.push((what.to_owned(), value.into()));
        self
    }

    /// How `now` differs from this, in a part of a sentence; none if it does not.
    pub fn difference(&self, now: &Identity) -> Option<String> {
        let value = |of: &Identity, what: &str| {
            of.0.iter().find(|(name, _)| name == what).map(|(_, value)| value.clone())
        };
        let names = now.0.iter().chain(&self.0).map(|(name, _)| name);
        let shown = |value: Option<String>| match value {
            Some(value) if value.is_empty() => "none".to_owned(),
            Some(value) => value,
            None => "unknown".to_owned(),
        };
        names.map(|name| (name, value(self, name), value(now, name))).find_map(
            |(name, then, now)| {
                (then != now).then(|| format!("{name} was {}, and is {}", shown(then), shown(now)))
            },
        )
    }
}

/// The SHA-256 of these bytes, each part with its length before it.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that holds no recording that can be used.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// It is something else.
    #[error("it is no recording of esp0")]
    None,
    /// Another esp0 has made it.
    #[error("it is a recording in a form that this esp0 does not know")]
    OtherForm,
    /// Its end is missing.
    #[error("it is truncated: the recording has no end")]
    Truncated,
    /// It is too large.
    #[error("it holds more than {} MiB", LARGEST >> 20)]
    TooLarge,
    /// What is in it cannot be.
    #[error("it is damaged ({0})")]
    Damaged(String),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a recording.
///
/// # Errors
/// What the writer says.
pub fn write(mut to: impl Write, identity: &Identity, recording: &Recording) -> io::Result<()> {
    to.write_all(MARK)?;
    let mut frame = zstd::Encoder::new(to, 0)?;
    frame.include_checksum(true)?;
    let identity = serde_json::to_vec(identity)?;
    write_bytes(&mut frame, &identity)?;
    frame.write_all(&(recording.digests.len() as u32).to_le_bytes())?;
    for digest in &recording.digests {
        frame.write_all(&digest.to_le_bytes())?;
    }
    frame.write_all(&(recording.states.len() as u32).to_le_bytes())?;
    for state in &recording.states {
        write_state(&mut frame, state)?;
    }
    match &recording.end {
        None => frame.write_all(&[0])?,
        Some(end) => {
            frame.write_all(&[1])?;
            frame.write_all(&end.exits.to_le_bytes())?;
            frame.write_all(&end.digest.to_le_bytes())?;
            match &end.cut {
                None => frame.write_all(&[0])?,
                Some(cut) => {
                    let why = match cut.why {
                        Cut::TimedOut => 1,
                        Cut::Stopped => 2,
                        Cut::NoProgress => 3,
                    };
                    frame.write_all(&[why, u8::from(cut.ran)])?;
                    write_state(&mut frame, &cut.state)?;
                }
            }
        }
    }
    frame.finish()?.flush()
}

fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(bytes)
}

fn write_state(to: &mut impl Write, state: &RecordedState) -> io::Result<()> {
    for number in [state.exits, state.digest, state.time] {
        to.write_all(&number.to_le_bytes())?;
    }
    write_bytes(to, &state.bytes)
}

/// Reads a recording, and what it is of.
///
/// # Errors
/// [`RecordingError`] if it is none, or not whole.
pub fn read(mut from: impl Read) -> Result<(Identity, Recording), RecordingError> {
    let mut mark = Vec::new();
    from.by_ref().take(MARK.len() as u64).read_to_end(&mut mark)?;
    if mark != MARK {
        return Err(match mark.as_slice() {
            [] => RecordingError::Truncated,
            mark if MARK.starts_with(mark) => RecordingError::Truncated,
            mark if mark.starts_with(MARK_OF_ANY) => RecordingError::OtherForm,
            _ => RecordingError::None,
        });
    }
    let mut frame = Frame { from: zstd::Decoder::new(from)?.single_frame(), left: LARGEST };
    let identity = frame.bytes(LARGEST_IDENTITY)?;
    let identity = serde_json::from_slice(&identity)
        .map_err(|error| RecordingError::Damaged(error.to_string()))?;
    let mut recording = Recording::default();
    for _ in 0..frame.u32()? {
        recording.digests.push(frame.u32()?);
    }
    for _ in 0..frame.u32()? {
        recording.states.push(frame.state()?);
    }
    if frame.u8()? != 0 {
        let (exits, digest) = (frame.u64()?, frame.u64()?);
        let why = match frame.u8()? {
            0 => None,
            1 => Some(Cut::TimedOut),
            2 => Some(Cut::Stopped),
            3 => Some(Cut::NoProgress),
            other => return Err(RecordingError::Damaged(format!("an end of kind {other}"))),
        };
        let cut = match why {
            None => None,
            Some(why) => Some(CutOff { why, ran: frame.u8()? != 0, state: frame.state()? }),
        };
        recording.end = Some(RecordedEnd { exits, digest, cut });
    }
    // What comes with the end of the frame: its checksum.
    if frame.from.read(&mut [0]).map_err(truncated)? != 0 {
        return Err(RecordingError::Damaged("more follows its end".into()));
    }
    Ok((identity, recording))
}

/// What is in the frame, as far as it may be.
struct Frame<R> {
    from: R,
    left: u64,
}

/// An end that comes too early is one of the file.
fn truncated(error: io::Error) -> RecordingError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RecordingError::Truncated,
        // What zstd says of its bytes.
        io::ErrorKind::Other | io::ErrorKind::InvalidData => {
            RecordingError::Damaged(error.to_string())
        }
        _ => RecordingError::Io(error),
    }
}

impl<R: Read> Frame<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordingError> {
        let mut bytes = [0; N];
        self.left = self.left.checked_sub(N as u64).ok_or(RecordingError::TooLarge)?;
        self.from.read_exact(&mut bytes).map_err(truncated)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, RecordingError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, RecordingError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordingError> {
        self.array().map(u64::from_le_bytes)
    }

    /// As many bytes as it says; `most` at most.
    fn bytes(&mut self, most: usize) -> Result<Vec<u8>, RecordingError> {
        let length = self.u32()? as usize;
        if length > most {
            return Err(RecordingError::TooLarge);
        }
        self.left = self.left.checked_sub(length as u64).ok_or(RecordingError::TooLarge)?;
        let mut bytes = Vec::new();
        self.from.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(truncated)?;
        if bytes.len() < length {
            return Err(RecordingError::Truncated);
        }
        Ok(bytes)
    }

    fn state(&mut self) -> Result<RecordedState, RecordingError> {
        let [exits, digest, time] = [self.u64()?, self.u64()?, self.u64()?];
        let bytes = self.bytes(LARGEST as usize)?.into();
        Ok(RecordedState { exits, digest, time, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Identity, Recording) {
        let state = |exits, byte| RecordedState {
            exits,
            digest: 7,
            time: 9,
            bytes: vec![byte; 5000].into(),
        };
        let identity = Identity::default().with("the kernel", "ab12").with("the command line", "");
        let cut = CutOff { why: Cut::Stopped, ran: true, state: state(900, 3) };
        let end = RecordedEnd { exits: 900, digest: 11, cut: Some(cut) };
        let states = vec![state(3, 1), state(400, 2)];
        (identity, Recording { states, digests: vec![5, 6, 7], end: Some(end) })
    }

    fn written() -> Vec<u8> {
        let (identity, recording) = sample();
        let mut bytes = Vec::new();
        write(&mut bytes, &identity, &recording).expect("memory takes it");
        bytes
    }

    #[test]
    fn a_recording_survives_the_way_to_a_file_and_back() {
        assert_eq!(read(&written()[..]).expect("it is whole"), sample());
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_said_to_be() {
        let bytes = written();
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).expect_err("a part is no whole").to_string();
            assert!(error.contains("truncated"), "{length} of {}: {error}", bytes.len());
        }
    }

    #[test]
    fn no_byte_that_means_something_can_be_changed_without_being_noticed() {
        let bytes = written();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            // The frame's head has bits that change nothing.
            let same = read(&changed[..]).is_ok_and(|seen| seen == sample());
            assert!(same || read(&changed[..]).is_err(), "byte {at} of {}", bytes.len());
        }
    }

    #[test]
    fn what_is_something_else_is_refused_in_one_sentence() {
        assert!(matches!(
            read(&b"\x7fELF and so on, longer than a mark"[..]),
            Err(RecordingError::None)
        ));
        assert!(matches!(read(&b"esp0 recording 9\nrest"[..]), Err(RecordingError::OtherForm)));
        assert!(matches!(read(&b""[..]), Err(RecordingError::Truncated)));
    }

    #[test]
    fn what_differs_is_named() {
        let (then, _) = sample();
        assert_eq!(then.difference(&then), None);
        let now = Identity::default().with("the kernel", "cd").with("the command line", "");
        assert_eq!(then.difference(&now).as_deref(), Some("the kernel was ab12, and is cd"));
        let now = Identity::default().with("the kernel", "ab12").with("the command line", "x");
        assert_eq!(then.difference(&now).as_deref(), Some("the command line was none, and is x"));
    }
}
