//! The last entries of a run, for whoever asks what came before.

use super::super::described::{Judgeable, Where};
use super::super::line::{entry_line, heading};
use super::super::names::interrupted;
use super::super::schema::EntryRecord;
use crate::check::Judgement;
use crate::entry::Entry;
use crate::symbols::Symbols;
use crate::trace::Colour;
use std::sync::Arc;

/// How many are kept.
pub(in crate::trace) const KEPT: usize = 8;

/// One of the last entries.
#[derive(Clone)]
struct Recent {
    entry: Arc<Entry>,
    /// The number of its task; 0 if that is not known.
    task: u32,
    /// What the rules said, if they said anything.
    said: Option<Box<Judgement>>,
}

/// The last entries; the slot of one is its number modulo their count.
#[derive(Clone, Default)]
pub(crate) struct LastEntries([Option<Recent>; KEPT]);

impl LastEntries {
    /// This one came, and the rules said this of it.
    pub(crate) fn note(&mut self, entry: &Arc<Entry>, judgement: &Judgement) {
        let said = (!judgement.is_unremarkable()).then(|| Box::new(judgement.clone()));
        let task = super::task(judgement);
        let recent = Recent { entry: Arc::clone(entry), task, said };
        self.0[entry.sequence as usize % KEPT] = Some(recent);
    }

    /// As lines, oldest first.
    pub(crate) fn text(&self, symbols: &Symbols, colour: Colour) -> String {
        let mut text = format!("{}\n", colour.dim(heading()));
        let mut kept: Vec<&Recent> = self.0.iter().flatten().collect();
        kept.sort_by_key(|recent| recent.entry.sequence);
        if kept.is_empty() {
            return "none was seen\n".into();
        }
        let nothing = Judgement::default();
        for Recent { entry, task, said } in kept {
            let name = interrupted(symbols, entry).map(|place| place.to_string());
            let place = Where { place: String::new(), at: 0, sequence: entry.sequence };
            let said = said.as_deref().unwrap_or(&nothing);
            let record = EntryRecord::new(entry, *task);
            let record = record.judged(said, &place, &Symbols::none());
            text.push_str(&entry_line(&record, name.as_deref(), colour));
            text.push('\n');
        }
        text
    }
}
