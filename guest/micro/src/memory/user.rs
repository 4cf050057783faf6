//! Memory that a program claims to own.
//!
//! An address from ring 3 is a number that anybody could have made up. It is a [`Claim`], with which
//! nothing can be done but to copy through it, and the copy can fail at any byte: there is no check
//! beforehand that a page is there, since another thread could take it away the next moment. The
//! one check is that the claim lies below the kernel. Everything else the processor finds out: a
//! page fault in the copy routine either makes the page usable (a stack that grows, copy-on-write)
//! or sends the routine to its exit with an error in EAX. See [`fix_up`].

use abi::call::Error;
use abi::layout::KERNEL;
use core::arch::global_asm;

/// An address and a length out of a program's registers.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    address: u32,
    length: u32,
}

/// Types that are nothing but bytes: any bytes are a value, and no byte is padding.
///
/// # Safety
/// That is so.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: words and bytes, in `repr(C)`.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for abi::task::Report {}
// SAFETY: as above.
unsafe impl Plain for abi::task::Info {}
// SAFETY: as above.
unsafe impl Plain for abi::task::Counters {}
// SAFETY: as above.
unsafe impl Plain for abi::task::ModuleInfo {}

impl Claim {
    /// What the program says, if it does not even say that it owns the kernel.
    pub(crate) fn new(address: u32, length: u32) -> Result<Self, Error> {
        match address.checked_add(length) {
            Some(end) if end <= KERNEL => Ok(Self { address, length }),
            _ => Err(Error::BadAddress),
        }
    }

    /// How many bytes it is.
    pub(crate) fn len(self) -> u32 {
        self.length
    }

    /// Copies from an offset on into the buffer, which has to end inside the claim.
    pub(crate) fn copy_in(self, offset: u32, buffer: &mut [u8]) -> Result<(), Error> {
        let from = self.part(offset, buffer.len())?;
        // SAFETY: the buffer is ours, and the rest lies below the kernel.
        answer(unsafe { copy_user(buffer.as_mut_ptr(), from as *const u8, buffer.len()) })
    }

    /// Copies bytes to an offset; they have to end inside the claim.
    pub(crate) fn copy_out(self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let to = self.part(offset, bytes.len())?;
        // SAFETY: the bytes are ours, and where they go lies below the kernel.
        answer(unsafe { copy_user(to as *mut u8, bytes.as_ptr(), bytes.len()) })
    }

    /// Puts a value to the start of the claim.
    pub(crate) fn write<T: Plain>(self, value: &T) -> Result<(), Error> {
        // SAFETY: plain: it has no padding, all its bytes can be read.
        self.copy_out(0, unsafe {
            core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>())
        })
    }

    fn part(self, offset: u32, length: usize) -> Result<u32, Error> {
        match offset.checked_add(length as u32) {
            Some(end) if end <= self.length => Ok(self.address + offset),
            _ => Err(Error::BadAddress),
        }
    }
}

fn answer(result: i32) -> Result<(), Error> {
    match Error::from_result(result) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Where to go on after a page fault at `eip` that cannot be resolved, if that is in the copy
/// routine: with the error in EAX.
pub(crate) fn fix_up(eip: u32) -> Option<u32> {
    let [first, end, exit] =
        [copy_user_first as *const (), copy_user_end as _, copy_user_exit as _]
            .map(|label| label as u32);
    (first..end).contains(&eip).then_some(exit)
}

unsafe extern "C" {
    /// Copies bytes; returns 0, or the error that [`fix_up`]'s caller has put into EAX.
    fn copy_user(to: *mut u8, from: *const u8, count: usize) -> i32;
    /// The first instruction that touches memory of a program, and the first behind them.
    safe fn copy_user_first();
    safe fn copy_user_end();
    /// The way out.
    safe fn copy_user_exit();
}

global_asm!(
    ".globl copy_user, copy_user_first, copy_user_end, copy_user_exit",
    "copy_user:",
    "    pushl %esi",
    "    pushl %edi",
    "    movl 12(%esp), %edi",
    "    movl 16(%esp), %esi",
    "    movl 20(%esp), %edx",
    "    movl %edx, %ecx",
    "    shrl $2, %ecx",
    "copy_user_first:",
    "    rep movsl",
    "    movl %edx, %ecx",
    "    andl $3, %ecx",
    "    rep movsb",
    "copy_user_end:",
    "    xorl %eax, %eax",
    "copy_user_exit:",
    "    popl %edi",
    "    popl %esi",
    "    ret",
    options(att_syntax),
);
