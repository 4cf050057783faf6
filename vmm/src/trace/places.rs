//! Which names a trace has been told, so that each is told once.

use super::names::Names;
use super::schema::{PlaceRecord, PlaceUse, Record};
use crate::entry::Entry;
use crate::symbols::Place;
use ia32::Word;
use rustc_hash::FxHashMap;

/// How many names are remembered.
const KEPT: usize = 1 << 16;

/// What a name is of: its use, the task where tasks differ, the address.
type Key = (PlaceUse, u32, u32);

/// The names that stand in the trace.
#[derive(Debug, Default)]
pub(super) struct Places {
    told: FxHashMap<Key, Option<Place>>,
}

impl Places {
    /// The records that have to stand before that of `entry`, of `task`.
    pub(super) fn of_entry(&mut self, entry: &Entry, task: u32, names: &mut Names) -> Vec<Record> {
        let mut records = Vec::new();
        if names.symbols().is_empty() {
            return records;
        }
        if let Some(eip) = entry.frame.get(Word::Eip) {
            let place = names.of_entry(entry);
            let place = place.as_ref().map(|named| &named.place);
            self.tell(&mut records, (PlaceUse::Interrupted, task, eip), place);
        }
        let handler = entry.after.eip;
        self.find(&mut records, (PlaceUse::Code, 0, handler), || {
            names.of_instruction(&entry.after)
        });
        let symbols = names.symbols();
        let tops = [Some(entry.frame.end()), entry.frame.get(Word::Esp)];
        for top in tops.into_iter().flatten() {
            self.find(&mut records, (PlaceUse::Top, 0, top), || symbols.describe_top(top));
        }
        records
    }

    /// Tells of a name that does not change.
    fn find(&mut self, records: &mut Vec<Record>, key: Key, find: impl FnOnce() -> Option<Place>) {
        if !self.told.contains_key(&key) {
            let place = find();
            self.tell(records, key, place.as_ref());
        }
    }

    fn tell(&mut self, records: &mut Vec<Record>, key: Key, place: Option<&Place>) {
        let known = self.told.get(&key);
        if known.is_some_and(|known| known.as_ref() == place) {
            return;
        }
        // An address without a name needs no record, unless it had one.
        if place.is_some() || known.is_some_and(Option::is_some) {
            records.push(Record::Place(record(key, place)));
        }
        if self.told.len() == KEPT {
            self.told.clear();
        }
        self.told.insert(key, place.cloned());
    }
}

fn record((used, task, address): Key, place: Option<&Place>) -> PlaceRecord {
    let line = place.and_then(|place| place.line.as_ref());
    PlaceRecord {
        address,
        used,
        task,
        program: place.and_then(|place| place.file.as_deref()).map(Into::into),
        symbol: place.map_or(String::new(), |place| place.symbol.to_string()),
        offset: place.map_or(0, |place| place.offset),
        file: line.map(|line| line.file.to_string()),
        line: line.map(|line| line.number),
    }
}

/// The names that a trace has told so far, for whoever reads it.
#[derive(Debug, Default)]
pub struct KnownPlaces {
    places: FxHashMap<Key, PlaceRecord>,
}

impl KnownPlaces {
    /// Takes a record.
    pub fn learn(&mut self, place: PlaceRecord) {
        let key = (place.used, place.task, place.address);
        if place.symbol.is_empty() {
            self.places.remove(&key);
        } else {
            self.places.insert(key, place);
        }
    }

    /// What is known of an address; `task` counts where tasks differ.
    pub fn find(&self, used: PlaceUse, task: u32, address: u32) -> Option<&PlaceRecord> {
        let task = if used == PlaceUse::Interrupted { task } else { 0 };
        self.places.get(&(used, task, address))
    }
}
