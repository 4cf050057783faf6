use crate::check::way_back::{Lack, WayBack};
use crate::check::{Finding, Findings, History, LiveFrame, Pair, Subject};
use crate::entry::{Frame, Kind, Return};
use ia32::{TssWidth, Word};

/// Who leaves ring 0 can come back: TR holds a TSS, SS0 a segment that ring 0 may write, and ESP0 lies behind
/// memory that takes the words.
///
/// SDM vol. 3A, "Stack switching" and "Task-state segment". Judged in front of the return, since nobody
/// changes any of it while the outer ring runs. Where that ring is entered with IF = 0, whether an event
/// comes is up to it: a note then.
#[inline]
pub(crate) fn ring_0_can_be_entered_again(
    returning: &Return,
    pair: Option<Pair<'_>>,
    history: &History,
    findings: &mut Findings,
) {
    let Some(way) = &history.glance().way_back else { return };
    if let Lack::TaskRegister { unloaded: None } = way.lack {
        // Nobody has thought of another ring: it is not meant.
        if let Some(pushed) = pair.and_then(frame_of_ring_0) {
            findings.add(not_meant(returning, pushed, history));
            return;
        }
        if returning.ring() != 3 {
            return;
        }
    }
    // A frame of ring 0 that was overwritten: what its CS says is not meant.
    if findings.has("return_frame") && pair.and_then(frame_of_ring_0).is_some() {
        return;
    }
    findings.add(finding(returning, way));
}

/// The frame that an interrupt of ring 0 has pushed where this one is popped.
fn frame_of_ring_0(pair: Pair<'_>) -> Option<&LiveFrame> {
    let Pair { pushed, in_place, .. } = pair;
    let external = matches!(pushed.kind, Kind::External | Kind::Nmi);
    (in_place && external && !pushed.from_outer_ring()).then_some(pushed)
}

#[cold]
fn not_meant(returning: &Return, pushed: &LiveFrame, history: &History) -> Finding {
    let words = |frame: &Frame| {
        let of = |word| frame.get(word).unwrap_or(0);
        format!(
            "EIP {:08x}  CS {:04x}  EFLAGS {:08x}",
            of(Word::Eip),
            of(Word::Cs),
            of(Word::Eflags)
        )
    };
    let first = history.objects().lowest().filter(|first| pushed.frame.address < *first);
    let below = first.map_or(String::new(), |first| {
        format!(
            "; they lie below the kernel, which begins at {first:08x}: its stack has grown over it"
        )
    });
    let cs = returning.frame.get(Word::Cs).unwrap_or(0);
    Finding::new(
        "way_back",
        Subject::Kernel,
        format!(
            "the IRET goes to ring {}, by a frame that #{} has pushed in ring 0",
            returning.ring(),
            pushed.sequence
        ),
        words(&pushed.frame),
        words(&returning.frame),
    )
    .because(format!(
        "the words at {:08x} were overwritten while the handler ran{below}; there is no TSS, so ring {} is not meant",
        pushed.frame.address,
        returning.ring()
    ))
    .advise("give the stack more room, or make large arrays static; else look for a wrong pointer")
    .written_in(&pushed.frame, Word::Cs, cs)
}

/// Why a TSS of the 80286 gives no stack to a kernel of 32 bits.
pub(crate) fn narrow_tss(kind: u8) -> String {
    format!(
        "the descriptor of the TSS has type {kind}, which is a TSS of 16 bits: there SP0 stands at offset 2, and SS0 at 4, \
         where one of 32 bits has ESP0"
    )
}

/// What to do about it.
pub(crate) const NARROW_ADVICE: &str =
    "give the descriptor type 9, a TSS of 32 bits: access byte 89";

#[cold]
fn finding(returning: &Return, way: &WayBack) -> Finding {
    let tr = &returning.state.tr;
    let esp0 = way.stack.map_or(0, |stack| stack.esp);
    let tss = || {
        format!(
            "TR {:04x}: TSS at {:08x}, limit {:x}{}",
            tr.selector,
            tr.base,
            tr.limit,
            way.stack.map_or(String::new(), |stack| format!(
                ", SS0:ESP0 {:04x}:{:08x}",
                stack.ss, stack.esp
            ))
        )
    };
    const ADVICE: &str = "store SS0 (the kernel's data selector) and ESP0 (the address behind the last byte \
                          of a kernel stack) in the TSS before ring 3 is entered";
    let is_narrow = TssWidth::from_type(tr.ty()) == Some(TssWidth::Bits16);
    let (got, reason, advice) = match &way.lack {
        Lack::Segment { .. } | Lack::Page { .. } | Lack::NoRam { .. } if is_narrow => {
            (tss(), narrow_tss(tr.ty()), NARROW_ADVICE.into())
        }
        Lack::TaskRegister { unloaded: Some(index) } => (
            "TR 0000".to_owned(),
            format!(
                "TR is 0: there is no TSS to take SS0:ESP0 from; GDT entry {index} holds one that is not \
                 loaded"
            ),
            format!("load it before ring 3 is entered: `mov ax, {:#04x}; ltr ax`", index * 8),
        ),
        Lack::TaskRegister { unloaded: None } => (
            "TR 0000".to_owned(),
            "TR is 0: there is no TSS to take SS0:ESP0 from, and no descriptor of one in the GDT".into(),
            "make a TSS with SS0 and ESP0, a descriptor of it, and load TR".into(),
        ),
        Lack::Limit => (
            tss(),
            "the TSS ends before SS0".into(),
            "the limit of a TSS descriptor is the size of the TSS less 1: 0x67".into(),
        ),
        Lack::Tss => (
            tss(),
            "the TSS lies where nothing is mapped, or where there is no RAM".into(),
            "look at the base in the TSS descriptor: its 32 bits stand in bytes 2, 3, 4 and 7".into(),
        ),
        Lack::Segment { low: Some(low), .. } => (tss(), low.reason(), low.advice().into()),
        Lack::Segment { selector, descriptor, low: None } => (
            tss(),
            match descriptor {
                _ if selector & 0xfffc == 0 => {
                    "SS0 is 0: it was not stored, or the TSS lies elsewhere than its descriptor says".into()
                }
                Some(one) if selector & 3 != 0 => format!(
                    "SS0 is {selector:04x}: its RPL is not 0{}",
                    if one.dpl() == 3 { ", and that is a segment of ring 3" } else { "" }
                ),
                Some(_) => format!(
                    "SS0 is {selector:04x}, which is no writable data segment of DPL 0 that is present"
                ),
                None => format!("SS0 is {selector:04x}, which lies beyond the table's limit"),
            },
            ADVICE.into(),
        ),
        Lack::Page { address, sentence, above } => (
            tss(),
            format!(
                "no frame can be pushed at {address:08x}: {sentence}{}",
                if *above {
                    format!("; the page from {esp0:08x} on is mapped, as if ESP0 were the start of the stack")
                } else {
                    String::new()
                }
            ),
            if esp0 == 0 {
                ADVICE.into()
            } else if *above {
                "if the stack begins there, add its size to ESP0, which has to be its end; else map its pages, writable, in \
                 the page directory of each task"
                    .into()
            } else {
                "map the kernel stack's pages, writable, in the page directory of each task".into()
            },
        ),
        Lack::NoRam { address } => (
            tss(),
            format!("the words will be pushed to {address:08x} and below, where there is no RAM"),
            ADVICE.into(),
        ),
    };
    let finding = Finding::new(
        "way_back",
        Subject::Kernel,
        format!(
            "ring {} is entered, and the next interrupt or `int` there finds no stack of ring 0",
            returning.ring()
        ),
        "a TSS in TR, with SS0:ESP0 behind memory that can be written",
        got,
    )
    .because(reason)
    .advise(advice);
    if way.open { finding } else { finding.as_note() }
}
