//! A loop of ring 0 that compares registers and jumps, and reads no memory: what it waits for cannot come.
//!
//! ```text
//!      mov eax, [ticks]      once
//!  1:  cmp eax, ebx      ◄─┐ the compiler may take it that nobody else writes the variable,
//!      jb 1b             ──┘ where it is not `volatile`
//! ```
//! A jump to itself alone is no such loop: a kernel that leaves all to its handlers waits so.

use super::{Aftermath, Diagnosis, Placed, fault_text};
use crate::check::{Finding, History, Objects, Subject};
use crate::entry::Kind;
use crate::instruction::operands::register_value;
use crate::instruction::valid_32;
use crate::run::Ending;
use ia32::{Eflags, State, Word};
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

const RULE: &str = "bare_loop";

/// A loop is so many instructions and bytes at most.
const FEW: usize = 8;
const NEAR: u32 = 64;

/// Ring 0 does not go round with interrupts open in what no interrupt can end.
pub(super) fn never_ends(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let state = looping(diagnosis, aftermath, history)?;
    let at = state.instruction_address();
    let compare = around(aftermath, at)?;
    let register = compare.op0_register().full_register32();
    let held = register_value(&state, register)?;
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        "the kernel goes round in a loop that reads no memory: no interrupt can end it",
        "a loop that reads anew, each time round, what a handler changes",
        format!(
            "`{}` at {}, where {register:?} is {held:08x} each time",
            fault_text::text(&compare),
            aftermath.place(compare.ip32())
        ),
    )
    .about_instruction(compare.ip32());
    let finding = match loaded(aftermath, &compare, history.objects()) {
        Some((register, variable)) => {
            let now = aftermath.linear(&state).read_u32(variable);
            let holds = now.map_or_else(String::new, |now| format!(", which holds {now:08x} now"));
            let finding = finding.because(format!(
                "{register:?} was read once, before the loop, from {}{holds}",
                aftermath.place(variable)
            ));
            // That it has changed since is what the loop has missed.
            let missed = now.is_some() && now != register_value(&state, register);
            if missed { finding } else { finding.as_note() }
        }
        // A handler may write the register.
        None => finding
            .because("what is compared is in registers, and the loop writes none of them")
            .as_note(),
    };
    let place = format!("the end, in ring 0, at {}", aftermath.place(at));
    Some((
        place,
        finding.advise("declare the variable `volatile`, so that each read of it is one of memory"),
    ))
}

/// The state in the loop: at the end, or as the interrupt's handler that runs at the end has found it.
pub(super) fn looping(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<State> {
    let mut state = aftermath.end.state;
    if !matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped) || state.cpl() != 0 {
        return None;
    }
    if !state.eflags.contains(Eflags::IF) {
        let last = diagnosis.last_entry.filter(|(_, kind, _)| *kind == Kind::External)?.0;
        let live = history.live().next_back().filter(|live| live.sequence == last)?;
        if live.from_outer_ring() {
            return None;
        }
        state.eip = live.frame.get(Word::Eip)?;
        state.eflags.0 = live.frame.get(Word::Eflags)?;
        state.general = live.registers;
    }
    state.eflags.contains(Eflags::IF).then_some(state)
}

/// What the loop around `at` compares, if it does nothing else.
fn around(aftermath: &Aftermath<'_>, at: u32) -> Option<Instruction> {
    let decode = |at: u32| valid_32(&aftermath.code(&aftermath.end.state, at), at);
    let goes_back = |one: &Instruction| {
        is_jump(one)
            && at.wrapping_sub(one.near_branch32()) < NEAR
            && one.ip32() >= one.near_branch32()
    };
    // On to the jump back.
    let mut one = decode(at)?;
    for _ in 0..FEW {
        if goes_back(&one) || !(is_compare(&one) || is_idle(&one) || is_way_out(&one)) {
            break;
        }
        one = decode(one.next_ip32())?;
    }
    let back = Some(one).filter(goes_back)?;
    // And the whole of it once more, from the start.
    let (mut compare, mut depends, mut passed) = (None, is_way_out(&back), false);
    let mut next = back.near_branch32();
    while next < back.ip32() {
        let one = decode(next)?;
        passed |= next == at;
        match () {
            () if is_compare(&one) => compare = compare.or(Some(one)),
            () if is_way_out(&one) => depends = true,
            () if is_idle(&one) => {}
            () => return None,
        }
        next = one.next_ip32();
    }
    (next == back.ip32() && depends && (passed || at == next)).then_some(compare?)
}

fn is_jump(one: &Instruction) -> bool {
    matches!(one.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
        && one.op0_kind() == OpKind::NearBranch32
}

/// A jump on flags, which LOOP and JECXZ are not: those go by ECX.
fn is_way_out(one: &Instruction) -> bool {
    one.is_jcc_short_or_near()
}

fn is_compare(one: &Instruction) -> bool {
    let is_register = |kind| kind == OpKind::Register;
    matches!(one.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
        && is_register(one.op0_kind())
        && one.op_kinds().all(|kind| kind != OpKind::Memory)
}

fn is_idle(one: &Instruction) -> bool {
    matches!(one.mnemonic(), Mnemonic::Nop | Mnemonic::Pause)
}

/// The variable that a register of `compare` was loaded from, in the same function, last before the loop.
fn loaded(
    aftermath: &Aftermath<'_>,
    compare: &Instruction,
    objects: &Objects,
) -> Option<(Register, u32)> {
    let function = objects.function_at(compare.ip32())?;
    let compared = |register: Register| {
        (0..compare.op_count()).any(|index| {
            compare.op_kind(index) == OpKind::Register
                && compare.op_register(index).full_register32() == register
        })
    };
    let mut written = InstructionInfoFactory::new();
    let (mut at, mut found) = (function.start, None);
    while at < compare.ip32() {
        let one = valid_32(&aftermath.code(&aftermath.end.state, at), at)?;
        let is_variable = one.mnemonic() == Mnemonic::Mov
            && one.op1_kind() == OpKind::Memory
            && one.memory_base() == Register::None
            && one.memory_index() == Register::None;
        let calls = matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        let mut writes = |register: Register| {
            let mut used = written.info(&one).used_registers().iter();
            calls
                || used.any(|used| {
                    used.register().full_register32() == register
                        && !matches!(
                            used.access(),
                            OpAccess::Read | OpAccess::CondRead | OpAccess::None
                        )
                })
        };
        found = match found {
            _ if is_variable && compared(one.op0_register()) => {
                Some((one.op0_register(), one.memory_displacement32()))
            }
            other => other.filter(|(register, _)| !writes(*register)),
        };
        at = one.next_ip32();
    }
    found
}
