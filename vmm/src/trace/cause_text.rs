//! What a trace has of a cause beside its findings, for people.

use super::schema::{CauseRecord, CodeRecord};
use std::fmt::Write;

/// Who wrote what, what led there, and the code to look at: source where there is some, else instructions.
///
/// ```text
///      00102300 was written by `mov [esp+eax*4],ebx` at 0010025d (deeper+14), in ring 0, …
///      code deeper+14 (kernel.c:31), /src/kernel.c
///        ►   31  area[n] = value;
/// ```
pub fn cause_text(cause: &CauseRecord) -> String {
    let mut text = String::new();
    for answer in cause.answers() {
        let _ = writeln!(text, "     {answer}");
    }
    for place in &cause.places {
        code(&mut text, place);
    }
    text
}

fn code(text: &mut String, place: &CodeRecord) {
    let name = place.name.as_deref().unwrap_or(&place.at);
    let path = place.source.as_ref().map_or(String::new(), |source| format!(", {}", source.path));
    let _ = writeln!(text, "     code {name}{path}");
    let mark = |here: bool| if here { '►' } else { ' ' };
    match &place.source {
        Some(source) => {
            for (number, line) in (source.first..).zip(&source.lines) {
                let here = number == source.line as usize;
                let line = format!("       {} {number:>4}  {line}", mark(here));
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        None => {
            for [at, bytes, instruction] in &place.code {
                let here = *at == place.at;
                let _ = writeln!(text, "       {} {at}  {bytes:<21} {instruction}", mark(here));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{Record, samples};
    use super::*;

    #[test]
    fn the_line_that_is_meant_is_marked_in_source_and_else_the_instruction() {
        let cause = samples::all().into_iter().find_map(|record| match record {
            Record::Cause(cause) => Some(*cause),
            _ => None,
        });
        let mut cause = cause.expect("there is one");
        let text = cause_text(&cause);
        assert!(text.starts_with("     f0001004 was written by `mov`\n"), "{text}");
        assert!(text.contains("\n       ►   40      tick();\n"), "{text}");
        assert!(text.contains("         39  {\n"), "{text}");
        cause.places[0].source = None;
        assert!(cause_text(&cause).ends_with("► 00100250  cf                    iretd\n"));
    }
}
