//! An entry by SYSENTER: through no gate, and nothing is pushed.
//!
//! SYSENTER loads CS, SS, ESP and EIP out of three model-specific registers and closes interrupts (SDM vol. 2B,
//! "SYSENTER"). It saves nothing: where the program goes on, its own conventions say. SYSEXIT, the way back, takes
//! EIP from EDX and ESP from ECX.

use crate::machine::IA32_SYSENTER_CS;
use ia32::State;

/// What SYSENTER loads: IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SysenterRegisters {
    /// The selector for CS; that for SS is 8 more. 0 makes SYSENTER raise #GP.
    pub cs: u16,
    /// ESP.
    pub esp: u32,
    /// EIP.
    pub eip: u32,
}

impl SysenterRegisters {
    /// Takes a WRMSR in, if it is of one of the three; whether it is.
    pub fn take(&mut self, index: u32, value: u64) -> bool {
        match index.wrapping_sub(IA32_SYSENTER_CS) {
            0 => self.cs = value as u16,
            1 => self.esp = value as u32,
            2 => self.eip = value as u32,
            _ => return false,
        }
        true
    }

    /// Where SYSENTER leads to, if it is allowed. Its code segment is flat.
    pub fn target(&self) -> Option<u32> {
        (self.cs & !3 != 0 && self.eip != 0).then_some(self.eip)
    }

    /// The selector that CS gets.
    pub fn code_selector(&self) -> u16 {
        self.cs & !3
    }

    /// The selector that SS gets.
    pub fn stack_selector(&self) -> u16 {
        self.code_selector().wrapping_add(8)
    }
}

/// One entry into ring 0 by SYSENTER.
#[derive(Clone, Debug)]
pub struct Sysenter {
    /// The number of the last entry through a gate before it.
    pub after_sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The state in front of the SYSENTER, where it was seen: while the deterministic clock steps.
    pub before: Option<Box<State>>,
    /// The state in front of the first instruction of its target.
    pub after: State,
    /// What it loads.
    pub registers: SysenterRegisters,
    /// The target's first instruction pushes something, or calls.
    pub uses_stack: bool,
    /// Physical address that ESP means, if it is mapped.
    pub physical: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_three_registers_are_taken() {
        let mut registers = SysenterRegisters::default();
        assert!(!registers.take(0x173, 1) && !registers.take(0x177, 1));
        assert_eq!(registers, SysenterRegisters::default());
        assert!(registers.take(0x174, 0x63) && registers.take(0x175, 0x1000));
        assert_eq!(registers.target(), None, "it leads nowhere yet");
        assert!(registers.take(0x176, 0xc010_0000));
        assert_eq!(registers.target(), Some(0xc010_0000));
        assert_eq!((registers.code_selector(), registers.stack_selector()), (0x60, 0x68));
    }

    #[test]
    fn without_a_code_segment_it_leads_nowhere() {
        let registers = SysenterRegisters { cs: 3, esp: 0x1000, eip: 0xc010_0000 };
        assert_eq!(registers.target(), None);
    }
}
