//! The GDT, and the TSS.

use arch::segment::{Descriptor, Ring, Selector};
use arch::tss::Tss;
use arch::{OneCpu, table};
use core::cell::Cell;

pub(crate) const KERNEL_CODE: Selector = Selector::new(1, Ring::Kernel);
pub(crate) const KERNEL_DATA: Selector = Selector::new(2, Ring::Kernel);
pub(crate) const USER_CODE: Selector = Selector::new(3, Ring::User);
pub(crate) const USER_DATA: Selector = Selector::new(4, Ring::User);
const TASK: Selector = Selector::new(5, Ring::Kernel);
/// Three segments that nothing uses, unless a bug does.
pub(crate) const OTHER_KERNEL_DATA: Selector = Selector::new(6, Ring::Kernel);
pub(crate) const OTHER_USER_CODE: Selector = Selector::new(7, Ring::User);
pub(crate) const OTHER_USER_DATA: Selector = Selector::new(8, Ring::User);

// SAFETY: used by kernel code that no interrupt handler can interrupt while it does.
pub(crate) static TSS: OneCpu<Tss> = unsafe { OneCpu::new(Tss::new(KERNEL_DATA)) };
// SAFETY: as above; after `start` only the processor uses it.
static GDT: OneCpu<Cell<[Descriptor; 9]>> =
    unsafe { OneCpu::new(Cell::new([Descriptor::NULL; 9])) };

/// Takes both into use.
pub(crate) fn start() {
    GDT.set([
        Descriptor::NULL,
        Descriptor::flat_code(Ring::Kernel),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
        TSS.descriptor(),
        Descriptor::flat_data(Ring::Kernel),
        Descriptor::flat_code(Ring::User),
        Descriptor::flat_data(Ring::User),
    ]);
    // SAFETY: a static that is complete, and that nobody changes or reads from now on.
    unsafe {
        let gdt: &'static [_; 9] = &*GDT.as_ptr();
        table::load_gdt(gdt, KERNEL_CODE, KERNEL_DATA, TASK);
    }
}
