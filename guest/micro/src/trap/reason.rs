//! What went wrong, in words.

use super::frame::Frame;
use abi::task::{FAULTED, Report};
use abi::vector::{self, PAGE_FAULT};
use arch::control;
use core::fmt;

/// A fault in words: `#PF (vector 14), error 00000004, eip 080481a2, cr2 00000000`.
pub(crate) struct Reason<'a>(pub(crate) &'a Report);

/// What a program's fault tells its parent. To be called before anything else can fault.
pub(super) fn report(frame: &Frame) -> Report {
    let is_page_fault = frame.vector() == PAGE_FAULT;
    Report {
        task: 0,
        how: FAULTED,
        status: 0,
        vector: frame.vector().into(),
        error: frame.error,
        eip: frame.eip,
        address: if is_page_fault { control::cr2() } else { 0 },
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { vector, error, eip, address, .. } = *self.0;
        match vector::mnemonic(vector as u8) {
            "vector" => write!(f, "vector {vector}")?,
            name => write!(f, "{name} (vector {vector})")?,
        }
        write!(f, ", error {error:08x}, eip {eip:08x}")?;
        if vector == PAGE_FAULT.into() {
            write!(f, ", cr2 {address:08x}")?;
        }
        Ok(())
    }
}
