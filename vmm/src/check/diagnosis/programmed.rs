//! Which instruction has set up a device as it is: the base of the 8259's vectors, its cascade, a mask, the timer's mode.
//!
//! No device remembers who wrote to it, so the instruction is looked for in the functions that the kernel's symbols
//! name, by the constants that stand in the code:
//! ```text
//!  mov al, 11h            mov edx, 20h            push 11h
//!  out 20h, al   ICW1     mov eax, 11h            push 20h
//!  mov al, 8              out dx, al              call outb
//!  out 21h, al   ICW2     …                       …
//! ```
//! A finding says the same without it: this is only where its reader looks first.

use super::Aftermath;
use crate::instruction::sequence;
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// Where the command and the data of each 8259 are.
const CONTROLLERS: [[u32; 2]; 2] = [[0x20, 0x21], [0xa0, 0xa1]];
/// ICW1 has the first of these bits, and no other command has; with the second there is no ICW3, with the third an
/// ICW4 (8259A data sheet, "Initialization Command Words").
const ICW1: u32 = 0x10;
const SINGLE: u32 = 2;
const WORD_4: u32 = 1;
/// Functions that are looked at, and bytes of each.
const FUNCTIONS: usize = 8_000;
const LARGEST: u32 = 1024;

/// What is looked for.
#[derive(Clone, Copy)]
enum Wanted {
    /// So many words behind ICW1, at this port.
    Initialisation { port: u32, word: u32 },
    /// A byte that is written to a port, and is none of those words.
    Byte { port: u32, value: u32 },
}

/// Linear address of the instruction that gives the master 8259 the base of its vectors, ICW2: an OUT, or the call of a
/// function that executes one.
pub(super) fn sets_base(aftermath: &Aftermath<'_>) -> Option<u32> {
    find(aftermath, Wanted::Initialisation { port: CONTROLLERS[0][1], word: 1 })
}

/// The same of what an 8259 is told of the other, ICW3; `slave` if it is the slave that is told.
pub(super) fn sets_cascade(aftermath: &Aftermath<'_>, slave: bool) -> Option<u32> {
    find(aftermath, Wanted::Initialisation { port: CONTROLLERS[usize::from(slave)][1], word: 2 })
}

/// The same of one that writes `value` to `port`: a mask, a control word.
pub(super) fn writes(aftermath: &Aftermath<'_>, port: u16, value: u8) -> Option<u32> {
    find(aftermath, Wanted::Byte { port: port.into(), value: value.into() })
}

fn find(aftermath: &Aftermath<'_>, wanted: Wanted) -> Option<u32> {
    let linear = aftermath.linear(&aftermath.end.state);
    let starts = aftermath.probes.functions(&linear);
    starts.iter().enumerate().take(FUNCTIONS).find_map(|(index, start)| {
        let next = starts.get(index + 1).map_or(LARGEST, |next| next.wrapping_sub(*start));
        let mut bytes = vec![0; next.min(LARGEST) as usize];
        let read = aftermath.probes.read_code(&linear, *start, &mut bytes);
        in_function(&bytes[..read], *start, wanted)
    })
}

fn in_function(bytes: &[u8], start: u32, wanted: Wanted) -> Option<u32> {
    let mut known = Known::nothing();
    let mut words = Words::default();
    for (instruction, _) in sequence(bytes, start) {
        if let Some((port, value)) = known.written(&instruction) {
            let word = words.take(port, value);
            let is_it = match wanted {
                Wanted::Initialisation { port: at, word: number } => {
                    port == at && word == Some(number)
                }
                Wanted::Byte { port: at, value: byte } => {
                    port == at && word.is_none() && value.is_some_and(|value| value & 0xff == byte)
                }
            };
            if is_it {
                return Some(instruction.ip32());
            }
        }
        known.after(&instruction);
    }
    None
}

/// How far the initialisation of each 8259 has come: the word that was written last, and how many there are.
#[derive(Default)]
struct Words([Option<(u32, u32)>; 2]);

impl Words {
    /// Something is written to a port: which word behind ICW1 it is.
    fn take(&mut self, port: u32, value: Option<u32>) -> Option<u32> {
        for ([command, data], state) in CONTROLLERS.into_iter().zip(&mut self.0) {
            if port == command
                && let Some(first) = value.filter(|value| value & ICW1 != 0)
            {
                let count = 1 + u32::from(first & SINGLE == 0) + u32::from(first & WORD_4 != 0);
                *state = Some((0, count));
            } else if port == data
                && let Some((word, count)) = state
                && *word < *count
            {
                *word += 1;
                return Some(*word);
            }
        }
        None
    }
}

/// The constants that a function works with.
struct Known {
    /// Of EAX, ECX, EDX, EBX, ESP, EBP, ESI and EDI; a part of one is taken for the whole.
    registers: [Option<u32>; 8],
    /// What was pushed last, and before that.
    pushed: [Option<u32>; 2],
    info: InstructionInfoFactory,
}

impl Known {
    /// Nothing is.
    fn nothing() -> Self {
        Known { registers: [None; 8], pushed: [None; 2], info: InstructionInfoFactory::new() }
    }

    fn get(&self, register: Register) -> Option<u32> {
        let whole = register.full_register32();
        whole.is_gpr32().then(|| self.registers[whole.number()]).flatten()
    }

    /// The port that a byte is written to, and the byte if that is known.
    fn written(&self, instruction: &Instruction) -> Option<(u32, Option<u32>)> {
        let value = self.get(Register::AL);
        match instruction.code() {
            Code::Out_imm8_AL => Some((instruction.immediate8().into(), value)),
            Code::Out_DX_AL => Some((self.get(Register::DX)? & 0xffff, value)),
            // A function of two arguments, the port first.
            _ if instruction.flow_control() == FlowControl::Call => {
                Some((self.pushed[0]? & 0xffff, self.pushed[1]))
            }
            _ => None,
        }
    }

    fn after(&mut self, instruction: &Instruction) {
        let operand = |index: u32| match instruction.op_kind(index) {
            OpKind::Register => self.get(instruction.op_register(index)),
            OpKind::Memory => None,
            _ => instruction.try_immediate(index).ok().map(|value| value as u32),
        };
        let same = instruction.op0_register() == instruction.op1_register();
        let result = match instruction.mnemonic() {
            Mnemonic::Mov => operand(1),
            Mnemonic::Xor if same && instruction.op0_register() != Register::None => Some(0),
            _ => None,
        };
        if instruction.mnemonic() == Mnemonic::Push {
            self.pushed = [operand(0), self.pushed[0]];
        }
        if instruction.flow_control() == FlowControl::Call {
            (self.registers, self.pushed) = ([None; 8], [None; 2]);
            return;
        }
        for used in self.info.info(instruction).used_registers() {
            let whole = used.register().full_register32();
            let is_read = matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
            if whole.is_gpr32() && !is_read {
                self.registers[whole.number()] = result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Wanted = Wanted::Initialisation { port: 0x21, word: 1 };

    #[test]
    fn the_base_is_what_follows_the_first_word() {
        // mov al, 11h; out 20h, al; mov al, 8; out 21h, al; mov al, 4; out 21h, al
        let by_number = [0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 4, 0xe6, 0x21, 0xc3];
        assert_eq!(in_function(&by_number, 0x1000, BASE), Some(0x1006));
        // mov edx, 20h; mov eax, 11h; out dx, al; mov eax, ebx; mov edx, 21h; out dx, al
        let by_dx = [
            0xba, 0x20, 0, 0, 0, 0xb8, 0x11, 0, 0, 0, 0xee, 0x89, 0xd8, 0xba, 0x21, 0, 0, 0, 0xee,
            0xc3,
        ];
        assert_eq!(in_function(&by_dx, 0x1000, BASE), Some(0x1012));
        // mov cl, 11h; mov al, cl; out 20h, al; mov al, [ebx]; out 21h, al
        let by_another = [0xb1, 0x11, 0x88, 0xc8, 0xe6, 0x20, 0x8a, 0x03, 0xe6, 0x21, 0xc3];
        assert_eq!(in_function(&by_another, 0x1000, BASE), Some(0x1008));
        // push 11h; push 20h; call f; push 8; push 21h; call f
        let by_call =
            [0x6a, 0x11, 0x6a, 0x20, 0xe8, 0, 1, 0, 0, 0x6a, 8, 0x6a, 0x21, 0xe8, 0, 1, 0, 0, 0xc3];
        assert_eq!(in_function(&by_call, 0x1000, BASE), Some(0x100d));
    }

    #[test]
    fn an_end_of_interrupt_and_a_mask_are_none() {
        // mov al, 20h; out 20h, al; mov al, 0feh; out 21h, al
        let acknowledged = [0xb0, 0x20, 0xe6, 0x20, 0xb0, 0xfe, 0xe6, 0x21, 0xc3];
        assert_eq!(in_function(&acknowledged, 0x1000, BASE), None);
        // mov al, 11h; mov al, [ebx]; out 20h, al; out 21h, al: it is not known what that was.
        let unknown = [0xb0, 0x11, 0x8a, 0x03, 0xe6, 0x20, 0xe6, 0x21, 0xc3];
        assert_eq!(in_function(&unknown, 0x1000, BASE), None);
    }

    #[test]
    fn a_byte_is_found_by_its_port_and_its_value() {
        // mov al, 30h; out 43h, al; mov eax, 100h; out 40h, al; mov al, 1; out 40h, al
        let timer =
            [0xb0, 0x30, 0xe6, 0x43, 0xb8, 0, 1, 0, 0, 0xe6, 0x40, 0xb0, 1, 0xe6, 0x40, 0xc3];
        let at = |port, value| in_function(&timer, 0x1000, Wanted::Byte { port, value });
        assert_eq!(
            (at(0x43, 0x30), at(0x40, 0), at(0x40, 1)),
            (Some(0x1002), Some(0x1009), Some(0x100d))
        );
        assert_eq!((at(0x43, 0x36), at(0x21, 1)), (None, None));
    }

    #[test]
    fn the_words_of_the_initialisation_are_told_from_a_mask() {
        // mov al, 11h; out 20h, al; mov al, 20h; out 21h, al; mov al, 4; out 21h, al; mov al, 1; out 21h, al; out 21h, al
        let all = [
            0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 4, 0xe6, 0x21, 0xb0, 1, 0xe6,
            0x21, 0xe6, 0x21, 0xc3,
        ];
        let at = |wanted| in_function(&all, 0x1000, wanted);
        assert_eq!(at(Wanted::Byte { port: 0x21, value: 1 }), Some(0x1010));
        assert_eq!(at(Wanted::Initialisation { port: 0x21, word: 2 }), Some(0x100a));
        assert_eq!(at(Wanted::Initialisation { port: 0xa1, word: 2 }), None);
    }
}
