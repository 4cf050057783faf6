//! Memory that a program claims to own.
//!
//! An address from ring 3 is a number that anybody could have made up. It is a [`Claim`], with which
//! nothing can be done but to hold it against the caller's address space; what comes out, a
//! [`Readable`], is proof that it was done, and the only thing that bytes can be copied from. The
//! kernel has no other way to a program's memory.

use super::space::AddressSpace;
use crate::task::Task;
use abi::call::Error;
use abi::layout::{KERNEL, PAGE};

/// An address and a length out of a program's registers.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    address: u32,
    length: u32,
}

/// Memory that the caller may read, for as long as its address space stays as it is.
pub(crate) struct Readable<'a> {
    claim: Claim,
    /// Keeps the address space from changing while the proof is around.
    _space: &'a AddressSpace,
}

impl Claim {
    /// What the program says.
    pub(crate) fn new(address: u32, length: u32) -> Self {
        Self { address, length }
    }

    /// Proof that the program may read all of it, or an error for the program.
    pub(crate) fn readable_by(self, task: &Task) -> Result<Readable<'_>, Error> {
        let end = self.address.checked_add(self.length).ok_or(Error::BadAddress)?;
        let space = task.space().ok_or(Error::BadAddress)?;
        let first_page = self.address / PAGE * PAGE;
        let mut pages = (first_page..end).step_by(PAGE as usize);
        if end > KERNEL || !pages.all(|page| space.is_mapped(page)) {
            return Err(Error::BadAddress);
        }
        Ok(Readable { claim: self, _space: space })
    }
}

impl Readable<'_> {
    /// How many bytes it is.
    pub(crate) fn len(&self) -> u32 {
        self.claim.length
    }

    /// Copies from an offset on into the buffer, as much as there is; gives what was copied.
    pub(crate) fn copy<'b>(&self, offset: u32, buffer: &'b mut [u8]) -> &'b [u8] {
        let left = self.claim.length.saturating_sub(offset) as usize;
        let count = left.min(buffer.len());
        let from = (self.claim.address + offset.min(self.claim.length)) as *const u8;
        // SAFETY: the pages are mapped in the address space of the task that runs: a `Readable` is
        // made and used inside one system call. Nothing else runs meanwhile.
        unsafe { from.copy_to_nonoverlapping(buffer.as_mut_ptr(), count) };
        &buffer[..count]
    }
}
