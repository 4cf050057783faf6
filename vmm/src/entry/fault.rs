//! An exception with what it was about, read while the vCPU stands at its handler.
//!
//! By the end of a run the handler has used the stack, the tables may have changed, and CR2 may be
//! another fault's. So what an explanation needs is kept as values: the registers, the words around
//! the interrupted stack pointer, the way through the page tables to CR2, the gate or the descriptor
//! that the error code names, and for an IRET the check that refused it.

use super::walk::Walk;
use super::{CodeBytes, Entry, Frame, Kind};
use crate::instruction::{decode, iret, valid_32};
use crate::machine::{LinearMemory, Machine, Memory};
use ia32::{Branch, Eflags, Operation, Selector, State, Table, Vector, Word, attempt};
use iced_x86::Instruction;

/// What the error code of an exception names, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Nothing: the error code is 0, or there is none, or it says something else.
    Nothing,
    /// The gate of a vector.
    Gate {
        /// The vector.
        vector: u8,
        /// The IDT entry; none beyond the table's limit.
        entry: Option<u64>,
    },
    /// A descriptor.
    Descriptor {
        /// The selector, without an RPL.
        selector: Selector,
        /// The descriptor; none beyond the table's limit.
        entry: Option<u64>,
    },
}

/// An exception as it was delivered.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Number of the entry.
    pub sequence: u64,
    /// Its vector.
    pub vector: Vector,
    /// What raised it: an interrupt may come by an exception's vector.
    pub kind: Kind,
    /// The ring that was interrupted.
    pub ring: u8,
    /// The state in front of the handler's first instruction: the general registers, ESP aside, are
    /// those of the fault.
    pub after: State,
    /// The words that were pushed.
    pub frame: Frame,
    /// The code at the pushed EIP.
    pub code: CodeBytes,
    /// #PF: the way to CR2, while paging is on; #UD: the way to the instruction.
    pub walk: Option<Walk>,
    /// What the error code names.
    pub named: Named,
    /// The words at the interrupted stack pointer: the one below it, the one at it, the next.
    pub stack: [Option<u32>; 3],
    /// For an IRET that was refused: the check that it failed.
    pub refused: Option<Branch>,
    /// So many bytes is the pushed EIP behind the INT n that was refused: where a processor pushes that, against the
    /// manual (`restarted-int-pushes-next-eip`).
    pub behind_int: u8,
}

/// The exception that `entry` delivered; none for traps that instructions ask for, and for INT n unless it
/// stands for an exception with an error code.
#[inline]
pub fn capture_fault(machine: &Machine, entry: &Entry) -> Option<Fault> {
    let wanted = match entry.kind {
        Kind::Fault | Kind::Abort => true,
        Kind::Trap => is_single_step(entry),
        Kind::Software => entry.vector.has_error_code() && entry.from_outer_ring(),
        Kind::External => entry.vector.0 < 32,
        _ => false,
    };
    wanted.then(|| read(machine, entry))
}

/// #DB after an instruction, and neither by a breakpoint nor by INT1.
fn is_single_step(entry: &Entry) -> bool {
    let flags = entry.frame.get(Word::Eflags).map(Eflags);
    entry.vector == Vector::DB
        && flags.is_some_and(|flags| flags.contains(Eflags::TF))
        && entry.code.behind.is_none_or(|[_, last]| last != 0xf1)
}

#[cold]
fn read(machine: &Machine, entry: &Entry) -> Fault {
    let after = entry.after;
    let linear = LinearMemory { memory: machine.memory(), paging: (&after).into() };
    let mut fault = Fault {
        sequence: entry.sequence,
        vector: entry.vector,
        kind: entry.kind,
        ring: entry.origin.ring,
        after,
        frame: entry.frame,
        code: entry.code,
        walk: None,
        named: Named::Nothing,
        stack: [None; 3],
        refused: None,
        behind_int: 0,
    };
    if entry.vector == Vector::PF && entry.kind == Kind::Fault {
        fault.walk = Walk::of(machine.memory(), &after, after.cr2);
    }
    if entry.vector == Vector::UD
        && let Some(eip) = entry.code.linear
    {
        fault.walk = Walk::of(machine.memory(), &after, eip);
    }
    if let (Vector::TS | Vector::NP | Vector::SS | Vector::GP, Some(code)) =
        (entry.vector, fault.error_code())
    {
        fault.named = named(&linear, &after, code);
        // Without EXT it is an instruction that was refused the gate.
        if let (Named::Gate { vector, .. }, 0) = (fault.named, code & 1)
            && let Some((code, back)) = fault.code.seen_from_int_behind(Vector(vector))
        {
            (fault.code, fault.behind_int) = (code, back);
        }
    }
    let esp = fault.stack_pointer();
    fault.stack = [esp.wrapping_sub(4), esp, esp.wrapping_add(4)].map(|at| linear.read_u32(at));
    let iret = iret(entry.code.instruction(), &after);
    if let Some(iret) = iret.filter(|_| fault.ring == after.cpl() && entry.vector != Vector::PF) {
        let outcome = attempt(
            &fault.interrupted(),
            &Ram(machine.memory()),
            Operation::Iret(iret),
            &machine.processor(),
        );
        fault.refused = outcome.fault().map(|fault| fault.branch);
    }
    fault
}

/// What an error code names (SDM vol. 3A, "Error code").
pub(crate) fn named(linear: &LinearMemory<'_>, state: &State, code: u32) -> Named {
    let read = |base: u32, offset: u32, limit: u32| {
        let mut bytes = [0; 8];
        (offset + 7 <= limit)
            .then(|| linear.read(base.wrapping_add(offset), &mut bytes))
            .flatten()
            .map(|()| u64::from_le_bytes(bytes))
    };
    let offset = code & 0xfff8;
    if code & 2 != 0 {
        let entry = read(state.idtr.base, offset, u32::from(state.idtr.limit));
        return Named::Gate { vector: (offset >> 3) as u8, entry };
    }
    let selector = Selector((code & 0xfffc) as u16);
    if selector.is_null() {
        return Named::Nothing;
    }
    let entry = match selector.table() {
        Table::Gdt => read(state.gdtr.base, offset, u32::from(state.gdtr.limit)),
        Table::Ldt => read(state.ldtr.base, offset, state.ldtr.limit),
    };
    Named::Descriptor { selector, entry }
}

impl Fault {
    /// The error code, if there is one.
    pub fn error_code(&self) -> Option<u32> {
        self.frame.get(Word::ErrorCode)
    }

    /// EIP of the fault.
    pub fn eip(&self) -> u32 {
        self.frame.get(Word::Eip).unwrap_or(0).wrapping_sub(self.behind_int.into())
    }

    /// Linear address of the instruction that faulted.
    pub fn address(&self) -> u32 {
        self.code.linear.unwrap_or_else(|| self.eip())
    }

    /// The same, of code that is told by its instructions: none in virtual-8086 mode, where it is 16-bit code.
    pub fn code_address(&self) -> Option<u32> {
        (!self.frame.shape.from_virtual_8086).then(|| self.address())
    }

    /// ESP of the fault: its offset in SS, which in the same ring is taken to be flat where it is.
    pub fn stack_pointer(&self) -> u32 {
        match self.frame.get(Word::Esp) {
            Some(esp) => esp,
            None => self.frame.end().wrapping_sub(self.after.ss().base),
        }
    }

    /// The state of the fault, as far as it can be told: general registers, EIP, EFLAGS; the segment
    /// registers that a change of ring has replaced by their selectors only.
    pub fn interrupted(&self) -> State {
        let mut state = self.after;
        state.eip = self.eip();
        state.general.esp = self.stack_pointer();
        state.eflags.0 = self.frame.get(Word::Eflags).unwrap_or(state.eflags.0);
        for (index, word) in [(1, Word::Cs), (2, Word::Ss)] {
            if let Some(selector) = self.frame.selector(word) {
                state.segments[index].selector = selector;
                state.segments[index].attributes &= !(3 << 5);
                state.segments[index].attributes |= u16::from(self.ring) << 5;
            }
        }
        state
    }

    /// The instruction at the pushed EIP; none if it cannot be read, or is none.
    pub fn instruction(&self) -> Option<Instruction> {
        let code = self.code.instruction();
        if self.frame.shape.from_virtual_8086 {
            let real_mode = State { eflags: Eflags::VM, eip: self.eip(), ..self.after };
            return Some(decode(code, &real_mode)).filter(|one| !one.is_invalid());
        }
        valid_32(code, self.eip())
    }
}

/// Guest memory as the model reads it: all ones where there is no RAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ram<'a>(pub(crate) &'a Memory);

impl ia32::ReadMemory for Ram<'_> {
    fn read_u8(&self, address: u64) -> u8 {
        self.0.read_array::<1>(address).map_or(0xff, |[byte]| byte)
    }
}
