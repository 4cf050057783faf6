//! What a Multiboot 1 loader hands over (Multiboot Specification 0.6.96, section 3.3).

use core::ops::Range;
use core::slice;

/// What EAX holds when a Multiboot loader has entered the kernel.
pub const MAGIC: u32 = 0x2BAD_B002;
/// The first word of the header that says that a kernel wants to be loaded so.
pub const HEADER_MAGIC: u32 = 0x1BAD_B002;
/// The second: modules on page boundaries, and a memory map.
pub const HEADER_FLAGS: u32 = 0x3;

/// `flags`: the command line is there.
const HAS_COMMAND_LINE: u32 = 1 << 2;
/// `flags`: the modules are there.
const HAS_MODULES: u32 = 1 << 3;
/// `flags`: the memory map is there.
const HAS_MEMORY_MAP: u32 = 1 << 6;

/// The information structure. It stays where the loader put it.
/// ```text
///   0 flags        16 command line     44 memory map, length in bytes
///   …              20 modules, count   48 memory map, address
///                  24 modules, address
/// ```
#[derive(Clone, Copy)]
pub struct Info {
    address: u32,
    offset: u32,
}

/// A file that was loaded with the kernel.
#[derive(Clone, Copy)]
pub struct Module {
    /// What is in it.
    pub bytes: &'static [u8],
    /// What the loader was told about it: a name and arguments.
    pub string: &'static str,
}

/// A stretch of the physical address space.
#[derive(Clone, Copy)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is memory that may be used.
    pub is_memory: bool,
}

impl Info {
    /// The information at a physical address, if EAX held the magic number.
    ///
    /// # Safety
    /// The loader said so, `offset + address` is where physical memory is mapped, and none of what
    /// it put there will ever be overwritten: see [`Info::occupied`].
    pub unsafe fn new(magic: u32, address: u32, offset: u32) -> Option<Self> {
        (magic == MAGIC).then_some(Self { address, offset })
    }

    /// The kernel's command line; empty if there is none.
    pub fn command_line(self) -> &'static str {
        if self.has(HAS_COMMAND_LINE) { self.string(self.field(16)) } else { "" }
    }

    /// The value of the first word `key=value` on the command line.
    pub fn option(self, key: &str) -> Option<&'static str> {
        self.command_line().split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The modules, in the order in which they were given.
    pub fn modules(self) -> impl Iterator<Item = Module> {
        (0..self.module_count()).map(move |index| {
            let entry = self.field(24) + index * 16;
            let (start, end) = (self.word(entry), self.word(entry + 4));
            Module {
                bytes: self.bytes(start, end.saturating_sub(start)),
                string: self.string(self.word(entry + 8)),
            }
        })
    }

    /// The memory map.
    pub fn memory(self) -> impl Iterator<Item = Region> {
        let (mut entry, end) = if self.has(HAS_MEMORY_MAP) {
            (self.field(48), self.field(48) + self.field(44))
        } else {
            (0, 0)
        };
        core::iter::from_fn(move || {
            (entry < end).then(|| {
                let region = Region {
                    start: self.long(entry + 4),
                    length: self.long(entry + 12),
                    is_memory: self.word(entry + 20) == 1,
                };
                entry += 4 + self.word(entry);
                region
            })
        })
    }

    /// All physical memory that the loader filled, but for the kernel itself.
    pub fn occupied(self) -> impl Iterator<Item = Range<u32>> {
        let offset = self.offset;
        let physical = move |bytes: &[u8]| {
            let start = bytes.as_ptr() as u32 - offset;
            start..start + bytes.len() as u32
        };
        let of_string = move |text: &str| {
            let range = physical(text.as_bytes());
            range.start..range.end + 1
        };
        let map = if self.has(HAS_MEMORY_MAP) {
            self.field(48)..self.field(48) + self.field(44)
        } else {
            0..0
        };
        let list = self.field(24)..self.field(24) + 16 * self.module_count();
        [self.address..self.address + 128, map, list, of_string(self.command_line())]
            .into_iter()
            .chain(
                self.modules()
                    .flat_map(move |module| [physical(module.bytes), of_string(module.string)]),
            )
            .filter(|range| range.start < range.end && range.start != 0)
    }

    fn module_count(self) -> u32 {
        if self.has(HAS_MODULES) { self.field(20) } else { 0 }
    }

    fn has(self, flag: u32) -> bool {
        self.field(0) & flag != 0
    }

    fn field(self, at: u32) -> u32 {
        self.word(self.address + at)
    }

    fn word(self, physical: u32) -> u32 {
        let pointer = (physical + self.offset) as *const u32;
        // SAFETY: inside what the loader wrote, mapped at `offset`, as `new` was promised.
        unsafe { pointer.read_unaligned() }
    }

    fn long(self, physical: u32) -> u64 {
        u64::from(self.word(physical)) | u64::from(self.word(physical + 4)) << 32
    }

    fn bytes(self, physical: u32, length: u32) -> &'static [u8] {
        // SAFETY: as in `word`; nobody writes to it, as `new` was promised.
        unsafe { slice::from_raw_parts((physical + self.offset) as *const u8, length as usize) }
    }

    /// The string up to its zero byte; empty if it is not UTF-8, or if there is none.
    fn string(self, physical: u32) -> &'static str {
        if physical == 0 {
            return "";
        }
        let length = (0..4096).find(|at| self.bytes(physical + at, 1) == [0]).unwrap_or(0);
        str::from_utf8(self.bytes(physical, length)).unwrap_or("")
    }
}
