//! Names for addresses: functions, objects and source lines, out of the files that a guest is made of.
//!
//! Names are an ornament. Nothing is found, probed or judged by them, and a file without any, or with
//! broken tables, is as good as another: reading them cannot fail, it can only find fewer. What is told
//! has to be right all the same, for whoever was sent to the wrong function looks there for an hour.
//!
//! ```text
//!   address ─► files that have a symbol there ─► those whose bytes are the code that was seen
//!                kernel, --symbols, modules          │
//!                                                    ├─ the kernel's, if it is among them
//!                                                    ├─ the only other one, by its file's name
//!                                                    └─ none: several programs are linked there
//! ```
//!
//! A kernel has one address space, its programs have one each, and most programs are linked to the same
//! place. Which of them runs is not known from outside, so a program's name is told only where the bytes
//! at the address leave one file, or where all that are left say the same.
//!
//! Nothing is read before the first name is wanted: a table of symbols is sorted then, and the DWARF
//! units are looked at one by one as addresses fall into them. [`Symbols`] is a handle: a clone shares
//! what was read.

mod annotate;
mod arrays;
mod demangle;
pub(crate) mod elf;
mod lines;
mod place;
mod table;

#[cfg(test)]
mod tests;

pub use annotate::{Annotator, names_in};
pub use arrays::Array;
pub use elf::FunctionStart;
pub use place::{Place, SourceLine};

use elf::Elf;
use lines::Lines;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use table::{At, Table};

/// What is known of the code at an address, to tell apart files that are linked to the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenCode<'a> {
    /// The bytes right before the address.
    pub behind: &'a [u8],
    /// The bytes at it.
    pub at: &'a [u8],
}

/// The names of all files of a guest.
#[derive(Clone, Debug, Default)]
pub struct Symbols(Vec<Arc<File>>);

/// A file, and what was read out of it.
struct File {
    /// What to call it; none for the kernel and for what was given as its symbols.
    name: Option<Arc<str>>,
    bytes: Cow<'static, [u8]>,
    table: OnceLock<Table>,
    lines: OnceLock<Mutex<Lines>>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("name", &self.name).finish_non_exhaustive()
    }
}

impl File {
    fn table(&self) -> &Table {
        self.table.get_or_init(|| Elf::parse(&self.bytes).map_or_else(Table::default, Table::of))
    }

    fn line(&self, address: u32) -> Option<SourceLine> {
        // A poisoned lock is one more way of having no lines.
        self.lines().lock().ok()?.find(address)
    }

    fn lines(&self) -> &Mutex<Lines> {
        self.lines.get_or_init(|| {
            Mutex::new(Elf::parse(&self.bytes).map_or_else(Lines::default, Lines::of))
        })
    }

    /// What the file holds is what was seen, as far as it holds something there.
    fn fits(&self, address: u32, code: SeenCode<'_>) -> bool {
        if code == SeenCode::default() {
            return true;
        }
        let Some(elf) = Elf::parse(&self.bytes) else { return true };
        let same = |start: u32, seen: &[u8]| {
            let own = elf.loaded_bytes(start, seen.len());
            own.is_none_or(|own| own == &seen[..own.len()])
        };
        same(address, code.at) && same(address.wrapping_sub(code.behind.len() as u32), code.behind)
    }

    /// Its name for the address: of the symbol that `at` asks for, and the line of the byte that is
    /// `back` bytes before.
    fn place(&self, address: u32, at: At, back: u32) -> Option<Place> {
        let inside = address.wrapping_sub(back);
        let symbol = self.table().find(inside, at)?;
        let line = symbol.is_code.then(|| self.line(inside)).flatten();
        Some(Place {
            file: self.name.clone(),
            symbol: table::readable(&symbol.name),
            offset: address.wrapping_sub(symbol.start),
            line,
            is_code: symbol.is_code,
        })
    }
}

/// Where an ELF file lies when it is loaded, by linear address; nowhere if it is none.
pub fn loaded_ranges(bytes: &[u8]) -> Vec<std::ops::Range<u64>> {
    let Some(elf) = Elf::parse(bytes) else { return Vec::new() };
    let range = |(start, bytes): (u32, &[u8])| {
        let start = u64::from(start);
        start..start + bytes.len() as u64
    };
    elf.loaded().map(range).collect()
}

impl Symbols {
    /// No names.
    pub fn none() -> Self {
        Symbols::default()
    }

    /// Adds the kernel's file, or one that holds its symbols. Nothing is read yet.
    #[must_use]
    pub fn with_kernel(mut self, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.add(None, bytes.into());
        self
    }

    /// Adds a program's file, whose names are told along with `name`. Nothing is read yet.
    #[must_use]
    pub fn with_program(mut self, name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.add(Some(table::readable(name)), bytes.into());
        self
    }

    fn add(&mut self, name: Option<Arc<str>>, bytes: Cow<'static, [u8]>) {
        let (table, lines) = (OnceLock::new(), OnceLock::new());
        self.0.push(Arc::new(File { name, bytes, table, lines }));
    }

    /// There is no file that could have names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many symbols were read, for whoever wants to know whether a file has some.
    pub fn count(&self) -> usize {
        self.0.iter().map(|file| file.table().len()).sum()
    }

    /// The paths of the source files that the guest's code comes from, as its compilers were given them.
    pub fn source_files(&self) -> Vec<Arc<str>> {
        let mut all: Vec<Arc<str>> = Vec::new();
        for file in &self.0 {
            all.extend(file.lines().lock().map_or_else(|_| Vec::new(), |lines| lines.files()));
        }
        all.sort();
        all.dedup();
        all
    }

    /// The function or object at an address.
    pub fn describe(&self, address: u32) -> Option<Place> {
        self.find(address, At::Start, 0, SeenCode::default())
    }

    /// The same of an address that a stack grows down from: where an object ends and the next one
    /// begins, the first is meant.
    pub fn describe_top(&self, address: u32) -> Option<Place> {
        self.find(address, At::End, 0, SeenCode::default())
    }

    /// The function of an instruction, where some of the code there was seen.
    pub fn describe_code(&self, address: u32, code: SeenCode<'_>) -> Option<Place> {
        self.find(address, At::Start, 0, code).filter(|place| place.is_code)
    }

    /// The function and line of the instruction that ends at `address`: where a call or an `int` goes
    /// on. The last call of a function may end where the next function begins.
    pub fn describe_behind(&self, address: u32, code: SeenCode<'_>) -> Option<Place> {
        self.find(address, At::Start, 1, code).filter(|place| place.is_code)
    }

    /// The names of the programs that lie in memory as it is mapped now: as far as their functions are mapped, the code
    /// is theirs. `read` gives the bytes at a linear address, as many as are mapped.
    pub fn programs_in(&self, read: impl Fn(u32, &mut [u8]) -> usize) -> Vec<&str> {
        let lies_there = |file: &File| {
            let Some(elf) = Elf::parse(&file.bytes) else { return false };
            let mut mapped = 0;
            elf.functions().iter().all(|function| {
                let mut now = [0; 8];
                let is_mapped = read(function.address, &mut now) == now.len();
                mapped += usize::from(is_mapped);
                !is_mapped || now == function.bytes
            }) && mapped > 0
        };
        let programs = self.0.iter().filter_map(|file| Some((file, file.name.as_deref()?)));
        programs.filter(|(file, _)| lies_there(file)).map(|(_, name)| name).collect()
    }

    /// The kernel's function at a physical address, while there is no paging: linked elsewhere it is
    /// executed there all the same.
    pub fn describe_physical(&self, address: u32) -> Option<Place> {
        let linked = self
            .0
            .iter()
            .filter(|file| file.name.is_none())
            .find_map(|file| Elf::parse(&file.bytes)?.linked(address));
        self.describe_code(linked.unwrap_or(address), SeenCode::default())
    }

    /// The linked address of a function, a variable or a label of the kernel: by its name as linked, or as it is
    /// written in Rust or C++, without parameters (`kernel::main`). Of several with the name a function comes first,
    /// then what other files of the kernel can see, then the lowest.
    pub fn address_of(&self, name: &str) -> Option<u32> {
        let kernels = self.0.iter().filter(|file| file.name.is_none());
        kernels.filter_map(|file| Elf::parse(&file.bytes)?.address_of(name)).next()
    }

    /// Where the kernel's functions begin, with the bytes that its file has there.
    pub fn functions(&self) -> Vec<FunctionStart> {
        let kernels = self.0.iter().filter(|file| file.name.is_none());
        let elves = kernels.filter_map(|file| Elf::parse(&file.bytes));
        let mut all: Vec<FunctionStart> = elves.flat_map(|elf| elf.functions()).collect();
        all.sort_by_key(|start| start.address);
        all.dedup();
        all
    }

    /// The arrays among the kernel's variables, where its file tells their types. Each call reads all of those.
    pub fn arrays(&self) -> Vec<Array> {
        let kernels = self.0.iter().filter(|file| file.name.is_none());
        let elves = kernels.filter_map(|file| Elf::parse(&file.bytes));
        elves.flat_map(|elf| arrays::all(&elf)).collect()
    }

    fn find(&self, address: u32, at: At, back: u32, code: SeenCode<'_>) -> Option<Place> {
        let mut found: Option<Place> = None;
        for file in self.0.iter().filter(|file| file.fits(address, code)) {
            let Some(place) = file.place(address, at, back) else { continue };
            match &mut found {
                // The kernel's files come first in what they say.
                Some(before) if before.file.is_none() => {}
                _ if place.file.is_none() => found = Some(place),
                None => found = Some(place),
                Some(before) if before.says_the_same(&place) => before.file = Some(several()),
                Some(_) => return self.find_in_kernel(address, at, back, code),
            }
        }
        found.map(|mut place| {
            place.file = place.file.filter(|name| !name.is_empty());
            place
        })
    }

    /// Several programs say different things: only the kernel's word counts.
    fn find_in_kernel(&self, address: u32, at: At, back: u32, code: SeenCode<'_>) -> Option<Place> {
        let kernel = self.0.iter().filter(|file| file.name.is_none() && file.fits(address, code));
        kernel.filter_map(|file| file.place(address, at, back)).next()
    }
}

/// The entry point of an ELF32 file as it was linked.
pub fn linked_entry(bytes: &[u8]) -> Option<u32> {
    Elf::parse(bytes).map(|elf| elf.entry())
}

/// The name of several programs that say the same.
fn several() -> Arc<str> {
    Arc::from("")
}
