//! The words of a frame as they stand in memory.

use crate::machine::LinearMemory;
use ia32::{FrameShape, Word};

/// A frame in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Linear address of the lowest word: where ESP points.
    pub address: u32,
    /// Physical address of the lowest word; none if it is not mapped.
    pub physical: Option<u64>,
    /// Which words it has.
    pub shape: FrameShape,
    /// The words, lowest address first; beyond [`FrameShape::count`] zero.
    words: [u32; 10],
    /// How many of them could be read.
    readable: u8,
}

impl Frame {
    /// Reads the frame of `shape` at `address`.
    #[inline]
    pub fn read(linear: &LinearMemory<'_>, address: u32, shape: FrameShape) -> Frame {
        let count = shape.count() as usize;
        let size = shape.size() as usize;
        let mut frame = Frame {
            address,
            physical: linear.paging.translate(linear.memory, address),
            shape,
            words: [0; 10],
            readable: 0,
        };
        // The usual case: words of four bytes, far enough from the page's end that all ten can be
        // read at once.
        if let Some(physical) = frame.physical
            && address & 0xfff <= 0x1000 - 40
            && shape.word_size == 4
            && let Some(bytes) = linear.memory.read_array::<40>(physical)
        {
            for (word, bytes) in frame.words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            frame.words[count..].fill(0);
            frame.readable = count as u8;
            return frame;
        }
        let mut bytes = [0; 40];
        let read = linear.read_some(address, &mut bytes[..size]);
        frame.readable = (read / shape.word_size as usize) as u8;
        if shape.word_size == 4 {
            for (word, bytes) in frame.words[..count].iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        } else {
            for (word, bytes) in frame.words[..count].iter_mut().zip(bytes.as_chunks::<2>().0) {
                *word = u32::from(u16::from_le_bytes(*bytes));
            }
        }
        frame
    }

    /// One word; none if the shape has it not, or it could not be read. CS and SS may have upper
    /// halves: see [`Frame::selector`].
    #[inline]
    pub fn get(&self, word: Word) -> Option<u32> {
        // What is beyond the shape has not been read.
        let index = (word as usize).wrapping_sub(usize::from(!self.shape.error_code));
        (index < usize::from(self.readable)).then(|| self.words[index])
    }

    /// The same frame with another value in one word, which can be read then if those below it can; unchanged if the shape
    /// has it not.
    #[must_use]
    pub fn with(mut self, word: Word, value: u32) -> Frame {
        if let Some(index) = self.index(word) {
            self.words[index] = value;
            if index == usize::from(self.readable) {
                self.readable += 1;
            }
        }
        self
    }

    /// The low half of a word that holds a selector.
    pub fn selector(&self, word: Word) -> Option<u16> {
        self.get(word).map(|value| value as u16)
    }

    /// Linear address of a word of the shape.
    pub fn address_of(&self, word: Word) -> Option<u32> {
        let index = self.index(word)? as u32;
        Some(self.address.wrapping_add(index * self.shape.word_size))
    }

    /// The words with their values, lowest address first.
    pub fn words(&self) -> impl DoubleEndedIterator<Item = (Word, Option<u32>)> {
        self.shape.words().iter().map(|word| (*word, self.get(*word)))
    }

    /// The linear address behind the frame: what ESP was before it was pushed.
    pub fn end(&self) -> u32 {
        self.address.wrapping_add(self.shape.size())
    }

    /// The values of the words, lowest address first; 0 where one could not be read.
    #[inline]
    pub fn values(&self) -> &[u32] {
        &self.words[..self.shape.words().len()]
    }

    /// IRET makes the same of both: the words, error codes aside, are the same. Of a selector the lower
    /// half counts; what lies above it is ignored (SDM vol. 2A, POP and IRET: 16 bits of the word are
    /// loaded).
    #[inline]
    pub fn pops_as(&self, other: &Frame) -> bool {
        let skip = |frame: &Frame| usize::from(frame.shape.error_code);
        let count = self.shape.words().len() - skip(self);
        if count != other.shape.words().len() - skip(other) || !self.complete() || !other.complete()
        {
            return false;
        }
        let (mine, others) = (&self.words[skip(self)..][..count], &other.words[skip(other)..]);
        mine.iter().zip(others).enumerate().all(|(index, (mine, other))| {
            // EIP CS EFLAGS ESP SS ES DS FS GS
            let mask = if index == 1 || index > 3 { 0xffff } else { u32::MAX };
            (mine ^ other) & mask == 0
        })
    }

    /// All words could be read.
    pub fn complete(&self) -> bool {
        u32::from(self.readable) == self.shape.count()
    }

    #[inline]
    fn index(&self, word: Word) -> Option<usize> {
        // The words of a shape are consecutive members of `Word`, which is in ascending order.
        let first = usize::from(!self.shape.error_code);
        let index = (word as usize).checked_sub(first)?;
        (index < self.shape.words().len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};

    #[test]
    fn words_are_found_by_name_in_every_shape() {
        let mut memory = Memory::detached(0x2000).unwrap();
        for n in 0..10u32 {
            memory.write(0x1000 + u64::from(n) * 4, &(0x100 + n).to_le_bytes()).unwrap();
        }
        let linear = LinearMemory { memory: &memory, paging: Paging::default() };
        let mut shape = FrameShape {
            changes_stack: true,
            from_virtual_8086: false,
            error_code: false,
            word_size: 4,
        };
        let five = Frame::read(&linear, 0x1000, shape);
        assert_eq!(five.get(Word::Eip), Some(0x100));
        assert_eq!(five.get(Word::Ss), Some(0x104));
        assert_eq!(five.get(Word::ErrorCode), None);
        assert_eq!(five.get(Word::Es), None);
        assert_eq!((five.end(), five.address_of(Word::Esp)), (0x1014, Some(0x100c)));
        let other = five.with(Word::Ss, 0x23).with(Word::ErrorCode, 7);
        assert_eq!((other.get(Word::Ss), other.get(Word::Esp)), (Some(0x23), Some(0x103)));
        // IRET loads sixteen bits of a selector.
        assert!(five.pops_as(&five.with(Word::Ss, 0xbeef_0104).with(Word::Cs, 0x1234_0101)));
        assert!(
            !five.pops_as(&five.with(Word::Ss, 0x105)) && !five.pops_as(&five.with(Word::Eip, 0))
        );
        shape.error_code = true;
        let six = Frame::read(&linear, 0x1000, shape);
        assert_eq!(six.get(Word::ErrorCode), Some(0x100));
        assert_eq!(six.get(Word::Ss), Some(0x105));
        let cut = Frame::read(&linear, 0x1ff4, shape);
        assert_eq!(cut.get(Word::Cs), Some(0));
        assert_eq!(cut.get(Word::Esp), None);
        assert!(!cut.complete());
    }
}
