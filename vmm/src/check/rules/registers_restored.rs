use crate::check::{Finding, Findings, History, LiveFrame, Pair, Subject};
use crate::entry::{Kind, Return};
use ia32::{Segment, Vector};

/// What an interrupt interrupts goes on with the registers that it had.
///
/// An external interrupt comes between two instructions that know nothing of it, and a page fault that is
/// resolved is repeated: the handler has to put back each general register and each segment register
/// before its IRET (SDM vol. 3A, "Exception- or interrupt-handler procedures": delivery saves EFLAGS, CS
/// and EIP only). Many kernels give each program the same data segments and load those anew, and leave FS and
/// GS alone: of segments it counts that DS and ES can be used as before, and that none has come to name other memory by
/// another selector. Another selector for the same memory is a note; what the same selector names, its descriptor says,
/// and that is the kernel's to change. A system call answers in registers, and a handler that emulates an
/// instruction, skips it or sends the task elsewhere changes EIP, so neither is judged. Broken on purpose by `tests/c`,
/// `SEGMENTS_EXCHANGED`.
#[inline]
pub(crate) fn registers_are_restored(
    returning: &Return,
    pair: Option<Pair<'_>>,
    _: &History,
    findings: &mut Findings,
) {
    let Some(pair) = pair else { return };
    let pushed = pair.pushed;
    let strict = match pushed.kind {
        Kind::External | Kind::Nmi => true,
        Kind::Fault => matches!(pushed.vector, Vector::PF | Vector::NM),
        _ => false,
    };
    if !strict
        || pushed.frame.shape.from_virtual_8086
        || pushed.address_space != returning.state.cr3
        || !pushed.frame.pops_as(&returning.frame)
    {
        return;
    }
    let (was, is) = (pushed.registers.to_array(), returning.state.general.to_array());
    let mut lost: Vec<(&str, u32, u32)> = Vec::new();
    for (index, name) in ia32::General::NAMES.into_iter().enumerate() {
        // ESP is the frame's business.
        if name != "ESP" && was[index] != is[index] {
            lost.push((name, was[index], is[index]));
        }
    }
    let general = !lost.is_empty();
    let [es, _, _, ds, fs, gs] = &returning.state.segments;
    let ring = returning.ring();
    let mut others = false;
    for (index, (name, now)) in
        [("ES", es), ("DS", ds), ("FS", fs), ("GS", gs)].into_iter().enumerate()
    {
        let was = &pushed.segments[index];
        // A register that could not be used before harms nobody by what it holds now.
        if effective(was, ring) <= 3 {
            continue;
        }
        let is = effective(now, ring);
        let other_selector = is > 3 && was.selector != now.selector;
        let other_memory = other_selector && (was.base, was.limit) != (now.base, now.limit);
        if is <= 3 && index < 2 || other_memory {
            lost.push((name, was.selector.into(), now.selector.into()));
        }
        others |= other_selector;
    }
    if !lost.is_empty() {
        findings.add(changed(pushed, &lost, general, returning));
    } else if others && !is_loaded_from_one(returning) {
        findings.add(renamed(pushed, returning));
    }
}

/// The kernel saves one segment register and loads all four from it: where it is interrupted on its way out, some of them are
/// the program's already.
fn is_loaded_from_one(returning: &Return) -> bool {
    let [es, _, _, ds, fs, gs] = &returning.state.segments;
    returning.ring() == 0 && [es, fs, gs].iter().all(|one| one.selector == ds.selector)
}

/// Some segment registers have other selectors, for the same memory.
#[cold]
fn renamed(pushed: &LiveFrame, returning: &Return) -> Finding {
    let [es, _, _, ds, fs, gs] = &returning.state.segments;
    let list = |segments: [&Segment; 4]| {
        ["ES", "DS", "FS", "GS"]
            .into_iter()
            .zip(segments)
            .map(|(name, one)| format!("{name} {:04x}", one.selector))
            .collect::<Vec<_>>()
            .join("  ")
    };
    Finding::new(
        "registers_restored",
        Subject::Kernel,
        format!(
            "{} goes on with other selectors in its segment registers than #{} interrupted",
            if returning.ring() == 0 { "the kernel" } else { "the program" },
            pushed.sequence
        ),
        list(pushed.segments.each_ref()),
        list([es, ds, fs, gs]),
    )
    .because(format!(
        "they name the same memory; the handler at {:08x} puts others back before its IRET at {:08x}, or in another order",
        pushed.handler, returning.state.eip
    ))
    .advise("pop the segment registers in the reverse order of their pushes")
    .as_note()
}

/// The selector that `segment` holds behind an IRET to `ring`, which makes null what that ring may not
/// hold.
fn effective(segment: &Segment, ring: u8) -> u16 {
    let kept = segment.dpl() >= ring || segment.is_conforming();
    if segment.present() && kept { segment.selector } else { 0 }
}

#[cold]
fn changed(
    pushed: &LiveFrame,
    lost: &[(&str, u32, u32)],
    general: bool,
    returning: &Return,
) -> Finding {
    let names: Vec<&str> = lost.iter().map(|(name, ..)| *name).collect();
    let names = match &names[..] {
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
        [] => String::new(),
    };
    let list = |value: fn(&(&str, u32, u32)) -> u32| {
        let words: Vec<String> = lost
            .iter()
            .map(|one| {
                let digits = if one.0.len() == 3 { 8 } else { 4 };
                format!("{} {:0digits$x}", one.0, value(one))
            })
            .collect();
        words.join("  ")
    };
    let many = lost.len() > 1;
    let finding = Finding::new(
        "registers_restored",
        Subject::Kernel,
        format!(
            "{names} {} not what #{} interrupted: {} goes on with other values",
            if many { "are" } else { "is" },
            pushed.sequence,
            if returning.ring() == 0 { "the kernel" } else { "the program" },
        ),
        list(|one| one.1),
        list(|one| one.2),
    )
    .because(format!(
        "the handler at {:08x} does not save {}, or does not put {} back before its IRET at {:08x}",
        pushed.handler,
        if many { "them" } else { "it" },
        if many { "them" } else { "it" },
        returning.state.eip,
    ))
    .advise(if general {
        "save the registers first of all (`pusha`, and the segment registers that are changed), and \
         restore them right before the IRET"
    } else {
        "push the segment registers at the handler's start, and pop them in the reverse order before the IRET"
    });
    // Who waits for an interrupt by HLT may count on no register.
    if pushed.behind_halt { finding.as_note() } else { finding }
}
