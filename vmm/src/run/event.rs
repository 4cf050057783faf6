//! What a run tells, one event after the other.

use super::{End, StackLoad};
use crate::entry::{Crossing, Entry, Return, Returned, Sysenter, TaskSwitch};
use ia32::State;
use std::sync::Arc;

/// What happened next. The guest stands still when it is told, and its memory can be read.
#[derive(Clone, Debug)]
pub enum Event {
    /// The guest wrote to its console.
    Console(Vec<u8>),
    /// An event has been delivered: the guest stands in front of a handler's first instruction.
    Entry(Arc<Entry>),
    /// SYSENTER has been executed: the guest stands in front of the first instruction of its target.
    Sysenter(Box<Sysenter>),
    /// A far CALL has gone through a call gate to an inner ring, and the guest stands in front of the first instruction there; or
    /// it stands in front of a far RET that leaves for an outer ring.
    Crossing(Box<Crossing>),
    /// The guest stands in front of an IRET of the kernel.
    Return(Box<Return>),
    /// The IRET told of before has been executed. Told in exact mode only, and not if it faulted.
    Returned(Box<Returned>),
    /// A far jump to a TSS has switched tasks. Told at the next exit after it, whatever that was for.
    Switch(Box<TaskSwitch>),
    /// A kernel that started in real mode has loaded a stack, before it had an IDT.
    StackLoad(Box<StackLoad>),
    /// The guest is in ring 3, right after an IRET, and has executed nothing there. Told on the
    /// deterministic clock only.
    Resumed(Box<State>),
    /// The guest has computed for long without an exit, and is preempted where it stands: its timer is due, or the place
    /// is kept for whoever goes back. Told on the clock of exits only.
    Preempted(Box<State>),
    /// The guest stands at an address at which it was asked to stop ([`Run::stop_at`](super::Run::stop_at)).
    Reached(Box<State>),
    /// One instruction of ring 0 has been executed, where the kernel is followed.
    Step(Box<Step>),
    /// The guest runs no more. Told again by each later call.
    End(Box<End>),
}

/// One instruction of ring 0.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The state in front of it.
    pub before: State,
    /// The state after it.
    pub after: State,
    code: [u8; 15],
    length: u8,
}

impl Step {
    pub(super) fn new(before: State, after: State, bytes: &[u8]) -> Self {
        let mut code = [0; 15];
        let length = bytes.len().min(code.len());
        code[..length].copy_from_slice(&bytes[..length]);
        Step { before, after, code, length: length as u8 }
    }

    /// The instruction, and what follows it, as many of 15 bytes as are mapped.
    pub fn code(&self) -> &[u8] {
        &self.code[..usize::from(self.length)]
    }
}
