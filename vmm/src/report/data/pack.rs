//! All that was gathered, as the page's one object.

use super::super::events::describe;
use super::super::readable::readable;
use super::{COMMON, Data, OF_ENTRY, OF_VIRTUAL_8086};
use crate::trace::vocabulary;
use serde_json::{Map, Value, json};

impl Data {
    /// The whole as JSON.
    pub(in crate::report) fn pack(&self) -> Value {
        let mut stops = Map::new();
        for (name, column) in [
            ("kind", &self.kind),
            ("task", &self.task),
            ("number", &self.number),
            ("from", &self.from_ring),
            ("to", &self.to_ring),
            ("judged", &self.judged),
        ] {
            stops.insert(name.into(), column.pack());
        }
        for (name, column) in COMMON.into_iter().zip(&self.common) {
            stops.insert(name.into(), column.pack());
        }
        for (name, column) in OF_VIRTUAL_8086.into_iter().zip(&self.above_ss) {
            stops.insert(name.into(), column.pack());
        }
        let mut entries = Map::new();
        let [place, handler, return_place] = self.places();
        let places: Vec<&Value> = self.places.iter().chain(self.names_of.all()).collect();
        for (name, column) in [
            ("event", &self.event),
            ("gateLow", &self.gate[0]),
            ("gateHigh", &self.gate[1]),
            ("shape", &self.shape),
            ("error", &self.error_code),
            ("place", &place),
            ("handler", &handler),
        ] {
            entries.insert(name.into(), column.pack());
        }
        for ((_, name), column) in OF_ENTRY.into_iter().zip(&self.of_entry) {
            entries.insert(name.into(), column.pack());
        }
        let returns = json!({
            "pops": self.pops.pack(), "shape": self.return_shape.pack(), "place": return_place.pack(),
            "at": self.return_eip.pack()
        });
        let events: Vec<Value> =
            self.events.iter().map(|(vector, kind)| describe(*vector, kind)).collect();
        let all = json!({
            "header": self.header,
            "layout": vocabulary(),
            "rows": {
                "stops": self.rows.stops, "entries": self.rows.entries, "returns": self.rows.returns
            },
            "stops": stops,
            "entries": entries,
            "returns": returns,
            "events": events,
            "switches": self.switches,
            "sysenters": self.sysenters,
            "crossings": self.crossings,
            "stacks": self.stacks,
            "causes": self.causes.pack(),
            "deviations": self.deviations,
            "details": self.details,
            "returnDetails": self.return_details,
            "accounts": self.accounts,
            "places": places,
            "tops": self.names_of.tops(),
            "console": self.console,
            "consoleDropped": self.console_dropped,
            "control": self.control,
            "ending": self.ending,
            "end": self.end_of_run(),
            "cut": self.cut,
            "summary": self.summary(),
            "last": self.last().map(|(title, text)| json!({ "title": title, "text": text })),
            "lastEsp": self.last_esp(),
            "lastPlace": self.last_place(),
            "claims": self.claims,
            "names": self.names,
            "verdict": self.verdict(),
            "unread": self.unread,
            "unreadWords": self.unread_words,
        });
        readable(all)
    }
}
