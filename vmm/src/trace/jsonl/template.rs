//! Lines with gaps for numbers: made when esp0 is compiled, filled when a line is written.

/// Appends a template to the line with a value in each gap. The gaps are constants, so each value is
/// written by a few instructions of its own.
macro_rules! fill {
    ($line:expr, $template:ident, [$($value:expr),+]) => {{
        static BYTES: &[u8] = &$template.bytes;
        let start = $line.len();
        $line.extend_from_slice(BYTES);
        let gap: &mut [u8; BYTES.len()] =
            (&mut $line[start..]).try_into().expect("the template was just appended");
        fill!(@gap gap, $template, 0, $($value),+);
    }};
    (@gap $line:ident, $template:ident, $index:expr, $value:expr $(, $more:expr)*) => {
        const { $template.gaps[$index] }.put($line, $value);
        fill!(@gap $line, $template, $index + 1 $(, $more)*);
    };
    (@gap $line:ident, $template:ident, $index:expr) => {
        const { assert!($index == $template.gaps.len(), "a gap has no value") };
    };
}

pub(super) use fill;

/// A line with gaps for numbers.
#[derive(Debug)]
pub(super) struct Template<const GAPS: usize, const LENGTH: usize> {
    pub(super) bytes: [u8; LENGTH],
    pub(super) gaps: [Gap; GAPS],
}

/// Where a number goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    at: usize,
    width: usize,
    hexadecimal: bool,
}

impl<const GAPS: usize, const LENGTH: usize> Template<GAPS, LENGTH> {
    /// Finds the gaps in `text`; a wrong number of them does not compile.
    pub(super) const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let mut bytes = [0; LENGTH];
        let mut gaps = [Gap { at: 0, width: 0, hexadecimal: false }; GAPS];
        let (mut at, mut next) = (0, 0);
        while at < LENGTH {
            bytes[at] = text[at];
            if matches!(text[at], b'~' | b'%') {
                bytes[at] = b' ';
                if at > 0 && text[at - 1] == text[at] {
                    gaps[next - 1].width += 1;
                } else {
                    gaps[next] = Gap { at, width: 1, hexadecimal: text[at] == b'~' };
                    next += 1;
                }
            }
            at += 1;
        }
        assert!(next == GAPS, "the template has another number of gaps");
        Template { bytes, gaps }
    }
}

impl Gap {
    /// Writes `value` into the gap. A decimal number that is too wide
    /// for it is written by [`widen`](super::fast).
    #[inline(always)]
    pub(super) fn put(self, line: &mut [u8], value: u64) {
        let at = self.at;
        match (self.hexadecimal, self.width) {
            (true, 16) => {
                line[at..at + 8].copy_from_slice(&hex8((value >> 32) as u32));
                line[at + 8..at + 16].copy_from_slice(&hex8(value as u32));
            }
            (true, width) => {
                line[at..at + width].copy_from_slice(&hex8(value as u32)[8 - width..]);
            }
            (false, 1) => line[at] = b'0' + (value % 10) as u8,
            (false, width) => {
                let mut rest = value;
                for digit in line[at..at + width].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    if rest == 0 {
                        break;
                    }
                }
            }
        }
    }
}

/// Eight hexadecimal digits at once: spread the nibbles over eight bytes, then turn each into its
/// character.
#[inline(always)]
pub(super) fn hex8(value: u32) -> [u8; 8] {
    let mut spread = u64::from(value.swap_bytes());
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread >> 4 | spread << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    // Nibbles above 9 carry into bit 4 when 6 is added; those need 'a' - '0' - 10 = 39 more.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * 39).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_is_what_the_standard_library_writes(value: u32) {
            let expected = format!("{value:08x}");
            prop_assert_eq!(&hex8(value), expected.as_bytes());
        }

        #[test]
        fn a_template_is_filled_in_order(a: u64, b: u32, c: u16, d: u8, e in 0u64..10_000) {
            const TEXT: &str = "{a:~~~~~~~~~~~~~~~~} ~~~~~~~~ ~~~~ ~~ %%%% %";
            const TEMPLATE: Template<6, { TEXT.len() }> = Template::new(TEXT);
            let mut line: Vec<u8> = Vec::new();
            let out = &mut line;
            fill!(out, TEMPLATE, [a, u64::from(b), u64::from(c), u64::from(d), e, 7]);
            let line = String::from_utf8(line).unwrap();
            prop_assert_eq!(line, format!("{{a:{a:016x}}} {b:08x} {c:04x} {d:02x} {e:>4} 7"));
        }
    }
}
