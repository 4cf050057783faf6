//! One exception, explained: what its error code names, which check failed, what to do about it.

use super::explained::Explained;
use super::{Aftermath, ChangedWord, programmed, protection};
use crate::entry::{Fault, Kind, Reach};
use crate::instruction::{CR0_EM, CR4_OSFXSR, uses_sse};
use ia32::{Eflags, Vector, Word};
use iced_x86::{Mnemonic, OpKind};

/// What an exception was about.
pub(super) fn explain(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    if fault.kind == Kind::External {
        return exceptions_vector(fault).at(programmed::sets_base(aftermath));
    }
    if fault.kind == Kind::Software {
        return by_int(fault);
    }
    if fault.frame.shape.from_virtual_8086 {
        return Explained::because(
            "the guest was in virtual-8086 mode, where these bytes are real-mode code: an IRET had popped \
             EFLAGS with VM set",
        );
    }
    if let Some(blank) = blank_code(fault, aftermath) {
        return blank;
    }
    match fault.vector {
        Vector::PF => page_fault(fault, aftermath),
        Vector::GP | Vector::NP | Vector::SS | Vector::TS => protection::explain(fault, aftermath),
        Vector::UD => undefined(fault, aftermath),
        Vector::DE => division(fault),
        Vector::DB => debugged(fault, aftermath),
        Vector::NM => Explained::because(
            "an x87 or SSE instruction while CR0.TS or CR0.EM is set: the kernel is to hand over the \
             FPU, or not to use it",
        ),
        Vector::DF => Explained::because(
            "a second exception arose while a first one was delivered: the stack, the gate or the code \
             segment of that first one could not be used",
        ),
        _ => Explained::default(),
    }
}

/// An interrupt that comes by a vector below 32, which are the exceptions' (SDM vol. 3A, "Exception and
/// interrupt vectors"; 8259A data sheet, ICW2).
fn exceptions_vector(fault: &Fault) -> Explained {
    let (base, irq) = (fault.vector.0 & !7, fault.vector.0 & 7);
    let error_code = if fault.vector.has_error_code() {
        "; no error code comes with an interrupt, and a handler that takes one off pops a word too many"
    } else {
        ""
    };
    Explained::because(format!(
        "IRQ {irq} came as vector {}, which is {}'s, because the 8259's base is {base:02x}{error_code}",
        fault.vector.0, fault.vector,
    ))
    .advise("write 0x20 as ICW2 to port 0x21, and 0x28 to port 0xa1, before interrupts are opened")
}

/// INT n pushes no error code (SDM vol. 3A, "Software-generated exceptions").
fn by_int(fault: &Fault) -> Explained {
    let Vector(vector) = fault.vector;
    Explained::because(format!(
        "ring {} came to the handler of {} by `int {vector:#04x}`: the processor pushes an error code for {}, and INT n none, \
         so a handler that takes one off has its frame a word too high",
        fault.ring, fault.vector, fault.vector
    ))
    .advise(format!(
        "give the gate of vector {vector:#04x} DPL 0 (type byte 8e): then ring 3 gets #GP for it; DPL 3 is for the vectors that \
         programs are to use"
    ))
}

/// What was executed is no code: zeros are `add [eax], al`, which reaches wherever EAX happens to point.
fn blank_code(fault: &Fault, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let code = fault.code.instruction();
    let at = fault.code.linear?;
    if code.len() < fault.code.at.len() || code.iter().any(|byte| *byte != 0) {
        return None;
    }
    let explained = Explained::because(format!(
        "there is no code at {}: {} bytes of 0, which are `add [eax], al` again and again; EAX is {:08x}",
        aftermath.place(at),
        code.len(),
        fault.after.general.eax
    ));
    Some(if fault.ring == 3 {
        explained.advise(
            "look at where the program was loaded and where it is entered: its bytes (each segment's p_vaddr and p_filesz, in \
             an ELF file) have to be where its first EIP leads, in the page directory that it runs by",
        )
    } else {
        explained.advise("look for what led there: a pointer to a function, or a return address")
    })
}

fn page_fault(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    let code = fault.error_code().unwrap_or(0);
    let address = fault.after.cr2;
    let reach = Reach::of_error_code(code);
    let fetch = address == fault.code.linear.unwrap_or_else(|| fault.eip());
    let words = format!(
        "#PF error {code} = {}, {}, {}{}",
        if reach.user { "user" } else { "supervisor" },
        if fetch && !reach.write {
            "read (the fetch of an instruction)"
        } else if reach.write {
            "write"
        } else {
            "read"
        },
        if code & 1 != 0 { "present" } else { "not present" },
        if code & 8 != 0 { ", a reserved bit is set" } else { "" }
    );
    let Some(walk) = &fault.walk else {
        return Explained::because(format!("CR2 {address:08x}; {words}"));
    };
    let refused = walk.denies(reach);
    if refused.is_none() {
        return Explained::because(format!("CR2 {address:08x}; {words}; {}", walk.sentence(reach)));
    }
    let gdt = fault.after.gdtr;
    let is_table = !reach.user && address.wrapping_sub(gdt.base) <= u32::from(gdt.limit);
    if is_table && !fetch {
        return Explained::because(format!(
            "the GDT at {:08x} cannot be read: CR2 {address:08x}: {}; {words}",
            gdt.base,
            walk.sentence(reach)
        ))
        .advise(
            "give LGDT the linear address of the table, and not the physical one, once paging is on, or map it",
        );
    }
    let explained =
        Explained::because(format!("CR2 {address:08x}: {}; {words}", walk.sentence(reach)));
    /// Accessed and dirty, which the processor sets.
    const MARKS: u32 = 0x60;
    let denying = walk.denying(reach).and_then(|level| {
        let word = ChangedWord { address: level.address as u32, physical: level.address, value: 0 };
        Some(ChangedWord { value: level.entry? as u32, ..word })
    });
    match refused {
        Some(crate::entry::Denied::Supervisor) if let Some(vector) = handler_of(fault, aftermath) => {
            let cs = fault.frame.selector(Word::Cs).unwrap_or(0);
            Explained::because(format!(
                "the gate of vector {vector:#04x} names CS {cs:04x}, a segment of ring {}: its handler runs in that \
                 ring, on its stack, and may not reach the kernel's code",
                fault.ring
            ))
            .advise("name the kernel's code segment in the gate, such as 0008")
        }
        Some(crate::entry::Denied::Supervisor) => explained
            .advise(
                "set U/S (bit 2) in each entry on the way to a page of ring 3, in the directory as well",
            )
            .stored_in(denying, !MARKS),
        Some(crate::entry::Denied::ReadOnly) => explained
            .advise("set R/W (bit 1) in each entry on the way to a page that is written")
            .stored_in(denying, !MARKS),
        _ if address < 0x1000 => {
            Explained { advice: None, ..explained }.advise(format!(
                "look for a null pointer in {}",
                aftermath.place(fault.code.linear.unwrap_or_else(|| fault.eip()))
            ))
        }
        _ => explained,
    }
}

/// The vector whose handler begins where the fault is, in the ring that it was to leave.
fn handler_of(fault: &Fault, aftermath: &Aftermath<'_>) -> Option<u8> {
    let cs = fault.frame.selector(Word::Cs)?;
    (0..=255u8).find(|vector| {
        let gate = aftermath.gate(&fault.after, *vector);
        gate.is_some_and(|gate| {
            gate.present && gate.offset == fault.eip() && gate.selector.0 & !3 == cs & !3
        })
    })
}

fn undefined(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    let at = fault.code.linear.unwrap_or_else(|| fault.eip());
    if fault.code.length == 0
        && let Some(physical) = fault.walk.as_ref().and_then(|walk| walk.physical)
    {
        return Explained::because(format!(
            "page {:08x} is mapped to {:08x}, where there is no RAM: what is read there is no code",
            at & !0xfff,
            physical & !0xfff
        ))
        .advise("put the physical address of the page's memory into its page-table entry, and not the linear one");
    }
    let known = (aftermath.names)(at).is_some();
    match fault.instruction() {
        Some(instruction) if instruction.mnemonic() == Mnemonic::Ud2 => Explained::because(
            "`ud2` is there to raise #UD: compilers put it where code must not come",
        ),
        Some(instruction) if uses_sse(&instruction) && fault.after.cr0 & CR0_EM != 0 => {
            Explained::because("an SSE instruction while CR0.EM is set")
                .advise("clear CR0.EM (bit 2) and set CR4.OSFXSR (bit 9) before SSE is used, or compile with -mgeneral-regs-only")
        }
        Some(instruction) if uses_sse(&instruction) && fault.after.cr4 & CR4_OSFXSR == 0 => {
            Explained::because(
                "an SSE instruction while CR4.OSFXSR is 0: the kernel has not said that it saves the SSE registers",
            )
            .advise("set CR4.OSFXSR (bit 9) before SSE is used, or compile with -mgeneral-regs-only")
        }
        Some(_) => {
            Explained::because("this processor has no such instruction, or it may not be used here")
        }
        None => Explained::because(format!(
            "the bytes at EIP are no instruction: {}",
            if known {
                "the code was overwritten, or jumped into"
            } else {
                "execution has left the code"
            }
        )),
    }
}

/// A single step: no other #DB is taken for a fault.
fn debugged(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    if fault.ring == 0
        && fault.code.linear.is_some_and(|at| aftermath.probes.sysenter_target() == Some(at))
    {
        return Explained::because(
            "SYSENTER leaves TF as ring 3 had it, so #DB comes in the kernel, in front of the first instruction that SYSENTER leads \
             to: a program that is stepped, or steps itself, has made a system call",
        )
        .advise(
            "let the handler of #DB return where it has interrupted that instruction, with TF cleared in the EFLAGS that it pops, and \
             let the way out set TF again for the program",
        );
    }
    let eflags = Eflags(fault.frame.get(Word::Eflags).unwrap_or(0)).without(Eflags::RF);
    Explained::because(format!(
        "TF is set in the EFLAGS that were interrupted, {:08x}: #DB comes after each instruction",
        eflags.0
    ))
    .advise(
        "look for who loaded them: a POPF or an IRET that takes something else than flags from the stack, or a task that \
         starts with TF (0x100) set; 00000202 is what a task starts with",
    )
}

fn division(fault: &Fault) -> Explained {
    let Some(instruction) = fault.instruction() else { return Explained::default() };
    let general = fault.after.general.to_array();
    let register = instruction.op0_register();
    if instruction.op0_kind() == OpKind::Register && register.is_gpr32() {
        let divisor = general[register.number()];
        return Explained::because(match divisor {
            0 => format!("the divisor, {register:?}, is 0"),
            _ => format!(
                "the quotient does not fit: EDX:EAX {:08x}:{:08x} by {divisor:08x}",
                general[2], general[0]
            ),
        });
    }
    Explained::because("the divisor is 0, or the quotient does not fit")
}
