//! What stands on the text screen, as lines that a terminal can show.
//!
//! Text memory holds a character and an attribute for each cell. Characters are those of code page 437;
//! each becomes a printable one, control characters too, so nothing that a guest writes can do anything to
//! the terminal that it is shown on.

use super::vga::{COLUMNS, ROWS};

const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
                    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/// The cell that a BIOS clears the screen with: a space, grey on black.
pub const BLANK: [u8; 2] = [b' ', 0x07];

/// The screen's lines from its cells, two bytes each, without blanks at their ends and without empty
/// lines below the last. Empty if nothing stands there.
pub fn lines(cells: &[u8]) -> Vec<String> {
    let mut lines = rows(cells);
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// The screen's rows from its cells, all of them and whole.
pub fn rows(cells: &[u8]) -> Vec<String> {
    let row = |cells: &[u8]| cells.chunks(2).map(|cell| character(cell[0])).collect();
    cells.chunks(COLUMNS * 2).take(ROWS).map(row).collect()
}

fn character(byte: u8) -> char {
    let from = |table: &str, index: u8| table.chars().nth(index.into()).unwrap_or('?');
    match byte {
        0..0x20 => from(LOW, byte),
        0x20..0x7F => byte.into(),
        0x7F.. => from(HIGH, byte - 0x7F),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_printable_character() {
        assert_eq!((LOW.chars().count(), HIGH.chars().count()), (32, 129));
        assert!((0..=255).map(character).all(|character| !character.is_control()));
        assert_eq!([0x1B, 0x41, 0xC4, 0xDB].map(character), ['←', 'A', '─', '█']);
    }

    #[test]
    fn lines_end_at_their_last_character() {
        let mut cells = BLANK.repeat(COLUMNS * ROWS);
        assert_eq!(lines(&cells), Vec::<String>::new());
        for (index, byte) in b"ok".iter().enumerate() {
            cells[(COLUMNS + index) * 2] = *byte;
        }
        assert_eq!(lines(&cells), ["", "ok"]);
    }
}
