//! Devices are driven from ring 3. The kernel lends out I/O ports, and makes messages of interrupts.
//!
//! Ports: the TSS has a bitmap, one bit for each, that the processor asks when ring 3 uses IN or OUT
//! (Intel SDM vol. 1, 19.5.2). A task's own ranges are put into it when the task is switched to. Most
//! tasks have none: for them the TSS says that there is no map, and the last driver's stays as it is.
//!
//! Interrupts: the kernel masks the line, tells the controller that the interrupt has been taken,
//! and notifies the driver. When the driver has seen to its device it acknowledges, and the line is
//! open again. So a driver that is slow or dead disturbs nobody.

use crate::segments;
use crate::task::{Id, Task, message, table};
use abi::call::Error;
use abi::task::right;
use abi::vector::IRQ;
use arch::tss::PORTS;
use arch::{OneCpu, pic};
use core::cell::Cell;

/// How many ranges of ports a task can have.
const RANGES: usize = 4;

/// The ports that a task may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// First port and count of each.
    ranges: [(u16, u16); RANGES],
    count: u8,
}

/// What the map says, whether it is in use or not.
// SAFETY: used by kernel code with interrupts closed.
static MAP: OneCpu<Cell<Ports>> = unsafe { OneCpu::new(Cell::new(Ports::NONE)) };

/// Whether any port is open: almost never, so each switch asks this first.
// SAFETY: as above.
static ANY_OPEN: OneCpu<Cell<bool>> = unsafe { OneCpu::new(Cell::new(false)) };

/// Whether any port is open.
pub(crate) fn is_any_port_open() -> bool {
    ANY_OPEN.get()
}

impl Ports {
    pub(crate) const NONE: Self = Self { ranges: [(0, 0); RANGES], count: 0 };

    /// Whether these are no ports at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Opens these ports to ring 3, and no others.
    pub(crate) fn open(self) {
        if !self.is_empty() && MAP.get() != self {
            MAP.get().each(|port| segments::open_port(port, false));
            self.each(|port| segments::open_port(port, true));
            MAP.set(self);
        }
        segments::use_port_map(!self.is_empty());
        ANY_OPEN.set(!self.is_empty());
    }

    fn each(self, what: impl Fn(u16)) {
        for (first, count) in &self.ranges[..usize::from(self.count)] {
            (*first..first + count).for_each(&what);
        }
    }
}

/// Who hears of an interrupt, and by which bits of a notification.
type Driver = Cell<Option<(Id, u32)>>;

// SAFETY: as above.
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
    let mut ports = task.ports();
    let free = ports.ranges.get_mut(usize::from(ports.count)).ok_or(Error::NoMemory)?;
    if count == 0 || end > PORTS {
        return Err(Error::BadArgument);
    }
    *free = (first as u16, count as u16);
    ports.count += 1;
    task.exchange_ports(ports);
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
