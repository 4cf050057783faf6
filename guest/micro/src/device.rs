//! Devices are driven from ring 3. The kernel lends out I/O ports ([`crate::ports`]), and makes
//! messages of interrupts.
//!
//! It masks the line, tells the controller that the interrupt has been taken,
//! and notifies the driver. When the driver has seen to its device it acknowledges, and the line is
//! open again. So a driver that is slow or dead disturbs nobody.

use crate::ports::Ports;
use crate::task::{Id, Task, message, table};
use abi::call::Error;
use abi::task::right;
use abi::vector::IRQ;
use arch::{OneCpu, pic};
use core::cell::Cell;

/// Who hears of an interrupt, and by which bits of a notification.
type Driver = Cell<Option<(Id, u32)>>;

// SAFETY: used by kernel code with interrupts closed.
static DRIVERS: OneCpu<[Driver; 16]> = unsafe { OneCpu::new([const { Cell::new(None) }; 16]) };

/// The timer, and the line on which the second controller hangs.
const OURS: [u32; 2] = [0, 2];

/// An interrupt of one of the controllers' lines, other than the timer.
pub(crate) fn interrupt(vector: u8) {
    if pic::is_spurious(vector) {
        return;
    }
    let line = vector - IRQ;
    pic::mask(line);
    pic::end_of_interrupt(vector);
    if let Some((id, bits)) = DRIVERS[usize::from(line)].get()
        && let Some(driver) = table::find(id)
    {
        message::notify(driver, bits);
    }
}

/// Lets a task use ports.
pub(crate) fn lend_ports(task: &Task, first: u32, count: u32) -> Result<(), Error> {
    let end = first.checked_add(count).ok_or(Error::BadArgument)?;
    if task.rights() & right::DEVICES == 0 {
        return Err(Error::NotAllowed);
    }
    task.exchange_ports(task.ports().with(first..end)?);
    Ok(())
}

/// Makes a task the one that hears of an interrupt.
pub(crate) fn attach(task: &Task, line: u32, bits: u32) -> Result<(), Error> {
    if task.rights() & right::DEVICES == 0 {
        return Err(Error::NotAllowed);
    }
    let driver = DRIVERS.get(line as usize).ok_or(Error::BadArgument)?;
    if OURS.contains(&line) || bits == 0 {
        return Err(Error::BadArgument);
    }
    if driver.get().is_some_and(|(id, _)| id != task.id()) {
        return Err(Error::NotAllowed);
    }
    driver.set(Some((task.id(), bits)));
    pic::unmask(line as u8);
    Ok(())
}

/// The driver has seen to its device.
pub(crate) fn acknowledge(task: &Task, line: u32) -> Result<(), Error> {
    let driver = DRIVERS.get(line as usize).ok_or(Error::BadArgument)?;
    match driver.get() {
        Some((id, _)) if id == task.id() => {
            pic::unmask(line as u8);
            Ok(())
        }
        _ => Err(Error::NotAllowed),
    }
}

/// A task ends: what it drove is masked.
pub(crate) fn detach_all(task: &Task) {
    for (line, driver) in (0..).zip(DRIVERS.iter()) {
        if driver.get().is_some_and(|(id, _)| id == task.id()) {
            pic::mask(line);
            driver.set(None);
        }
    }
    task.exchange_ports(Ports::NONE);
}
