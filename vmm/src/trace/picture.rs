//! The frame of an entry, drawn on its stack.

use super::frame_names::FrameNames;
use super::layout::{Layout, Row, layout};
use super::schema::EntryRecord;
use std::fmt::Write;

/// Draws the stack that an entry arrived on, with the names that are known.
///
/// ```text
///        int 0x80: ring 3 → ring 0 through an interrupt gate of DPL 3
///          ESP0 ──►  f0008000  ┌──────────────────┐  = kstack+4096
///                    f0007ffc  │ SS      00000023 │  ring 3
///                    f0007ff8  │ ESP     bfffef80 │  the user's stack
///                    f0007ff4  │ EFLAGS  00000246 │  IF ZF PF
///                    f0007ff0  │ CS      0000001b │  ring 3
///          ESP  ──►  f0007fec  │ EIP     08048e6f │  behind int 0x80, in write+9 (user.c:41)
///                              └──────────────────┘
/// ```
pub fn picture(entry: &EntryRecord, names: &FrameNames) -> String {
    let Layout { heading, top, rows } = layout(entry, names);
    let mut text = format!("       {heading}\n");
    let pointed = |name: &str| if name.is_empty() { "   " } else { "──►" };
    let stack = names.top.as_ref().map_or(String::new(), |name| format!("  = {name}"));
    let _ = writeln!(
        text,
        "         {:<4} {}  {:08x}  ┌──────────────────┐{stack}",
        top.1,
        pointed(top.1),
        top.0,
    );
    for Row { address, pointer, name, value, remark } in rows {
        let value = value.map_or("????????".into(), |value| format!("{value:08x}"));
        let line = format!(
            "         {pointer:<4} {}  {address:08x}  │ {name:<7} {value} │  {remark}",
            pointed(pointer),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "                            └──────────────────┘");
    text
}
