//! QEMU's firmware configuration device, ports 0x510 and 0x511, with the few items that kernels ask for.
//!
//! Source: "QEMU Firmware Configuration (fw_cfg) Device", in QEMU's documentation. Test kernels ask it for the
//! number of processors, and take all ones for 65,535 of them. A selector (a word) chooses an item, whose
//! bytes come out one after the other; behind the end, and for an item that is not there, they are 0.

const SIGNATURE: u16 = 0x00;
const INTERFACE: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const PROCESSORS: u16 = 0x05;
const MOST_PROCESSORS: u16 = 0x0F;

/// The selected item and how much of it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareConfiguration {
    memory_size: u64,
    selector: u16,
    offset: usize,
}

impl FirmwareConfiguration {
    /// For a machine with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        Self { memory_size, selector: SIGNATURE, offset: 0 }
    }

    /// Writes port 0x510.
    pub fn select(&mut self, selector: u16) {
        (self.selector, self.offset) = (selector, 0);
    }

    /// Reads port 0x511.
    pub fn read(&mut self) -> u8 {
        let item = match self.selector {
            SIGNATURE => *b"QEMU\0\0\0\0",
            // Without direct memory access.
            INTERFACE | PROCESSORS | MOST_PROCESSORS => 1u64.to_le_bytes(),
            RAM_SIZE => self.memory_size.to_le_bytes(),
            _ => [0; 8],
        };
        let byte = item.get(self.offset).copied().unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_comes_out_byte_by_byte_and_then_zeros() {
        let mut device = FirmwareConfiguration::new(64 << 20);
        let mut read = |selector, count| {
            device.select(selector);
            (0..count).map(|_| device.read()).collect::<Vec<u8>>()
        };
        assert_eq!(read(SIGNATURE, 4), b"QEMU");
        assert_eq!(read(PROCESSORS, 2), [1, 0]);
        assert_eq!(read(RAM_SIZE, 4), (64u32 << 20).to_le_bytes());
        assert_eq!(read(0x19, 12), [0; 12]);
    }
}
