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
//!  00:01.1  IDE, both channels at their old ports, without bus mastering
//! ```
//! A function that is not there reads as all ones, which is how a kernel finds out. None has memory or ports
//! that could be moved: their base addresses are 0 and stay so.

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

/// A PIIX3's IDE, class 01 01, interface 0: both channels at their old ports and interrupts, no bus master.
const IDE: [u8; 16] = [
    0x86, 0x80, 0x10, 0x70, 0x01, 0x00, 0x80, 0x02, 0x00, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00,
];

/// A function and its configuration space.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    /// Device and function, as bits 15–8 of the address have them.
    at: u8,
    bytes: [u8; 256],
}

impl Function {
    fn new(device: u8, function: u8, header: &[u8; 16]) -> Self {
        let mut bytes = [0; 256];
        bytes[..header.len()].copy_from_slice(header);
        Self { at: device << 3 | function, bytes }
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
        let mut ide = Function::new(1, 1, &IDE);
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

    /// Writes `size` bytes at port 0xCFC + `offset`. The command register, the interrupt line and what is
    /// behind the header (a function's own registers, such as those for shadow RAM) are kept.
    pub fn write(&mut self, offset: u16, size: AccessSize, value: u32) {
        let Some(function) = self.selected() else { return };
        for (index, byte) in value.to_le_bytes()[..size.bytes()].iter().enumerate() {
            let register = self.register(offset, index);
            if matches!(register, 0x04..=0x05 | 0x3C | 0x40..=0xFF) {
                self.functions[function].bytes[register] = *byte;
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
    fn drives_bring_their_controller_along_at_the_old_ports_and_without_a_bus_master() {
        let mut pci = Pci::default();
        pci.attach_ide();
        assert_eq!(read(&mut pci, 0x8000_0900), 0x7010_8086);
        assert_eq!(read(&mut pci, 0x8000_0908), 0x0101_0000);
        assert_eq!(read(&mut pci, 0x8000_0920), 0, "no bus master");
        pci.write(0, AccessSize::Doubleword, 0xFFFF_FFFF);
        assert_eq!(read(&mut pci, 0x8000_0920), 0, "and no size of one");
        assert_eq!(read(&mut pci, 0x8000_080C) >> 16 & 0x80, 0x80);
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
