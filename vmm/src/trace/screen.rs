//! The text screen as it stands at the end.

use super::schema::ScreenRecord;
use std::fmt::Write;

/// The screen between lines of one's own, a bar in front of each line; nothing where nothing stands on it.
///
/// ```text
/// screen (80 x 25 at 0xb8000)
///   │panic: no init
/// ```
pub fn screen(screen: Option<&ScreenRecord>) -> String {
    let mut text = String::new();
    if let Some(ScreenRecord { columns, rows, address, lines }) = screen {
        let _ = writeln!(text, "\nscreen ({columns} x {rows} at {address:#x})");
        for line in lines {
            let _ = writeln!(text, "  │{line}");
        }
    }
    text
}
