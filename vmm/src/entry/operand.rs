//! What an instruction's memory operand is made of.

use ia32::State;
use iced_x86::Register;

/// A general register, AL (the index of XLAT), or the base of a segment register.
pub(crate) fn register_value(state: &State, register: Register) -> Option<u32> {
    let general = &state.general;
    Some(match register {
        Register::EAX => general.eax,
        Register::ECX => general.ecx,
        Register::EDX => general.edx,
        Register::EBX => general.ebx,
        Register::ESP => general.esp,
        Register::EBP => general.ebp,
        Register::ESI => general.esi,
        Register::EDI => general.edi,
        Register::AL => general.eax & 0xff,
        Register::ES => state.segments[0].base,
        Register::CS => state.segments[1].base,
        Register::SS => state.segments[2].base,
        Register::DS => state.segments[3].base,
        Register::FS => state.segments[4].base,
        Register::GS => state.segments[5].base,
        _ => return None,
    })
}
