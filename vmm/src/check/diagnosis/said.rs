//! What the kernel says on its console while it is in a handler, held against what has happened.
//!
//! A handler that takes the wrong word of its frame for the vector tells of a division by zero when the timer ticks, and
//! stops the kernel. The processor has raised no such exception: so much is known.

use super::{Aftermath, Diagnosis, Placed};
use crate::check::{CodePlace, Finding, History, Subject};
use crate::entry::Kind;
use crate::run::Ending;
use ia32::Eflags;

pub(super) const RULE: &str = "ending";

/// So many bytes are kept of what was said since the last entry.
const KEPT: usize = 1024;

/// What was written to the console since the last entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Vec<u8>);

impl Said {
    /// An entry: what is said from now on is said in its handler.
    pub(super) fn begin(&mut self) {
        self.0.clear();
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let room = KEPT - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The first line that tells of an exception or a panic.
    fn exception(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().map(str::trim).find(|line| tells_of_one(line))?;
        Some(line.chars().filter(|one| !one.is_control()).take(60).collect())
    }
}

/// Words by which kernels tell that they were stopped by an exception.
const WORDS: [&str; 4] = ["panic", "exception", "fault", "opcode"];
const PHRASES: [&str; 5] =
    ["divide error", "divide by zero", "division by zero", "invalid tss", "segment not present"];
/// Words of a line that tells of success.
const WELL: [&str; 5] = ["pass", "passed", "ok", "no", "success"];

fn tells_of_one(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let has = |list: &[&str]| {
        lower.split(|one: char| !one.is_ascii_alphabetic()).any(|word| list.contains(&word))
    };
    !has(&WELL) && (has(&WORDS) || PHRASES.iter().any(|phrase| lower.contains(phrase)))
}

/// The kernel halts for good in the handler of an interrupt from outside, and has spoken of an exception there.
pub(super) fn of_no_exception(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let (sequence, kind, vector) = diagnosis.last_entry?;
    let state = &aftermath.end.state;
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    let stopped = match aftermath.end.ending {
        Ending::Halted => true,
        Ending::TimedOut => diagnosis.is_settled(),
        _ => false,
    };
    if !stopped || !closed || diagnosis.returned || kind != Kind::External || vector.0 < 32 {
        return None;
    }
    // There may have been one, and the words be about it.
    if diagnosis.counted > 0 {
        return None;
    }
    let line = diagnosis.said.exception()?;
    let (_, handler) = diagnosis.used.first(vector)?;
    history.live().find(|live| live.sequence == sequence)?;
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("the kernel stopped itself in the handler of interrupt {:#04x}, and tells of an exception", vector.0),
        "a handler that serves the interrupt, and returns",
        format!(
            "`{line}`, and a halt with interrupts closed, at {}",
            aftermath.place(state.instruction_address())
        ),
    )
    .because(format!(
        "the processor has raised no exception: #{sequence} came from outside, by vector {:#04x}, to {}; the kernel took \
         another word for the vector, or that gate is meant for another one",
        vector.0,
        aftermath.place(handler)
    ))
    .advise(
        "compare the order in which the stub pushes vector and error code with that of the struct that its handler reads, and \
         the gate's vector with its stub",
    );
    let finding = finding.about(CodePlace::Handler(handler));
    Some((format!("#{sequence} at {}", aftermath.place(handler)), finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_names_an_exception_is_found() {
        let mut said = Said::default();
        said.add(b"tick\n\x1b[31mEXCEPTION: Division By Zero\r\nhalted\n");
        assert_eq!(said.exception().as_deref(), Some("[31mEXCEPTION: Division By Zero"));
        said.begin();
        said.add(b"no fault: PASS\nthe default handler\n");
        assert_eq!(said.exception(), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut said = Said::default();
        for _ in 0..10 {
            said.add(&[b'x'; KEPT / 2]);
        }
        assert_eq!(said.0.len(), KEPT);
    }
}
