//! The instructions around a place, in the guest's own bytes.
//!
//! Code is read forwards only. It begins at the function's start where a symbol tells that and it is near; else
//! some bytes before, from where the decoding that comes to stand on the place itself is taken: instructions
//! fall into step after a few.

use super::source::Sources;
use crate::entry::{CodeBytes, Entry};
use crate::instruction::{LONGEST, sequence};
use crate::machine::{LinearMemory, Machine, Paging};
use crate::probe::Probes;
use crate::symbols::{Place, SeenCode, Symbols};
use crate::trace::schema::CodeRecord;
use ia32::{State, Word};
use iced_x86::{FlowControl, Formatter, Instruction, IntelFormatter};

/// Instructions before the place, in a program and in the kernel: what leads to an IRET is worth more. And so many
/// from the place on.
const BEFORE: usize = 5;
const BEFORE_IN_KERNEL: usize = 11;
const BEHIND: usize = 8;
/// A function that starts no farther away is decoded from its start.
const NEAR: u32 = 400;
/// Where nothing is known of it, decoding starts so many bytes before.
const RUN_UP: u32 = 32;
/// Of a program's code so many bytes are read, before and from the place on.
const READ_BACK: u32 = 400;
const READ_ON: u32 = 120;

/// A place that was seen, and what is needed to read it later.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    eip: u32,
    base: u32,
    paging: Paging,
    /// The event is reported behind its instruction.
    behind: bool,
    /// It is an IRET.
    iret: bool,
    code: CodeBytes,
    ring: u8,
    /// A program's bytes as they were, and where they begin: it may be gone when the run is over.
    bytes: Option<(u32, Vec<u8>)>,
}

impl Seen {
    /// The kernel's own instruction.
    pub(super) fn kernel(eip: u32, base: u32, state: &State) -> Self {
        let (code, paging) = (CodeBytes::default(), state.into());
        Seen { eip, base, paging, behind: false, iret: false, code, ring: 0, bytes: None }
    }

    /// An IRET.
    pub(super) fn iret(eip: u32, base: u32, state: &State) -> Self {
        Seen { iret: true, ..Seen::kernel(eip, base, state) }
    }

    /// What an entry interrupted; none in virtual-8086 mode.
    pub(super) fn interrupted(entry: &Entry) -> Option<Self> {
        if entry.origin.virtual_8086 {
            return None;
        }
        let eip = entry.frame.get(Word::Eip)?;
        let base = entry.code.linear.map_or(0, |linear| linear.wrapping_sub(eip));
        let behind = entry.is_behind_its_instruction();
        let (code, ring) = (entry.code, entry.origin.ring);
        let paging = (&entry.after).into();
        Some(Seen { eip, base, paging, behind, iret: false, code, ring, bytes: None })
    }

    /// Reads a program's code now: it may be gone when the run is over, and has no patch of esp0's in it.
    pub(super) fn read_now(&mut self, linear: &LinearMemory<'_>) {
        if self.ring == 0 {
            return;
        }
        let back = READ_BACK.min(self.eip & 0xfff).min(self.eip);
        let start = self.eip - back;
        let mut bytes = vec![0; (back + READ_ON) as usize];
        let read = linear.read_some(self.base.wrapping_add(start), &mut bytes);
        bytes.truncate(read);
        let at = bytes.get(back as usize..).unwrap_or_default();
        if self.code.length == 0 {
            let length = at.len().min(self.code.at.len());
            self.code.at[..length].copy_from_slice(&at[..length]);
            self.code.length = length as u8;
        }
        self.bytes = Some((start, bytes));
    }

    pub(super) fn key(&self) -> (u32, u32, Option<[u8; 2]>, u8) {
        // Programs share addresses; the kernel is the same in all address spaces.
        let root = if self.ring == 0 { 0 } else { self.paging.root };
        let flags = u8::from(self.iret) << 5 | u8::from(self.behind) << 4 | self.ring;
        (self.eip, root, self.code.behind, flags)
    }

    fn place(&self, symbols: &Symbols) -> Option<Place> {
        let behind = self.code.behind.as_ref().map_or(&[][..], |bytes| bytes);
        let seen = SeenCode { behind, at: self.code.instruction() };
        if self.behind {
            symbols.describe_behind(self.eip, seen)
        } else {
            symbols.describe_code(self.eip, seen)
        }
    }
}

/// Where bytes and names come from.
pub(super) struct CodeSource<'a> {
    pub(super) machine: &'a Machine,
    pub(super) probes: &'a Probes,
    pub(super) symbols: &'a Symbols,
}

impl CodeSource<'_> {
    fn read(&self, seen: &Seen, eip: u32, bytes: &mut [u8]) -> usize {
        if let Some((start, all)) = &seen.bytes {
            let from = eip.checked_sub(*start).and_then(|from| all.get(from as usize..));
            let from = from.unwrap_or_default();
            let length = from.len().min(bytes.len());
            bytes[..length].copy_from_slice(&from[..length]);
            return length;
        }
        let linear = LinearMemory { memory: self.machine.memory(), paging: seen.paging };
        match self.probes.read_code(&linear, seen.base.wrapping_add(eip), bytes) {
            0 if self.is_at_its_own_address(seen) => {
                let paging = Paging { enabled: false, ..seen.paging };
                let linear = LinearMemory { paging, ..linear };
                self.probes.read_code(&linear, seen.base.wrapping_add(eip), bytes)
            }
            read => read,
        }
    }

    /// Nothing is mapped where the kernel's file has code: it has turned paging on, and ran at physical addresses before.
    fn is_at_its_own_address(&self, seen: &Seen) -> bool {
        let name = self.symbols.describe(seen.base.wrapping_add(seen.eip));
        seen.ring == 0 && name.is_some_and(|place| place.is_code)
    }
}

/// The line for a place.
pub(super) fn record(seen: &Seen, from: &CodeSource<'_>, sources: &Sources) -> CodeRecord {
    let place = seen.place(from.symbols);
    let line = place.as_ref().and_then(|place| place.line.as_ref());
    let source = line.and_then(|line| sources.around(line));
    // Behind an `int` the instruction that is meant is the one before.
    CodeRecord {
        name: place.as_ref().map(ToString::to_string),
        at: format!("{:08x}", seen.eip),
        code: instructions(seen, from, place.as_ref()),
        source,
    }
}

/// Address, bytes and text of each instruction.
fn instructions(seen: &Seen, from: &CodeSource<'_>, place: Option<&Place>) -> Vec<[String; 3]> {
    let start = match place {
        Some(place) if place.offset <= NEAR && place.offset <= seen.eip => seen.eip - place.offset,
        _ => seen.eip.saturating_sub(RUN_UP),
    };
    let known = place.is_some_and(|place| place.offset <= NEAR);
    let mut before = if known { decoded(seen, from, start, seen.eip) } else { None };
    if before.is_none() {
        // The first from which decoding falls into step.
        let near = seen.eip.saturating_sub(RUN_UP)..seen.eip;
        before = near.into_iter().find_map(|start| {
            decoded(seen, from, start, seen.eip).filter(|all| all.len() >= BEFORE)
        });
    }
    let mut before = before.unwrap_or_default();
    let most = if seen.ring == 0 { BEFORE_IN_KERNEL } else { BEFORE };
    let cut = before.len().saturating_sub(most);
    before.drain(..cut);
    let mut bytes = [0; BEHIND * 15];
    let read = from.read(seen, seen.eip, &mut bytes);
    let mut all = before;
    let mut rest = &bytes[..read];
    for (instruction, own) in sequence(rest, seen.eip).take(BEHIND) {
        all.push((instruction, own.to_vec()));
        rest = &rest[own.len()..];
        if matches!(instruction.flow_control(), FlowControl::Return)
            || place.is_some_and(|place| !goes_on(place, from, instruction.next_ip() as u32, rest))
        {
            break;
        }
    }
    all.iter().map(|(instruction, bytes)| row(instruction, bytes, from.symbols)).collect()
}

/// The code at `next` is still that of the place's function: what follows its end is another's, and no part of
/// this. Programs share addresses, so the bytes tell whose name it has, as they did for the place; of those that
/// are in no file, or in more than one, nothing is known.
fn goes_on(place: &Place, from: &CodeSource<'_>, next: u32, bytes: &[u8]) -> bool {
    let at = &bytes[..bytes.len().min(LONGEST)];
    match from.symbols.describe_code(next, SeenCode { behind: &[], at }) {
        Some(next) => next.symbol == place.symbol,
        None => place.file.is_some(),
    }
}

/// The instructions from `start` on, if the last of them ends right at `end`.
fn decoded(
    seen: &Seen,
    from: &CodeSource<'_>,
    start: u32,
    end: u32,
) -> Option<Vec<(Instruction, Vec<u8>)>> {
    let mut bytes = vec![0; (end - start) as usize];
    if from.read(seen, start, &mut bytes) < bytes.len() {
        return None;
    }
    let all: Vec<(Instruction, Vec<u8>)> =
        sequence(&bytes, start).map(|(instruction, bytes)| (instruction, bytes.to_vec())).collect();
    let length: usize = all.iter().map(|(_, bytes)| bytes.len()).sum();
    (length == bytes.len()).then_some(all)
}

fn row(instruction: &Instruction, bytes: &[u8], symbols: &Symbols) -> [String; 3] {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_uppercase_hex(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    if instruction.near_branch_target() != 0
        && let Some(place) = symbols.describe(instruction.near_branch_target() as u32)
    {
        // With its line: what an IRET's way leads through is where a switch is written.
        let name =
            if place.offset == 0 { place.to_string().replacen("+0", "", 1) } else { place.short() };
        text.push_str(&format!("   ; {name}"));
    }
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [format!("{:08x}", instruction.ip()), bytes.join(" "), text]
}
