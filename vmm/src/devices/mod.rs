//! The PC's devices, in user space: pure state machines over bytes and a time that is handed in.
//!
//! ```text
//!   port, ─► bus ─┬─► serial, debug console ─► console output
//!   address       ├─► exit port, resets ─────► Effect
//!                 └─► pit ─ IRQ 0 ┐          ┌─► 8259s ──► LINT0 ┐
//!       now ────────► serial 4, 3 ├─► lines ─┤                   ├─► interrupt_pending,
//!                     keyboard 1  │          └─► I/O APIC ─► local APIC   acknowledge_interrupt
//!                clock 8, IDE 14… ┘                            ▲
//!       now ───────────────────────────────── its timer ───────┘
//! ```
//! Nothing here has a thread, a callback, a wall clock or KVM in it: the same accesses at the same times
//! give the same machine, so a run can be repeated to the byte and a snapshot is a clone. The interrupt
//! controllers are here and not in the kernel (KVM_CREATE_IRQCHIP), because only then the VMM decides at
//! which instruction boundary an interrupt arrives.
//!
//! Each line goes to both an 8259 and a pin of the I/O APIC, as on a PC; IRQ 0 to pin 2, as the tables of the
//! BIOS say. Which of them is listened to is the kernel's choice: until it writes to the APICs, the 8259s
//! reach the CPU as if there were none.
//!
//! The run loop's part: call [`Devices::advance_to`] when time has passed, inject
//! [`Devices::acknowledge_interrupt`] when [`Devices::interrupt_pending`] and the guest can take it, and
//! wake at [`Devices::next_deadline`]. An access can change the deadline. Time has to move between
//! the accesses of a guest that polls the timer, or it will poll for ever.

mod access;
pub mod bochs_vbe;
pub mod bus;
pub mod cmos;
pub mod debug_console;
pub mod device;
pub mod dma;
pub mod effect;
pub mod exit_port;
pub mod firmware_configuration;
pub mod floppy;
pub mod hpet;
pub mod ide;
pub mod io_apic;
pub mod keyboard_controller;
pub mod local_apic;
pub mod mouse;
pub mod parallel_port;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod polled;
pub mod power;
pub mod scan_codes;
pub mod screen;
pub mod serial;
pub mod system_control;
pub mod transfer;
pub mod unanswered;
pub mod vga;

pub use bus::AccessSize;
pub use cmos::BootFrom;
pub use device::Device;
pub use effect::{Effect, ResetLine};
pub use polled::Polled;
pub use unanswered::{AccessCounts, Place, Unanswered};

use bochs_vbe::BochsVbe;
use cmos::Cmos;
use dma::Dma;
use exit_port::ExitPort;
use firmware_configuration::FirmwareConfiguration;
use floppy::{Floppy, FloppyDisk};
use hpet::{Hpet, Output};
use ide::Ide;
use io_apic::IoApic;
use keyboard_controller::KeyboardController;
use local_apic::LocalApic;
use parallel_port::ParallelPort;
use pci::Pci;
pub(crate) use pic::CASCADE;
pub use pic::Pic;
use pit::Pit;
use power::Power;
use serial::{Port, SerialPort};
use std::sync::Arc;
use system_control::SystemControl;
use transfer::{Master, Moved, Transfer};
use vga::Vga;

/// The timer's interrupt line.
pub const TIMER_IRQ: u8 = 0;

/// All devices of the machine and the wires between them. Cloning it is a snapshot.
#[derive(Debug, Clone)]
pub struct Devices {
    pic: Pic,
    local_apic: LocalApic,
    io_apic: IoApic,
    pit: Pit,
    hpet: Hpet,
    serial: SerialPort,
    second_serial: SerialPort,
    keyboard: KeyboardController,
    cmos: Cmos,
    system: SystemControl,
    vga: Vga,
    /// The graphics modes of a BIOS, where there is one.
    vbe: Option<BochsVbe>,
    pci: Pci,
    ide: Ide,
    dma: Dma,
    floppy: Floppy,
    parallel: ParallelPort,
    power: Power,
    firmware: FirmwareConfiguration,
    exit_port: ExitPort,
    console: Vec<u8>,
    unanswered: Unanswered,
    polled: Polled,
    /// EIP of the instruction that accesses.
    instruction: u32,
    /// The timer that the BIOS left ticking is not heard before this time, in nanoseconds, as long as the
    /// guest programs neither it nor an 8259; see [`QUIET`].
    quiet_until: u64,
}

/// How long the BIOS's timer is not heard at first, in nanoseconds.
///
/// On a PC a tick of it is pending when a kernel is handed the machine, and a kernel that opens interrupts
/// without programming the 8259s gets vector 8 at once. Many small kernels do so for the moment that they run,
/// and are none the worse for it: what they would get is told to those that stay.
const QUIET: u64 = 1_000_000_000;

impl Devices {
    /// The devices as a PC's BIOS leaves them at time 0, in a machine with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        let mut devices = Self {
            pic: Pic::new(),
            local_apic: LocalApic::new(),
            io_apic: IoApic::default(),
            pit: Pit::new(),
            hpet: Hpet::default(),
            serial: SerialPort::new(),
            second_serial: SerialPort::new(),
            keyboard: KeyboardController::new(),
            cmos: Cmos::new(memory_size),
            system: SystemControl::default(),
            vga: Vga::default(),
            vbe: None,
            pci: Pci::default(),
            ide: Ide::default(),
            dma: Dma::default(),
            floppy: Floppy::new([None, None]),
            parallel: ParallelPort::default(),
            power: Power::default(),
            firmware: FirmwareConfiguration::new(memory_size),
            exit_port: ExitPort::default(),
            console: Vec::new(),
            unanswered: Unanswered::default(),
            polled: Polled::default(),
            instruction: 0,
            quiet_until: QUIET,
        };
        devices.drive_lines();
        devices
    }

    /// The end of a run is good if QEMU's `isa-debug-exit` would end with one of these statuses.
    #[must_use]
    pub fn with_good_exits(mut self, statuses: &[u32]) -> Self {
        self.exit_port.declare_good(statuses);
        self
    }

    /// With these drives, of which there are at most [`ide::DRIVES`], each at its number; none is a place that
    /// stays empty.
    #[must_use]
    pub fn with_drives(mut self, units: impl IntoIterator<Item = Option<ide::Unit>>) -> Self {
        self.ide = Ide::new(units);
        if self.ide.is_there() {
            self.pci.attach_ide();
        }
        self.cmos.set_disks([0, 1].map(|number| self.ide.geometry(number)));
        self
    }

    /// With these floppy disks in their drives.
    #[must_use]
    pub fn with_floppies(mut self, disks: [Option<FloppyDisk>; floppy::DRIVES]) -> Self {
        self.cmos.set_floppies(
            disks.each_ref().map(|disk| disk.as_ref().map_or(0, |disk| disk.geometry().kind)),
        );
        self.floppy = Floppy::new(disks);
        self
    }

    /// What a device wants of memory, before the guest goes on. Each transfer is done and answered ([`Devices::moved`])
    /// before the next is asked for. It can change when a device interrupts ([`Devices::next_deadline`]).
    pub fn take_transfer(&mut self) -> Option<(Master, Transfer)> {
        if let Some(transfer) = self.floppy.take_transfer() {
            return Some((Master::Floppy, transfer));
        }
        // A function that may not be a master waits until it may.
        if !self.pci.ide_is_bus_master() {
            return None;
        }
        let (channel, transfer) = self.ide.take_transfer()?;
        Some((Master::Ide(channel), transfer))
    }

    /// What came of the transfer that `master` asked for.
    pub fn moved(&mut self, master: Master, moved: Moved<'_>) {
        match master {
            // An 8237 does not learn that there is no memory.
            Master::Floppy if !moved.bytes.is_empty() => self.floppy.give(moved.bytes),
            Master::Floppy => {}
            Master::Ide(channel) => self.ide.moved(channel, moved),
        }
    }

    /// The floppy disks.
    pub fn floppy(&self) -> &Floppy {
        &self.floppy
    }

    /// With what a BIOS asks for: these files, by the names that it looks for, and where to boot from.
    #[must_use]
    pub fn with_firmware(mut self, files: &[(&str, Arc<[u8]>)], from: BootFrom) -> Self {
        self.pci.expect_firmware();
        self.pci.attach_ide();
        self.vbe = Some(BochsVbe::default());
        for (name, bytes) in files {
            self.firmware.add_file(name, Arc::clone(bytes));
        }
        self.cmos.boot_from(from);
        // The BIOS programs the timer by itself.
        self.quiet_until = 0;
        self
    }

    /// The accesses that follow are those of the instruction at `eip`; for what is told of them.
    pub fn by(&mut self, eip: u32) -> &mut Self {
        self.instruction = eip;
        self
    }

    /// Moves time on to `now`, in nanoseconds of the VMM's clock.
    ///
    /// Returns how often the timer raised IRQ 0 meanwhile. The interrupt controller holds one request,
    /// so of more than one the guest sees one, as on a PC that was busy for too long.
    pub fn advance_to(&mut self, now: u64) -> u64 {
        let edges = self.pit.advance_to(now);
        if now >= self.quiet_until {
            self.quiet_until = 0;
        }
        if edges > 0 && self.quiet_until == 0 && !self.timer_is_replaced() {
            self.set_line(TIMER_IRQ, false);
            self.set_line(TIMER_IRQ, true);
        }
        self.hpet.advance_to(now);
        self.local_apic.advance_to(now);
        self.cmos.advance_to(now);
        self.vga.advance_to(now);
        self.power.advance_to(now);
        self.ide.advance_to(now);
        self.floppy.advance_to(now, &mut self.dma);
        self.drive_lines();
        edges
    }

    /// When a device next interrupts by itself, in nanoseconds; `None` if none will, or none that
    /// reaches the CPU. It holds until the next access.
    pub fn next_deadline(&self) -> Option<u64> {
        // The 8254 and the clock have no lines where an HPET has them.
        let replaced = |irq| self.timer_is_replaced() && matches!(irq, TIMER_IRQ | cmos::IRQ);
        let is_open = |irq| !replaced(irq) && self.is_open(irq);
        let timer = is_open(TIMER_IRQ).then(|| self.pit.next_edge()).flatten();
        let timer = timer.map(|edge| edge.max(self.quiet_until));
        let events = self.hpet.deadline(&|output| match output {
            Output::Line(irq) => self.is_open(irq),
            Output::Pin(pin) => self.io_apic.is_open(pin),
        });
        let devices: [&dyn Device; 4] = [&self.local_apic, &self.cmos, &self.ide, &self.floppy];
        let devices = devices.into_iter().filter_map(|device| device.deadline(&is_open));
        devices.chain(timer).chain(events).min()
    }

    /// The timer goes on by itself, whether its interrupt is masked or not.
    pub fn timer_runs(&self) -> bool {
        let edge =
            if self.timer_is_replaced() { self.hpet.next_tick() } else { self.pit.next_edge() };
        edge.is_some()
    }

    /// The HPET has taken the lines of the 8254 and the clock, of which nothing is heard then.
    pub fn timer_is_replaced(&self) -> bool {
        self.hpet.replaces_legacy()
    }

    /// Whether the I/O APIC's pin for this line is open, so that the 8259s may well have it masked.
    pub fn arrives_by_io_apic(&self, irq: u8) -> bool {
        self.io_apic.is_open(pin(irq))
    }

    /// The pins of the I/O APIC that are open; not pin 0 where it passes on what the 8259s ask for.
    pub fn open_pins(&self) -> impl Iterator<Item = usize> + '_ {
        let first = usize::from(self.io_apic.passes_external());
        (first..io_apic::PINS).filter(|pin| self.io_apic.is_open(*pin))
    }

    /// Whether an interrupt on this line would get as far as the CPU.
    fn is_open(&self, irq: u8) -> bool {
        self.external_passes() && !self.pic.is_masked(irq) || self.arrives_by_io_apic(irq)
    }

    /// Whether the 8259s' INTR reaches the CPU.
    fn external_passes(&self) -> bool {
        self.local_apic.passes_external() || self.io_apic.passes_external()
    }

    /// Whether an interrupt controller asks the CPU for an interrupt.
    pub fn interrupt_pending(&self) -> bool {
        self.local_apic.pending() || self.external_passes() && self.pic.pending()
    }

    /// Whether an NMI waits for the CPU.
    pub fn nmi_pending(&self) -> bool {
        self.local_apic.nmi_pending()
    }

    /// The CPU takes the NMI.
    pub fn take_nmi(&mut self) {
        self.local_apic.take_nmi();
    }

    /// The CPU takes the interrupt: gives its vector and has it in service.
    pub fn acknowledge_interrupt(&mut self) -> u8 {
        self.local_apic.acknowledge().unwrap_or_else(|| self.pic.acknowledge())
    }

    /// Takes what the guest has written to its consoles since the last call, in order.
    pub fn take_console_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.console)
    }

    /// Hands bytes to the serial port, for the guest to receive; or has them typed on the keyboard, if the guest listens
    /// to that and has never listened to the port.
    pub fn receive_console_input(&mut self, bytes: &[u8]) {
        if self.keyboard.is_listened_to() && !self.serial.is_listened_to() {
            self.keyboard.type_text(bytes);
        } else {
            self.serial.receive(bytes);
        }
        self.drive_lines();
    }

    /// Where the guest found nothing.
    pub fn unanswered(&self) -> &Unanswered {
        &self.unanswered
    }

    /// The port that is read again and again.
    pub fn polled(&self) -> Polled {
        self.polled
    }

    /// A boot loader has handed the machine to a kernel: what nobody answered before is none of the kernel's affairs.
    pub fn kernel_begins(&mut self) {
        self.unanswered.begin_anew();
        self.system.forget_a20();
        self.keyboard.forget_a20();
    }

    /// The kernel has closed A20: from then on it may take memory at 1 MiB for that at 0, which it is not here.
    pub fn a20_was_closed(&self) -> bool {
        self.system.a20_was_closed() || self.keyboard.a20_was_closed()
    }

    /// A serial port.
    fn serial_port(&mut self, port: Port) -> &mut SerialPort {
        match port {
            Port::First => &mut self.serial,
            Port::Second => &mut self.second_serial,
        }
    }

    /// The first serial port, for whoever reports on it.
    pub fn serial(&self) -> &SerialPort {
        &self.serial
    }

    /// The interrupt controllers, for whoever reports on them.
    pub fn pic(&self) -> &Pic {
        &self.pic
    }

    /// The interval timer.
    pub fn pit(&self) -> &Pit {
        &self.pit
    }

    /// The high precision event timer.
    pub fn hpet(&self) -> &Hpet {
        &self.hpet
    }

    /// The real-time clock.
    pub fn cmos(&self) -> &Cmos {
        &self.cmos
    }

    /// The disks and CDs.
    pub fn ide(&self) -> &Ide {
        &self.ide
    }

    /// The local APIC, for whoever shows its page.
    pub fn local_apic(&self) -> &LocalApic {
        &self.local_apic
    }

    /// The graphics modes of a BIOS, for whoever shows the screen.
    pub fn vbe(&self) -> Option<&BochsVbe> {
        self.vbe.as_ref()
    }

    /// The VGA, for whoever shows the screen.
    pub fn vga(&self) -> &Vga {
        &self.vga
    }

    /// The guest has programmed the timer or an 8259, or has heard the tick that the BIOS left.
    pub fn timer_is_the_guests(&self) -> bool {
        self.quiet_until == 0
    }

    /// The guest programs the timer or an 8259: what the BIOS left is heard from now on.
    fn end_quiet(&mut self) {
        if std::mem::take(&mut self.quiet_until) != 0 {
            self.drive_lines();
        }
    }

    /// Brings the levels of the interrupt lines from the devices to the controllers.
    fn drive_lines(&mut self) {
        let mut levels = [None; 16];
        let mut set = |irq: u8, high: bool| levels[usize::from(irq)] = Some(high);
        set(TIMER_IRQ, self.quiet_until == 0 && self.pit.interrupt_line());
        for port in [Port::First, Port::Second] {
            set(port.irq(), self.serial_port(port).interrupt_line());
        }
        let devices: [&dyn Device; 4] = [&self.keyboard, &self.cmos, &self.ide, &self.floppy];
        for device in devices {
            device.drive(&mut set);
        }
        for edge in self.hpet.take_edges() {
            self.raise_anew(edge);
        }
        if self.timer_is_replaced() {
            for irq in [TIMER_IRQ, cmos::IRQ] {
                levels[usize::from(irq)] = Some(self.hpet.level(Output::Line(irq)));
            }
        }
        for (irq, level) in (0..).zip(levels) {
            if let Some(high) = level {
                self.pic.set_line(irq, high);
                let pin = pin(irq);
                self.set_pin(pin, high || self.hpet.level(Output::Pin(pin)));
            }
        }
        for pin in levels.len()..io_apic::PINS {
            self.set_pin(pin, self.hpet.level(Output::Pin(pin)));
        }
    }

    /// Lets a line or pin of the HPET fall and rise.
    fn raise_anew(&mut self, output: Output) {
        for high in [false, true] {
            match output {
                Output::Line(irq) => self.set_line(irq, high),
                Output::Pin(pin) => self.set_pin(pin, high),
            }
        }
    }

    /// Drives an interrupt line, at both controllers.
    fn set_line(&mut self, irq: u8, high: bool) {
        self.pic.set_line(irq, high);
        self.set_pin(pin(irq), high);
    }

    /// Drives a pin of the I/O APIC.
    fn set_pin(&mut self, pin: usize, high: bool) {
        if let Some(message) = self.io_apic.set_line(pin, high) {
            self.local_apic.receive(message);
        }
    }
}

/// The I/O APIC's pin on which an interrupt line is. Pin 0 has the 8259s' INTR, and so the timer has pin 2.
fn pin(irq: u8) -> usize {
    match irq {
        TIMER_IRQ => 2,
        _ => irq.into(),
    }
}

#[cfg(test)]
mod tests;
