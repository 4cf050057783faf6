//! The wire between the two 8259s: what a kernel has told them of it, and whether the master lets it through.
//!
//! ```text
//!  IRQ 8 … 15 ─► slave, ICW3 = 02 ─► input 2 of the master, ICW3 = 04 ─► CPU
//!                                         └ a bit of its mask as well
//! ```
//! (8259A data sheet, "Cascade Mode" and "Initialization Command Words".)

use super::waiting::{RULE, is_wanted};
use super::{Aftermath, Diagnosis, Placed, programmed};
use crate::check::{Finding, Subject};
use crate::devices::{CASCADE, cmos};
use crate::run::Ending;
use ia32::Vector;

/// ICW3 says where the slave is. A note where the run ends well, unless it halts in a handler that has not returned. Who has
/// set it up anew since, and rightly, is told nothing.
pub(super) fn is_set_up_wrongly(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
) -> Option<Placed> {
    let pic = aftermath.devices.pic();
    let astray = pic.astray()?;
    let [master, slave] = pic.cascades();
    if [master, slave] == [1 << CASCADE, CASCADE] {
        return None;
    }
    let vector = Vector(astray.vector);
    let place = match diagnosis.used.first(vector) {
        Some((first, handler)) => format!("#{first} at {}", aftermath.place(handler)),
        None => "the end".into(),
    };
    let whose = match astray.irq {
        8.. if astray.vector != 0xff => {
            "which is the master's IRQ 2: no device of a PC has that line"
        }
        _ => "where no controller answers",
    };
    let alone = |word: u8| match word {
        0 => "none (ICW1 bit 1: it is alone)".into(),
        word => format!("{word:02x}"),
    };
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "the cascade of the 8259s is set up wrongly: IRQ {} came as vector {:#04x}, {whose}",
            astray.irq, astray.vector
        ),
        "ICW3 04 in the master and 02 in the slave",
        format!("ICW3 {} in the master and {} in the slave", alone(master), alone(slave)),
    )
    .because(
        "the slave is on input 2 of the master: the master's ICW3 has that input's bit, the slave's its number",
    )
    .advise("write 0x04 to port 0x21 and 0x02 to port 0xa1, behind ICW2")
    .about_some(match master {
        // Without ICW3 it is ICW1 that says so, right before the base.
        0 => programmed::sets_base(aftermath),
        _ => programmed::sets_cascade(aftermath, master == 1 << CASCADE),
    });
    let is_minded = !aftermath.end.ending.is_good()
        || aftermath.end.ending == Ending::Halted && !diagnosis.returned;
    Some((place, if is_minded { finding } else { finding.as_note() }))
}

/// The slave asks for an interrupt that has never come, since the master masks the line that it is on.
///
/// It is wanted: it has a gate, and its line alone was opened, or the clock was told to interrupt. Slaves are left wide
/// open by those who have no use for them.
pub(super) fn is_masked(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let (devices, pic) = (aftermath.devices, aftermath.devices.pic());
    let irq = pic.slave_pending()?;
    let [mask, slave_mask] = pic.masks().to_le_bytes();
    let is_clock =
        irq == cmos::IRQ && devices.cmos().unread().is_some() && !devices.timer_is_replaced();
    if mask & 1 << CASCADE == 0
        || !(is_clock || slave_mask != 0)
        || !is_wanted(aftermath, irq)
        || devices.arrives_by_io_apic(irq)
        || !devices.local_apic().passes_external()
        || diagnosis.used.last(Vector(pic.vector(irq))).is_some()
    {
        return None;
    }
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "IRQ {irq} waits in the slave 8259, and the master masks IRQ 2, which the slave is on"
        ),
        "bit 2 of the mask at port 0x21 clear",
        format!("masks {mask:02x} and {slave_mask:02x}, requested {:04x}", pic.requests()),
    )
    .because("none of IRQ 8 to 15 reaches the processor, whatever the mask at port 0xa1 is")
    .advise(format!("write the mask with bit 2 clear to port 0x21: {:02x}", mask & !(1 << CASCADE)))
    .about_some(programmed::writes(aftermath, 0x21, mask));
    let halted = aftermath.end.ending == Ending::Halted;
    Some(if halted { finding.as_note() } else { finding })
}
