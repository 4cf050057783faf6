//! The states that cases begin with, before they change anything.

use super::field::loaded;
use super::layout::{
    CODE_0, CODE_1, CODE_2, CODE_3, DATA_0, DATA_1, DATA_2, DATA_3, DIRECTORY, GDT, GDT_SIZE, IDT,
    LDT_SLOT, SOURCE, SOURCE_ESP_0, SOURCE_ESP_3, STACK_1, TSS_CURRENT,
};
use ia32::{Eflags, General, Segment, State, TableRegister};

/// Where the event meets the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Start {
    #[default]
    Ring0,
    Ring1,
    Ring2,
    Ring3,
    Virtual8086,
}

/// All, with their names.
pub(super) const STARTS: [(&str, Start); 5] = [
    ("ring0", Start::Ring0),
    ("ring1", Start::Ring1),
    ("ring2", Start::Ring2),
    ("ring3", Start::Ring3),
    ("virtual", Start::Virtual8086),
];

impl Start {
    pub(super) fn name(self) -> &'static str {
        STARTS.iter().find(|(_, start)| *start == self).map_or("", |(name, _)| name)
    }

    /// Flat segments, paging off, interrupts open, in a task with an LDT. CS has base 0 here,
    /// although its descriptor leads to the landing area: it may have been changed since.
    pub(super) fn state(self, memory: &[u8]) -> State {
        let (code, data, esp) = match self {
            Start::Ring0 => (CODE_0, DATA_0, SOURCE_ESP_0),
            Start::Ring1 => (CODE_1 | 1, DATA_1 | 1, STACK_1 + 0x400),
            Start::Ring2 => (CODE_2 | 2, DATA_2 | 2, STACK_1 + 0x400),
            Start::Ring3 | Start::Virtual8086 => (CODE_3 | 3, DATA_3 | 3, SOURCE_ESP_3),
        };
        let data = loaded(data, memory);
        let code = Segment { base: 0, ..loaded(code, memory) };
        let mut state = State {
            general: General {
                eax: 0x1111_0000,
                ecx: 0x2222_0001,
                edx: 0x3333_0002,
                ebx: 0x4444_0003,
                esp,
                ebp: 0x5555_0005,
                esi: 0x6666_0006,
                edi: 0x7777_0007,
            },
            eip: SOURCE,
            eflags: Eflags::FIXED | Eflags::IF,
            segments: [data, code, data, data, data, data],
            tr: loaded(TSS_CURRENT, memory),
            ldtr: loaded(LDT_SLOT, memory),
            gdtr: TableRegister { base: GDT, limit: GDT_SIZE - 1 },
            idtr: TableRegister { base: IDT, limit: 0x7ff },
            cr0: 0x11,
            cr3: DIRECTORY,
            ..State::default()
        };
        if self == Start::Virtual8086 {
            state.eflags = state.eflags | Eflags::VM | Eflags::IOPL;
            state.segments =
                [0x0a10, 0x0700, 0x0a00, 0x0a20, 0x0a30, 0x0a40].map(Segment::virtual_8086);
            state.eip = SOURCE - 0x7000;
            state.general.esp = SOURCE_ESP_3 - 0xa000;
        }
        state
    }
}
