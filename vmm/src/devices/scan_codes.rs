//! What keys send: a character as somebody types it on an American keyboard.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101- and 102-Key)", scan code sets 1 and 2. Set 1
//! is what arrives where the controller translates, as a BIOS has it do, and set 2 where it does not.

const SHIFT: u8 = 0x2A;
const CONTROL: u8 = 0x1D;
const RELEASED: u8 = 0x80;

/// The keys in the order of set 1, from 0x01 on: without and with shift. What has no character is a space that no
/// search comes to.
const PLAIN: &[u8] = b"\x1B1234567890-=\x08\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0\0\0 ";
const SHIFTED: &[u8] = b"\x1B!@#$%^&*()_+\x08\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0\0\0 ";

/// The same keys in set 2.
const SET_2: &[u8] = &[
    0x76, 0x16, 0x1E, 0x26, 0x25, 0x2E, 0x36, 0x3D, 0x3E, 0x46, 0x45, 0x4E, 0x55, 0x66, 0x0D, 0x15,
    0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D, 0x54, 0x5B, 0x5A, 0x14, 0x1C, 0x1B, 0x23,
    0x2B, 0x34, 0x33, 0x3B, 0x42, 0x4B, 0x4C, 0x52, 0x0E, 0x12, 0x5D, 0x1A, 0x22, 0x21, 0x2A, 0x32,
    0x31, 0x3A, 0x41, 0x49, 0x4A, 0x59, 0x7C, 0x11, 0x29,
];

/// The codes of the keys that are pressed and released for a byte, in set 1 or 2. A byte that no key sends is typed by
/// none.
pub fn of(byte: u8, set_1: bool) -> Vec<u8> {
    let byte = match byte {
        b'\r' => b'\n',
        0x7F => 0x08,
        byte => byte,
    };
    let key = |table: &[u8], byte: u8| {
        let place = table.iter().position(|letter| *letter == byte && byte != 0)?;
        Some(place as u8 + 1)
    };
    let held = if key(PLAIN, byte).is_some() {
        None
    } else if key(SHIFTED, byte).is_some() {
        Some(SHIFT)
    } else {
        Some(CONTROL)
    };
    let code = match held {
        None => key(PLAIN, byte),
        Some(SHIFT) => key(SHIFTED, byte),
        _ if (1..=26).contains(&byte) => key(PLAIN, byte | 0x60),
        _ => None,
    };
    let Some(code) = code else { return Vec::new() };
    let mut codes = Vec::new();
    let mut send = |key: u8, released: bool| match (set_1, released) {
        (true, false) => codes.push(key),
        (true, true) => codes.push(key | RELEASED),
        (false, _) => {
            if released {
                codes.push(0xF0);
            }
            codes.push(SET_2[usize::from(key) - 1]);
        }
    };
    if let Some(held) = held {
        send(held, false);
    }
    send(code, false);
    send(code, true);
    if let Some(held) = held {
        send(held, true);
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_pressed_and_released_and_shift_and_control_are_held() {
        assert_eq!(of(b'a', true), [0x1E, 0x9E]);
        assert_eq!(of(b'A', true), [0x2A, 0x1E, 0x9E, 0xAA]);
        assert_eq!(of(3, true), [0x1D, 0x2E, 0xAE, 0x9D], "Ctrl-C");
        assert_eq!(of(b'\r', true), [0x1C, 0x9C]);
        assert_eq!(of(b' ', true), [0x39, 0xB9]);
        assert_eq!(of(b'a', false), [0x1C, 0xF0, 0x1C]);
        assert_eq!(of(b'?', false), [0x12, 0x4A, 0xF0, 0x4A, 0xF0, 0x12]);
        assert_eq!((of(0xE4, true), of(0, true)), (vec![], vec![]));
    }

    #[test]
    fn both_tables_name_the_same_keys_and_every_printable_character_has_one() {
        assert_eq!((PLAIN.len(), SHIFTED.len(), SET_2.len()), (57, 57, 57));
        for byte in 0x20..0x7F {
            assert!(!of(byte, true).is_empty() && !of(byte, false).is_empty(), "{byte:#x}");
        }
        for byte in 0..=255 {
            of(byte, true);
        }
    }
}
