//! PCI configuration by ports 0xCF8 and 0xCFC, with a host bridge and nothing behind it.
//!
//! Sources: PCI Local Bus Specification 3.0, section 3.2.2.3.2 ("Configuration Mechanism #1") and 6.1;
//! Intel 82441FX data sheet for the bridge.
//! ```text
//!  0xCF8  31 enable · 23–16 bus · 15–11 device · 10–8 function · 7–2 register
//!         a double word only: narrower accesses go past it, to whatever else has the port
//!  0xCFC  the register, at any width within the double word
//! ```
//! A function that is not there reads as all ones, which is how a kernel finds out.

use super::bus::AccessSize;

const ENABLE: u32 = 1 << 31;

/// The first bytes of the host bridge's configuration space: an 82441FX, class 06 00 (host bridge).
const HOST_BRIDGE: [u8; 16] = [
    0x86, 0x80, 0x37, 0x12, // vendor, device
    0x06, 0x00, 0x00, 0x22, // command, status
    0x02, 0x00, 0x00, 0x06, // revision, class
    0x00, 0x00, 0x00, 0x00, // cache line, latency, header type 0, no self test
];

/// The address register, and the host bridge's registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pci {
    address: u32,
    bridge: [u8; 256],
}

impl Default for Pci {
    fn default() -> Self {
        let mut bridge = [0; 256];
        bridge[..HOST_BRIDGE.len()].copy_from_slice(&HOST_BRIDGE);
        Self { address: 0, bridge }
    }
}

impl Pci {
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
        if self.is_bridge() {
            for (index, byte) in bytes[..size.bytes()].iter_mut().enumerate() {
                *byte = self.bridge[self.register(offset, index)];
            }
        }
        u32::from_le_bytes(bytes) & size.mask()
    }

    /// Writes `size` bytes at port 0xCFC + `offset`. Of the bridge the command register and what is behind
    /// the header (its own registers, such as those for shadow RAM) are kept.
    pub fn write(&mut self, offset: u16, size: AccessSize, value: u32) {
        if !self.is_bridge() {
            return;
        }
        for (index, byte) in value.to_le_bytes()[..size.bytes()].iter().enumerate() {
            let register = self.register(offset, index);
            if matches!(register, 0x04..=0x05 | 0x40..=0xFF) {
                self.bridge[register] = *byte;
            }
        }
    }

    fn register(&self, offset: u16, index: usize) -> usize {
        (self.address as usize & 0xFC) + (usize::from(offset) + index) % 4
    }

    fn is_bridge(&self) -> bool {
        self.address & ENABLE != 0 && self.address & 0x00FF_FF00 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_bridge_is_found_and_nothing_else() {
        let mut pci = Pci::default();
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0xFFFF_FFFF, "not enabled");
        pci.select(0x8000_0000);
        assert_eq!(pci.address(), 0x8000_0000);
        assert_eq!(pci.read(0, AccessSize::Doubleword), 0x1237_8086);
        assert_eq!(pci.read(2, AccessSize::Word), 0x1237);
        pci.select(0x8000_0008);
        assert_eq!(pci.read(3, AccessSize::Byte), 0x06);
        for other in [0x8000_0800, 0x8000_0100, 0x8001_0000, 0x80FF_FF00u32] {
            pci.select(other);
            assert_eq!(pci.read(0, AccessSize::Doubleword), 0xFFFF_FFFF, "{other:#x}");
            assert_eq!(pci.read(0, AccessSize::Word), 0xFFFF);
        }
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
