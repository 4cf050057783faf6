//! From a stop to a value.

use super::event::{CodeBytes, Kind, classify, linear_eip};
use super::vector::{Delivered, choose};
use super::{Entry, Frame, InnerStack, Origin, OriginSource, Return};
use crate::instruction::{LONGEST, iret};
use crate::machine::{LinearMemory, Machine};
use crate::probe::{IretSite, Probes};
use ia32::{Eflags, FrameShape, Gate, Selector, State, Table, TssWidth, Vector, Word};

/// What is known of a stop beside the stop itself.
#[derive(Debug, Default)]
pub struct Scene {
    /// Number of the entry.
    pub sequence: u64,
    /// Instructions on the deterministic clock.
    pub time: u64,
    /// The event that was injected at the boundary before, and the state there.
    pub injected: Option<(Vector, Box<State>)>,
    /// The state at the boundary before, where it was seen.
    pub before: Option<Box<State>>,
    /// The privilege level that the last return went to, if nothing has been entered since.
    pub ring: Option<u8>,
    /// TR was another one at the boundary before.
    pub within_switch: bool,
}

/// The entry that a stop at the target of the gates of `vectors` shows; none if no gate leads there
/// any more.
#[inline]
pub fn capture_entry(
    machine: &Machine,
    probes: &Probes,
    vectors: &[u8],
    state: State,
    scene: Scene,
) -> Option<Entry> {
    let linear = LinearMemory { memory: machine.memory(), paging: (&state).into() };
    let injected = scene.injected.as_ref().map(|(vector, _)| *vector);
    let Delivered { vector, gate, unexplained } =
        choose(vectors, probes, &linear, &state, injected)?;
    let external = scene.injected.as_ref().is_some_and(|(injected, _)| *injected == vector);
    let before = scene.injected.map(|(_, before)| before).or(scene.before);
    let word_size = gate.kind.word_size();
    let address = state.stack_address();
    let inner_stack = inner_stack(&linear, &state);

    // Which ring was left decides how many words there are. The state before is the best witness,
    // then where the last return went; the pushed CS is asked last, for it is under test itself.
    let error_code = vector.has_error_code()
        && !external
        && !pushed_by_software(probes, &linear, &state, address, vector, &gate);
    let came_from = scene.ring.filter(|_| {
        before.is_some()
            || external
            || !(refuses_iret(probes, &linear, &state, address, error_code, word_size)
                || is_nested(&linear, &state, inner_stack, error_code, word_size))
    });
    let mut shape = FrameShape {
        changes_stack: before
            .as_ref()
            .map(|before| before.cpl())
            .or(came_from)
            .is_some_and(|ring| ring > state.cpl()),
        from_virtual_8086: false,
        error_code,
        word_size,
    };
    let mut frame = Frame::read(&linear, address, shape);
    // A 16-bit frame has lost VM.
    let pushed_vm = word_size == 4
        && frame.get(Word::Eflags).is_some_and(|eflags| Eflags(eflags).contains(Eflags::VM));
    let origin = match (&before, came_from) {
        (Some(before), _) => Origin {
            ring: before.cpl(),
            virtual_8086: before.virtual_8086(),
            source: OriginSource::Before,
        },
        (None, Some(ring)) if ring > state.cpl() => {
            Origin { ring, virtual_8086: pushed_vm, source: OriginSource::Return }
        }
        _ => {
            let cs = Selector(frame.selector(Word::Cs).unwrap_or(0));
            let ring = if pushed_vm { 3 } else { cs.rpl() };
            Origin { ring, virtual_8086: pushed_vm, source: OriginSource::Frame }
        }
    };
    let changes_stack = origin.ring > state.cpl();
    if changes_stack != shape.changes_stack || origin.virtual_8086 {
        shape.changes_stack = changes_stack;
        shape.from_virtual_8086 = origin.virtual_8086;
        frame = Frame::read(&linear, address, shape);
    }
    let mut code =
        CodeBytes { linear: linear_eip(&linear, &state, &frame), ..CodeBytes::default() };
    if let Some(eip) = code.linear.filter(|_| !external) {
        let mut bytes = [0; 2];
        if probes.read_code(&linear, eip.wrapping_sub(2), &mut bytes) == 2 {
            code.behind = Some(bytes);
        }
    }
    let kind = if external {
        if vector == Vector::NMI { Kind::Nmi } else { Kind::External }
    } else if unexplained {
        Kind::Unexplained
    } else {
        classify(vector, &gate, origin.ring, &code, error_code)
    };
    if let (Kind::Fault | Kind::Trap | Kind::Abort | Kind::Unexplained, Some(eip)) =
        (kind, code.linear)
    {
        code.length = probes.read_code(&linear, eip, &mut code.at) as u8;
    }
    let ldt_stack = match (frame.selector(Word::Ss).map(Selector), frame.get(Word::Esp)) {
        (Some(ss), Some(esp)) if ss.table() == Table::Ldt && !origin.virtual_8086 => {
            linear.descriptor(&state, ss).map(|descriptor| descriptor.base().wrapping_add(esp))
        }
        _ => None,
    };
    Some(Entry {
        sequence: scene.sequence,
        time: scene.time,
        vector,
        kind,
        origin,
        before,
        after: state,
        gate,
        inner_stack,
        frame,
        code,
        within_switch: scene.within_switch,
        expected: None,
        exact: None,
        ldt_stack,
    })
}

/// The return that a stop before `iret` shows. `state` is that of the stop, `after_sequence` the number
/// of the last entry, `time` that of the deterministic clock.
#[inline]
pub fn capture_return(
    machine: &Machine,
    iret: &IretSite,
    mut state: State,
    after_sequence: u64,
    time: u64,
) -> Return {
    // The guest may have been stopped at a no-op that the kernel has left in front of it: that changes nothing but EIP.
    state.eip = iret.address.wrapping_sub(state.cs().base);
    let linear = LinearMemory { memory: machine.memory(), paging: (&state).into() };
    let address = state.stack_address();
    // To an outer ring, most often.
    let mut shape = FrameShape {
        changes_stack: true,
        from_virtual_8086: false,
        error_code: false,
        word_size: iret.word_size,
    };
    let mut frame = Frame::read(&linear, address, shape);
    let eflags = Eflags(frame.get(Word::Eflags).unwrap_or(0));
    let cs = Selector(frame.selector(Word::Cs).unwrap_or(0));
    let virtual_8086 = iret.word_size == 4 && eflags.contains(Eflags::VM) && state.cpl() == 0;
    if virtual_8086 || cs.rpl() <= state.cpl() {
        shape.from_virtual_8086 = virtual_8086;
        shape.changes_stack = virtual_8086;
        frame = Frame::read(&linear, address, shape);
    }
    Return { after_sequence, time, state, frame }
}

/// Whether an event has brought the processor to a place that is the target of the gates of `vectors` and
/// an IRET as well: the default handler that does nothing, and the end that other handlers share. Who
/// gets there by falling through has not been interrupted again.
pub(crate) fn event_arrived(
    probes: &Probes,
    machine: &Machine,
    vectors: &[u8],
    state: &State,
    scene: &Scene,
) -> bool {
    if scene.injected.is_some() {
        return true;
    }
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let pushed = match &scene.before {
        Some(before) if before.cpl() > state.cpl() => return true,
        // From the same ring three words have been pushed, or four.
        Some(before) => {
            let bytes = before.general.esp.wrapping_sub(state.general.esp);
            return matches!(bytes, 12 | 16) && before.eip != state.eip;
        }
        None if scene.ring.is_some_and(|ring| ring > state.cpl()) => return true,
        None => state.stack_address(),
    };
    // In the kernel, and nothing was injected: INT n leads there, if anything does.
    let (Some(eip), Some(cs)) = (linear.read_u32(pushed), linear.read_u32(pushed.wrapping_add(4)))
    else {
        return false;
    };
    let mut bytes = [0; 2];
    Selector(cs as u16).rpl() == state.cpl()
        && probes.read_code(&linear, state.cs().base.wrapping_add(eip).wrapping_sub(2), &mut bytes)
            == 2
        && bytes[0] == 0xcd
        && vectors.contains(&bytes[1])
}

/// Whether the words at `address` are those of a fault at an IRET of this very ring: the return that was
/// to leave it has not happened. From an outer ring the processor pushes that ring's CS.
fn refuses_iret(
    probes: &Probes,
    linear: &LinearMemory<'_>,
    state: &State,
    address: u32,
    error_code: bool,
    word_size: u32,
) -> bool {
    if !error_code {
        return false;
    }
    let shape =
        FrameShape { changes_stack: false, from_virtual_8086: false, error_code, word_size };
    let frame = Frame::read(linear, address, shape);
    if frame.selector(Word::Cs).is_none_or(|cs| Selector(cs).rpl() != state.cpl()) {
        return false;
    }
    let Some(eip) = linear_eip(linear, state, &frame) else { return false };
    let mut code = [0; LONGEST];
    let count = probes.read_code(linear, eip, &mut code);
    iret(&code[..count], state).is_some()
}

/// Whether what lies on the stack speaks for an event in this very ring: the kernel had been come back to in a way that
/// is not watched (a call gate, SYSENTER where KVM does not tell of its registers). From an outer ring the frame begins
/// at SS0:ESP0, and SS has that ring's RPL: what the kernel has pushed itself may end at the same place by chance.
/// A processor is not believed to err in CS and in one of these at once.
fn is_nested(
    linear: &LinearMemory<'_>,
    state: &State,
    inner_stack: Option<InnerStack>,
    error_code: bool,
    word_size: u32,
) -> bool {
    let Some(stack) = inner_stack else { return false };
    // Most often it is the outer ring's, and one word tells.
    let skip = if error_code { 2 } else { 1 };
    let cs = linear.read_u16(state.stack_address().wrapping_add(skip * word_size));
    if cs != Some(state.cs().selector) {
        return false;
    }
    let shape = FrameShape { changes_stack: true, from_virtual_8086: false, error_code, word_size };
    let frame = Frame::read(linear, state.stack_address(), shape);
    let at_the_top = stack.esp.wrapping_sub(shape.size()) == state.stack_pointer();
    let has_outer_ss = frame.selector(Word::Ss).is_some_and(|ss| Selector(ss).rpl() > state.cpl());
    !(at_the_top && has_outer_ss)
}

/// SS0:ESP0 of the current TSS.
#[inline]
pub(super) fn inner_stack(linear: &LinearMemory<'_>, state: &State) -> Option<InnerStack> {
    let width = TssWidth::from_type(state.tr.ty())?;
    let slot = width.stack_slot(0);
    let base = state.tr.base;
    if slot.segment + 1 > state.tr.limit {
        return None;
    }
    match width {
        TssWidth::Bits32 if base.wrapping_add(slot.pointer) & 0xfff <= 0xff8 => {
            let at = linear.paging.translate(linear.memory, base.wrapping_add(slot.pointer))?;
            let both = linear.memory.read_u64(at)?;
            Some(InnerStack { esp: both as u32, ss: (both >> 32) as u16 })
        }
        TssWidth::Bits32 => Some(InnerStack {
            esp: linear.read_u32(base.wrapping_add(slot.pointer))?,
            ss: linear.read_u32(base.wrapping_add(slot.segment))? as u16,
        }),
        TssWidth::Bits16 => Some(InnerStack {
            esp: u32::from(linear.read_u16(base.wrapping_add(slot.pointer))?),
            ss: linear.read_u16(base.wrapping_add(slot.segment))?,
        }),
    }
}

/// For a vector that comes with an error code as an exception: whether it came from INT n, which
/// pushes none.
fn pushed_by_software(
    probes: &Probes,
    linear: &LinearMemory<'_>,
    state: &State,
    address: u32,
    vector: Vector,
    gate: &Gate,
) -> bool {
    if gate.kind.word_size() != 4 {
        return false;
    }
    // Without an error code the words are EIP, CS; with one they are the code, EIP, CS.
    let word = |index: u32| linear.read_u32(address.wrapping_add(index * 4));
    let (Some(eip), Some(cs)) = (word(0), word(1)) else { return false };
    let Some(descriptor) = linear.descriptor(state, Selector(cs as u16)) else { return false };
    if !matches!(descriptor.kind(), ia32::DescriptorKind::Code { .. }) {
        return false;
    }
    let mut bytes = [0; 2];
    let at = descriptor.base().wrapping_add(eip).wrapping_sub(2);
    probes.read_code(linear, at, &mut bytes) == 2 && bytes == [0xcd, vector.0]
}
