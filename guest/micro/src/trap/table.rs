//! The IDT.
//!
//! All gates but one are interrupt gates: the kernel starts with interrupts closed, and opens them
//! where it takes long ([`crate::interrupts`]). The one is a task gate, for the double fault. INT n in ring 3 may use
//! three of them, the system call and the two that have instructions of their own, INT3 and INTO;
//! any other INT n is #GP.

use super::entry;
use crate::segments::{DOUBLE_FAULT_TASK, KERNEL_CODE};
use abi::vector::{BREAKPOINT, DOUBLE_FAULT, OVERFLOW, SYSTEM_CALL};
use arch::gate::{Gate, Kind};
use arch::segment::Ring;
use arch::{OneCpu, table};
use core::cell::Cell;

// SAFETY: used by kernel code with interrupts closed; after `start` only the processor reads it.
static IDT: OneCpu<Cell<[Gate; 256]>> = unsafe { OneCpu::new(Cell::new([Gate::ABSENT; 256])) };

/// Takes the IDT into use.
pub(crate) fn start() {
    let mut gates = [Gate::ABSENT; 256];
    for (vector, gate) in (0..=u8::MAX).zip(&mut gates) {
        let ring = match vector {
            BREAKPOINT | OVERFLOW | SYSTEM_CALL => Ring::User,
            _ => Ring::Kernel,
        };
        *gate = match vector {
            DOUBLE_FAULT => Gate::task(DOUBLE_FAULT_TASK),
            _ => Gate::new(Kind::Interrupt, KERNEL_CODE, entry::stub(vector), ring),
        };
    }
    IDT.set(gates);
    // SAFETY: a static that nobody changes from now on, and each gate leads to its stub.
    unsafe {
        let table: &'static [Gate; 256] = &*IDT.as_ptr();
        table::load_idt(table);
    }
}
