//! What others chose the letters of, as it can be read: what a terminal shows as its number, so does the page.
//!
//! A guest's bytes, symbols and file names may turn a line around, hide a letter or be no letter at all. All of the
//! page's data goes through here, so no picture and no list has to think of it. Ends of lines stay.

use crate::trace::visible_text;
use serde_json::Value;
use std::borrow::Cow;

/// The same with every text in it made visible, names of members too.
pub(super) fn readable(value: Value) -> Value {
    match value {
        Value::String(text) => match lines(&text) {
            Cow::Borrowed(_) => Value::String(text),
            Cow::Owned(shown) => Value::String(shown),
        },
        Value::Array(all) => Value::Array(all.into_iter().map(readable).collect()),
        Value::Object(all) => {
            let members = all.into_iter();
            Value::Object(
                members.map(|(name, one)| (lines(&name).into_owned(), readable(one))).collect(),
            )
        }
        other => other,
    }
}

/// The text line by line: a carriage return beside an end of line, as a serial port has it, is part of that.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n')) {
        return Cow::Borrowed(text);
    }
    let lines = text.split('\n').map(|line| visible_text(line.trim_matches('\r')));
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}
