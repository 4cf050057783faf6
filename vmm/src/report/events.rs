//! What an event is called.

use crate::entry::Kind;
use crate::trace::event_name;
use ia32::Vector;
use serde_json::{Value, json};

/// The exceptions' names (SDM vol. 3A, table 6-1).
const EXCEPTIONS: [(u8, &str); 18] = [
    (0, "divide error"),
    (1, "debug exception"),
    (2, "non-maskable interrupt"),
    (3, "breakpoint"),
    (4, "overflow"),
    (5, "BOUND range exceeded"),
    (6, "invalid opcode"),
    (7, "device not available"),
    (8, "double fault"),
    (10, "invalid TSS"),
    (11, "segment not present"),
    (12, "stack-segment fault"),
    (13, "general protection"),
    (14, "page fault"),
    (16, "x87 floating-point error"),
    (17, "alignment check"),
    (18, "machine check"),
    (19, "SIMD floating-point exception"),
];

/// Its short name, what that means, its vector and kind.
pub(super) fn describe(vector: u64, kind: &str) -> Value {
    let number = vector as u8;
    let known = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let name = match known {
        Some(kind) => event_name(kind, Vector(number)),
        None => format!("{kind} {number:#04x}"),
    };
    let exception = EXCEPTIONS.iter().find(|(vector, _)| *vector == number);
    let meaning = match (known, exception) {
        (Some(Kind::Fault | Kind::Trap | Kind::Abort | Kind::Nmi), Some((_, name))) => *name,
        (Some(Kind::Software), _) => "software interrupt",
        (Some(Kind::External), _) => "interrupt of a device",
        _ => "",
    };
    json!({ "name": name, "meaning": meaning, "vector": number, "kind": kind })
}
