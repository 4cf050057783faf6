//! Colour on a terminal, and none in a pipe.

use anstyle::{AnsiColor, Style};

/// The styles in use, or none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colour {
    on: bool,
}

impl Colour {
    /// With colour, or without.
    pub fn new(on: bool) -> Self {
        Colour { on }
    }

    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self.on
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.into() }
    }

    /// What is right.
    pub fn good(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Green.into())), text)
    }

    /// What is wrong.
    pub fn bad(self, text: &str) -> String {
        self.paint(Style::new().bold().fg_color(Some(AnsiColor::Red.into())), text)
    }

    /// What is known to deviate.
    pub fn odd(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Yellow.into())), text)
    }

    /// What stays in the background.
    pub fn dim(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// Headings.
    pub fn strong(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}
