//! The programs whose symbols gdb reads. Where some lie at the same addresses it knows one of them at a time.

use super::failure::Failure;
use super::files;
use esp0::symbols::loaded_ranges;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Has gdb know the program that is mapped.
const PYTHON: &str = include_str!("programs.py");

/// A program's file.
pub(super) struct Program {
    /// What esp0 calls it.
    name: String,
    /// As gdb takes it.
    pub(super) path: String,
    /// Where it lies, by linear address.
    ranges: Vec<Range<u64>>,
    /// It may hold the kernel's symbols.
    may_be_kernels: bool,
    /// Something else lies there too.
    shares: bool,
}

/// Those of a guest.
pub(super) struct Programs(Vec<Program>);

impl Programs {
    /// The ELF files among modules and files of symbols. One of these that lies where the kernel does is the kernel's.
    pub(super) fn of(
        modules: impl Iterator<Item = PathBuf>,
        symbols: Vec<PathBuf>,
        kernel: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut programs: Vec<Program> = Vec::new();
        let modules = modules.map(|file| (file, false));
        for (file, may_be_kernels) in modules.chain(symbols.into_iter().map(|file| (file, true))) {
            let (bytes, _) = files::read(&file)?;
            if !bytes.starts_with(b"\x7fELF") {
                continue;
            }
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let (name, path) = (name.unwrap_or_default(), quoted(&file));
            // One that is started twice is one.
            if programs.iter().all(|other| other.path != path) {
                let ranges = loaded_ranges(&bytes);
                programs.push(Program { name, path, ranges, may_be_kernels, shares: false });
            }
        }
        let kernel = kernel.map(files::read).transpose()?;
        let kernel = kernel.map_or(Vec::new(), |(bytes, _)| loaded_ranges(&bytes));
        let meet = |one: &[Range<u64>], other: &[Range<u64>]| {
            one.iter().any(|a| other.iter().any(|b| a.start < b.end && b.start < a.end))
        };
        for index in 0..programs.len() {
            let own = &programs[index];
            let with_kernel = meet(&own.ranges, &kernel);
            let mut others = programs.iter().enumerate().filter(|(other, _)| *other != index);
            programs[index].shares = match with_kernel {
                true => !own.may_be_kernels,
                false => others.any(|(_, other)| meet(&own.ranges, &other.ranges)),
            };
        }
        Ok(Programs(programs))
    }

    /// Those that share their addresses with nobody.
    pub(super) fn apart(&self) -> impl Iterator<Item = &Program> {
        self.0.iter().filter(|program| !program.shares)
    }

    /// What has gdb know one of the others at a time; nothing if there are none.
    pub(super) fn python(&self) -> String {
        let mut text = String::new();
        for program in self.0.iter().filter(|program| program.shares) {
            let ranges: Vec<_> =
                program.ranges.iter().map(|range| (range.start, range.end)).collect();
            let Program { name, path, .. } = program;
            // Debug's quotes are Python's.
            let _ = writeln!(text, "    {name:?}: ({path:?}, {ranges:?}),");
        }
        match text.as_str() {
            "" => text,
            files => format!("python\n{PYTHON}\n\nPrograms({{\n{files}}})\nend\n"),
        }
    }
}

/// A path as gdb takes it.
pub(super) fn quoted(path: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = whole.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}
