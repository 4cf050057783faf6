//! Which vector was delivered, where the gates of several lead to one place.
//!
//! ```text
//!  esp0 injected it            that one
//!  `int n` stands behind EIP   n
//!  an exception                the one that the interrupted instruction can raise, by its operands, its error
//!                              code, CR2 and the control bits; its error code tells where EIP and CS lie
//!  none fits                   the first; what raised it stays unexplained
//! ```
//! SDM vol. 3A, "Exception and interrupt reference"; for the error code "Error code".

use crate::instruction::operands::register_value;
use crate::instruction::{CR0_EM, CR4_OSFXSR, LONGEST, decode, uses_sse};
use crate::machine::LinearMemory;
use crate::probe::Probes;
use ia32::{DescriptorKind, Eflags, Gate, Selector, State, Vector};
use iced_x86::{CpuidFeature, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

/// CR0.MP, TS, NE and AM.
const MONITOR: u32 = 1 << 1;
const TASK_SWITCHED: u32 = 1 << 3;
const NUMERIC_ERROR: u32 = 1 << 5;
const ALIGNMENT_MASK: u32 = 1 << 18;

/// The error code is of the IDT.
const OF_THE_IDT: u32 = 2;

/// In the order in which they are asked: whose conditions are narrow come first.
const EXCEPTIONS: [Vector; 16] = [
    Vector::UD,
    Vector::DE,
    Vector::BP,
    Vector::OF,
    Vector::BR,
    Vector::DB,
    Vector::NM,
    Vector::MF,
    Vector::XM,
    Vector::PF,
    Vector::AC,
    Vector::NP,
    Vector::SS,
    Vector::TS,
    Vector::DF,
    Vector::GP,
];

/// The vector that was delivered, as far as can be told.
pub(super) struct Delivered {
    pub(super) vector: Vector,
    pub(super) gate: Gate,
    /// Several vectors lead to the handler, and none of them explains what lies on the stack.
    pub(super) unexplained: bool,
}

/// The vector that was delivered, of those whose gates lead to the same place; none if no gate leads there any more.
pub(super) fn choose(
    vectors: &[u8],
    probes: &Probes,
    linear: &LinearMemory<'_>,
    state: &State,
    injected: Option<Vector>,
) -> Option<Delivered> {
    let with_gate = |vector: u8| {
        let gate = probes.idt().gate(vector)?;
        Some(Delivered { vector: Vector(vector), gate, unexplained: false })
    };
    if let [only] = vectors {
        return with_gate(*only);
    }
    if let Some(injected) = injected
        && vectors.contains(&injected.0)
    {
        return with_gate(injected.0);
    }
    let eip = linear.read_u32(state.stack_address())?;
    let mut bytes = [0; 2];
    if linear.read(eip.wrapping_sub(2), &mut bytes).is_some()
        && bytes[0] == 0xcd
        && vectors.contains(&bytes[1])
    {
        return with_gate(bytes[1]);
    }
    let interrupted = [false, true].map(|code| Interrupted::read(probes, linear, state, code));
    let fitting = EXCEPTIONS.into_iter().find(|vector| {
        let interrupted = &interrupted[usize::from(vector.has_error_code())];
        vectors.contains(&vector.0)
            && interrupted.as_ref().is_some_and(|interrupted| interrupted.explains(*vector))
    });
    fitting.and_then(|vector| with_gate(vector.0)).or_else(|| {
        let first = vectors.iter().find_map(|vector| with_gate(*vector))?;
        Some(Delivered { unexplained: true, ..first })
    })
}

/// What was interrupted, as the words on the stack say, with an error code among them or without.
struct Interrupted<'a> {
    probes: &'a Probes,
    linear: &'a LinearMemory<'a>,
    /// The handler's, but for EIP, ESP and EFLAGS, which are those of the interrupted code.
    state: State,
    ring: u8,
    error_code: u32,
    /// Linear address of the instruction.
    at: u32,
    instruction: Instruction,
    /// The byte before it.
    last: Option<u8>,
}

impl<'a> Interrupted<'a> {
    /// None if what would be CS names no code segment.
    fn read(
        probes: &'a Probes,
        linear: &'a LinearMemory<'a>,
        state: &State,
        has_error_code: bool,
    ) -> Option<Self> {
        let top = state.stack_address();
        let skip = if has_error_code { 4 } else { 0 };
        let word = |index: u32| linear.read_u32(top.wrapping_add(skip + index * 4));
        let (eip, cs, eflags) = (word(0)?, Selector(word(1)? as u16), word(2)?);
        let virtual_8086 = Eflags(eflags).contains(Eflags::VM);
        let base = if virtual_8086 {
            u32::from(cs.0) << 4
        } else {
            let code = linear.descriptor(state, cs)?;
            matches!(code.kind(), DescriptorKind::Code { .. }).then(|| code.base())?
        };
        let ring = if virtual_8086 { 3 } else { cs.rpl() };
        let at = base.wrapping_add(eip);
        let mut bytes = [0; LONGEST];
        let count = probes.read_code(linear, at, &mut bytes);
        let mut last = [0; 1];
        let esp = match ring > state.cpl() {
            true => word(3).unwrap_or(0),
            false => top.wrapping_add(skip + 12),
        };
        let mut before = *state;
        before.general.esp = esp;
        before.eflags = Eflags(eflags);
        before.eip = eip;
        Some(Interrupted {
            probes,
            linear,
            state: before,
            ring,
            error_code: if has_error_code { linear.read_u32(top)? } else { 0 },
            at,
            instruction: decode(&bytes[..count], &before),
            last: (probes.read_code(linear, at.wrapping_sub(1), &mut last) == 1).then_some(last[0]),
        })
    }

    /// The instruction can raise this exception, and its error code is one that comes with it.
    fn explains(&self, vector: Vector) -> bool {
        let instruction = &self.instruction;
        match vector {
            Vector::DE => {
                matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam)
            }
            Vector::UD => {
                instruction.is_invalid()
                    || instruction.mnemonic() == Mnemonic::Ud2
                    || self.may_not_use_sse()
            }
            Vector::BP => self.last == Some(0xcc),
            Vector::OF => self.last == Some(0xce),
            Vector::DB => self.last == Some(0xf1) || self.state.eflags.contains(Eflags::TF),
            Vector::BR => instruction.mnemonic() == Mnemonic::Bound,
            Vector::NM => self.has_no_coprocessor(),
            Vector::MF => {
                self.reports_errors()
                    && (instruction.mnemonic() == Mnemonic::Wait
                        || self.uses(&[CpuidFeature::FPU, CpuidFeature::MMX]))
            }
            Vector::XM => {
                !self.may_not_use_sse() && self.uses(&[CpuidFeature::SSE, CpuidFeature::SSE2])
            }
            Vector::PF => {
                self.error_code < 0x20
                    && (self.state.cr2.wrapping_sub(self.at) < LONGEST as u32
                        || !instruction.is_invalid() && self.reaches(self.state.cr2))
            }
            Vector::AC => {
                self.ring == 3
                    && self.error_code == 0
                    && self.state.eflags.contains(Eflags::AC)
                    && self.state.cr0 & ALIGNMENT_MASK != 0
            }
            Vector::NP => self.names_nothing_present() && !self.loads_ss(),
            Vector::SS => {
                self.loads_ss() && self.names_nothing_present()
                    || self.error_code == 0 && self.leaves_its_stack()
            }
            Vector::TS => {
                self.error_code != 0
                    && instruction.mnemonic() == Mnemonic::Iretd
                    && self.state.eflags.contains(Eflags::NT)
            }
            Vector::DF => self.error_code == 0 && self.cannot_have_reached(),
            Vector::GP => self.error_code < 0x1_0000 && !instruction.is_invalid(),
            _ => false,
        }
    }

    fn uses(&self, sets: &[CpuidFeature]) -> bool {
        let features = self.instruction.cpuid_features();
        !self.instruction.is_invalid() && features.iter().any(|feature| sets.contains(feature))
    }

    /// CR0.EM or TS closes the coprocessor to this instruction.
    fn has_no_coprocessor(&self) -> bool {
        let cr0 = self.state.cr0;
        if self.instruction.mnemonic() == Mnemonic::Wait {
            return cr0 & (MONITOR | TASK_SWITCHED) == MONITOR | TASK_SWITCHED;
        }
        self.uses(&[CpuidFeature::FPU]) && cr0 & (CR0_EM | TASK_SWITCHED) != 0
            || self.uses(&[CpuidFeature::MMX, CpuidFeature::SSE, CpuidFeature::SSE2])
                && cr0 & TASK_SWITCHED != 0
    }

    /// CR0.EM is set, or CR4.OSFXSR is not, which closes SSE: #UD.
    fn may_not_use_sse(&self) -> bool {
        let (cr0, cr4) = (self.state.cr0, self.state.cr4);
        (cr0 & CR0_EM != 0 || cr4 & CR4_OSFXSR == 0) && uses_sse(&self.instruction)
    }

    fn reports_errors(&self) -> bool {
        self.state.cr0 & NUMERIC_ERROR != 0 && self.state.cr0 & (CR0_EM | TASK_SWITCHED) == 0
    }

    /// The error code names a descriptor or a gate that is there, and not present.
    fn names_nothing_present(&self) -> bool {
        if self.error_code & !0xffff != 0 || self.error_code & !7 == 0 {
            return false;
        }
        if self.error_code & OF_THE_IDT != 0 {
            let gate = self.probes.idt().gate((self.error_code >> 3) as u8);
            return gate.is_some_and(|gate| !gate.present);
        }
        let selector = Selector(self.error_code as u16);
        self.linear
            .descriptor(&self.state, selector)
            .is_some_and(|descriptor| !descriptor.present() && descriptor.access_byte() != 0)
    }

    fn loads_ss(&self) -> bool {
        self.instruction.mnemonic() == Mnemonic::Lss
            || self.instruction.op0_kind() == OpKind::Register
                && self.instruction.op0_register() == Register::SS
    }

    /// It pushes or pops where SS has no bytes, and the stack is no flat one.
    fn leaves_its_stack(&self) -> bool {
        let stack = self.state.ss();
        self.ring == self.state.cpl()
            && stack.limit != u32::MAX
            && self.state.general.esp.wrapping_sub(4) > stack.limit
    }

    /// CR2 is what it accesses, and no page is there: a page fault came first, and could not be delivered.
    fn cannot_have_reached(&self) -> bool {
        let cr2 = self.state.cr2;
        let its_own = cr2.wrapping_sub(self.at) < LONGEST as u32
            || !self.instruction.is_invalid() && self.reaches(cr2);
        its_own && self.linear.read_u32(cr2).is_none()
    }

    /// One of the instruction's operands holds the byte at `address`, or begins a little before.
    fn reaches(&self, address: u32) -> bool {
        let state = &self.state;
        InstructionInfoFactory::new().info(&self.instruction).used_memory().iter().any(|memory| {
            let at = memory.virtual_address(0, |register, _, _| {
                register_value(state, register).map(u64::from)
            });
            let size = memory.memory_size().size().max(64) as u32;
            at.is_some_and(|at| address.wrapping_sub(at as u32) < size)
        })
    }
}
