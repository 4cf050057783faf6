//! QEMU's firmware configuration device, ports 0x510 and 0x511, with the few items that kernels and a BIOS
//! ask for.
//!
//! Source: "QEMU Firmware Configuration (fw_cfg) Device", in QEMU's documentation. Test kernels ask it for the
//! number of processors, and take all ones for 65,535 of them; SeaBIOS finds the VGA's BIOS in it, as a file. A
//! selector (a word) chooses an item, whose bytes come out one after the other; behind the end, and for an
//! item that is not there, they are 0.
//! ```text
//!  item 19 the directory:  4 bytes  how many files, most significant byte first
//!                         64 bytes  for each: size (4), its item (2), 0 (2), name (56)
//! ```

use std::sync::Arc;

const SIGNATURE: u16 = 0x00;
const INTERFACE: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const PROCESSORS: u16 = 0x05;
const MOST_PROCESSORS: u16 = 0x0F;
const DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;

const NAME: usize = 56;

/// The items, the selected one, and how much of it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareConfiguration {
    memory_size: u64,
    files: Vec<(String, Arc<[u8]>)>,
    selector: u16,
    offset: usize,
}

impl FirmwareConfiguration {
    /// For a machine with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        Self { memory_size, files: Vec::new(), selector: SIGNATURE, offset: 0 }
    }

    /// One more file.
    pub fn add_file(&mut self, name: &str, bytes: Arc<[u8]>) {
        self.files.push((name.to_owned(), bytes));
    }

    /// Writes port 0x510.
    pub fn select(&mut self, selector: u16) {
        (self.selector, self.offset) = (selector, 0);
    }

    /// Reads a byte of port 0x510 or 0x511.
    pub fn read(&mut self) -> u8 {
        let byte = self.byte(self.offset).unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }

    /// A byte of the selected item.
    fn byte(&self, offset: usize) -> Option<u8> {
        let item = match self.selector {
            SIGNATURE => *b"QEMU\0\0\0\0",
            // Without direct memory access.
            INTERFACE | PROCESSORS | MOST_PROCESSORS => 1u64.to_le_bytes(),
            RAM_SIZE => self.memory_size.to_le_bytes(),
            DIRECTORY => return self.directory().get(offset).copied(),
            selector => {
                let index = selector.checked_sub(FIRST_FILE)?;
                return self.files.get(usize::from(index))?.1.get(offset).copied();
            }
        };
        item.get(offset).copied()
    }

    fn directory(&self) -> Vec<u8> {
        let mut bytes = (self.files.len() as u32).to_be_bytes().to_vec();
        for (item, (name, contents)) in (FIRST_FILE..).zip(&self.files) {
            bytes.extend((contents.len() as u32).to_be_bytes());
            bytes.extend(item.to_be_bytes());
            bytes.extend([0; 2]);
            // It ends in a zero.
            let name = name.as_bytes();
            let kept = name.len().min(NAME - 1);
            bytes.extend(&name[..kept]);
            bytes.resize(bytes.len() + NAME - kept, 0);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(device: &mut FirmwareConfiguration, selector: u16, count: usize) -> Vec<u8> {
        device.select(selector);
        (0..count).map(|_| device.read()).collect()
    }

    #[test]
    fn an_item_comes_out_byte_by_byte_and_then_zeros() {
        let mut device = FirmwareConfiguration::new(64 << 20);
        assert_eq!(read(&mut device, SIGNATURE, 4), b"QEMU");
        assert_eq!(read(&mut device, PROCESSORS, 2), [1, 0]);
        assert_eq!(read(&mut device, RAM_SIZE, 4), (64u32 << 20).to_le_bytes());
        assert_eq!(read(&mut device, DIRECTORY, 12), [0; 12]);
        assert_eq!(read(&mut device, 0xFFFF, 2), [0; 2]);
    }

    #[test]
    fn a_file_is_found_by_the_directory() {
        let mut device = FirmwareConfiguration::new(64 << 20);
        device.add_file("first", [1, 2, 3].into());
        device.add_file("vgaroms/second", [4].into());
        let directory = read(&mut device, DIRECTORY, 4 + 2 * 64 + 4);
        assert_eq!(directory[..12], [0, 0, 0, 2, 0, 0, 0, 3, 0, 0x20, 0, 0]);
        assert_eq!(&directory[12..18], b"first\0");
        assert_eq!(&directory[76..91], b"vgaroms/second\0");
        assert_eq!(directory[132..], [0; 4]);
        assert_eq!(read(&mut device, 0x20, 4), [1, 2, 3, 0]);
        assert_eq!(read(&mut device, 0x21, 2), [4, 0]);
    }
}
