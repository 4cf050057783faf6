//! Memory as an event sees it: bytes at addresses, read at any width.
//!
//! The model never writes through this trait. What an event writes is collected in
//! [`Writes`](crate::Writes) and can be applied to a [`WriteMemory`] afterwards.

/// Memory that can be read at every address.
///
/// Addresses are physical, unless [`is_linear`](ReadMemory::is_linear) says otherwise. Reading is total:
/// an implementation decides what lies where there is no memory (a PC reads all ones).
pub trait ReadMemory {
    /// The byte at `address`.
    fn read_u8(&self, address: u64) -> u8;

    /// The two bytes at `address`, little-endian.
    fn read_u16(&self, address: u64) -> u16 {
        u16::from_le_bytes([self.read_u8(address), self.read_u8(address.wrapping_add(1))])
    }

    /// The four bytes at `address`, little-endian.
    fn read_u32(&self, address: u64) -> u32 {
        u32::from(self.read_u16(address)) | u32::from(self.read_u16(address.wrapping_add(2))) << 16
    }

    /// The addresses are linear already: no page table is walked, whatever CR0.PG says, and no page
    /// fault can arise. For states of which only the linear view is known.
    fn is_linear(&self) -> bool {
        false
    }
}

/// Memory that can be written as well.
pub trait WriteMemory: ReadMemory {
    /// Stores a byte. Where there is no memory, nothing happens.
    fn write_u8(&mut self, address: u64, value: u8);
}

impl<M: ReadMemory + ?Sized> ReadMemory for &M {
    fn read_u8(&self, address: u64) -> u8 {
        (**self).read_u8(address)
    }
    fn read_u16(&self, address: u64) -> u16 {
        (**self).read_u16(address)
    }
    fn read_u32(&self, address: u64) -> u32 {
        (**self).read_u32(address)
    }
    fn is_linear(&self) -> bool {
        (**self).is_linear()
    }
}

/// A slice is memory from address 0 on; all ones lie behind it.
impl ReadMemory for [u8] {
    fn read_u8(&self, address: u64) -> u8 {
        usize::try_from(address).ok().and_then(|at| self.get(at)).copied().unwrap_or(0xff)
    }

    fn read_u32(&self, address: u64) -> u32 {
        let whole = usize::try_from(address).ok().and_then(|at| self.get(at..at.checked_add(4)?));
        match whole.and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => u32::from_le_bytes(bytes),
            None => u32::from_le_bytes(core::array::from_fn(|n| {
                self.read_u8(address.wrapping_add(n as u64))
            })),
        }
    }
}

impl WriteMemory for [u8] {
    fn write_u8(&mut self, address: u64, value: u8) {
        if let Some(byte) = usize::try_from(address).ok().and_then(|at| self.get_mut(at)) {
            *byte = value;
        }
    }
}

impl<const N: usize> ReadMemory for [u8; N] {
    fn read_u8(&self, address: u64) -> u8 {
        self.as_slice().read_u8(address)
    }
    fn read_u32(&self, address: u64) -> u32 {
        self.as_slice().read_u32(address)
    }
}

impl<const N: usize> WriteMemory for [u8; N] {
    fn write_u8(&mut self, address: u64, value: u8) {
        self.as_mut_slice().write_u8(address, value);
    }
}

/// Makes a memory one over linear addresses: see [`ReadMemory::is_linear`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linear<M>(
    /// The memory, whose addresses are linear.
    pub M,
);

impl<M: ReadMemory> ReadMemory for Linear<M> {
    fn read_u8(&self, address: u64) -> u8 {
        self.0.read_u8(address)
    }
    fn read_u16(&self, address: u64) -> u16 {
        self.0.read_u16(address)
    }
    fn read_u32(&self, address: u64) -> u32 {
        self.0.read_u32(address)
    }
    fn is_linear(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_little_endian_and_all_ones_lie_behind_the_end() {
        let memory = [1, 2, 3, 4, 5];
        assert_eq!(memory.read_u16(1), 0x0302);
        assert_eq!(memory.read_u32(0), 0x0403_0201);
        assert_eq!(memory.read_u32(3), 0xffff_0504);
        assert_eq!(memory.read_u32(u64::MAX), 0x0302_01ff);
    }

    #[test]
    fn a_write_behind_the_end_is_lost() {
        let mut memory = [0; 2];
        memory.write_u8(1, 7);
        memory.write_u8(2, 7);
        assert_eq!(memory, [0, 7]);
    }
}
