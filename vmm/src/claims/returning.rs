//! What is claimed of the processor: who chooses the stack, and how ring 3 goes on.

use super::observation::Observation;
use super::words::{alter_entry, name, undisturbed};
use super::{Doubt, Proof, given, missing, that};
use crate::entry::{Entry, Frame, Kind};
use ia32::{Eflags, State, Vector, Word};
use std::collections::{BTreeMap, BTreeSet};

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
pub(super) fn only_ring_0_chooses(observation: &Observation) -> Proof {
    // Page frames, since a TSS can be mapped at other addresses too.
    let page = |physical: u64| physical >> 12;
    let pages: BTreeSet<u64> = observation
        .moments
        .iter()
        .filter_map(|moment| moment.sight.tss_physical.map(page))
        .collect();
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    for (left, entered) in undisturbed(observation) {
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
pub(super) fn alter_gdtr(observation: &mut Observation) -> bool {
    alter_entry(
        observation,
        |entry, _| {
            entry.vector == Vector::GP && chooses_the_stack(entry.code.instruction()).is_some()
        },
        |_, sight| sight.tables[0].base += 8,
    )
}

/// What differs between a frame and the state behind the IRET that popped it.
fn not_given_back(frame: &Frame, state: &State) -> Option<String> {
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
pub(super) fn iret_gives_back(observation: &Observation) -> Proof {
    let mut live: BTreeMap<u32, &Entry> = BTreeMap::new();
    let (mut irets, mut interrupts, mut calls) = (0, 0, 0);
    let mut first = None;
    for moment in &observation.moments {
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
                ia32::General::NAMES[index],
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
pub(super) fn string_instruction_resumes(observation: &Observation) -> Proof {
    // Sequence, ECX, and what tells one instruction from another: EIP and where it will end.
    let mut seen: Vec<(u64, u32, (u32, u32))> = Vec::new();
    let mut waiting: Option<(&Entry, u32)> = None;
    for moment in &observation.moments {
        if let Some(entry) = moment.entry() {
            let size = moment.sight.code.and_then(|(code, _)| repeated(&code));
            let (Some(size), Some(before)) = (size, entry.before.as_deref()) else { continue };
            if entry.kind != Kind::External || entry.origin.ring != 3 {
                continue;
            }
            let eip = entry.frame.get(Word::Eip).unwrap_or(0);
            that(eip == before.eip, || format!("{}: EIP {eip:08x}", name(entry)))?;
            let rf = entry.frame.get(Word::Eflags).is_some_and(|eflags| eflags & Eflags::RF.0 != 0);
            let left = before.general.ecx.wrapping_mul(size);
            let instruction = (eip, before.general.edi.wrapping_add(left));
            // At its first round nothing has been done yet, and RF means nothing.
            let begun = seen.last().is_some_and(|(.., last)| *last == instruction);
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
            seen.push((entry.sequence, before.general.ecx, instruction));
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
    let mut instructions: BTreeMap<(u32, u32), Vec<(u64, u32)>> = BTreeMap::new();
    for (sequence, ecx, instruction) in seen {
        instructions.entry(instruction).or_default().push((sequence, ecx));
    }
    let ((eip, end), rounds) = instructions
        .into_iter()
        .max_by_key(|(_, rounds)| rounds.len())
        .filter(|(_, rounds)| rounds.len() > 1)
        .ok_or_else(missing("no repeated string instruction was interrupted twice"))?;
    let text: Vec<String> =
        rounds.iter().take(4).map(|(sequence, ecx)| format!("#{sequence} ECX {ecx:x}")).collect();
    Ok(format!(
        "interrupted {} times at EIP {eip:08x}, RF 1: {}; each time EDI + what is left is {end:08x}, and \
         it goes on with the same registers",
        rounds.len(),
        text.join(", ")
    ))
}
