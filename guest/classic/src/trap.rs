//! The ways into ring 0, and the way out.
//!
//! Interrupt gates to one stub each, which pushes what the processor has not: the vector, and 0 where
//! there is no error code. All of them go on at `enter`, which pushes the rest of the [`Frame`].
//! The kernel's DS and ES are 0010, and its FS is 0017: the data of the task that came in.

use crate::frame::Frame;
use crate::schedule::tick;
use crate::segments::{KERNEL_CODE, KERNEL_DATA, USER_DATA};
use crate::task::Task;
use crate::{call, life, memory};
use abi::vector::{self, SYSTEM_CALL, TIMER};
use arch::gate::{Gate, Kind};
use arch::segment::Ring;
use arch::{OneCpu, control, pic, println, table};
use core::arch::global_asm;
use core::cell::Cell;

/// The vectors with a gate, but for the system call: exceptions and the two 8259s.
const STUBS: u8 = 0x30;
/// The distance from one vector's stub to the next.
const STUB: u32 = 16;

unsafe extern "C" {
    safe fn vector_0();
    safe fn system_call();
}

global_asm!(
    ".section .text.entry, \"ax\"",
    ".globl vector_0, system_call",
    ".altmacro",
    ".macro vector_stub number",
    "    .balign {stub}",
    "vector_\\number: .byte 0x66, 0x90",
    "    .if (({with_error_code} >> \\number) & (\\number < 32) & 1) == 0; pushl $0; .endif",
    "    pushl $\\number; jmp enter",
    ".endm",
    ".set number, 0",
    ".rept {stubs}; vector_stub %number; .set number, number + 1; .endr",
    ".noaltmacro",
    "system_call: .byte 0x66, 0x90",
    "    pushl $0; pushl ${system_call}",
    "enter:",
    "    pushal; pushl %ds; pushl %es; pushl %fs",
    "    cld",
    "    movl ${kernel_data}, %eax; movl %eax, %ds; movl %eax, %es",
    "    movl ${user_data}, %eax; movl %eax, %fs",
    "    pushl %esp; call {trap}; addl $4, %esp",
    "leave:",
    "    popl %fs; popl %es; popl %ds; popal; addl $8, %esp",
    "    .byte 0x66, 0x90",
    "    iretl",
    ".text",
    stub = const STUB,
    stubs = const STUBS,
    // One bit for each of the first 32 vectors: #DF, #TS to #PF, #AC.
    with_error_code = const 1 << 8 | 0x1F << 10 | 1 << 17,
    system_call = const SYSTEM_CALL,
    kernel_data = const KERNEL_DATA.0,
    user_data = const USER_DATA.0,
    trap = sym trap,
    options(att_syntax),
);

// SAFETY: used by `start` alone, and then by the processor.
static IDT: OneCpu<[Cell<Gate>; 256]> =
    unsafe { OneCpu::new([const { Cell::new(Gate::ABSENT) }; 256]) };

/// Takes the IDT into use. Of its gates the system call's alone is open to ring 3.
pub(crate) fn start() {
    let gate = |handler, ring| Gate::new(Kind::Interrupt, KERNEL_CODE, handler, ring);
    for (vector, entry) in (0..u32::from(STUBS)).zip(IDT.iter()) {
        entry.set(gate(vector_0 as *const () as u32 + vector * STUB, Ring::Kernel));
    }
    IDT[usize::from(SYSTEM_CALL)].set(gate(system_call as *const () as u32, Ring::User));
    // SAFETY: a static that nobody changes from now on, and each gate leads to its stub.
    unsafe {
        let idt: &'static [Gate; 256] = &*IDT.as_ptr().cast();
        table::load_idt(idt);
    }
}

/// Handles one entry into ring 0.
extern "C" fn trap(frame: &mut Frame) {
    let user = frame.is_from_user();
    match frame.vector as u8 {
        TIMER => {
            pic::end_of_interrupt(TIMER);
            tick(frame);
        }
        vector::SPURIOUS_FIRST | vector::SPURIOUS_SECOND => {
            pic::is_spurious(frame.vector as u8);
        }
        SYSTEM_CALL if user => call::dispatch(frame),
        vector::PAGE_FAULT if user && page_fault(frame) => {}
        number @ ..vector::EXCEPTIONS if user => {
            let (pid, name) = (Task::current().pid, vector::mnemonic(number));
            println!("classic: pid {pid} {name}, error {:04x}, eip {:x}", frame.error, frame.eip);
            life::exit(128 + i32::from(number))
        }
        number => panic!("{} in the kernel, eip {:x}", vector::mnemonic(number), frame.eip),
    }
}

/// Ring 3 touched a page that is not there, or wrote to one that it shares. Whether it can go on.
fn page_fault(frame: &Frame) -> bool {
    const WRITE: u32 = 2;
    let task = Task::current();
    let linear = control::cr2();
    // A segment's limit can end inside a page that is not there yet.
    linear.wrapping_sub(task.base()) < task.size()
        && memory::make_usable(linear, frame.error & WRITE != 0).is_ok()
}
