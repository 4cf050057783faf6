//! Source lines out of DWARF.
//!
//! gimli and addr2line do the reading; a unit is read when an address first falls into it. The line told
//! is one of the function that has the symbol: where it inlined another, the line of the call. A name and
//! a line that belong to different functions would have to be explained.

use super::elf::Elf;
use super::place::SourceLine;
use super::table::readable;
use addr2line::Context;
use gimli::{EndianArcSlice, LittleEndian};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

type Reader = EndianArcSlice<LittleEndian>;

/// The lines of a file, or none.
#[derive(Default)]
pub(super) struct Lines(Option<Context<Reader>>);

impl Lines {
    pub(super) fn of(elf: Elf<'_>) -> Self {
        if elf.section(".debug_line").is_none() {
            return Lines(None);
        }
        let section = |id: gimli::SectionId| {
            let bytes = elf.section(id.name()).unwrap_or_default();
            Ok::<_, Infallible>(Reader::new(Arc::from(bytes), LittleEndian))
        };
        let Ok(dwarf) = gimli::Dwarf::load(section);
        Lines(Context::from_dwarf(dwarf).ok())
    }

    pub(super) fn find(&self, address: u32) -> Option<SourceLine> {
        let context = self.0.as_ref()?;
        let address = u64::from(address);
        let mut outermost = None;
        if let Ok(mut frames) = context.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = frames.next() {
                outermost = frame.location;
            }
        }
        // Assembly has lines and no functions.
        let location = match outermost {
            Some(location) => location,
            None => context.find_location(address).ok()??,
        };
        let path = location.file?;
        let file = Path::new(path).file_name()?.to_str()?;
        let number = location.line.filter(|line| *line > 0)?;
        Some(SourceLine { file: readable(file), path: Some(path.into()), number })
    }

    /// The paths of all source files that any code comes from.
    pub(super) fn files(&self) -> Vec<Arc<str>> {
        let Some(context) = self.0.as_ref() else { return Vec::new() };
        let Ok(all) = context.find_location_range(0, u64::from(u32::MAX)) else {
            return Vec::new();
        };
        let mut files: Vec<Arc<str>> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for (_, _, location) in all {
            if let Some(file) = location.file.filter(|file| known.insert(*file)) {
                files.push(file.into());
            }
        }
        files
    }
}
