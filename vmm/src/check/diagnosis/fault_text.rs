//! How a fault, where it arose and its instruction are put into words.

use super::Aftermath;
use crate::entry::{Fault, Kind};
use ia32::Vector;
use iced_x86::{Formatter, Instruction, IntelFormatter};

/// `#3 #GP in ring 3 , at 00100245 (user+5, user.c:41)`.
pub(super) fn place(fault: &Fault, aftermath: &Aftermath<'_>) -> String {
    let eip = fault.code.linear.unwrap_or_else(|| fault.eip());
    let what = match fault.kind {
        Kind::External => format!("interrupt {:#04x}", fault.vector.0),
        Kind::Software => format!("int {:#04x}", fault.vector.0),
        _ => fault.vector.to_string(),
    };
    format!("#{} {what} in ring {}, at {}", fault.sequence, fault.ring, aftermath.place(eip))
}

/// `#GP(0402)`.
pub(super) fn name(fault: &Fault) -> String {
    match fault.error_code() {
        Some(code) if fault.vector != Vector::DF => format!("{}({code:04x})", fault.vector),
        _ => fault.vector.to_string(),
    }
}

/// The instruction as an assembler writes it.
pub(super) fn text(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_rip_relative_addresses(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// The instruction that faulted: `` `int 0x80` ``, or what can be said of it.
pub(super) fn instruction(fault: &Fault) -> String {
    if fault.code.length == 0 {
        return format!("EIP {:08x}, which cannot be read", fault.eip());
    }
    match fault.instruction() {
        Some(instruction) => format!("`{}`", text(&instruction)),
        None => {
            let bytes: Vec<String> =
                fault.code.instruction().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("{}…, which is no instruction", bytes.join(" "))
        }
    }
}
