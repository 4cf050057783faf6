//! The IDT.

use crate::calls;
use crate::plant::Plant;
use crate::ring3::GATE_16;
use crate::segments::KERNEL_CODE;
use crate::trap;
use abi::vector::{SYSTEM_CALL, TIMER};
use arch::gate::{Gate, Kind};
use arch::segment::Ring;
use arch::{OneCpu, table};
use core::cell::Cell;

// SAFETY: used by `start` alone, and then by the processor.
static IDT: OneCpu<Cell<[Gate; 256]>> = unsafe { OneCpu::new(Cell::new([Gate::ABSENT; 256])) };

/// Takes it into use.
pub(crate) fn start() {
    let mut gates = [Gate::ABSENT; 256];
    for (vector, gate) in (0..=u8::MAX).zip(&mut gates) {
        *gate = gate_of(vector);
    }
    IDT.set(gates);
    // SAFETY: a static that is complete, and that nobody changes from now on.
    unsafe {
        let idt: &'static [_; 256] = &*IDT.as_ptr();
        table::load_idt(idt);
    }
}

fn gate_of(vector: u8) -> Gate {
    let ring = if calls::VECTORS.contains(&vector) { Ring::User } else { Ring::Kernel };
    if Plant::Gate16Bit.is_planted() && vector == SYSTEM_CALL {
        // Left over from a 16-bit kernel: only the low half of the user's EIP and ESP are pushed.
        return Gate::new(Kind::Interrupt16, KERNEL_CODE, GATE_16, ring);
    }
    // A gate of the wrong kind: with a trap gate a second tick can arrive before the first handler
    // has saved a thing, and stacks overflow under nested interrupts.
    let trap = Plant::GateTrap.is_planted() && vector == TIMER;
    let kind = if trap { Kind::Trap } else { Kind::Interrupt };
    Gate::new(kind, KERNEL_CODE, trap::stub(vector), ring)
}
