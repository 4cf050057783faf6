//! A serial port whose bytes or interrupts go nowhere, by the way in which it was set up.
//!
//! ```text
//!  3F8, 3F9   data, interrupt enable          while bit 7 of 3FB is clear
//!             the divisor's low, high byte    while it is set
//!  3FC        bit 3, OUT2: the line to the 8259 is connected
//! ```
//! (PC16550D data sheet, section 8.1; IBM PC AT Technical Reference, "Serial/Parallel Adapter".)

use super::waiting::is_wanted;
use super::{Aftermath, Diagnosis, Placed, programmed};
use crate::check::{Finding, Subject};
use crate::devices::serial::Port;
use ia32::Vector;

const RULE: &str = "serial_port";

/// So many bytes are no divisor.
const MANY: u32 = 8;
const LINE_CONTROL: u16 = 0x3fb;
const INTERRUPT_ENABLE: u16 = 0x3f9;

/// The first serial port's registers were written where they are.
pub(super) fn set_up(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Placed> {
    let found = behind_latch(aftermath)
        .or_else(|| enabled_behind_latch(diagnosis, aftermath))
        .or_else(|| without_out2(diagnosis, aftermath))?;
    Some(("the end".into(), found))
}

fn behind_latch(aftermath: &Aftermath<'_>) -> Option<Finding> {
    let (line, count) = aftermath.devices.serial().behind_latch()?;
    (count >= MANY).then(|| {
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("{count} bytes were written to port 0x3f8 while the divisor latch is open: none of them was sent"),
            "bit 7 of the line control register, at port 0x3fb, clear where data are written",
            format!("{line:02x} in the line control register"),
        )
        .because("with bit 7 set port 0x3f8 is the divisor's low byte, and port 0x3f9 its high byte")
        .advise("write 0x03 to port 0x3fb once the divisor is written")
        .about_some(programmed::writes(aftermath, LINE_CONTROL, line))
    })
}

/// Interrupts were enabled, in the divisor; and there is somebody who waits for them.
fn enabled_behind_latch(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let value = aftermath.devices.serial().enabled_behind_latch()?;
    let (pic, irq) = (aftermath.devices.pic(), Port::First.irq());
    let came = diagnosis.used.last(Vector(pic.vector(irq))).is_some();
    if came || pic.is_masked(irq) || !is_wanted(aftermath, irq) {
        return None;
    }
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("{value:#04x} was written to port 0x3f9 while the divisor latch was open: no interrupt of the serial port is enabled"),
            "the interrupts enabled while bit 7 of the line control register, at port 0x3fb, is clear",
            format!("interrupt enable 00, and {value:02x} in the divisor's high byte; IRQ {irq} has never come"),
        )
        .because("with that bit set port 0x3f9 is the divisor's high byte, which sets the speed")
        .advise("write 0x03 to port 0x3fb before the interrupts are enabled at port 0x3f9")
        .about_some(programmed::writes(aftermath, INTERRUPT_ENABLE, value)),
    )
}

/// A note: most emulators do not ask for OUT2, and who stays there misses nothing.
fn without_out2(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let control = aftermath.devices.serial().interrupted_without_out2()?;
    let (pic, irq) = (aftermath.devices.pic(), Port::First.irq());
    let entry = diagnosis.used.last(Vector(pic.vector(irq)))?;
    is_wanted(aftermath, irq).then(|| {
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("IRQ {irq} of the serial port has come, last in entry #{entry}, and would not on a PC: OUT2 is clear"),
            "bit 3 (OUT2) of the modem control register, at port 0x3fc, set where interrupts are used",
            format!("{control:02x} in the modem control register"),
        )
        .because("on a PC's adapter OUT2 connects the port's interrupt line to the 8259; emulators do not ask for it")
        .advise("write 0x0b (DTR, RTS and OUT2) to port 0x3fc")
        .about_some(programmed::writes(aftermath, 0x3fc, control))
        .as_note()
    })
}
