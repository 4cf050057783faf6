//! Multiboot 1: what the kernel is told, and where its modules are.
//!
//! Source: Multiboot Specification 0.6.96, section 3.3. Everything but the modules' bytes lies in one
//! area below 640 KiB ([`Area`](super::area)):
//! ```text
//!  area.start ─►  ┌──────────────────────┐ ◄─ EBX
//!                 │ information     116  │  fields at the offsets of `offset`
//!                 │ padding           4  │
//!                 ├──────────────────────┤ ◄─ mods_addr
//!                 │ modules      16 each │  start, end, string, 0
//!                 ├──────────────────────┤ ◄─ mmap_addr
//!                 │ memory map   24 each │  20, base (8), length (8), type
//!                 ├──────────────────────┤
//!                 │ sections     40 each │  the ELF file's section headers
//!                 ├──────────────────────┤
//!                 │ VBE        512 + 256 │  with graphics
//!                 ├──────────────────────┤
//!                 │ strings              │  command line, boot loader's name, modules'
//!                 ├──────────────────────┤
//!                 │ free                 │
//!  area.end ───►  └──────────────────────┘
//! ```
//! The module's end is the first byte behind it, as with GRUB. Each module starts on a page boundary
//! whether the kernel asks for it or not. The low 640 KiB could hold small modules; they all go above
//! the kernel, so that their order in memory is their order on the command line.

use std::ffi::CString;
use std::ops::Range;

use thiserror::Error;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::ModuleFile;
use super::area::Area;
use super::command_line::{self, CommandLineError};
use super::framebuffer::{Framebuffer, VBE_MODE};
use super::place::memory_end;
use super::sections::Sections;
use super::size::Size;
use crate::devices::vga;

/// Modules start on multiples of this many bytes.
pub const PAGE_SIZE: u64 = 4096;
/// What the kernel reads as the boot loader's name.
pub const BOOT_LOADER_NAME: &std::ffi::CStr = c"esp0";

/// Where usable memory below 1 MiB ends: on a PC the extended BIOS data area starts there.
const LOW_MEMORY_END: u64 = 0x9_FC00;
/// Where extended memory starts.
const HIGH_MEMORY_START: u64 = 0x10_0000;

const INFORMATION_SIZE: usize = 120;
const MODULE_SIZE: usize = 16;
const MAP_ENTRY_SIZE: usize = 24;

/// Offsets of the fields of the information structure.
mod offset {
    pub(super) const FLAGS: usize = 0;
    pub(super) const MEM_LOWER: usize = 4;
    pub(super) const MEM_UPPER: usize = 8;
    pub(super) const COMMAND_LINE: usize = 16;
    pub(super) const MODULES_COUNT: usize = 20;
    pub(super) const MODULES_ADDRESS: usize = 24;
    pub(super) const SECTIONS: usize = 28;
    pub(super) const MAP_LENGTH: usize = 44;
    pub(super) const MAP_ADDRESS: usize = 48;
    pub(super) const BOOT_LOADER_NAME: usize = 64;
    pub(super) const VBE: usize = 72;
    pub(super) const FRAMEBUFFER: usize = 88;
    pub(super) const COLOURS: usize = 110;
}

/// Flags: 0 memory sizes, 2 command line, 3 modules, 6 memory map, 9 boot loader's name, 12 framebuffer.
const FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 12;
/// Flag 11: VBE's blocks.
const FLAG_VBE: u32 = 1 << 11;
/// Flag 5: the ELF section headers.
const FLAG_SECTIONS: u32 = 1 << 5;

/// Why the boot information or a module does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InformationError {
    /// A module reaches beyond guest memory.
    #[error(
        "module {name} ({}) does not fit at {start:#x} in {} of memory; give --mem {}",
        Size(*size), Size(*memory_end), Size::mebibytes_for(start.saturating_add(*size))
    )]
    ModuleOutsideMemory {
        /// The module's file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// Where it would start.
        start: u64,
        /// First physical address behind guest memory.
        memory_end: u64,
    },
    /// A module's string is unusable.
    #[error("the string of module {name} {problem}")]
    ModuleString {
        /// The module's file.
        name: String,
        /// What is wrong with it.
        problem: CommandLineError,
    },
    /// Too many modules or too long strings.
    #[error(
        "the boot information takes {} for {modules} modules and their strings; at most {} are there",
        Size(*size), Size(*room)
    )]
    TooLarge {
        /// Bytes it would take.
        size: u64,
        /// Number of modules.
        modules: usize,
        /// Bytes there are.
        room: u64,
    },
    /// Guest memory does not reach up to the boot information.
    #[error("{} of memory are too little to boot in; give --mem 2 or more", Size(*.0))]
    TooLittleMemory(u64),
    /// A copy failed although every check passed: guest memory is not what it says.
    #[error("{what} cannot be copied to guest memory: {reason}")]
    Copy {
        /// What was copied.
        what: String,
        /// What guest memory said.
        reason: String,
    },
}

/// A module in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedModule {
    /// The file it came from.
    pub name: String,
    /// The string that the kernel reads.
    pub command: CString,
    /// Its physical addresses; starts on a page boundary.
    pub physical: Range<u32>,
}

/// A line of the memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// First physical address.
    pub base: u64,
    /// Bytes.
    pub length: u64,
    /// Whether it is RAM that the kernel may use (type 1) or reserved (type 2).
    pub usable: bool,
}

/// The memory map of a PC with this guest memory, whose upper end may be a framebuffer.
pub fn memory_map<M: GuestMemoryBackend>(
    memory: &M,
    framebuffer: Option<&Framebuffer>,
) -> Vec<MapEntry> {
    let mut map = vec![
        MapEntry { base: 0, length: LOW_MEMORY_END.min(memory_end(memory)), usable: true },
        MapEntry {
            base: LOW_MEMORY_END,
            length: HIGH_MEMORY_START - LOW_MEMORY_END,
            usable: false,
        },
    ];
    for region in memory.iter() {
        let base = region.start_addr().raw_value().max(HIGH_MEMORY_START);
        let end = region.last_addr().raw_value().saturating_add(1);
        let usable = framebuffer.map_or(end, |shown| end.min(shown.address.into()));
        if usable > base {
            map.push(MapEntry { base, length: usable - base, usable: true });
        }
        if end > usable {
            map.push(MapEntry { base: usable, length: end - usable, usable: false });
        }
    }
    map
}

/// Finds a place for each module above the kernel, which ends at `kernel_end`; writes nothing.
///
/// # Errors
/// [`InformationError::ModuleOutsideMemory`], [`InformationError::ModuleString`].
pub fn lay_out_modules<'a, M: GuestMemoryBackend>(
    memory: &M,
    kernel_end: u64,
    modules: &[ModuleFile<'a>],
) -> Result<Vec<(ModuleFile<'a>, PlacedModule)>, InformationError> {
    let mut next = kernel_end.max(HIGH_MEMORY_START);
    let mut placed = Vec::with_capacity(modules.len());
    for module in modules {
        let start = next.next_multiple_of(PAGE_SIZE);
        let size = module.bytes.len() as u64;
        let outside = || InformationError::ModuleOutsideMemory {
            name: module.name.to_owned(),
            size,
            start,
            memory_end: memory_end(memory),
        };
        if !memory.check_range(GuestAddress(start), module.bytes.len()) {
            return Err(outside());
        }
        let command = command_line::validate(module.command).map_err(|problem| {
            InformationError::ModuleString { name: module.name.to_owned(), problem }
        })?;
        next = start + size;
        let physical = u32::try_from(start).map_err(|_| outside())?
            ..u32::try_from(next).map_err(|_| outside())?;
        placed.push((*module, PlacedModule { name: module.name.to_owned(), command, physical }));
    }
    Ok(placed)
}

/// Checks that guest memory reaches over the whole of `area`.
///
/// # Errors
/// [`InformationError::TooLittleMemory`].
pub fn check_area<M: GuestMemoryBackend>(memory: &M, area: &Area) -> Result<(), InformationError> {
    let Range { start, .. } = area.information();
    if memory.check_range(GuestAddress(start), (area.end() - start) as usize) {
        Ok(())
    } else {
        Err(InformationError::TooLittleMemory(memory_end(memory)))
    }
}

/// The bytes of the boot information, for `area`.
///
/// # Errors
/// [`InformationError::TooLarge`].
pub fn compose(
    map: &[MapEntry],
    command_line: &CString,
    modules: &[PlacedModule],
    sections: Option<&Sections>,
    framebuffer: Option<&Framebuffer>,
    area: &Range<u64>,
) -> Result<Vec<u8>, InformationError> {
    let base = area.start as u32;
    let room = area.end - area.start;
    let modules_at = INFORMATION_SIZE;
    let map_at = modules_at + modules.len() * MODULE_SIZE;
    let sections_at = map_at + map.len() * MAP_ENTRY_SIZE;

    let mut bytes = vec![0; sections_at];
    // A table that takes more than its share is left out: few kernels look at it.
    let sections = sections.filter(|sections| sections.headers.len() as u64 <= room / 2);
    if let Some(sections) = sections {
        bytes.extend_from_slice(&sections.headers);
    }
    let mut append = |part: &[u8]| {
        let address = base + bytes.len() as u32;
        bytes.extend_from_slice(part);
        address
    };
    let vbe = framebuffer.map(|shown| [append(&shown.vbe_control()), append(&shown.vbe_mode())]);
    let command_line_address = append(command_line.to_bytes_with_nul());
    let name_address = append(BOOT_LOADER_NAME.to_bytes_with_nul());
    let strings: Vec<u32> =
        modules.iter().map(|module| append(module.command.to_bytes_with_nul())).collect();

    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let flags = FLAGS | sections.map_or(0, |_| FLAG_SECTIONS) | vbe.map_or(0, |_| FLAG_VBE);
    put(offset::FLAGS, flags);
    if let Some(sections) = sections {
        put(offset::SECTIONS, sections.count());
        put(offset::SECTIONS + 4, Sections::HEADER_SIZE);
        put(offset::SECTIONS + 8, base + sections_at as u32);
        put(offset::SECTIONS + 12, sections.names);
    }
    // Address (8), pitch, width, height; bits of a dot or a cell; type: 1 for colours, 2 for text.
    let (columns, rows) = (vga::COLUMNS as u32, vga::ROWS as u32);
    let text = [vga::TEXT.start as u32, 0, 2 * columns, columns, rows, 2 << 8 | 16];
    let shown = framebuffer.map_or(text, |shown| {
        let kind = 1 << 8 | u32::from(shown.depth);
        [shown.address, 0, shown.pitch, shown.width, shown.height, kind]
    });
    for (index, value) in shown.into_iter().enumerate() {
        put(offset::FRAMEBUFFER + 4 * index, value);
    }
    if let Some([control, mode]) = vbe {
        put(offset::VBE, control);
        put(offset::VBE + 4, mode);
        put(offset::VBE + 8, VBE_MODE.into());
    }
    put(offset::MEM_LOWER, kibibytes_from(map, 0));
    put(offset::MEM_UPPER, kibibytes_from(map, HIGH_MEMORY_START));
    put(offset::COMMAND_LINE, command_line_address);
    put(offset::MODULES_COUNT, modules.len() as u32);
    put(offset::MODULES_ADDRESS, base + modules_at as u32);
    put(offset::MAP_LENGTH, (map.len() * MAP_ENTRY_SIZE) as u32);
    put(offset::MAP_ADDRESS, base + map_at as u32);
    put(offset::BOOT_LOADER_NAME, name_address);
    for (index, (module, string)) in modules.iter().zip(strings).enumerate() {
        let at = modules_at + index * MODULE_SIZE;
        put(at, module.physical.start);
        put(at + 4, module.physical.end);
        put(at + 8, string);
    }
    for (index, entry) in map.iter().enumerate() {
        let at = map_at + index * MAP_ENTRY_SIZE;
        // The size field does not count itself.
        put(at, MAP_ENTRY_SIZE as u32 - 4);
        put(at + 4, entry.base as u32);
        put(at + 8, (entry.base >> 32) as u32);
        put(at + 12, entry.length as u32);
        put(at + 16, (entry.length >> 32) as u32);
        put(at + 20, if entry.usable { 1 } else { 2 });
    }
    if let Some(shown) = framebuffer {
        let colours = shown.colour_information();
        bytes[offset::COLOURS..offset::COLOURS + colours.len()].copy_from_slice(&colours);
    }
    check_room(&bytes, modules.len(), area)?;
    Ok(bytes)
}

/// Checks that the information fits.
///
/// # Errors
/// [`InformationError::TooLarge`].
pub fn check_room(bytes: &[u8], modules: usize, area: &Range<u64>) -> Result<(), InformationError> {
    let (size, room) = (bytes.len() as u64, area.end - area.start);
    if size > room { Err(InformationError::TooLarge { size, modules, room }) } else { Ok(()) }
}

/// Writes the information and the modules' bytes.
///
/// # Errors
/// [`InformationError::Copy`].
pub fn write<M: GuestMemoryBackend>(
    memory: &M,
    information: (u64, &[u8]),
    modules: &[(ModuleFile<'_>, PlacedModule)],
) -> Result<(), InformationError> {
    let (at, information) = information;
    let copy = |what: &str, bytes: &[u8], address: u64| {
        memory.write_slice(bytes, GuestAddress(address)).map_err(|error| InformationError::Copy {
            what: what.to_owned(),
            reason: error.to_string(),
        })
    };
    copy("the boot information", information, at)?;
    for (file, placed) in modules {
        copy(&format!("module {}", file.name), file.bytes, placed.physical.start.into())?;
    }
    Ok(())
}

/// Usable memory that starts at `base`, in KiB: what `mem_lower` and `mem_upper` hold.
pub(super) fn kibibytes_from(map: &[MapEntry], base: u64) -> u32 {
    map.iter()
        .find(|entry| entry.usable && entry.base == base)
        .map_or(0, |entry| u32::try_from(entry.length / 1024).unwrap_or(u32::MAX))
}
