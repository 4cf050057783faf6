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
use crate::check::{Judged, Judgement};
use crate::entry::{Entry, Return};
use crate::machine::{LinearMemory, Machine};
use crate::probe::Probes;
use crate::symbols::Symbols;
use ia32::Word;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Entries that are kept whole from the beginning of the run on, and of each kind.
const FIRST: u64 = 256;
const OF_A_KIND: u32 = 6;
/// So many are kept for something that was found, and so many at the end.
const FOUND: u32 = 400;
const LAST: usize = 24;
/// Bytes of all stacks that are kept.
const BUDGET: usize = 6 << 20;
/// Of a stack so many pages are looked at: that of ESP, the one below it, and those up to ESP0.
const PAGES: u32 = 5;
const PAGE: u32 = 0x1000;
/// A guard page is looked for so many pages below.
const BELOW: u32 = 8;
/// Words of the interrupted stack.
const USER: usize = 16;
/// Entries that have not been returned from and whose stacks are held for comparison.
const PENDING: usize = 64;
/// Places whose code is shown, and names of words on stacks.
const PLACES: usize = 20_000;
const NAMES: usize = 4_000;

/// The stack's memory around an entry.
#[derive(Clone, Debug)]
struct Copied {
    from: u32,
    bytes: Vec<u8>,
    /// Which of its pages are mapped.
    mapped: Vec<bool>,
    /// How many pages in a row are mapped below that of the frame, before one that is not; none if more than
    /// were looked at.
    below: Option<u32>,
}

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
    user: Value,
    place: Option<usize>,
    handler: Option<usize>,
}

/// What is told of an entry at the end of the run, and of its return.
#[derive(Debug)]
struct Late {
    sequence: u64,
    stack: Map<String, Value>,
    changed: Option<(u64, Value)>,
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
    returning: Option<(usize, Value)>,
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
        let linear = LinearMemory { memory: &machine.memory, paging: state.into() };
        let base = state.ss().base;
        let top = match entry.inner_stack {
            Some(stack) if entry.from_outer_ring() => base.wrapping_add(stack.esp),
            _ => entry.frame.end(),
        };
        let stack = copy_stack(&linear, entry.frame.address, top);
        let user = entry.from_outer_ring().then(|| entry.ldt_stack.or(entry.frame.get(Word::Esp)));
        let user = user.flatten().and_then(|esp| user_words(&linear, esp));
        let place = self.interrupted(&linear, entry);
        let handler = self.place(Seen::kernel(state.eip, state.cs().base, state));
        let user = user.unwrap_or(Value::Null);
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
        let mut line = Map::new();
        line.insert("type".into(), "detail".into());
        line.insert("entry".into(), sequence.into());
        line.insert("code".into(), json!(place));
        line.insert("handler".into(), json!(handler));
        let mut more = Map::new();
        more.insert("stack".into(), self.told(&stack, entry.frame.address));
        more.insert("user".into(), user);
        let top = self.symbols.describe_top(entry.frame.end()).map(|place| place.short());
        let space = entry.after.cr3;
        self.pending.push_back(Pending {
            sequence,
            popped_from: entry.frame.address.wrapping_add(
                u32::from(entry.frame.shape.error_code) * entry.frame.shape.word_size,
            ),
            task_space: space,
            stack,
            kept: keep,
        });
        if self.pending.len() > PENDING {
            self.pending.pop_front();
        }
        more.insert("top_name".into(), json!(top));
        if keep {
            line.extend(more);
        } else {
            self.last.push_back(Late { sequence, stack: more, changed: None });
            if self.last.len() > LAST {
                self.last.pop_front();
            }
        }
        let line = written(&Value::Object(line));
        self.spent += if keep { line.len() } else { 0 };
        line
    }

    fn look_at_return(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        let place = self.place(Seen::kernel(state.eip, state.cs().base, state));
        let address = returning.frame.address;
        let pending = self
            .pending
            .iter()
            .rposition(|pending| pending.popped_from == address && pending.task_space == state.cr3);
        let pending = pending
            .or_else(|| self.pending.iter().rposition(|pending| pending.popped_from == address));
        let mut changed = Value::Null;
        if let Some(pending) = pending.and_then(|index| self.pending.remove(index)) {
            let linear = LinearMemory { memory: &machine.memory, paging: state.into() };
            let late = self.last.iter().position(|late| late.sequence == pending.sequence);
            if pending.kept || late.is_some() {
                changed = json!(self.changes(&linear, &pending.stack));
            }
            if let Some(late) = late {
                self.last[late].changed = Some((self.returns, changed.take()));
            }
        }
        self.returning = Some((place.unwrap_or(usize::MAX), changed));
    }

    /// The line of a return that was looked at.
    fn leave(&mut self) -> Vec<u8> {
        let number = self.returns;
        self.returns += 1;
        let Some((place, changed)) = self.returning.take() else { return Vec::new() };
        let mut line = Map::new();
        line.insert("type".into(), "detail".into());
        line.insert("return".into(), number.into());
        if place != usize::MAX {
            line.insert("code".into(), place.into());
        }
        if !changed.is_null() {
            line.insert("changed".into(), changed);
        }
        let line = written(&Value::Object(line));
        self.spent += line.len();
        line
    }

    /// The lines that come when the run is over: the last stacks, the code, the names of words.
    pub fn finish(&mut self, machine: &Machine, probes: &Probes) -> Vec<u8> {
        let mut lines = Vec::new();
        for late in std::mem::take(&mut self.last) {
            let mut line = Map::new();
            line.insert("type".into(), "detail".into());
            line.insert("entry".into(), late.sequence.into());
            line.extend(late.stack);
            lines.extend(written(&Value::Object(line)));
            if let Some((number, changed)) = late.changed {
                lines.extend(written(&json!({
                    "type": "detail", "return": number, "changed": changed,
                })));
            }
        }
        for seen in &self.seen {
            let bytes = CodeSource { machine, probes, symbols: &self.symbols };
            lines.extend(written(&code::record(seen, &bytes, &self.sources)));
        }
        let mut names = Map::new();
        for value in self.values.keys() {
            let place = self.symbols.describe(*value).filter(|place| place.is_code);
            if let Some(place) = place {
                names.insert(format!("{value:08x}"), place.short().into());
                if names.len() == NAMES {
                    break;
                }
            }
        }
        lines.extend(written(&json!({ "type": "names", "names": names })));
        lines
    }

    /// The source that was found.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    fn interrupted(&mut self, linear: &LinearMemory<'_>, entry: &Entry) -> Option<usize> {
        if entry.origin.virtual_8086 {
            return None;
        }
        let eip = entry.frame.get(Word::Eip)?;
        let base = entry.code.linear.map_or(0, |linear| linear.wrapping_sub(eip));
        let mut seen = Seen::interrupted(eip, base, entry);
        if self.places.contains_key(&seen.key()) || self.seen.len() == PLACES {
            return self.place(seen);
        }
        if entry.origin.ring > 0 {
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

    /// A stack as the line has it: runs of words that are not zero.
    fn told(&mut self, stack: &Copied, esp: u32) -> Value {
        let end = stack.from.wrapping_add(stack.bytes.len() as u32);
        let words: Vec<(u32, u32)> = stack.words().filter(|(_, value)| *value != 0).collect();
        for (address, value) in &words {
            // Whatever lies below ESP is left behind, and of no interest.
            if *address >= esp && *address < esp.saturating_add(1024) {
                self.values.insert(*value, ());
            }
        }
        // Of what lies below ESP nothing but the entry's own changes will be shown.
        let words = words
            .into_iter()
            .filter(|(address, _)| *address >= esp && *address < esp.saturating_add(512));
        json!({
            "from": format!("{:08x}", stack.from),
            "to": format!("{end:08x}"),
            "below": stack.below,
            "words": runs(words),
        })
    }

    /// The words that have changed since, as runs.
    fn changes(&mut self, linear: &LinearMemory<'_>, before: &Copied) -> Vec<(String, String)> {
        let mut bytes = vec![0; before.bytes.len()];
        for (index, page) in bytes.chunks_mut(PAGE as usize).enumerate() {
            if before.mapped.get(index) == Some(&true) {
                let start = before.from + index as u32 * PAGE;
                if linear.read(start, page).is_none() {
                    page.copy_from_slice(&before.bytes[index * PAGE as usize..][..page.len()]);
                }
            }
        }
        let after = Copied { bytes, ..before.clone() };
        let changed: Vec<(u32, u32)> = before
            .words()
            .zip(after.words())
            .filter(|((_, old), (_, new))| old != new)
            .map(|(_, new)| new)
            .collect();
        for (_, value) in changed.iter().rev().take(64) {
            self.values.insert(*value, ());
        }
        runs(changed.into_iter())
    }
}

impl Copied {
    fn words(&self) -> impl Iterator<Item = (u32, u32)> {
        let words = self.bytes.as_chunks::<4>().0.iter();
        let from = self.from;
        words.enumerate().map(move |(index, bytes)| {
            (from.wrapping_add(index as u32 * 4), u32::from_le_bytes(*bytes))
        })
    }
}

/// Copies the pages of a stack: that of the frame and the one below it, up to the stack's end if that is near.
fn copy_stack(linear: &LinearMemory<'_>, frame: u32, top: u32) -> Copied {
    let page = frame & !(PAGE - 1);
    let from = page.saturating_sub(PAGE);
    let last = top.wrapping_sub(1) & !(PAGE - 1);
    let near = last >= page && (last - from) / PAGE < PAGES;
    let count = if near { (last - from) / PAGE + 1 } else { 2 };
    let mut bytes = vec![0; (count * PAGE) as usize];
    let mut mapped = Vec::new();
    for (index, part) in bytes.chunks_mut(PAGE as usize).enumerate() {
        mapped.push(linear.read(from + index as u32 * PAGE, part).is_some());
    }
    let below = (1..=BELOW).position(|below| {
        let at = page.checked_sub(below * PAGE);
        at.is_none_or(|at| linear.paging.translate(linear.memory, at).is_none())
    });
    Copied { from, bytes, mapped, below: below.map(|pages| pages as u32) }
}

/// The words at an interrupted stack's pointer, and upwards.
fn user_words(linear: &LinearMemory<'_>, esp: u32) -> Option<Value> {
    let mut bytes = [0; USER * 4];
    let read = linear.read_some(esp, &mut bytes) / 4;
    let mut digits = String::new();
    for word in bytes.as_chunks::<4>().0.iter().take(read) {
        digits.push_str(&format!("{:08x}", u32::from_le_bytes(*word)));
    }
    (read > 0).then(|| json!([format!("{esp:08x}"), digits]))
}

/// Words that follow each other, as an address and eight digits each.
fn runs(words: impl Iterator<Item = (u32, u32)>) -> Vec<(String, String)> {
    let mut runs: Vec<(String, String)> = Vec::new();
    let mut next = None;
    for (address, value) in words {
        let digits = format!("{value:08x}");
        match runs.last_mut() {
            Some((_, run)) if next == Some(address) => run.push_str(&digits),
            _ => runs.push((format!("{address:08x}"), digits)),
        }
        next = address.checked_add(4);
    }
    runs
}

fn written(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
