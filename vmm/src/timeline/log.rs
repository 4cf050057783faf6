//! The events of a run, 4 bytes each.

use super::{Noted, Remark};
use ia32::Vector;

/// Events after which the number of the last entry is kept.
const BLOCK: usize = 1024;
const VECTOR: u32 = 0xFF;
const IS_ENTRY: u32 = 1 << 8;
const FOUND: u32 = 1 << 9;
const SWITCHED: u32 = 1 << 10;
/// How much greater than the last one's an entry's number is.
const AFTER: u32 = 11;

/// Events, in the order in which they came. Entries have numbers that grow.
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<u32>,
    /// The number of the last entry before each block.
    before: Vec<u64>,
    /// The number of the last entry.
    last: u64,
}

impl Log {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// There has been none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The event at this index.
    pub fn get(&self, index: usize) -> Option<Noted> {
        let event = *self.events.get(index)?;
        let start = index / BLOCK * BLOCK;
        let numbers = self.events[start..=index].iter().map(|event| u64::from(event >> AFTER));
        let number = self.before[index / BLOCK] + numbers.sum::<u64>();
        Some(Noted {
            entry: (event & IS_ENTRY != 0).then_some((number, Vector((event & VECTOR) as u8))),
            remark: Remark { found: event & FOUND != 0, switched: event & SWITCHED != 0 },
        })
    }

    /// The index of the last entry among the first `count` events.
    pub fn last_entry(&self, count: usize) -> Option<usize> {
        let count = count.min(self.events.len());
        self.events[..count].iter().rposition(|event| event & IS_ENTRY != 0)
    }

    /// The number of the last entry among the first `count` events.
    pub fn last_number(&self, count: usize) -> Option<u64> {
        let noted = self.get(self.last_entry(count)?)?;
        noted.entry.map(|(number, _)| number)
    }

    /// The index of the entry with this number.
    pub fn find(&self, number: u64) -> Option<usize> {
        let block = self.before.partition_point(|before| *before < number).checked_sub(1)?;
        let start = block * BLOCK;
        let end = self.events.len().min(start + BLOCK);
        let mut now = self.before[block];
        for (index, event) in self.events[start..end].iter().enumerate() {
            now += u64::from(event >> AFTER);
            if event & IS_ENTRY != 0 && now == number {
                return Some(start + index);
            }
        }
        None
    }

    pub(super) fn push(&mut self, noted: Noted) {
        if self.events.len().is_multiple_of(BLOCK) {
            self.before.push(self.last);
        }
        let mut event = 0;
        if let Some((number, vector)) = noted.entry {
            let most = u32::MAX >> AFTER;
            let after = u32::try_from(number.saturating_sub(self.last)).unwrap_or(most).min(most);
            self.last += u64::from(after);
            event = IS_ENTRY | u32::from(vector.0) | after << AFTER;
        }
        event |= if noted.remark.found { FOUND } else { 0 };
        event |= if noted.remark.switched { SWITCHED } else { 0 };
        self.events.push(event);
    }

    /// None has been; the next entry's number is greater than that of the last one all the same.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, vector: u8) -> Noted {
        Noted { entry: Some((number, Vector(vector))), remark: Remark::default() }
    }

    #[test]
    fn events_come_back_as_they_were_noted() {
        let mut log = Log::default();
        let mut all = Vec::new();
        for index in 0..5000_u64 {
            let remark = Remark { found: index % 7 == 0, switched: index % 5 == 0 };
            // Some are no entries, and some numbers are left out.
            let noted = match index % 3 {
                0 => Noted { entry: None, remark },
                _ => Noted { remark, ..entry(index + index / 1500 * 9, index as u8) },
            };
            log.push(noted);
            all.push(noted);
        }
        assert_eq!(log.len(), all.len());
        for (index, noted) in all.iter().enumerate() {
            assert_eq!(log.get(index), Some(*noted), "{index}");
            if let Some((number, _)) = noted.entry {
                assert_eq!(log.find(number), Some(index));
                assert_eq!(log.last_number(index + 1), Some(number));
            }
        }
        assert_eq!(log.get(5000), None);
        assert_eq!((log.find(0), log.find(3), log.find(u64::MAX)), (None, None, None));
        assert_eq!(log.last_entry(1), None);
        assert_eq!(log.last_entry(4), Some(2));
    }

    #[test]
    fn a_log_that_was_cleared_goes_on_with_greater_numbers() {
        let mut log = Log::default();
        log.push(entry(40, 0x20));
        log.clear();
        assert!(log.is_empty() && log.find(40).is_none());
        log.push(entry(41, 0x80));
        assert_eq!(log.get(0), Some(entry(41, 0x80)));
        assert_eq!(log.find(41), Some(0));
    }
}
