//! A task switch by hardware: a far jump to a task-state segment.
//!
//! The processor stores the registers of the task that runs in its TSS, loads those of the new one,
//! and TR names the new TSS (SDM vol. 3A, "Task switching"). No gate is involved and nothing is
//! pushed. It is captured in two parts: in front of the jump, and at the next exit, when it is done.

use super::fault::Ram;
use super::{Frame, InnerStack};
use crate::instruction::decode_32;
use crate::instruction::operands::register_value;
use crate::machine::{LinearMemory, Machine};
use crate::probe::Probes;
use ia32::{
    Descriptor, DescriptorKind, Eflags, FarTransfer, FrameShape, Operation, Selector, State,
    Vector, attempt,
};
use iced_x86::{Code, Instruction, OpKind};

/// The 26 words of a 32-bit TSS (SDM vol. 3A, "32-bit task-state segment").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TssWords(pub [u32; 26]);

/// Indices into [`TssWords`].
#[expect(missing_docs, reason = "they are what they are called")]
impl TssWords {
    pub const BACKLINK: usize = 0;
    pub const ESP0: usize = 1;
    pub const SS0: usize = 2;
    pub const CR3: usize = 7;
    pub const EIP: usize = 8;
    pub const EFLAGS: usize = 9;
    pub const EAX: usize = 10;
    pub const ESP: usize = 14;
    pub const ES: usize = 18;
    pub const CS: usize = 19;
    pub const SS: usize = 20;
    pub const DS: usize = 21;
    pub const FS: usize = 22;
    pub const GS: usize = 23;
    pub const LDT: usize = 24;

    pub(crate) fn read(linear: &LinearMemory<'_>, address: u32) -> Option<Self> {
        let mut words = [0; 26];
        for (word, at) in words.iter_mut().zip((address..).step_by(4)) {
            *word = linear.read_u32(at)?;
        }
        Some(TssWords(words))
    }

    /// The word at `index`, as a selector.
    pub fn selector(&self, index: usize) -> Selector {
        Selector(self.0[index] as u16)
    }

    /// SS0:ESP0.
    pub fn inner_stack(&self) -> InnerStack {
        InnerStack { ss: self.0[Self::SS0] as u16, esp: self.0[Self::ESP0] }
    }
}

/// What switches tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchCause {
    /// A far jump to a TSS.
    Jump,
    /// An event whose gate is a task gate.
    Gate {
        /// Its vector.
        vector: Vector,
        /// The error code on the new task's stack, if there is one.
        error_code: Option<u32>,
        /// `int n` with this vector stands right before what was interrupted.
        by_int: bool,
    },
    /// An IRET with NT set, back by the link of the current TSS.
    Return,
}

/// A switch from one task to another.
///
/// That by a far jump or an IRET is seen in front of it and at the next exit. One by a task gate ([`SwitchCause::Gate`]) is seen
/// where the new task goes on: what is said of the time in front of it is what the old TSS holds.
#[derive(Clone, Debug)]
pub struct TaskSwitch {
    /// What has switched.
    pub cause: SwitchCause,
    /// The number of the last entry before it.
    pub after_sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The state in front of the jump, or of the no-op before it.
    pub before: State,
    /// EIP behind the jump: what the old task goes on with.
    pub next_eip: u32,
    /// The selector that the jump names.
    pub selector: Selector,
    /// The old task's TSS in front of the jump.
    pub old: TssWords,
    /// The new task's TSS in front of the jump: what is loaded.
    pub new: TssWords,
    /// Linear address of the new task's TSS.
    pub new_tss: u32,
    /// Base of the new task's code segment, if its LDT can be read.
    pub code_base: Option<u32>,
    /// Base of the new task's stack segment.
    pub stack_base: Option<u32>,
    /// What lies at the top of the new task's kernel stack, as a frame of five words.
    pub kernel_stack: Frame,
    /// The old task's TSS behind the jump.
    pub stored: TssWords,
    /// TR at the next exit.
    pub tr: Selector,
    /// The whole state there.
    pub after: State,
}

impl TaskSwitch {
    /// The privilege level that the new task goes on at.
    pub fn ring(&self) -> u8 {
        self.new.selector(TssWords::CS).rpl()
    }

    /// Linear address of the new task's stack pointer, its base taken as 0 where it is not known.
    pub fn stack_address(&self) -> u32 {
        self.stack_base.unwrap_or(0).wrapping_add(self.new.0[TssWords::ESP])
    }
}

/// A switch that is about to happen.
#[derive(Clone, Debug)]
pub(crate) struct PendingSwitch {
    switch: Box<TaskSwitch>,
    old_tss: u32,
    /// Linear addresses of the no-op and the jump: while EIP is there, it has not happened.
    at: [u32; 2],
}

/// Whether an IRET in `state` goes back to another task, which a task gate or a CALL has left: NT is set, and the current
/// TSS links to one that is busy (SDM vol. 3A, "Task Linking"). It pops nothing, and what comes next comes from there.
pub(crate) fn returns_to_a_task(machine: &Machine, state: &State) -> bool {
    if !state.eflags.contains(Eflags::NT) || !state.protected() || state.virtual_8086() {
        return false;
    }
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let Some(link) = linear.read_u32(state.tr.base) else { return false };
    let link = linear.descriptor(state, Selector(link as u16));
    link.is_some_and(|tss| matches!(tss.kind(), DescriptorKind::Tss { busy: true, .. }))
}

/// The switch that the far jump at `jump` is about to do, the vCPU standing at it or at the no-op
/// before it with `state`. None if it leads to no 32-bit TSS, or if the model says that it faults: then an exception
/// comes, of the old task or of the new one, and no task has been switched to.
pub(crate) fn capture_switch(
    machine: &Machine,
    probes: &Probes,
    jump: u32,
    state: State,
    after_sequence: u64,
    time: u64,
) -> Option<PendingSwitch> {
    let linear = LinearMemory { memory: machine.memory(), paging: (&state).into() };
    let mut code = [0; 15];
    let count = probes.read_code(&linear, jump, &mut code);
    let eip = jump.wrapping_sub(state.cs().base);
    let instruction = decode_32(&code[..count], eip);
    let selector = far_selector(&instruction, &state, &linear)?;
    let descriptor = linear.descriptor(&state, selector)?;
    if !matches!(descriptor.kind(), DescriptorKind::Tss { wide: true, .. }) {
        return None;
    }
    let jumping = State { eip, ..state };
    let far = FarTransfer { call: false, selector: selector.0, length: instruction.len() as u8 };
    let outcome = attempt(&jumping, &Ram(linear.memory), Operation::Far(far), &machine.processor());
    if outcome.fault().is_some() {
        return None;
    }
    PendingSwitch::new(
        &linear,
        SwitchCause::Jump,
        state,
        (selector, jump),
        eip.wrapping_add(instruction.len() as u32),
        (after_sequence, time),
    )
}

/// What the selectors of a TSS mean.
pub(super) struct Bases {
    /// Base of its code segment.
    pub(super) code: Option<u32>,
    /// Base of its stack segment.
    pub(super) stack: Option<u32>,
    /// What lies at the top of its kernel stack, as a frame of five words.
    pub(super) kernel_stack: Frame,
}

impl Bases {
    /// Those of `new`, with the GDT of `state`.
    pub(super) fn of(linear: &LinearMemory<'_>, state: &State, new: &TssWords) -> Self {
        // The new LDT is found by its descriptor in the GDT; what a selector means then depends on it.
        let mut later = *state;
        let ldt = linear.descriptor(state, new.selector(TssWords::LDT));
        later.ldtr = ldt.map(|ldt| ldt.segment(new.0[TssWords::LDT] as u16)).unwrap_or_default();
        let base =
            |index: usize| linear.descriptor(&later, new.selector(index)).map(Descriptor::base);
        let top = linear
            .descriptor(state, Selector(new.inner_stack().ss))
            .map_or(0, Descriptor::base)
            .wrapping_add(new.inner_stack().esp);
        let shape = FrameShape {
            changes_stack: true,
            from_virtual_8086: false,
            error_code: false,
            word_size: 4,
        };
        Bases {
            code: base(TssWords::CS),
            stack: base(TssWords::SS),
            kernel_stack: Frame::read(linear, top.wrapping_sub(shape.size()), shape),
        }
    }
}

impl PendingSwitch {
    /// The switch to the TSS that a selector names, by the instruction at a linear address, the vCPU standing in front of it in
    /// `state`; none if one of both is no 32-bit TSS that can be read.
    pub(super) fn new(
        linear: &LinearMemory<'_>,
        cause: SwitchCause,
        state: State,
        (selector, instruction): (Selector, u32),
        next_eip: u32,
        (after_sequence, time): (u64, u64),
    ) -> Option<Self> {
        let descriptor = linear.descriptor(&state, selector)?;
        if !matches!(descriptor.kind(), DescriptorKind::Tss { wide: true, .. }) {
            return None;
        }
        let (old_tss, new_tss) = (state.tr.base, descriptor.base());
        let (old, new) = (TssWords::read(linear, old_tss)?, TssWords::read(linear, new_tss)?);
        let bases = Bases::of(linear, &state, &new);
        let switch = Box::new(TaskSwitch {
            cause,
            after_sequence,
            time,
            before: state,
            next_eip,
            selector,
            old,
            new,
            new_tss,
            code_base: bases.code,
            stack_base: bases.stack,
            kernel_stack: bases.kernel_stack,
            stored: old,
            tr: state.tr.selector(),
            after: state,
        });
        Some(PendingSwitch { switch, old_tss, at: [state.instruction_address(), instruction] })
    }

    /// TR of the task that is left, and the linear address at which that goes on later.
    pub(crate) fn leaves(&self) -> (Selector, u32) {
        let before = &self.switch.before;
        (before.tr.selector(), before.cs().base.wrapping_add(self.switch.next_eip))
    }

    /// Linear address at which the new task goes on, if that is in ring 0 and a far jump leads there.
    pub(crate) fn goes_on_in_ring_0(&self) -> Option<u32> {
        let jumps = self.switch.cause == SwitchCause::Jump;
        let base = self.switch.code_base.filter(|_| jumps && self.switch.ring() == 0)?;
        Some(base.wrapping_add(self.switch.new.0[TssWords::EIP]))
    }

    /// The switch, now that the vCPU is in `state`; or itself, if it has not happened yet.
    pub(crate) fn complete(mut self, machine: &Machine, state: &State) -> Result<TaskSwitch, Self> {
        let still = state.tr.selector() == self.switch.tr;
        if still && self.at.contains(&state.instruction_address()) {
            return Err(self);
        }
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        if let Some(stored) = TssWords::read(&linear, self.old_tss) {
            self.switch.stored = stored;
        }
        // Back in the task that an IRET has left: it has been entered by its gate anew meanwhile, which says nothing of the IRET.
        let again = still && self.switch.cause == SwitchCause::Return;
        self.switch.tr = if again { self.switch.selector } else { state.tr.selector() };
        self.switch.after = *state;
        Ok(*self.switch)
    }
}

/// The selector that a far jump leads to, be it in the instruction or in memory.
fn far_selector(
    instruction: &Instruction,
    state: &State,
    linear: &LinearMemory<'_>,
) -> Option<Selector> {
    match instruction.code() {
        Code::Jmp_ptr1632 => Some(Selector(instruction.far_branch_selector())),
        Code::Jmp_m1632 if instruction.op0_kind() == OpKind::Memory => {
            let address = instruction.virtual_address(0, 0, |register, _, _| {
                register_value(state, register).map(u64::from)
            })?;
            linear.read_u16((address as u32).wrapping_add(4)).map(Selector)
        }
        _ => None,
    }
}
