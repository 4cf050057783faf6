//! What a processor notes in page-table entries by itself: accessed and dirty (SDM vol. 3A, "Accessed and Dirty Flags").
//!
//! It does so when it walks the tables, and not where it has a translation cached: two runs that execute the same may differ
//! in these bits. So they tell no place of a run from another. Which pages are tables, of this address space or of another, is
//! not asked: memory that is the same but for these bits of odd words is hardly ever that of another place.

const PRESENT: u8 = 1;
const NOTED: u8 = 0x60;

/// The bits by which two bytes at `address` differ, without those that are noted in entries that are present.
pub(crate) fn differs(address: u64, one: u8, two: u8) -> u8 {
    let is_entry = address.is_multiple_of(4) && one & two & PRESENT != 0;
    (one ^ two) & if is_entry { !NOTED } else { 0xFF }
}

/// Eight bytes without what is noted in entries that are present.
pub(crate) fn without_noted(bytes: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(bytes);
    let present = word & (u64::from(PRESENT) << 32 | u64::from(PRESENT));
    word & !(present * u64::from(NOTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_left_out_of_entries_that_are_present() {
        assert_eq!(differs(0x1000, 0x63, 0x23), 0);
        assert_eq!(differs(0x1004, 0x67, 0x27 | 0x80), 0x80);
        // It is not present, or no entry begins there.
        assert_eq!(differs(0x1000, 0x62, 0x22), 0x40);
        assert_eq!(differs(0x1001, 0x63, 0x23), 0x40);
        assert_eq!(differs(0x1000, 0x63, 0x22), 0x41);
    }

    #[test]
    fn words_are_the_same_where_their_bytes_are() {
        for (word, expected) in [
            (0x0000_5067_0040_00e3, 0x0000_5007_0040_0083),
            (0x0000_5066_0040_00e2, 0x0000_5066_0040_00e2),
            (0x6060_6061_6060_6060, 0x6060_6001_6060_6060),
        ] {
            assert_eq!(without_noted(u64::to_le_bytes(word)), expected, "{word:x}");
        }
    }
}
