//! Names that the trace itself has for addresses: each holds until the next one.

use super::record::Record;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

/// The names, numbered from 1 in their order; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Naming {
    all: Vec<Value>,
    /// Which holds: for what was interrupted or not, by address and task.
    holding: FxHashMap<(bool, u64, u64), u64>,
    /// What ends at an address.
    tops: Map<String, Value>,
}

impl Naming {
    /// Takes a line that names an address.
    pub(super) fn learn(&mut self, place: &Record) {
        let mut name = match place.text("program") {
            "" => String::new(),
            program => format!("{program}: "),
        };
        name.push_str(&format!("{}+{}", place.text("symbol"), place.count("offset")));
        if !place.text("file").is_empty() {
            name.push_str(&format!(" ({}:{})", place.text("file"), place.count("line")));
        }
        let known = !place.text("symbol").is_empty();
        match place.text("use") {
            "top" if known => {
                self.tops.insert(place.text("address").into(), name.into());
            }
            "interrupted" | "code" => {
                let interrupted = place.text("use") == "interrupted";
                let task = if interrupted { place.count("task") } else { 0 };
                let key = (interrupted, place.hex("address"), task);
                self.all.push(json!({ "name": name, "at": place.text("address") }));
                let number = if known { self.all.len() as u64 } else { 0 };
                self.holding.insert(key, number);
            }
            _ => {}
        }
    }

    /// The name of what was interrupted.
    pub(super) fn interrupted(&self, eip: u64, task: u64) -> u64 {
        self.holding.get(&(true, eip, task)).copied().unwrap_or(0)
    }

    /// The name of the kernel's code.
    pub(super) fn code(&self, eip: u64) -> u64 {
        self.holding.get(&(false, eip, 0)).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> &[Value] {
        &self.all
    }

    pub(super) fn tops(&self) -> &Map<String, Value> {
        &self.tops
    }
}
