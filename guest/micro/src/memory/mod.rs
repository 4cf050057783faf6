//! Memory, from the bottom up.
//!
//! | file | what it gives |
//! | --- | --- |
//! | `frames` | page frames: allocated, shared, given back |
//! | `kernel` | the upper quarter of every address space, for ring 0 alone |
//! | `space` | address spaces: the lower three quarters; copy-on-write, stacks that grow |
//! | `user` | memory that a program claims to own, and how the kernel gets at it |

pub(crate) mod frames;
pub(crate) mod kernel;
pub(crate) mod space;
pub(crate) mod user;

pub(crate) use frames::total;

use arch::multiboot::Info;

/// Takes memory into use as the loader describes it.
pub(crate) fn start(info: Info) {
    frames::start(info);
    kernel::start(frames::total());
}
