//! What has changed in a page, in few bytes.
//!
//! Old and new page are laid over each other by exclusive or; what is left is mostly zero. Runs of zeros are told by
//! their length, and the rest as it is: `zeros: u16, count: u16, bytes…`, up to the end of the page.

pub(crate) const PAGE: usize = 4096;

/// A page's bytes.
pub(crate) type Page = [u8; PAGE];

/// A run of zeros that is shorter is not worth the four bytes that it costs.
const SHORTEST: usize = 8;
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
        let zeros = at - start;
        let first = at;
        let mut quiet = 0;
        while at < PAGE && quiet < SHORTEST {
            quiet = if difference(at) == 0 { quiet + 1 } else { 0 };
            at += 1;
        }
        at -= quiet;
        into.extend_from_slice(&(zeros as u16).to_le_bytes());
        into.extend_from_slice(&((at - first) as u16).to_le_bytes());
        into.extend((first..at).map(difference));
    }
}

/// Makes the new page of the old one; none if `rest` does not begin with what [`encode`] gave.
pub(super) fn decode(page: &mut Page, rest: &mut &[u8]) -> Option<()> {
    let mut at = 0;
    while at < PAGE {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let [zeros, count] = [[head[0], head[1]], [head[2], head[3]]]
            .map(|two| usize::from(u16::from_le_bytes(two)));
        let bytes = behind.get(..count)?;
        at += zeros;
        for (byte, change) in page.get_mut(at..at + count)?.iter_mut().zip(bytes) {
            *byte ^= change;
        }
        at += count;
        *rest = &behind[count..];
        if zeros == 0 && count == 0 {
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
        assert_eq!(there_and_back(&[7; PAGE], &[8; PAGE]), PAGE + 4);
        let mut new = [7; PAGE];
        new[PAGE - 1] = 9;
        assert_eq!(there_and_back(&[7; PAGE], &new), 5);
        new[0] = 9;
        assert_eq!(there_and_back(&[7; PAGE], &new), 10);
    }

    proptest! {
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
