//! The rules about the processor can fail too.
//!
//! No guest can make a right processor break them. So real entries are taken from a run, one thing
//! is changed in each, and the rules are asked again with all that had happened before it: exactly
//! one of them has to say so, with the right sentence.

use crate::plants::PLANTS;
use esp0::check::{Checker, ENTRY_RULES, Judgement, RETURN_RULES, Subject};
use esp0::entry::{Entry, Frame, Kind, Return};
use esp0::host::{Authority, Backend, Version};
use esp0::machine::{LinearMemory, Memory, Paging};
use ia32::{Eflags, SegmentRegister, Vector, Word};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use tests::words::frames;
use tests::{Event, Experiment, Seen};

/// A run with entries of every kind that is needed here.
static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    Experiment::with_programs(&["fault kernel", "fault divide", "compute 60", "sleeper 6"]).run()
});

/// Which entry is taken: its kind, vector, and the ring that it came from.
#[derive(Clone, Copy, Debug)]
struct Taken(Kind, Vector, u8);

const CALL: Taken = Taken(Kind::Software, Vector(0x80), 3);
const TIMER: Taken = Taken(Kind::External, Vector(0x20), 3);
const TIMER_IN_IDLE: Taken = Taken(Kind::External, Vector(0x20), 0);
const PAGE_FAULT: Taken = Taken(Kind::Fault, Vector::PF, 3);
const DIVIDE: Taken = Taken(Kind::Fault, Vector::DE, 3);

/// Changes one thing in an entry.
type Change = fn(&mut Entry);

/// One thing that a processor could do wrong.
struct Fault {
    taken: Taken,
    change: Change,
    rule: &'static str,
    /// What the sentence, what was expected and what was got have to contain.
    says: [&'static str; 3],
}

const fn fault(taken: Taken, rule: &'static str, change: Change, says: [&'static str; 3]) -> Fault {
    Fault { taken, change, rule, says }
}

/// The state before was not seen.
fn unseen(entry: &mut Entry) {
    entry.before = None;
    entry.expected = None;
}

const FRAME_SIZE: &str = "frame_size";
const STACK_POINTER: &str = "stack_pointer";
const PUSHED_WORDS: &str = "pushed_words";
const FLAGS_AFTER: &str = "flags_after";
const REGISTERS_KEPT: &str = "registers_kept";
const HANDLER: &str = "handler";
const EVENT_EXPLAINED: &str = "event_explained";

#[rustfmt::skip]
const FAULTS: [Fault; 46] = [
    // A word too many, or too few.
    fault(CALL, FRAME_SIZE, |e| e.after.general.esp -= 4,
        ["vector 0x80 pushed the wrong number of words", "5 words, 20 bytes", "6 words, 24 bytes"]),
    fault(CALL, FRAME_SIZE, |e| e.after.general.esp += 8,
        ["vector 0x80 pushed the wrong number of words", "5 words, 20 bytes", "3 words, 12 bytes"]),
    fault(PAGE_FAULT, FRAME_SIZE, |e| e.after.general.esp += 4,
        ["#PF pushed the wrong number of words", "6 words, 24 bytes", "5 words, 20 bytes"]),
    fault(TIMER_IN_IDLE, FRAME_SIZE, |e| e.after.general.esp -= 8,
        ["vector 0x20 pushed the wrong number of words", "3 words, 12 bytes", "5 words, 20 bytes"]),
    // The wrong stack.
    fault(CALL, STACK_POINTER, |e| e.after.general.esp -= 0x1000,
        ["vector 0x80 was not delivered on SS0:ESP0", "SS:ESP 0010:f0", "SS:ESP 0010:f0"]),
    fault(CALL, STACK_POINTER, |e| e.after.segments[SegmentRegister::Ss as usize].selector |= 3,
        ["vector 0x80 was not delivered on SS0:ESP0", "SS:ESP 0010:f0", "SS:ESP 0013:f0"]),
    fault(TIMER_IN_IDLE, STACK_POINTER, |e| e.after.general.esp += 0x800,
        ["vector 0x20 was not delivered on the stack before the event", "SS:ESP 0010:f0", "SS:ESP 0010:f0"]),
    fault(CALL, STACK_POINTER, |e| e.inner_stack = None,
        ["the stack changed although TR holds no TSS that can be read", "with SS0 and ESP0", "TR 00"]),
    // A pushed word that is not the register, where the state before was seen.
    fault(CALL, PUSHED_WORDS, |e| add(e, Word::Eip, 1),
        ["the EIP that vector 0x80 pushed is not the one before it", "EIP 0804", "EIP 0804"]),
    fault(CALL, PUSHED_WORDS, |e| add(e, Word::Eip, -2),
        ["the EIP that vector 0x80 pushed is not the one before it", "EIP 0804", "EIP 0804"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Cs, 0x20),
        ["the CS that vector 0x80 pushed is not the one before it", "CS 0000001b", "CS 0000003b"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Eflags, Eflags::CF.0),
        ["the EFLAGS that vector 0x80 pushed is not the one before it (CF)", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Eflags, 1 << 15),
        ["the EFLAGS that vector 0x80 pushed is not the one before it", "EFLAGS 00000", "EFLAGS 00008"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Eflags, Eflags::FIXED.0),
        ["the EFLAGS that vector 0x80 pushed is not the one before it", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Eflags, Eflags::IF.0),
        ["the EFLAGS that vector 0x80 pushed is not the one before it (IF)", "EFLAGS 000002", "EFLAGS 000000"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Eflags, Eflags::TF.0),
        ["the EFLAGS that vector 0x80 pushed is not the one before it (TF)", "EFLAGS 000002", "EFLAGS 000003"]),
    fault(CALL, PUSHED_WORDS, |e| add(e, Word::Esp, -4),
        ["the ESP that vector 0x80 pushed is not the one before it", "ESP bfff", "ESP bfff"]),
    fault(CALL, PUSHED_WORDS, |e| flip(e, Word::Ss, 8),
        ["the SS that vector 0x80 pushed is not the one before it", "SS 00000023", "SS 0000002b"]),
    fault(TIMER, PUSHED_WORDS, |e| add(e, Word::Eip, 2),
        ["the EIP that vector 0x20 pushed is not the one before it", "EIP 0804", "EIP 0804"]),
    fault(TIMER_IN_IDLE, PUSHED_WORDS, |e| flip(e, Word::Cs, 0x10),
        ["the CS that vector 0x20 pushed is not the one before it", "CS 00000008", "CS 00000018"]),
    fault(PAGE_FAULT, PUSHED_WORDS, |e| add(e, Word::Eip, 2),
        ["the EIP that #PF pushed is not the one before it", "EIP 0804", "EIP 0804"]),
    fault(PAGE_FAULT, PUSHED_WORDS, |e| flip(e, Word::Eflags, Eflags::RF.0),
        ["the EFLAGS that #PF pushed is not the one before it (RF)", "EFLAGS 0001", "EFLAGS 0000"]),
    // The same where the state before was not seen: what the manual says of any frame.
    fault(CALL, PUSHED_WORDS, |e| { unseen(e); flip(e, Word::Eflags, 1 << 15) },
        ["the EFLAGS that vector 0x80 pushed is not the one before it", "EFLAGS 00000", "EFLAGS 00008"]),
    fault(CALL, PUSHED_WORDS, |e| { unseen(e); flip(e, Word::Eflags, Eflags::FIXED.0) },
        ["the EFLAGS that vector 0x80 pushed is not the one before it", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(CALL, PUSHED_WORDS, |e| { unseen(e); flip(e, Word::Cs, 1) },
        ["the CS that vector 0x80 pushed is not the one before it", "CS 0000001b", "CS 0000001a"]),
    fault(CALL, PUSHED_WORDS, |e| { unseen(e); flip(e, Word::Ss, 3) },
        ["the SS that vector 0x80 pushed is not the one before it", "SS 00000023", "SS 00000020"]),
    fault(CALL, PUSHED_WORDS, |e| e.frame = nowhere(e),
        ["was delivered on a stack that the tables of CR3 do not map any more", "5 words at f0", "a page that is not mapped"]),
    // Flags that the handler starts with.
    fault(CALL, FLAGS_AFTER, |e| flag_after(e, Eflags::IF),
        ["the flags behind the interrupt gate of vector 0x80 are wrong: IF", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(CALL, FLAGS_AFTER, |e| flag_after(e, Eflags::TF),
        ["the flags behind the interrupt gate of vector 0x80 are wrong: TF", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(CALL, FLAGS_AFTER, |e| flag_after(e, Eflags::NT),
        ["the flags behind the interrupt gate of vector 0x80 are wrong: NT", "EFLAGS 00000", "EFLAGS 00004"]),
    fault(CALL, FLAGS_AFTER, |e| flag_after(e, Eflags::RF),
        ["the flags behind the interrupt gate of vector 0x80 are wrong: RF", "EFLAGS 00000", "EFLAGS 00010"]),
    fault(TIMER, FLAGS_AFTER, |e| flag_after(e, Eflags::DF),
        ["the flags behind the interrupt gate of vector 0x20 are wrong: DF", "EFLAGS 00000", "EFLAGS 00000"]),
    fault(TIMER, FLAGS_AFTER, |e| flag_after(e, Eflags::AC),
        ["the flags behind the interrupt gate of vector 0x20 are wrong: AC", "EFLAGS 00000", "EFLAGS 00040"]),
    fault(PAGE_FAULT, FLAGS_AFTER, |e| { unseen(e); flag_after(e, Eflags::CF) },
        ["the flags behind the interrupt gate of #PF are wrong: CF", "EFLAGS 00000", "EFLAGS 00000"]),
    // Registers that delivery has no business with.
    fault(CALL, REGISTERS_KEPT, |e| e.after.general.eax ^= 1,
        ["EAX changed while vector 0x80 was delivered", "EAX ", "EAX "]),
    fault(CALL, REGISTERS_KEPT, |e| e.after.general.ebp ^= 1,
        ["EBP changed while vector 0x80 was delivered", "EBP ", "EBP "]),
    fault(TIMER, REGISTERS_KEPT, |e| e.after.general.edi ^= 0x8000_0000,
        ["EDI changed while vector 0x20 was delivered", "EDI ", "EDI "]),
    fault(TIMER, REGISTERS_KEPT, |e| e.after.segments[SegmentRegister::Ds as usize].selector = 0x10,
        ["DS changed while vector 0x20 was delivered", "DS 00000023", "DS 00000010"]),
    fault(CALL, REGISTERS_KEPT, |e| e.after.segments[SegmentRegister::Gs as usize].selector = 0,
        ["GS changed while vector 0x80 was delivered", "GS 00000023", "GS 00000000"]),
    // The wrong handler.
    fault(CALL, HANDLER, |e| e.after.eip += 1,
        ["vector 0x80 did not lead to its gate's handler", "CS:EIP 0008:c0", "CS:EIP 0008:c0"]),
    fault(CALL, HANDLER, |e| e.after.segments[SegmentRegister::Cs as usize].selector = 0x0b,
        ["vector 0x80 did not lead to its gate's handler", "CS:EIP 0008:c0", "CS:EIP 000b:c0"]),
    fault(TIMER, HANDLER, |e| e.gate.offset += 0x20,
        ["vector 0x20 did not lead to its gate's handler", "CS:EIP 0008:c0", "CS:EIP 0008:c0"]),
    // An event that nothing raised.
    fault(CALL, EVENT_EXPLAINED, |e| { e.kind = Kind::Unexplained; e.code.behind = Some([0x90, 0x90]) },
        ["nothing that is known raised vector 0x80", "cd 80 before EIP", "90 90 before EIP"]),
    fault(TIMER, EVENT_EXPLAINED, |e| { e.kind = Kind::Unexplained; e.code.behind = None },
        ["nothing that is known raised vector 0x20", "cd 20 before EIP", "code that cannot be read before EIP"]),
    fault(DIVIDE, EVENT_EXPLAINED, |e| e.code.at[0] = 0x90,
        ["the EIP that #DE pushed points at an instruction that cannot raise it", "EIP at the faulting instruction", ": 90"]),
    // 0F 04 is no instruction.
    fault(PAGE_FAULT, EVENT_EXPLAINED, |e| { e.code.at[0] = 0x0f; e.code.at[1] = 0x04; },
        ["the EIP that #PF pushed points at an instruction that cannot raise it", "EIP at the faulting instruction", ": 0f"]),
];

#[test]
fn each_fault_of_the_processor_is_found_by_its_rule_and_by_no_other() {
    for fault in &FAULTS {
        let (index, mut entry) = take(fault.taken);
        (fault.change)(&mut entry);
        let judgement = judge(index, &entry, &silicon());
        let rules: Vec<&str> = judgement.findings.iter().map(|finding| finding.rule).collect();
        let context = || {
            format!(
                "{:?}, expected {} saying {:?}\ngot {:#?}\n{}",
                fault.taken,
                fault.rule,
                fault.says,
                judgement.findings,
                frames(&entry)
            )
        };
        assert_eq!(rules, [fault.rule], "{}", context());
        let finding = &judgement.findings[0];
        let texts = [&finding.sentence, &finding.expected, &finding.got];
        assert!(
            texts.iter().zip(fault.says).all(|(text, says)| text.contains(says)),
            "{}",
            context()
        );
        assert_ne!(finding.expected, finding.got, "{}", context());
        // A kernel can jump to its handler by itself, and clear its page tables; all else is for the processor alone to do.
        let kernels = finding.sentence.starts_with("nothing that is known")
            || finding.sentence.ends_with("do not map any more");
        let subject = if kernels { Subject::Kernel } else { Subject::Processor };
        assert_eq!(finding.subject, subject, "{}", context());
    }
}

/// The control: the same entries as they were.
#[test]
fn the_entries_as_they_were_have_no_finding() {
    SEEN.assert_clean();
    for taken in [CALL, TIMER, TIMER_IN_IDLE, PAGE_FAULT, DIVIDE] {
        let (index, mut entry) = take(taken);
        let judgement = judge(index, &entry, &silicon());
        assert!(judgement.is_ok(), "{taken:?}: {:#?}\n{}", judgement.findings, frames(&entry));
        unseen(&mut entry);
        let judgement = judge(index, &entry, &silicon());
        assert!(judgement.is_ok(), "{taken:?} without a state before: {:#?}", judgement.findings);
    }
}

#[test]
fn what_the_manual_leaves_open_is_not_judged() {
    let open: [(Taken, Change); 4] = [
        // The upper halves of selectors as they are pushed.
        (CALL, |e| flip(e, Word::Cs, 0xbeef_0000)),
        (CALL, |e| flip(e, Word::Ss, 0xbeef_0000)),
        // The error code.
        (PAGE_FAULT, |e| flip(e, Word::ErrorCode, 2)),
        // RF where nothing is known of it.
        (TIMER, |e| {
            unseen(e);
            flip(e, Word::Eflags, Eflags::RF.0);
        }),
    ];
    for (taken, change) in open {
        let (index, mut entry) = take(taken);
        change(&mut entry);
        let judgement = judge(index, &entry, &silicon());
        assert!(judgement.is_ok(), "{taken:?}: {:#?}\n{}", judgement.findings, frames(&entry));
    }
}

#[test]
fn a_known_deviation_is_counted_on_its_model_and_version_and_is_a_finding_on_silicon() {
    let silicon = silicon();
    let qemu = |major| backend(Authority::Tcg, Some(Version { major, minor: 2 }));
    let wrong_rf: [(Taken, &str, &Backend); 3] = [
        (TIMER, "external-pushes-rf-1", &qemu(10)),
        (PAGE_FAULT, "fault-pushes-rf-0", &qemu(7)),
        (CALL, "int-pushes-rf-1", &qemu(10)),
    ];
    for (taken, name, deviating) in wrong_rf {
        let (index, mut entry) = take(taken);
        for right in [&silicon, deviating] {
            let judgement = judge(index, &entry, right);
            assert!(judgement.is_ok() && judgement.deviations.is_empty(), "{name}: {judgement:#?}");
        }
        flip(&mut entry, Word::Eflags, Eflags::RF.0);
        let judgement = judge(index, &entry, deviating);
        let names: Vec<&str> = judgement.deviations.iter().map(|known| known.name).collect();
        assert!(judgement.is_ok() && names == [name], "{name}: {judgement:#?}");
        let judgement = judge(index, &entry, &silicon);
        assert_eq!(judgement.findings.len(), 1, "{name} on silicon: {judgement:#?}");
        assert_eq!(judgement.findings[0].rule, PUSHED_WORDS);
        // One more bit, and it is not the deviation any more.
        flip(&mut entry, Word::Eflags, Eflags::PF.0);
        assert!(!judge(index, &entry, deviating).is_ok(), "{name} hides another flag");
    }
    // Not in that version.
    let (index, mut entry) = take(PAGE_FAULT);
    flip(&mut entry, Word::Eflags, Eflags::RF.0);
    assert!(!judge(index, &entry, &qemu(10)).is_ok(), "fault-pushes-rf-0 on QEMU 10");
}

/// A kernel stack may serve a new task: its address space tells that its frame is not the one that the
/// dead task had pushed.
#[test]
fn a_frame_that_another_address_space_pops_is_a_new_tasks() {
    let to_ring_3 = |event: &Event| match event {
        Event::Return(returning, _) if returning.ring() == 3 => Some(Return::clone(returning)),
        _ => None,
    };
    let last = SEEN.events.iter().enumerate().rev().find_map(|(n, e)| Some((n, to_ring_3(e)?)));
    let (index, mut returning) = last.expect("the programs come back from their calls");
    assert!(after(index).leave(&returning).is_ok(), "the control");
    let esp = returning.frame.get(Word::Esp).expect("it changes the stack");
    returning.frame = returning.frame.with(Word::Esp, esp - 16);
    let judgement = after(index).leave(&returning);
    let rules: Vec<&str> = judgement.findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["return_frame"], "{judgement:#?}");
    returning.state.cr3 += 0x1000;
    let judgement = after(index).leave(&returning);
    assert!(judgement.is_ok(), "{judgement:#?}");
}

/// Or it was copied from that of its parent's system call.
#[test]
fn a_frame_with_the_words_of_anothers_later_call_is_a_new_tasks() {
    const WORDS: [Word; 5] = [Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss];
    let events = &SEEN.events;
    let on =
        |n: &usize, end: u32| matches!(&events[*n], Event::Entry(e, _) if e.frame.end() == end);
    let call = |n: &usize| matches!(&events[*n], Event::Entry(e, _) if e.kind == Kind::Software);
    // A return, and another task's call since the entry that it belongs to.
    let found = (0..events.len()).rev().find_map(|index| {
        let Event::Return(returning, _) = &events[index] else { return None };
        let end = returning.frame.end();
        let pushed = (0..index).rev().find(|n| on(n, end)).filter(|_| returning.ring() == 3)?;
        let other = (pushed + 1..index).find(|n| call(n) && !on(n, end))?;
        Some((index, other, Return::clone(returning)))
    });
    let (index, other, mut returning) = found.expect("a task sleeps while others call");
    let esp = returning.frame.get(Word::Esp).expect("it changes the stack");
    returning.frame = returning.frame.with(Word::Esp, esp - 16);
    let judge = |copied: &[Word]| {
        let mut checker = Checker::new(&tests::host().backend);
        for (n, event) in events[..index].iter().enumerate() {
            match event {
                Event::Entry(entry, _) if n == other => {
                    let mut entry = Entry::clone(entry);
                    for word in copied {
                        let value = returning.frame.get(*word).expect("it has the word");
                        entry.frame = entry.frame.with(*word, value);
                    }
                    drop(checker.entry(&entry));
                }
                event => feed(&mut checker, event),
            }
        }
        checker.leave(&returning)
    };
    assert!(judge(&WORDS).is_ok(), "{:#?}", judge(&WORDS));
    // Where one word is not the other's the frame is corrupted.
    let judgement = judge(&[Word::Eip, Word::Cs, Word::Eflags, Word::Ss]);
    assert_eq!(judgement.findings.len(), 1, "{judgement:#?}");
    assert_eq!(judgement.findings[0].rule, "return_frame");
}

#[test]
fn every_rule_has_a_case_that_breaks_it() {
    let mut broken: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.rule).collect();
    broken.extend(PLANTS.iter().map(|plant| plant.rule));
    broken.extend(crate::stacks::FAULTS.iter().map(|fault| fault.rule));
    broken.extend(crate::relatives::RULES);
    broken.insert(crate::exact::MODEL);
    // `overflow` stands in both tables; the rules about SYSENTER, call gates and task
    // gates have one name each, and stand in neither.
    let names = ENTRY_RULES.len() + RETURN_RULES.len() - 1 + 3;
    assert_eq!(broken.len(), names, "{broken:?}");
}

/// The last such entry of the run, as a right processor makes it, and where in the run it is.
fn take(Taken(kind, vector, ring): Taken) -> (usize, Entry) {
    SEEN.events
        .iter()
        .enumerate()
        .rev()
        .find_map(|(index, event)| match event {
            Event::Entry(entry, _)
                if (entry.kind, entry.vector, entry.origin.ring) == (kind, vector, ring)
                    && entry.before.is_some() =>
            {
                Some((index, Entry { frame: right_rf(entry), ..Entry::clone(entry) }))
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no {kind} by {vector} from ring {ring}\n{}", SEEN.report()))
}

/// What the rules say of `entry` in place of the event at `index`.
fn judge(index: usize, entry: &Entry, backend: &Backend) -> Judgement {
    checker(index, backend).entry(entry)
}

/// The rules, as they stand before the event at `index`.
fn checker(index: usize, backend: &Backend) -> Checker {
    let mut checker = Checker::new(backend);
    SEEN.events[..index].iter().for_each(|event| feed(&mut checker, event));
    checker
}

fn feed(checker: &mut Checker, event: &Event) {
    match event {
        Event::Entry(entry, _) => drop(checker.entry(entry)),
        Event::Return(returning, _) => drop(checker.leave(returning)),
        Event::Returned(returned, _) => drop(checker.returned(returned)),
        Event::Switch(switch, _) => drop(checker.switch(switch)),
    }
}

/// The same on the backend of the run.
fn after(index: usize) -> Checker {
    checker(index, &tests::host().backend)
}

/// A backend to which no deviation is allowed.
fn silicon() -> Backend {
    backend(Authority::Silicon, None)
}

fn backend(authority: Authority, version: Option<Version>) -> Backend {
    Backend { authority, version, ..tests::host().backend.clone() }
}

/// Changes bits of a pushed word.
fn flip(entry: &mut Entry, word: Word, bits: u32) {
    let value = entry.frame.get(word).expect("the frame has the word");
    entry.frame = entry.frame.with(word, value ^ bits);
}

/// Adds to a pushed word.
fn add(entry: &mut Entry, word: Word, difference: i32) {
    let value = entry.frame.get(word).expect("the frame has the word");
    entry.frame = entry.frame.with(word, value.wrapping_add_signed(difference));
}

/// Changes a flag of those that the handler starts with.
fn flag_after(entry: &mut Entry, flag: Eflags) {
    entry.after.eflags = entry.after.eflags ^ flag;
}

/// The frame with RF as the manual wants it, whatever the CPU below has made of it.
fn right_rf(entry: &Entry) -> Frame {
    let before = entry.before.as_ref().expect("the state before is known").eflags;
    let rf = match entry.kind {
        Kind::Fault => Eflags::RF,
        Kind::Software => Eflags::default(),
        _ => before & Eflags::RF,
    };
    entry.frame.with(Word::Eflags, (before.without(Eflags::RF) | rf).0)
}

/// A frame of the same shape at the same place in memory that is not mapped.
fn nowhere(entry: &Entry) -> Frame {
    let memory = Memory::detached(0x1000).expect("a page can be had");
    // A page directory of zeroes maps nothing.
    let paging = Paging { enabled: true, ..Paging::default() };
    Frame::read(&LinearMemory { memory: &memory, paging }, entry.frame.address, entry.frame.shape)
}
