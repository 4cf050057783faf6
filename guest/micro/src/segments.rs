//! The GDT, and the TSS.
//!
//! Segments are flat and mean nothing here but a privilege level. What the processor takes from the
//! TSS is SS0:ESP0, the stack on which ring 3 enters ring 0, and the map of open I/O ports. There is
//! one TSS for all tasks, and each switch writes ESP0 anew: [`enter_ring_0_at`]. A second one is for
//! double faults alone, whose handler cannot rely on any stack.

use arch::segment::{Descriptor, Ring, Selector};
use arch::tss::{Tss, TssWithPorts};
use arch::{OneCpu, table};
use core::arch::asm;
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
/// The task that double faults switch to.
pub(crate) const DOUBLE_FAULT_TASK: Selector = Selector::new(6, Ring::Kernel);

const _: () = assert!(KERNEL_CODE.0 == 0x08 && KERNEL_DATA.0 == 0x10);
const _: () = assert!(USER_CODE.0 == 0x1B && USER_DATA.0 == 0x23 && TASK.0 == 0x28);

// SAFETY: used by kernel code with interrupts closed.
static TSS: OneCpu<TssWithPorts> = unsafe { OneCpu::new(TssWithPorts::new(KERNEL_DATA)) };

// SAFETY: as above.
static DOUBLE_FAULT_TSS: OneCpu<Tss> = unsafe { OneCpu::new(Tss::new(KERNEL_DATA)) };

// SAFETY: as above; after `start` only the processor uses it.
static GDT: OneCpu<Cell<[Descriptor; 7]>> = unsafe {
    OneCpu::new(Cell::new([
        Descriptor::NULL,
        Descriptor::flat_code(Ring::Kernel),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
        Descriptor::NULL, // the TSSs: their addresses are known only at run time
        Descriptor::NULL,
    ]))
};

/// Takes GDT and TSS into use. Double faults go on at `double_fault`, on a stack that ends at
/// `stack`.
pub(crate) fn start(double_fault: u32, stack: u32) {
    let mut gdt = GDT.get();
    gdt[usize::from(TASK.0 / 8)] = TSS.descriptor();
    gdt[usize::from(DOUBLE_FAULT_TASK.0 / 8)] = DOUBLE_FAULT_TSS.descriptor();
    GDT.set(gdt);
    let directory = crate::memory::kernel::directory();
    DOUBLE_FAULT_TSS.start_at(directory, double_fault, stack, KERNEL_CODE, KERNEL_DATA);
    // SAFETY: the table is a static, complete, writable, and nobody reads or writes it from now on.
    unsafe {
        let table: &'static [Descriptor; 7] = &*GDT.as_ptr();
        table::load_gdt(table, KERNEL_CODE, KERNEL_DATA, TASK);
    }
    use_user_data();
    table::forget_ldt();
}

/// Loads what every entry loads and a program finds: see [`crate::trap::entry`].
fn use_user_data() {
    // SAFETY: it is as flat as the segment that was there before.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {0:x}", "mov fs, {0:x}", "mov gs, {0:x}",
             in(reg) USER_DATA.0, options(nostack, preserves_flags));
    }
}

/// The next entry from ring 3 through a gate lands just below this address.
pub(crate) fn enter_ring_0_at(stack_top: u32) {
    TSS.tss.set_esp0(stack_top);
}

/// Where the next entry from ring 3 would land.
pub(crate) fn esp0() -> u32 {
    TSS.tss.esp0()
}

/// EIP, ESP and CR3 where a double fault left off.
pub(crate) fn left_by_double_fault() -> (u32, u32, u32) {
    TSS.tss.left()
}

/// Opens or closes a port to ring 3.
pub(crate) fn open_port(port: u16, open: bool) {
    TSS.open_port(port, open);
}

/// Whether the map of open ports counts; otherwise all are closed.
pub(crate) fn use_port_map(use_it: bool) {
    TSS.use_map(use_it);
}
