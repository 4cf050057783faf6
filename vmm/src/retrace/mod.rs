//! How the guest came to where a finding has it: the way there is gone over once more. [`who_wrote`] tells the same of a
//! word of memory.
//!
//! That execution has left the code, or that interrupts stay closed, is seen when the instruction that did it is long
//! past. A run on a clock that counts can be repeated, so the same guest is run again to the last entry before, and
//! goes on from there by single instructions:
//!
//! ```text
//!  event 0 ──── … ──── the last entry ─ step ─ step ─ … ─ the first place without code
//!                                                       ─ IF from 1 to 0, and never back
//!                                                       ─ ESP onto the stack that is returned from
//!                                                       ─ what loaded the register that was used
//! ```
//! Nothing is kept, and nothing costs, until a finding asks. Where the way is too long to be stepped, nothing is said.

mod doer;
mod origin;
mod stack;
mod writer;

pub use doer::Doer;
pub use origin::{Origin, Value};
pub use stack::{SwitchedStack, Taken};
pub use writer::{Question, Writer, who_wrote};

use crate::check::{ChangedWord, Retrace};
use crate::instruction::{is_call_before, valid_32};
use crate::machine::MachineError;
use crate::run::{Event, Run};
use doer::{entered_on, loads_stack};
use ia32::{Eflags, State, Word};
use iced_x86::FlowControl;
use std::time::{Duration, Instant};

/// How long the way may be stepped.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many instructions with interrupts closed, and nothing is going to open them.
const SETTLED: u32 = 20_000;
/// Before a kernel opens interrupts for the first time it has more to do.
const BEGINNING: u32 = 10 * SETTLED;

/// A word that was popped into EIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnAddress {
    /// Its linear address.
    pub address: u32,
    /// Where that lies in physical memory.
    pub physical: Option<u64>,
}

/// MOV CR3 has put another page under the stack in use.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The instruction.
    pub by: Doer,
    /// Where the page of ESP lay in physical memory before.
    pub was: u64,
    /// Where it lies since.
    pub is: u64,
}

/// What the way there has shown.
#[derive(Clone, Debug)]
pub enum Way {
    /// This instruction led out of the code.
    Left {
        /// The instruction.
        by: Doer,
        /// The linear address that it led to.
        to: u32,
        /// The word that held it, if EIP was popped.
        popped: Option<ReturnAddress>,
        /// The stack that it was popped from, where code has changed to that before.
        stack: Option<Box<SwitchedStack>>,
        /// Where a call had returned to, if execution has come from there in a straight line.
        ran_on_from: Option<u32>,
        /// What had put other memory under the stack before.
        exchanged: Option<Exchanged>,
    },
    /// This instruction took ESP onto the stack.
    Moved {
        /// The instruction.
        by: Doer,
        /// ESP behind it.
        to: u32,
    },
    /// The value that was used came from there.
    Came(Box<Value>),
    /// The word was written so.
    Written {
        /// The word.
        word: ChangedWord,
        /// Who wrote it.
        writer: Writer,
    },
    /// This instruction closed interrupts.
    Closed {
        /// The instruction.
        by: Doer,
        /// The stack that it took EFLAGS off, where code has changed to that before.
        stack: Option<Box<SwitchedStack>>,
    },
    /// An interrupt gate closed them, and no IRET has come since: the handler has gone on elsewhere.
    Entered {
        /// The entry's number.
        sequence: u64,
        /// Where it has changed stacks, and the linear address at which the other one's code went on.
        switched: Option<(Doer, u32)>,
    },
}

/// Goes the way again in `run`: the same guest in front of its first instruction, on a clock that counts. None if it
/// shows nothing.
///
/// # Errors
/// [`MachineError`] if KVM refuses something.
pub fn retrace(run: &mut Run, question: Retrace) -> Result<Option<Way>, MachineError> {
    match question {
        Retrace::Departure { after_entry } if go_to(run, after_entry)? => departure(run),
        Retrace::Closing { after_entry } if go_to(run, after_entry)? => closing(run, after_entry),
        Retrace::OntoStack { after_entry, end, size } if go_to(run, after_entry)? => {
            onto_stack(run, end, size)
        }
        Retrace::Register { after_entry, register } if go_to(run, after_entry)? => {
            Ok(origin::of_register(run, register)?.map(|value| Way::Came(Box::new(value))))
        }
        Retrace::Written { after_entry, word } => {
            Ok(written_since(run, after_entry, word)?.map(|writer| Way::Written { word, writer }))
        }
        _ => Ok(None),
    }
}

/// Who wrote a word between this entry and the next, or where the guest leaves the code; the run is as in
/// [`retrace`].
///
/// # Errors
/// [`MachineError`] if KVM refuses something.
pub fn written_since(
    run: &mut Run,
    after_entry: u64,
    word: ChangedWord,
) -> Result<Option<Writer>, MachineError> {
    let ChangedWord { physical: address, value, .. } = word;
    if !go_to(run, after_entry)? {
        return Ok(None);
    }
    let word = |run: &Run| run.machine().memory().read_u32(address).unwrap_or(0);
    let (mut found, mut old) = (None, word(run));
    let mut stack_end = if after_entry > 0 { entered_on(run) } else { None };
    let give_up_at = Instant::now() + PATIENCE;
    while Instant::now() < give_up_at {
        let by = stand(run);
        let moment = run.go_on_by_one()?;
        let now = word(run);
        let state = run.state();
        stack_end = stack_end.filter(|_| !loads_stack(&by, &state));
        if now != old && now == value {
            let Doer { before, code } = by;
            let new = now;
            found = Some(match &moment.event {
                Some(Event::Entry(entry)) => Writer::Push { entry: entry.sequence, old, new },
                _ => Writer::Instruction { before, code, after_entry, old, new, stack_end },
            });
        }
        old = now;
        let is_over = matches!(moment.event, Some(Event::Entry(_) | Event::End(_)));
        if is_over || !has_code(run, &state) {
            break;
        }
    }
    Ok(found)
}

/// Runs to the entry of this number.
fn go_to(run: &mut Run, entry: u64) -> Result<bool, MachineError> {
    let mut seen = 0;
    while seen < entry {
        match run.next_event()? {
            Event::Entry(one) => seen = one.sequence,
            Event::End(_) => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

fn stand(run: &mut Run) -> Doer {
    let state = run.state();
    let mut code = [0; 15];
    let at = state.instruction_address();
    let count = run.probes().read_code(&run.machine().linear(), at, &mut code);
    Doer { before: Box::new(state), code: code[..count].to_vec() }
}

/// Something stands there that is not zeros, nor what a BIOS keeps.
fn has_code(run: &Run, state: &State) -> bool {
    const BIOS_DATA: u64 = 0x500;
    let mut code = [0; 15];
    let at = state.instruction_address();
    let linear = run.machine().linear();
    let physical = linear.paging.translate(linear.memory, at);
    if physical.is_none_or(|physical| physical < BIOS_DATA) {
        return false;
    }
    let count = run.probes().read_code(&run.machine().linear(), at, &mut code);
    code[..count].iter().any(|byte| *byte != 0)
}

/// A call returns to there.
fn is_behind_call(run: &Run, at: u32) -> bool {
    let (mut code, linear) = ([0; 7], run.machine().linear());
    run.probes().read_code(&linear, at.wrapping_sub(7), &mut code) == 7 && is_call_before(&code)
}

/// Takes in what `by` has done to the stack.
fn follow(stack: &mut Option<SwitchedStack>, run: &Run, by: &Doer, after: &State) {
    let linear = run.machine().linear();
    let word = |address| linear.read_u32(address);
    SwitchedStack::follow(stack, by, after, word, |at| is_behind_call(run, at));
}

/// The stack, with the words above the one at `address`.
fn seen_above(stack: Option<SwitchedStack>, run: &Run, address: u32) -> Option<Box<SwitchedStack>> {
    let linear = run.machine().linear();
    let words = (1..=stack::ABOVE as u32)
        .map_while(|index| linear.read_u32(address.wrapping_add(index * 4)));
    stack.map(|stack| Box::new(SwitchedStack { above: words.collect(), ..stack }))
}

fn departure(run: &mut Run) -> Result<Option<Way>, MachineError> {
    let give_up_at = Instant::now() + PATIENCE;
    let (mut stack, mut ran_on_from, mut exchanged) = (None, None, None);
    while Instant::now() < give_up_at {
        let by = stand(run);
        let below = loads_cr3(&by).then(|| page_of_stack(run, &by.before)).flatten();
        let moment = run.go_on_by_one()?;
        if let Some(Event::End(_) | Event::Switch(_)) = moment.event {
            return Ok(None);
        }
        if let Some(was) = below {
            let state = run.state();
            let is = page_of_stack(run, &state).filter(|is| *is != was);
            exchanged = is.map(|is| Exchanged { by: by.clone(), was, is }).or(exchanged);
        }
        // The fault has been delivered already.
        let state = match &moment.event {
            Some(Event::Entry(entry)) => {
                let mut state = entry.after;
                state.eip = entry.frame.get(Word::Eip).unwrap_or(0);
                state
            }
            _ => run.state(),
        };
        if state.cpl() != 0 || by.before.cpl() != 0 || has_code(run, &state) {
            follow(&mut stack, run, &by, &state);
            ran_on_from = match by.code.first() {
                Some(0xc3) => {
                    Some(state.instruction_address()).filter(|at| is_behind_call(run, *at))
                }
                _ => ran_on_from.filter(|_| !leads_away(&by.code) && moment.event.is_none()),
            };
            continue;
        }
        // A piece that was not seen whole has no instruction that led away.
        if !leads_away(&by.code) {
            return Ok(None);
        }
        let pops = matches!(by.code.first(), Some(0xc3 | 0xc2 | 0xcf | 0xcb | 0xca));
        let popped = pops.then(|| {
            let linear = run.machine().linear();
            let address = by.before.stack_address();
            ReturnAddress { address, physical: linear.paging.translate(linear.memory, address) }
        });
        // Who has taken another stack since has nothing to do with it.
        let page = |esp: u32| esp >> 12;
        let esp = by.before.general.esp;
        let exchanged = exchanged
            .filter(|one| popped.is_some() && page(one.by.before.general.esp) == page(esp));
        let stack = seen_above(stack.filter(|_| pops), run, by.before.stack_address());
        let (to, ran_on_from) = (state.instruction_address(), ran_on_from.filter(|_| pops));
        return Ok(Some(Way::Left { by, to, popped, stack, ran_on_from, exchanged }));
    }
    Ok(None)
}

fn loads_cr3(by: &Doer) -> bool {
    by.before.cpl() == 0 && matches!(by.code[..], [0x0f, 0x22, modrm, ..] if modrm >> 3 & 7 == 3)
}

/// Where the page that ESP points to lies in physical memory.
fn page_of_stack(run: &Run, state: &State) -> Option<u64> {
    let linear = run.machine().linear();
    linear.paging.translate(linear.memory, state.stack_address()).map(|address| address & !0xfff)
}

/// The last instruction before the next return that takes ESP onto the stack with this end and size from elsewhere.
fn onto_stack(run: &mut Run, end: u32, size: u32) -> Result<Option<Way>, MachineError> {
    let holds = |state: &State| state.cpl() == 0 && end.wrapping_sub(state.stack_address()) <= size;
    let give_up_at = Instant::now() + PATIENCE;
    let mut found = None;
    while Instant::now() < give_up_at {
        let by = stand(run);
        let moment = run.go_on_by_one()?;
        if let Some(Event::Return(_) | Event::Entry(_) | Event::End(_) | Event::Switch(_)) =
            moment.event
        {
            return Ok(found);
        }
        let state = run.state();
        if by.before.cpl() == 0 && !holds(&by.before) && holds(&state) {
            found = Some(Way::Moved { by, to: state.general.esp });
        }
    }
    Ok(None)
}

/// The instruction in `code` may go on elsewhere than after itself.
fn leads_away(code: &[u8]) -> bool {
    valid_32(code, 0).is_none_or(|instruction| instruction.flow_control() != FlowControl::Next)
}

fn closing(run: &mut Run, after_entry: u64) -> Result<Option<Way>, MachineError> {
    let give_up_at = Instant::now() + PATIENCE;
    let open = |state: &State| state.eflags.contains(Eflags::IF);
    let by_gate = after_entry > 0 && !open(&run.state());
    let mut way = by_gate.then_some(Way::Entered { sequence: after_entry, switched: None });
    // A kernel begins with interrupts closed, which is nobody's doing.
    let mut begins = after_entry == 0;
    let (mut moved, mut closed_for) = (None, 0);
    let mut stack: Option<SwitchedStack> = None;
    while Instant::now() < give_up_at && closed_for < if begins { BEGINNING } else { SETTLED } {
        let by = stand(run);
        let moment = run.go_on_by_one()?;
        if matches!(moment.event, Some(Event::End(_))) {
            break;
        }
        let state = run.state();
        closed_for += 1;
        follow(&mut stack, run, &by, &state);
        if open(&state) {
            (way, closed_for, begins) = (None, 0, false);
            continue;
        }
        if open(&by.before) {
            closed_for = 0;
            way = match moment.event {
                Some(Event::Entry(entry)) => {
                    Some(Way::Entered { sequence: entry.sequence, switched: None })
                }
                _ => {
                    let pops = by.code.first() == Some(&0x9d);
                    let own = stack.clone().filter(|one| pops && one.has_pushed_nothing());
                    let stack = seen_above(own, run, by.before.stack_address());
                    Some(Way::Closed { by, stack })
                }
            };
            continue;
        }
        if let Some(Way::Entered { switched: switched @ None, .. }) = &mut way {
            let is_ret = by.code.first() == Some(&0xc3);
            if is_ret && let Some(doer) = moved.take() {
                *switched = Some((doer, state.instruction_address()));
            } else if loads_stack(&by, &state) {
                moved = Some(by);
            }
        }
    }
    Ok(way.filter(|_| closed_for > 0))
}
