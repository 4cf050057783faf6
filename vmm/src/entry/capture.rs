//! From a stop to a value.

use super::event::{CodeBytes, Kind, classify, linear_eip};
use super::{Entry, Frame, InnerStack, Origin, OriginSource, Return};
use crate::machine::{LinearMemory, Machine};
use crate::probe::{Idt, Iret, Probes};
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
    let linear = LinearMemory { memory: &machine.memory, paging: (&state).into() };
    let (vector, gate) = choose(vectors, probes.idt(), &linear, &state, &scene)?;
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
    let mut shape = FrameShape {
        changes_stack: before
            .as_ref()
            .map(|before| before.cpl())
            .or(scene.ring)
            .is_some_and(|ring| ring > state.cpl()),
        from_virtual_8086: false,
        error_code,
        word_size,
    };
    let mut frame = Frame::read(&linear, address, shape);
    // A 16-bit frame has lost VM.
    let pushed_vm = word_size == 4
        && frame.get(Word::Eflags).is_some_and(|eflags| Eflags(eflags).contains(Eflags::VM));
    let origin = match (&before, scene.ring) {
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
    } else {
        classify(vector, &gate, origin.ring, &code)
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
        exact: None,
        ldt_stack,
    })
}

/// The return that a stop before `iret` shows. `state` is that of the stop, `after_sequence` the number
/// of the last entry, `time` that of the deterministic clock.
#[inline]
pub fn capture_return(
    machine: &Machine,
    iret: &Iret,
    state: State,
    after_sequence: u64,
    time: u64,
) -> Return {
    let linear = LinearMemory { memory: &machine.memory, paging: (&state).into() };
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

/// The vector that was delivered, of those whose gates lead to the same place.
fn choose(
    vectors: &[u8],
    idt: &Idt,
    linear: &LinearMemory<'_>,
    state: &State,
    scene: &Scene,
) -> Option<(Vector, Gate)> {
    let with_gate = |vector: u8| idt.gate(vector).map(|gate| (Vector(vector), gate));
    if let [only] = vectors {
        return with_gate(*only);
    }
    if let Some((injected, _)) = &scene.injected
        && vectors.contains(&injected.0)
    {
        return with_gate(injected.0);
    }
    // An INT n behind the pushed EIP names its vector.
    let eip = linear.read_u32(state.stack_address())?;
    let mut bytes = [0; 2];
    if linear.read(eip.wrapping_sub(2), &mut bytes).is_some()
        && bytes[0] == 0xcd
        && vectors.contains(&bytes[1])
    {
        return with_gate(bytes[1]);
    }
    vectors.iter().find_map(|vector| with_gate(*vector))
}

/// SS0:ESP0 of the current TSS.
#[inline]
fn inner_stack(linear: &LinearMemory<'_>, state: &State) -> Option<InnerStack> {
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
