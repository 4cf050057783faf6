//! What has changed in a page, in few bytes.
//!
//! Old and new page are laid over each other by exclusive or; what is left is mostly zero. Runs of zeros are told by
//! their length, and the rest as it is: `zeros: u16, count: u16, bytes…`, up to the end of the page. Kernels fill their free
//! pages with one word: where the count has its highest bit set, four bytes follow that are repeated for so many.

pub(crate) const PAGE: usize = 4096;

/// A page's bytes.
pub(crate) type Page = [u8; PAGE];

/// A run of zeros that is shorter is not worth the four bytes that it costs.
const SHORTEST: usize = 8;
/// The bytes that are repeated.
const PERIOD: usize = 4;
/// How many bytes more have to be like those before for it to be worth telling.
const REPEATS: usize = 16;
/// The mark of a count of bytes that are repeated.
const REPEATED: u16 = 0x8000;
/// Bytes that are compared at once.
const WORD: usize = 8;

/// Appends what makes `new` of `old`.
pub(super) fn encode(old: &Page, new: &Page, into: &mut Vec<u8>) {
    let difference = |at: usize| old[at] ^ new[at];
    let mut at = 0;
    while at < PAGE {
        let start = at;
        while at + WORD <= PAGE && old[at..at + WORD] == new[at..at + WORD] {
            at += WORD;
        }
        while at < PAGE && difference(at) == 0 {
            at += 1;
        }
        let first = at;
        let (mut quiet, mut alike) = (0, 0);
        while at < PAGE && quiet < SHORTEST && alike < REPEATS {
            quiet = if difference(at) == 0 { quiet + 1 } else { 0 };
            let repeats = at >= first + PERIOD && difference(at) == difference(at - PERIOD);
            alike = if repeats { alike + 1 } else { 0 };
            at += 1;
        }
        let mut zeros = first - start;
        let mut token = |count: usize, flag: u16, bytes: std::ops::Range<usize>| {
            into.extend_from_slice(&(zeros as u16).to_le_bytes());
            into.extend_from_slice(&(count as u16 | flag).to_le_bytes());
            into.extend(bytes.map(difference));
            zeros = 0;
        };
        if alike < REPEATS {
            at -= quiet;
            token(at - first, 0, first..at);
            continue;
        }
        let repeated = at - alike - PERIOD;
        if repeated > first {
            token(repeated - first, 0, first..repeated);
        }
        while at < PAGE && difference(at) == difference(at - PERIOD) {
            at += 1;
        }
        token(at - repeated, REPEATED, repeated..repeated + PERIOD);
    }
}

/// Makes the new page of the old one; none if `rest` does not begin with what [`encode`] gave.
pub(super) fn decode(page: &mut Page, rest: &mut &[u8]) -> Option<()> {
    let mut at = 0;
    while at < PAGE {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let [zeros, count] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_le_bytes);
        let length = usize::from(count & !REPEATED);
        let told = if count & REPEATED == 0 { length } else { PERIOD };
        let bytes = behind.get(..told)?;
        at += usize::from(zeros);
        let changes = bytes.iter().cycle().take(length);
        for (byte, change) in page.get_mut(at..at + length)?.iter_mut().zip(changes) {
            *byte ^= change;
        }
        at += length;
        *rest = &behind[told..];
        if zeros == 0 && length == 0 {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(old: &Page, new: &Page) -> usize {
        let mut bytes = Vec::new();
        encode(old, new, &mut bytes);
        let length = bytes.len();
        bytes.push(0xee);
        let mut rest = &bytes[..];
        let mut page = *old;
        decode(&mut page, &mut rest).expect("it was encoded");
        assert_eq!(rest, [0xee]);
        assert!(page == *new);
        length
    }

    #[test]
    fn a_page_that_is_the_same_takes_four_bytes_and_one_that_is_not_little_more_than_itself() {
        assert_eq!(there_and_back(&[7; PAGE], &[7; PAGE]), 4);
        let any: Page = std::array::from_fn(|at| (at * at / 7) as u8 | 1);
        let length = there_and_back(&[0; PAGE], &any);
        assert!((PAGE..PAGE + 60).contains(&length), "{length}");
        let mut new = [7; PAGE];
        new[PAGE - 1] = 9;
        assert_eq!(there_and_back(&[7; PAGE], &new), 5);
        new[0] = 9;
        assert_eq!(there_and_back(&[7; PAGE], &new), 10);
    }

    #[test]
    fn a_page_that_is_filled_with_one_word_takes_few_bytes() {
        assert_eq!(there_and_back(&[7; PAGE], &[8; PAGE]), 8);
        // As a list of free pages is made of it.
        let mut new = [1; PAGE];
        new[..4].copy_from_slice(&0x8dff_f000_u32.to_le_bytes());
        assert_eq!(there_and_back(&[0; PAGE], &new), 4 + 3 + 8);
        new[2000..2006].fill(0);
        assert!(there_and_back(&[0; PAGE], &new) < 50);
        let word: Page = std::array::from_fn(|at| [0xef, 0xbe, 0xad, 0xde][at % 4]);
        assert_eq!(there_and_back(&[0; PAGE], &word), 8);
        // Up to the last byte but some.
        let mut new = [0; PAGE];
        new[..PAGE - 2].fill(0xcc);
        assert_eq!(there_and_back(&[0; PAGE], &new), 8 + 4);
    }

    proptest! {
        #[test]
        fn what_was_filled_comes_back(runs in prop::collection::vec((0..PAGE, 0..200_usize, any::<[u8; 4]>(), 1..5_usize), 0..40)) {
            let mut new = [3; PAGE];
            for (start, length, bytes, period) in runs {
                let end = (start + length).min(PAGE);
                new[start..end].iter_mut().zip(bytes[..period].iter().cycle()).for_each(|(byte, new)| *byte = *new);
            }
            there_and_back(&[3; PAGE], &new);
        }

        #[test]
        fn what_was_changed_comes_back(changes in prop::collection::vec((0..PAGE, any::<u8>()), 0..200)) {
            let mut new = [3; PAGE];
            for (at, byte) in changes {
                new[at] = byte;
            }
            there_and_back(&[3; PAGE], &new);
        }

        #[test]
        fn rubbish_is_refused_or_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut page = [0; PAGE];
            let _ = decode(&mut page, &mut &bytes[..]);
        }
    }
}
