//! #GP, #NP, #SS and #TS, explained: by what the error code names, by the selector that was loaded, by the instruction.

use super::explained::Explained;
use super::fault_text::text;
use super::{Aftermath, alignment, beyond_limit, descriptor, new_task, selector_fault};
use crate::check::way_back::unloaded;
use crate::entry::{Fault, Named};
use ia32::{Descriptor, DescriptorKind, Eflags, Gate, GateKind, Selector, Table, Word};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// #GP, #NP, #SS, #TS.
pub(super) fn explain(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    let code = fault.error_code().unwrap_or(0);
    let instruction = fault.instruction();
    if let Some(new_task) = new_task::of_segment(fault, aftermath) {
        return new_task;
    }
    if let Named::Gate { vector, entry } = fault.named {
        return gate(fault, aftermath, vector, entry, code);
    }
    if let Some(loaded) = instruction.as_ref().and_then(|one| loaded_selector(fault, one))
        && (loaded.value & 0xfffc == code & 0xfffc)
    {
        return selector(fault, &loaded, code);
    }
    if let [0xcd, vector, ..] = *fault.code.instruction()
        && let Some(gate) = aftermath.gate(&fault.after, vector)
        && gate.present
        && gate.kind == GateKind::Task
    {
        return task_gate(vector, gate.selector, &fault.named);
    }
    if let Some(branch) = fault.refused {
        let sentence = branch.sentence().replace(" %", "");
        return Explained::because(format!("the IRET is refused: {sentence}"));
    }
    if let Some(named) = descriptor::named(&fault.named) {
        let words = descriptor::error_code(code);
        let ltr = instruction.as_ref().is_some_and(|one| one.mnemonic() == Mnemonic::Ltr);
        let by = match fault.named {
            Named::Descriptor { selector, .. } if code & 1 != 0 => {
                gates_to(fault, selector, aftermath)
            }
            Named::Descriptor { entry: Some(raw), .. } if is_busy(Descriptor(raw)) => if ltr {
                ", and busy: it has been loaded already"
            } else {
                ", and busy: its task runs, or waits to go on"
            }
            .into(),
            Named::Descriptor { entry: None, .. } => short_table(fault),
            Named::Descriptor { entry: Some(raw), .. } if is_closed_call_gate(fault, raw) => {
                format!(", and ring {} may not call by it", fault.ring)
            }
            Named::Descriptor { .. } if ltr => ", and LTR loads a TSS that is not busy".into(),
            _ => String::new(),
        };
        let explained = Explained::because(format!("{words}; {named}{by}"));
        if ltr && let Some(index) = tss_beside(fault, aftermath) {
            return Explained::because(format!("{words}; {named}{by}: that is GDT entry {index}"))
                .advise(format!(
                    "a selector is the entry's number times 8: load TR with {:04x}",
                    index * 8
                ));
        }
        let far = instruction.as_ref().and_then(selector_fault::far_target);
        return match fault.named {
            Named::Descriptor { selector, entry: Some(raw) }
                if far.is_some() && is_segment(raw) =>
            {
                explained.advise(format!(
                    "make {} a code segment of ring {}: access byte {:02x}",
                    descriptor::slot(selector),
                    fault.ring,
                    0x9a | fault.ring << 5
                ))
            }
            Named::Descriptor { selector, entry: Some(raw) } if is_closed_call_gate(fault, raw) => {
                let access = (raw >> 40) as u8;
                explained.advise(format!(
                    "give {} DPL {}: type byte {:02x} in place of {access:02x}",
                    descriptor::slot(selector),
                    fault.ring,
                    access & !0x60 | fault.ring << 5
                ))
            }
            Named::Descriptor { entry: None, .. } if !short_table(fault).is_empty() => {
                explained.advise(LONGER_TABLE)
            }
            _ => explained,
        };
    }
    let Some(instruction) = instruction else {
        return Explained::because(descriptor::error_code(code));
    };
    without_selector(fault, &instruction, aftermath)
}

/// A descriptor of memory, or an empty one; none of a TSS, an LDT or a gate.
fn is_segment(raw: u64) -> bool {
    let is_memory =
        matches!(Descriptor(raw).kind(), DescriptorKind::Code { .. } | DescriptorKind::Data { .. });
    raw == 0 || is_memory
}

/// A present call gate whose DPL is less than the ring that has used it.
fn is_closed_call_gate(fault: &Fault, raw: u64) -> bool {
    let gate = Descriptor(raw);
    matches!(gate.kind(), DescriptorKind::Gate(4 | 12)) && gate.present() && gate.dpl() < fault.ring
}

/// The entry of the GDT with a TSS, where the error code names another one that has none.
fn tss_beside(fault: &Fault, aftermath: &Aftermath<'_>) -> Option<u32> {
    let Named::Descriptor { entry, .. } = fault.named else { return None };
    let is_tss =
        entry.is_some_and(|raw| matches!(Descriptor(raw).kind(), DescriptorKind::Tss { .. }));
    unloaded(&aftermath.linear(&fault.after), &fault.after).filter(|_| !is_tss)
}

fn is_busy(descriptor: Descriptor) -> bool {
    matches!(descriptor.kind(), DescriptorKind::Tss { busy: true, .. })
}

/// `int n` through a task gate, which names no TSS.
fn task_gate(vector: u8, names: Selector, named: &Named) -> Explained {
    let is = descriptor::named(named).unwrap_or_else(|| "that is the null selector".into());
    Explained::because(format!(
        "the gate of vector {vector:#04x} is a task gate (type 5): it names {:04x} as a TSS, and {is}",
        names.0
    ))
    .advise("give the gate the type of an interrupt gate: type byte 8e, or ee for one that ring 3 uses")
}

/// The gates whose handlers are to run in the segment that `selector` names.
fn gates_to(fault: &Fault, selector: Selector, aftermath: &Aftermath<'_>) -> String {
    let vectors: Vec<String> = (0..=255)
        .filter(|vector| {
            let gate = aftermath.gate(&fault.after, *vector);
            gate.is_some_and(|gate| gate.present && gate.selector.0 & !3 == selector.0)
        })
        .map(|vector| format!("{vector:#04x}"))
        .collect();
    match &vectors[..] {
        [] => String::new(),
        [one] => format!("; the gate of vector {one} names it as its CS"),
        [first, .., last] => {
            format!("; {} gates name it as their CS, {first} to {last}", vectors.len())
        }
    }
}

/// The error code names an IDT entry.
fn gate(
    fault: &Fault,
    aftermath: &Aftermath<'_>,
    vector: u8,
    entry: Option<u64>,
    code: u32,
) -> Explained {
    let words = descriptor::error_code(code);
    let used = matches!(*fault.code.instruction(), [0xcd, n, ..] if n == vector);
    let one_byte = match (fault.code.instruction(), vector) {
        ([0xcc, ..], 3) => Some("int3"),
        ([0xce, ..], 4) => Some("into"),
        ([0xf1, ..], 1) => Some("int1"),
        _ => None,
    };
    let pic = aftermath.devices.pic();
    // It has been acknowledged, and so is in service.
    let in_service = |irq: &u8| pic.in_service() & 1 << irq != 0;
    let irq = (0..16u8)
        .find(|irq| pic.vector(*irq) == vector && in_service(irq) && !used && one_byte.is_none());
    let decoded = entry.and_then(|raw| Gate::decode(raw).ok()).filter(|gate| gate.present);
    // RF is the processor's own.
    let eflags = Eflags(fault.frame.get(Word::Eflags).unwrap_or(0)).without(Eflags::RF);
    if vector == 1 && one_byte.is_none() && !used && eflags.contains(Eflags::TF) {
        return Explained::because(format!(
            "{words}: {}; TF is set in EFLAGS {:08x}: after each instruction #DB is due, which has no handler",
            descriptor::gate(entry),
            eflags.0
        ))
        .advise("clear TF (0x100) in the EFLAGS that a task starts with: 00000202");
    }
    match decoded {
        Some(gate) if (used || one_byte.is_some()) && gate.dpl < fault.ring => {
            // Its handler's address is stored apart, perhaps later.
            const TYPE: u32 = 0xff00;
            let stored = aftermath.upper_half(&fault.after, vector, entry);
            Explained::because(format!(
                "{words}: its gate has DPL {}, ring {} may not use `{}`",
                gate.dpl,
                fault.ring,
                one_byte.map_or_else(|| format!("int {vector:#04x}"), str::to_owned)
            ))
            .advise(format!(
                "give the gate of vector {vector:#04x} DPL {}: type byte {:02x} in place of {:02x}",
                fault.ring,
                entry.unwrap_or(0) >> 40 & 0x9f | u64::from(fault.ring) << 5,
                entry.unwrap_or(0) >> 40 & 0xff,
            ))
            .stored_in(stored, TYPE)
        }
        _ => {
            let explained = Explained::because(match irq {
                Some(irq) => format!(
                    "{words}: {}; IRQ {irq} came by that vector, since the 8259's base is {:02x}: the \
                     instruction has nothing to do with it",
                    descriptor::gate(entry),
                    vector & !7
                ),
                None => format!("{words}: {}", descriptor::gate(entry)),
            });
            if irq.is_some() {
                explained.advise(format!(
                    "set a gate for vector {vector:#04x}, mask the line, or give the 8259 the base that the \
                     gates are made for (ICW2)"
                ))
            } else if used
                && let Some(beyond) = beyond_limit::explain(vector, &fault.after, aftermath)
            {
                Explained {
                    reason: Some(format!("{words}: {}", beyond.reason.unwrap_or_default())),
                    ..beyond
                }
            } else if used {
                explained.advise(format!("set a gate for vector {vector:#04x} in the IDT"))
            } else {
                explained
            }
        }
    }
}

/// A selector that an instruction loads into a segment register.
struct Loaded {
    register: Register,
    value: u32,
    popped: bool,
    /// Where it was popped from, relative to ESP at the fault.
    below: bool,
}

fn loaded_selector(fault: &Fault, instruction: &Instruction) -> Option<Loaded> {
    let register = instruction.op0_register();
    if !register.is_segment_register() {
        return None;
    }
    let general = fault.after.general.to_array();
    match instruction.mnemonic() {
        Mnemonic::Pop => {
            Some(Loaded { register, value: fault.stack[1]?, popped: true, below: false })
        }
        Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
            let source = instruction.op1_register().full_register32();
            let number = source.number();
            let value = if source == Register::ESP {
                fault.stack_pointer()
            } else {
                *general.get(number)?
            };
            // POP r32, right before. What it popped has been overwritten by the frame.
            let popped = fault.code.behind.is_some_and(|[_, last]| last == 0x58 + number as u8);
            Some(Loaded { register, value, popped, below: true })
        }
        _ => None,
    }
}

/// How far from ESP a value may lie to be taken for an address in the stack.
const STACK: u32 = 8192;

fn selector(fault: &Fault, loaded: &Loaded, code: u32) -> Explained {
    let Loaded { register, mut value, popped, below } = *loaded;
    let name = format!("{register:?}");
    let verb = if popped { "popped into" } else { "loaded into" };
    let next = match (popped, below) {
        (true, true) => fault.stack[1],
        (true, false) => fault.stack[2],
        _ => None,
    };
    let esp = fault.stack_pointer();
    let in_stack = value.abs_diff(esp) < STACK;
    // `mov ds, ax` takes no more of EAX, whose upper half may be left from an address.
    if !popped {
        value &= 0xffff;
    }
    // In low memory an address may look like a selector, but not like one of a table so short.
    let beyond = matches!(fault.named, Named::Descriptor { entry: None, .. });
    if value > 0xffff || (in_stack && beyond) {
        let what = if in_stack { "a stack address" } else { "a value of 32 bits" };
        let text = format!("the value {verb} {name}, {value:08x}, is no selector but {what}");
        if !popped {
            return Explained::because(format!("{text}; {}", descriptor::error_code(code)));
        }
        let Some(next) = next.filter(|next| *next != 0 && *next <= 0xffff) else {
            return Explained::because(format!(
                "{text}: the stack is not where the code takes it to be"
            ));
        };
        return Explained::because(format!(
            "{text}: the stack is off by one word; the next word, {next:04x}, could be one"
        ))
        .advise(format!(
            "take a word off the stack before the POP at {:08x} (`add esp, 4` behind a call that had an \
             argument)",
            fault.eip().wrapping_sub(u32::from(below))
        ));
    }
    let words = descriptor::named(&fault.named).unwrap_or_else(|| descriptor::error_code(code));
    let short = short_table(fault);
    let explained = Explained::because(format!(
        "the selector {verb} {name} is {value:04x}: {words}{short}{}",
        rights(fault, value)
    ));
    if short.is_empty() {
        return explained;
    }
    explained.advise(LONGER_TABLE)
}

const LONGER_TABLE: &str =
    "add the descriptor to the GDT, or give LGDT the table's whole size less 1 as its limit";

/// The limit of a table that ends before the entry.
fn short_table(fault: &Fault) -> String {
    match fault.named {
        Named::Descriptor { selector, entry: None } if selector.table() == Table::Gdt => {
            let table = fault.after.gdtr;
            format!(" (GDT at {:08x}, limit {:04x}: its size less 1)", table.base, table.limit)
        }
        _ => String::new(),
    }
}

/// Why a segment that is there may not be loaded.
fn rights(fault: &Fault, value: u32) -> String {
    let Named::Descriptor { entry: Some(raw), .. } = fault.named else { return String::new() };
    let descriptor = Descriptor(raw);
    let selector = Selector(value as u16);
    if raw != 0 && descriptor.present() && descriptor.dpl() < selector.rpl().max(fault.ring) {
        return format!(", and ring {} with RPL {} may not use it", fault.ring, selector.rpl());
    }
    String::new()
}

/// #GP(0) and its kin: by the instruction.
fn without_selector(
    fault: &Fault,
    instruction: &Instruction,
    aftermath: &Aftermath<'_>,
) -> Explained {
    let text = text(instruction);
    let code = fault.error_code().unwrap_or(0);
    let general = &fault.after.general;
    let io = matches!(
        instruction.mnemonic(),
        Mnemonic::In
            | Mnemonic::Out
            | Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    );
    if fault.ring == 3 && io {
        return Explained::because(format!(
            "ring 3 may not use this port: IOPL is {}, and the TSS has no I/O map that opens it",
            Eflags(fault.frame.get(Word::Eflags).unwrap_or(0)).iopl()
        ));
    }
    if fault.ring == 3
        && (instruction.is_privileged()
            || matches!(instruction.mnemonic(), Mnemonic::Cli | Mnemonic::Sti))
    {
        return Explained::because(format!("ring 3 may not execute `{text}`"));
    }
    if let Some(eip) = selector_fault::far_target(instruction)
        && let selector = Selector(instruction.far_branch_selector())
        && let Some(named) = aftermath.linear(&fault.after).descriptor(&fault.after, selector)
        && eip > named.limit()
    {
        return Explained::because(format!(
            "`{text}` goes to EIP {eip:08x}, beyond the limit {:08x} of {}",
            named.limit(),
            descriptor::slot(selector)
        ))
        .advise("set G in the descriptor (its limit then counts 4 KiB), and its limit to fffff");
    }
    match instruction.mnemonic() {
        Mnemonic::Rdmsr | Mnemonic::Wrmsr => {
            return Explained::because(format!(
                "the MSR that ECX names, {:x}, is not there, or EDX:EAX {:08x}:{:08x} is not for it",
                general.ecx, general.edx, general.eax
            ))
            .advise("ask CPUID for the feature before its MSRs are used");
        }
        Mnemonic::Mov if instruction.op0_register().is_cr() => {
            return control_register(fault, instruction);
        }
        // SDM vol. 2B, SYSENTER and SYSEXIT, "Protected mode exceptions".
        Mnemonic::Sysenter | Mnemonic::Sysexit => {
            return Explained::because(format!(
                "IA32_SYSENTER_CS (MSR 174) is 0: `{text}` takes its code and stack segments from there"
            ))
            .advise("write the kernel's code selector to MSR 174 before ring 3 is entered, beside MSRs 175 (ESP) and 176 (EIP)");
        }
        _ => {}
    }
    let memory = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
    if memory {
        let register = instruction.memory_segment();
        let segment = fault.after.segments.get(register.number()).copied().unwrap_or_default();
        let name = format!("{register:?}");
        if segment.selector & 0xfffc == 0 && !matches!(register, Register::CS | Register::SS) {
            return Explained::because(format!(
                "`{text}` reaches memory by {name}, which holds no segment ({:04x})",
                segment.selector
            ))
            .advise(format!("load a data segment into {name} first"));
        }
        if let Some(misaligned) = alignment::explain(fault, instruction, aftermath) {
            return misaligned;
        }
        return Explained::because(format!(
            "`{text}` reaches beyond the limit {:08x} of {name} {:04x}, or may not write there",
            segment.limit, segment.selector
        ));
    }
    Explained::because(descriptor::error_code(code))
}

/// MOV to a control register (SDM vol. 2B, "MOV—Move to/from Control Registers").
fn control_register(fault: &Fault, instruction: &Instruction) -> Explained {
    let source = instruction.op1_register();
    let value = fault.after.general.to_array().get(source.number()).copied().unwrap_or(0);
    let register = format!("{:?}", instruction.op0_register());
    let bits = |mask: u32, other: u32| value & (mask | other) == mask;
    let why = match instruction.op0_register() {
        Register::CR0 if bits(1 << 31, 1) => "PG (bit 31) is set, and PE (bit 0) is not",
        Register::CR0 if bits(1 << 29, 1 << 30) => "NW (bit 29) is set, and CD (bit 30) is not",
        Register::CR0 if value & 1 << 31 != 0 && fault.after.cr4 & 1 << 5 != 0 => {
            "CR4.PAE is set, and an entry of the table at CR3 has a reserved bit set"
        }
        Register::CR4 => {
            "this processor has not each feature that is switched on, or a bit is reserved"
        }
        _ => "a reserved bit is set, or bits do not go together",
    };
    Explained::because(format!("`{}` with {register} {value:08x}: {why}", text(instruction)))
}
