//! An instruction that did something, and what it did to the stack.

use crate::run::Run;
use ia32::{State, TssWidth};

/// A stack pointer that moves by more in one instruction is another stack's, or that of a large frame.
const FAR: u32 = 64;

/// An instruction, and the state in front of it.
#[derive(Clone, Debug)]
pub struct Doer {
    /// The state in front of it.
    pub before: Box<State>,
    /// Its bytes, and some that follow.
    pub code: Vec<u8>,
}

/// MOV to ESP, or POP ESP, has taken the guest to another stack.
pub(super) fn loads_stack(by: &Doer, after: &State) -> bool {
    let loads = matches!(by.code[..], [0x8b, modrm, ..] if modrm >> 3 & 7 == 4)
        || matches!(by.code[..], [0x89, modrm, ..] if modrm & 0xc7 == 0xc4)
        || matches!(by.code.first(), Some(0x5c | 0xbc));
    let distance = after.general.esp.wrapping_sub(by.before.general.esp);
    loads && distance.min(distance.wrapping_neg()) > FAR
}

/// Where the stack ends that the guest runs on, which stands in front of a handler's first instruction: ring 3 has entered
/// on it, by the ESP0 of a TSS of 32 bits.
pub(super) fn entered_on(run: &mut Run) -> Option<u32> {
    let state = run.state();
    let tr = state.tr;
    let linear = run.machine().linear();
    let is_wide = TssWidth::from_type(tr.ty()) == Some(TssWidth::Bits32) && tr.selector & !3 != 0;
    let esp0 = linear.read_u32(tr.base.wrapping_add(4)).filter(|_| is_wide)?;
    let pushed = esp0.wrapping_sub(state.stack_address());
    (state.cpl() == 0 && matches!(pushed, 20 | 24)).then_some(esp0)
}
