//! A loop that reads a device's register until a bit of it changes, which it is not going to.
//!
//! ```text
//!  1:  in al, dx         3FD: 60, each time
//!      test al, 2        an overrun: nobody sends
//!      jz 1b
//! ```
//! That the loop never ends is not guessed from its shape: it is gone through, with what the port has given each time, until
//! all is as it was. Which bit it waits for is what ends it, changed alone. Then the device says whether that bit can come by
//! itself, or by somebody who types: who waits for a key is told nothing.

use super::bare_loop::looping;
use super::{Aftermath, Diagnosis, Placed, fault_text};
use crate::check::{Finding, History, Subject};
use crate::devices::bus::Register;
use crate::devices::serial::Port;
use crate::devices::{ide, unanswered};
use crate::instruction::interpret::{Polling, polling};
use crate::run::Ending;
use ia32::Eflags;

/// Why a bit does not come, and what to do.
struct Never {
    why: String,
    advice: &'static str,
}

/// No loop of ring 0 waits for a bit of a device that does not change.
pub(super) fn waits_in_vain(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let polled = aftermath.devices.polled();
    let unfinished = matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped);
    if !unfinished || polled.row < unanswered::POLLING {
        return None;
    }
    let end = aftermath.end.state;
    let closed = end.cpl() == 0 && !end.eflags.contains(Eflags::IF);
    let states = [looping(diagnosis, aftermath, history), (end.cpl() == 0).then_some(end)];
    let (state, Polling { by, awaited, cycle }) =
        states.into_iter().flatten().find_map(|state| {
            let linear = aftermath.linear(&state);
            let code = |at| aftermath.code(&state, at);
            Some((state, polling(&state, &linear, &code, (polled.port, polled.value))?))
        })?;
    // A handler may change what it looks at beside the port.
    if !cycle.reads.is_empty() && !closed {
        return None;
    }
    let Never { why, advice } = never(polled.port, polled.value, awaited, aftermath)?;
    let at = state.cs().base.wrapping_add(by.ip32());
    let finding = Finding::new(
        "polling",
        Subject::Kernel,
        format!(
            "the kernel waits for ever for {} of port {:#x}: {why}",
            bits(awaited, polled.value),
            polled.port
        ),
        "a wait for a bit that comes",
        format!(
            "{:02x} each time, by `{}` at {}",
            polled.value,
            fault_text::text(&by),
            aftermath.place(at)
        ),
    )
    .because("the loop ends with that bit alone, and does nothing that would bring it about")
    .advise(advice)
    .about_instruction(at);
    Some((format!("the end, in ring 0, at {}", aftermath.place(at)), finding))
}

/// `bit 1 (02) to be set`.
fn bits(awaited: u8, value: u8) -> String {
    let one = |bit: u32| {
        let becomes = if value >> bit & 1 == 0 { "set" } else { "clear" };
        format!("bit {bit} ({:02x}) to be {becomes}", 1u8 << bit)
    };
    let all: Vec<String> = (0..8).filter(|bit| awaited >> bit & 1 != 0).map(one).collect();
    all.join(" or ")
}

/// Why none of these bits changes; none if one may, or nobody knows.
fn never(port: u16, value: u8, awaited: u8, aftermath: &Aftermath<'_>) -> Option<Never> {
    if awaited == 0 {
        return None;
    }
    // What is set and is to be clear, as a transmitter's readiness, is clear for a moment on a PC.
    let to_be_set = awaited & !value;
    match Register::at(port)? {
        Register::Serial(port, register) => serial(port, register, awaited, to_be_set),
        Register::KeyboardCommand => keyboard(awaited, to_be_set),
        Register::Ide(channel, 7 | ide::CONTROL) => disk(channel, value, awaited, aftermath),
        _ => None,
    }
}

fn serial(port: Port, register: u8, awaited: u8, to_be_set: u8) -> Option<Never> {
    const LINE: &str = "line status, at offset 5 from the port's first register (3fd), has bit 5 (20) set when the next byte may \
                        be sent, and bit 0 (01) when one has come";
    /// Overrun, parity, framing, break; an error in the FIFO.
    const ERRORS: u8 = 0x9e;
    let why = match register {
        // A byte that comes sets bit 0.
        5 if awaited != to_be_set || awaited & !ERRORS != 0 => return None,
        5 => "line status has such a bit for an error of what comes, and nothing has come".into(),
        // A byte that comes is there, and the cause of an interrupt.
        0 | 2 => return None,
        1 | 3 | 4 | 7 => {
            format!("register {register} of a serial port holds what was written to it")
        }
        _ if port == Port::Second => return None,
        _ => "that register is modem status, and its lines do not change".into(),
    };
    Some(Never { why, advice: LINE })
}

fn keyboard(awaited: u8, to_be_set: u8) -> Option<Never> {
    /// The controller has not taken the last byte yet.
    const INPUT_FULL: u8 = 2;
    (awaited == INPUT_FULL && to_be_set == awaited).then(|| Never {
        why: "it is set only while the keyboard controller takes a byte that was written, and that is done".into(),
        advice: "wait until bit 1 (02) is clear before a byte is written to port 0x60 or 0x64, and until bit 0 (01) is set before \
                 one is read from port 0x60",
    })
}

fn disk(channel: usize, value: u8, awaited: u8, aftermath: &Aftermath<'_>) -> Option<Never> {
    const ERROR: u8 = 1;
    const DATA: u8 = 8;
    let drive = aftermath.devices.ide().selected(channel)?;
    if drive.is_busy() || awaited != DATA || value & DATA != 0 {
        return None;
    }
    Some(if value & ERROR != 0 {
        Never {
            why: "the drive has refused the last command (bit 0, ERR, is set), and has no data"
                .into(),
            advice: "look at bit 0 as well, and at the error register beside it: the command, the sector and the count have to be \
                     ones that the drive has",
        }
    } else {
        Never {
            why: "the drive has no command that it has data for, or wants data for".into(),
            advice: "write the command to the command register (1f7) behind sector count, address and drive, and before the wait; \
                     and wait for so many sectors as were asked for",
        }
    })
}
