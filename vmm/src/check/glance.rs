//! What memory tells at a stop, beside the words of the frame.
//!
//! Rules are functions over values. What they need of memory is read here, once, while the guest stands
//! still, and only where something makes it worth reading: an entry falls on a live frame, an IRET was
//! refused, DF is set where the kernel leaves.
//!
//! ```text
//!  at an entry    the IRET that it refuses, by the model      Refusal
//!                 the words that it overwrites live on        words_are_kept
//!                 the low end of the stack above              above
//!  at both        the neighbour's frame has changed           Damage
//!  at a return    string instructions behind the handler      string_instruction
//!                 what the next entry will miss               way_back
//!  at both        a stack's low end, where symbols tell it    Edge, Overrun
//! ```

use super::history::{ABOVE, History, LiveFrame, Slot, StackUse};
use super::shifted::{self, Shifted};
use super::way_back::{self, WayBack};
use crate::entry::{Entry, Kind, Ram, Return};
use crate::host::processor;
use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use ia32::{
    Branch, Descriptor, DescriptorKind, Eflags, Fault, OperandSize, Outcome, Selector, State,
    TssWidth, Word, attempt,
};
use iced_x86::{Instruction, Mnemonic};

/// Instructions that are looked at behind a handler, at most.
const LONGEST_SEARCH: usize = 4000;
/// How near to each other a record keeps EIP and ESP.
const RECORD: usize = 256;

/// What memory tells at a stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Glance {
    /// Why the IRET was refused that this fault points at.
    pub(super) refusal: Option<Box<Refusal>>,
    /// A whole frame beside the one that the IRET pops, where that cannot be meant.
    pub(super) shifted: Option<Box<Shifted>>,
    /// EIP and ESP of the frame that this entry overwrites stand near each other elsewhere too: the
    /// kernel has copied them. None if it overwrites none.
    pub(super) words_are_kept: Option<bool>,
    /// What lies above the frame, where that may be another stack's low end.
    pub(super) above: Option<[u8; ABOVE]>,
    /// HLT stands right before the interrupted place.
    pub(super) behind_halt: bool,
    /// The frame of a neighbour has been overwritten.
    pub(super) damage: Option<Box<Damage>>,
    /// A string instruction that the handler can reach without CLD.
    pub(super) string_instruction: Option<u32>,
    /// What lies around ESP0, where no entry was on it yet.
    pub(super) fresh_stack: Option<Box<FreshStack>>,
    /// What the next entry from the ring that is returned to will miss.
    pub(super) way_back: Option<Box<WayBack>>,
    /// What decided about that.
    pub(super) way_back_of: Option<way_back::Key>,
    /// The low end of the stack that runs, and what lies below it.
    pub(super) edge: Option<Box<Edge>>,
    /// What has come of it since.
    pub(super) overrun: Option<Box<Overrun>>,
    /// What the processor read for this entry is not in memory any more.
    pub(super) overwritten: Option<String>,
}

/// How much below ESP0 is kept: no frame is larger.
pub(super) const BELOW: usize = 40;

/// How much on either side of a stack's low end is looked at.
pub(super) const EDGE: usize = 64;

/// The low end of a stack whose object is known, when the kernel was entered on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Linear address of the stack's first byte.
    pub(super) start: u32,
    /// The bytes right below it.
    below: [u8; EDGE],
    /// The lowest bytes of the stack.
    low: [u8; EDGE],
}

/// A stack that was used down to its end, and what lies below has changed as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overrun {
    /// Linear address of the stack's first byte.
    pub(super) start: u32,
    /// The lowest word below that has changed: its address, what it was and is.
    pub(super) word: (u32, u32, u32),
    /// Where that lies in physical memory.
    pub(super) physical: Option<u64>,
}

/// A stack that TSS.ESP0 names and that no entry was on yet, in front of the return to an outer ring.
#[derive(Clone, Debug)]
pub(super) struct FreshStack {
    /// Linear address of SS0:ESP0.
    pub(super) top: u32,
    /// The bytes right below.
    pub(super) below: [u8; BELOW],
    /// How many bytes from there on are all the same, up to a page.
    pub(super) unused_above: u32,
    /// One of those words is an address of code: what returns leave on a stack, such as the one that the
    /// kernel booted on.
    pub(super) was_stack: bool,
    /// How many of the [`DENSE`] words right below are not zero.
    pub(super) filled_below: u32,
}

/// So many words below ESP0 are looked at.
pub(super) const DENSE: u32 = 64;

/// Why an IRET was refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// What the model says of it; none if it sees no reason.
    pub(super) fault: Option<Fault>,
    /// The check that failed, in words.
    pub(super) check: String,
    /// The word that it is about.
    pub(super) word: Option<Word>,
    /// The descriptor that the popped CS names.
    pub(super) code: Option<Descriptor>,
    /// The descriptor that the word popped as EFLAGS names, were it a selector.
    pub(super) flags: Option<Descriptor>,
    /// The word popped as SS, or what would be, and the descriptor that it names.
    pub(super) stack: Option<(u16, Descriptor)>,
    /// The descriptor that the word popped as ESP names, were it a selector.
    pub(super) pointer: Option<Descriptor>,
}

/// A frame that was overwritten while another task was in the kernel, along with the low end of that
/// task's stack, which lies right above.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    /// Where it stands among the live frames.
    pub(super) slot: Slot,
    /// The entry that pushed it.
    pub(super) sequence: u64,
    /// The words that have changed, lowest first: what they were and are.
    pub(super) words: Vec<(Word, u32, u32)>,
    /// How far below its end the stack above has written, at least.
    pub(super) beyond: u32,
}

impl Glance {
    /// At an entry.
    pub(super) fn at_entry(linear: &LinearMemory<'_>, entry: &Entry, history: &History) -> Glance {
        let mut glance = Glance::default();
        if let Some(last) = history.refused_by(entry) {
            glance.refusal =
                Some(Box::new(Refusal::ask(linear, &last.state, last.frame.shape.word_size == 2)));
            glance.shifted = shifted::near(linear, &last.state).map(Box::new);
        }
        if let Some(victim) = history.overlapped(&entry.frame)
            && entry.from_outer_ring()
            && victim.from_outer_ring()
            && !history.copies_frames()
        {
            glance.words_are_kept = Some(keeps_words(linear, victim, history));
        }
        if entry.from_outer_ring() {
            glance.above = above(linear, entry.frame.end());
        }
        if matches!(entry.kind, Kind::External | Kind::Nmi)
            && let Some(eip) = entry.code.linear
        {
            let mut byte = [0];
            glance.behind_halt =
                linear.read(eip.wrapping_sub(1), &mut byte).is_some() && byte == [0xf4];
        }
        if entry.from_outer_ring() {
            glance.edge = edge(linear, history, entry.frame.end()).map(Box::new);
        } else {
            glance.damage = damage(linear, history, entry.frame.address);
            glance.overrun = overrun(linear, history).map(Box::new);
        }
        glance.overwritten = overwritten(linear, entry, history);
        glance
    }

    /// At a return.
    pub(super) fn at_return(
        linear: &LinearMemory<'_>,
        returning: &Return,
        history: &History,
    ) -> Glance {
        let mut glance = Glance {
            damage: damage(linear, history, returning.frame.address),
            ..Glance::default()
        };
        if returning.state.eflags.contains(Eflags::DF)
            && let Some(pair) = history.pair(returning)
            && pair.pushed.frame.get(Word::Eflags).is_some_and(|f| Eflags(f).contains(Eflags::DF))
        {
            glance.string_instruction = string_instruction(linear, pair.pushed.handler);
        }
        glance.overrun = overrun(linear, history).map(Box::new);
        if returning.frame.shape.from_virtual_8086 {
            glance.shifted = shifted::near(linear, &returning.state).map(Box::new);
        }
        if returning.ring() > returning.state.cpl() {
            if !history.objects().knows_nothing() {
                glance.fresh_stack = fresh_stack(linear, returning, history).map(Box::new);
            }
            let key = way_back::Key::of(linear, returning);
            if history.way_back_of() != Some(key) {
                glance.way_back_of = Some(key);
                glance.way_back = WayBack::read(linear, returning).map(Box::new);
            }
        }
        glance
    }
}

impl Refusal {
    /// Asks the model what it makes of the IRET that the processor stood in front of in `state`; `narrow`:
    /// it pops words of two bytes.
    pub(super) fn ask(linear: &LinearMemory<'_>, state: &State, narrow: bool) -> Refusal {
        let (size, length) =
            if narrow { (OperandSize::Bits16, 2) } else { (OperandSize::Bits32, 1) };
        let iret = ia32::Iret { size, length };
        let outcome = attempt(state, &Ram(linear.memory), iret, &processor());
        Refusal::of(linear, state, size, &outcome)
    }

    fn of(
        linear: &LinearMemory<'_>,
        state: &State,
        size: OperandSize,
        outcome: &Outcome,
    ) -> Refusal {
        let word = |index: u32| {
            let at = state.stack_address().wrapping_add(index * size.bytes());
            linear.read_u16(at).map(Selector)
        };
        let named = |index| {
            let selector = word(index)?;
            Some((selector.0, linear.descriptor(state, selector)?))
        };
        let fault = outcome.fault();
        let step = fault.and_then(|fault| {
            outcome.trace.steps().iter().rfind(|step| step.branch == fault.branch).copied()
        });
        let about = fault.and_then(|fault| match fault.branch {
            Branch::ReturnCsNull
            | Branch::ReturnCsOutsideTable
            | Branch::ReturnCsNotCode
            | Branch::ReturnCsInner
            | Branch::ReturnCsConformingDpl
            | Branch::ReturnCsDpl
            | Branch::ReturnCsNotPresent => Some(Word::Cs),
            Branch::ReturnSsNull
            | Branch::ReturnSsOutsideTable
            | Branch::ReturnSsRpl
            | Branch::ReturnSsNotWritable
            | Branch::ReturnSsDpl
            | Branch::ReturnSsNotPresent => Some(Word::Ss),
            Branch::ReturnBeyondLimit | Branch::ReturnToVirtualBeyondLimit => Some(Word::Eip),
            _ => None,
        });
        Refusal {
            fault,
            check: step.map_or(String::new(), |step| step.to_string()),
            word: about,
            code: named(1).map(|(_, descriptor)| descriptor),
            flags: named(2).map(|(_, descriptor)| descriptor),
            stack: named(4),
            pointer: named(3).map(|(_, descriptor)| descriptor),
        }
    }
}

fn above(linear: &LinearMemory<'_>, end: u32) -> Option<[u8; ABOVE]> {
    let mut bytes = [0; ABOVE];
    linear.read(end, &mut bytes).map(|_| bytes)
}

/// The stack that runs has written below its end: the frame right below it has changed, and most of its
/// own low end as well. A kernel that has changed another task's frame on purpose, or has given the
/// memory of a dead one to somebody, leaves the latter alone, save for a few words where it keeps the
/// task's record there.
fn damage(linear: &LinearMemory<'_>, history: &History, stack_pointer: u32) -> Option<Box<Damage>> {
    let (slot, victim) = history.neighbour()?;
    let (top, running) = (victim.frame.end(), history.running()?);
    // A kernel that has switched to that stack may change its frame.
    if stack_pointer <= top || stack_pointer > running {
        return None;
    }
    let before = victim.above?;
    if running - top != history.largest() {
        return None;
    }
    let now = crate::entry::Frame::read(linear, victim.frame.address, victim.frame.shape);
    if now.physical != victim.frame.physical || now.pops_as(&victim.frame) {
        return None;
    }
    let low_end = above(linear, top)?;
    let changed = before.as_chunks::<4>().0.iter().zip(low_end.as_chunks::<4>().0);
    let cleared = now.values().iter().all(|word| *word == 0);
    if cleared || changed.filter(|(was, is)| was != is).count() * 8 < ABOVE {
        return None;
    }
    let mut words = Vec::new();
    for (word, was) in victim.frame.words() {
        let (Some(was), Some(is)) = (was, now.get(word)) else { continue };
        if was != is {
            words.push((word, was, is));
        }
    }
    let lowest = victim.frame.address_of(words.first()?.0)?;
    let (sequence, beyond) = (victim.sequence, top.wrapping_sub(lowest));
    Some(Box::new(Damage { slot, sequence, words, beyond }))
}

fn fresh_stack(
    linear: &LinearMemory<'_>,
    returning: &Return,
    history: &History,
) -> Option<FreshStack> {
    const PAGE: usize = 4096;
    let state = &returning.state;
    if TssWidth::from_type(state.tr.ty()) != Some(TssWidth::Bits32) {
        return None;
    }
    let esp0 = linear.read_u32(state.tr.base.wrapping_add(4))?;
    let top = state.ss().base.wrapping_add(esp0);
    // The kernel runs on it, or the frame lies at its top: it is in use.
    let lowest = match history.objects().at(top.wrapping_sub(1)) {
        Some(object) => object.start,
        None => top.wrapping_sub(PAGE as u32),
    };
    if history.was_entered(top) || (lowest..top).contains(&returning.frame.address) {
        return None;
    }
    let mut below = [0; BELOW];
    linear.read(top.wrapping_sub(BELOW as u32), &mut below)?;
    let mut page = [0; PAGE];
    let count = linear.read_some(top, &mut page);
    let unused = page[..count].iter().take_while(|byte| **byte == page[0]).count() as u32;
    let mut words = [0; DENSE as usize * 4];
    let _ = linear.read(top.wrapping_sub(DENSE * 4), &mut words);
    let words = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let filled = words.clone().filter(|word| *word != 0).count() as u32;
    let was_stack = words.into_iter().any(|word| history.objects().function_at(word).is_some());
    Some(FreshStack { top, below, unused_above: unused, was_stack, filled_below: filled })
}

/// The low end of the stack that ends at `top`, where it is a variable of its own.
fn edge(linear: &LinearMemory<'_>, history: &History, top: u32) -> Option<Edge> {
    let object = history.objects().at(top.wrapping_sub(1)).filter(|object| object.end == top)?;
    let start = object.start;
    if top - start <= 2 * EDGE as u32 {
        return None;
    }
    let mut edge = Edge { start, below: [0; EDGE], low: [0; EDGE] };
    linear.read(start.wrapping_sub(EDGE as u32), &mut edge.below)?;
    linear.read(start, &mut edge.low)?;
    Some(edge)
}

/// The stack was used down to its last word since it was entered, and the words right below have changed
/// along with it. Either alone is nobody's business: a stack may be full, and a variable be changed.
fn overrun(linear: &LinearMemory<'_>, history: &History) -> Option<Overrun> {
    let before = history.edge()?;
    let mut now = Edge { start: before.start, below: [0; EDGE], low: [0; EDGE] };
    linear.read(before.start, &mut now.low)?;
    let words = |bytes: &[u8; EDGE]| bytes.as_chunks::<4>().0.to_vec();
    let (was, is) = (words(&before.low), words(&now.low));
    let changed = was.iter().zip(&is).filter(|(was, is)| was != is).count() * 4;
    let uniform = is.iter().all(|word| *word == is[0]);
    if changed * 2 < EDGE || uniform || was[0] == is[0] {
        return None;
    }
    linear.read(before.start.wrapping_sub(EDGE as u32), &mut now.below)?;
    let (was, is) = (words(&before.below), words(&now.below));
    let differs: Vec<usize> = (0..was.len()).filter(|index| was[*index] != is[*index]).collect();
    // A frame's worth of words, the one right below the stack or its neighbour among them.
    if differs.len() < 4 || *differs.last()? + 2 < was.len() {
        return None;
    }
    let index = *differs.first()?;
    let address = before.start.wrapping_sub(EDGE as u32).wrapping_add(index as u32 * 4);
    let word = (address, u32::from_le_bytes(was[index]), u32::from_le_bytes(is[index]));
    let physical = linear.paging.translate(linear.memory, address);
    Some(Overrun { start: before.start, word, physical })
}

/// What the processor has just read is not what memory holds: the code segment's descriptor, the handler's
/// code as the file has it.
fn overwritten(linear: &LinearMemory<'_>, entry: &Entry, history: &History) -> Option<String> {
    const LOOKED_AT: usize = 8;
    let after = &entry.after;
    let code = linear.descriptor(after, Selector(after.cs().selector))?;
    if code.base() != after.cs().base || !matches!(code.kind(), DescriptorKind::Code { .. }) {
        return Some(format!("the GDT entry of CS {:04x}", after.cs().selector));
    }
    let at = after.instruction_address();
    let file = history.objects().loaded(at, LOOKED_AT)?;
    let mut bytes = [0; LOOKED_AT];
    linear.read(at, &mut bytes)?;
    // A probe is HLT, or OUT with its port.
    let differs = |(is, was): (&u8, &u8)| is != was && !matches!(is, 0xf4 | 0xe6 | 0xe5);
    bytes.iter().zip(file).any(differs).then(|| format!("the handler's code at {at:08x}"))
}

/// EIP and ESP of `victim` stand near each other somewhere else in memory, and on no kernel stack: there they may be
/// another task's. A child that replaces its program by the system call with which its parent waits has the parent's words.
fn keeps_words(linear: &LinearMemory<'_>, victim: &LiveFrame, history: &History) -> bool {
    let memory = linear.memory;
    const BLOCK: usize = 0x1_0000;
    let (Some(eip), Some(esp)) = (victim.frame.get(Word::Eip), victim.frame.get(Word::Esp)) else {
        return false;
    };
    let Some(own) = victim.frame.physical else { return false };
    let own = own.saturating_sub(16)..own + 64;
    let mut block = vec![0; BLOCK + 2 * RECORD];
    let mut start = 0;
    while start < memory.size() {
        let length = (memory.size() - start).min(block.len() as u64) as usize;
        if memory.read(start, &mut block[..length]).is_none() {
            return false;
        }
        let words = block[..length].as_chunks::<4>().0;
        for (index, _) in words.iter().enumerate().filter(|(_, w)| **w == esp.to_le_bytes()) {
            let at = start + index as u64 * 4;
            let near =
                &words[index.saturating_sub(RECORD / 4)..(index + RECORD / 4).min(words.len())];
            let is_there = !own.contains(&at) && near.contains(&eip.to_le_bytes());
            if is_there && !is_on_a_stack(linear, at, history) {
                return true;
            }
        }
        start += BLOCK as u64;
    }
    false
}

/// A live frame lies there, or a kernel stack that was used so far down.
fn is_on_a_stack(linear: &LinearMemory<'_>, physical: u64, history: &History) -> bool {
    let holds = |stack: &StackUse| {
        let mut at = stack.lowest;
        while at < stack.top {
            let end = (at | 0xfff).saturating_add(1).min(stack.top);
            if let Some(start) = linear.paging.translate(linear.memory, at)
                && (start..start + u64::from(end - at)).contains(&physical)
            {
                return true;
            }
            at = end;
        }
        false
    };
    history.live_within(physical, physical + 4).is_some()
        || history.stacks().iter().filter(|stack| stack.entries > 0).any(holds)
}

/// The first string instruction that code from `handler` on can reach without CLD, and without STD, which is before one
/// that is to run downwards; jumps and calls followed where their target is in the instruction.
fn string_instruction(linear: &LinearMemory<'_>, handler: u32) -> Option<u32> {
    let mut flow = Flow::from(handler);
    let mut instruction = Instruction::default();
    while let Some(at) = flow.next() {
        let mut bytes = [0; 15];
        let count = linear.read_some(at, &mut bytes);
        if flow.seen().len() > LONGEST_SEARCH {
            break;
        }
        // The probe under the first instruction of a handler, and under IRETs.
        if bytes[0] == 0xf4 && at == handler {
            flow.go_on(at.wrapping_add(1));
            continue;
        }
        decode_32_into(&bytes[..count], at, &mut instruction);
        if is_string_instruction(&instruction) {
            return Some(at);
        }
        let decides = matches!(instruction.mnemonic(), Mnemonic::Cld | Mnemonic::Std);
        if !instruction.is_invalid() && !decides {
            flow.after(&instruction, Calls::Into);
        }
    }
    None
}

fn is_string_instruction(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Movsb
            | Mnemonic::Movsw
            | Mnemonic::Movsd
            | Mnemonic::Stosb
            | Mnemonic::Stosw
            | Mnemonic::Stosd
            | Mnemonic::Lodsb
            | Mnemonic::Lodsw
            | Mnemonic::Lodsd
            | Mnemonic::Scasb
            | Mnemonic::Scasw
            | Mnemonic::Scasd
            | Mnemonic::Cmpsb
            | Mnemonic::Cmpsw
            | Mnemonic::Cmpsd
    )
}
