//! What is claimed of what lies on a kernel stack: while its task waits, and while a handler runs.

use super::observation::{Happening, Observation};
use super::stacks::ChangeKind;
use super::switching::{Live, top};
use super::words::name;
use super::{Proof, given, missing, that};
use crate::entry::{Entry, Frame, Kind, TssWords};
use ia32::Vector;
use std::collections::{BTreeMap, BTreeSet};

fn same_words(one: &Frame, other: &Frame) -> bool {
    one.address == other.address && one.words().eq(other.words())
}

/// K5.
pub(super) fn preempted_in_a_call(observation: &Observation) -> Proof {
    let mut live = Live::default();
    // By stack: the call that lies on it, the interrupt that came, who was entered meanwhile.
    let mut waiting: BTreeMap<u32, (&Entry, &Entry, BTreeMap<u64, &Entry>)> = BTreeMap::new();
    let (mut interrupts, mut inside, mut calls, mut done) = (0, 0, 0, 0);
    let mut first = None;
    for moment in &observation.moments {
        let Some(top) = top(observation, moment) else { continue };
        if let Some(entry) = moment.entry() {
            if entry.kind == Kind::Software && entry.origin.ring == 3 {
                calls += 1;
                for (stack, (.., meanwhile)) in &mut waiting {
                    if *stack != top {
                        meanwhile.insert(entry.sequence, entry);
                    }
                }
            }
            if entry.kind == Kind::External {
                interrupts += 1;
                let call = live.on(top).iter().find(|call| call.kind == Kind::Software);
                if let (0, Some(call)) = (entry.origin.ring, call) {
                    inside += 1;
                    waiting.entry(top).or_insert((call, entry, BTreeMap::new()));
                }
            }
        }
        if let Some(returning) = moment.returning()
            && returning.ring() == 3
            && let Some((call, interrupt, meanwhile)) = waiting.remove(&top)
            && let Some(other) = meanwhile.values().next()
        {
            // EIP, CS, EFLAGS, ESP and SS are those of the call.
            that(same_words(&call.frame, &returning.frame), || {
                format!("{} at {:08x} is not what is popped", name(call), call.frame.address)
            })?;
            done += 1;
            first.get_or_insert_with(|| {
                format!(
                    "{} at {:08x} was interrupted in ring 0 by #{} at {:08x}; meanwhile {} landed at \
                     {:08x}; then the call's five words were popped unchanged",
                    name(call),
                    call.frame.address,
                    interrupt.sequence,
                    interrupt.frame.address,
                    name(other),
                    other.frame.address
                )
            });
        }
        live.follow(observation, moment);
    }
    let text = format!("{interrupts} interrupts, {inside} of them inside {calls} calls");
    given(interrupts > 9 && calls > 9, || text.clone())?;
    that(inside > 0, || text.clone())?;
    given(done > 0, || format!("{text}, and no other task made a call then"))?;
    Ok(format!("{}; so for {done} calls", first.unwrap_or_default()))
}

/// K6.
pub(super) fn suspended_stack_keeps(observation: &Observation) -> Proof {
    let mut live = Live::default();
    let (mut switches, mut held) = (0, BTreeSet::new());
    for moment in &observation.moments {
        // Until the first switch it is the stack of the stop before that is in use, and behind each
        // the one that it goes to.
        for switch in &moment.sight.trail.switches {
            switches += 1;
            for change in &switch.changes {
                let ran = observation.stacks.holding(switch.from).map(|stack| stack.top);
                let frames = live.on(change.top);
                if let (true, Some(frame), ChangeKind::Written { from, to }) =
                    (ran != Some(change.top), frames.first(), change.kind)
                {
                    that(false, || {
                        format!(
                            "{from:08x} to {to:08x} changed on the stack up to {:08x}, where {} lay \
                             suspended, by what ran on {:08x} till the switch at {:08x}",
                            change.top,
                            name(frame),
                            switch.from,
                            switch.at
                        )
                    })?;
                }
            }
            let others = observation.stacks.iter().map(|stack| stack.top);
            held.extend(others.filter(|top| !live.on(*top).is_empty()));
        }
        live.follow(observation, moment);
        for change in &moment.sight.changes {
            // Given back: what comes there next is another task's.
            if matches!(change.kind, ChangeKind::Unmapped | ChangeKind::Moved) {
                live.forget(change.top);
            }
        }
    }
    given(switches > 0 && held.len() > 1, || "no task was seen suspended in the kernel".into())?;
    let some: Vec<String> = held.iter().take(3).map(|top| format!("{top:08x}")).collect();
    Ok(format!(
        "at {switches} switches, each followed by instruction, no byte of the {} stacks with a frame on \
         them had changed but on the one in use: those up to {}",
        held.len(),
        some.join(", ")
    ))
}

/// Entries from ring 3 with the return that popped them, if no other stack was used in between.
fn unswitched(observation: &Observation) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut open: Option<(usize, u32)> = None;
    for (index, moment) in observation.moments.iter().enumerate() {
        let top = top(observation, moment);
        if open.is_some_and(|(_, stack)| top != Some(stack))
            || matches!(moment.event, Happening::Switch(_))
            || !moment.sight.trail.switches.is_empty()
        {
            open = None;
        }
        if let (Some(entry), Some(top)) = (moment.entry(), top)
            && entry.origin.ring == 3
        {
            open = Some((index, top));
        }
        if moment.returning().is_some_and(|returning| returning.ring() == 3)
            && let Some((first, _)) = open.take()
        {
            pairs.push((first, index));
        }
    }
    pairs
}

/// K7.
pub(super) fn context_at_a_switch_only(observation: &Observation) -> Proof {
    let mut count = 0;
    let mut first = None;
    for (entered, left) in unswitched(observation) {
        let (before, after) = (&observation.moments[entered], &observation.moments[left]);
        let Some(entry) = before.entry().filter(|entry| entry.kind == Kind::External) else {
            continue;
        };
        that(before.sight.tss == after.sight.tss, || {
            format!("{}: the TSS changed without a switch", name(entry))
        })?;
        that(after.sight.saved_contexts.is_empty(), || {
            format!(
                "{}: a copy of its EIP, CS and EFLAGS lies at {:08x}, and no task was switched",
                name(entry),
                after.sight.saved_contexts[0]
            )
        })?;
        count += 1;
        first.get_or_insert_with(|| name(entry));
    }
    let first = first.ok_or_else(missing("no interrupt came back without a switch"))?;
    let software = observation.moments.iter().flat_map(|moment| &moment.sight.trail.switches);
    let saved = software
        .map(|switch| (switch.from, switch.stored_at))
        .chain(observation.switches().map(|switch| {
            let at = switch.before.tr.base + 4 * TssWords::ESP as u32;
            (switch.stored.0[TssWords::ESP], Some(at))
        }))
        .find_map(|(esp, at)| Some((esp, at?)))
        .ok_or_else(missing("no switch was seen that saves something"))?;
    Ok(format!(
        "{first} and {} more interrupts left TSS and task record without a copy of the frame; at a \
         switch ESP {:08x} is stored at {:08x}",
        count - 1,
        saved.0,
        saved.1
    ))
}

/// K8.
pub(super) fn locals_on_this_stack(observation: &Observation) -> Proof {
    let mut count = 0;
    let mut deepest: Option<(u32, u32, String)> = None;
    for (entered, left) in unswitched(observation) {
        let Some(entry) = observation.moments[entered].entry() else { continue };
        let Some(top) = top(observation, &observation.moments[entered]) else { continue };
        let Some(stack) = observation.stacks.ending_at(top) else { continue };
        for moment in &observation.moments[entered + 1..=left] {
            // A call can make or free another task's stack; an interrupt's handler has no business there.
            let handler = entry.kind == Kind::External;
            for change in moment.sight.changes.iter().filter(|_| handler) {
                that(change.top == top, || {
                    format!(
                        "{} on the stack up to {top:08x} changed the one up to {:08x}",
                        name(entry),
                        change.top
                    )
                })?;
            }
            let Some(lowest) = moment.sight.trail.lowest else { continue };
            that(stack.contains(lowest), || {
                format!("{} on {:08x}-{top:08x}: ESP was {lowest:08x}", name(entry), stack.low)
            })?;
            count += 1;
            if deepest.as_ref().is_none_or(|(depth, ..)| top - lowest > *depth) {
                deepest = Some((top - lowest, lowest, name(entry)));
            }
        }
    }
    let (depth, lowest, entry) =
        deepest.ok_or_else(missing("no handler was followed instruction by instruction"))?;
    Ok(format!(
        "{count} handlers followed by instruction, each on the stack of its frame, no other changed; \
         deepest {entry}: ESP down to {lowest:08x}, {depth} bytes"
    ))
}

/// K8, altered.
pub(super) fn alter_lowest_esp(observation: &mut Observation) -> bool {
    for (entered, left) in unswitched(observation) {
        let Some(top) = top(observation, &observation.moments[entered]) else { continue };
        let Some(other) = observation.stacks.iter().find(|stack| stack.top != top) else {
            continue;
        };
        let elsewhere = other.top - 64;
        for moment in &mut observation.moments[entered + 1..=left] {
            if let Some(lowest) = &mut moment.sight.trail.lowest {
                *lowest = elsewhere;
                return true;
            }
        }
    }
    false
}

/// K9.
pub(super) fn interrupts_nest(observation: &Observation) -> Proof {
    let mut live = Live::default();
    let mut deepest: BTreeMap<usize, String> = BTreeMap::new();
    let mut faults = 0;
    for moment in &observation.moments {
        live.follow(observation, moment);
        let Some(entry) = moment.entry() else { continue };
        let Some(top) = top(observation, moment) else { continue };
        if entry.vector == Vector::PF && entry.origin.ring == 0 {
            faults += 1;
        }
        let frames = live.on(top);
        deepest.entry(frames.len()).or_insert_with(|| {
            let frames: Vec<String> = frames
                .iter()
                .map(|frame| format!("{} at {:08x}", name(frame), frame.frame.address))
                .collect();
            format!("up to {top:08x} {}", frames.join(", "))
        });
    }
    given(faults > 0, || "nothing interrupted the kernel while it handled an interrupt".into())?;
    let depth = deepest.keys().max().copied().unwrap_or(0);
    that(depth >= 3, || {
        format!("{faults} faults in ring 0, and never more than {depth} frames on a stack")
    })?;
    let texts: Vec<&str> =
        [2, 3].iter().filter_map(|n| deepest.get(n)).map(String::as_str).collect();
    Ok(format!("{} frames deep: {}", depth, texts.join("; ")))
}
