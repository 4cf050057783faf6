//! What is claimed of Linux 0.12.

use super::observation::{Happening, Moment, Observation};
use super::words::name;
use super::{Proof, given, missing, that};
use crate::entry::Entry;
use ia32::{Table, Vector, Word};
use std::collections::BTreeMap;

const PAGE: u32 = 4096;
const MIB: u32 = 1 << 20;

/// The number of the task whose TSS a selector selects: TSS descriptors begin at the fifth, two
/// entries apart.
fn task(tr: u16) -> u32 {
    u32::from(tr.saturating_sub(0x20)) / 16
}

/// SS0:ESP0.
fn stack(moment: &Moment) -> (u16, u32) {
    let stack = moment.inner_stack();
    (stack.ss, stack.esp)
}

fn count(observation: &Observation) -> usize {
    observation.from_ring_3().count()
}

/// L1.
pub(super) fn four_stacks(observation: &Observation) -> Proof {
    let [boot, initial] = &observation.stack_loads[..] else {
        return given(!observation.stack_loads.is_empty(), || "no stack was loaded".into())
            .and_then(|()| {
                that(false, || format!("{} stacks were loaded", observation.stack_loads.len()))
            })
            .map(|()| String::new());
    };
    let pair = |state: &ia32::State| (state.ss().selector, state.general.esp);
    let (ss, sp) = pair(&boot.after);
    that(!boot.after.protected() && (ss, sp) == (0x9000, 0xff00), || {
        format!("the boot stack is {ss:04x}:{sp:04x}")
    })?;
    let (selector, end) = pair(&initial.after);
    that(initial.after.protected() && selector == 0x10, || {
        format!("the initial stack is {selector:04x}:{end:08x}")
    })?;
    let first = observation.returns().next().ok_or_else(missing("there is no return"))?;
    that((end - PAGE..end).contains(&first.frame.address), || {
        format!("ring 0 is left on {:08x}, not on the initial stack", first.frame.address)
    })?;
    // From then on ring 0 is on the page of some task.
    let mut pages = BTreeMap::new();
    for (entry, _) in observation.entries() {
        let page = entry.after.tr.base & !(PAGE - 1);
        that((page..page + PAGE).contains(&entry.frame.address), || {
            format!("{} is on no task's page: {:08x}", name(entry), entry.frame.address)
        })?;
        pages.entry(page).or_insert(entry.sequence);
    }
    let user = observation
        .from_ring_3()
        .filter_map(|(entry, _)| Some((entry, entry.ldt_stack?)))
        .next_back()
        .ok_or_else(missing("no user stack was seen"))?;
    let (page, sequence) = pages.iter().next().ok_or_else(missing("there is no entry"))?;
    Ok(format!(
        "boot {ss:04x}:{sp:04x} in real mode; initial {selector:04x}:{end:08x}, left by IRET at \
         {:08x}; kernel stacks in {} pages, first {page:08x} at #{sequence}; user stacks, last \
         {:08x} at #{}",
        first.frame.address,
        pages.len(),
        user.1,
        user.0.sequence
    ))
}

/// L2.
pub(super) fn one_page(observation: &Observation) -> Proof {
    let mut pages = BTreeMap::new();
    for (entry, moment) in observation.from_ring_3() {
        let page = moment.sight.tss_base & !(PAGE - 1);
        that(stack(moment) == (0x10, page + PAGE), || {
            let (ss, esp) = stack(moment);
            format!(
                "{}: SS0:ESP0 {ss:04x}:{esp:08x}, the TSS lies at {:08x}",
                name(entry),
                moment.sight.tss_base
            )
        })?;
        pages.entry(page).or_insert((entry.sequence, moment.sight.tss_base));
    }
    given(pages.len() > 1, || format!("{} tasks were seen", pages.len()))?;
    let some: Vec<String> = pages
        .iter()
        .take(2)
        .map(|(page, (sequence, tss))| {
            format!(
                "#{sequence} TSS {tss:08x} in page {page:08x}, SS0:ESP0 0010:{:08x}",
                page + PAGE
            )
        })
        .collect();
    Ok(format!(
        "{}; so in {} entries on {} pages",
        some.join(", "),
        count(observation),
        pages.len()
    ))
}

/// L3.
pub(super) fn kernel_spans_16_mib(observation: &Observation) -> Proof {
    for (entry, moment) in observation.entries() {
        for (segment, selector) in [(entry.after.cs(), 0x08), (entry.after.ss(), 0x10)] {
            let got = (segment.selector, segment.base, segment.limit);
            that(got == (selector, 0, 16 * MIB - 1), || {
                format!("{}: {:04x} base {:x} limit {:x}", name(entry), got.0, got.1, got.2)
            })?;
        }
        let esp0 = moment.inner_stack().esp;
        that(esp0 <= 16 * MIB, || format!("{}: ESP0 {esp0:08x} is beyond", name(entry)))?;
    }
    given(count(observation) > 0, || "there is no entry".into())?;
    let tops = || observation.from_ring_3().map(|(_, moment)| moment.inner_stack().esp);
    Ok(format!(
        "CS 0008 and SS 0010: base 0, limit 00ffffff in {} entries; ESP0 from {:08x} to {:08x}",
        observation.entries().count(),
        tops().min().unwrap_or(0),
        tops().max().unwrap_or(0)
    ))
}

/// L4.
pub(super) fn initial_stack_becomes_task_0s(observation: &Observation) -> Proof {
    let first = observation.returns().next().ok_or_else(missing("there is no return"))?;
    let load = observation.stack_loads.last().ok_or_else(missing("no stack was loaded"))?;
    let end = load.after.general.esp;
    let esp = first.frame.get(Word::Esp).ok_or_else(missing("the frame is not mapped"))?;
    that((end - PAGE..end).contains(&esp), || {
        format!("task 0 starts on {esp:08x}, the initial stack ends at {end:08x}")
    })?;
    let mut seen = 0;
    for (entry, _) in observation.from_ring_3().filter(|(one, _)| one.after.tr.selector == 0x20) {
        that(entry.ldt_stack == Some(esp), || {
            format!("{}: task 0 is on {:08x}", name(entry), entry.ldt_stack.unwrap_or(0))
        })?;
        seen += 1;
    }
    given(seen > 0, || "task 0 made no entry".into())?;
    Ok(format!(
        "initial stack loaded as {:04x}:{end:08x}, ESP {esp:08x} in the first IRET's frame, and in \
         each of the {seen} entries of task 0",
        load.after.ss().selector
    ))
}

/// L5.
pub(super) fn hand_made_frame(observation: &Observation) -> Proof {
    let first = observation.returns().next().ok_or_else(missing("there is no return"))?;
    that(first.after_sequence == 0, || {
        format!(
            "the first IRET comes after #{}: ring 3 was reached otherwise",
            first.after_sequence
        )
    })?;
    let word = |word| first.frame.get(word).unwrap_or(0);
    that((word(Word::Ss), word(Word::Cs)) == (0x17, 0x0f), || {
        format!("SS and CS are {:x} and {:x}", word(Word::Ss), word(Word::Cs))
    })?;
    that(word(Word::Eflags) & 0x200 != 0 && first.frame.shape.count() == 5, || {
        format!("{} words, EFLAGS {:08x}", first.frame.shape.count(), word(Word::Eflags))
    })?;
    Ok(format!(
        "the first IRET, before any entry, at {:08x}: SS {:04x} ESP {:08x} EFLAGS {:08x} CS {:04x} \
         EIP {:08x}",
        first.frame.address,
        word(Word::Ss),
        word(Word::Esp),
        word(Word::Eflags),
        word(Word::Cs),
        word(Word::Eip)
    ))
}

/// L6.
pub(super) fn bases_64_mib_apart(observation: &Observation) -> Proof {
    let mut bases = BTreeMap::new();
    for (entry, _) in observation.from_ring_3() {
        let (ss, cs) = (entry.frame.selector(Word::Ss), entry.frame.selector(Word::Cs));
        that((ss, cs) == (Some(0x17), Some(0x0f)), || {
            format!("{}: SS {:x?} CS {:x?}", name(entry), ss, cs)
        })?;
        let number = task(entry.after.tr.selector);
        let offsets = [entry.frame.get(Word::Esp), entry.frame.get(Word::Eip)];
        for (linear, offset) in [entry.ldt_stack, entry.code.linear].into_iter().zip(offsets) {
            let base = linear.zip(offset).map(|(linear, offset)| linear.wrapping_sub(offset));
            that(base == Some(number * 64 * MIB), || {
                format!("{}: task {number} has base {:08x}", name(entry), base.unwrap_or(0))
            })?;
        }
        let ldt = ia32::Selector(entry.after.ldtr.selector);
        that(ldt.0 == entry.after.tr.selector + 8 && ldt.table() == Table::Gdt, || {
            format!("{}: LDTR {:04x}", name(entry), ldt.0)
        })?;
        bases.entry(number).or_insert((entry.sequence, entry.ldt_stack.unwrap_or(0), offsets[0]));
    }
    given(bases.len() > 2, || format!("{} tasks were seen", bases.len()))?;
    let some: Vec<String> = bases
        .iter()
        .map(|(number, (sequence, linear, esp))| {
            format!("#{sequence} task {number}: {linear:08x} = base + {:08x}", esp.unwrap_or(0))
        })
        .collect();
    Ok(format!("{}; so in {} entries", some.join(", "), count(observation)))
}

/// L7. Seen where the state before an event was: in ring 3.
pub(super) fn first_tasks_reach_640_kib(observation: &Observation) -> Proof {
    let mut seen = [0; 2];
    for before in observation.from_ring_3().filter_map(|(entry, _)| entry.before.as_deref()) {
        let number = task(before.tr.selector) as usize;
        if number > 1 {
            continue;
        }
        seen[number] += 1;
        for segment in [before.cs(), before.ss()] {
            that(segment.limit == 640 * 1024 - 1, || {
                format!("task {number}: limit {:x}", segment.limit)
            })?;
        }
    }
    given(seen[0] > 0 && seen[1] > 0, || "tasks 0 and 1 were not both seen".into())?;
    // Code at the same offsets lies in the same page frames.
    let mut frames: [BTreeMap<u32, u64>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for (entry, moment) in observation.from_ring_3() {
        let number = task(entry.after.tr.selector) as usize;
        if let (0..=1, Some(eip), Some((_, physical))) =
            (number, entry.frame.get(Word::Eip), moment.sight.code)
        {
            frames[number].insert(eip / PAGE, physical / u64::from(PAGE));
        }
    }
    let mut shared = Vec::new();
    for (page, frame) in &frames[0] {
        let Some(other) = frames[1].get(page) else { continue };
        that(frame == other, || {
            format!("the page at offset {:x} is frame {frame:x} and {other:x}", page * PAGE)
        })?;
        shared.push(format!("offset {:x} is physical {:x} to both", page * PAGE, frame << 12));
    }
    given(!shared.is_empty(), || "no page was used by both".into())?;
    Ok(format!(
        "limit 0009ffff in {} and {} states of tasks 0 and 1; {}",
        seen[0],
        seen[1],
        shared.join(", ")
    ))
}

/// L8. A child starts in ring 3, and its first entry lands at ESP0.
pub(super) fn children_start_with_empty_stacks(observation: &Observation) -> Proof {
    let mut children = Vec::new();
    let mut new = BTreeMap::new();
    // A task that is switched to for the first time and stands in ring 0 was given a stack to stand on.
    let mut known = vec![0x20];
    for moment in &observation.moments {
        match &moment.event {
            Happening::Switch(switch) => {
                let first = !known.contains(&switch.new_tss);
                that(!first || switch.ring() == 3, || {
                    format!(
                        "the task at {:08x} starts in ring 0, on {:08x}",
                        switch.new_tss,
                        switch.stack_address()
                    )
                })?;
                known.push(switch.new_tss);
                known.push(switch.before.tr.base);
                if switch.ring() == 3 {
                    new.insert(switch.selector.0, switch.new.inner_stack());
                }
            }
            Happening::Entry(entry) => {
                let Some(stack) = new.remove(&entry.after.tr.selector) else { continue };
                let esp0 = moment.inner_stack().esp;
                that(entry.frame.end() == stack.esp && esp0 == stack.esp, || {
                    format!(
                        "{} is at {:08x}, not below {:08x}",
                        name(entry),
                        entry.frame.address,
                        stack.esp
                    )
                })?;
                children.push(format!("#{} {:04x}:{:08x}", entry.sequence, stack.ss, stack.esp));
            }
            Happening::Return(_) => {}
        }
    }
    given(!children.is_empty(), || "no child started in ring 3".into())?;
    Ok(format!(
        "{} children start in ring 3, and their first entries are right below ESP0: {}",
        children.len(),
        children[..children.len().min(4)].join(", ")
    ))
}

/// L9. Task 1's first entry is a write to a page that is there and may not be written to: its
/// stack's.
pub(super) fn first_push_takes_a_page(observation: &Observation) -> Proof {
    let at = observation
        .moments
        .iter()
        .position(|moment| {
            moment
                .entry()
                .is_some_and(|entry| entry.origin.ring == 3 && entry.after.tr.selector == 0x30)
        })
        .ok_or_else(missing("there is no task 1"))?;
    let moment = &observation.moments[at];
    let first = moment.entry().ok_or_else(missing("there is no task 1"))?;
    let cause = (first.vector, first.frame.get(Word::ErrorCode));
    that(cause == (Vector::PF, Some(7)), || {
        format!("task 1's first entry is {}, not a write to a page that it shares", name(first))
    })?;
    let cr2 = first.after.cr2;
    let below = first.ldt_stack.unwrap_or(0).wrapping_sub(cr2);
    that((1..=PAGE).contains(&below), || format!("{} writes to {cr2:08x}", name(first)))?;
    let shared = moment.sight.cr2.1.ok_or_else(missing("the page is not mapped"))?;
    let after = observation.moments[at..]
        .iter()
        .find(|moment| moment.returning().is_some())
        .and_then(|moment| moment.sight.cr2.1.filter(|_| moment.sight.cr2.0 == cr2))
        .ok_or_else(missing("the return was not seen"))?;
    that(after.physical != shared.physical && after.writable && !shared.writable, || {
        format!("{}: the page stays at {:x}", name(first), shared.physical)
    })?;
    Ok(format!(
        "#{} #PF W=1 P=1 at {cr2:08x}: read-only at physical {:x}, writable at {:x} behind it",
        first.sequence, shared.physical, after.physical
    ))
}

/// L10. It would fault: its stack is read-only since fork.
pub(super) fn task_0_writes_nothing(observation: &Observation) -> Proof {
    let entries = || observation.from_ring_3().filter(|(entry, _)| entry.after.tr.selector == 0x20);
    let fault = entries().find(|(entry, _)| entry.vector == Vector::PF);
    that(fault.is_none(), || {
        fault.map_or(String::new(), |(entry, _)| {
            format!("{} is a write of task 0 to {:08x}", name(entry), entry.after.cr2)
        })
    })?;
    let first = observation
        .from_ring_3()
        .find(|(entry, _)| entry.after.tr.selector == 0x30 && entry.vector == Vector::PF)
        .map(|(entry, _)| entry.sequence)
        .ok_or_else(missing("task 1 wrote to no shared page"))?;
    let pointers: Vec<u32> = entries().filter_map(|(entry, _)| entry.ldt_stack).collect();
    let esp = *pointers.first().ok_or_else(missing("task 0 made no entry"))?;
    that(pointers.iter().all(|other| *other == esp), || "task 0's ESP changes".to_owned())?;
    Ok(format!(
        "ESP {esp:08x} in all {} entries of task 0, none a #PF; the page is read-only from fork to \
         task 1's push at #{first}",
        pointers.len()
    ))
}

/// L11.
pub(super) fn user_stacks_at_the_end(observation: &Observation) -> Proof {
    let mut seen: BTreeMap<u32, (&Entry, u32)> = BTreeMap::new();
    let mut entries = 0;
    let programs = observation
        .from_ring_3()
        .filter(|(entry, _)| task(entry.after.tr.selector) > 1)
        // A program may load anything into ESP.
        .filter(|(_, moment)| moment.sight.bad_stack.is_none())
        .filter_map(|(entry, _)| entry.ldt_stack.map(|stack| (entry, stack)))
        // Programs are linked to 0; what has not called exec runs in the kernel's text.
        .filter(|(entry, _)| entry.frame.get(Word::Eip).is_some_and(|eip| eip < 0x1_0000));
    for (entry, stack) in programs {
        let number = task(entry.after.tr.selector);
        let end = (number + 1) * 64 * MIB;
        that((end - 2 * PAGE..end).contains(&stack), || {
            format!(
                "{}: task {number}'s user stack is at {stack:08x}, its end {end:08x}",
                name(entry)
            )
        })?;
        entries += 1;
        seen.entry(number).or_insert((entry, stack));
    }
    given(!seen.is_empty(), || "no program was started by exec".into())?;
    let some: Vec<String> = seen
        .iter()
        .map(|(number, (entry, stack))| {
            format!(
                "#{} task {number} at {stack:08x}, {:#x} below its end",
                entry.sequence,
                (number + 1) * 64 * MIB - stack
            )
        })
        .collect();
    Ok(format!("{}; so in {entries} entries", some.join(", ")))
}

/// L12. TR changes by far jumps and nothing else, and each task's ESP0 stays what it was.
pub(super) fn switches_leave_esp0_alone(observation: &Observation) -> Proof {
    let mut running = None;
    // By TSS, since numbers and pages are used again.
    let mut known: BTreeMap<u32, u32> = BTreeMap::new();
    let mut check = |base: u32, esp0: u32, place: String| {
        let before = *known.entry(base).or_insert(esp0);
        that(before == esp0, || {
            format!("{place}: ESP0 in the TSS at {base:08x} was {before:08x}, is {esp0:08x}")
        })
    };
    let mut first = None;
    for moment in &observation.moments {
        match &moment.event {
            Happening::Entry(entry) => {
                let tr = entry.after.tr.selector;
                let before = *running.get_or_insert(tr);
                that(tr == before, || format!("{}: TR {tr:04x}, was {before:04x}", name(entry)))?;
                check(entry.after.tr.base, moment.inner_stack().esp, name(entry))?;
            }
            Happening::Switch(switch) => {
                let place = format!("the switch after #{}", switch.after_sequence);
                let tr = switch.before.tr.selector;
                that(running.is_none_or(|running| running == tr), || {
                    format!("{place}: TR {tr:04x}")
                })?;
                that(switch.tr == switch.selector, || format!("{place} did not load TR"))?;
                running = Some(switch.tr.0);
                check(switch.before.tr.base, switch.stored.inner_stack().esp, place)?;
                first.get_or_insert_with(|| {
                    format!(
                        "after #{} TR {tr:04x} becomes {:04x}, ESP0 {:08x} stays in the old TSS, ESP \
                         {:08x} is stored there",
                        switch.after_sequence,
                        switch.tr.0,
                        switch.stored.inner_stack().esp,
                        switch.stored.0[crate::entry::TssWords::ESP]
                    )
                });
            }
            Happening::Return(_) => {}
        }
    }
    let first = first.ok_or_else(missing("there was no task switch by hardware"))?;
    Ok(format!("{first}; so in {} switches", observation.switches().count()))
}
