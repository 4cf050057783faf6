//! A selector that was popped and is not the one that was pushed: somebody has written over it.
//!
//! A handler in C that takes its registers by value, `void handler(struct regs r)`, owns the words that its stub has
//! pushed: the compiler may keep there what it likes, and builds the arguments of a last call in them.

use super::Aftermath;
use super::explained::Explained;
use crate::check::{ChangedWord, Finding, History, LiveFrame, Retrace};
use crate::entry::{Fault, Named};
use crate::instruction::valid_32;
use crate::machine::LinearMemory;
use ia32::Word;
use iced_x86::{FlowControl, Mnemonic, OpKind, Register};

/// What stubs save below a frame, in bytes: all registers, an error code and a vector.
const SAVED: u32 = 80;

/// The word that a fault of ring 0 has popped into a segment register.
pub(super) struct PoppedSelector {
    register: Register,
    word: ChangedWord,
    /// It is not at ESP any more: the frame of the fault lies over it.
    is_gone: bool,
}

impl PoppedSelector {
    /// Of POP into a segment register, or of MOV right behind POP; only where the error code tells that it is this word.
    pub(super) fn of(fault: &Fault, linear: &LinearMemory<'_>) -> Option<PoppedSelector> {
        let instruction = fault.instruction().filter(|_| fault.ring == 0)?;
        let register = instruction.op0_register();
        if !register.is_segment_register() || !matches!(fault.named, Named::Descriptor { .. }) {
            return None;
        }
        let esp = fault.stack_pointer();
        let (value, offset, is_gone) = match instruction.mnemonic() {
            Mnemonic::Pop => (fault.stack[1]?, esp, false),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                let number = instruction.op1_register().full_register32().number();
                let behind = fault.code.behind?;
                let value = *fault.after.general.to_array().get(number)?;
                (behind[1] == 0x58 + number as u8).then_some((value, esp.wrapping_sub(4), true))?
            }
            _ => return None,
        };
        let code = fault.frame.get(Word::ErrorCode)?;
        if value & 0xfffc != code & 0xfffc {
            return None;
        }
        let address = fault.after.ss().base.wrapping_add(offset);
        let physical = linear.paging.translate(linear.memory, address)?;
        Some(PoppedSelector { register, word: ChangedWord { address, physical, value }, is_gone })
    }

    /// The entry whose stub has saved this word, if that can be told: what it interrupted had another selector there.
    fn saved_by<'a>(&self, fault: &Fault, history: &'a History) -> Option<(&'a LiveFrame, u16)> {
        let live = history.live().rev().find(|live| {
            let below = live.frame.address.wrapping_sub(self.word.address);
            live.sequence < fault.sequence && (4..=SAVED).contains(&below)
        })?;
        let [es, ds, fs, gs] = live.segments.map(|segment| segment.selector);
        let was = match self.register {
            Register::ES => es,
            Register::DS => ds,
            Register::FS => fs,
            Register::GS => gs,
            _ => return None,
        };
        (u32::from(was) != self.word.value).then_some((live, was))
    }

    /// The finding asks who wrote it.
    pub(super) fn ask(&self, mut finding: Finding, fault: &Fault) -> Finding {
        match self.is_gone {
            true => {
                let after_entry = fault.sequence.saturating_sub(1);
                finding = finding.retraced(Retrace::Written { after_entry, word: self.word });
            }
            false => finding = finding.written_at(Some(self.word)),
        }
        finding
    }

    /// Why it is wrong, as far as the last entry tells it.
    pub(super) fn explain(
        &self,
        fault: &Fault,
        aftermath: &Aftermath<'_>,
        history: &History,
    ) -> Option<Explained> {
        self.is_a_vector(fault, history)
            .or_else(|| self.comes_of_esp0(fault, history))
            .or_else(|| self.is_overwritten(fault, aftermath, history))
    }

    /// What is popped behind it comes to the frame that an entry has pushed: the stack is right, and the word is not.
    fn is_overwritten(
        &self,
        fault: &Fault,
        aftermath: &Aftermath<'_>,
        history: &History,
    ) -> Option<Explained> {
        let iret_pops = self.frame_popped_behind(fault, aftermath)?;
        let live = history.live().rev().find(|live| {
            live.sequence < fault.sequence
                && live.from_outer_ring()
                && live.popped_from() == iret_pops
        })?;
        let below = live.frame.address.wrapping_sub(self.word.address);
        let (_, was) = self.saved_by(fault, history)?;
        (4..=SAVED).contains(&below).then(|| {
            Explained::because(format!(
                "the word popped into {:?} at {:08x} is {:08x}, and #{} interrupted {:?} {was:04x}: the stack is where it \
                 should be, since what is popped behind that word comes to the frame of #{} at {iret_pops:08x}; the word was \
                 overwritten after it had been saved",
                self.register, self.word.address, self.word.value, live.sequence, self.register, live.sequence
            ))
            .advise(
                "look at who wrote there: a stack above that has grown down over this one, of a program or of the kernel, or a \
                 wrong pointer",
            )
        })
    }

    /// Where the IRET that comes behind this POP in a straight line pops its frame.
    fn frame_popped_behind(&self, fault: &Fault, aftermath: &Aftermath<'_>) -> Option<u32> {
        const INSTRUCTIONS: usize = 24;
        let (mut at, mut esp) = (fault.address(), fault.stack_pointer());
        for _ in 0..INSTRUCTIONS {
            let one = valid_32(&aftermath.code(&fault.after, at), at)?;
            match one.mnemonic() {
                Mnemonic::Iretd => return Some(fault.after.ss().base.wrapping_add(esp)),
                Mnemonic::Add if one.op0_register() == Register::ESP => {
                    esp = esp.wrapping_add(one.immediate(1) as u32);
                }
                Mnemonic::Jmp if one.is_jmp_short_or_near() => {
                    at = one.near_branch32();
                    continue;
                }
                _ if one.flow_control() != FlowControl::Next => return None,
                _ if one.op0_register() == Register::ESP => return None,
                _ => esp = esp.wrapping_add_signed(one.stack_pointer_increment()),
            }
            at = one.next_ip32();
        }
        None
    }

    /// The frame was pushed some words beside the place that the last return popped one from: by ESP0.
    fn comes_of_esp0(&self, fault: &Fault, history: &History) -> Option<Explained> {
        const NEAR: i32 = 16;
        let pushed = history.live().rev().find(|live| live.sequence + 1 == fault.sequence)?;
        let popped = history.popped_last().filter(|_| pushed.from_outer_ring())?;
        let off = pushed.popped_from().wrapping_sub(popped) as i32;
        let odd = self.word.value != 0 && fault.stack[1] == Some(self.word.value);
        (odd && off != 0 && off.abs() <= NEAR && off % 4 == 0).then(|| {
            let size = pushed.frame.end().wrapping_sub(pushed.popped_from());
            let (too, way) = if off > 0 { ("high", "lower") } else { ("low", "higher") };
            Explained::because(format!(
                "the word popped into {:?} is {:08x}; #{} pushed its frame at {:08x}, and the last return before had popped \
                 one from {popped:08x}: if the kernel pops each from there, ESP0 is {} bytes too {too}",
                self.register,
                self.word.value,
                pushed.sequence,
                pushed.popped_from(),
                off.abs(),
            ))
            .advise(format!(
                "set TSS.ESP0 to {:08x}, {} bytes {way}",
                popped.wrapping_add(size),
                off.abs()
            ))
        })
    }

    /// It is the vector's number: what a stub pushes for its function, and not what it has saved.
    fn is_a_vector(&self, fault: &Fault, history: &History) -> Option<Explained> {
        let (live, was) = self.saved_by(fault, history)?;
        let register = format!("{:?}", self.register);
        (self.word.value == u32::from(live.vector.0)).then(|| {
            Explained::because(format!(
                "the word popped into {register} at {:08x} is {:04x}, the vector of #{}, which interrupted {register} \
                 {was:04x}: the word was overwritten after it had been saved, or another one is popped",
                self.word.address, self.word.value, live.sequence
            ))
            .advise(
                "if the handler in C takes the registers by value (`void handler(struct regs r)`), the compiler may \
                 overwrite them: give it their address (`push esp` before the call, `void handler(struct regs *r)`)",
            )
        })
    }
}
