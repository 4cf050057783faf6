//! Text of others, made harmless: what a guest prints, its symbols, names of files.
//!
//! A terminal obeys what it is sent. A guest that prints `ESC [ 2 J` wipes the findings away, a carriage return
//! writes over a line, and a right-to-left mark turns one around. So every character that is no glyph, no
//! space and no tab is written as its number. What remains can only be read.
//!
//! Stripping them was rejected: what a guest prints is evidence, and evidence is not thrown away.

use std::fmt::Write;

/// `bytes` as text that moves no cursor: control characters (C0, DEL, C1), those of Unicode that are not seen (line
/// separators, directions, joiners, marks that sit on other characters, what is not assigned) and bytes that are no
/// UTF-8 become `\x1b`, `\u{202e}`, `\r`. A tab stays.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut text, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// [`visible`], of text.
pub fn visible_text(text: &str) -> String {
    visible(text.as_bytes())
}

fn push(text: &mut String, c: char) {
    match c {
        ' '..='~' | '\t' => text.push(c),
        '\r' => text.push_str("\\r"),
        '\n' => text.push_str("\\n"),
        '\0'..='\u{ff}' if c.is_control() => {
            let _ = write!(text, "\\x{:02x}", c as u32);
        }
        // The library knows what can be printed.
        _ if c.escape_debug().len() == 1 => text.push(c),
        _ => {
            let _ = write!(text, "\\u{{{:x}}}", c as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_stays() {
        for text in ["verdict: \"ok\" \\x1b", "a\tb", "Grüße, мир, 世界 │", ""] {
            assert_eq!(visible_text(text), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_becomes_its_number() {
        for (bytes, seen) in [
            (&b"\x1b[2J\x1b]0;t\x07"[..], "\\x1b[2J\\x1b]0;t\\x07"),
            (b"ok\rno", "ok\\rno"),
            (b"\x00\x08\x0b\x0c\x7f", "\\x00\\x08\\x0b\\x0c\\x7f"),
            // C1, as UTF-8 and as bytes: 0x9b is CSI.
            ("\u{85}\u{9b}2J".as_bytes(), "\\x85\\x9b2J"),
            (b"\x9b2J\xff", "\\x9b2J\\xff"),
            // An unfinished character takes nothing along.
            (b"\xe2\x80", "\\xe2\\x80"),
        ] {
            assert_eq!(visible(bytes), seen);
        }
    }

    #[test]
    fn what_unicode_hides_or_turns_around_becomes_its_number() {
        for c in [
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{2060}',
            '\u{e0041}',
            '\u{301}',
            '\u{fff9}',
            '\u{180e}',
        ] {
            let expected = format!("a\\u{{{:x}}}b", c as u32);
            assert_eq!(visible_text(&format!("a{c}b")), expected);
        }
    }
}
