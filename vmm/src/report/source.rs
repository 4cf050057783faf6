//! The kernel's source, as far as it lies where its debug information says.
//!
//! Files are read before the guest runs: while it does, esp0 has none. Only lines around places that a page
//! shows go into it.

use crate::symbols::{SourceLine, Symbols};
use crate::trace::schema::SourceRecord;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Lines above and below.
const ABOVE: usize = 4;
const BELOW: usize = 4;
/// Bytes and files that are read at most.
const LARGEST: u64 = 2 << 20;
const ALL: u64 = 48 << 20;
const FILES: usize = 4_000;
/// A longer line is cut.
const WIDEST: usize = 160;
/// Places of one finding that are shown.
const MOST: usize = 3;

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

    /// The source of the places that stand as addresses in some texts, each once: what a finding talks about.
    pub fn named_in<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t str>,
        symbols: &Symbols,
    ) -> Vec<Value> {
        let mut all: Vec<(String, SourceRecord)> = Vec::new();
        let words = texts.into_iter().flat_map(|text| {
            text.split(|letter: char| !letter.is_ascii_alphanumeric())
                .filter(|word| word.len() == 8)
        });
        for address in words.filter_map(|word| u32::from_str_radix(word, 16).ok()) {
            let Some(place) = symbols.describe(address).filter(|place| place.is_code) else {
                continue;
            };
            let source = place.line.as_ref().and_then(|line| self.around(line));
            let Some(source) = source else { continue };
            if all.iter().all(|(_, known)| *known != source) && all.len() < MOST {
                all.push((place.to_string(), source));
            }
        }
        all.iter().map(|(name, source)| json!({ "name": name, "source": source })).collect()
    }

    /// The lines around one.
    pub(super) fn around(&self, line: &SourceLine) -> Option<SourceRecord> {
        let path = line.path.as_ref()?;
        let file = self.files.get(path)?;
        let index = (line.number as usize).checked_sub(1)?;
        file.lines.get(index)?;
        let first = index.saturating_sub(ABOVE);
        let lines = &file.lines[first..file.lines.len().min(index + BELOW + 1)];
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
