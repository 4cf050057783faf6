//! The registers at the end of a run, with what their addresses are.

use super::Colour;
use super::schema::{EndRecord, LastMoment, LastRecord};
use super::summary::ending_in_words;
use crate::run::{End, Ending};
use crate::symbols::{SeenCode, Symbols};
use ia32::State;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The registers of a guest that has ended so.
pub(super) fn record(end: &End, symbols: &Symbols) -> LastRecord {
    let when = match (&end.ending, &end.last_event) {
        (Ending::TripleFault, Some(_)) => LastMoment::Before,
        (Ending::TripleFault, None) => LastMoment::Stop,
        _ => LastMoment::End,
    };
    let vector = end.last_event.as_ref().and_then(|event| event.interrupt);
    let vector = vector.map(|vector| vector.0);
    LastRecord { when, vector, ..now(&end.state, symbols) }
}

/// The registers of a guest that stands.
pub(crate) fn now(state: &State, symbols: &Symbols) -> LastRecord {
    // A TSS that TR holds is busy (SDM vol. 2A, LTR), though not all that puts a state back keeps the bit.
    const BUSY: u16 = 2;
    let mut state = *state;
    if state.tr.present() {
        state.tr.attributes |= BUSY;
    }
    let names = names(&state, symbols);
    LastRecord { when: LastMoment::End, vector: None, state: (&state).into(), names }
}

fn names(state: &State, symbols: &Symbols) -> BTreeMap<String, String> {
    const PAGING: u32 = 1 << 31;
    let place = if state.cr0 & PAGING == 0 {
        symbols.describe_physical(state.eip)
    } else {
        symbols.describe_code(state.eip, SeenCode::default())
    };
    let mut names = BTreeMap::new();
    names.extend(place.map(|place| ("eip".to_owned(), place.to_string())));
    for (name, address, is_stack) in [
        ("esp", state.general.esp, true),
        ("ebp", state.general.ebp, true),
        ("cr2", state.cr2, false),
        ("tr", state.tr.base, false),
        ("idtr", state.idtr.base, false),
        ("gdtr", state.gdtr.base, false),
    ] {
        let place =
            if is_stack { symbols.describe_top(address) } else { symbols.describe(address) };
        let place = place.filter(|_| address != 0);
        names.extend(place.map(|place| (name.to_owned(), place.short())));
    }
    names
}

/// A table of the registers; a name where one is an address of something known.
///
/// ```text
///   CS:EIP 0008:00100123 dispatch+19 (kernel.c:17)  SS 0010  DS 0010  ES 0010  ring 0
/// ```
pub(crate) fn registers(last: &LastRecord) -> String {
    let state = State::from(&last.state);
    let general = &state.general;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  EAX {:08x}  EBX {:08x}  ECX {:08x}  EDX {:08x}\n  ESI {:08x}  EDI {:08x}  \
         EBP {:08x}  ESP {:08x}",
        general.eax,
        general.ebx,
        general.ecx,
        general.edx,
        general.esi,
        general.edi,
        general.ebp,
        general.esp,
    );
    let _ = writeln!(
        text,
        "  CS:EIP {:04x}:{:08x}{}  SS {:04x}  DS {:04x}  ES {:04x}  ring {}\n  \
         EFLAGS {:08x} ({})\n  CR0 {:08x}  CR2 {:08x}  CR3 {:08x}  CR4 {:08x}",
        state.cs().selector,
        state.eip,
        last.names.get("eip").map_or(String::new(), |place| format!(" {place}")),
        state.ss().selector,
        state.segments[3].selector,
        state.segments[0].selector,
        state.cpl(),
        state.eflags.0,
        state.eflags,
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
    );
    let _ = writeln!(
        text,
        "  TR {:04x} base {:08x}  IDTR {:08x}/{:04x}  GDTR {:08x}/{:04x}",
        state.tr.selector,
        state.tr.base,
        state.idtr.base,
        state.idtr.limit,
        state.gdtr.base,
        state.gdtr.limit,
    );
    let named: Vec<String> = ["esp", "ebp", "cr2", "tr", "idtr", "gdtr"]
        .into_iter()
        .filter_map(|name| Some(format!("{} = {}", name.to_uppercase(), last.names.get(name)?)))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(text, "  {}", named.join("  "));
    }
    text
}

/// What happened to a guest that failed: the ending, its last entries as `recent`, the registers. Nothing of one that
/// did not.
pub(super) fn failure(end: &EndRecord, recent: &str, colour: Colour) -> String {
    let Some(last) = &end.last else { return String::new() };
    format!(
        "\n{}\n\nthe last entries:\n{recent}\n{}:\n{}",
        colour.bad(&ending_in_words(end)),
        last.when.title(),
        registers(last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::schema::samples;

    #[test]
    fn without_symbols_the_table_has_numbers_only() {
        let state = State { eip: 0x10_0123, ..State::default() };
        let end = End { ending: Ending::Halted, state, last_event: None, arriving: None };
        let last = record(&end, &Symbols::none());
        assert_eq!(last.when, LastMoment::End);
        let text = registers(&last);
        assert!(text.contains("CS:EIP 0000:00100123  SS 0000"), "{text}");
        assert!(!text.contains(" = "), "{text}");
    }

    #[test]
    fn names_stand_beside_what_they_are_of_and_a_guest_that_did_well_has_no_failure() {
        let end = samples::end();
        let last = end.last.clone().expect("it failed");
        let last = LastRecord {
            names: BTreeMap::from([
                ("eip".to_owned(), "timer+12".to_owned()),
                ("cr2".to_owned(), "table+4".to_owned()),
            ]),
            ..*last
        };
        let text = registers(&last);
        assert!(text.contains("0000:00100250 timer+12  SS"), "{text}");
        assert!(text.ends_with("\n  CR2 = table+4\n"), "{text}");
        let whole = failure(&end, "none was seen\n", Colour::default());
        assert!(whole.contains("\nnone was seen\n\nthe registers just before:\n  EAX "), "{whole}");
        let well = EndRecord { last: None, ..end };
        assert_eq!(failure(&well, "none was seen\n", Colour::default()), "");
    }
}
