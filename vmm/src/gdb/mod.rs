//! gdb, forwards and backwards.
//!
//! esp0 speaks gdb's remote protocol at a socket (`esp0 run KERNEL --gdb`). The guest runs on the deterministic
//! clock and stands in front of its first instruction when gdb comes; the checker goes on meanwhile, and what it
//! finds is printed as in any run.
//!
//! ```text
//!  gdb ─ packets ─► socket ─► gdbstub ─► target ─► session ─► timeline ─► run
//!                                          │           └ continue, step, forwards and backwards; where it stopped
//!                                          └ registers, memory by linear address, monitor commands
//! ```
//! | file | what it does |
//! | --- | --- |
//! | `socket` | listens, takes one gdb at a time, never blocks for ever |
//! | `registers` | the registers in gdb's order, with the description that gdb asks for |
//! | `along` | what goes along with the run: judge, report, and gdb, who may call |
//! | `session` | goes on and back, to breakpoints, watched words and events; why it stopped |
//! | `target` | what gdbstub asks of a target |
//! | `monitor` | the commands behind `monitor` |
//! | `claims` | what is claimed of kernel stacks, and what the guest has shown of it |
//! | `known` | what had been seen up to a place in the past |
//! | `origin` | where the guest comes back to when something else was looked for |
//! | `once_more` | the way to where the guest stands, gone again for somebody who looks on |
//! | `watching` | the words that are watched, mapped or not yet |
//! | `tables` | TSS, GDT, IDT, stacks, as text |
//!
//! Breakpoints are addresses that the run is asked to stop at; nothing of them, and no probe, is to be seen in the
//! memory that gdb reads. Memory is read through the page tables without a trace in them. In the past nothing can
//! be changed; what is changed at the farthest place begins a new past.
//!
//! A gdb that goes away, or talks nonsense, leaves the guest where it is: the next one goes on from there. `detach`
//! lets the guest run on by itself, `kill` ends the run.

mod along;
mod claims;
mod known;
mod monitor;
mod once_more;
mod origin;
mod registers;
mod session;
mod socket;
mod tables;
mod target;
mod watching;

pub use socket::Listener;

use crate::check::Judge;
use crate::machine::{MachineError, StopRequest};
use crate::run::Run;
use crate::symbols::Symbols;
use crate::trace::Report;
use gdbstub::common::Signal;
use gdbstub::conn::Connection as _;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason};
use session::Session;
use socket::Line;
use std::io::{self, Write};
use std::time::Duration;
use target::Target;
use thiserror::Error;

/// Bytes that checkpoints may hold beside one image of the guest's memory.
const MEMORY: u64 = 48 << 20;
/// The longest packet.
const PACKET: usize = 16 << 10;
/// How often the guest is looked up from.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Why a guest cannot be debugged any more.
#[derive(Debug, Error)]
pub enum GdbError {
    /// KVM refused something.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The socket takes nobody.
    #[error("no gdb can be waited for: {0}")]
    Socket(#[from] io::Error),
}

/// What goes on beside gdb, as in any run.
pub struct Beside<'a, W: Write> {
    /// It judges each event once.
    pub judge: &'a mut Judge,
    /// It tells of them.
    pub report: &'a mut Report<W>,
    /// Names of addresses.
    pub symbols: &'a Symbols,
}

/// How a gdb went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// The guest is to run on by itself.
    Detached,
    /// The run is to end.
    Killed,
    /// Another may come.
    Lost,
}

/// Serves one gdb after the other until one detaches, one kills the guest, or `stop` is requested. The run then is
/// at the farthest place that was come to, and goes on from there by [`Run::next_event`].
///
/// # Errors
/// [`GdbError`] if KVM refuses something, or the socket fails.
pub fn serve<W: Write>(
    listener: &Listener,
    run: &mut Run,
    beside: Beside<'_, W>,
    stop: &StopRequest,
) -> Result<(), GdbError> {
    run.look_up_every(Some(LOOK_UP));
    let mut session = Session::new(run, beside)?;
    loop {
        let Some(line) = listener.accept(stop)? else { break };
        session.begin();
        match talk(&line, &mut session)? {
            Gone::Detached => break,
            Gone::Killed => {
                session.reach_the_end()?;
                session.run().end_with_enough();
                break;
            }
            Gone::Lost if stop.is_requested() => break,
            Gone::Lost => {
                eprintln!("esp0: gdb is gone; the guest waits for another at {}", listener.name());
            }
        }
    }
    session.reach_the_end()?;
    run.look_up_every(None);
    Ok(())
}

/// Serves one gdb.
fn talk<W: Write>(line: &Line<'_>, session: &mut Session<'_, W>) -> Result<Gone, MachineError> {
    let mut target = Target { session, line };
    let stub = GdbStub::builder(line).packet_buffer_size(PACKET).build();
    let Ok(stub) = stub else { return Ok(Gone::Lost) };
    let mut state = match stub.run_state_machine(&mut target) {
        Ok(state) => state,
        Err(error) => return lost(error),
    };
    loop {
        let next = match state {
            GdbStubStateMachine::Idle(stub) => {
                let Some(byte) = line.next() else { return Ok(Gone::Lost) };
                stub.incoming_data(&mut target, byte)
            }
            GdbStubStateMachine::Running(stub) => match line.take() {
                Some(byte) => stub.incoming_data(&mut target, byte),
                None if line.is_over() => return Ok(Gone::Lost),
                None => match target.session.go_on(line)? {
                    Some(reason) => stub.report_stop(&mut target, reason),
                    None => {
                        state = GdbStubStateMachine::Running(stub);
                        continue;
                    }
                },
            },
            GdbStubStateMachine::CtrlCInterrupt(stub) => {
                target.session.interrupt();
                let reason = SingleThreadStopReason::Signal(Signal::SIGINT);
                stub.interrupt_handled(&mut target, Some(reason))
            }
            GdbStubStateMachine::Disconnected(stub) => {
                return Ok(match stub.get_reason() {
                    DisconnectReason::Disconnect => Gone::Detached,
                    DisconnectReason::Kill => {
                        // Who asks by vKill waits for an answer, which gdbstub leaves out; who asks by k reads none.
                        let mut answer = line;
                        let _ = answer.write_all(b"$OK#9a").and_then(|()| answer.flush());
                        Gone::Killed
                    }
                    DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => {
                        Gone::Detached
                    }
                });
            }
        };
        state = match next {
            Ok(state) => state,
            Err(error) => return lost(error),
        };
    }
}

/// What gdb said made no sense, or could not be answered: that gdb is over. What KVM refused ends the run.
fn lost(error: GdbStubError<MachineError, io::Error>) -> Result<Gone, MachineError> {
    if error.is_target_error() {
        return match error.into_target_error() {
            Some(error) => Err(error),
            None => Ok(Gone::Lost),
        };
    }
    eprintln!("esp0: gdb was not understood: {error}");
    Ok(Gone::Lost)
}
