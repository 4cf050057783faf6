//! A BIOS in guest memory, for images that bring a boot sector and no kernel that could be loaded.
//!
//! ```text
//!  0x000C_0000  ┌────────────────────────┐
//!               │ free                   │  where the BIOS puts its option ROMs
//!               ├────────────────────────┤  1 MiB less the image's size
//!               │ the BIOS               │
//!  0x000F_FFF0  │   first instruction    │  F000:FFF0, real mode
//!  0x0010_0000  └────────────────────────┘
//! ```
//! A processor begins 16 bytes below 4 GiB, where a PC shows the same bytes; each BIOS jumps down from there at
//! once, so it is begun below. The segments from C0000 on are RAM here as everywhere in this machine, which is
//! what a PC's shadow RAM makes of them: [`Devices::with_firmware`](crate::devices::Devices::with_firmware) says so
//! in the host bridge's registers.

use super::image::{Format, KernelImage, LoadSegment, StartMode};
use super::{Boot, EntryState, Loader};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Where a BIOS ends.
const END: u32 = 0x10_0000;
/// The first instruction.
const START: StartMode = StartMode::RealMode { cs: 0xF000, ip: 0xFFF0 };
/// The first instruction's physical address.
const ENTRY: u32 = StartMode::real_mode_address(0xF000, 0xFFF0);

/// Why a file is no BIOS. Each message follows the file's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FirmwareError {
    /// A size that no BIOS has.
    #[error(
        "has {0} bytes, and a BIOS has 64, 128, 192 or 256 KiB: give --bios an image such as SeaBIOS's bios.bin"
    )]
    Size(usize),
    /// Its last 16 bytes lead nowhere.
    #[error("does not begin with a jump at its last 16 bytes, so it is no BIOS")]
    NoJump,
    /// There is too little memory to hold it.
    #[error("does not fit into the guest's memory, which a BIOS wants 2 MiB of at least: --mem")]
    Memory,
}

/// Looks whether this can be a BIOS.
///
/// # Errors
/// [`FirmwareError`] if it is none.
pub fn check(bios: &[u8]) -> Result<(), FirmwareError> {
    if bios.is_empty() || !bios.len().is_multiple_of(0x1_0000) || bios.len() > 0x4_0000 {
        return Err(FirmwareError::Size(bios.len()));
    }
    // JMP near, far, short.
    match bios[bios.len() - 16] {
        0xE9..=0xEB => Ok(()),
        _ => Err(FirmwareError::NoJump),
    }
}

/// Puts a BIOS into guest memory, in front of its first instruction.
///
/// # Errors
/// [`FirmwareError`] if it is none, or does not fit.
pub fn load<M: GuestMemoryBackend>(memory: &M, bios: &[u8]) -> Result<Boot, FirmwareError> {
    check(bios)?;
    let size = bios.len() as u32;
    let start = END - size;
    memory.write_slice(bios, GuestAddress(start.into())).map_err(|_| FirmwareError::Memory)?;
    let segment = LoadSegment {
        index: 0,
        file_offset: 0,
        file_size: size,
        physical: start,
        virtual_address: start,
        memory_size: size,
        flags: 7,
    };
    Ok(Boot {
        entry: EntryState {
            start: START,
            eip: ENTRY,
            eax: 0,
            ebx: 0,
            esi: 0,
            esp: 0,
            gdt: None,
            loader: Loader::default(),
        },
        image: KernelImage {
            format: Format::Firmware,
            entry: ENTRY,
            linked_entry: ENTRY,
            start: START,
            segments: vec![segment],
            video: None,
        },
        modules: Vec::new(),
        framebuffer: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;

    #[test]
    fn a_bios_ends_at_1_mib_and_begins_16_bytes_below() {
        let mut memory = Memory::detached(2 << 20).unwrap();
        let mut bios = vec![0x90; 0x2_0000];
        bios[0x1_FFF0] = 0xEA;
        let boot = load(&memory.all(), &bios).unwrap();
        assert_eq!((boot.entry.eip, boot.entry.start), (0xF_FFF0, START));
        let mut bytes = [0; 2];
        memory.read(0xE_0000, &mut bytes).unwrap();
        assert_eq!(bytes, [0x90; 2]);
        memory.read(0xF_FFF0, &mut bytes).unwrap();
        assert_eq!(bytes, [0xEA, 0x90]);
    }

    #[test]
    fn what_is_no_bios_gets_its_own_sentence() {
        let mut memory = Memory::detached(2 << 20).unwrap();
        let mut error = |bytes: &[u8]| load(&memory.all(), bytes).unwrap_err();
        assert_eq!(error(&[]), FirmwareError::Size(0));
        assert_eq!(error(&[0xEA; 1000]), FirmwareError::Size(1000));
        assert_eq!(error(&[0; 0x1_0000]), FirmwareError::NoJump);
        let mut small = Memory::detached(0x8_0000).unwrap();
        assert_eq!(load(&small.all(), &[0xEA; 0x1_0000]).unwrap_err(), FirmwareError::Memory);
    }
}
