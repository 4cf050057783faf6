//! The ways into ring 0, and the way out.
//!
//! | file | what it tells |
//! | --- | --- |
//! | `table` | the IDT: 256 gates, three of them open to ring 3 |
//! | `entry` | the assembly: from a gate to Rust, and back by IRET |
//! | `frame` | what then lies on the stack |
//!
//! [`trap`] is where all of them meet: timer, system call, fault. It decides what the event means,
//! lets somebody handle it, and switches tasks if that ended the turn.

pub(crate) mod entry;
pub(crate) mod frame;
mod table;

pub(crate) use table::start;

use crate::task::{self, Next, Task};
use crate::{call, clock};
use abi::vector;
use arch::{control, pic};
use frame::Frame;

/// Handles one entry into ring 0.
pub(crate) extern "C" fn trap(frame: &mut Frame) {
    let vector = frame.vector();
    let next = match vector {
        vector::TIMER => {
            pic::end_of_interrupt(vector);
            clock::tick()
        }
        vector::SPURIOUS_FIRST | vector::SPURIOUS_SECOND if pic::is_spurious(vector) => Next::Stay,
        vector::SYSTEM_CALL if frame.is_from_user() => call::dispatch(frame),
        // The program is not to blame for these two.
        vector::NMI | vector::MACHINE_CHECK => unexpected(frame),
        ..vector::EXCEPTIONS if frame.is_from_user() => fault(frame),
        _ => unexpected(frame),
    };
    if next == Next::Switch {
        task::table::switch();
    }
}

/// A program did what the processor does not allow: it ends, alone, and one line says why.
fn fault(frame: &Frame) -> Next {
    let task = Task::current();
    arch::println!("micro: task {task} {}", Reason(frame));
    task.end()
}

/// The kernel did, or the machine is broken.
fn unexpected(frame: &Frame) -> ! {
    panic!("{} in ring {}", Reason(frame), if frame.is_from_user() { 3 } else { 0 })
}

/// An event in words: `#PF, error 00000004, eip 080481a2, cr2 00000000`.
struct Reason<'a>(&'a Frame);

impl core::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Frame { error, eip, .. } = *self.0;
        let vector = self.0.vector();
        match vector::mnemonic(vector) {
            "vector" => write!(f, "vector {vector}")?,
            name => write!(f, "{name} (vector {vector})")?,
        }
        write!(f, ", error {error:08x}, eip {eip:08x}")?;
        if vector == vector::PAGE_FAULT {
            write!(f, ", cr2 {:08x}", control::cr2())?;
        }
        Ok(())
    }
}
