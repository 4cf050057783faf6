//! The guest's accesses: by port, by address and by MSR number, each to the register that it is for.

use super::bus::{Page, Register, Wide};
use super::local_apic::Consequence;
use super::{
    AccessSize, Devices, Effect, Place, cmos, debug_console, keyboard_controller, serial::Port,
};

impl Devices {
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
            if let Some(Wide::IdeData(channel)) = self.wide(port, size) {
                self.ide.read_data(channel, access);
                continue;
            }
            if let Some(register) = self.wide(port, size) {
                let value = self.read_wide(register, size).to_le_bytes();
                access.copy_from_slice(&value[..access.len()]);
                continue;
            }
            let mut answered = false;
            for (offset, byte) in access.iter_mut().enumerate() {
                let port = port.wrapping_add(offset as u16);
                let value = self.register(port).and_then(|register| self.read(register));
                answered |= value.is_some();
                *byte = value.unwrap_or(0xFF);
            }
            if !answered {
                self.unanswered.read(Place::Port(port), self.instruction);
            } else if let [byte] = *access {
                self.polled.read(port, byte);
            }
        }
        self.drive_lines();
    }

    /// What is written to this port in pieces of `size` is data and nothing else: a `rep outs` may come as a whole.
    pub fn takes_strings(&self, port: u16, size: AccessSize) -> bool {
        matches!(Wide::at(port, size), Some(Wide::IdeData(_)))
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
            let effect = self.write_access(port, size, access);
            self.drive_lines();
            if effect != Effect::None {
                return effect;
            }
        }
        Effect::None
    }

    /// A read of 1 to 8 bytes at a guest physical address where there is no RAM. Where there is no
    /// device it reads as all ones.
    pub fn memory_read(&mut self, address: u64, data: &mut [u8], now: u64) {
        self.advance_to(now);
        let Some(page) = Page::at(address) else {
            self.unanswered.read(Place::Memory(address & !3), self.instruction);
            return data.fill(0xFF);
        };
        // The double word that holds the first byte; APIC registers have no second one.
        let value = match page {
            Page::LocalApic(offset) => self.local_apic.read(offset & !3),
            Page::IoApic(offset) => self.io_apic.read(offset & !3),
            Page::Hpet(offset) => return self.hpet.read(offset, data),
        };
        let bytes = value.to_le_bytes();
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = bytes.get((address & 3) as usize + index).copied().unwrap_or(0);
        }
        self.drive_lines();
    }

    /// A write of 1 to 8 bytes at a guest physical address where there is no RAM.
    pub fn memory_write(&mut self, address: u64, data: &[u8], now: u64) {
        self.advance_to(now);
        let Some(page) = Page::at(address) else {
            self.unanswered.written(Place::Memory(address & !3), self.instruction);
            return;
        };
        if let Page::Hpet(offset) = page {
            let replaced = self.timer_is_replaced();
            self.hpet.write(offset, data);
            if self.timer_is_replaced() != replaced {
                self.end_quiet();
                // Whoever has the line of the clock from now on and drives it is heard.
                self.set_line(cmos::IRQ, false);
            }
            return self.drive_lines();
        }
        // "APIC register accesses are aligned double words"; others have no defined effect. A byte
        // or word at a register's start is taken, with what is missing as 0.
        if address & 3 != 0 {
            return;
        }
        let mut bytes = [0; 4];
        let count = data.len().min(4);
        bytes[..count].copy_from_slice(&data[..count]);
        let value = u32::from_le_bytes(bytes);
        match page {
            Page::LocalApic(offset) => match self.local_apic.write(offset, value) {
                Consequence::None => {}
                Consequence::Ended(vector) => {
                    for message in self.io_apic.end_of_interrupt(vector) {
                        self.local_apic.receive(message);
                    }
                }
            },
            Page::IoApic(offset) => {
                if let Some(message) = self.io_apic.write(offset, value) {
                    self.local_apic.receive(message);
                }
            }
            Page::Hpet(_) => {}
        }
        self.drive_lines();
    }

    /// A read of a model-specific register that the processor lacks: it reads as 0.
    pub fn msr_read(&mut self, index: u32) -> u64 {
        self.unanswered.read(Place::Msr(index), self.instruction);
        0
    }

    /// A write of a model-specific register that the processor lacks: it is ignored.
    pub fn msr_write(&mut self, index: u32) {
        self.unanswered.written(Place::Msr(index), self.instruction);
    }

    /// The register that decodes an access as a whole, if it is there.
    fn wide(&self, port: u16, size: AccessSize) -> Option<Wide> {
        let there = |register: &Wide| {
            !matches!(register, Wide::VbeIndex | Wide::VbeData) || self.vbe.is_some()
        };
        Wide::at(port, size).filter(there)
    }

    fn read_wide(&mut self, register: Wide, size: AccessSize) -> u32 {
        match register {
            // Write-only.
            Wide::Exit | Wide::FirmwareSelector => size.mask(),
            // Read where the bytes are.
            Wide::IdeData(_) => size.mask(),
            Wide::PciAddress => self.pci.address(),
            Wide::PciData(offset) => self.pci.read(offset, size),
            Wide::VbeIndex => self.vbe.as_ref().map_or(size.mask(), |vbe| vbe.index().into()),
            Wide::VbeData => self.vbe.as_ref().map_or(size.mask(), |vbe| vbe.read().into()),
            Wide::Power(port) => self.power.read(port) & size.mask(),
        }
    }

    fn write_access(&mut self, port: u16, size: AccessSize, bytes: &[u8]) -> Effect {
        if let Some(register) = self.wide(port, size) {
            let mut value = [0; 4];
            value[..bytes.len()].copy_from_slice(bytes);
            let value = u32::from_le_bytes(value);
            match register {
                Wide::IdeData(channel) => self.ide.write_data(channel, bytes),
                Wide::Exit => return self.exit_port.write(value),
                Wide::FirmwareSelector => self.firmware.select(value as u16),
                Wide::PciAddress => self.pci.select(value),
                Wide::PciData(offset) => self.pci.write(offset, size, value),
                Wide::VbeIndex | Wide::VbeData => {
                    let vbe = self.vbe.get_or_insert_default();
                    match register {
                        Wide::VbeIndex => vbe.select(value as u16),
                        _ => vbe.write(value as u16),
                    }
                }
                Wide::Power(port) => return self.power.write(port, value as u16),
            }
            return Effect::None;
        }
        let mut answered = false;
        for (offset, byte) in bytes.iter().enumerate() {
            let port = port.wrapping_add(offset as u16);
            let Some(register) = self.register(port) else { continue };
            // A word at 0xCF8 is no address, and what it would make of 0xCF9 no reset.
            if register == Register::ResetControl && size != AccessSize::Byte {
                continue;
            }
            if matches!(register, Register::Pic(..) | Register::Counter(_) | Register::TimerControl)
            {
                self.end_quiet();
            }
            let effect = self.write(register, *byte);
            answered |= effect.is_some();
            if let Some(effect) = effect.filter(|effect| *effect != Effect::None) {
                return effect;
            }
        }
        if !answered {
            self.unanswered.written(Place::Port(port), self.instruction);
        }
        Effect::None
    }

    /// The register at a port; one that is nobody else's may be a bus master's.
    fn register(&self, port: u16) -> Option<Register> {
        Register::at(port).or_else(|| {
            let (channel, register) = self.pci.bus_master_register(port)?;
            Some(Register::BusMaster(channel, register))
        })
    }

    /// Reads a register; `None` if nobody answers after all.
    fn read(&mut self, register: Register) -> Option<u8> {
        Some(match register {
            Register::Pic(controller, address) => self.pic.read(controller, address),
            Register::EdgeLevel(controller) => self.pic.read_level_triggered(controller),
            Register::Counter(index) => self.pit.read(index),
            Register::KeyboardData => {
                // Each byte is an edge: the line falls when one is taken.
                let byte = self.keyboard.read_data();
                self.set_line(keyboard_controller::IRQ, false);
                self.set_line(keyboard_controller::MOUSE_IRQ, false);
                byte
            }
            Register::KeyboardCommand => self.keyboard.status(),
            Register::Speaker => self.system.read_speaker(&self.pit),
            Register::CmosData => self.cmos.read(),
            Register::FastA20 => self.system.read_fast_a20(),
            Register::DebugConsole => debug_console::PRESENT,
            Register::Vga(port) => return self.vga.read(port),
            Register::Ide(channel, register) => self.ide.read(channel, register),
            Register::BusMaster(channel, register) => self.ide.read_bus_master(channel, register),
            Register::Floppy(register) => return self.floppy.read(register),
            Register::Dma(controller, register) => self.dma.read(controller, register),
            Register::DmaPage(index) => self.dma.read_page(index),
            Register::Parallel(register) => self.parallel.read(register),
            Register::FirmwareData => self.firmware.read(),
            Register::Serial(port, register) => self.serial_port(port).read(register),
            Register::ResetControl => self.system.read_reset_control(),
            // Write-only.
            Register::TimerControl | Register::CmosIndex => 0xFF,
        })
    }

    /// Writes a register; `None` if nobody answers after all.
    fn write(&mut self, register: Register, value: u8) -> Option<Effect> {
        match register {
            Register::Pic(controller, address) => self.pic.write(controller, address, value),
            Register::EdgeLevel(controller) => self.pic.write_level_triggered(controller, value),
            Register::Counter(index) => self.pit.write(index, value),
            Register::TimerControl => self.pit.control(value),
            Register::KeyboardData => return Some(self.keyboard.write_data(value)),
            Register::KeyboardCommand => return Some(self.keyboard.command(value)),
            Register::Speaker => self.system.write_speaker(value, &mut self.pit),
            Register::CmosIndex => self.cmos.select(value),
            Register::CmosData => self.cmos.write(value),
            Register::FirmwareData => {}
            Register::Floppy(register) => {
                self.floppy.write(register, value)?;
            }
            Register::Dma(controller, register) => self.dma.write(controller, register, value),
            Register::DmaPage(index) => self.dma.write_page(index, value),
            Register::FastA20 => return Some(self.system.write_fast_a20(value)),
            Register::DebugConsole => self.console.push(value),
            Register::Vga(port) => self.vga.write(port, value)?,
            Register::Ide(channel, register) => self.ide.write(channel, register, value),
            Register::BusMaster(channel, register) => {
                self.ide.write_bus_master(channel, register, value);
            }
            Register::Parallel(register) => self.parallel.write(register, value),
            Register::Serial(port, register) => {
                if self.serial_port(port).write(register, value) {
                    self.set_line(port.irq(), false);
                }
                match port {
                    Port::First => self.serial.drain_output_into(&mut self.console),
                    Port::Second => self.second_serial.discard_output(),
                }
            }
            Register::ResetControl => return Some(self.system.write_reset_control(value)),
        }
        Some(Effect::None)
    }
}
