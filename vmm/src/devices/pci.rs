//! PCI configuration by ports 0xCF8 and 0xCFC, with the functions of a small board.
//!
//! Sources: PCI Local Bus Specification 3.0, section 3.2.2.3.2 ("Configuration Mechanism #1") and 6.1;
//! Intel 82441FX data sheet for the bridge, 82371SB (PIIX3) for the other two.
//! ```text
//!  0xCF8  31 enable · 23–16 bus · 15–11 device · 10–8 function · 7–2 register
//!         a double word only: narrower accesses go past it, to whatever else has the port
//!  0xCFC  the register, at any width within the double word
//!
//!  00:00.0  host bridge
//!  00:01.0  bridge to ISA    where there are drives
//!  00:01.1  IDE, both channels at their old ports; bus masters at base address 4
//! ```
//! A function that is not there reads as all ones, which is how a kernel finds out. The 16 ports of the bus masters
//! ([`ide::bus_master`](super::ide::bus_master)) can be moved; all other base addresses are 0 and stay so (PCI 3.0, 6.2.5.1).

use super::bus::AccessSize;

const ENABLE: u32 = 1 << 31;

/// The first bytes of the host bridge's configuration space: an 82441FX, class 06 00 (host bridge).
const HOST_BRIDGE: [u8; 16] = [
    0x86, 0x80, 0x37, 0x12, // vendor, device
    0x06, 0x00, 0x00, 0x22, // command, status
    0x02, 0x00, 0x00, 0x06, // revision, class
    0x00, 0x00, 0x00, 0x00, // cache line, latency, header type 0, no self test
];

/// A PIIX3's bridge to ISA, class 06 01; bit 7 of the header type: there are other functions.
const ISA_BRIDGE: [u8; 16] = [
    0x86, 0x80, 0x00, 0x70, 0x07, 0x00, 0x00, 0x02, 0x00, 0x00, 0x01, 0x06, 0x00, 0x00, 0x80, 0x00,
];

/// A PIIX3's IDE, class 01 01, interface 80: both channels at their old ports and interrupts, and a bus master each.
/// Its ports are open; that it is a master of the bus is for a driver to say.
const IDE: [u8; 16] = [
    0x86, 0x80, 0x10, 0x70, 0x01, 0x00, 0x80, 0x02, 0x00, 0x80, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00,
];

/// Command register: the function's ports are open.
const PORTS: u8 = 0x01;
/// Command register: the function may be a master of the bus.
const MASTER: u8 = 0x04;

/// Base address 4.
const BASE: usize = 0x20;
/// Where it is after a BIOS, the first place for ports of PCI functions on a PC of QEMU's kind; bit 0: these are ports.
const BASE_AT_START: u32 = 0xC001;
/// Ports that the bus masters have; half of them are the second channel's.
const BUS_MASTER_PORTS: u32 = 16;

/// A function and its configuration space.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    /// Device and function, as bits 15–8 of the address have them.
    at: u8,
    bytes: [u8; 256],
    /// It has ports at base address 4.
    has_ports: bool,
}

impl Function {
    fn new(device: u8, function: u8, header: &[u8; 16]) -> Self {
        let mut bytes = [0; 256];
        bytes[..header.len()].copy_from_slice(header);
        Self { at: device << 3 | function, bytes, has_ports: false }
    }

    fn with_ports(mut self) -> Self {
        self.has_ports = true;
        self.set_base(BASE_AT_START);
        self
    }

    fn base(&self) -> u32 {
        let bytes = &self.bytes[BASE..BASE + 4];
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
    }

    /// The bits below the size are not the guest's: by them it finds out the size.
    fn set_base(&mut self, base: u32) {
        let base = base & !(BUS_MASTER_PORTS - 1) | 1;
        self.bytes[BASE..BASE + 4].copy_from_slice(&base.to_le_bytes());
    }
}

/// The address register, and the functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pci {
    address: u32,
    functions: Vec<Function>,
}

impl Default for Pci {
    fn default() -> Self {
        Self { address: 0, functions: vec![Function::new(0, 0, &HOST_BRIDGE)] }
    }
}

impl Pci {
    /// From now on the functions for drives are there.
    pub fn attach_ide(&mut self) {
        let mut ide = Function::new(1, 1, &IDE).with_ports();
        // IDETIM of both channels: decoded.
        (ide.bytes[0x41], ide.bytes[0x43]) = (0x80, 0x80);
        self.functions.truncate(1);
        self.functions.extend([Function::new(1, 0, &ISA_BRIDGE), ide]);
    }

    /// From now on the bridge says what a BIOS wants to know: that the segments from C0000 on are RAM that
    /// can be written (PAM0 to PAM6), and that this is a machine of QEMU's kind, for which SeaBIOS is built.
    pub fn expect_firmware(&mut self) {
        let bridge = &mut self.functions[0].bytes;
        bridge[0x2C..0x30].copy_from_slice(&[0xF4, 0x1A, 0x00, 0x11]);
        bridge[0x59] = 0x30;
        bridge[0x5A..0x60].fill(0x33);
    }

    /// Reads port 0xCF8.
    pub fn address(&self) -> u32 {
        self.address
    }

    /// Writes port 0xCF8; bits 30–24, 1 and 0 are 0.
    pub fn select(&mut self, address: u32) {
        self.address = address & 0x80FF_FFFC;
    }

    /// Reads `size` bytes at port 0xCFC + `offset`.
    pub fn read(&self, offset: u16, size: AccessSize) -> u32 {
        let mut bytes = [0xFF; 4];
        if let Some(function) = self.selected() {
            for (index, byte) in bytes[..size.bytes()].iter_mut().enumerate() {
                *byte = self.functions[function].bytes[self.register(offset, index)];
            }
        }
        u32::from_le_bytes(bytes) & size.mask()
    }

    /// The channel and the register of its bus master at a port, while the function's ports are open there.
    pub fn bus_master_register(&self, port: u16) -> Option<(usize, u8)> {
        let ide = self.functions.iter().find(|function| function.has_ports)?;
        if ide.bytes[4] & PORTS == 0 {
            return None;
        }
        let offset = u32::from(port).checked_sub(ide.base() & !1)?;
        (offset < BUS_MASTER_PORTS).then_some((offset as usize / 8, offset as u8 % 8))
    }

    /// Whether the IDE function may be a master of the bus.
    pub fn ide_is_bus_master(&self) -> bool {
        self.functions.iter().any(|function| function.has_ports && function.bytes[4] & MASTER != 0)
    }

    /// Writes `size` bytes at port 0xCFC + `offset`. The command register, the interrupt line, the base address of ports
    /// and what is behind the header (a function's own registers, such as those for shadow RAM) are kept.
    pub fn write(&mut self, offset: u16, size: AccessSize, value: u32) {
        let Some(function) = self.selected() else { return };
        for (index, byte) in value.to_le_bytes()[..size.bytes()].iter().enumerate() {
            let register = self.register(offset, index);
            let function = &mut self.functions[function];
            let is_base = function.has_ports && (BASE..BASE + 4).contains(&register);
            if is_base || matches!(register, 0x04..=0x05 | 0x3C | 0x40..=0xFF) {
                function.bytes[register] = *byte;
            }
            if is_base {
                function.set_base(function.base());
            }
        }
    }

    fn register(&self, offset: u16, index: usize) -> usize {
        (self.address as usize & 0xFC) + (usize::from(offset) + index) % 4
    }

    /// The function that the address selects, if it is there: all are on bus 0.
    fn selected(&self) -> Option<usize> {
        let at = (self.address >> 8) as u8;
        let enabled = self.address & (ENABLE | 0x00FF_0000) == ENABLE;
        let found = self.functions.iter().position(|function| function.at == at);
        found.filter(|_| enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pci: &mut Pci, address: u32) -> u32 {
        pci.select(address);
        pci.read(0, AccessSize::Doubleword)
    }

    #[test]
    fn the_host_bridge_is_found_and_nothing_else() {
        let mut pci = Pci::default();
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0xFFFF_FFFF, "not enabled");
        assert_eq!(read(&mut pci, 0x8000_0000), 0x1237_8086);
        assert_eq!(pci.address(), 0x8000_0000);
        assert_eq!(pci.read(2, AccessSize::Word), 0x1237);
        pci.select(0x8000_0008);
        assert_eq!(pci.read(3, AccessSize::Byte), 0x06);
        for other in [0x8000_0800, 0x8000_0100, 0x8001_0000, 0x80FF_FF00u32] {
            assert_eq!(read(&mut pci, other), 0xFFFF_FFFF, "{other:#x}");
            assert_eq!(pci.read(0, AccessSize::Word), 0xFFFF);
        }
    }

    #[test]
    fn drives_bring_their_controller_along_at_the_old_ports_and_with_a_bus_master() {
        let mut pci = Pci::default();
        assert_eq!(pci.bus_master_register(0xC000), None, "without drives");
        pci.attach_ide();
        assert_eq!(read(&mut pci, 0x8000_0900), 0x7010_8086);
        assert_eq!(read(&mut pci, 0x8000_0908), 0x0101_8000);
        assert_eq!(read(&mut pci, 0x8000_080C) >> 16 & 0x80, 0x80);
        assert_eq!(read(&mut pci, 0x8000_0910), 0, "base address 0");
        assert_eq!(read(&mut pci, 0x8000_0920), 0xC001);
        assert_eq!(pci.bus_master_register(0xBFFF), None);
        assert_eq!(pci.bus_master_register(0xC002), Some((0, 2)));
        assert_eq!(pci.bus_master_register(0xC00F), Some((1, 7)));
        assert_eq!(pci.bus_master_register(0xC010), None);
    }

    #[test]
    fn the_bus_masters_ports_tell_their_number_and_can_be_moved_and_closed() {
        let mut pci = Pci::default();
        pci.attach_ide();
        pci.select(0x8000_0920);
        pci.write(0, AccessSize::Doubleword, 0xFFFF_FFFF);
        let size = !(pci.read(0, AccessSize::Doubleword) & !3) + 1;
        assert_eq!((size, pci.read(0, AccessSize::Byte)), (16, 0xF1));
        assert_eq!(pci.bus_master_register(0xFFF0), None, "there are 64 Ki ports");
        pci.write(0, AccessSize::Doubleword, 0xD00F);
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0xD001);
        assert_eq!(pci.bus_master_register(0xD008), Some((1, 0)));
        assert!(!pci.ide_is_bus_master());
        pci.select(0x8000_0904);
        pci.write(0, AccessSize::Word, 0x0004);
        assert!(pci.ide_is_bus_master());
        assert_eq!(pci.bus_master_register(0xD008), None, "its ports are closed");
        pci.select(0x8000_0020);
        pci.write(0, AccessSize::Doubleword, 0xFFFF_FFFF);
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0, "the host bridge has no such ports");
    }

    #[test]
    fn identity_is_kept_and_the_bridges_own_registers_can_be_written() {
        let mut pci = Pci::default();
        pci.select(0x8000_0000);
        pci.write(0, AccessSize::Doubleword, 0);
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0x1237_8086);
        pci.select(0x8000_0058);
        pci.write(1, AccessSize::Byte, 0x30);
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0x0000_3000);
    }
}
