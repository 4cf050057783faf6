//! The GDT, and the TSS.
//!
//! Segments are flat and mean nothing here but a privilege level. The one thing that the processor
//! takes from the TSS is SS0:ESP0, the stack on which ring 3 enters ring 0. There is one TSS for
//! all tasks, and each switch writes ESP0 anew: [`enter_ring_0_at`].

use arch::segment::{Descriptor, Ring, Selector};
use arch::tss::Tss;
use arch::{OneCpu, table};
use core::cell::Cell;

/// Kernel code.
pub(crate) const KERNEL_CODE: Selector = Selector::new(1, Ring::Kernel);
/// Kernel data and stacks.
pub(crate) const KERNEL_DATA: Selector = Selector::new(2, Ring::Kernel);
/// Code of programs.
pub(crate) const USER_CODE: Selector = Selector::new(3, Ring::User);
/// Data and stacks of programs.
pub(crate) const USER_DATA: Selector = Selector::new(4, Ring::User);
const TASK: Selector = Selector::new(5, Ring::Kernel);

const _: () = assert!(KERNEL_CODE.0 == 0x08 && KERNEL_DATA.0 == 0x10);
const _: () = assert!(USER_CODE.0 == 0x1B && USER_DATA.0 == 0x23 && TASK.0 == 0x28);

// SAFETY: used by kernel code with interrupts closed.
static TSS: OneCpu<Tss> = unsafe { OneCpu::new(Tss::new(KERNEL_DATA)) };

// SAFETY: as above; after `start` only the processor uses it.
static GDT: OneCpu<Cell<[Descriptor; 6]>> = unsafe {
    OneCpu::new(Cell::new([
        Descriptor::NULL,
        Descriptor::flat_code(Ring::Kernel),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
        Descriptor::NULL, // the TSS: its address is known only at run time
    ]))
};

/// Takes GDT and TSS into use.
pub(crate) fn start() {
    let mut gdt = GDT.get();
    gdt[usize::from(TASK.0 / 8)] = Descriptor::tss(&TSS);
    GDT.set(gdt);
    // SAFETY: the table is a static, complete, writable, and nobody reads or writes it from now on.
    unsafe {
        let table: &'static [Descriptor; 6] = &*GDT.as_ptr();
        table::load_gdt(table, KERNEL_CODE, KERNEL_DATA, TASK);
    }
}

/// The next entry from ring 3 lands just below this address.
pub(crate) fn enter_ring_0_at(stack_top: u32) {
    TSS.set_esp0(stack_top);
}
