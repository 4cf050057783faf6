//! How QEMU's CPU model, and kvm_amd on it, are known to differ from the manuals.
//!
//! Two kinds. In the first the processor does the same with other bits; a part of a mismatch belongs
//! to it if it is exactly those bits. In the second a check is missing or raises another vector, and
//! all that follows is different: these are recognised by the check at which the model stops, and the
//! whole mismatch is theirs.

mod bits;
mod checks;

use super::recogniser::Recogniser;

/// All that there are.
pub(super) const RECOGNISERS: [&[Recogniser]; 2] = [bits::BITS, checks::CHECKS];
