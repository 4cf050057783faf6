//! What is claimed of the processor: what an entry pushes, where, and what it leaves alone.

use super::observation::{BELOW, Happening, Moment, Observation};
use super::words::{alter_entry, name, undisturbed};
use super::{Proof, given, missing, that};
use crate::entry::{Entry, Expected, Kind, TssWords};
use ia32::{Eflags, Word};
use std::collections::{BTreeMap, BTreeSet};

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

/// `got` is what the model says that `word` is pushed as, from the state before. RF has rules of its own, which
/// `check` knows, with what is known to be wrong with it in the processor model below.
fn is_pushed(moment: &Moment, expected: &Expected, word: Word, got: u32) -> bool {
    let Some((value, defined)) = expected.word(word) else { return false };
    match word {
        Word::Eflags => {
            (got ^ value) & defined & !Eflags::RF.0 == 0
                && !moment.findings.iter().any(|finding| finding.rule == "pushed_words")
        }
        _ => (got ^ value) & defined == 0,
    }
}

/// `, 12 with external-pushes-rf-1`: what of it is a known deviation.
fn deviations<'a>(moments: impl Iterator<Item = &'a Moment>) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for name in moments.flat_map(|moment| &moment.deviations) {
        *counts.entry(name).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("; {count} with {name}")).collect()
}

/// Entries from ring 3 whose state before was seen, and what the model says of them.
fn exact(observation: &Observation) -> impl Iterator<Item = (&Entry, &Moment, &Expected)> {
    observation
        .from_ring_3()
        .filter_map(|(entry, moment)| Some((entry, moment, entry.expected.as_deref()?)))
}

/// What the model says that is pushed, from SS on; for a text.
fn words_of(expected: &Expected) -> String {
    let word =
        |word| expected.word(word).map(|(value, defined)| format!("{:08x}", value & defined));
    PUSHED.into_iter().filter_map(word).collect::<Vec<_>>().join(" ")
}

/// The words of a frame from an outer ring, from ESP0 downwards.
const PUSHED: [Word; 5] = [Word::Ss, Word::Esp, Word::Eflags, Word::Cs, Word::Eip];

/// H1.
pub(super) fn five_words(observation: &Observation) -> Proof {
    let mut first = None;
    let mut count = 0;
    for (entry, moment, expected) in exact(observation) {
        let word = |distance| word_below(moment, distance);
        let words = [word(4), word(8), word(12), word(16), word(20)];
        let [Some(ss), Some(esp), Some(eflags), Some(cs), Some(eip)] = words else { continue };
        let got = [ss, esp, eflags, cs, eip];
        let right =
            PUSHED.into_iter().zip(got).all(|(word, got)| is_pushed(moment, expected, word, got));
        that(right, || {
            format!(
                "{}: below ESP0 lie {ss:08x} {esp:08x} {eflags:08x} {cs:08x} {eip:08x}, the model says {}",
                name(entry),
                words_of(expected),
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
    for (left, entered) in undisturbed(observation) {
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
        deviations(exact(observation).map(|(_, moment, _)| moment))
    ))
}

/// H1, altered.
pub(super) fn alter_pushed_esp(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| entry.origin.ring == 3 && entry.before.is_some(),
        |_, sight| {
            if let Some(below) = &mut sight.below {
                below[BELOW - 8] ^= 4;
            }
        },
    )
}

/// H2.
pub(super) fn three_words(observation: &Observation) -> Proof {
    let mut first = None;
    let mut count = 0;
    let entries = || observation.entries().filter(|(entry, _)| entry.origin.ring == 0);
    for (entry, moment) in entries() {
        let (Some(before), Some(expected)) = (entry.before.as_deref(), entry.expected.as_deref())
        else {
            continue;
        };
        let size = if entry.frame.shape.error_code { 16 } else { 12 };
        let (from, to) = (before.general.esp, entry.after.general.esp);
        let word = |word| entry.frame.get(word).unwrap_or(0);
        let (eflags, cs, eip) = (word(Word::Eflags), word(Word::Cs), word(Word::Eip));
        let right = before.ss().selector == entry.after.ss().selector
            && from.wrapping_sub(to) == size
            && expected.state().general.esp == to
            && is_pushed(moment, expected, Word::Eflags, eflags)
            && is_pushed(moment, expected, Word::Cs, cs)
            && is_pushed(moment, expected, Word::Eip, eip);
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
pub(super) fn alter_ring_0_esp(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| entry.origin.ring == 0 && entry.before.is_some(),
        |entry, _| entry.after.general.esp -= 8,
    )
}

/// H3.
pub(super) fn stack_from_tss(observation: &Observation) -> Proof {
    let mut stacks: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for (entry, moment) in observation.from_ring_3() {
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
    let count = observation.from_ring_3().count();
    Ok(format!("{count} entries on {} stacks: {}", stacks.len(), some.join(", ")))
}

/// H3, altered.
pub(super) fn alter_tss_esp0(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| entry.origin.ring == 3,
        |_, sight| {
            if let Some(tss) = &mut sight.tss {
                tss.0[TssWords::ESP0] += 4;
            }
        },
    )
}

/// H4.
pub(super) fn tss_never_written(observation: &Observation) -> Proof {
    let (mut entries, mut switches) = (0, 0);
    let mut first = None;
    for (left, entered) in undisturbed(observation) {
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
    for switch in observation.switches() {
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
pub(super) fn alter_stored_esp0(observation: &mut Observation) -> bool {
    let mut last_left = false;
    for moment in &mut observation.moments {
        if let (Happening::Entry(entry), true) = (&moment.event, last_left)
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
pub(super) fn stack_is_empty(observation: &Observation) -> Proof {
    let mut counts = [0; 2];
    let mut first: [Option<String>; 2] = [None, None];
    for (entry, moment) in observation.from_ring_3() {
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
pub(super) fn alter_esp(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| entry.origin.ring == 3,
        |entry, _| {
            entry.after.general.esp -= 4;
        },
    )
}

/// H6.
pub(super) fn registers_are_kept(observation: &Observation) -> Proof {
    let mut count = 0;
    let mut first = None;
    for (entry, _, expected) in exact(observation) {
        let Some(before) = entry.before.as_deref() else { continue };
        let (was, is) = (before.general.to_array(), entry.after.general.to_array());
        let model = expected.state().general.to_array();
        for (index, register) in ia32::General::NAMES.into_iter().enumerate() {
            // ESP has gone to the stack, and the kernel's is there instead.
            let kept = index == 4 && entry.frame.get(Word::Esp) == Some(was[4])
                || index != 4 && was[index] == is[index];
            that(kept && model[index] == is[index], || {
                format!(
                    "{}: {register} was {:08x} and is {:08x}",
                    name(entry),
                    was[index],
                    is[index]
                )
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
pub(super) fn alter_ebx(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| entry.origin.ring == 3 && entry.before.is_some(),
        |entry, _| {
            entry.after.general.ebx ^= 1;
        },
    )
}

/// H7.
pub(super) fn call_is_an_interrupt(observation: &Observation) -> Proof {
    let mut by_stack: BTreeMap<u32, [Option<&Entry>; 2]> = BTreeMap::new();
    let mut pairs = 0;
    let mut first = None;
    for (entry, moment, expected) in exact(observation) {
        let kind = match entry.kind {
            Kind::Software => 0,
            Kind::External => 1,
            _ => continue,
        };
        let eflags = entry.frame.get(Word::Eflags).unwrap_or(0);
        that(is_pushed(moment, expected, Word::Eflags, eflags), || {
            format!("{}: EFLAGS", name(entry))
        })?;
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
pub(super) fn alter_interrupt_frame(observation: &mut Observation) -> bool {
    let mut called = BTreeSet::new();
    for moment in &mut observation.moments {
        let esp0 = moment.inner_stack().esp;
        let Happening::Entry(entry) = &mut moment.event else { continue };
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
