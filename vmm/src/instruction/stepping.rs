//! What has to be known of the next instruction before it is stepped.
//!
//! KVM steps with EFLAGS.TF. An instruction that pushes EFLAGS shows it, one that loads EFLAGS ends
//! it, and one that enters a handler pushes a frame that must not be judged. All three are told by
//! their first bytes.

use super::{decode_32, decode_as, has_operand_size_prefix, is_prefix, opcode};
use crate::machine::{LinearMemory, LinearMemoryMut};
use ia32::{Eflags, State};
use iced_x86::{Code, Mnemonic, OpKind};

/// How an instruction gets on with single-stepping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepping {
    /// It can be stepped.
    Plain,
    /// It can be stepped, and loads EFLAGS: stepping has to be set anew.
    LoadsFlags,
    /// PUSHF: it can be stepped, and TF has to be taken out of the word that it pushed.
    PushesFlags,
    /// A far jump: if it leads to a TSS, EFLAGS is loaded without TF, and nothing stops behind it.
    MaySwitchTasks,
    /// MOV SS, POP SS: a step takes the next instruction along. Where that raises an event, the state
    /// before it is not known.
    TakesNextAlong,
    /// SYSENTER, SYSCALL: it enters the kernel through no gate. Where there is no probe at its target, the next
    /// stop has nothing to do with it. It runs without stepping.
    EntersWithoutGate,
    /// It enters a handler, leaves the VM, or waits: it must run without stepping.
    Never,
}

/// Looks at the first bytes of an instruction.
pub(crate) fn classify(code: &[u8]) -> Stepping {
    let mut bytes = code.iter().copied().skip_while(|byte| is_prefix(*byte));
    match (bytes.next(), bytes.next()) {
        (Some(0x9c), _) => Stepping::PushesFlags,
        // POPF, IRET.
        (Some(0x9d | 0xcf), _) => Stepping::LoadsFlags,
        // INT3, INT n, INTO, ICEBP, HLT; IN, OUT, INS, OUTS.
        (Some(0xcc..=0xce | 0xf1 | 0xf4 | 0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef), _) => {
            Stepping::Never
        }
        // JMP FAR, CALL FAR, by memory or with the target inside.
        (Some(0xea | 0x9a), _) => Stepping::MaySwitchTasks,
        (Some(0xff), Some(modrm)) if matches!(modrm >> 3 & 7, 3 | 5) => Stepping::MaySwitchTasks,
        (Some(0x17), _) => Stepping::TakesNextAlong,
        (Some(0x8e), Some(modrm)) if modrm >> 3 & 7 == 2 => Stepping::TakesNextAlong,
        (Some(0x0f), Some(0x05 | 0x34)) => Stepping::EntersWithoutGate,
        _ => Stepping::Plain,
    }
}

/// Whether `code` is an IRET that goes back to another task: NT is set in `state` (SDM vol. 3A, "Task linking"). The task that
/// is left gets the EFLAGS of now into its TSS, and with them a TF of whoever steps it.
pub(crate) fn returns_by_task_link(state: &State, code: &[u8]) -> bool {
    state.eflags.contains(Eflags::NT)
        && state.protected()
        && !state.virtual_8086()
        && opcode(code) == Some(0xcf)
}

/// Whether an instruction reads and writes registers only, and no descriptor, table or control
/// register: apart from its own fetch it has nothing to do with memory. `wide`: its code segment has 32
/// bits.
pub(crate) fn is_quiet(code: &[u8], wide: bool) -> bool {
    let instruction = decode_as(if wide { 32 } else { 16 }, code, 0);
    let mnemonic = instruction.mnemonic();
    if mnemonic == Mnemonic::Lea {
        return true;
    }
    let general = |n| match instruction.op_kind(n) {
        OpKind::Register => instruction.op_register(n).is_gpr(),
        OpKind::NearBranch16 | OpKind::NearBranch32 => true,
        kind => (OpKind::Immediate8..=OpKind::Immediate32to64).contains(&kind),
    };
    let calculates = matches!(
        mnemonic,
        Mnemonic::Mov
            | Mnemonic::Movzx
            | Mnemonic::Movsx
            | Mnemonic::Add
            | Mnemonic::Adc
            | Mnemonic::Sub
            | Mnemonic::Sbb
            | Mnemonic::Cmp
            | Mnemonic::Test
            | Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Xor
            | Mnemonic::Inc
            | Mnemonic::Dec
            | Mnemonic::Neg
            | Mnemonic::Not
            | Mnemonic::Shl
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Imul
            | Mnemonic::Mul
            | Mnemonic::Nop
    );
    let jumps = instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near();
    (calculates || jumps) && (0..instruction.op_count()).all(general)
}

/// Whether `code` is a POPF or an IRET that sets TF. While KVM steps, such a TF is taken for KVM's own
/// and lost.
pub(crate) fn loads_trap_flag(state: &State, linear: &LinearMemory<'_>, code: &[u8]) -> bool {
    let word = if has_operand_size_prefix(code) == state.cs().big() { 2 } else { 4 };
    let offset = match opcode(code) {
        Some(0x9d) => 0,
        Some(0xcf) => 2 * word,
        _ => return false,
    };
    let mut flags = [0; 2];
    linear.read(state.stack_address().wrapping_add(offset), &mut flags).is_some()
        && Eflags(u16::from_le_bytes(flags).into()).contains(Eflags::TF)
}

/// PUSHF under stepping has pushed a TF that is not the guest's, and the vCPU is in `after`: takes it out of the word.
pub(crate) fn hide_trap_flag(linear: &mut LinearMemoryMut<'_>, after: &State) {
    let at = after.stack_address().wrapping_add(1);
    let mut byte = [0];
    if linear.read_only().read(at, &mut byte).is_some() {
        let _ = linear.write(at, &[byte[0] & !1]);
    }
}

/// JMP far, by an operand or through memory.
pub(crate) fn is_far_jump(code: &[u8]) -> bool {
    let decoded = decode_32(code, 0);
    matches!(
        decoded.code(),
        Code::Jmp_ptr1632 | Code::Jmp_ptr1616 | Code::Jmp_m1632 | Code::Jmp_m1616
    )
}

/// INTO with OF clear, and a repeated INS or OUTS with nothing left to do, which is how KVM ends one:
/// they leave the VM in no way.
pub(crate) fn does_nothing(state: &State, code: &[u8]) -> bool {
    let decoded = decode_32(code, 0);
    match decoded.code() {
        Code::Into => !state.eflags.contains(Eflags::OF),
        _ => decoded.is_string_instruction() && decoded.has_rep_prefix() && state.general.ecx == 0,
    }
}

/// Whether `code` is one of the system instructions, which KVM may execute in the processor's stead.
pub(crate) fn may_be_emulated(code: &[u8]) -> bool {
    matches!(code, [0x0f, 0x00..=0x0f | 0x20..=0x23 | 0x30..=0x37 | 0xa2, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;

    fn at(eip: u32, esp: u32) -> State {
        let mut state = State { cr0: 1, eip, ..State::default() };
        state.segments[1].attributes = 0xc09b;
        state.segments[2].attributes = 0xc093;
        state.general.esp = esp;
        state
    }

    #[test]
    fn an_iret_or_popf_that_sets_tf_is_told_by_the_word_it_pops() {
        let mut memory = Memory::detached(0x9000).unwrap();
        let mut state = at(0x1000, 0x8000);
        state.segments[1].attributes = 0xc09b;
        memory.write(0x8008, &0x302_u32.to_le_bytes()).unwrap();
        let linear = LinearMemory { memory: &memory, paging: (&state).into() };
        assert!(loads_trap_flag(&state, &linear, &[0xcf]));
        assert!(!loads_trap_flag(&state, &linear, &[0x66, 0xcf]));
        assert!(loads_trap_flag(&state, &linear, &[0x3e, 0x2e, 0xcf]));
        assert!(!loads_trap_flag(&state, &linear, &[0x9d]));
        state.general.esp = 0x8008;
        assert!(
            loads_trap_flag(&state, &linear, &[0x9d]) && !loads_trap_flag(&state, &linear, &[0x90])
        );
    }

    #[test]
    fn what_does_nothing_leaves_no_vm() {
        let mut state = at(0x1000, 0x8000);
        assert!(does_nothing(&state, &[0xf3, 0x6e]) && does_nothing(&state, &[0xce]));
        assert!(!does_nothing(&state, &[0x6e]) && !does_nothing(&state, &[0xe6, 0xe9]));
        state.general.ecx = 1;
        state.eflags = Eflags::OF;
        assert!(!does_nothing(&state, &[0xf3, 0x6e]) && !does_nothing(&state, &[0xce]));
    }

    #[test]
    fn what_may_touch_memory_is_not_quiet() {
        // add eax, ecx; jne; jmp; lea eax, [ecx]; mov eax, 1; shl eax, 4; movzx eax, cl; nop.
        let quiet: [&[u8]; 8] = [
            &[0x01, 0xc8],
            &[0x75, 0xf0],
            &[0xe9, 0, 0, 0, 0],
            &[0x8d, 0x01],
            &[0xb8, 1, 0, 0, 0],
            &[0xc1, 0xe0, 4],
            &[0x0f, 0xb6, 0xc1],
            &[0x90],
        ];
        for code in quiet {
            assert!(is_quiet(code, true), "{code:02x?}");
        }
        // add [eax], ecx; mov eax, [eax]; push eax; call; ret; jmp eax; mov ds, eax; mov cr3, eax; rep movsb;
        // jmp far; lar eax, ecx; div ecx; xlatb; a nop with an operand in memory.
        let others: [&[u8]; 14] = [
            &[0x01, 0x08],
            &[0x8b, 0x00],
            &[0x50],
            &[0xe8, 0, 0, 0, 0],
            &[0xc3],
            &[0xff, 0xe0],
            &[0x8e, 0xd8],
            &[0x0f, 0x22, 0xd8],
            &[0xf3, 0xa4],
            &[0xea, 0, 0, 0, 0, 8, 0],
            &[0x0f, 0x02, 0xc1],
            &[0xf7, 0xf1],
            &[0xd7],
            &[0x0f, 0x1f, 0x00],
        ];
        for code in others {
            assert!(!is_quiet(code, true), "{code:02x?}");
        }
        // In 16-bit code the same bytes are another instruction.
        assert!(is_quiet(&[0xb8, 1, 0], false) && !is_quiet(&[0xb8, 1, 0], true));
    }

    #[test]
    fn instructions_that_must_not_be_stepped_are_known_with_prefixes_too() {
        for code in [
            &[0xcd, 0x80][..],
            &[0xcc],
            &[0xce],
            &[0xf1],
            &[0xf4],
            &[0xe6, 0xe9],
            &[0xf3, 0x6e],
            &[0x66, 0xed],
        ] {
            assert_eq!(classify(code), Stepping::Never, "{code:02x?}");
        }
        assert_eq!(classify(&[0xff, 0x6c, 0x24, 0x04]), Stepping::MaySwitchTasks);
        assert_eq!(classify(&[0xff, 0x64, 0x24, 0x04]), Stepping::Plain, "a near jump");
        assert_eq!(classify(&[0x66, 0x9c]), Stepping::PushesFlags);
        assert_eq!(classify(&[0x9d]), Stepping::LoadsFlags);
        assert_eq!(classify(&[0x66, 0xcf]), Stepping::LoadsFlags);
        assert_eq!(classify(&[0x0f, 0x34]), Stepping::EntersWithoutGate);
        assert_eq!(classify(&[0x8e, 0xd0]), Stepping::TakesNextAlong);
        assert_eq!(classify(&[0x66, 0x17]), Stepping::TakesNextAlong);
        assert_eq!(classify(&[0x8e, 0xd8]), Stepping::Plain, "MOV DS");
        assert_eq!(classify(&[0x0f, 0x01, 0x1d]), Stepping::Plain);
        assert_eq!(classify(&[]), Stepping::Plain);
    }
}
