use crate::check::glance::{Blank, Called, Refusal};
use crate::check::history::{LastReturn, LiveFrame};
use crate::check::{CodePlace, Finding, Findings, History, Retrace, Subject};
use crate::entry::{Entry, Frame};
use ia32::{Branch, Descriptor, DescriptorKind, Eflags, Word};

/// How far from the pushed frame a frame may be popped to be taken for the same, missed by some words.
const NEAR: i32 = 64;

/// An IRET goes through: the processor accepts the words that it pops.
///
/// SDM vol. 2A, IRET/IRETD, Operation. The fault points at the IRET itself, in the ring that was to be
/// left, and nothing has been popped. The model says which check failed, and the last entry's frame how
/// far off ESP was. Broken on purpose by an error code that is left on the stack, and by selectors
/// without RPL 3.
#[inline]
pub(crate) fn iret_goes_through(entry: &Entry, history: &History, findings: &mut Findings) {
    let Some(refused) = history.refusal().filter(|_| !history.is_refused_again()) else { return };
    // The 16-bit IRET was found when it was about to be executed.
    let newest = history.live().next_back();
    if newest.is_some_and(|pushed| is_too_narrow(pushed, &refused.frame)) {
        return;
    }
    if refused.overwrites_itself {
        return;
    }
    findings.add(finding(entry, refused, newest, history));
}

/// `GDT entry 3`.
fn slot(selector: u16) -> String {
    let table = if selector & 4 == 0 { "GDT" } else { "LDT" };
    format!("{table} entry {}", selector >> 3)
}

/// The byte with type, S, DPL and P.
fn access(descriptor: Descriptor) -> u8 {
    (descriptor.0 >> 40) as u8
}

/// Two words of the frame that stand in each other's place, by what their selectors name.
fn exchanged(refusal: &Refusal, popped: &Frame) -> Option<(&'static str, &'static str)> {
    let is_code = |descriptor: Descriptor| matches!(descriptor.kind(), DescriptorKind::Code { .. });
    let is_data = |descriptor: Descriptor| matches!(descriptor.kind(), DescriptorKind::Data { .. });
    const ORDER: &str = "EIP, CS, EFLAGS, ESP, SS";
    if let (Some(code), Some((_, stack))) = (refusal.code, refusal.stack)
        && is_data(code)
        && is_code(stack)
    {
        return Some(("CS and SS", ORDER));
    }
    let eflags = popped.get(Word::Eflags)?;
    let flags = Eflags(popped.get(Word::Cs)?);
    if refusal.word == Some(Word::Cs)
        && refusal.flags.is_some_and(|one| is_code(one) && u32::from(one.dpl()) == eflags & 3)
        && eflags <= 0xffff
        && flags.contains(Eflags::FIXED)
        && flags.without(Eflags::STATUS | Eflags::IF).0 == Eflags::FIXED.0
    {
        return Some(("CS and EFLAGS", ORDER));
    }
    let (esp, ss) = (popped.get(Word::Esp)?, popped.get(Word::Ss)?);
    let pointer = refusal.pointer.filter(|_| refusal.word == Some(Word::Ss))?;
    (is_data(pointer) && esp & 3 == 3 && esp <= 0xffff && ss > 0xffff)
        .then_some(("ESP and SS", ORDER))
}

/// What is popped is what the processor has pushed, of an entry from an outer ring or not.
fn is_as_pushed(newest: Option<&LiveFrame>, popped: &Frame, from_outer_ring: bool) -> bool {
    newest.is_some_and(|pushed| {
        pushed.from_outer_ring() == from_outer_ring
            && pushed.popped_from() == popped.address
            && pushed.frame.pops_as(popped)
    })
}

/// Ring 0 ran with a CS that works by its hidden part only: the table that it was loaded from is gone.
fn is_the_loaders(newest: Option<&LiveFrame>, popped: &Frame, refusal: &Refusal) -> bool {
    let fault = refusal.fault.map(|fault| fault.branch);
    matches!(fault, Some(Branch::ReturnCsNotCode | Branch::ReturnCsOutsideTable))
        && is_as_pushed(newest, popped, false)
}

/// An outer ring ran with a CS that names data: only SYSEXIT loads CS without a look at the table.
fn left_by_sysexit(newest: Option<&LiveFrame>, popped: &Frame, refusal: &Refusal) -> bool {
    let is_data = |descriptor: Descriptor| matches!(descriptor.kind(), DescriptorKind::Data { .. });
    refusal.code.is_some_and(is_data) && is_as_pushed(newest, popped, true)
}

/// Words of two bytes are popped where words of four were pushed.
pub(super) fn is_too_narrow(pushed: &LiveFrame, popped: &Frame) -> bool {
    popped.shape.word_size < pushed.frame.shape.word_size && popped.address == pushed.popped_from()
}

#[cold]
fn finding(
    entry: &Entry,
    refused: &LastReturn,
    newest: Option<&LiveFrame>,
    history: &History,
) -> Finding {
    let code = entry.frame.get(Word::ErrorCode);
    let raised = match code {
        Some(code) => format!("{}({code:04x})", entry.vector),
        None => entry.vector.to_string(),
    };
    let sentence = format!("the IRET at {:08x} was refused with {raised}", refused.state.eip);
    let cs = refused.frame.selector(Word::Cs).unwrap_or(0);
    let (mut expected, mut got) = (
        "words that IRET accepts".to_owned(),
        format!("EIP {:08x}  CS {cs:04x}", refused.frame.get(Word::Eip).unwrap_or(0)),
    );
    let mut advice = None;
    if let Some(refusal) = &history.glance().refusal {
        if !refusal.check.is_empty() {
            got = refusal.check.clone();
        }
        if refused.state.eflags.contains(Eflags::NT) {
            return by_nested_task(sentence, refused, refusal, history);
        }
        let descriptor = refusal
            .code
            .filter(|_| refusal.fault.is_some_and(|fault| fault.branch == Branch::ReturnCsDpl));
        if let Some(descriptor) = descriptor {
            let (rpl, dpl) = (cs & 3, descriptor.dpl());
            expected =
                format!("CS {:04x}: the RPL is the descriptor's DPL", cs & !3 | u16::from(dpl));
            got = format!("IRET to CS {cs:04x} with RPL {rpl} while the descriptor has DPL {dpl}");
            let mut selectors = format!("{:04x} as CS", cs & !3 | u16::from(dpl));
            if let Some((ss, stack)) = refusal.stack
                && dpl > rpl as u8
                && stack.dpl() == dpl
                && ss & 3 != u16::from(dpl)
            {
                got += &format!("; the same for SS: {ss:04x} with RPL {}, DPL {dpl}", ss & 3);
                selectors += &format!(" and {:04x} as SS", ss & !3 | u16::from(dpl));
            }
            advice = Some(if dpl < rpl as u8 {
                format!(
                    "give {} DPL {rpl}: access byte {:02x} in place of {:02x}",
                    slot(cs),
                    access(descriptor) | (rpl as u8) << 5,
                    access(descriptor)
                )
            } else {
                format!("put {selectors} into the frame")
            });
        } else if is_the_loaders(newest, &refused.frame, refusal) {
            expected = "CS with a code segment of the kernel's own GDT".into();
            got = format!("{got}; CS is {cs:04x} since before that GDT was loaded");
            advice = Some(
                "load CS by a far jump right after LGDT (`jmp 0x08:next`): LGDT alone changes no segment register, and CS \
                 goes on with what the boot loader put there"
                    .into(),
            );
        } else if left_by_sysexit(newest, &refused.frame, refusal) {
            expected = "CS with a code segment of ring 3".into();
            got = format!("{got}: CS {cs:04x} names a data segment, and the processor pushed it");
            advice = Some(
                "put the descriptors into the order that SYSEXIT takes for granted: from IA32_SYSENTER_CS on the kernel's \
                 code, its data, the programs' code, their data"
                    .into(),
            );
        } else if let Some((what, order)) = exchanged(refusal, &refused.frame) {
            expected = format!("from ESP up: {order}");
            got = format!("{got}: {what} are exchanged");
            advice = Some(format!(
                "exchange {what} in the frame: push SS, ESP, EFLAGS, CS, EIP in this order"
            ));
        } else if refusal.fault.is_some_and(|fault| fault.branch == Branch::ReturnSsRpl) {
            expected = format!("SS with RPL {}, as CS {cs:04x} has", cs & 3);
            if let Some((ss, stack)) = refusal.stack {
                got = format!("IRET to SS {ss:04x} with RPL {}, DPL {}", ss & 3, stack.dpl());
            }
            advice = Some(format!("put the data segment of ring {} into the frame as SS", cs & 3));
        } else if let Some(word) = refusal.word {
            expected = format!("{} that IRET accepts", word.name());
            if word == Word::Ss {
                advice = Some(format!(
                    "push SS and ESP of ring {} before EFLAGS, CS and EIP: an IRET to an outer ring pops five words",
                    cs & 3
                ));
            }
        }
    }
    let mut finding = Finding::new("refused_iret", Subject::Kernel, sentence, expected, got);
    let refusal = history.glance().refusal.as_deref();
    if let Some(called) = refusal.and_then(|refusal| refusal.called) {
        finding = finding.because(of_call(called, refused.state.eip));
        let above = refused.frame.address.wrapping_add(4);
        let is_above = newest.is_some_and(|pushed| pushed.popped_from() == above);
        advice = Some(if is_above { CALLED_FOR_A_JUMP } else { CALLED }.into());
    } else if let Some(esp) = history.sysenter_esp().filter(|esp| is_above(&refused.frame, *esp)) {
        finding = finding.because(format!(
            "ring 0 was entered by SYSENTER, which pushes nothing: the words at {:08x} lie at the end of the stack that it \
             loaded, {esp:08x}, and are none of a frame",
            refused.frame.address
        ));
        advice = Some(BY_SYSENTER.into());
    } else if let Some(pushed) = newest {
        let off = refused.frame.address.wrapping_sub(pushed.popped_from()) as i32;
        let as_before = history.popped_last() == Some(refused.frame.address);
        if off != 0 && off.abs() <= NEAR && as_before && pushed.from_outer_ring() {
            finding = finding.because(wrong_esp0(pushed, &refused.frame, off));
            advice = Some(format!(
                "set TSS.ESP0 to {:08x}, {} bytes {}",
                refused.frame.end(),
                off.abs(),
                if off < 0 { "lower" } else { "higher" }
            ));
        } else if off != 0 && off.abs() <= NEAR {
            let few = if off < 0 { "few" } else { "many" };
            finding = finding.because(format!(
                "{} bytes too {few} were removed from the stack: {}",
                off.abs(),
                popped_as(pushed, &refused.frame)
            ));
            advice = Some(if off < 0 {
                let what = if off == -4 && pushed.frame.shape.error_code {
                    "to drop the error code"
                } else {
                    "to drop what is left"
                };
                format!("`add esp, {}` before the IRET at {:08x}, {what}", -off, refused.state.eip)
            } else {
                format!("drop {off} bytes less before the IRET at {:08x}", refused.state.eip)
            });
        } else if off == 0 && !pushed.frame.pops_as(&refused.frame) {
            let changed = changed_words(pushed, &refused.frame);
            finding = finding
                .because(format!("#{} had pushed other words there: {changed}", pushed.sequence));
        }
    }
    if let Some(narrow) = &history.glance().narrow
        && off_by(refused, newest, history) == Some(narrow.off())
    {
        let (is, wanted) = narrow.names();
        let reason = finding.reason.take().map_or_else(String::new, |reason| format!("{reason}; "));
        finding = finding.because(format!(
            "{reason}`{is}` at {:08x} (66 {}) moves ESP by 16 bytes, and `{wanted}` by 32",
            narrow.address,
            if narrow.pops { "61" } else { "60" }
        ));
        finding.places.insert(0, CodePlace::Instruction(narrow.address));
        let intel = if narrow.pops { "popad" } else { "pushad" };
        advice = Some(format!(
            "write `{wanted}` (GNU assembler) or `{intel}` (Intel syntax) in place of `{is}` at {:08x}",
            narrow.address
        ));
    } else if finding.reason.is_none()
        && let Some(shifted) = &history.glance().shifted
    {
        finding = finding.because(shifted.reason());
        advice = Some(shifted.advice(refused.state.eip));
    }
    if finding.reason.is_none()
        && let Some(blank) = refusal.and_then(|refusal| refusal.blank)
    {
        finding = finding.because(of_blank(blank, &refused.frame));
        advice = Some(BLANK.into());
    }
    finding = finding.about_instruction(refused.state.instruction_address());
    if finding.reason.is_none() && advice.is_none() {
        const ESP: u8 = 4;
        let after_entry = entry.sequence.saturating_sub(1);
        finding = finding.retraced(Retrace::Register { after_entry, register: ESP });
    }
    match advice {
        Some(advice) => finding.advise(advice),
        None => finding,
    }
}

/// A frame that reaches beyond the end of the stack has not been pushed there.
fn is_above(popped: &Frame, end: u32) -> bool {
    let to_end = end.wrapping_sub(popped.address) as i32;
    (-NEAR..=NEAR).contains(&to_end) && to_end < popped.shape.size() as i32
}

const BY_SYSENTER: &str = "leave by SYSEXIT, with EIP in EDX and ESP in ECX; or push SS, ESP, EFLAGS, CS and EIP of the program \
                           first of all where SYSENTER leads, for the way out of INT's handlers to pop";

/// A handler is no function, and a function no handler.
fn of_call(called: Called, iret: u32) -> String {
    format!(
        "what is popped as EIP is where the CALL at {:08x} returns to, and that calls {:08x}, which the IRET at {iret:08x} \
         ends: RET is what takes a return address off, and the frame of the interrupt lies above what the caller has pushed",
        called.call, called.function
    )
}

const CALLED_FOR_A_JUMP: &str = "let the gate's code come there by JMP in place of CALL, or take the return address off \
                                 (`add esp, 4`) before the IRET";

const CALLED: &str = "let the function that is called be a plain one that ends in RET (no `__attribute__((interrupt))`), and \
                      its caller restore the registers and execute IRET; or let the gate name it, and call it nowhere";

/// No event has pushed these words, and nobody has filled them in.
fn of_blank(blank: Blank, popped: &Frame) -> String {
    let Blank { value, start, words } = blank;
    format!(
        "the frame at {:08x} was never filled in, or has been cleared: all {words} words from {start:08x} on are {value:08x}, \
         and a frame that an event has pushed has bit 1 of EFLAGS set",
        popped.address
    )
}

const BLANK: &str = "fill in the frame where the task is made (EIP, CS, EFLAGS, ESP, SS), in the memory that its saved stack \
                     pointer leads to: to copy a frame copy its words, not the pointer to it";

/// With NT set IRET pops nothing, and goes back to the task that the TSS links to (SDM vol. 3A, "Task linking").
#[cold]
fn by_nested_task(
    sentence: String,
    refused: &LastReturn,
    refusal: &Refusal,
    history: &History,
) -> Finding {
    let advice = if history.came_by_sysenter() {
        "clear NT where the kernel is entered by SYSENTER, which leaves it as ring 3 had it: `push 2; popfd`; a gate clears it"
    } else {
        "look for who set NT (0x4000): a POPF that took something else than flags from the stack; a gate clears it on entry"
    };
    Finding::new(
        "refused_iret",
        Subject::Kernel,
        sentence,
        "EFLAGS with NT clear: then IRET pops EIP, CS and EFLAGS",
        format!("EFLAGS {:08x}, NT (bit 14) is set", refused.state.eflags.0),
    )
    .because(format!(
        "so it pops nothing, and is to go back to the task that the link of the TSS names: {}",
        refusal.check
    ))
    .about_instruction(refused.state.instruction_address())
    .advise(advice)
}

/// By how much ESP was off: negative, if too little was taken off the stack.
fn off_by(refused: &LastReturn, newest: Option<&LiveFrame>, history: &History) -> Option<i32> {
    let off = newest.map(|pushed| refused.frame.address.wrapping_sub(pushed.popped_from()) as i32);
    let shifted = history.glance().shifted.as_ref().map(|shifted| -shifted.bytes);
    off.filter(|off| off.abs() <= NEAR).or(shifted)
}

/// The frame is popped from where the last return has popped one that was right, and where #n has pushed none: by ESP0.
fn wrong_esp0(pushed: &LiveFrame, popped: &Frame, off: i32) -> String {
    format!(
        "ESP0 was {} bytes too {}: #{} pushed its frame at {:08x}, and the kernel pops each from {:08x}, as it did before \
         #{}; {}",
        off.abs(),
        if off < 0 { "high" } else { "low" },
        pushed.sequence,
        pushed.popped_from(),
        popped.address,
        pushed.sequence,
        popped_as(pushed, popped)
    )
}

/// What the first two words that are popped are, by the names that the entry gave them.
fn popped_as(pushed: &LiveFrame, popped: &Frame) -> String {
    let name = |address: u32| {
        let word = pushed
            .frame
            .words()
            .map(|(word, _)| word)
            .find(|word| pushed.frame.address_of(*word) == Some(address));
        match word {
            Some(word) => format!("the {} of #{}", word.name(), pushed.sequence),
            None if address < pushed.frame.address => {
                "what the handler has left on the stack".to_owned()
            }
            None => format!("what lies above the frame of #{}", pushed.sequence),
        }
    };
    [Word::Eip, Word::Cs]
        .into_iter()
        .filter_map(|word| {
            let (address, value) = (popped.address_of(word)?, popped.get(word)?);
            Some(format!("popped as {}: {} ({value:08x})", word.name(), name(address)))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn changed_words(pushed: &LiveFrame, popped: &Frame) -> String {
    popped
        .words()
        .filter_map(|(word, is)| {
            let (was, is) = (pushed.frame.get(word)?, is?);
            (was != is).then(|| format!("{} {was:08x}, now {is:08x}", word.name()))
        })
        .collect::<Vec<_>>()
        .join(", ")
}
