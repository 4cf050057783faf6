//! System calls whose result never comes to the program: EAX behind each of them is its own number again.
//!
//! ```text
//!  program   mov eax, 4 ─ int 0x80 ─────────────────────────────► test eax, eax: 4, whatever was done
//!  kernel                    └─► pusha ─ call serve ─ popa ─ iret
//!                                              EAX = result   └─ brings back the 4 that was pushed
//! ```
//! Registers that come back as they were are right for most interrupts, and for calls that give nothing back. So the program
//! has to go by EAX: a branch behind its `int` leads elsewhere with another value there. And one call may by chance give its
//! own number, 0 and 1 above all: what counts are two numbers at least, and that no call ever came back with another EAX.
//! A note: nobody but the two of them knows what they have agreed upon.

use super::left_at::{LeftAt, left_at};
use super::{Aftermath, Placed, fault_text};
use crate::check::{CodePlace, Finding, Subject};
use crate::entry::{Entry, Kind, Return};
use crate::instruction::interpret::goes_by_eax;
use crate::machine::{LinearMemory, Machine};
use ia32::{Eflags, General, Selector, State, Vector, Word};
use iced_x86::Instruction;

/// So many calls that have not come back are remembered.
const WAITING: usize = 8;
/// So many that have are looked at.
const RETURNS: u32 = 1024;
/// From so many on that have all come back so, it is no chance.
const ENOUGH: u32 = 4;
/// What tells nothing where it comes back: no error, yes.
const TELLS: u32 = 1;

const ESP: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Call {
    sequence: u64,
    place: LeftAt,
    general: General,
}

/// A call behind which the program goes by EAX.
#[derive(Clone, Copy, Debug)]
struct GoneBy {
    call: Call,
    /// The branch, by linear address.
    branch: Instruction,
    /// Linear address of the `int`.
    int: u32,
}

/// How the handler leaves.
#[derive(Clone, Copy, Debug)]
struct WayOut {
    /// Linear address of POPA, and of the word that it takes EAX from.
    popa: Option<(u32, u32)>,
    iret: u32,
}

/// What is kept on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    /// That of the first call.
    vector: Option<Vector>,
    /// A call has given something back, or so many have been looked at.
    over: bool,
    waiting: Vec<Call>,
    returns: u32,
    /// With two numbers.
    used: [Option<GoneBy>; 2],
    /// How often each register has come back changed.
    changed: [u32; 8],
    exit: Option<WayOut>,
    /// Each register before the last call that changed it, and behind it.
    example: [(u32, u32); 8],
}

impl Results {
    /// The kernel was entered.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry) {
        let is_call = !self.over && entry.kind == Kind::Software && entry.from_outer_ring();
        if is_call && entry.vector.0 >= 32 {
            self.call(entry);
        }
    }

    fn call(&mut self, entry: &Entry) {
        let Some(place) = left_at(&entry.after, |word| entry.frame.get(word)) else { return };
        if *self.vector.get_or_insert(entry.vector) != entry.vector {
            return;
        }
        self.waiting.retain(|one| one.place != place);
        if self.waiting.len() == WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(Call { sequence: entry.sequence, place, general: entry.after.general });
    }

    /// The kernel is about to return.
    #[inline]
    pub(super) fn leave(&mut self, machine: &Machine, returning: &Return) {
        if !self.over && !self.waiting.is_empty() && returning.ring() == 3 {
            self.give(machine, returning);
        }
    }

    fn give(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        let place = left_at(state, |word| returning.frame.get(word));
        let index = self.waiting.iter().position(|one| Some(one.place) == place);
        let Some(call) = index.map(|index| self.waiting.remove(index)) else { return };
        let (before, after) = (call.general.to_array(), state.general.to_array());
        self.over = before[0] != after[0] || self.returns == RETURNS;
        if self.over {
            *self = Results { over: true, ..Results::default() };
            return;
        }
        for index in (1..8).filter(|index| *index != ESP && before[*index] != after[*index]) {
            self.changed[index] += 1;
            self.example[index] = (before[index], after[index]);
        }
        self.returns += 1;
        let number = before[0];
        let is_known = |used: &GoneBy| used.call.general.eax == number;
        if number > TELLS && !self.used.iter().flatten().any(is_known) {
            self.look(machine, returning, call);
        }
    }

    #[cold]
    fn look(&mut self, machine: &Machine, returning: &Return, call: Call) {
        let Some(free) = self.used.iter().position(Option::is_none) else { return };
        let state = &returning.state;
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        let Some(program) = program(&linear, returning, call) else { return };
        let code = |at: u32| {
            let mut bytes = [0; 15];
            let count = linear.read_some(at, &mut bytes);
            bytes[..count].to_vec()
        };
        if let Some(branch) = goes_by_eax(&program, &linear, &code) {
            let int = program.cs().base.wrapping_add(program.eip).wrapping_sub(2);
            self.used[free] = Some(GoneBy { call, branch, int });
            self.exit = Some(WayOut::read(&linear, returning));
        }
    }

    /// A system call gives back what the program asks of it.
    pub(super) fn finding(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let [Some(first), Some(second)] = self.used else { return None };
        let (vector, exit) = (self.vector?, self.exit?);
        if self.over || self.returns < ENOUGH {
            return None;
        }
        let int = format!("`int {:#04x}`", vector.0);
        let goes_by = |used: &GoneBy| {
            format!(
                "EAX {:08x} behind #{}, the number itself; `{}` at {} goes by it",
                used.call.general.eax,
                used.call.sequence,
                fault_text::text(&used.branch),
                aftermath.place(used.branch.ip32())
            )
        };
        let popped = exit.popa.map(|(popa, word)| {
            format!(
                "`popa` at {} brings EAX back as it was pushed when the handler began, at {word:08x}: what a function gives back \
                 in EAX is lost there, unless it is stored in that word",
                aftermath.place(popa)
            )
        });
        // One call may give what the one before it has given.
        let often = |index: &usize| self.changed[*index] * 2 > self.returns;
        let elsewhere = (1..8).find(often).map(|index| {
            let (name, (before, after)) = (General::NAMES[index], self.example[index]);
            format!(
                "{name} comes back changed instead, {after:08x} for {before:08x} the last time: that may be the result, in the \
                 word of another register"
            )
        });
        let reasons: Vec<String> = [elsewhere, popped].into_iter().flatten().collect();
        let finding = Finding::new(
            "call_result",
            Subject::Kernel,
            format!(
                "no {int} gives anything back: each of {} came back with its own number in EAX, and the program goes by EAX",
                self.returns
            ),
            "the call's result in EAX, where the program looks for it",
            format!("{}; {}", goes_by(&first), goes_by(&second)),
        )
        .advise(
            "store the result in EAX's word of the saved registers before they are popped: `mov [esp+28], eax` right before `popa`; \
             PUSHA pushes EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, so in a struct EDI comes first and EAX last",
        )
        .about(CodePlace::Instruction(exit.popa.map_or(exit.iret, |(popa, _)| popa)));
        let finding = match reasons.is_empty() {
            true => finding,
            false => finding.because(reasons.join("; ")),
        };
        let place = format!("#{} at {}", first.call.sequence, aftermath.place(first.int));
        Some((place, finding.as_note()))
    }
}

/// The program as the return leaves it, if it has the kernel's flat segments.
fn program(linear: &LinearMemory<'_>, returning: &Return, call: Call) -> Option<State> {
    let frame = &returning.frame;
    let (eip, esp, _) = call.place;
    let code = linear.descriptor(&returning.state, Selector(frame.selector(Word::Cs)?))?;
    let stack = linear.descriptor(&returning.state, Selector(frame.selector(Word::Ss)?))?;
    let base = returning.state.cs().base;
    if !code.big() || code.base() != base || stack.base() != base {
        return None;
    }
    let general = General { esp, ..returning.state.general };
    let eflags = Eflags(frame.get(Word::Eflags)?);
    Some(State { eip, eflags, general, ..returning.state })
}

impl WayOut {
    fn read(linear: &LinearMemory<'_>, returning: &Return) -> WayOut {
        const POPA: u8 = 0x61;
        let iret = returning.state.instruction_address();
        let mut before = [0; 4];
        let _ = linear.read(iret.wrapping_sub(4), &mut before);
        // What is dropped between POPA and IRET: an error code, a vector.
        let dropped = match before {
            [.., POPA] => Some((1, 0)),
            [POPA, 0x83, 0xc4, count] => Some((4, count.into())),
            _ => None,
        };
        let popa = dropped.map(|(length, dropped): (u32, u32)| {
            let word = returning.frame.address.wrapping_sub(dropped).wrapping_sub(4);
            (iret.wrapping_sub(length), word)
        });
        WayOut { popa, iret }
    }
}
