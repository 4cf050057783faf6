//! A trace as a file for Perfetto (<https://ui.perfetto.dev>).
//!
//! ```text
//!  interrupts         ·external 0x20                     ·external 0x20
//!                      ╲                                  ╲
//!  kernel stack of 1    [ external 0x20 ──────────────────────────────·IRET ]
//!      bytes down…     20                                              0
//!  kernel stack of 2                  ·IRET   [ int 0x80 ─·IRET ]
//!  task 1        ring 3 ][ ring 0     ]                              [ ring 3
//!  task 2                              [ ring 3 ][ ring 0 ][ ring 3  ]
//! ```
//! A slice on a kernel stack is a frame that lies there: it begins when it is pushed and ends when it is popped, so a
//! task that is suspended in the kernel has an open one, and nested entries lie in each other. Arrows go from each entry to
//! the IRET that pops it, and before that from the injection of an interrupt to its entry. The bytes are those from ESP0
//! down to the last frame: what a handler pushes below it is in no trace.
//!
//! On the deterministic clock a microsecond is an instruction, on that of exits an exit; on the real one, of which a trace has no time, each event
//! takes one. What comes at the same time is a nanosecond apart. Memory is bounded by tasks and open frames, not by
//! the length of the trace.

mod protobuf;
mod track_event;

use super::schema::{
    CrossingRecord, EntryRecord, PlaceUse, Record, ReturnRecord, SwitchBy, SwitchRecord,
    SysenterRecord,
};
use super::{KnownPlaces, ReadError, TraceReader, event_name, show::frame_names, visible};
use crate::entry::Kind;
use ia32::Word;
use rustc_hash::FxHashMap;
use std::io::{self, BufRead, Write};
use thiserror::Error;
use track_event::{Packets, Track, TrackEvent, TrackKind};

/// How many tasks get tracks of their own; the others share those of "no task".
const TASKS: usize = 4096;
/// How many frames of a stack are kept.
const FRAMES: usize = 4096;

/// Why a trace cannot be converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file cannot be written.
    #[error("it cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Converts all of a trace. It is told whether the trace had its end.
///
/// # Errors
/// [`ConvertError`] if it cannot be read or written.
pub fn to_perfetto<R: BufRead, W: Write>(
    trace: &mut TraceReader<R>,
    out: W,
) -> Result<W, ConvertError> {
    let counted = trace.header().clock != "real";
    let mut timeline = Timeline::new(out, &trace.header().kernel, counted)?;
    while let Some(record) = trace.next_record()? {
        timeline.record(record)?;
    }
    Ok(timeline.end()?)
}

/// A frame that lies on a kernel stack.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Linear address behind it.
    end: u32,
    sequence: u64,
}

/// The tracks of a task.
#[derive(Debug)]
struct Task {
    stack: Track,
    depth: Track,
    rings: Track,
    open: Vec<Open>,
    /// Linear address at which its stack is empty, once it is known.
    top: Option<u32>,
    /// The ring that it runs in now, if it runs.
    ring: Option<u8>,
}

struct Timeline<W> {
    packets: Packets<W>,
    interrupts: Track,
    console: Track,
    stacks: Track,
    rings: Track,
    tasks: FxHashMap<u32, Task>,
    /// The task that runs.
    running: Option<u32>,
    places: KnownPlaces,
    /// The trace has times.
    counted: bool,
    /// The time of the last event, in nanoseconds.
    now: u64,
    events: u64,
}

impl<W: Write> Timeline<W> {
    fn new(out: W, kernel: &str, counted: bool) -> io::Result<Self> {
        let mut packets = Packets::new(out);
        let top = packets.track(kernel, None, TrackKind::Slices)?;
        let mut track = |name| packets.track(name, Some(top), TrackKind::Slices);
        let (console, interrupts) = (track("console")?, track("interrupts")?);
        let (rings, stacks) = (track("tasks, by ring")?, track("kernel stacks")?);
        Ok(Timeline {
            packets,
            interrupts,
            console,
            stacks,
            rings,
            tasks: FxHashMap::default(),
            running: None,
            places: KnownPlaces::default(),
            counted,
            now: 0,
            events: 0,
        })
    }

    fn record(&mut self, record: Record) -> io::Result<()> {
        match record {
            Record::Place(place) => self.places.learn(place),
            Record::Entry(entry) => self.entry(&entry)?,
            Record::Return(returning) => self.leave(&returning)?,
            Record::Sysenter(entry) => self.sysenter(&entry)?,
            Record::Crossing(crossing) => self.crossing(&crossing)?,
            Record::Switch(switch) => self.switch(&switch)?,
            Record::Console(console) => {
                self.tick(None);
                // A name has one line.
                for line in console.bytes().split(|byte| *byte == b'\n') {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    if !line.is_empty() {
                        self.event(TrackEvent::instant(self.console, &visible(line)))?;
                        self.now += 1;
                    }
                }
            }
            Record::End(end) => {
                self.tick(None);
                let event = TrackEvent::instant(self.console, &end.ending);
                self.event(event.text("verdict", end.verdict.name()))?;
            }
            Record::Header(_) | Record::Stack(_) | Record::Returned(_) | Record::Cause(_) => {}
        }
        Ok(())
    }

    /// The time of the next event: later than the last.
    fn tick(&mut self, time: Option<u64>) {
        self.events += 1;
        let time = match time {
            Some(time) if self.counted => time.saturating_mul(1000),
            _ if self.counted => 0,
            _ => self.events * 1000,
        };
        self.now = time.max(self.now + 1);
    }

    fn event(&mut self, event: TrackEvent) -> io::Result<()> {
        self.packets.event(self.now, event)
    }

    /// The number under which a task's tracks are kept.
    fn key(&self, task: u32) -> u32 {
        if self.tasks.len() < TASKS || self.tasks.contains_key(&task) { task } else { 0 }
    }

    fn task(&mut self, task: u32) -> io::Result<&mut Task> {
        if !self.tasks.contains_key(&task) {
            let name = if task == 0 { "no task".into() } else { format!("task {task}") };
            let packets = &mut self.packets;
            let stack = packets.track(
                &format!("kernel stack of {name}"),
                Some(self.stacks),
                TrackKind::Slices,
            )?;
            let depth = packets.track(
                &format!("bytes down to the last frame, {name}"),
                Some(self.stacks),
                TrackKind::Bytes,
            )?;
            let rings = packets.track(&name, Some(self.rings), TrackKind::Slices)?;
            let new = Task { stack, depth, rings, open: Vec::new(), top: None, ring: None };
            self.tasks.insert(task, new);
        }
        Ok(self.tasks.get_mut(&task).expect("it was just put there"))
    }

    /// The task runs in this ring from now on, and no other does.
    fn runs(&mut self, task: u32, ring: u8) -> io::Result<()> {
        if let Some(running) = self.running.filter(|running| *running != task) {
            let other = self.task(running)?;
            if other.ring.take().is_some() {
                let track = other.rings;
                self.event(TrackEvent::end(track))?;
            }
        }
        self.running = Some(task);
        let one = self.task(task)?;
        let (track, before) = (one.rings, one.ring.replace(ring));
        if before == Some(ring) {
            return Ok(());
        }
        if before.is_some() {
            self.event(TrackEvent::end(track))?;
        }
        self.event(TrackEvent::begin(track, &format!("ring {ring}")))
    }

    fn entry(&mut self, entry: &EntryRecord) -> io::Result<()> {
        self.tick(Some(entry.time));
        let name = event_name(entry.kind, entry.vector());
        let injected = matches!(entry.kind, Kind::External | Kind::Nmi);
        if injected {
            let event = TrackEvent::instant(self.interrupts, &name).flow(entry.sequence);
            self.event(event)?;
        }
        let key = self.key(entry.task);
        self.runs(key, entry.to_ring)?;
        let end = entry.frame.end();
        let outer = entry.from_outer_ring();
        // A frame that begins at or above those that lie there has taken their place.
        let one = self.task(key)?;
        let stale =
            one.open.iter().position(|open| open.end <= end || outer).unwrap_or(one.open.len());
        let (stack, depth) = (one.stack, one.depth);
        let closed = one.open.len() - stale;
        one.open.truncate(stale);
        if outer || one.top.is_none() {
            one.top = Some(end);
        }
        let used = one.top.unwrap_or(end).wrapping_sub(entry.frame.address);
        one.open.push(Open { end, sequence: entry.sequence });
        if one.open.len() > FRAMES {
            one.open.remove(0);
        }
        for _ in 0..closed {
            self.event(TrackEvent::end(stack))?;
        }
        let mut event = TrackEvent::begin(stack, &name)
            .count("entry", entry.sequence)
            .text("rings", &format!("{} to {}", entry.from_ring, entry.to_ring))
            .address("frame", entry.frame.address)
            .address("ESP0", entry.esp0)
            // From the injection, if it was one, and on to the IRET.
            .flow(entry.sequence);
        for (word, value) in entry.frame.words.iter().rev() {
            if let Some(value) = value {
                event = event.address(word.name(), *value);
            }
        }
        if let Some(name) = frame_names(&self.places, entry).interrupted {
            event = event.text("interrupted", &name);
        }
        let handler = entry.gate().map(|gate| gate.offset);
        if let Some(place) =
            handler.and_then(|handler| self.places.find(PlaceUse::Code, 0, handler))
        {
            event = event.text("handler", &place.to_string());
        }
        for finding in &entry.findings {
            event = event.text(&finding.rule, &finding.sentence);
        }
        self.event(event)?;
        self.event(TrackEvent::counter(depth, used.into()))
    }

    fn leave(&mut self, returning: &ReturnRecord) -> io::Result<()> {
        self.tick(Some(returning.time));
        let key = self.key(returning.task);
        let end = returning.frame.end();
        let one = self.task(key)?;
        let (stack, depth) = (one.stack, one.depth);
        let found = one.open.iter().rposition(|open| open.end == end);
        let popped = found.map(|index| one.open[index].sequence);
        // Frames below it went unpopped.
        let above = found.map_or(0, |index| one.open.len() - index - 1);
        let used = one.top.map_or(0, |top| top.wrapping_sub(end));
        if let Some(index) = found {
            one.open.truncate(index);
        }
        for _ in 0..above {
            self.event(TrackEvent::end(stack))?;
        }
        let mut event = TrackEvent::instant(stack, "IRET")
            .text("rings", &format!("{} to {}", returning.from_ring, returning.to_ring));
        if let Some(eip) = returning.frame.get(Word::Eip) {
            event = event.address("EIP", eip);
        }
        event = match popped {
            Some(sequence) => event.count("pops the frame of entry", sequence).flow_end(sequence),
            None => event.text("pops", "a frame that no entry pushed"),
        };
        for finding in &returning.findings {
            event = event.text(&finding.rule, &finding.sentence);
        }
        self.event(event)?;
        if popped.is_some() {
            self.event(TrackEvent::end(stack))?;
            self.event(TrackEvent::counter(depth, used.into()))?;
        }
        self.runs(key, returning.to_ring)
    }

    fn sysenter(&mut self, entry: &SysenterRecord) -> io::Result<()> {
        self.tick(Some(entry.time));
        let key = self.key(entry.task);
        self.runs(key, 0)?;
        let stack = self.task(key)?.stack;
        let mut event = TrackEvent::instant(stack, "SYSENTER").address("ESP", entry.esp);
        for finding in &entry.findings {
            event = event.text(&finding.rule, &finding.sentence);
        }
        self.event(event)
    }

    fn crossing(&mut self, crossing: &CrossingRecord) -> io::Result<()> {
        self.tick(Some(crossing.time));
        let key = self.key(crossing.task);
        self.runs(key, crossing.to_ring)?;
        let stack = self.task(key)?.stack;
        let name = if crossing.is_call() { "entry by a call gate" } else { "far RET" };
        let mut event = TrackEvent::instant(stack, name).address("ESP", crossing.esp);
        if let Some(gate) = crossing.gate {
            event = event.address("gate", gate.into());
        }
        for finding in &crossing.findings {
            event = event.text(&finding.rule, &finding.sentence);
        }
        self.event(event)
    }

    fn switch(&mut self, switch: &SwitchRecord) -> io::Result<()> {
        self.tick(Some(switch.time));
        let key = self.key(switch.task);
        let stack = self.task(key)?.stack;
        let name = match switch.by {
            SwitchBy::Jump | SwitchBy::Iret => "task switch",
            SwitchBy::Gate => "entry by a task gate",
        };
        let event = TrackEvent::instant(stack, name)
            .address("TR", switch.tr[1].into())
            .address("ESP0", switch.loaded.esp0);
        self.event(event)?;
        self.runs(key, switch.to_ring)
    }

    /// Closes what is open.
    fn end(mut self) -> io::Result<W> {
        self.now += 1;
        let mut open: Vec<(Track, usize)> = Vec::new();
        for task in self.tasks.values() {
            open.push((task.stack, task.open.len()));
            open.push((task.rings, usize::from(task.ring.is_some())));
        }
        open.sort_by_key(|(track, _)| track.0);
        for (track, count) in open {
            for _ in 0..count {
                self.event(TrackEvent::end(track))?;
            }
        }
        Ok(self.packets.into_inner())
    }
}

#[cfg(test)]
mod tests;
