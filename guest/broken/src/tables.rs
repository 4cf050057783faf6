//! GDT, TSS and IDT.

use crate::calls;
use crate::plant::Plant;
use crate::ring3::GATE_16;
use crate::trap;
use abi::vector::{SYSTEM_CALL, TIMER};
use arch::gate::{Gate, Kind};
use arch::segment::{Descriptor, Ring, Selector};
use arch::tss::Tss;
use arch::{OneCpu, table};
use core::cell::Cell;

pub(crate) const KERNEL_CODE: Selector = Selector::new(1, Ring::Kernel);
pub(crate) const KERNEL_DATA: Selector = Selector::new(2, Ring::Kernel);
pub(crate) const USER_CODE: Selector = Selector::new(3, Ring::User);
pub(crate) const USER_DATA: Selector = Selector::new(4, Ring::User);
pub(crate) const TASK: Selector = Selector::new(5, Ring::Kernel);
/// Three segments that nothing uses, unless a bug does.
pub(crate) const OTHER_KERNEL_DATA: Selector = Selector::new(6, Ring::Kernel);
pub(crate) const OTHER_USER_CODE: Selector = Selector::new(7, Ring::User);
pub(crate) const OTHER_USER_DATA: Selector = Selector::new(8, Ring::User);

// SAFETY: used by kernel code that no interrupt handler can interrupt while it does.
pub(crate) static TSS: OneCpu<Tss> = unsafe { OneCpu::new(Tss::new(KERNEL_DATA)) };
// SAFETY: as above; after `start` only the processor uses it.
static GDT: OneCpu<Cell<[Descriptor; 9]>> =
    unsafe { OneCpu::new(Cell::new([Descriptor::NULL; 9])) };
// SAFETY: as above.
static IDT: OneCpu<Cell<[Gate; 256]>> = unsafe { OneCpu::new(Cell::new([Gate::ABSENT; 256])) };

/// Takes all three into use.
pub(crate) fn start() {
    GDT.set([
        Descriptor::NULL,
        Descriptor::flat_code(Ring::Kernel),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
        Descriptor::tss(&TSS),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
    ]);
    let mut gates = [Gate::ABSENT; 256];
    for (vector, gate) in (0..=u8::MAX).zip(&mut gates) {
        *gate = gate_of(vector);
    }
    IDT.set(gates);
    // SAFETY: statics that are complete, and that nobody changes or reads from now on.
    unsafe {
        let (gdt, idt): (&'static [_; 9], &'static [_; 256]) = (&*GDT.as_ptr(), &*IDT.as_ptr());
        table::load_gdt(gdt, KERNEL_CODE, KERNEL_DATA, TASK);
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
