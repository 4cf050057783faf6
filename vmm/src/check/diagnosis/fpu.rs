//! The x87 registers of a program that was interrupted in the middle of a computation.
//!
//! ```text
//!  task 1   fild ── interrupt ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ fistp: takes task 2's number
//!  task 2                └─► fild, … ── interrupt ┘
//! ```
//! The x87 is no part of what PUSHA saves. A kernel that changes tasks saves and restores it, or sets CR0.TS and does so in
//! the handler of #NM (SDM vol. 3A, "Saving the x87 FPU, MMX, SSE and SSE extensions state on task or context switches"). Only
//! a program whose register stack is not empty counts, by its own doing: compilers leave it empty between two expressions, and
//! what is in an empty register is nobody's. Nothing is looked at while nobody uses the x87 so, but for now and then.

use super::left_at::{LeftAt, left_at};
use super::{Aftermath, Placed};
use crate::check::{CodePlace, Finding, Subject};
use crate::entry::{Entry, Kind, Return};
use crate::machine::Machine;

/// So many entries are looked at first, and again behind each that was worth it; then one of so many.
const FIRST: u32 = 64;
const THEN: u32 = 64;
/// So many interrupted programs are remembered.
const KEPT: usize = 8;

/// CR0.EM and CR0.TS: the x87 raises #NM, and what it holds may be somebody else's.
const TRAPS: u32 = 1 << 2 | 1 << 3;

/// The registers in use, as FXSAVE lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RegisterStack {
    top: u16,
    /// A bit for each register that is not empty.
    used: u8,
    /// ST0 and so on.
    values: [[u8; 10]; 8],
}

#[derive(Clone, Copy, Debug)]
struct Interrupted {
    sequence: u64,
    place: LeftAt,
    linear: u32,
    stack: RegisterStack,
}

/// What is kept on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Fpu {
    seen: u32,
    /// Looks that are left, less [`FIRST`].
    more: u32,
    waiting: Vec<Interrupted>,
    /// What the last return to an outer ring left there, and whether it is what that program had.
    given: Option<(RegisterStack, bool)>,
    lost: Option<(Interrupted, RegisterStack)>,
}

impl RegisterStack {
    fn read(machine: &Machine) -> Option<Self> {
        let bytes = machine.vcpu.fpu().ok()?;
        let top = u16::from_le_bytes([bytes[2], bytes[3]]) >> 11 & 7;
        let mut values = [[0; 10]; 8];
        for (value, register) in values.iter_mut().zip(bytes[32..160].chunks_exact(16)) {
            value.copy_from_slice(&register[..10]);
        }
        let mut stack = RegisterStack { top, used: bytes[4], values };
        for index in 0..8 {
            if stack.used >> ((index + u32::from(top)) & 7) & 1 == 0 {
                stack.values[index as usize] = [0; 10];
            }
        }
        Some(stack)
    }

    /// ST0, as it lies in memory, the highest byte first.
    fn first(&self) -> String {
        match self.used >> self.top & 1 {
            0 => "empty".into(),
            _ => self.values[0].iter().rev().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

impl Fpu {
    /// The kernel was entered.
    #[inline]
    pub(super) fn enter(&mut self, machine: &Machine, entry: &Entry) {
        if self.lost.is_some() || !entry.from_outer_ring() {
            return;
        }
        if !self.waiting.is_empty() {
            // Whoever waited there is gone, and its address space is another's.
            let place = left_at(&entry.after, |word| entry.frame.get(word));
            self.waiting.retain(|one| Some(one.place) != place);
        }
        if entry.kind != Kind::External || entry.after.cr0 & TRAPS != 0 {
            return;
        }
        if self.looks_next() {
            self.look(machine, entry);
        }
        self.seen = self.seen.wrapping_add(1);
        self.given = None;
    }

    fn looks_next(&self) -> bool {
        self.seen < FIRST.saturating_add(self.more) || self.seen.is_multiple_of(THEN)
    }

    #[cold]
    fn look(&mut self, machine: &Machine, entry: &Entry) {
        let Some(place) = left_at(&entry.after, |word| entry.frame.get(word)) else { return };
        let Some(stack) = RegisterStack::read(machine).filter(|stack| stack.used != 0) else {
            return;
        };
        // What is there still as the return has left it may be another task's, which this one knows nothing of.
        let is_own = self.given.is_some_and(|(given, is_own)| given != stack || is_own);
        if !is_own {
            return;
        }
        self.more = self.seen;
        if self.waiting.len() == KEPT {
            self.waiting.remove(0);
        }
        let linear = entry.code.linear.unwrap_or(place.0);
        self.waiting.push(Interrupted { sequence: entry.sequence, place, linear, stack });
    }

    /// The kernel is about to return.
    #[inline]
    pub(super) fn leave(&mut self, machine: &Machine, returning: &Return) {
        let is_over = self.lost.is_some() || returning.ring() == 0;
        if !is_over && (!self.waiting.is_empty() || self.looks_next()) {
            self.give(machine, returning);
        }
    }

    #[cold]
    fn give(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        self.given = None;
        let Some(place) = left_at(state, |word| returning.frame.get(word)) else { return };
        let index = self.waiting.iter().position(|one| one.place == place);
        let interrupted = index.map(|index| self.waiting.remove(index));
        if state.cr0 & TRAPS != 0 {
            return;
        }
        let Some(stack) = RegisterStack::read(machine) else { return };
        match interrupted {
            Some(interrupted) if interrupted.stack != stack => {
                self.lost = Some((interrupted, stack));
            }
            interrupted => self.given = Some((stack, interrupted.is_some())),
        }
    }

    /// A program that is interrupted in the middle of a computation goes on with its own numbers.
    pub(super) fn finding(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let (interrupted, now) = self.lost.as_ref()?;
        let Interrupted { sequence, linear, stack, .. } = interrupted;
        let finding = Finding::new(
            "fpu_kept",
            Subject::Kernel,
            format!("the x87 registers are not what #{sequence} interrupted: the program goes on with other numbers"),
            format!("ST0 {}", stack.first()),
            format!("ST0 {}", now.first()),
        )
        .because(
            "the kernel has let another task use them meanwhile, or has used them itself, and has not put them back; CR0.TS is 0, \
             so no #NM tells it of their next use",
        )
        .advise(
            "save the x87 where tasks are changed and restore it for the next one (`fnsave` and `frstor`, `fxsave` and `fxrstor`), \
             or set CR0.TS there and do so in the handler of #NM; compile the kernel with -mgeneral-regs-only",
        )
        .about(CodePlace::Instruction(*linear));
        Some((format!("#{sequence} at {}", aftermath.place(*linear)), finding))
    }
}
