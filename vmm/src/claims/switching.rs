//! What is claimed of tasks, their stacks, and the switch from one to another.

use super::observation::{Happening, MASKS, Moment, Observation};
use super::stacks::ChangeKind;
use super::words::name;
use super::{Proof, given, missing, that};
use crate::entry::{Entry, Kind, TssWords};
use ia32::Word;
use std::collections::{BTreeMap, BTreeSet};

/// The end of the stack that a moment happened on.
pub(super) fn top(observation: &Observation, moment: &Moment) -> Option<u32> {
    let address = moment.stack_address();
    observation.stacks.iter().find(|stack| stack.contains(address)).map(|stack| stack.top)
}

/// The frames that were pushed and not popped yet, by stack.
#[derive(Default)]
pub(super) struct Live<'a>(BTreeMap<u32, Vec<&'a Entry>>);

impl<'a> Live<'a> {
    /// What lies on the stack that ends at `top`, the oldest first.
    pub(super) fn on(&self, top: u32) -> &[&'a Entry] {
        self.0.get(&top).map_or(&[], Vec::as_slice)
    }

    /// The stack is no more, and what lay on it neither.
    pub(super) fn forget(&mut self, top: u32) {
        self.0.remove(&top);
    }

    /// Takes in what happened at `moment`.
    pub(super) fn follow(&mut self, observation: &Observation, moment: &'a Moment) {
        let top = top(observation, moment);
        match (&moment.event, top) {
            (Happening::Entry(entry), Some(top)) => {
                let frames = self.0.entry(top).or_default();
                frames.retain(|older| older.frame.address >= entry.frame.end());
                frames.push(entry);
            }
            (Happening::Return(returning), Some(top)) => {
                let frames = self.0.entry(top).or_default();
                frames.retain(|older| older.frame.address > returning.frame.address);
            }
            (Happening::Switch(switch), _) if switch.ring() == 3 => {
                self.0.remove(&switch.new.inner_stack().esp);
            }
            _ => {}
        }
    }
}

/// What tells one process from another, from outside: its address space, by CR3 or by its LDT.
type Process = (u32, u16);

fn process(entry: &Entry) -> Process {
    (entry.after.cr3, entry.after.ldtr.selector)
}

fn process_name((cr3, ldt): Process) -> String {
    if ldt == 0 { format!("CR3 {cr3:08x}") } else { format!("LDT {ldt:04x}") }
}

/// K1.
pub(super) fn stack_each(observation: &Observation) -> Proof {
    let mut live = Live::default();
    let mut stacks: BTreeMap<Process, BTreeSet<u32>> = BTreeMap::new();
    for moment in &observation.moments {
        if let Some(entry) = moment.entry().filter(|entry| entry.origin.ring == 3)
            && let Some(top) = top(observation, moment)
        {
            if let Some(other) = live.on(top).iter().find(|other| process(other) != process(entry))
            {
                return that(false, || {
                    format!(
                        "{} of {} lands on the stack up to {top:08x}, where {} of {} still lies",
                        name(entry),
                        process_name(process(entry)),
                        name(other),
                        process_name(process(other))
                    )
                })
                .map(|()| String::new());
            }
            stacks.entry(process(entry)).or_default().insert(top);
        }
        live.follow(observation, moment);
    }
    given(stacks.len() > 1, || format!("{} processes were seen", stacks.len()))?;
    // Disjoint: the lowest word ever used of each lies above the end of the next.
    let mut lowest: BTreeMap<u32, u32> = BTreeMap::new();
    for moment in &observation.moments {
        if let Some(top) = top(observation, moment) {
            let low = lowest.entry(top).or_insert(top);
            *low = (*low).min(moment.stack_address());
        }
        for change in &moment.sight.changes {
            if let ChangeKind::Written { from, .. } = change.kind {
                let low = lowest.entry(change.top).or_insert(change.top);
                *low = (*low).min(from);
            }
        }
    }
    let ranges: Vec<(u32, u32)> = lowest.iter().map(|(top, low)| (*low, *top)).collect();
    for pair in ranges.windows(2) {
        that(pair[0].1 <= pair[1].0, || {
            format!("the stacks up to {:08x} and {:08x} overlap", pair[0].1, pair[1].1)
        })?;
    }
    let some: Vec<String> = stacks
        .iter()
        .take(3)
        .map(|(process, tops)| {
            let tops: Vec<String> = tops
                .iter()
                .map(|top| format!("{:08x}-{top:08x}", lowest.get(top).copied().unwrap_or(*top)))
                .collect();
            format!("{} on {}", process_name(*process), tops.join(" and "))
        })
        .collect();
    Ok(format!(
        "{} processes on {} stacks, none on one with another's frame, ranges disjoint: {}",
        stacks.len(),
        ranges.len(),
        some.join(", ")
    ))
}

/// A return to ring 3 that no entry on its stack led to: a task starts.
pub(super) struct Birth<'a> {
    /// Which moment.
    pub(super) index: usize,
    /// The end of its kernel stack.
    pub(super) top: u32,
    /// EIP and ESP that it starts with.
    pub(super) start: [u32; 2],
    /// Its page directory.
    pub(super) cr3: u32,
    /// The system call of another task that gave it its registers: EIP and ESP, as fork does, or EIP
    /// in a register, as one does that starts a thread.
    pub(super) creator: Option<(&'a Entry, Made)>,
}

/// How a task was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It starts where its creator goes on.
    Copy,
    /// It starts where its creator said.
    Told,
}

/// All tasks that start.
pub(super) fn births(observation: &Observation) -> Vec<Birth<'_>> {
    let mut live = Live::default();
    let mut calls: Vec<&Entry> = Vec::new();
    let mut births = Vec::new();
    for (index, moment) in observation.moments.iter().enumerate() {
        let start = match &moment.event {
            Happening::Return(returning) if returning.ring() == 3 => {
                let frame = &returning.frame;
                let words = [Word::Eip, Word::Esp].map(|word| frame.get(word).unwrap_or(0));
                top(observation, moment)
                    .filter(|top| live.on(*top).is_empty() && frame.end() == *top)
                    .map(|top| (top, words, returning.state.cr3))
            }
            Happening::Switch(switch) if switch.ring() == 3 => {
                let words = [TssWords::EIP, TssWords::ESP].map(|index| switch.new.0[index]);
                Some((switch.new.inner_stack().esp, words, switch.new.0[TssWords::CR3]))
            }
            _ => None,
        };
        if let Some((top, start, cr3)) = start {
            let creator = calls.iter().rev().find_map(|call| {
                let frame = [Word::Eip, Word::Esp].map(|word| call.frame.get(word).unwrap_or(0));
                if frame == start {
                    Some((*call, Made::Copy))
                } else if call.after.general.to_array().contains(&start[0]) {
                    Some((*call, Made::Told))
                } else {
                    None
                }
            });
            births.push(Birth { index, top, start, cr3, creator });
        }
        if let Some(entry) = moment.entry()
            && entry.kind == Kind::Software
            && entry.origin.ring == 3
        {
            calls.push(entry);
        }
        live.follow(observation, moment);
    }
    births
}

/// K2.
pub(super) fn threads_share(observation: &Observation) -> Proof {
    let mut threads = Vec::new();
    for birth in births(observation) {
        let Some((creator, Made::Told)) = birth.creator else { continue };
        let esp = creator.frame.get(Word::Esp).unwrap_or(0);
        let creator_top = creator.frame.end();
        let text = format!(
            "by {} (CR3 {:08x}, ESP0 {creator_top:08x}, ESP {esp:08x}) a thread at EIP {:08x}: CR3 \
             {:08x}, ESP0 {:08x}, ESP {:08x}",
            name(creator),
            creator.after.cr3,
            birth.start[0],
            birth.cr3,
            birth.top,
            birth.start[1]
        );
        let right = birth.cr3 == creator.after.cr3
            && birth.top != creator_top
            && birth.start[1] & !0xfff != esp & !0xfff;
        that(right, || text.clone())?;
        threads.push(text);
    }
    given(!threads.is_empty(), || "no thread was started".into())?;
    Ok(format!("{}; so for {} threads", threads[0], threads.len()))
}

/// K3.
pub(super) fn record_by_mask(observation: &Observation) -> Proof {
    let births: BTreeSet<usize> = births(observation).iter().map(|birth| birth.index).collect();
    let mut best: Option<String> = None;
    let mut why = String::new();
    for (number, size) in MASKS.into_iter().enumerate() {
        match records(observation, number, size, &births) {
            Ok(evidence) => {
                best.get_or_insert(evidence);
            }
            Err(reason) => why = format!("{why}{reason}; "),
        }
    }
    given(observation.stacks.iter().count() > 1, || "there is one stack only".into())?;
    that(best.is_some(), || format!("no mask finds records: {}", why.trim_end_matches("; ")))?;
    Ok(best.unwrap_or_default())
}

/// With blocks of `size`: each stack has words of its own at its start, the same as long as its task
/// lives.
fn records(
    observation: &Observation,
    number: usize,
    size: u32,
    births: &BTreeSet<usize>,
) -> Result<String, String> {
    let mask = !(size - 1);
    let mut known: BTreeMap<u32, [u32; 3]> = BTreeMap::new();
    let mut looked = 0;
    for (index, moment) in observation.moments.iter().enumerate() {
        let Some(top) = top(observation, moment) else { continue };
        for change in &moment.sight.changes {
            if matches!(change.kind, ChangeKind::Unmapped | ChangeKind::Moved) {
                known.remove(&change.top);
            }
        }
        if births.contains(&index) {
            known.remove(&top);
        }
        let words = moment.sight.masked[number]
            .ok_or_else(|| format!("mask {mask:08x}: nothing is mapped there"))?;
        let before = *known.entry(top).or_insert(words);
        if before != words {
            return Err(format!("mask {mask:08x}: the words for {top:08x} change"));
        }
        if let Some((other, _)) =
            known.iter().find(|(other, held)| **other != top && **held == words)
        {
            return Err(format!(
                "mask {mask:08x}: {:08x} {:08x} {:08x} for {other:08x} and {top:08x}",
                words[0], words[1], words[2]
            ));
        }
        looked += 1;
    }
    let some: Vec<String> = known
        .iter()
        .take(3)
        .map(|(top, words)| {
            format!(
                "{:08x} for the stack up to {top:08x}: {:08x} {:08x} {:08x}",
                (top - 1) & mask,
                words[0],
                words[1],
                words[2]
            )
        })
        .collect();
    Ok(format!(
        "ESP & {mask:08x}, at {looked} stops the same words for the same task, for each task others: {}",
        some.join(", ")
    ))
}

/// K4.
pub(super) fn switch_stores_and_loads(observation: &Observation) -> Proof {
    let mut count = 0;
    let mut first = None;
    for moment in &observation.moments {
        for switch in &moment.sight.trail.switches {
            let place = format!(
                "at {:08x} ESP goes from {:08x} to {:08x}",
                switch.at, switch.from, switch.to
            );
            that(switch.stored_at.is_some(), || format!("{place}, and the old value is nowhere"))?;
            count += 1;
            first.get_or_insert_with(|| {
                format!(
                    "{place}, {:08x} stands at {:08x}",
                    switch.from,
                    switch.stored_at.unwrap_or(0)
                )
            });
        }
        if let Happening::Switch(switch) = &moment.event {
            let (old, new) = (switch.before.general.esp, switch.new.0[TssWords::ESP]);
            let stored = switch.stored.0[TssWords::ESP];
            let place =
                format!("after #{} ESP goes from {old:08x} to {new:08x}", switch.after_sequence);
            that(stored == old, || format!("{place}, the old TSS holds {stored:08x}"))?;
            count += 1;
            first.get_or_insert_with(|| {
                format!(
                    "{place}, {old:08x} stands at {:08x}",
                    switch.before.tr.base + 4 * TssWords::ESP as u32
                )
            });
        }
    }
    let first = first.ok_or_else(missing("no switch from stack to stack was seen"))?;
    Ok(format!("{first}; so in {count} switches"))
}

/// K4, altered.
pub(super) fn alter_stored_esp(observation: &mut Observation) -> bool {
    for moment in &mut observation.moments {
        if let Some(switch) = moment.sight.trail.switches.first_mut() {
            switch.stored_at = None;
            return true;
        }
        if let Happening::Switch(switch) = &mut moment.event {
            switch.stored.0[TssWords::ESP] ^= 4;
            return true;
        }
    }
    false
}
