//! A function that takes its first argument out of a register, where the handler that calls it has pushed it.
//!
//! ```text
//!  stub      push esp          f      mov edx, [eax+32]     EAX is what the interrupt found
//!            call f
//! ```
//! So with `-mregparm=3`, which a stub of assembly knows nothing of (System V ABI, i386, "Parameter Passing"; GCC manual,
//! "x86 Options").

use super::{Aftermath, fault_text};
use crate::check::{Finding, History, LiveFrame};
use crate::entry::Kind;
use crate::instruction::valid_32;
use ia32::{State, Word};
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// So many instructions of a stub, and of a function, are looked at.
const STUB: usize = 48;
const FUNCTION: usize = 16;

/// Says so of the handler that the kernel died in.
pub(super) fn explain(finding: &mut Finding, aftermath: &Aftermath<'_>, history: &History) {
    let state = &aftermath.end.state;
    // That of a fault that the function has met is newer.
    let handler = history.live().rev().take(2).find(|live| is_interrupt(live, state));
    let Some(live) = handler else { return };
    let Some((call, uses)) = misses_its_argument(aftermath, live.handler) else { return };
    let reason = finding.reason.clone().map_or_else(String::new, |reason| format!("{reason}; "));
    finding.reason = Some(format!(
        "{reason}the handler of #{} pushes the argument of the function that it calls at {}, and that function takes it \
         from EAX, by `{}` at {}: EAX is what #{} has interrupted, {:08x}",
        live.sequence,
        aftermath.place(call.ip32()),
        fault_text::text(&uses),
        aftermath.place(uses.ip32()),
        live.sequence,
        live.registers.eax
    ));
    finding.advice = Some(
        "load EAX with the argument before the call (`mov eax, esp`), or declare the function with \
         `__attribute__((regparm(0)))`: with -mregparm=3 a compiler passes the first arguments in EAX, EDX and ECX"
            .into(),
    );
    finding.places.insert(0, crate::check::CodePlace::Instruction(call.ip32()));
}

/// What ran has put nothing into EAX for this handler.
fn is_interrupt(live: &LiveFrame, state: &State) -> bool {
    matches!(live.kind, Kind::External | Kind::Fault)
        && live.frame.get(Word::Eip).is_some()
        && state.cpl() == 0
}

/// The call of a handler that has pushed an argument and left EAX alone, and the first instruction of the function that
/// uses EAX, if it has written nothing to it before.
fn misses_its_argument(
    aftermath: &Aftermath<'_>,
    handler: u32,
) -> Option<(Instruction, Instruction)> {
    let decode = |at: u32| valid_32(&aftermath.code(&aftermath.end.state, at), at);
    let mut at = handler;
    let mut pushed = false;
    for _ in 0..STUB {
        let one = decode(at)?;
        at = match one.flow_control() {
            FlowControl::Call if one.op0_kind() == OpKind::NearBranch32 => {
                let uses = takes_from_register(&decode, one.near_branch32())?;
                return pushed.then_some((one, uses));
            }
            FlowControl::UnconditionalBranch if one.op0_kind() == OpKind::NearBranch32 => {
                one.near_branch32()
            }
            FlowControl::Next => one.next_ip32(),
            _ => return None,
        };
        if writes(&one, Register::EAX) {
            return None;
        }
        // An argument is pushed last of all; flags may be set behind it.
        pushed = match one.mnemonic() {
            Mnemonic::Push => true,
            Mnemonic::Cld | Mnemonic::Cli | Mnemonic::Sti | Mnemonic::Nop => pushed,
            _ => false,
        };
    }
    None
}

/// The first instruction of a function that takes EAX for an address, if nothing there has written it, nor taken an argument
/// from the stack.
fn takes_from_register(
    decode: &dyn Fn(u32) -> Option<Instruction>,
    function: u32,
) -> Option<Instruction> {
    let mut at = function;
    // EAX, and what has become a copy of it.
    let mut copies = vec![Register::EAX];
    for _ in 0..FUNCTION {
        let one = decode(at)?;
        let is_memory = one.op_kinds().any(|kind| kind == OpKind::Memory);
        if is_memory && copies.contains(&one.memory_base()) && one.mnemonic() != Mnemonic::Lea {
            return Some(one);
        }
        let on_stack = matches!(one.memory_base(), Register::ESP | Register::EBP);
        if is_memory && on_stack && reads_memory(&one) || one.flow_control() != FlowControl::Next {
            return None;
        }
        let is_copy = one.mnemonic() == Mnemonic::Mov
            && one.op1_kind() == OpKind::Register
            && one.op0_kind() == OpKind::Register
            && copies.contains(&one.op1_register());
        copies.retain(|copy| !writes(&one, *copy));
        if is_copy {
            copies.push(one.op0_register());
        }
        if copies.is_empty() {
            return None;
        }
        at = one.next_ip32();
    }
    None
}

fn reads_memory(one: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(one);
    info.used_memory()
        .iter()
        .any(|used| !matches!(used.access(), OpAccess::Write | OpAccess::NoMemAccess))
}

/// It writes to the register, or to a part of it.
fn writes(one: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let mut used = factory.info(one).used_registers().iter();
    used.any(|used| {
        used.register().full_register32() == register
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(function: &[u8]) -> bool {
        let decode = |at: u32| valid_32(function.get(at as usize..)?, at);
        takes_from_register(&decode, 0).is_some()
    }

    #[test]
    fn a_function_that_takes_eax_for_an_address_before_it_writes_it_has_its_argument_there() {
        // push ebx; mov ebx, eax; mov eax, [eax+32]
        assert!(found(&[0x53, 0x89, 0xc3, 0x8b, 0x40, 0x20]));
        // mov edx, [eax+32]
        assert!(found(&[0x8b, 0x50, 0x20]));
        // sub esp, 12; call [eax+4]
        assert!(found(&[0x83, 0xec, 0x0c, 0xff, 0x50, 0x04]));
        // push ebp; mov ebp, esp; mov eax, [ebp+8]; mov edx, [eax]
        assert!(!found(&[0x55, 0x89, 0xe5, 0x8b, 0x45, 0x08, 0x8b, 0x10]));
        // push eax; mov ecx, [esp+8]
        assert!(!found(&[0x50, 0x8b, 0x4c, 0x24, 0x08]));
        // xor eax, eax; mov edx, [eax]
        assert!(!found(&[0x31, 0xc0, 0x8b, 0x10]));
        // mov [0x3000], eax; call: what comes behind says nothing.
        assert!(!found(&[0xa3, 0, 0x30, 0, 0, 0xe8, 0, 0, 0, 0, 0x8b, 0x10]));
        assert!(!found(&[0xe8, 0, 0, 0, 0, 0x8b, 0x10]));
    }
}
