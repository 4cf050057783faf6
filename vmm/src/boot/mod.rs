//! From a kernel file to guest memory that is ready to run.
//!
//! This module knows image formats and nothing of KVM. [`load`] looks at the file, picks the format,
//! checks everything that can be checked before a byte is written, places the image, the modules and
//! the boot information, and says in which state the CPU has to start.
//!
//! ```text
//!  file ─► recognise ─► KernelImage ─► place ─► modules ─► boot information ─► Boot
//!          elf32, flat  segments       checked  multiboot  multiboot_info      entry state
//!                                      copies
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
//! linux-loader's own loaders are not used: that of ELF files takes ELF64 only, and their trait's error type
//! cannot say which segment is wrong and what to do about it. Its layout of Linux's boot parameters is, and its
//! rules for a command line.

pub mod area;
pub mod bios;
pub mod command_line;
pub mod elf32;
pub mod firmware;
pub mod flat;
pub mod foreign;
pub mod framebuffer;
pub mod image;
pub mod linux;
pub mod linux_disk;
pub mod multiboot;
pub mod multiboot2;
pub mod multiboot_info;
pub mod packed;
pub mod place;
pub mod sections;
pub mod sector;
pub mod services;
pub mod size;
pub mod start_note;
pub mod table_loader;

#[cfg(test)]
mod elf32_builder;
#[cfg(test)]
mod tests;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use area::Area;
pub use area::Loader;
use framebuffer::VideoMode;
use multiboot::LoadAddresses;
use sections::Sections;

pub use command_line::CommandLineError;
pub use elf32::Elf32Error;
pub use framebuffer::Framebuffer;
pub use image::{Format, KernelImage, LoadSegment, Protocol, StartMode};
pub use linux::LinuxError;
pub use multiboot::HeaderError;
pub use multiboot_info::{InformationError, PlacedModule};
pub use place::PlacementError;
pub use start_note::StartNoteError;

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
/// CR0.PG=0, EFLAGS.VM=0, EFLAGS.IF=0, A20 open. IDTR is undefined and the kernel has to bring its own; GDTR and ESP
/// are undefined too, but kernels rely on what loaders leave ([`area`]). An image may ask for real mode instead (see [`start_note`]); EAX and EBX are the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryState {
    /// In which mode.
    pub start: StartMode,
    /// Physical address of the first instruction; paging is off.
    pub eip: u32,
    /// What the boot protocol puts in EAX: for Multiboot the magic number.
    pub eax: u32,
    /// What the boot protocol puts in EBX: for Multiboot the physical address of the information.
    pub ebx: u32,
    /// What the boot protocol puts in ESI: for Linux the address of the zero page.
    pub esi: u32,
    /// The upper end of the loader's stack; 0 for none.
    pub esp: u32,
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
    /// What it draws on, if it asked for graphics and there was room.
    pub framebuffer: Option<Framebuffer>,
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
    /// The file is a Linux kernel that cannot be booted.
    #[error("{name} {problem}")]
    Linux {
        /// The kernel file.
        name: String,
        /// What is wrong with it.
        problem: LinuxError,
    },
    /// The file is an image of a disk.
    #[error(
        "{name} is {what}, which a BIOS boots and not this loader: give it the kernel itself, an ELF32 file with a Multiboot header or a Linux bzImage"
    )]
    DiskImage {
        /// The file.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// The file was compressed.
    #[error("{name} is compressed: unpack it first, with {program}")]
    Packed {
        /// The file.
        name: String,
        /// What unpacks it.
        program: &'static str,
    },
    /// An address was given for a file that says itself where it goes.
    #[error("{name} is {what}, which says itself where it goes: --at is for a flat binary")]
    NotFlat {
        /// The file.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// The file has no byte, or too many for where it is to go.
    #[error("{name} {problem}")]
    Flat {
        /// The file.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
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
    let (image, protocol) = recognise(kernel)?;
    load_image(memory, kernel, image, protocol, modules, command_line)
}

/// Loads a flat binary, 32-bit code that lies and begins at `address`, with modules and boot information as a Multiboot
/// kernel has them.
///
/// # Errors
/// A [`BootError`], also where the file is a kernel that says itself where it goes.
pub fn load_at<M: GuestMemoryBackend>(
    memory: &M,
    kernel: KernelFile<'_>,
    address: u32,
    modules: &[ModuleFile<'_>],
    command_line: &str,
) -> Result<Boot, BootError> {
    let name = || kernel.name.to_owned();
    if let Some(what) = kind_of_kernel(kernel.bytes) {
        return Err(BootError::NotFlat { name: name(), what });
    }
    if let Some(program) = packed::unpacker(kernel.bytes) {
        return Err(BootError::Packed { name: name(), program });
    }
    let image = flat::at(kernel.bytes, address)
        .map_err(|problem| BootError::Flat { name: name(), problem })?;
    load_image(memory, kernel, image, Protocol::Multiboot1, modules, command_line)
}

/// What a file is that says itself where it goes; none if it does not.
fn kind_of_kernel(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x7fELF") {
        Some("an ELF file")
    } else if multiboot::find(bytes).is_ok() || multiboot2::find(bytes).is_ok() {
        Some("a kernel with a Multiboot header")
    } else if linux::is_bzimage(bytes) {
        Some("a Linux bzImage")
    } else {
        None
    }
}

/// Loads an image that has been described.
fn load_image<M: GuestMemoryBackend>(
    memory: &M,
    kernel: KernelFile<'_>,
    image: KernelImage,
    protocol: Protocol,
    modules: &[ModuleFile<'_>],
    command_line: &str,
) -> Result<Boot, BootError> {
    let placement = |problem| BootError::Placement { name: kernel.name.to_owned(), problem };
    let of_linux = |problem| BootError::Linux { name: kernel.name.to_owned(), problem };
    place::check(memory, &image).map_err(placement)?;
    let area = Area::for_image(&image).ok_or(PlacementError::NoRoom).map_err(placement)?;
    let command_line = command_line::validate(command_line).map_err(BootError::CommandLine)?;
    multiboot_info::check_area(memory, &area)?;
    let memory_end = place::memory_end(memory);
    let modules = match (protocol, modules) {
        (Protocol::Linux, []) => Vec::new(),
        (Protocol::Linux, [initrd]) => {
            let size = initrd.bytes.len() as u64;
            let place = linux::place_initrd(kernel.bytes, &image, size, memory_end);
            let place = place.map_err(of_linux)?;
            let placed = PlacedModule {
                name: initrd.name.to_owned(),
                command: std::ffi::CString::default(),
                physical: place.start as u32..place.end as u32,
            };
            vec![(*initrd, placed)]
        }
        (Protocol::Linux, several) => return Err(of_linux(LinuxError::Modules(several.len()))),
        _ => multiboot_info::lay_out_modules(memory, image.end(), modules)?,
    };

    let placed: Vec<PlacedModule> = modules.iter().map(|(_, placed)| placed.clone()).collect();
    let behind = placed.iter().map(|module| module.physical.end.into()).max().unwrap_or(0);
    let used = behind.max(image.end());
    let framebuffer = image.video.and_then(|mode| Framebuffer::for_mode(mode, used, memory_end));
    let free_end = framebuffer.map_or(memory_end, |shown| shown.address.into());
    let map = multiboot_info::memory_map(memory, framebuffer.as_ref());
    let sections = match image.format {
        Format::Elf32 => Sections::of(kernel.bytes, &image, behind.max(1 << 20), free_end),
        Format::Flat | Format::Linux | Format::Firmware => None,
    };
    let place = area.information();
    let (sections, shown) = (sections, framebuffer.as_ref());
    let table = sections.as_ref();
    let information = match protocol {
        Protocol::Multiboot1 => {
            multiboot_info::compose(&map, &command_line, &placed, table, shown, &place)?
        }
        Protocol::Multiboot2 => {
            multiboot2::compose(&map, &command_line, &placed, table, shown, &place)?
        }
        Protocol::Linux => {
            let initrd = placed
                .first()
                .map(|module| u64::from(module.physical.start)..u64::from(module.physical.end));
            let base = place.start as u32;
            linux::compose(kernel.bytes, &map, &command_line, initrd.as_ref(), base)
                .map_err(of_linux)?
        }
    };
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
    let address = place.start as u32;
    let (eax, ebx, esi) = match protocol {
        Protocol::Multiboot1 => (multiboot::BOOT_LOADER_MAGIC, address, 0),
        Protocol::Multiboot2 => (multiboot2::BOOT_LOADER_MAGIC, address, 0),
        Protocol::Linux => (0, 0, address),
    };
    Ok(Boot {
        entry: EntryState {
            start: image.start,
            eip: image.entry,
            eax,
            ebx,
            esi,
            esp: area.gdt(),
            gdt: Some(area.gdt()),
            loader: Loader::default(),
        },
        image,
        modules: placed,
        framebuffer,
    })
}

fn copy_failed(what: &str, error: &vm_memory::GuestMemoryError) -> InformationError {
    InformationError::Copy { what: what.to_owned(), reason: error.to_string() }
}

/// What a Multiboot header says, of either version.
struct MultibootHeader {
    protocol: Protocol,
    offset: usize,
    addresses: Option<LoadAddresses>,
    /// An entry point instead of the file's own.
    entry: Option<u32>,
    video: Option<VideoMode>,
}

impl From<multiboot::Header> for MultibootHeader {
    fn from(header: multiboot::Header) -> Self {
        let multiboot::Header { offset, addresses, video, .. } = header;
        MultibootHeader { protocol: Protocol::Multiboot1, offset, addresses, entry: None, video }
    }
}

impl From<multiboot2::Header> for MultibootHeader {
    fn from(header: multiboot2::Header) -> Self {
        let multiboot2::Header { offset, addresses, entry, video } = header;
        MultibootHeader { protocol: Protocol::Multiboot2, offset, addresses, entry, video }
    }
}

/// Finds out what a file is and describes it, and by which protocol it is booted; writes nothing.
///
/// A Multiboot header decides first, version 1 before version 2: where it carries addresses they count,
/// even in an ELF file (section 3.1.2). All else has to be ELF32 or a Linux bzImage.
///
/// # Errors
/// A [`BootError`] about the file itself.
pub fn recognise(kernel: KernelFile<'_>) -> Result<(KernelImage, Protocol), BootError> {
    let name = || kernel.name.to_owned();
    let of_header = |problem| BootError::Header { name: name(), problem };
    let header = match multiboot::find(kernel.bytes) {
        Ok(header) => Ok(MultibootHeader::from(header)),
        Err(first) => match multiboot2::find(kernel.bytes) {
            Ok(header) => Ok(MultibootHeader::from(header)),
            Err(HeaderError::Missing) => Err(first),
            Err(second) => Err(second),
        },
    };
    if let Ok(MultibootHeader { protocol, offset, addresses: Some(addresses), video, .. }) = header
    {
        let image = flat::describe(kernel.bytes, offset, addresses).map_err(of_header)?;
        return Ok((KernelImage { video, ..image }, protocol));
    }
    if header.is_err() && linux::is_bzimage(kernel.bytes) {
        return linux::describe(kernel.bytes)
            .map(|image| (image, Protocol::Linux))
            .map_err(|problem| BootError::Linux { name: name(), problem });
    }
    if let Some(program) = packed::unpacker(kernel.bytes) {
        return Err(BootError::Packed { name: name(), program });
    }
    if let Some(what) = foreign::name(kernel.bytes) {
        return Err(BootError::DiskImage { name: name(), what });
    }
    let mut image = elf32::describe(kernel.bytes)
        .map_err(|problem| BootError::Elf { name: name(), problem })?;
    // Only now: that a text file has no Multiboot header is true, but not the reason to give.
    let header = header.map_err(of_header)?;
    image.video = header.video;
    if let Some(entry) = header.entry {
        image.linked_entry = entry;
        image.entry = KernelImage::physical_entry(&image.segments, entry).ok_or_else(|| {
            BootError::Elf { name: name(), problem: Elf32Error::EntryOutside(entry) }
        })?;
    }
    Ok((image, header.protocol))
}
