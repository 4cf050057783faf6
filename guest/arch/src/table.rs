//! Loading descriptor tables, and the registers that point into them.

use crate::gate::Gate;
use crate::segment::{Descriptor, Selector};
use core::arch::asm;
use core::mem::size_of_val;

/// What LGDT and LIDT read: six bytes.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u32,
}

const _: () = assert!(size_of::<Pointer>() == 6);

impl Pointer {
    fn to<T>(table: &'static [T]) -> Self {
        Self { limit: (size_of_val(table) - 1) as u16, base: table.as_ptr() as u32 }
    }
}

/// Takes a GDT into use, and loads all segment registers and TR from it.
///
/// The processor writes to the table: accessed bits, and the busy bit of the TSS.
///
/// # Safety
/// `code` and `data` select flat ring-0 segments in the table, `task` an available TSS. The table
/// lies in writable memory that nobody else reads or writes.
pub unsafe fn load_gdt(
    table: &'static [Descriptor],
    code: Selector,
    data: Selector,
    task: Selector,
) {
    let pointer = Pointer::to(table);
    // SAFETY: as the caller promises. The far return pops the address of the label behind it and
    // CS; the stack is as before. All segments stay flat, so nothing moves.
    unsafe {
        asm!(
            "lgdtl ({pointer})",
            "pushl {code}",
            "pushl $2f",
            "lretl",
            "2:",
            "movw {data:x}, %ds",
            "movw {data:x}, %es",
            "movw {data:x}, %fs",
            "movw {data:x}, %gs",
            "movw {data:x}, %ss",
            "ltr {task:x}",
            pointer = in(reg) &raw const pointer,
            code = in(reg) u32::from(code.0),
            data = in(reg) u32::from(data.0),
            task = in(reg) u32::from(task.0),
            options(att_syntax),
        );
    }
}

/// Takes away whatever LDT a loader left: selectors into it are #GP from now on.
pub fn forget_ldt() {
    // SAFETY: a null selector is always allowed; nothing uses an LDT.
    unsafe { asm!("lldt {0:x}", in(reg) 0, options(nomem, nostack, preserves_flags)) };
}

/// Takes an IDT into use.
///
/// # Safety
/// Each gate that is present leads to a handler that keeps the state of what it interrupts.
pub unsafe fn load_idt(table: &'static [Gate]) {
    let pointer = Pointer::to(table);
    // SAFETY: as the caller promises.
    unsafe {
        asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags))
    };
}

/// Takes the LDT that `selector` selects in the GDT into use.
///
/// # Safety
/// It selects an LDT, and no segment register holds what another one selected.
pub unsafe fn load_ldt(selector: Selector) {
    // SAFETY: as the caller promises.
    unsafe { asm!("lldt {:x}", in(reg) selector.0, options(nostack, preserves_flags)) };
}
