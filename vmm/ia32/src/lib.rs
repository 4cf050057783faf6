//! What the IA-32 manuals say, as plain data and pure functions.
//!
//! The crate knows nothing of KVM, of a guest, or of how a state was obtained. Everything in it can
//! be held beside the manuals: the *Intel 64 and IA-32 Architectures Software Developer's Manual*
//! (SDM) and the *AMD64 Architecture Programmer's Manual* (APM). Each item names its section.
//!
//! It covers 32-bit protected mode. The kernels under test never use it: what is checked and what
//! checks it share no code.
#![no_std]
#![forbid(unsafe_code)]

mod descriptor;
mod eflags;
mod frame;
mod gate;
mod selector;
mod state;
mod tss;
mod vector;

pub use descriptor::{Descriptor, DescriptorKind};
pub use eflags::Eflags;
pub use frame::{FrameShape, Word};
pub use gate::{Gate, GateKind, InvalidGate};
pub use selector::{Selector, Table};
pub use state::{General, Segment, SegmentRegister, State, TableRegister};
pub use tss::{StackSlot, TssWidth};
pub use vector::{Class, Vector};
