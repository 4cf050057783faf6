//! Names behind the addresses that stand in a text.
//!
//! Rules write their sentences without knowing names. Whoever prints one puts them in: behind each word
//! of eight hexadecimal digits that is an address of something known. Not all such words are addresses;
//! what stands before one tells (`EFLAGS 00100202` is none, though a kernel may lie there).

use super::{Place, Symbols};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is no address, though it has as many digits.
const NOT_AN_ADDRESS: [&str; 11] =
    ["EFLAGS", "CS", "SS", "DS", "ES", "FS", "GS", "CR0", "CR4", "code", "error"];
/// What stacks grow down from.
const STACK: [&str; 5] = ["ESP", "ESP0", "SP", "SP0", "top"];

/// Where names come from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// Symbols.
    Symbols(&'a Symbols),
    /// What [`names_in`] found in the same texts before.
    Found(&'a BTreeMap<String, String>),
}

/// Puts names into the texts of one finding: each address gets its name once.
#[derive(Debug)]
pub struct Annotator<'a> {
    source: Source<'a>,
    told: Vec<u32>,
    /// Digits and names, as they were put in.
    found: BTreeMap<String, String>,
}

/// The names of the addresses that stand in these texts of one finding, by their digits.
pub fn names_in<'t>(
    symbols: &Symbols,
    texts: impl IntoIterator<Item = &'t str>,
) -> BTreeMap<String, String> {
    let mut annotator = Annotator::new(symbols);
    for text in texts {
        annotator.annotate(text);
    }
    annotator.found
}

impl<'a> Annotator<'a> {
    /// For the texts of one finding.
    pub fn new(symbols: &'a Symbols) -> Self {
        Annotator { source: Source::Symbols(symbols), told: Vec::new(), found: BTreeMap::new() }
    }

    /// The same, with names that [`names_in`] found.
    pub fn with_names(names: &'a BTreeMap<String, String>) -> Self {
        Annotator { source: Source::Found(names), told: Vec::new(), found: BTreeMap::new() }
    }

    /// The text with names: `ESP0 00104000 (area+256)`.
    pub fn annotate<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let none = match self.source {
            Source::Symbols(symbols) => symbols.is_empty(),
            Source::Found(names) => names.is_empty(),
        };
        if none {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        let mut copied = 0;
        for (start, word) in words(text) {
            let end = start + word.len();
            let Some(address) = address(word).filter(|address| !self.told.contains(address)) else {
                continue;
            };
            let Some((short, name)) = self.name(word, address, before(&text[..start])) else {
                continue;
            };
            // It may be named already, by a rule that knows better.
            let named = text[end..].trim_start_matches([' ', '(', '<', '=']);
            if named.starts_with(&short) {
                continue;
            }
            self.told.push(address);
            out.push_str(&text[copied..end]);
            // No parentheses in parentheses.
            let before = &text[..start];
            let inside = before.matches('(').count() > before.matches(')').count();
            out.push_str(&if inside { format!(" = {name}") } else { format!(" ({name})") });
            copied = end;
            self.found.insert(word.into(), name);
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }

    /// The name without the line, and with it.
    fn name(&self, word: &str, address: u32, before: [&str; 3]) -> Option<(String, String)> {
        match self.source {
            Source::Symbols(symbols) => {
                let place = place(symbols, address, before)?;
                let line = place.line.as_ref();
                let line =
                    line.map_or(String::new(), |line| format!(", {}:{}", line.file, line.number));
                let short = place.short();
                let name = format!("{short}{line}");
                Some((short, name))
            }
            Source::Found(names) => {
                let name = names.get(word).filter(|_| !NOT_AN_ADDRESS.contains(&before[0]))?;
                let short = match name.rsplit_once(", ") {
                    Some((short, line)) if line.contains(':') => short,
                    _ => name,
                };
                Some((short.into(), name.clone()))
            }
        }
    }
}

fn place(symbols: &Symbols, address: u32, before: [&str; 3]) -> Option<Place> {
    if NOT_AN_ADDRESS.contains(&before[0]) {
        None
    } else if before[0] != "EIP" && before.iter().any(|word| STACK.contains(word)) {
        symbols.describe_top(address)
    } else {
        symbols.describe(address)
    }
}
/// The runs of letters and digits, with where they start.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let start_of = move |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(move |word| (start_of(word), word))
}

fn address(word: &str) -> Option<u32> {
    let digits = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(word, 16).ok()).flatten()
}

/// The words that say what a number is: the last ones before it that are no numbers, the nearest first
/// (`TSS.ESP0 has been`; `SS:ESP 0010:` gives `ESP`).
fn before(text: &str) -> [&str; 3] {
    let mut last = [""; 3];
    for (_, word) in words(text) {
        let number = word.len() % 4 == 0 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !number {
            last = [word, last[0], last[1]];
        }
    }
    last
}
