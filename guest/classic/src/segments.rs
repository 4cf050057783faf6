//! The GDT, and who uses which part of the linear address space.
//!
//! ```text
//!  selector                         linear addresses, all in one page directory
//!  0008  kernel code, 16 MiB        0        ┌────────────────┐ kernel: 16 MiB, memory one to one
//!  0010  kernel data, 16 MiB                 │ tasks 0 and 1  │ 640 KiB of it; task 1 sees it at
//!  0018  not used                            │                │ 64 MiB, where its own base is
//!  0020  TSS of task 0               64 MiB  ├────────────────┤
//!  0028  LDT of task 0                       │ task 1         │
//!  0030  TSS of task 1              128 MiB  ├────────────────┤
//!  0038  LDT of task 1                       │ task 2         │
//!  …                                …        └────────────────┘
//! ```
//! Each LDT holds null, code (000F) and data (0017), both from the task's base on: in ring 3 all
//! tasks have the same selectors, and only the LDT that is loaded tells where they lead.

use arch::OneCpu;
use arch::segment::{Descriptor, Ring, Selector};
use arch::tss::Tss;
use core::cell::Cell;

pub(crate) const KERNEL_CODE: Selector = Selector(0x08);
pub(crate) const KERNEL_DATA: Selector = Selector(0x10);
pub(crate) const USER_CODE: Selector = Selector(0x0F);
pub(crate) const USER_DATA: Selector = Selector(0x17);

/// How many tasks there can be.
pub(crate) const TASKS: usize = 8;
/// The pages of 16 MiB: all that the kernel's segments reach.
pub(crate) const KERNEL_PAGES: u32 = 4096;

const ENTRIES: usize = 4 + 2 * TASKS;

// SAFETY: used by kernel code with interrupts closed. The processor writes busy and accessed bits.
static GDT: OneCpu<[Cell<Descriptor>; ENTRIES]> =
    unsafe { OneCpu::new([const { Cell::new(Descriptor::NULL) }; ENTRIES]) };

fn set(selector: Selector, descriptor: Descriptor) {
    GDT[usize::from(selector.0 / 8)].set(descriptor);
}

/// The selector of a task's TSS.
pub(crate) const fn tss(task: usize) -> Selector {
    Selector::new(4 + 2 * task as u16, Ring::Kernel)
}

/// The selector of a task's LDT.
pub(crate) const fn ldt(task: usize) -> Selector {
    Selector::new(5 + 2 * task as u16, Ring::Kernel)
}

/// Enters the kernel's own segments; the table is taken into use with the first task.
pub(crate) fn start() {
    set(KERNEL_CODE, Descriptor::code(Ring::Kernel, 0, KERNEL_PAGES));
    set(KERNEL_DATA, Descriptor::data(Ring::Kernel, 0, KERNEL_PAGES));
}

/// Enters a task's TSS and LDT.
pub(crate) fn add(task: usize, its_tss: &'static Tss, its_ldt: &'static Cell<[Descriptor; 3]>) {
    set(tss(task), its_tss.descriptor());
    // SAFETY: a task's structure stays until `remove`.
    set(ldt(task), unsafe { Descriptor::ldt(&*its_ldt.as_ptr()) });
}

/// Takes both out again.
pub(crate) fn remove(task: usize) {
    set(tss(task), Descriptor::NULL);
    set(ldt(task), Descriptor::NULL);
}

/// Takes the table into use, and task 0's TSS and LDT: what runs is task 0 from now on.
pub(crate) fn become_task_0() {
    // SAFETY: the segments are flat as far as the kernel reaches; task 0 has been added.
    unsafe {
        let gdt: &'static [Descriptor; ENTRIES] = &*GDT.as_ptr().cast();
        arch::table::load_gdt(gdt, KERNEL_CODE, KERNEL_DATA, tss(0));
        arch::table::load_ldt(ldt(0));
    }
}

/// An LDT over `pages` pages from `base` on.
pub(crate) fn make_ldt(base: u32, pages: u32) -> [Descriptor; 3] {
    [
        Descriptor::NULL,
        Descriptor::code(Ring::User, base, pages),
        Descriptor::data(Ring::User, base, pages),
    ]
}
