//! The two frames that a failing test prints: what the manual asks for, and what was pushed.
//!
//! Written for the tests and from the manual alone (SDM vol. 3A, "Exception- or interrupt-handler
//! procedures"), so that it shares nothing with the rules that it is held against.

use esp0::entry::{Entry, Kind};
use ia32::{State, Word};
use std::fmt::Write;

/// The value that `word` has to have by the state before; none where that was not seen, or where
/// the manual leaves it open.
pub fn expected(entry: &Entry, word: Word) -> Option<u32> {
    let before: &State = entry.before.as_ref()?;
    Some(match word {
        Word::Eip => match entry.kind {
            Kind::Software => before.eip + 2,
            Kind::Fault | Kind::External | Kind::Nmi => before.eip,
            Kind::Trap | Kind::Abort | Kind::Unexplained => return None,
        },
        Word::Cs => before.cs().selector.into(),
        Word::Eflags => before.eflags.0,
        Word::Esp => before.general.esp,
        Word::Ss => before.ss().selector.into(),
        Word::ErrorCode | Word::Es | Word::Ds | Word::Fs | Word::Gs => return None,
    })
}

/// Both frames, word by word, highest address first.
pub fn frames(entry: &Entry) -> String {
    let mut text = String::from("     address   word        expected  got\n");
    for (word, got) in entry.frame.words().rev() {
        let hexadecimal =
            |value: Option<u32>| value.map_or("-".into(), |value| format!("{value:08x}"));
        let _ = writeln!(
            text,
            "     {:08x}  {:<10}  {:<8}  {}",
            entry.frame.address_of(word).unwrap_or(0),
            word.name(),
            hexadecimal(expected(entry, word)),
            hexadecimal(got),
        );
    }
    text
}
