//! What is claimed of the processor.

use super::recording::{BELOW, Event, Moment, Recording};
use super::{Doubt, Judgement, given, missing, that};
use crate::entry::{Entry, Kind, TssWords};
use crate::trace::event_name;
use ia32::{Eflags, State, Vector, Word};
use std::collections::{BTreeMap, BTreeSet};

/// `#3 int 0x80`.
pub(super) fn name(entry: &Entry) -> String {
    format!("#{} {}", entry.sequence, event_name(entry.kind, entry.vector))
}

/// The word that lies `distance` bytes below ESP0.
fn word_below(moment: &Moment, distance: usize) -> Option<u32> {
    let at = BELOW - distance;
    let bytes = moment.sight.below?[at..at + 4].try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// Bytes that an entry from ring 3 pushes.
fn pushed(entry: &Entry) -> usize {
    if entry.frame.shape.error_code { 24 } else { 20 }
}

/// What EIP has to be pushed as, where the manual fixes it.
fn expected_eip(entry: &Entry, before: &State) -> Option<u32> {
    match entry.kind {
        Kind::Software => Some(before.eip.wrapping_add(2)),
        Kind::Fault | Kind::External | Kind::Nmi => Some(before.eip),
        Kind::Trap | Kind::Abort | Kind::Unexplained => None,
    }
}

/// The pushed EFLAGS are those before. RF has rules of its own, which `check` knows, with what is
/// known to be wrong with it in the processor model below.
fn same_flags(moment: &Moment, pushed: u32, before: &State) -> bool {
    (pushed ^ before.eflags.0) & !Eflags::RF.0 == 0
        && !moment.findings.iter().any(|finding| finding.rule == "pushed_words")
}

/// `, 12 with external-pushes-rf-1`: what of it is a known deviation.
fn deviations<'a>(moments: impl Iterator<Item = &'a Moment>) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for name in moments.flat_map(|moment| &moment.deviations) {
        *counts.entry(name).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("; {count} with {name}")).collect()
}

/// Entries from ring 3 whose state before was seen.
fn exact(recording: &Recording) -> impl Iterator<Item = (&Entry, &Moment, &State)> {
    recording
        .from_ring_3()
        .filter_map(|(entry, moment)| Some((entry, moment, entry.before.as_deref()?)))
}

/// Pairs of a return to ring 3 and the entry that came next, on the same TSS and ESP0: no kernel
/// code has run in between.
fn undisturbed(recording: &Recording) -> impl Iterator<Item = (&Moment, &Moment)> {
    recording.moments.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let same = before.sight.tss_base == after.sight.tss_base;
        let to_ring_3 = before.returning().is_some_and(|returning| returning.ring() == 3);
        let from_ring_3 = after.entry().is_some_and(|entry| entry.origin.ring == 3);
        (same && to_ring_3 && from_ring_3).then_some((before, after))
    })
}

/// H1.
pub(super) fn five_words(recording: &Recording) -> Judgement {
    let mut first = None;
    let mut count = 0;
    for (entry, moment, before) in exact(recording) {
        let word = |distance| word_below(moment, distance);
        let words = [word(4), word(8), word(12), word(16), word(20)];
        let [Some(ss), Some(esp), Some(eflags), Some(cs), Some(eip)] = words else { continue };
        let expected = expected_eip(entry, before);
        let right = ss as u16 == before.ss().selector
            && esp == before.general.esp
            && same_flags(moment, eflags, before)
            && cs as u16 == before.cs().selector
            && expected.is_none_or(|expected| expected == eip);
        that(right, || {
            format!(
                "{}: below ESP0 lie {ss:08x} {esp:08x} {eflags:08x} {cs:08x} {eip:08x}, the state \
                 before was {:04x} {:08x} {:08x} {:04x} {:08x}",
                name(entry),
                before.ss().selector,
                before.general.esp,
                before.eflags.0,
                before.cs().selector,
                expected.unwrap_or(eip),
            )
        })?;
        count += 1;
        first.get_or_insert_with(|| {
            format!(
                "{} at {:08x}: SS {ss:04x} ESP {esp:08x} EFLAGS {eflags:08x} CS {cs:04x} EIP \
                 {eip:08x}",
                name(entry),
                entry.frame.address,
            )
        });
    }
    let first = first.ok_or_else(missing("no entry from ring 3 whose state before was seen"))?;
    let mut around = 0;
    for (left, entered) in undisturbed(recording) {
        let Some(entry) = entered.entry() else { continue };
        let (Some(was), Some(is)) = (left.sight.below, entered.sight.below) else { continue };
        let end = BELOW - pushed(entry);
        that(was[..end] == is[..end] && left.sight.above == entered.sight.above, || {
            format!(
                "{}: bytes beside the frame at {:08x} changed",
                name(entry),
                entry.frame.address
            )
        })?;
        around += 1;
    }
    given(around > 0, || "no entry came straight after a return".into())?;
    Ok(format!(
        "{first}; so in {count} entries, and around {around} frames no byte changed{}",
        deviations(exact(recording).map(|(_, moment, _)| moment))
    ))
}

/// H1, altered.
pub(super) fn alter_pushed_esp(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| entry.origin.ring == 3 && entry.before.is_some(),
        |_, sight| {
            if let Some(below) = &mut sight.below {
                below[BELOW - 8] ^= 4;
            }
        },
    )
}

/// Alters the first entry that fits.
fn alter_entry(
    recording: &mut Recording,
    fits: impl Fn(&Entry, &super::Sight) -> bool,
    alter: impl Fn(&mut Entry, &mut super::Sight),
) -> bool {
    for moment in &mut recording.moments {
        if let Event::Entry(entry) = &mut moment.event
            && fits(entry, &moment.sight)
        {
            alter(entry, &mut moment.sight);
            return true;
        }
    }
    false
}

/// H2.
pub(super) fn three_words(recording: &Recording) -> Judgement {
    let mut first = None;
    let mut count = 0;
    let entries = || recording.entries().filter(|(entry, _)| entry.origin.ring == 0);
    for (entry, moment) in entries() {
        let Some(before) = entry.before.as_deref() else { continue };
        let size = if entry.frame.shape.error_code { 16 } else { 12 };
        let (from, to) = (before.general.esp, entry.after.general.esp);
        let word = |word| entry.frame.get(word).unwrap_or(0);
        let (eflags, cs, eip) = (word(Word::Eflags), word(Word::Cs), word(Word::Eip));
        let right = before.ss().selector == entry.after.ss().selector
            && from.wrapping_sub(to) == size
            && same_flags(moment, eflags, before)
            && cs as u16 == before.cs().selector
            && expected_eip(entry, before).is_none_or(|expected| expected == eip);
        let text = || {
            format!(
                "{}: SS {:04x} and {:04x}, ESP {from:08x} and {to:08x}, EFLAGS {eflags:08x} CS \
                 {cs:04x} EIP {eip:08x}",
                name(entry),
                before.ss().selector,
                entry.after.ss().selector,
            )
        };
        that(right, || format!("{}, not {size} bytes of the state before", text()))?;
        count += 1;
        first.get_or_insert_with(text);
    }
    let first = first.ok_or_else(missing("no entry from ring 0 whose state before was seen"))?;
    Ok(format!("{first}; so in {count} entries{}", deviations(entries().map(|(_, moment)| moment))))
}

/// H2, altered.
pub(super) fn alter_ring_0_esp(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| entry.origin.ring == 0 && entry.before.is_some(),
        |entry, _| entry.after.general.esp -= 8,
    )
}

/// H3.
pub(super) fn stack_from_tss(recording: &Recording) -> Judgement {
    let mut stacks: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for (entry, moment) in recording.from_ring_3() {
        let Some(tss) = moment.sight.tss else { continue };
        let stack = tss.inner_stack();
        let end = entry.after.general.esp.wrapping_add(entry.frame.shape.size());
        that((entry.after.ss().selector, end) == (stack.ss, stack.esp), || {
            format!(
                "{}: on {:04x}:{end:08x}, the TSS at {:08x} names {:04x}:{:08x}",
                name(entry),
                entry.after.ss().selector,
                moment.sight.tss_base,
                stack.ss,
                stack.esp
            )
        })?;
        stacks.entry(stack.esp).or_insert((entry.sequence, moment.sight.tss_base)).1 =
            moment.sight.tss_base;
    }
    given(stacks.len() > 1, || format!("entries on {} stacks, not on several", stacks.len()))?;
    let some: Vec<String> = stacks
        .iter()
        .take(3)
        .map(|(esp0, (sequence, tss))| format!("#{sequence} {esp0:08x} from the TSS at {tss:08x}"))
        .collect();
    let count = recording.from_ring_3().count();
    Ok(format!("{count} entries on {} stacks: {}", stacks.len(), some.join(", ")))
}

/// H3, altered.
pub(super) fn alter_tss_esp0(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| entry.origin.ring == 3,
        |_, sight| {
            if let Some(tss) = &mut sight.tss {
                tss.0[TssWords::ESP0] += 4;
            }
        },
    )
}

/// H4.
pub(super) fn tss_never_written(recording: &Recording) -> Judgement {
    let (mut entries, mut switches) = (0, 0);
    let mut first = None;
    for (left, entered) in undisturbed(recording) {
        let (Some(was), Some(is)) = (left.sight.tss, entered.sight.tss) else { continue };
        let Some(entry) = entered.entry() else { continue };
        that(was == is, || {
            let index = (0..26).find(|index| was.0[*index] != is.0[*index]).unwrap_or(0);
            format!(
                "{}: the word at TSS+{:#x} was {:08x} and is {:08x}",
                name(entry),
                index * 4,
                was.0[index],
                is.0[index]
            )
        })?;
        entries += 1;
        first.get_or_insert_with(|| {
            format!(
                "{}: SS0:ESP0 {:04x}:{:08x} before and after",
                name(entry),
                was.inner_stack().ss,
                was.inner_stack().esp
            )
        });
    }
    for switch in recording.switches() {
        that(switch.old.inner_stack() == switch.stored.inner_stack(), || {
            format!("the switch after #{} changed SS0:ESP0", switch.after_sequence)
        })?;
        switches += 1;
    }
    let first = first.ok_or_else(missing("no entry came straight after a return"))?;
    let hardware =
        if switches > 0 { format!(", and over {switches} task switches") } else { String::new() };
    Ok(format!("{first}; all 104 bytes the same over {entries} entries{hardware}"))
}

/// H4, altered: as if the CPU had stored its stack pointer.
pub(super) fn alter_stored_esp0(recording: &mut Recording) -> bool {
    let mut last_left = false;
    for moment in &mut recording.moments {
        if let (Event::Entry(entry), true) = (&moment.event, last_left)
            && entry.origin.ring == 3
            && let Some(tss) = &mut moment.sight.tss
        {
            tss.0[TssWords::ESP0] = entry.after.general.esp;
            return true;
        }
        last_left = moment.returning().is_some_and(|returning| returning.ring() == 3);
    }
    false
}

/// H5.
pub(super) fn stack_is_empty(recording: &Recording) -> Judgement {
    let mut counts = [0; 2];
    let mut first: [Option<String>; 2] = [None, None];
    for (entry, moment) in recording.from_ring_3() {
        let Some(tss) = moment.sight.tss else { continue };
        let esp0 = tss.inner_stack().esp;
        let esp = entry.after.general.esp;
        let size = pushed(entry) as u32;
        that(esp0.wrapping_sub(esp) == size, || {
            format!("{}: ESP {esp:08x} is not ESP0 {esp0:08x} less {size}", name(entry))
        })?;
        let kind = usize::from(size == 24);
        counts[kind] += 1;
        first[kind]
            .get_or_insert_with(|| format!("{}: ESP {esp:08x} = {esp0:08x} - {size}", name(entry)));
    }
    given(counts[0] > 0, || "no entry from ring 3".into())?;
    let first = first.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{first}; so in {} entries, {} with an error code",
        counts[0] + counts[1],
        counts[1]
    ))
}

/// H5, altered.
pub(super) fn alter_esp(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| entry.origin.ring == 3,
        |entry, _| {
            entry.after.general.esp -= 4;
        },
    )
}

const REGISTERS: [&str; 8] = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];

/// H6.
pub(super) fn registers_are_kept(recording: &Recording) -> Judgement {
    let mut count = 0;
    let mut first = None;
    for (entry, _, before) in exact(recording) {
        let (was, is) = (before.general.to_array(), entry.after.general.to_array());
        for (index, register) in REGISTERS.into_iter().enumerate() {
            // ESP has gone to the stack, and the kernel's is there instead.
            let is = if index == 4 { entry.frame.get(Word::Esp).unwrap_or(0) } else { is[index] };
            that(was[index] == is, || {
                format!("{}: {register} was {:08x} and is {is:08x}", name(entry), was[index])
            })?;
        }
        count += 1;
        first.get_or_insert_with(|| {
            let [eax, ecx, edx, ebx, _, ebp, esi, edi] = is;
            format!(
                "{}: EAX {eax:08x} ECX {ecx:08x} EDX {edx:08x} EBX {ebx:08x} EBP {ebp:08x} ESI \
                 {esi:08x} EDI {edi:08x} before and after",
                name(entry)
            )
        });
    }
    let first = first.ok_or_else(missing("no entry from ring 3 whose state before was seen"))?;
    Ok(format!("{first}, ESP in the frame; so in {count} entries"))
}

/// H6, altered.
pub(super) fn alter_ebx(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| entry.origin.ring == 3 && entry.before.is_some(),
        |entry, _| {
            entry.after.general.ebx ^= 1;
        },
    )
}

/// H7.
pub(super) fn call_is_an_interrupt(recording: &Recording) -> Judgement {
    let mut by_stack: BTreeMap<u32, [Option<&Entry>; 2]> = BTreeMap::new();
    let mut pairs = 0;
    let mut first = None;
    for (entry, moment, before) in exact(recording) {
        let kind = match entry.kind {
            Kind::Software => 0,
            Kind::External => 1,
            _ => continue,
        };
        let eflags = entry.frame.get(Word::Eflags).unwrap_or(0);
        that(same_flags(moment, eflags, before), || format!("{}: EFLAGS", name(entry)))?;
        let esp0 = moment.inner_stack().esp;
        let seen = by_stack.entry(esp0).or_default();
        seen[kind] = Some(entry);
        let [Some(call), Some(interrupt)] = *seen else { continue };
        let words = |word| [call.frame.get(word), interrupt.frame.get(word)];
        let ([ss, other_ss], [cs, other_cs]) = (words(Word::Ss), words(Word::Cs));
        let same = call.frame.address == interrupt.frame.address
            && call.frame.shape == interrupt.frame.shape
            && ss == other_ss
            && cs == other_cs;
        let text = |entry: &Entry| {
            let word = |word| entry.frame.get(word).unwrap_or(0);
            format!(
                "{} at {:08x}: {:04x} {:08x} {:08x} {:04x} {:08x}",
                name(entry),
                entry.frame.address,
                word(Word::Ss),
                word(Word::Esp),
                word(Word::Eflags),
                word(Word::Cs),
                word(Word::Eip)
            )
        };
        that(same, || format!("{} and {}", text(call), text(interrupt)))?;
        pairs += 1;
        first.get_or_insert_with(|| format!("{}; {}", text(call), text(interrupt)));
    }
    let first = first.ok_or_else(missing("no task had both a system call and an interrupt"))?;
    Ok(format!("{first}; {pairs} pairs on one stack each, same places, same SS and CS"))
}

/// H7, altered.
pub(super) fn alter_interrupt_frame(recording: &mut Recording) -> bool {
    let mut called = BTreeSet::new();
    for moment in &mut recording.moments {
        let esp0 = moment.inner_stack().esp;
        let Event::Entry(entry) = &mut moment.event else { continue };
        if entry.origin.ring != 3 || entry.before.is_none() {
            continue;
        }
        if entry.kind == Kind::Software {
            called.insert(esp0);
        } else if entry.kind == Kind::External && called.contains(&esp0) {
            entry.frame.address -= 4;
            return true;
        }
    }
    false
}

/// What an instruction would have chosen the stack by.
fn chooses_the_stack(code: &[u8]) -> Option<&'static str> {
    let prefixes = code.iter().take_while(|byte| matches!(byte, 0x66 | 0x67 | 0x3e)).count();
    let [0x0f, second, rest @ ..] = &code[prefixes..] else { return None };
    match (second, rest.first().map(|modrm| modrm >> 3 & 7)) {
        (0x00, Some(3)) => Some("LTR"),
        (0x01, Some(2)) => Some("LGDT"),
        _ => None,
    }
}

const WRITE: &str = "a write to the page of a TSS";

/// H8.
pub(super) fn only_ring_0_chooses(recording: &Recording) -> Judgement {
    // Page frames, since a TSS can be mapped at other addresses too.
    let page = |physical: u64| physical >> 12;
    let pages: BTreeSet<u64> =
        recording.moments.iter().filter_map(|moment| moment.sight.tss_physical.map(page)).collect();
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    for (left, entered) in undisturbed(recording) {
        let Some(entry) = entered.entry() else { continue };
        let instruction = chooses_the_stack(entry.code.instruction());
        let what = if let (Vector::GP, Some(instruction)) = (entry.vector, instruction) {
            instruction
        } else if entry.vector == Vector::PF
            && entry.frame.get(Word::ErrorCode) == Some(7)
            && entered.sight.cr2.1.is_some_and(|access| pages.contains(&page(access.physical)))
        {
            WRITE
        } else {
            continue;
        };
        let same = left.sight.tss == entered.sight.tss
            && left.sight.tss_base == entered.sight.tss_base
            && left.sight.tables == entered.sight.tables;
        that(same, || format!("{}: {what} had an effect", name(entry)))?;
        let eip = entry.frame.get(Word::Eip).unwrap_or(0);
        let code = entry.frame.get(Word::ErrorCode).unwrap_or(0);
        let at = match what {
            WRITE => format!(" at {:08x}", entry.after.cr2),
            _ => String::new(),
        };
        refused.entry(what).or_insert_with(|| {
            format!("{what}{at}, EIP {eip:08x}: {}, error code {code:x}", name(entry))
        });
    }
    let all = ["LTR", "LGDT", WRITE];
    let lacking: Vec<&str> = all.into_iter().filter(|what| !refused.contains_key(what)).collect();
    given(lacking.is_empty(), || format!("ring 3 did not try: {}", lacking.join(", ")))?;
    let refused: Vec<String> = refused.into_values().collect();
    Ok(format!("{}; TR, GDTR and the TSS as before", refused.join("; ")))
}

/// H8, altered.
pub(super) fn alter_gdtr(recording: &mut Recording) -> bool {
    alter_entry(
        recording,
        |entry, _| {
            entry.vector == Vector::GP && chooses_the_stack(entry.code.instruction()).is_some()
        },
        |_, sight| sight.tables[0].base += 8,
    )
}

/// What differs between a frame and the state behind the IRET that popped it.
fn not_given_back(frame: &crate::entry::Frame, state: &State) -> Option<String> {
    let flags = |value: u32| value & !Eflags::RF.0;
    let pairs = [
        (Word::Ss, u32::from(state.ss().selector), frame.selector(Word::Ss).map(u32::from)),
        (Word::Esp, state.general.esp, frame.get(Word::Esp)),
        (Word::Eflags, flags(state.eflags.0), frame.get(Word::Eflags).map(flags)),
        (Word::Cs, u32::from(state.cs().selector), frame.selector(Word::Cs).map(u32::from)),
        (Word::Eip, state.eip, frame.get(Word::Eip)),
    ];
    pairs.into_iter().find(|(_, got, popped)| Some(*got) != *popped).map(|(word, got, popped)| {
        format!("{} is {got:08x}, the frame held {:08x}", word.name(), popped.unwrap_or(0))
    })
}

/// H9.
pub(super) fn iret_gives_back(recording: &Recording) -> Judgement {
    let mut live: BTreeMap<u32, &Entry> = BTreeMap::new();
    let (mut irets, mut interrupts, mut calls) = (0, 0, 0);
    let mut first = None;
    for moment in &recording.moments {
        if let Some(entry) = moment.entry().filter(|entry| entry.origin.ring == 3) {
            live.insert(entry.frame.end(), entry);
        }
        let Some(returning) = moment.returning().filter(|returning| returning.ring() == 3) else {
            continue;
        };
        let frame = &returning.frame;
        let place = format!("the IRET after #{}", returning.after_sequence);
        if let Some(state) = moment.resumed.as_deref() {
            if let Some(difference) = not_given_back(frame, state) {
                return Err(Doubt::Refuted(format!("{place}: {difference}")));
            }
            irets += 1;
        }
        // A frame with the same EIP is the one that was pushed. With another a program was started,
        // or a call's result is elsewhere.
        let Some(entry) = live.remove(&frame.end()) else { continue };
        if entry.frame.get(Word::Eip) != frame.get(Word::Eip) {
            continue;
        }
        for word in [Word::Ss, Word::Esp, Word::Eflags, Word::Cs] {
            let (pushed, popped) = (entry.frame.get(word), frame.get(word));
            that(pushed == popped, || {
                format!(
                    "{place}: {} pushed {} {:08x}, {:08x} is popped",
                    name(entry),
                    word.name(),
                    pushed.unwrap_or(0),
                    popped.unwrap_or(0)
                )
            })?;
        }
        if entry.kind != Kind::External {
            calls += 1;
            continue;
        }
        let (Some(before), Some(state)) = (entry.before.as_deref(), moment.resumed.as_deref())
        else {
            continue;
        };
        let (was, is) = (before.general.to_array(), state.general.to_array());
        that(was == is, || {
            let index = (0..8).find(|index| was[*index] != is[*index]).unwrap_or(0);
            format!(
                "{place}: {} was {:08x} before {} and is {:08x}",
                REGISTERS[index],
                was[index],
                name(entry),
                is[index]
            )
        })?;
        interrupts += 1;
        first.get_or_insert_with(|| {
            format!(
                "{} and its IRET: SS {:04x} ESP {:08x} EFLAGS {:08x} CS {:04x} EIP {:08x} behind \
                 it, as before",
                name(entry),
                state.ss().selector,
                state.general.esp,
                state.eflags.0,
                state.cs().selector,
                state.eip
            )
        });
    }
    let first = first.ok_or_else(missing("no interrupt of ring 3 was returned from"))?;
    Ok(format!(
        "{first}; {irets} IRETs gave what the frame held, {interrupts} interrupts changed nothing, \
         {calls} calls and faults kept stack and flags"
    ))
}

/// Bytes that one round of a repeated string instruction moves.
fn repeated(code: &[u8]) -> Option<u32> {
    match code {
        [0xf3, 0xa4 | 0xaa, ..] => Some(1),
        [0xf3, 0xa5 | 0xab, ..] => Some(4),
        _ => None,
    }
}

/// H10.
pub(super) fn string_instruction_resumes(recording: &Recording) -> Judgement {
    let mut seen: Vec<(u64, u32, u32)> = Vec::new();
    let mut waiting: Option<(&Entry, u32)> = None;
    for moment in &recording.moments {
        if let Some(entry) = moment.entry() {
            let size = moment.sight.code.and_then(|(code, _)| repeated(&code));
            let (Some(size), Some(before)) = (size, entry.before.as_deref()) else { continue };
            if entry.kind != Kind::External || entry.origin.ring != 3 {
                continue;
            }
            let eip = entry.frame.get(Word::Eip).unwrap_or(0);
            that(eip == before.eip, || format!("{}: EIP {eip:08x}", name(entry)))?;
            let rf = entry.frame.get(Word::Eflags).is_some_and(|eflags| eflags & Eflags::RF.0 != 0);
            let end = before.general.edi.wrapping_add(before.general.ecx.wrapping_mul(size));
            // At its first round nothing has been done yet, and RF means nothing.
            let begun = seen.last().is_some_and(|(.., at)| *at == end);
            that(rf || !begun, || format!("{}: RF is 0", name(entry)))?;
            if let Some((sequence, ecx, _)) = seen.last().filter(|_| begun) {
                that(before.general.ecx < *ecx, || {
                    format!(
                        "{}: ECX is {:x}, at #{sequence} it was {ecx:x}",
                        name(entry),
                        before.general.ecx
                    )
                })?;
            }
            seen.push((entry.sequence, before.general.ecx, end));
            waiting = Some((entry, size));
        } else if let (Some((entry, _)), Some(state)) = (waiting, moment.resumed.as_deref())
            && moment.stack_address() == entry.frame.address
        {
            waiting = None;
            let before = entry.before.as_deref().unwrap_or(state);
            let same = state.general == before.general && state.eip == before.eip;
            that(same, || {
                format!(
                    "{}: it goes on with ECX {:x} at {:08x}, it was left with {:x} at {:08x}",
                    name(entry),
                    state.general.ecx,
                    state.eip,
                    before.general.ecx,
                    before.eip
                )
            })?;
        }
    }
    // Of one instruction: all have the same end.
    let mut by_end: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
    for (sequence, ecx, end) in seen {
        by_end.entry(end).or_default().push((sequence, ecx));
    }
    let (end, rounds) = by_end
        .into_iter()
        .max_by_key(|(_, rounds)| rounds.len())
        .filter(|(_, rounds)| rounds.len() > 1)
        .ok_or_else(missing("no repeated string instruction was interrupted twice"))?;
    let text: Vec<String> =
        rounds.iter().take(4).map(|(sequence, ecx)| format!("#{sequence} ECX {ecx:x}")).collect();
    Ok(format!(
        "interrupted {} times at one EIP, RF 1: {}; each time EDI + what is left is {end:08x}, and \
         it goes on with the same registers",
        rounds.len(),
        text.join(", ")
    ))
}
