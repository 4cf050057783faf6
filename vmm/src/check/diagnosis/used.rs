//! The vectors that were entered: whether interrupts came by those of exceptions, and whether their
//! handlers can return at all.

use super::{Aftermath, Placed, programmed};
use crate::check::{CodePlace, Finding, History, Subject};
use crate::entry::{Entry, Kind};
use crate::instruction::decode_32;
use crate::instruction::flow::{Calls, Flow};
use ia32::{GateKind, State, Vector};
use iced_x86::{FlowControl, Mnemonic};

/// How many instructions of a handler are looked at.
const LOOKED_AT: usize = 500;

/// What is known of a vector.
#[derive(Clone, Copy, Debug)]
struct Vectored {
    vector: Vector,
    kind: Kind,
    /// Where its gate led.
    handler: u32,
    /// The IDT that the gate was in, and the offset that the gate named.
    gate: (u32, u32),
    first: u64,
    last: u64,
    entries: u64,
    /// An IRET was seen right behind one of its entries.
    returned: bool,
    /// The last frame, and how often one lay where RET leaves the stack: CS and EFLAGS lower.
    frame: u32,
    left: u32,
    /// It was entered from an outer ring, first in this entry.
    outer: Option<u64>,
}

/// The vectors that were entered, in the order of their first entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    vectors: Vec<Vectored>,
    /// The last entry from an outer ring.
    last_outer: Option<u64>,
}

impl Used {
    /// A vector was entered.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry) {
        let handler = entry.after.instruction_address();
        let gate = (entry.after.idtr.base, entry.after.eip);
        let outer = entry.from_outer_ring().then_some(entry.sequence);
        self.last_outer = outer.or(self.last_outer);
        match self.vectors.iter_mut().find(|used| used.vector == entry.vector) {
            Some(used) => {
                used.last = entry.sequence;
                used.entries += 1;
                used.handler = handler;
                used.gate = gate;
                let (ring_0, word) = (!entry.from_outer_ring(), entry.frame.shape.word_size);
                let lower = used.frame.wrapping_sub(entry.frame.address);
                used.left += u32::from(ring_0 && lower == 2 * word);
                used.frame = entry.frame.address;
                used.outer = used.outer.or(outer);
            }
            None => self.vectors.push(Vectored {
                vector: entry.vector,
                kind: entry.kind,
                handler,
                gate,
                first: entry.sequence,
                last: entry.sequence,
                entries: 1,
                returned: false,
                frame: entry.frame.address,
                left: 0,
                outer,
            }),
        }
    }

    /// An IRET came behind an entry by `vector`.
    #[inline]
    pub(super) fn leave(&mut self, vector: Option<Vector>) {
        if let Some(used) = self.vectors.iter_mut().find(|used| Some(used.vector) == vector) {
            used.returned = true;
        }
    }

    /// The last entry by `vector`.
    pub(super) fn last(&self, vector: Vector) -> Option<u64> {
        self.vectors.iter().find(|used| used.vector == vector).map(|used| used.last)
    }

    /// The first entry by `vector`, and where its gate led last.
    pub(super) fn first(&self, vector: Vector) -> Option<(u64, u32)> {
        let used = self.vectors.iter().find(|used| used.vector == vector)?;
        Some((used.first, used.handler))
    }

    /// The vectors that were entered through an IDT at this address: the last entry, and the offset that the gate named.
    pub(super) fn through(&self, idt: u32) -> impl Iterator<Item = (Vector, u64, u32)> {
        let through = self.vectors.iter().filter(move |used| used.gate.0 == idt);
        through.map(|used| (used.vector, used.last, used.gate.1))
    }

    /// Those that no return was seen behind: the vector, where its gate led, its first entry.
    pub(super) fn without_return(&self) -> impl Iterator<Item = (Vector, u32, u64)> {
        self.vectors
            .iter()
            .filter(|used| !used.returned)
            .map(|used| (used.vector, used.handler, used.first))
    }

    /// Interrupts come by vectors from 32 on: those below are the exceptions' (SDM vol. 3A, "Exception and
    /// interrupt vectors"). A note: a kernel that handles them there may know what it does.
    pub(super) fn exceptions_vector(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let used =
            self.vectors.iter().find(|used| used.kind == Kind::External && used.vector.0 < 32)?;
        let vector = used.vector.0;
        let finding = Finding::new(
            "irq_vector",
            Subject::Kernel,
            format!("IRQ {} came as vector {vector}, which is {}'s", vector & 7, used.vector),
            "vectors from 32 on for interrupts",
            format!("the 8259's base is {:02x}", vector & !7),
        )
        .because("the handler cannot tell the interrupt from the exception, and gets no error code")
        .advise("write 0x20 as ICW2 to port 0x21, and 0x28 to port 0xa1")
        .about_some(programmed::sets_base(aftermath))
        .about(CodePlace::Handler(used.handler))
        .as_note();
        Some((format!("#{} at {}", used.first, aftermath.place(used.handler)), finding))
    }

    /// An outer ring was entered from after this vector had been entered from one: there was a return, seen or not. A RET may
    /// lead to it, as in MINIX.
    fn outer_ring_ran_again(&self, used: &Vectored) -> bool {
        used.outer.is_some_and(|first| self.last_outer > Some(first))
    }

    /// A handler that was entered again and again ends in an IRET, not in RET.
    ///
    /// RET takes EIP off the stack and leaves CS and EFLAGS there; IF stays 0. Looked for in the handler's
    /// own code, calls left aside, where no return was seen behind any of its entries, and none can have been.
    pub(super) fn no_iret(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let used = self.vectors.iter().find(|used| {
            !used.returned
                && !self.outer_ring_ran_again(used)
                && matches!(used.kind, Kind::External | Kind::Software)
                && (!aftermath.end.ending.is_good() || used.left > 0)
                && ends_in_ret(aftermath, used.handler)
        })?;
        let finding = Finding::new(
            "handler_end",
            Subject::Kernel,
            format!("the handler of vector {:#04x} ends in RET", used.vector.0),
            "an IRET at its end",
            format!("RET, and no IRET that its code leads to; {} entries, no return", used.entries),
        )
        .because(
            "RET takes EIP off the stack, leaves CS and EFLAGS there, and IF as it is: a function of C is \
             no handler",
        )
        .advise("let the gate name a stub of assembly: save the registers, call the function, restore, IRET")
        .about(CodePlace::Handler(used.handler));
        Some((format!("#{} at {}", used.first, aftermath.place(used.handler)), finding))
    }
}

#[cfg(test)]
impl Used {
    /// A vector whose handler no return was seen from, entered from an outer ring in the entries `first` to `last`.
    pub(super) fn without_a_return(vector: Vector, handler: u32, first: u64, last: u64) -> Self {
        let vectored = Vectored {
            vector,
            kind: Kind::Software,
            handler,
            gate: (0, handler),
            first,
            last,
            entries: last - first + 1,
            returned: false,
            frame: 0,
            left: 0,
            outer: Some(first),
        };
        Used { vectors: vec![vectored], last_outer: Some(last) }
    }

    /// The vectors of both.
    #[must_use]
    pub(super) fn and(mut self, mut other: Self) -> Self {
        self.vectors.append(&mut other.vectors);
        self.last_outer = self.last_outer.max(other.last_outer);
        self
    }
}

/// A gate of 16 bits holds no upper half of an address.
///
/// The processor ignores bits 63:48 of it (SDM vol. 3A, "IDT descriptors"), so the handler is looked for below
/// 64 KiB.
pub(super) fn narrow_gate(aftermath: &Aftermath<'_>, history: &History) -> Option<Placed> {
    let state = &aftermath.end.state;
    let raw = |vector: u8| {
        let at = state.idtr.base.wrapping_add(u32::from(vector) * 8);
        let mut bytes = [0; 8];
        aftermath.linear(state).read(at, &mut bytes).map(|()| u64::from_le_bytes(bytes))
    };
    let is_good = aftermath.end.ending.is_good() && history.refused_returns() == 0;
    if is_good || !has_gates(state) {
        return None;
    }
    let (vector, gate, upper) = (0..=255u8).find_map(|vector| {
        let gate = aftermath.gate(state, vector)?;
        let upper = raw(vector)? >> 48;
        (gate.present && gate.kind != GateKind::Task && gate.kind.word_size() == 2 && upper != 0)
            .then_some((vector, gate, upper as u32))
    })?;
    let whole = upper << 16 | gate.offset;
    let finding = Finding::new(
        "gate_kind",
        Subject::Kernel,
        format!(
            "the gate of vector {vector:#04x} is a {}, and its handler is at {}",
            gate.kind,
            aftermath.place(whole)
        ),
        "a 32-bit gate: type byte 8e, or ee for ring 3",
        format!("such a gate leads to {:08x}: bits 63:48 are ignored", gate.offset),
    )
    .because(
        "the gate's type has bit 3 clear: FLAGS, CS and IP are pushed as words of two bytes, which an IRET of 32 bits does not \
         pop",
    )
    .advise(format!("give the gate of vector {vector:#04x} the type of a 32-bit gate"))
    .stored_at(aftermath.word(state, state.idtr.base.wrapping_add(u32::from(vector) * 8 + 4)));
    Some((format!("the IDT at {:08x}", state.idtr.base), finding))
}

/// Gates stand eight bytes apart, and not sixteen as in 64-bit mode (SDM vol. 3A, "IDT descriptors" and "64-bit mode
/// IDT"): each second one is empty.
pub(super) fn wide_gates(aftermath: &Aftermath<'_>) -> Option<Placed> {
    const LOOKED_AT: u8 = 64;
    const MANY: usize = 16;
    let state = &aftermath.end.state;
    let is_empty = |vector: u8| {
        let offset = u32::from(vector) * 8;
        let mut bytes = [0xff; 8];
        let at = state.idtr.base.wrapping_add(offset);
        offset + 7 <= u32::from(state.idtr.limit)
            && aftermath.linear(state).read(at, &mut bytes).is_some()
            && bytes == [0; 8]
    };
    let is_present = |vector: &u8| aftermath.gate(state, *vector).is_some_and(|gate| gate.present);
    let even = (0..LOOKED_AT).step_by(2).filter(is_present).count();
    let first = (0..LOOKED_AT).step_by(2).find(is_present)?;
    if !has_gates(state) || even < MANY || !(1..LOOKED_AT).step_by(2).all(is_empty) {
        return None;
    }
    let finding = Finding::new(
        "gate_kind",
        Subject::Kernel,
        "each second entry of the IDT is empty: its gates stand 16 bytes apart",
        "gates of 8 bytes, one after the other",
        format!("{even} gates at even vectors below {LOOKED_AT:#04x}, and none at an odd one"),
    )
    .because(
        "16 bytes are a gate of 64-bit mode; in 32-bit mode vector n is looked for at n * 8, so vector 0x20 finds what was \
         meant for 0x10",
    )
    .advise("declare a gate as two words of 32 bits: offset 15:0, selector, a byte of 0, the type byte, offset 31:16")
    .stored_at(aftermath.word(state, state.idtr.base.wrapping_add(u32::from(first) * 8)));
    Some((format!("the IDT at {:08x}", state.idtr.base), finding))
}

/// IDTR names gates, and not the vectors of real mode that a BIOS has left behind.
fn has_gates(state: &State) -> bool {
    const REAL_MODE: (u32, u16) = (0, 0x3ff);
    state.protected() && (state.idtr.base, state.idtr.limit) != REAL_MODE
}

/// All ways through the code at `start`, calls left aside, end in RET, and none in an IRET or unknown.
fn ends_in_ret(aftermath: &Aftermath<'_>, start: u32) -> bool {
    let state = &aftermath.end.state;
    let mut flow = Flow::from(start);
    let mut found = false;
    while let Some(at) = flow.next() {
        let instruction = decode_32(&aftermath.code(state, at), at);
        if instruction.is_invalid() || flow.seen().len() > LOOKED_AT || instruction.is_jmp_far() {
            return false;
        }
        match instruction.flow_control() {
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => found = true,
            FlowControl::Return
            | FlowControl::IndirectBranch
            | FlowControl::Exception
            | FlowControl::XbeginXabortXend => return false,
            _ => flow.after(&instruction, Calls::Over),
        }
    }
    found
}
