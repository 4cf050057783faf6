//! What a page shows of an entry and a trace has no room for: the words on both stacks, the code, its source.
//!
//! A recorder looks on while the guest stands still and changes nothing. It writes lines of two more types
//! between those of the trace, which a reader that does not know them passes over:
//! ```text
//!  {"type":"detail","entry":7,"code":2,"handler":0,"stack":{…},"user":[…]}
//!  {"type":"detail","return":6,"code":5,"changed":[…]}
//!  …
//!  {"type":"code","name":"timer+12 (kernel.c:40)","at":"00100250","code":[…],"source":{…}}
//! ```
//! A `return` counts from 0, and so do the codes, which come at the end of the run: a handler's bytes are known
//! without esp0's patches only where those are kept.
//!
//! **What the kernel pushed** below a frame is found without following it: the stack's pages are copied at the
//! entry, and compared at the IRET that pops the frame. Whole stacks of a long run would be gigabytes, so they
//! are kept for the first entries, for the first of each kind, for those about which there is something to say,
//! and for the last.

use super::code::{self, CodeSource, Seen};
use super::source::Sources;
use super::stacks::{Copied, end_around, runs, user_words};
use crate::check::{Judged, Judgement};
use crate::entry::{Entry, Return};
use crate::machine::{LinearMemory, Machine};
use crate::probe::Probes;
use crate::symbols::Symbols;
use crate::trace::schema::{DetailRecord, PageRecord, Words};
use ia32::Word;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};

/// Entries that are kept whole from the beginning of the run on, and of each kind.
const FIRST: u64 = 256;
const OF_A_KIND: u32 = 6;
/// So many are kept for something that was found, and so many at the end.
const FOUND: u32 = 400;
const LAST: usize = 24;
/// Bytes of all stacks that are kept.
const BUDGET: usize = 6 << 20;
/// Entries that have not been returned from and whose stacks are held for comparison.
const PENDING: usize = 64;
/// Places whose code is shown, and names of words on stacks.
const PLACES: usize = 20_000;
const NAMES: usize = 4_000;

/// An entry whose return has not come.
#[derive(Debug)]
struct Pending {
    sequence: u64,
    popped_from: u32,
    task_space: u32,
    stack: Copied,
    /// Its stack is told, so the changes are too.
    kept: bool,
}

/// What was looked at before an entry was judged.
#[derive(Debug)]
struct Captured {
    sequence: u64,
    stack: Copied,
    user: Option<Words>,
    place: Option<usize>,
    handler: Option<usize>,
}

/// Linear address of the stack that was interrupted.
fn interrupted_stack(entry: &Entry) -> Option<u32> {
    let esp = entry.frame.get(Word::Esp)?;
    if entry.origin.virtual_8086 {
        // SDM vol. 3B, address translation in virtual-8086 mode: a segment begins at 16 times its selector.
        return Some((entry.frame.get(Word::Ss)? & 0xffff) * 16 + (esp & 0xffff));
    }
    Some(entry.ldt_stack.unwrap_or(esp))
}

/// What is told of an entry at the end of the run, and of its return.
#[derive(Debug)]
struct Late {
    entry: DetailRecord,
    back: Option<DetailRecord>,
}

/// Gathers them.
pub struct Recorder {
    symbols: Symbols,
    sources: Sources,
    places: BTreeMap<Key, usize>,
    seen: Vec<Seen>,
    kinds: FxHashMap<(u8, u8, u32, usize), u32>,
    found: u32,
    spent: usize,
    pending: VecDeque<Pending>,
    /// Details that are told only if they are among the last.
    last: VecDeque<Late>,
    captured: Option<Captured>,
    returns: u64,
    returning: Option<DetailRecord>,
    values: BTreeMap<u32, ()>,
}

/// What tells one place from another.
type Key = (u32, u32, Option<[u8; 2]>, u8);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("places", &self.seen.len()).finish_non_exhaustive()
    }
}

impl Recorder {
    /// One that names and shows code by these symbols and sources.
    pub fn new(symbols: Symbols, sources: Sources) -> Self {
        Recorder {
            symbols,
            sources,
            places: BTreeMap::new(),
            seen: Vec::new(),
            kinds: FxHashMap::default(),
            found: 0,
            spent: 0,
            pending: VecDeque::new(),
            last: VecDeque::new(),
            captured: None,
            returns: 0,
            returning: None,
            values: BTreeMap::new(),
        }
    }

    /// Looks at an entry or a return; its line.
    pub fn look(&mut self, machine: &Machine, judged: &Judged) -> Vec<u8> {
        match judged {
            Judged::Entry(entry, judgement) => {
                self.look_at_entry(machine, entry);
                self.entry(entry, judgement)
            }
            Judged::Return(returning, _) => {
                self.look_at_return(machine, returning);
                self.leave()
            }
            _ => Vec::new(),
        }
    }

    fn look_at_entry(&mut self, machine: &Machine, entry: &Entry) {
        let state = &entry.after;
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        let base = state.ss().base;
        let top = match entry.inner_stack {
            Some(stack) if entry.from_outer_ring() => base.wrapping_add(stack.esp),
            _ => entry.frame.end(),
        };
        let stack = Copied::of(&linear, entry.frame.address, top);
        let user = entry.from_outer_ring().then(|| interrupted_stack(entry)).flatten();
        let user = user.and_then(|esp| user_words(&linear, esp));
        let place = self.interrupted(&linear, entry);
        let handler = self.place(Seen::kernel(state.eip, state.cs().base, state));
        self.captured = Some(Captured { sequence: entry.sequence, stack, user, place, handler });
    }

    /// The line of an entry that was looked at.
    fn entry(&mut self, entry: &Entry, judgement: &Judgement) -> Vec<u8> {
        let Some(captured) = self.captured.take() else { return Vec::new() };
        let Captured { sequence, stack, user, place, handler } = captured;
        if sequence != entry.sequence {
            return Vec::new();
        }
        let task = judgement.task.map_or(0, |task| task.0);
        let of_kind = self
            .kinds
            .entry((entry.vector.0, entry.origin.ring, task, place.unwrap_or(usize::MAX)))
            .or_default();
        *of_kind += 1;
        let found = !judgement.findings.is_empty() || !judgement.notes.is_empty();
        let few = sequence <= FIRST || *of_kind <= OF_A_KIND || (found && self.found < FOUND);
        self.found += u32::from(found);
        let keep = few && self.spent < BUDGET;
        self.note_words(&stack, entry.frame.address);
        let code =
            DetailRecord { entry: Some(sequence), code: place, handler, ..DetailRecord::default() };
        let (top, top_name) = if entry.from_outer_ring() {
            (None, self.symbols.describe_top(entry.frame.end()))
        } else {
            let (top, name) = end_around(&self.symbols, entry.frame.end()).unzip();
            (top.map(|top| format!("{top:08x}")), name)
        };
        let shown = DetailRecord {
            stack: Some(stack.told(entry.frame.address)),
            user,
            top,
            top_name: top_name.map(|place| place.short()),
            ..DetailRecord::default()
        };
        self.pending.push_back(Pending {
            sequence,
            popped_from: entry.frame.address.wrapping_add(
                u32::from(entry.frame.shape.error_code) * entry.frame.shape.word_size,
            ),
            task_space: entry.after.cr3,
            stack,
            kept: keep,
        });
        if self.pending.len() > PENDING {
            self.pending.pop_front();
        }
        if keep {
            let line = written(DetailRecord { entry: code.entry, code: place, handler, ..shown });
            self.spent += line.len();
            return line;
        }
        self.last
            .push_back(Late { entry: DetailRecord { entry: code.entry, ..shown }, back: None });
        if self.last.len() > LAST {
            self.last.pop_front();
        }
        written(code)
    }

    fn look_at_return(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        let place = self.place(Seen::iret(state.eip, state.cs().base, state));
        let address = returning.frame.address;
        let pending = self
            .pending
            .iter()
            .rposition(|pending| pending.popped_from == address && pending.task_space == state.cr3);
        let pending = pending
            .or_else(|| self.pending.iter().rposition(|pending| pending.popped_from == address));
        let mut back = DetailRecord { r#return: Some(self.returns), ..DetailRecord::default() };
        if let Some(pending) = pending.and_then(|index| self.pending.remove(index)) {
            let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
            let late = self.last.iter().position(|late| late.entry.entry == Some(pending.sequence));
            if pending.kept || late.is_some() {
                back.changed = Some(self.changes(&linear, &pending.stack));
            }
            if let Some(late) = late {
                self.last[late].back =
                    Some(DetailRecord { changed: back.changed.take(), ..back.clone() });
            }
        }
        self.returning = Some(DetailRecord { code: place, ..back });
    }

    /// The line of a return that was looked at.
    fn leave(&mut self) -> Vec<u8> {
        self.returns += 1;
        let line = self.returning.take().map_or(Vec::new(), written);
        self.spent += line.len();
        line
    }

    /// The lines that come when the run is over: the last stacks, the code, the names of words.
    pub fn finish(&mut self, machine: &Machine, probes: &Probes) -> Vec<u8> {
        let mut lines = Vec::new();
        for late in std::mem::take(&mut self.last) {
            lines.extend(written(late.entry));
            lines.extend(late.back.map_or(Vec::new(), written));
        }
        for seen in &self.seen {
            let bytes = CodeSource { machine, probes, symbols: &self.symbols };
            let code = code::record(seen, &bytes, &self.sources);
            lines.extend(PageRecord::Code(code).to_line());
        }
        let mut names = BTreeMap::new();
        for value in self.values.keys() {
            let place = self.symbols.describe(*value).filter(|place| place.is_code);
            if let Some(place) = place {
                names.insert(format!("{value:08x}"), place.short());
                if names.len() == NAMES {
                    break;
                }
            }
        }
        lines.extend(PageRecord::Names { names }.to_line());
        lines
    }

    fn interrupted(&mut self, linear: &LinearMemory<'_>, entry: &Entry) -> Option<usize> {
        let mut seen = Seen::interrupted(entry)?;
        if !self.places.contains_key(&seen.key()) && self.seen.len() < PLACES {
            seen.read_now(linear);
        }
        self.place(seen)
    }

    /// The number of a place.
    fn place(&mut self, seen: Seen) -> Option<usize> {
        let key = seen.key();
        if let Some(known) = self.places.get(&key) {
            return Some(*known);
        }
        if self.seen.len() == PLACES {
            return None;
        }
        self.places.insert(key, self.seen.len());
        self.seen.push(seen);
        Some(self.seen.len() - 1)
    }

    /// What may be named of a stack. Whatever lies below ESP is left behind, and of no interest.
    fn note_words(&mut self, stack: &Copied, esp: u32) {
        let above = esp..esp.saturating_add(1024);
        let words = stack.words().filter(|(address, value)| *value != 0 && above.contains(address));
        self.values.extend(words.map(|(_, value)| (value, ())));
    }

    /// The words that have changed since, as runs.
    fn changes(&mut self, linear: &LinearMemory<'_>, before: &Copied) -> Vec<Words> {
        let changed = before.changed(linear);
        self.values.extend(changed.iter().rev().take(64).map(|(_, value)| (*value, ())));
        runs(changed)
    }
}

fn written(detail: DetailRecord) -> Vec<u8> {
    PageRecord::Detail(detail).to_line()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::schema::samples;

    #[test]
    fn the_stack_of_virtual_8086_mode_lies_where_its_segment_begins() {
        let mut words = [0x1000; 40];
        words[20] = 0x50;
        let (mut entry, _) = samples::some_entry(words, [1, 1], 1);
        entry.frame.shape.changes_stack = true;
        entry.origin.virtual_8086 = false;
        let esp = entry.frame.get(Word::Esp).expect("the stack changed");
        let ss = entry.frame.get(Word::Ss).expect("the stack changed");
        entry.ldt_stack = None;
        assert_eq!(interrupted_stack(&entry), Some(esp));
        entry.ldt_stack = Some(7);
        assert_eq!(interrupted_stack(&entry), Some(7));
        entry.origin.virtual_8086 = true;
        assert_eq!(interrupted_stack(&entry), Some((ss & 0xffff) * 16 + (esp & 0xffff)));
    }
}
