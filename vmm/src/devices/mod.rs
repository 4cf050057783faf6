//! The PC's devices, in user space: pure state machines over bytes and a time that is handed in.
//!
//! ```text
//!   port write ─► bus ─┬─► serial, debug console ─► console output
//!                      ├─► exit port, resets ─────► Effect
//!                      └─► pit ─ IRQ 0 ┐
//!       now ─────────────► pit         ├─► pic ───► interrupt_pending, acknowledge_interrupt
//!                          serial IRQ 4┘
//! ```
//! Nothing here has a thread, a callback, a wall clock or KVM in it: the same accesses at the same times
//! give the same machine, so a run can be repeated to the byte and a snapshot is a clone. The interrupt
//! controllers are here and not in the kernel (KVM_CREATE_IRQCHIP), because only then the VMM decides at
//! which instruction boundary an interrupt arrives.
//!
//! The run loop's part: call [`Devices::advance_to`] when time has passed, inject
//! [`Devices::acknowledge_interrupt`] when [`Devices::interrupt_pending`] and the guest can take it, and
//! wake at [`Devices::next_deadline`]. A port access can change the deadline. Time has to move between
//! the accesses of a guest that polls the timer, or it will poll for ever.

pub mod bus;
pub mod cmos;
pub mod debug_console;
pub mod exit_port;
pub mod i8254;
pub mod i8259;
pub mod keyboard_controller;
pub mod pic;
pub mod pit;
pub mod serial;
pub mod system_control;

pub use bus::{AccessSize, Effect, ResetLine, UnknownPorts};

use bus::Register;
use cmos::Cmos;
use keyboard_controller::KeyboardController;
use pic::Pic;
use pit::Pit;
use serial::SerialPort;
use system_control::SystemControl;

/// The timer's interrupt line.
pub const TIMER_IRQ: u8 = 0;

/// All devices of the machine and the wires between them. Cloning it is a snapshot.
#[derive(Debug, Clone)]
pub struct Devices {
    pic: Pic,
    pit: Pit,
    serial: SerialPort,
    keyboard: KeyboardController,
    cmos: Cmos,
    system: SystemControl,
    console: Vec<u8>,
    unknown_ports: UnknownPorts,
}

impl Devices {
    /// The devices as a PC's BIOS leaves them at time 0, in a machine with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        let mut devices = Self {
            pic: Pic::new(),
            pit: Pit::new(),
            serial: SerialPort::new(),
            keyboard: KeyboardController::new(),
            cmos: Cmos::new(memory_size),
            system: SystemControl::default(),
            console: Vec::new(),
            unknown_ports: UnknownPorts::default(),
        };
        devices.drive_lines();
        devices
    }

    /// Moves time on to `now`, in nanoseconds of the VMM's clock.
    ///
    /// Returns how often the timer raised IRQ 0 meanwhile. The interrupt controller holds one request,
    /// so of more than one the guest sees one, as on a PC that was busy for too long.
    pub fn advance_to(&mut self, now: u64) -> u64 {
        let edges = self.pit.advance_to(now);
        if edges > 0 {
            self.pic.set_line(TIMER_IRQ, false);
            self.pic.set_line(TIMER_IRQ, true);
        }
        self.pic.set_line(TIMER_IRQ, self.pit.interrupt_line());
        edges
    }

    /// When the timer next raises IRQ 0, in nanoseconds; `None` if it will not or IRQ 0 is masked.
    ///
    /// It holds until the next port access. No other device raises its line by itself.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.pic.is_masked(TIMER_IRQ) {
            return None;
        }
        self.pit.next_edge()
    }

    /// Whether the interrupt controller asks the CPU for an interrupt.
    pub fn interrupt_pending(&self) -> bool {
        self.pic.pending()
    }

    /// The CPU takes the interrupt: gives its vector and has it in service.
    pub fn acknowledge_interrupt(&mut self) -> u8 {
        self.pic.acknowledge()
    }

    /// One `in` at time `now`. Ports without a device read as all ones.
    pub fn port_read(&mut self, port: u16, size: AccessSize, now: u64) -> u32 {
        let mut bytes = [0; 4];
        self.port_read_string(port, size, &mut bytes[..size.bytes()], now);
        u32::from_le_bytes(bytes)
    }

    /// One `out` at time `now`; of `value` the low `size` bytes count.
    pub fn port_write(&mut self, port: u16, size: AccessSize, value: u32, now: u64) -> Effect {
        self.port_write_string(port, size, &value.to_le_bytes()[..size.bytes()], now)
    }

    /// A `rep ins` in one exit: fills `data` with accesses of `size` at the same port.
    pub fn port_read_string(&mut self, port: u16, size: AccessSize, data: &mut [u8], now: u64) {
        self.advance_to(now);
        for access in data.chunks_mut(size.bytes()) {
            for (offset, byte) in access.iter_mut().enumerate() {
                let port = port.wrapping_add(offset as u16);
                *byte = match Register::at(port) {
                    Some(register) => self.read(register),
                    None => {
                        self.unknown_ports.read.insert(port);
                        0xFF
                    }
                };
            }
        }
        self.drive_lines();
    }

    /// A `rep outs` in one exit: accesses of `size` at the same port with the bytes of `data`.
    ///
    /// Ends with the first access that has an effect; what would have followed it is dropped.
    pub fn port_write_string(
        &mut self,
        port: u16,
        size: AccessSize,
        data: &[u8],
        now: u64,
    ) -> Effect {
        self.advance_to(now);
        if Register::at(port) == Some(Register::DebugConsole) && size == AccessSize::Byte {
            self.console.extend_from_slice(data);
            return Effect::None;
        }
        for access in data.chunks(size.bytes()) {
            let effect = self.write_access(port, access);
            self.drive_lines();
            if effect != Effect::None {
                return effect;
            }
        }
        Effect::None
    }

    /// Takes what the guest has written to its consoles since the last call, in order.
    pub fn take_console_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.console)
    }

    /// Hands bytes to the serial port, for the guest to receive.
    pub fn receive_console_input(&mut self, bytes: &[u8]) {
        self.serial.receive(bytes);
        self.drive_lines();
    }

    /// The ports at which the guest found nothing.
    pub fn unknown_ports(&self) -> &UnknownPorts {
        &self.unknown_ports
    }

    /// The interrupt controllers, for whoever reports on them.
    pub fn pic(&self) -> &Pic {
        &self.pic
    }

    fn write_access(&mut self, port: u16, bytes: &[u8]) -> Effect {
        if Register::at(port) == Some(Register::Exit) {
            let mut value = [0; 4];
            value[..bytes.len()].copy_from_slice(bytes);
            return Effect::PowerOff(u32::from_le_bytes(value));
        }
        for (offset, byte) in bytes.iter().enumerate() {
            let port = port.wrapping_add(offset as u16);
            let effect = match Register::at(port) {
                Some(register) => self.write(register, *byte),
                None => {
                    self.unknown_ports.written.insert(port);
                    Effect::None
                }
            };
            if effect != Effect::None {
                return effect;
            }
        }
        Effect::None
    }

    fn read(&mut self, register: Register) -> u8 {
        match register {
            Register::Pic(controller, address) => self.pic.read(controller, address),
            Register::EdgeLevel(controller) => self.pic.read_level_triggered(controller),
            Register::Counter(index) => self.pit.read(index),
            Register::KeyboardData => self.keyboard.read_data(),
            Register::KeyboardCommand => self.keyboard.status(),
            Register::Speaker => self.system.read_speaker(&self.pit),
            Register::CmosData => self.cmos.read(),
            Register::FastA20 => self.system.read_fast_a20(),
            Register::DebugConsole => debug_console::PRESENT,
            Register::Serial(register) => self.serial.read(register),
            Register::ResetControl => self.system.read_reset_control(),
            // Write-only.
            Register::TimerControl | Register::CmosIndex | Register::Delay | Register::Exit => 0xFF,
        }
    }

    fn write(&mut self, register: Register, value: u8) -> Effect {
        match register {
            Register::Pic(controller, address) => self.pic.write(controller, address, value),
            Register::EdgeLevel(controller) => self.pic.write_level_triggered(controller, value),
            Register::Counter(index) => self.pit.write(index, value),
            Register::TimerControl => self.pit.control(value),
            Register::KeyboardData => return self.keyboard.write_data(value),
            Register::KeyboardCommand => return self.keyboard.command(value),
            Register::Speaker => self.system.write_speaker(value, &mut self.pit),
            Register::CmosIndex => self.cmos.select(value),
            Register::CmosData => self.cmos.write(value),
            Register::Delay => {}
            Register::FastA20 => return self.system.write_fast_a20(value),
            Register::DebugConsole => self.console.push(value),
            Register::Exit => return Effect::PowerOff(value.into()),
            Register::Serial(register) => {
                if self.serial.write(register, value) {
                    self.pic.set_line(serial::IRQ, false);
                }
                self.serial.drain_output_into(&mut self.console);
            }
            Register::ResetControl => return self.system.write_reset_control(value),
        }
        Effect::None
    }

    /// Brings the levels of the interrupt lines from the devices to the controllers.
    fn drive_lines(&mut self) {
        self.pic.set_line(TIMER_IRQ, self.pit.interrupt_line());
        self.pic.set_line(keyboard_controller::IRQ, self.keyboard.interrupt_line());
        self.pic.set_line(serial::IRQ, self.serial.interrupt_line());
    }
}

#[cfg(test)]
mod tests;
