//! The text screen, listened to as if it were a console: for a kernel that prints nowhere else.
//!
//! What stands on the screen was said, from top to bottom. Where a text was found is kept as a place, and what is
//! looked for next has to stand behind it; the place moves up with its line when the screen scrolls. A screen on which
//! nothing of the old one is left is a new one.

use crate::devices::vga::ROWS;

/// What stood on the screen when it was last looked at, and up to where it has been heard.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedScreen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl WatchedScreen {
    /// The screen stands like this now.
    pub(super) fn show(&mut self, rows: &[String]) {
        let rows: Vec<Vec<char>> = rows.iter().map(|row| row.chars().collect()).collect();
        match self.scrolled(&rows) {
            Some(by) if by <= self.row => self.row -= by,
            _ => (self.row, self.column) = (0, 0),
        }
        self.rows = rows;
    }

    /// Goes behind `text`, if it stands on a line behind what was found before.
    pub(super) fn find(&mut self, text: &str) -> bool {
        let wanted: Vec<char> = text.chars().collect();
        for (index, row) in self.rows.iter().enumerate().skip(self.row) {
            let from = if index == self.row { self.column.min(row.len()) } else { 0 };
            let at = row[from..].windows(wanted.len().max(1)).position(|part| part == wanted);
            if let Some(at) = at {
                (self.row, self.column) = (index, from + at + wanted.len());
                return true;
            }
        }
        false
    }

    /// By how many lines it has moved up: that by which most of the old lines are found again, as they were or with
    /// something behind. None if none is.
    fn scrolled(&self, rows: &[Vec<char>]) -> Option<usize> {
        let goes_on = |old: &[char], new: &[char]| {
            let length = old.iter().rposition(|letter| *letter != ' ').map_or(0, |last| last + 1);
            length > 0 && new.get(..length) == Some(&old[..length])
        };
        let found_by = |by: usize| {
            let old = self.rows.iter().skip(by);
            old.zip(rows).filter(|(old, new)| goes_on(old, new)).count()
        };
        // Of several the smallest.
        (0..ROWS)
            .map(|by| (found_by(by), by))
            .filter(|(found, _)| *found > 0)
            .max_by_key(|(found, by)| (*found, std::cmp::Reverse(*by)))
            .map(|(_, by)| by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(lines: &[&str]) -> Vec<String> {
        let mut rows: Vec<String> = lines.iter().map(|line| format!("{line:80}")).collect();
        rows.resize(ROWS, " ".repeat(80));
        rows
    }

    #[test]
    fn a_text_is_found_once_and_the_next_one_behind_it() {
        let mut watched = WatchedScreen::default();
        watched.show(&screen(&["login: ", "$"]));
        assert!(!watched.find("Password"));
        assert!(watched.find("login: ") && watched.find("$ ") && !watched.find("$ "));
        watched.show(&screen(&["login: ", "$ ls", "README", "$"]));
        assert!(!watched.find("login: "), "it stands in front");
        assert!(watched.find("$ ") && !watched.find("$ "));
    }

    #[test]
    fn the_place_moves_up_with_its_line() {
        let mut watched = WatchedScreen::default();
        let full: Vec<String> = (0..24).map(|line| format!("line {line}")).collect();
        let mut lines: Vec<&str> = full.iter().map(String::as_str).collect();
        lines.push("$");
        watched.show(&screen(&lines));
        assert!(watched.find("$ "));
        lines.drain(..2);
        *lines.last_mut().unwrap() = "$ x";
        lines.extend(["done", "$"]);
        watched.show(&screen(&lines));
        assert!(watched.find("done") && watched.find("$ ") && !watched.find("$ "));
    }

    #[test]
    fn a_cleared_screen_is_a_new_one_and_a_changed_line_is_not() {
        let mut watched = WatchedScreen::default();
        watched.show(&screen(&["$ make", "10%"]));
        assert!(watched.find("$ "));
        watched.show(&screen(&["$ make", "20%"]));
        assert!(!watched.find("$ "));
        watched.show(&screen(&["bye", "$"]));
        assert!(watched.find("$ "));
    }

    #[test]
    fn no_text_and_no_screen_are_no_panic() {
        let mut watched = WatchedScreen::default();
        assert!(!watched.find("x"));
        watched.show(&[]);
        assert!(!watched.find(""));
        watched.show(&screen(&["x"]));
        let long = "x".repeat(100);
        assert!(!watched.find(&long));
    }
}
