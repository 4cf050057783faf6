//! From a kernel file to guest memory that is ready to run.
//!
//! This module knows image formats and nothing of KVM. [`load`] looks at the file, picks the format,
//! checks everything that can be checked before a byte is written, places the image, the modules and
//! the boot information, and says in which state the CPU has to start.
//!
//! ```text
//!  file ─► recognise ─► KernelImage ─► place ─► modules ─► boot information ─► Boot
//!          elf32, flat  segments,      checked  multiboot  multiboot_info      entry state
//!                       symbols        copies
//! ```
//! Guest memory afterwards (Multiboot 1):
//! ```text
//!  0x0000_0000  ┌────────────────────────┐
//!               │ free                   │
//!  0x0000_0400  ├────────────────────────┤
//!               │ BIOS data area         │
//!  0x0000_9000  ├────────────────────────┤  EBX; elsewhere if the kernel wants to be here
//!               │ boot information       │  structure, modules, memory map, strings
//!               │ GDT                    │  GDTR
//!  0x0001_0000  ├────────────────────────┤
//!               │ free                   │
//!  0x0009_FC00  ├────────────────────────┤
//!               │ reserved: BIOS, ROMs   │  EBDA, text screen, MP and ACPI tables
//!  0x0010_0000  ├────────────────────────┤
//!               │ kernel                 │  wherever its program headers say
//!               ├────────────────────────┤  next page boundary, not below 1 MiB
//!               │ modules                │  each on a page boundary
//!               ├────────────────────────┤
//!               │ free                   │
//!               └────────────────────────┘  end of memory
//! ```
//!
//! linux-loader's own ELF loader was not used because it takes ELF64 only. [`elf32::Elf32`] offers the
//! same trait, so that code written for linux-loader accepts it; [`load`] goes around the trait because
//! the trait's error type cannot say which segment is wrong and what to do about it.

pub mod area;
pub mod bios;
pub mod command_line;
pub mod elf32;
pub mod flat;
pub mod image;
pub mod multiboot;
pub mod multiboot_info;
pub mod place;
pub mod sections;
pub mod size;
pub mod start_note;
pub mod symbols;

#[cfg(test)]
mod elf32_builder;
#[cfg(test)]
mod tests;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use area::Area;
pub use area::Loader;
use sections::Sections;

pub use command_line::CommandLineError;
pub use elf32::Elf32Error;
pub use image::{Format, KernelImage, Segment, Start};
pub use multiboot::HeaderError;
pub use multiboot_info::{InformationError, PlacedModule};
pub use place::PlacementError;
pub use start_note::StartNoteError;
pub use symbols::{Symbol, Symbols};

/// A kernel file as it was read.
#[derive(Debug, Clone, Copy)]
pub struct KernelFile<'a> {
    /// What to call it in messages; usually its path.
    pub name: &'a str,
    /// The whole file.
    pub bytes: &'a [u8],
}

/// A Multiboot module as it was read.
#[derive(Debug, Clone, Copy)]
pub struct ModuleFile<'a> {
    /// What to call it in messages; usually its path.
    pub name: &'a str,
    /// The string that the kernel finds beside the module: by convention its name and arguments.
    pub command: &'a str,
    /// The whole file.
    pub bytes: &'a [u8],
}

/// The registers that the boot protocol prescribes at the kernel's first instruction.
///
/// For Multiboot the rest is fixed too (section 3.2): flat 32-bit code and data segments, CR0.PE=1,
/// CR0.PG=0, EFLAGS.VM=0, EFLAGS.IF=0, A20 open. ESP and IDTR are undefined and the kernel has
/// to bring its own; GDTR is undefined too, but kernels rely on what GRUB leaves ([`area`]). An image may ask for real mode instead (see [`start_note`]); EAX and EBX are the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryState {
    /// In which mode.
    pub start: Start,
    /// Physical address of the first instruction; paging is off.
    pub eip: u32,
    /// What the boot protocol puts in EAX: for Multiboot the magic number.
    pub eax: u32,
    /// What the boot protocol puts in EBX: for Multiboot the physical address of the information.
    pub ebx: u32,
    /// What the boot protocol puts in ESI: for Linux the address of the zero page.
    pub esi: u32,
    /// Physical address of the loaders' GDTs; `None` for an empty GDTR.
    pub gdt: Option<u32>,
    /// Whose selectors it starts with.
    pub loader: Loader,
}

/// A kernel in guest memory, ready to be entered.
#[derive(Debug, Clone)]
pub struct Boot {
    /// How to enter it.
    pub entry: EntryState,
    /// What was loaded.
    pub image: KernelImage,
    /// Where the modules are, in the order in which they were given.
    pub modules: Vec<PlacedModule>,
}

/// Why a kernel cannot be booted. Each message is one sentence that names the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BootError {
    /// The file is not a usable ELF32 executable.
    #[error("{name} {problem}")]
    Elf {
        /// The kernel file.
        name: String,
        /// What is wrong with it.
        problem: Elf32Error,
    },
    /// The file has no usable Multiboot header.
    #[error("{name} {problem}")]
    Header {
        /// The kernel file.
        name: String,
        /// What is wrong with it.
        problem: HeaderError,
    },
    /// The file is a Linux kernel in its own format.
    #[error("{name} is a Linux bzImage; esp0 boots ELF32 kernels with a Multiboot header")]
    BzImage {
        /// The kernel file.
        name: String,
    },
    /// The image cannot go where it wants to be.
    #[error("{name}: {problem}")]
    Placement {
        /// The kernel file.
        name: String,
        /// What is in the way.
        problem: PlacementError,
    },
    /// The kernel's command line is unusable.
    #[error("the kernel command line {0}")]
    CommandLine(CommandLineError),
    /// A module or the boot information does not fit.
    #[error(transparent)]
    Information(#[from] InformationError),
}

/// Loads a kernel and its modules into guest memory.
///
/// The format is chosen by looking at `kernel`, not by its name. Nothing is written to `memory` before
/// everything about the files, their places and their strings has been found good.
///
/// # Errors
/// A [`BootError`] whose text is one sentence for the user.
pub fn load<M: GuestMemoryBackend>(
    memory: &M,
    kernel: KernelFile<'_>,
    modules: &[ModuleFile<'_>],
    command_line: &str,
) -> Result<Boot, BootError> {
    let image = recognise(kernel)?;
    let placement = |problem| BootError::Placement { name: kernel.name.to_owned(), problem };
    place::check(memory, &image).map_err(placement)?;
    let area = Area::for_image(&image).ok_or(PlacementError::NoRoom).map_err(placement)?;
    let command_line = command_line::validate(command_line).map_err(BootError::CommandLine)?;
    multiboot_info::check_area(memory, &area)?;
    let modules = multiboot_info::lay_out_modules(memory, image.end(), modules)?;

    let placed: Vec<PlacedModule> = modules.iter().map(|(_, placed)| placed.clone()).collect();
    let map = multiboot_info::memory_map(memory);
    let behind = placed.iter().map(|module| module.physical.end.into()).max().unwrap_or(0);
    let sections = match image.format {
        Format::Elf32 => {
            Sections::of(kernel.bytes, &image, behind.max(1 << 20), place::memory_end(memory))
        }
        Format::Flat => None,
    };
    let place = area.information();
    let information =
        multiboot_info::compose(&map, &command_line, &placed, sections.as_ref(), &place)?;
    bios::write(memory).map_err(|error| copy_failed("what a BIOS leaves", &error))?;
    for (part, address) in sections.iter().flat_map(|sections| &sections.loaded) {
        memory
            .write_slice(&kernel.bytes[part.clone()], GuestAddress((*address).into()))
            .map_err(|error| copy_failed("a section", &error))?;
    }
    let gdt: Vec<u8> = Loader::ALL
        .iter()
        .flat_map(|loader| loader.gdt())
        .flat_map(|entry: u64| entry.to_le_bytes())
        .collect();
    memory
        .write_slice(&gdt, GuestAddress(area.gdt().into()))
        .map_err(|error| copy_failed("the GDT", &error))?;
    place::copy(memory, &image, kernel.bytes).map_err(placement)?;
    multiboot_info::write(memory, (place.start, &information), &modules)?;
    Ok(Boot {
        entry: EntryState {
            start: image.start,
            eip: image.entry,
            eax: multiboot::BOOT_LOADER_MAGIC,
            ebx: place.start as u32,
            esi: 0,
            gdt: Some(area.gdt()),
            loader: Loader::default(),
        },
        image,
        modules: placed,
    })
}

fn copy_failed(what: &str, error: &vm_memory::GuestMemoryError) -> InformationError {
    InformationError::Copy { what: what.to_owned(), reason: error.to_string() }
}

/// Finds out what a file is and describes it; writes nothing.
///
/// The Multiboot header decides first: where it carries addresses (flag 16) they count, even in an ELF
/// file (section 3.1.2). All else has to be ELF32.
///
/// # Errors
/// A [`BootError`] about the file itself.
pub fn recognise(kernel: KernelFile<'_>) -> Result<KernelImage, BootError> {
    let name = || kernel.name.to_owned();
    let header = multiboot::find(kernel.bytes)
        .map_err(|problem| BootError::Header { name: name(), problem });
    if let Ok(header) = &header
        && let Some(addresses) = header.addresses
    {
        return flat::describe(kernel.bytes, header.offset, addresses)
            .map_err(|problem| BootError::Header { name: name(), problem });
    }
    if is_bzimage(kernel.bytes) {
        return Err(BootError::BzImage { name: name() });
    }
    let image = elf32::describe(kernel.bytes)
        .map_err(|problem| BootError::Elf { name: name(), problem })?;
    // Only now: that a text file has no Multiboot header is true, but not the reason to give.
    header?;
    Ok(image)
}

/// Linux x86 boot protocol, "The real-mode kernel header": 0xAA55 at 0x1FE and "HdrS" at 0x202.
fn is_bzimage(bytes: &[u8]) -> bool {
    bytes.get(0x1FE..0x200) == Some(&[0x55, 0xAA]) && bytes.get(0x202..0x206) == Some(b"HdrS")
}
