//! Breaks long lines between words, for a terminal.

use std::fmt::Write;

/// The text with no line wider than `columns`, as far as its words allow; what follows a break is
/// indented by `indent`. Escapes for colour take no room.
pub(super) fn wrap(text: &str, columns: usize, indent: usize) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        wrap_line(&mut out, line, columns, indent);
    }
    out
}

fn wrap_line(out: &mut String, line: &str, columns: usize, indent: usize) {
    let mut width = 0;
    for (index, word) in line.split(' ').enumerate() {
        let length = visible(word);
        if index > 0 {
            if width + 1 + length > columns && length > 0 && width > indent {
                let _ = write!(out, "\n{:indent$}", "");
                width = indent;
            } else {
                out.push(' ');
                width += 1;
            }
        }
        out.push_str(word);
        width += length;
    }
}

/// How many columns a word takes.
fn visible(word: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for letter in word.chars() {
        match (escape, letter) {
            (false, '\x1b') => escape = true,
            (false, _) => count += 1,
            (true, letter) => escape = !letter.is_ascii_alphabetic(),
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_between_words_and_go_on_indented() {
        let text = "#2 entered on the stack of a task\n     expected  this\nshort";
        assert_eq!(
            wrap(text, 20, 5),
            "#2 entered on the\n     stack of a task\n     expected  this\nshort"
        );
        assert_eq!(wrap(text, 1000, 5), text);
        assert_eq!(wrap("averylongwordwithoutspaces x", 10, 2), "averylongwordwithoutspaces\n  x");
    }

    #[test]
    fn colour_takes_no_room() {
        assert_eq!(wrap("\x1b[1m\x1b[31mone two\x1b[0m", 7, 2), "\x1b[1m\x1b[31mone two\x1b[0m");
    }
}
