//! What the next entry from an outer ring will find, looked at in front of the return to that ring.
//!
//! ```text
//!  TR ─► TSS ─► SS0:ESP0 ─► the page that the words are pushed to
//! ```
//! While an outer ring runs nobody changes these, so what is wrong now will be wrong then: a shutdown, or
//! words that are lost where there is no RAM (SDM vol. 3A, "Stack switching").

use crate::entry::{InnerStack, Reach, Return, Walk};
use crate::machine::LinearMemory;
use ia32::{
    Descriptor, DescriptorKind, Eflags, Gate, GateKind, Segment, Selector, State, TssWidth, Word,
};

/// The words of the largest frame by an interrupt gate from ring 3.
const FRAME: u32 = 24;

/// What the next entry will miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// TR is null; perhaps a TSS stands in the GDT that was not loaded.
    TaskRegister { unloaded: Option<u32> },
    /// The TSS ends before SS0.
    Limit,
    /// The TSS cannot be read.
    Tss,
    /// SS0 is no writable data segment of ring 0. The words that are meant may stand `low`.
    Segment { selector: u16, descriptor: Option<Descriptor>, low: Option<Low> },
    /// The page cannot be written; the one that begins at ESP0 can, if `above`.
    Page { address: u32, sentence: String, above: bool },
    /// Nothing lies there.
    NoRam { address: u32 },
}

/// SS0 and ESP0 where they were stored, some bytes below their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Low {
    /// What they are.
    pub(super) stack: InnerStack,
    /// By how much they are too low: 2 or 4.
    pub(super) bytes: u32,
}

/// What is wrong with the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayBack {
    pub(super) lack: Lack,
    /// SS0:ESP0, where they can be read.
    pub(super) stack: Option<InnerStack>,
    /// An interrupt may come at any time.
    pub(super) open: bool,
}

/// What decides, to look once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    task_register: Segment,
    cr3: u32,
    /// SS0:ESP0 in front of the return.
    pub(super) stack: Option<InnerStack>,
}

impl Key {
    /// What decides about the way back from the ring that `returning` goes to.
    pub(super) fn of(linear: &LinearMemory<'_>, returning: &Return) -> Key {
        let Return { state, .. } = returning;
        Key { task_register: state.tr, cr3: state.cr3, stack: inner_stack(linear, state) }
    }
}

impl WayBack {
    /// Looks at it; none if nothing is wrong, or no gate leads to ring 0 by it.
    pub(super) fn read(linear: &LinearMemory<'_>, returning: &Return) -> Option<WayBack> {
        let state = &returning.state;
        let stack = inner_stack(linear, state);
        let lack = lack(linear, state, stack)?;
        let open = Eflags(returning.frame.get(Word::Eflags)?).contains(Eflags::IF);
        uses_gates(linear, state).then_some(WayBack { lack, stack, open })
    }
}

fn lack(linear: &LinearMemory<'_>, state: &State, stack: Option<InnerStack>) -> Option<Lack> {
    let tr = &state.tr;
    let width = TssWidth::from_type(tr.ty());
    if Selector(tr.selector).is_null() {
        return Some(Lack::TaskRegister { unloaded: unloaded(linear, state) });
    }
    let width = width?;
    if width.stack_slot(0).segment + 1 > tr.limit {
        return Some(Lack::Limit);
    }
    let Some(stack) = stack else { return Some(Lack::Tss) };
    let selector = Selector(stack.ss);
    let descriptor = linear.descriptor(state, selector).filter(|_| !selector.is_null());
    let is_right = |descriptor: Descriptor| {
        matches!(descriptor.kind(), DescriptorKind::Data { writable: true, .. })
            && descriptor.present()
            && descriptor.dpl() == 0
    };
    let Some(base) = descriptor.filter(|one| is_right(*one) && selector.rpl() == 0) else {
        let low = Low::read(linear, &state.tr, state.ss().selector);
        return Some(Lack::Segment { selector: stack.ss, descriptor, low });
    };
    let top = base.base().wrapping_add(stack.esp);
    let reach = Reach { write: true, user: false };
    [top.wrapping_sub(1), top.wrapping_sub(FRAME)].into_iter().find_map(|address| {
        match Walk::of(linear.memory, state, address) {
            Some(walk) => match walk.denies(reach) {
                Some(_) => {
                    let sentence = walk.sentence(reach);
                    let next = Walk::of(linear.memory, state, top);
                    let above = top.is_multiple_of(4096)
                        && next.is_some_and(|walk| walk.denies(reach).is_none());
                    Some(Lack::Page { address, sentence, above })
                }
                None => beyond_ram(linear, walk.physical?).then_some(Lack::NoRam { address }),
            },
            None => beyond_ram(linear, address.into()).then_some(Lack::NoRam { address }),
        }
    })
}

impl Low {
    /// ESP0 and SS0 where they stand in the TSS that `tr` names if the backlink was declared with two bytes only, or not at
    /// all: `ss`, the kernel's own stack segment, tells.
    pub(super) fn read(linear: &LinearMemory<'_>, tr: &Segment, ss: u16) -> Option<Low> {
        let slot = TssWidth::Bits32.stack_slot(0);
        let is_wide = TssWidth::from_type(tr.ty()) == Some(TssWidth::Bits32);
        // Whoever has stored a selector in its place has declared the fields right.
        let is_empty =
            linear.read_u16(tr.base.wrapping_add(slot.segment)).is_some_and(|ss0| ss0 & !3 == 0);
        [2, 4].into_iter().filter(|_| is_wide && ss != 0 && is_empty).find_map(|bytes| {
            let at = |offset: u32| tr.base.wrapping_add(offset - bytes);
            let esp = linear.read_u32(at(slot.pointer)).filter(|esp| *esp > 0xfff)?;
            let is_own = linear.read_u16(at(slot.segment)) == Some(ss);
            is_own.then_some(Low { stack: InnerStack { ss, esp }, bytes })
        })
    }

    /// What is wrong.
    pub(super) fn reason(&self) -> String {
        let Low { stack, bytes } = self;
        format!(
            "ESP0 {:08x} and SS0 {:04x} stand {} bytes too low, at offsets {} and {}",
            stack.esp,
            stack.ss,
            if *bytes == 2 { "two" } else { "four" },
            4 - bytes,
            8 - bytes
        )
    }

    /// What to do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self.bytes {
            2 => {
                "each selector of a TSS takes four bytes, the backlink at offset 0 too: declare it as 32 bits, or put 16 \
                 reserved bits after it"
            }
            _ => {
                "a TSS begins with the backlink, four bytes in front of ESP0: declare it as the first field; if it is there, \
                 the base in the TSS descriptor is 4 too high"
            }
        }
    }
}

fn beyond_ram(linear: &LinearMemory<'_>, physical: u64) -> bool {
    physical >= linear.memory.size()
}

fn inner_stack(linear: &LinearMemory<'_>, state: &State) -> Option<InnerStack> {
    let slot = TssWidth::from_type(state.tr.ty())?.stack_slot(0);
    let at = |offset| state.tr.base.wrapping_add(offset);
    let esp = match TssWidth::from_type(state.tr.ty())? {
        TssWidth::Bits32 => linear.read_u32(at(slot.pointer))?,
        TssWidth::Bits16 => linear.read_u16(at(slot.pointer))?.into(),
    };
    Some(InnerStack { ss: linear.read_u16(at(slot.segment))?, esp })
}

/// The first TSS in the GDT.
pub(super) fn unloaded(linear: &LinearMemory<'_>, state: &State) -> Option<u32> {
    (1..=u32::from(state.gdtr.limit) / 8).find(|index| {
        let mut bytes = [0; 8];
        linear.read(state.gdtr.base.wrapping_add(index * 8), &mut bytes).is_some()
            && matches!(Descriptor(u64::from_le_bytes(bytes)).kind(), DescriptorKind::Tss { .. })
    })
}

/// A gate of the IDT is one that pushes words on the stack of ring 0. Task gates bring a stack along.
fn uses_gates(linear: &LinearMemory<'_>, state: &State) -> bool {
    (0..=u32::from(state.idtr.limit) / 8).take(256).any(|vector| {
        let mut bytes = [0; 8];
        linear.read(state.idtr.base.wrapping_add(vector * 8), &mut bytes).is_some()
            && Gate::decode(u64::from_le_bytes(bytes))
                .is_ok_and(|gate| gate.present && gate.kind != GateKind::Task)
    })
}
