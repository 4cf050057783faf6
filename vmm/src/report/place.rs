//! The code that a finding is about, as its card shows it: source where there is some, else instructions.
//!
//! Most stubs are assembly without lines. What is wrong with a switch, or with a handler that a stub calls, stands in the
//! function that it calls before its IRET, so that is shown too:
//! ```text
//!  CodePlace::Switch ─► the IRET ─┬─ has source ─► its lines
//!                                 └─ has none ───► its instructions; and the function that was called last before it
//! ```

use super::code::{self, CodeSource, Seen};
use super::source::Sources;
use crate::check::CodePlace;
use crate::entry::Entry;
use crate::instruction::flow::{Calls, Flow};
use crate::instruction::{sequence, valid_32};
use crate::machine::{LinearMemory, Machine};
use crate::probe::Probes;
use crate::symbols::Symbols;
use crate::trace::schema::CodeRecord;
use ia32::State;
use iced_x86::FlowControl;
use std::collections::BTreeMap;

/// So many bytes before an IRET, or instructions of a stub, are searched for a call.
const NEAR: u32 = 400;
const OWN: usize = 64;
/// Places of one finding that are shown.
const MOST_PLACES: usize = 3;
/// Interrupted places that are kept.
const MOST_KEPT: usize = 100;

/// Reads the code that findings are about.
pub struct CodeReader {
    symbols: Symbols,
    sources: Sources,
    /// What entries have interrupted, by the handler and the sentence of a finding that names no code.
    interrupted: BTreeMap<(u32, String), Seen>,
}

impl std::fmt::Debug for CodeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeReader").field("kept", &self.interrupted.len()).finish_non_exhaustive()
    }
}

/// The guest as it stands, for its code to be read.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its memory.
    pub machine: &'a Machine,
    /// What stands where esp0 has put something.
    pub probes: &'a Probes,
    /// Its page tables.
    pub state: &'a State,
}

impl CodeReader {
    /// One that names and shows code by these symbols and sources.
    pub fn new(symbols: Symbols, sources: Sources) -> Self {
        CodeReader { symbols, sources, interrupted: BTreeMap::new() }
    }

    /// Keeps the code that `entry` has interrupted, for the finding that says `sentence` and names none.
    pub(crate) fn remember(&mut self, machine: &Machine, entry: &Entry, sentence: &str) {
        let key = (entry.after.eip, sentence.to_owned());
        if self.interrupted.len() < MOST_KEPT && !self.interrupted.contains_key(&key) {
            let linear = LinearMemory { memory: machine.memory(), paging: (&entry.after).into() };
            if let Some(mut seen) = Seen::interrupted(entry) {
                seen.read_now(&linear);
                self.interrupted.insert(key, seen);
            }
        }
    }

    /// What was interrupted where the finding was made that says `sentence`, at the handler that begins at EIP `at`.
    pub fn interrupted(&self, at: u32, sentence: &str, guest: Standing<'_>) -> Option<CodeRecord> {
        let seen = self.interrupted.get(&(at, sentence.to_owned()))?;
        let Standing { machine, probes, .. } = guest;
        let from = CodeSource { machine, probes, symbols: &self.symbols };
        Some(code::record(seen, &from, &self.sources))
    }

    /// What is to be shown of a place, that which matters most first.
    pub fn show(&self, place: CodePlace, guest: Standing<'_>) -> Vec<CodeRecord> {
        let (CodePlace::Instruction(at) | CodePlace::Switch(at) | CodePlace::Handler(at)) = place;
        let shown = self.shown(at, guest, matches!(place, CodePlace::Handler(_)));
        let called = match place {
            _ if shown.source.is_some() => None,
            CodePlace::Instruction(_) => None,
            CodePlace::Switch(iret) => self.called_before(iret, guest),
            CodePlace::Handler(start) => self.called_from(start, guest),
        };
        let called = called.map(|function| self.shown(function, guest, true));
        // The function of which there is source is the one to read.
        called.filter(|called| called.source.is_some()).into_iter().chain([shown]).collect()
    }

    fn shown(&self, at: u32, guest: Standing<'_>, whole: bool) -> CodeRecord {
        let Standing { machine, probes, state } = guest;
        let from = CodeSource { machine, probes, symbols: &self.symbols };
        // A place that is no start of a handler may be an IRET.
        let seen = if whole { Seen::kernel(at, 0, state) } else { Seen::iret(at, 0, state) };
        let mut record = code::record(&seen, &from, &self.sources);
        if whole
            && let Some(mut place) = self.symbols.describe(at)
            && let Some(line) = &mut place.line
            && let Some(source) = self.sources.function(line)
        {
            // The name has the line that is marked.
            line.number = source.line;
            record.name = Some(place.to_string());
            record.source = Some(source);
        }
        record
    }

    fn is_function(&self, address: u32) -> bool {
        self.symbols.describe(address).is_some_and(|place| place.is_code && place.offset == 0)
    }

    /// The function that was called last on the way to an IRET, in the order of the code.
    fn called_before(&self, iret: u32, guest: Standing<'_>) -> Option<u32> {
        let place = self.symbols.describe(iret).filter(|place| place.offset <= NEAR)?;
        let start = iret.checked_sub(place.offset)?;
        let mut bytes = vec![0; place.offset as usize];
        let read = read(guest, start, &mut bytes);
        let calls = sequence(&bytes[..read], start)
            .filter(|(one, _)| one.flow_control() == FlowControl::Call);
        calls.map(|(call, _)| call.near_branch32()).filter(|to| self.is_function(*to)).last()
    }

    /// The first function that a stub calls.
    fn called_from(&self, start: u32, guest: Standing<'_>) -> Option<u32> {
        let mut flow = Flow::from(start);
        while let Some(at) = flow.next().filter(|_| flow.seen().len() <= OWN) {
            let mut bytes = [0; 15];
            let read = read(guest, at, &mut bytes);
            let Some(instruction) = valid_32(&bytes[..read], at) else { continue };
            if instruction.flow_control() == FlowControl::Call
                && self.is_function(instruction.near_branch32())
            {
                return Some(instruction.near_branch32());
            }
            flow.after(&instruction, Calls::Over);
        }
        None
    }
}

/// As many of the places as a finding shows, each once: those that name the same line are one.
pub fn most_telling(places: impl IntoIterator<Item = CodeRecord>) -> Vec<CodeRecord> {
    let mut all: Vec<CodeRecord> = Vec::new();
    for code in places {
        let same = |known: &CodeRecord| {
            known.at == code.at || known.source.is_some() && known.source == code.source
        };
        let is_empty = code.source.is_none() && code.code.is_empty();
        if all.len() < MOST_PLACES && !is_empty && !all.iter().any(same) {
            all.push(code);
        }
    }
    all
}

fn read(guest: Standing<'_>, address: u32, bytes: &mut [u8]) -> usize {
    let linear = LinearMemory { memory: guest.machine.memory(), paging: guest.state.into() };
    guest.probes.read_code(&linear, address, bytes)
}
