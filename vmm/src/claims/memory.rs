//! What is claimed of the memory of kernel and programs.

use super::observation::{Happening, Moment, Observation};
use super::scenario::Ends;
use super::stacks::ChangeKind;
use super::switching::{Live, Made, births, top};
use super::words::name;
use super::{Proof, given, missing, that};
use crate::entry::{Entry, Kind, SwitchCause, TssWords};
use crate::run::Ending;
use ia32::{Vector, Word};
use std::collections::{BTreeMap, BTreeSet};

/// Bits of a page fault's error code.
const PRESENT: u32 = 1;
const USER: u32 = 4;

/// K10.
pub(super) fn overflow_is_caught(observation: &Observation) -> Proof {
    let state = &observation.end.state;
    given(observation.ends == Ends::InFailure, || "no kernel stack overflowed".into())?;
    for stack in observation.stacks.iter() {
        that(stack.guarded && stack.top - stack.low == 8192, || {
            format!(
                "the stack up to {:08x} has {} bytes, and the page below is {}",
                stack.top,
                stack.top - stack.low,
                if stack.guarded { "not mapped" } else { "mapped" }
            )
        })?;
    }
    // The switch by the task gate is a moment as well.
    let by_gate = |moment: &&Moment| match &moment.event {
        Happening::Switch(switch) => matches!(switch.cause, SwitchCause::Gate { .. }),
        _ => false,
    };
    let before = observation.moments.iter().rev().find(|moment| !by_gate(moment));
    let tss_before = before.map(|moment| moment.sight.tss_base);
    that(tss_before != Some(state.tr.base), || {
        format!("no task switch came: {}, ESP {:08x}", observation.end.ending, state.general.esp)
    })?;
    let left = observation.last.backlink.ok_or_else(missing("the task before is not known"))?;
    let esp0 = left.inner_stack().esp;
    let stack = observation
        .stacks
        .ending_at(esp0)
        .ok_or_else(missing("the stack that overflowed is not known"))?;
    let guard = stack.low - 4096..stack.low;
    that(guard.contains(&state.cr2) && observation.last.cr2.is_none(), || {
        format!("CR2 {:08x} is not in the guard page below {:08x}", state.cr2, stack.low)
    })?;
    that(observation.stacks.iter().all(|stack| !stack.contains(state.general.esp)), || {
        format!("ESP {:08x} is on a task's stack", state.general.esp)
    })?;
    Ok(format!(
        "stacks of 8192 bytes, {} of them; that of {:08x}-{esp0:08x} was left at ESP {:08x}, EIP \
         {:08x}, CR2 {:08x} in the unmapped page below; then TR {:04x} and ESP {:08x} on no task's \
         stack; its TSS names ESP0 {esp0:08x}, the task",
        observation.stacks.iter().count(),
        stack.low,
        left.0[TssWords::ESP],
        left.0[TssWords::EIP],
        state.cr2,
        state.tr.selector,
        state.general.esp
    ))
}

/// K11.
pub(super) fn user_stack_grows(observation: &Observation) -> Proof {
    let mut waiting: BTreeMap<u32, (&Entry, u32)> = BTreeMap::new();
    let mut grown: Vec<(u64, u32)> = Vec::new();
    let mut most = 0;
    for moment in &observation.moments {
        most = most.max(moment.sight.user_pages_below);
        let Some(top) = top(observation, moment) else { continue };
        if let Some(entry) = moment.entry().filter(|entry| entry.origin.ring == 3) {
            let cr2 = entry.after.cr2;
            let code = entry.frame.get(Word::ErrorCode).unwrap_or(0);
            let below = entry.frame.get(Word::Esp).is_some_and(|esp| cr2 >> 12 < esp >> 12);
            let absent = code & (PRESENT | USER) == USER && moment.sight.cr2.1.is_none();
            if entry.vector == Vector::PF && below && absent {
                waiting.insert(top, (entry, cr2));
            } else {
                waiting.remove(&top);
            }
        }
        if moment.returning().is_some_and(|returning| returning.ring() == 3)
            && let Some((entry, cr2)) = waiting.remove(&top)
            && moment.sight.cr2.0 == cr2
            && moment.sight.cr2.1.is_some_and(|access| access.user)
        {
            grown.push((entry.sequence, cr2));
        }
    }
    if grown.is_empty() {
        that(most < 8, || format!("{most} pages below ESP were there without a fault"))?;
    }
    let (Some(first), Some(last)) = (grown.first(), grown.last()) else {
        return given(false, || "no program used its stack below its pages".into())
            .map(|()| String::new());
    };
    let lowest = grown.iter().map(|(_, cr2)| *cr2).min().unwrap_or(0);
    // Beyond the limit it faults, and does not come back.
    let refused = waiting
        .values()
        .find(|(_, cr2)| *cr2 < lowest)
        .ok_or_else(missing("no stack was used beyond its limit"))?;
    Ok(format!(
        "#{} #PF at {:08x}, not mapped, and mapped at the IRET; so {} pages down to {:08x} at #{}; \
         {} at {:08x} was not resolved",
        first.0,
        first.1,
        grown.len(),
        lowest,
        last.0,
        name(refused.0),
        refused.1
    ))
}

/// K12.
pub(super) fn kernel_memory_is_closed(observation: &Observation) -> Proof {
    let last = &observation.last;
    if let Some(page) = last.open_pages.first() {
        that(false, || {
            format!("the page at {page:08x}, where no program runs, is open to ring 3")
        })?;
    }
    let mut refused = Vec::new();
    for (entry, moment) in observation.from_ring_3() {
        let code = entry.frame.get(Word::ErrorCode).unwrap_or(0);
        if entry.vector != Vector::PF || code & (PRESENT | USER) != PRESENT | USER {
            continue;
        }
        // A write to a page that is read-only, but ring 3's, is something else.
        let Some(access) = moment.sight.cr2.1.filter(|access| !access.user) else { continue };
        let how = if code & 2 == 0 { "read" } else { "write" };
        refused.push(format!(
            "#{} {how} of {:08x} (physical {:x}, supervisor): #PF, error code {code:x}",
            entry.sequence, entry.after.cr2, access.physical
        ));
    }
    given(!refused.is_empty(), || "ring 3 did not try".into())?;
    let closed = if last.closed_pages > 0 {
        format!("; all {} pages of the kernel's part are supervisor pages", last.closed_pages)
    } else {
        String::new()
    };
    Ok(format!("{}; {} times{closed}", refused[..refused.len().min(2)].join(", "), refused.len()))
}

/// K13.
pub(super) fn nothing_is_trusted(observation: &Observation) -> Proof {
    let ending = &observation.end.ending;
    that(*ending == Ending::PoweredOff, || format!("the kernel did not survive: {ending}"))?;
    let mut live: BTreeMap<u32, (&Entry, Option<u32>, Option<u32>)> = BTreeMap::new();
    let (mut pointers, mut stacks) = (Vec::new(), Vec::new());
    for moment in &observation.moments {
        let Some(top) = top(observation, moment) else { continue };
        if let Some(entry) = moment.entry().filter(|entry| entry.origin.ring == 3) {
            that(moment.findings.is_empty(), || format!("{} has a finding", name(entry)))?;
            let call = entry.kind == Kind::Software;
            let bad = moment.sight.bad_pointer.filter(|_| call);
            live.insert(top, (entry, bad, moment.sight.bad_stack));
        }
        if let Some(returning) = moment.returning().filter(|returning| returning.ring() == 3)
            && let Some((entry, pointer, stack)) = live.remove(&top)
            && entry.frame.get(Word::Eip) == returning.frame.get(Word::Eip)
        {
            let eax = returning.state.general.eax;
            if let Some(address) = pointer {
                let text = format!("{} with address {address:08x} gives {eax:08x}", name(entry));
                that((-4095..0).contains(&eax.cast_signed()), || text.clone())?;
                pointers.push(text);
            }
            if stack.is_some() {
                let esp = entry.frame.get(Word::Esp).unwrap_or(0);
                let popped = returning.frame.get(Word::Esp);
                let text = format!(
                    "{} with ESP {esp:08x} lands at {:08x}, {:08x} is given back",
                    name(entry),
                    entry.frame.address,
                    popped.unwrap_or(0)
                );
                that(popped == entry.frame.get(Word::Esp), || text.clone())?;
                stacks.push(text);
            }
        }
    }
    given(!pointers.is_empty(), || "no bad pointer was passed".into())?;
    given(!stacks.is_empty(), || "ring 3 entered with no bad ESP".into())?;
    Ok(format!(
        "{}, {} in all; {}, {} in all; the kernel ran to its end",
        pointers[0],
        pointers.len(),
        stacks[0],
        stacks.len()
    ))
}

/// K14.
pub(super) fn one_way_to_user_memory(observation: &Observation) -> Proof {
    let mut places: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let mut steps = 0;
    for moment in &observation.moments {
        steps += moment.sight.trail.steps;
        for used in &moment.sight.trail.user {
            places.entry(used.at).or_insert((used.address, 0)).1 += 1;
        }
    }
    given(!places.is_empty(), || "ring 0 was not followed, or touched no user memory".into())?;
    let text: Vec<String> = places
        .iter()
        .map(|(at, (address, count))| format!("{at:08x} ({count} times, first {address:08x})"))
        .collect();
    let (first, last) = (places.keys().min(), places.keys().max());
    let span = first.zip(last).map_or(0, |(first, last)| last - first);
    // One routine: its instructions are next to each other.
    that(span < 64, || format!("user memory is used at {}", text.join(", ")))?;
    Ok(format!(
        "of {steps} instructions of ring 0 those at {} touch memory of ring 3: one routine of {span} \
         bytes",
        text.join(" and ")
    ))
}

/// K15. What fork gives its parent, and what its parent is given when the child has been waited for,
/// is the same number.
pub(super) fn zombie_keeps_its_stack(observation: &Observation) -> Proof {
    let moments = &observation.moments;
    let births = births(observation);
    let mut kept = Vec::new();
    let mut used = BTreeSet::new();
    for birth in &births {
        let Some((creator, Made::Copy)) = birth.creator else { continue };
        let next = births
            .iter()
            .filter(|later| later.top == birth.top && later.index > birth.index)
            .map(|later| later.index)
            .min()
            .unwrap_or(moments.len());
        let mut live = Live::default();
        let mut last = birth.index;
        for (index, moment) in moments.iter().enumerate().take(next) {
            live.follow(observation, moment);
            if index > birth.index && top(observation, moment) == Some(birth.top) {
                last = index;
            }
        }
        // It has ended if its last entry was never returned from. What is seen at the next stop is
        // its own work yet.
        let Some(exit) = live.on(birth.top).first() else { continue };
        let change = (last + 2..moments.len()).find_map(|index| {
            let changes = &moments[index].sight.changes;
            changes.iter().find(|change| change.top == birth.top).map(|change| (index, change.kind))
        });
        let Some((index, kind)) = change else { continue };
        let text = format!(
            "{} was the end of a task, its stack up to {:08x} is {} by #{}",
            name(exit),
            birth.top,
            text_of(kind),
            moments[index].sequence()
        );
        // Memory that is given back need not change until it is used again.
        let parent = creator.frame.end();
        let mut reapings = reapings(observation, parent, birth.start);
        reapings.retain(|one| one.ended > last && one.began < index && !used.contains(one));
        // Best the one that is under way at the change.
        let under_way = reapings.iter().find(|one| one.ended >= index);
        let reaping = under_way.or(reapings.first()).copied();
        used.extend(reaping);
        that(reaping.is_some(), || {
            format!("{text}, and no call has given its parent the number of a child that has ended")
        })?;
        let Some(Reaping { began, number, .. }) = reaping else { continue };
        if began > last + 1 {
            kept.push(format!(
                "{text}, {} stops later, and not before the call {} that gives its parent {number:x}, \
                 as fork did",
                index - last,
                moments[began].entry().map_or_else(String::new, name)
            ));
        }
    }
    let first = kept.first().ok_or_else(missing("no task was a zombie for a while"))?;
    Ok(format!("{first}; so for {} zombies", kept.len()))
}

/// A system call that gave the parent a child's number again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reaping {
    parent: u32,
    /// The moments of its entry and its return.
    began: usize,
    ended: usize,
    number: u32,
}

/// The reapings by the task whose kernel stack ends at `parent` and that forks at the place `start`.
fn reapings(observation: &Observation, parent: u32, start: [u32; 2]) -> Vec<Reaping> {
    let mut call = None;
    let mut reapings = Vec::new();
    for (index, moment) in observation.moments.iter().enumerate() {
        let outermost =
            moment.frame().is_some_and(|frame| frame.shape.changes_stack && frame.end() == parent);
        match &moment.event {
            Happening::Entry(entry) if outermost => {
                call = (entry.kind == Kind::Software).then_some(index);
            }
            Happening::Return(returning) if outermost => {
                let number = returning.state.general.eax;
                if let Some(began) = call.take()
                    && given_before(observation, parent, start, began).contains(&number)
                {
                    reapings.push(Reaping { parent, began, ended: index, number });
                }
            }
            _ => {}
        }
    }
    reapings
}

/// The numbers that the calls of `parent` from the place `start` have given before the moment `until`.
fn given_before(
    observation: &Observation,
    parent: u32,
    start: [u32; 2],
    until: usize,
) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for moment in &observation.moments[..until] {
        let Some(returning) = moment.returning() else { continue };
        let words = [Word::Eip, Word::Esp].map(|word| returning.frame.get(word).unwrap_or(0));
        let eax = returning.state.general.eax;
        if returning.frame.end() == parent && words == start && eax.cast_signed() > 0 {
            numbers.insert(eax);
        }
    }
    numbers
}

fn text_of(kind: ChangeKind) -> String {
    match kind {
        ChangeKind::Written { from, to } => format!("written at {from:08x}-{to:08x}"),
        ChangeKind::Unmapped => "unmapped".into(),
        ChangeKind::Moved => "in another page frame".into(),
    }
}
