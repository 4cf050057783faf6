//! The kernel's source, as far as it lies where its debug information says.
//!
//! Files are read before the guest runs: while it does, esp0 has none. Only lines around places that a page
//! shows go into it.

use crate::symbols::{SourceLine, Symbols};
use crate::trace::schema::SourceRecord;
use rustc_hash::FxHashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Lines above and below.
const ABOVE: usize = 4;
const BELOW: usize = 4;
/// Lines of a function, behind its first.
const OF_A_FUNCTION: usize = 32;
/// Bytes and files that are read at most.
const LARGEST: u64 = 2 << 20;
const ALL: u64 = 48 << 20;
const FILES: usize = 4_000;
/// A longer line is cut.
const WIDEST: usize = 160;

/// The source files that were found.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: FxHashMap<Arc<str>, Arc<File>>,
}

#[derive(Debug)]
struct File {
    lines: Vec<String>,
    changed: Option<SystemTime>,
    newer: bool,
}

impl Sources {
    /// Reads what the debug information of the guest's files names and this machine has. `built` is when the
    /// kernel was, to tell files that have been changed since.
    pub fn of(symbols: &Symbols, built: Option<SystemTime>) -> Self {
        let mut sources = Sources::default();
        let mut left = ALL;
        for path in symbols.source_files().into_iter().take(FILES) {
            let Some((file, size)) = File::read(Path::new(&*path), left.min(LARGEST)) else {
                continue;
            };
            left -= size;
            let newer = file.changed.zip(built).is_some_and(|(changed, built)| changed > built);
            sources.files.insert(path, Arc::new(File { newer, ..file }));
        }
        sources
    }

    /// The lines around one.
    pub(super) fn around(&self, line: &SourceLine) -> Option<SourceRecord> {
        self.lines(line, ABOVE, BELOW)
    }

    /// The lines of a function, as many as are shown of one, from the one that names it on.
    pub(super) fn function(&self, line: &SourceLine) -> Option<SourceRecord> {
        let file = self.files.get(line.path.as_ref()?)?;
        let mut number = line.number as usize;
        // Debug information may call the brace the function's first line.
        let is_brace =
            |number: usize| file.lines.get(number - 1).is_some_and(|text| text.trim() == "{");
        while number > 1 && is_brace(number) {
            number -= 1;
        }
        let rest = file.lines.get(number..).unwrap_or_default();
        let end = rest.iter().position(|text| text == "}").map_or(OF_A_FUNCTION, |end| end + 1);
        let named = SourceLine { number: number as u32, ..line.clone() };
        self.lines(&named, 0, end.min(OF_A_FUNCTION))
    }

    fn lines(&self, line: &SourceLine, above: usize, below: usize) -> Option<SourceRecord> {
        let path = line.path.as_ref()?;
        let file = self.files.get(path)?;
        let index = (line.number as usize).checked_sub(1)?;
        file.lines.get(index)?;
        let first = index.saturating_sub(above);
        let lines = &file.lines[first..file.lines.len().min(index + below + 1)];
        Some(SourceRecord {
            path: path.to_string(),
            line: line.number,
            first: first + 1,
            lines: lines.to_vec(),
            newer: file.newer,
        })
    }
}

impl File {
    fn read(path: &Path, most: u64) -> Option<(Self, u64)> {
        let metadata = std::fs::metadata(path).ok().filter(|file| file.is_file())?;
        if metadata.len() > most {
            return None;
        }
        let text = std::fs::read(path).ok()?;
        let lines = String::from_utf8_lossy(&text)
            .lines()
            .map(|line| line.replace('\t', "    ").chars().take(WIDEST).collect())
            .collect();
        Some((File { lines, changed: metadata.modified().ok(), newer: false }, metadata.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, number: u32, whole: bool) -> SourceRecord {
        let lines = text.lines().map(str::to_owned).collect();
        let file = File { lines, changed: None, newer: false };
        let sources = Sources { files: [("k.c".into(), Arc::new(file))].into_iter().collect() };
        let line = SourceLine { file: "k.c".into(), path: Some("k.c".into()), number };
        let shown = if whole { sources.function(&line) } else { sources.around(&line) };
        shown.expect("the line is there")
    }

    #[test]
    fn a_function_is_shown_from_its_name_to_its_end() {
        let text = "int x;\nvoid f(void)\n{\n    if (x) {\n    }\n}\n\nvoid g(void)\n{\n}\n";
        let shown = excerpt(text, 3, true);
        assert_eq!((shown.first, shown.line), (2, 2));
        assert_eq!(shown.lines.first().unwrap(), "void f(void)");
        assert_eq!((shown.lines.len(), shown.lines.last().unwrap().as_str()), (5, "}"));
    }

    #[test]
    fn a_long_function_is_cut_and_one_that_begins_its_file_is_no_panic() {
        let long = format!("{{\n{}", "    x++;\n".repeat(100));
        let shown = excerpt(&long, 1, true);
        assert_eq!((shown.line, shown.lines.len()), (1, OF_A_FUNCTION + 1));
    }

    #[test]
    fn a_line_has_some_of_those_around_it() {
        let shown = excerpt(&"x\n".repeat(40), 20, false);
        assert_eq!((shown.first, shown.line, shown.lines.len()), (16, 20, ABOVE + BELOW + 1));
    }
}
