//! One exception, explained: what its error code names, which check failed, what to do about it.

use super::{Aftermath, descriptor, selector_fault};
use crate::check::Finding;
use crate::entry::{Fault, Kind, Named, Reach};
use ia32::{Descriptor, DescriptorKind, Eflags, Gate, GateKind, Selector, Table, Vector, Word};
use iced_x86::{Formatter, Instruction, IntelFormatter, Mnemonic, OpKind, Register};

/// Why, and what to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) reason: Option<String>,
    pub(super) advice: Option<String>,
}

impl Explained {
    fn because(reason: impl Into<String>) -> Self {
        Explained { reason: Some(reason.into()), advice: None }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The finding with reason and advice.
    pub(super) fn add_to(self, mut finding: Finding) -> Finding {
        finding.reason = self.reason.or(finding.reason);
        finding.advice = self.advice.or(finding.advice);
        finding
    }
}

/// `#3 #GP in ring 3 , at 00100245 (user+5, user.c:41)`.
pub(super) fn place(fault: &Fault, aftermath: &Aftermath<'_>) -> String {
    let eip = fault.code.linear.unwrap_or_else(|| fault.eip());
    let what = match fault.kind {
        Kind::External => format!("interrupt {:#04x}", fault.vector.0),
        _ => fault.vector.to_string(),
    };
    format!("#{} {what} in ring {}, at {}", fault.sequence, fault.ring, aftermath.place(eip))
}

/// `#GP(0402)`.
pub(super) fn name(fault: &Fault) -> String {
    match fault.error_code() {
        Some(code) if fault.vector != Vector::DF => format!("{}({code:04x})", fault.vector),
        _ => fault.vector.to_string(),
    }
}

/// The instruction as an assembler writes it.
pub(super) fn text(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_rip_relative_addresses(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// The instruction that faulted: `` `int 0x80` ``, or what can be said of it.
pub(super) fn instruction(fault: &Fault) -> String {
    if fault.code.length == 0 {
        return format!("EIP {:08x}, which cannot be read", fault.eip());
    }
    match fault.instruction() {
        Some(instruction) => format!("`{}`", text(&instruction)),
        None => {
            let bytes: Vec<String> =
                fault.code.instruction().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("{}…, which is no instruction", bytes.join(" "))
        }
    }
}

/// What an exception was about.
pub(super) fn explain(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    if fault.kind == Kind::External {
        return exceptions_vector(fault);
    }
    if fault.frame.shape.from_virtual_8086 {
        return Explained::because(
            "the guest was in virtual-8086 mode, where these bytes are real-mode code: an IRET had popped \
             EFLAGS with VM set",
        );
    }
    match fault.vector {
        Vector::PF => page_fault(fault, aftermath),
        Vector::GP | Vector::NP | Vector::SS | Vector::TS => protection(fault, aftermath),
        Vector::UD => undefined(fault, aftermath),
        Vector::DE => division(fault),
        Vector(7) => Explained::because(
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
    let explained =
        Explained::because(format!("CR2 {address:08x}: {}; {words}", walk.sentence(reach)));
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
        Some(crate::entry::Denied::Supervisor) => explained.advise(
            "set U/S (bit 2) in each entry on the way to a page of ring 3, in the directory as well",
        ),
        Some(crate::entry::Denied::ReadOnly) => {
            explained.advise("set R/W (bit 1) in each entry on the way to a page that is written")
        }
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

/// #GP, #NP, #SS, #TS.
fn protection(fault: &Fault, aftermath: &Aftermath<'_>) -> Explained {
    let code = fault.error_code().unwrap_or(0);
    let instruction = fault.instruction();
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
            Named::Descriptor { entry: Some(raw), .. } if ltr && is_busy(Descriptor(raw)) => {
                ", and busy: it has been loaded already".into()
            }
            Named::Descriptor { entry: None, .. } => short_table(fault),
            Named::Descriptor { .. } if ltr => ", and LTR loads a TSS that is not busy".into(),
            _ => String::new(),
        };
        let explained = Explained::because(format!("{words}; {named}{by}"));
        let far = instruction.as_ref().and_then(selector_fault::far_target);
        return match fault.named {
            Named::Descriptor { selector, entry: Some(_) } if far.is_some() => {
                explained.advise(format!(
                    "make {} a code segment of ring {}: access byte {:02x}",
                    descriptor::slot(selector),
                    fault.ring,
                    0x9a | fault.ring << 5
                ))
            }
            _ => explained,
        };
    }
    let Some(instruction) = instruction else {
        return Explained::because(descriptor::error_code(code));
    };
    without_selector(fault, &instruction, aftermath)
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
    let eflags = Eflags(fault.frame.get(Word::Eflags).unwrap_or(0));
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
    let Loaded { register, value, popped, below } = *loaded;
    let name = format!("{register:?}");
    let verb = if popped { "popped into" } else { "loaded into" };
    let next = match (popped, below) {
        (true, true) => fault.stack[1],
        (true, false) => fault.stack[2],
        _ => None,
    };
    let esp = fault.stack_pointer();
    let in_stack = value.abs_diff(esp) < STACK;
    // In low memory an address may look like a selector, but not like one of a table so short.
    let beyond = matches!(fault.named, Named::Descriptor { entry: None, .. });
    if value > 0xffff || (in_stack && beyond) {
        let what = if in_stack { "a stack address" } else { "a value of 32 bits" };
        let text = format!("the value {verb} {name}, {value:08x}, is no selector but {what}");
        if !popped {
            return Explained::because(format!("{text}; {}", descriptor::error_code(code)));
        }
        let explained = match next.filter(|next| *next != 0 && *next <= 0xffff) {
            Some(next) => Explained::because(format!(
                "{text}: the stack is off by one word; the next word, {next:04x}, could be one"
            )),
            None => Explained::because(format!(
                "{text}: the stack is not where the code takes it to be"
            )),
        };
        return explained.advise(format!(
            "take a word off the stack before the POP at {:08x} (`add esp, 4` behind a call that had an \
             argument)",
            fault.eip().wrapping_sub(u32::from(below))
        ));
    }
    let words = descriptor::named(&fault.named).unwrap_or_else(|| descriptor::error_code(code));
    Explained::because(format!(
        "the selector {verb} {name} is {value:04x}: {words}{}{}",
        short_table(fault),
        rights(fault, value)
    ))
}

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
    let descriptor = ia32::Descriptor(raw);
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
            ia32::Eflags(fault.frame.get(Word::Eflags).unwrap_or(0)).iopl()
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
