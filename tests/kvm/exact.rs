//! Exact mode: each entry and each return held against the model, registers and all of memory.

use esp0::check::{Checker, Judgement, Subject};
use esp0::entry::{Entry, Exact, Kind, Returned};
use esp0::host::{Authority, Backend, Version};
use esp0::machine::ChangedByte;
use esp0::run::{ClockChoice, Ending};
use ia32::{Eflags, Operation, SegmentRegister, Vector, Word};
use std::sync::LazyLock;
use tests::{Event, Experiment, Seen, esp0};

/// The rule's name.
pub(crate) const MODEL: &str = "model";

/// System calls, two kinds of fault, and the timer in ring 3 and in ring 0.
const PROGRAMS: [&str; 4] = ["compute 40", "fault kernel", "fault divide", "sleeper 3"];

static SEEN: LazyLock<Seen> = LazyLock::new(|| Experiment::with_programs(&PROGRAMS).exact().run());

/// All was held against the model, and nothing was found.
#[track_caller]
fn assert_exact(seen: &Seen) {
    seen.assert_clean();
    assert_held(seen);
}

#[track_caller]
fn assert_held(seen: &Seen) {
    for entry in seen.entries() {
        let held = entry.exact.as_ref().is_some_and(|exact| exact.decided);
        assert!(held, "entry #{} was not held against the model", entry.sequence);
    }
    for returned in seen.returned() {
        assert!(returned.exact.decided, "the IRET after #{} was not", returned.after_sequence);
    }
    assert_eq!(seen.returned().count(), seen.returns().count(), "IRETs that were seen as a whole");
}

#[test]
fn a_whole_workload_is_what_the_model_says_to_the_byte() {
    assert_exact(&SEEN);
    for taken in [CALL, TIMER, TIMER_IN_IDLE, PAGE_FAULT, DIVIDE] {
        drop(take(taken));
    }
    // Memory is compared, not only looked at: each entry wrote its frame.
    for entry in SEEN.entries() {
        let exact = exact(entry);
        let pushed = exact.account().outcome.writes.iter().filter(|w| is_pushed(w)).count() as u32;
        assert_eq!(pushed, entry.frame.shape.count(), "entry #{}", entry.sequence);
    }
    // The same frame may be pushed twice in one place, but not always.
    let written = SEEN.entries().filter(|entry| !exact(entry).changed.is_empty()).count();
    assert!(written * 2 > SEEN.entries().count(), "only {written} entries changed memory");
}

#[test]
fn hostile_programs_are_what_the_model_says_to_the_byte() {
    let states = ["esp0", "espkernel", "flags", "segments"];
    let commands = states.map(|what| format!("hostile {what} 50"));
    let seen = Experiment::with_programs(&commands.each_ref().map(String::as_str)).exact().run();
    assert_exact(&seen);
    assert_eq!(seen.text().matches("exit 0").count(), states.len(), "{}", seen.text());
}

/// The #DB comes behind the instruction: the state before it is the one behind that, with its TF.
#[test]
fn a_task_that_steps_itself_is_what_the_model_says_to_the_byte() {
    let seen = Experiment::with_programs(&["fault trap"]).exact().run();
    assert_exact(&seen);
    let entry = seen.entries().find(|entry| entry.vector == Vector::DB).expect("it has a #DB");
    assert_eq!(exact(entry).operation, ia32::Interruption::trap(Vector::DB).into());
    assert!(exact(entry).before.eflags.contains(Eflags::TF));
}

/// To look closely changes nothing of what is seen.
#[test]
fn the_same_entries_are_seen_as_without_exact_mode() {
    let plain = Experiment::with_programs(&PROGRAMS).run();
    let told = |seen: &Seen| -> Vec<String> {
        seen.events
            .iter()
            .filter(|event| !matches!(event, Event::Returned(..)))
            .map(|event| match event {
                Event::Returned(..) => unreachable!("they are left out"),
                Event::Entry(entry, _) => format!(
                    "#{} at {}: {} {} to {:?} with {:08x?} at {:08x}, {:?}",
                    entry.sequence,
                    entry.time,
                    entry.kind,
                    entry.vector,
                    entry.after.general,
                    entry.frame.values(),
                    entry.frame.address,
                    entry.origin.ring,
                ),
                Event::Return(returning, _) => {
                    format!("return at {}: {:08x?}", returning.time, returning.frame.values())
                }
                Event::Switch(switch, _) => format!("switch at {}", switch.time),
            })
            .collect()
    };
    let (plain, exact) = (told(&plain), told(&SEEN));
    let first = plain.iter().zip(&exact).find(|(plain, exact)| plain != exact);
    assert_eq!((first, plain.len()), (None, exact.len()));
}

/// A kernel's bug is none of the processor's: it does what it is told, and the model says so too.
#[test]
fn planted_bugs_are_found_by_their_rules_and_the_model_blames_no_processor() {
    for (plant, rule) in [
        ("esp0_off_by_four", "empty_stack"),
        ("shared_stack", "suspended_stack"),
        ("wrong_ss0", "kernel_segment"),
        ("frame_esp", "return_frame"),
        ("gate_16bit", "gate_kind"),
    ] {
        for guest in ["broken", "broken-plain"] {
            let seen = Experiment::with_guest(guest)
                .command_line(&format!("plant={plant}"))
                .clock(ClockChoice::Deterministic { nanoseconds_per_instruction: 100_000 })
                .exact()
                .run();
            let rules: Vec<&str> = seen.findings().map(|finding| finding.rule).collect();
            assert!(
                !rules.is_empty() && rules.iter().all(|found| *found == rule),
                "{plant} in {guest}: {rules:?}\n{}",
                seen.report()
            );
            assert_eq!(seen.end.ending, Ending::PoweredOff, "{plant} in {guest}");
            assert_held(&seen);
        }
    }
}

/// The kind of an entry, its vector, and the ring that it came from.
type Taken = (Kind, Vector, u8);

type Change = fn(&mut Entry);

/// What is changed in an entry, and what the finding has to say.
struct Fault {
    taken: Taken,
    change: Change,
    says: [&'static str; 3],
}

const CALL: Taken = (Kind::Software, Vector(0x80), 3);
const TIMER: Taken = (Kind::External, Vector(0x20), 3);
const TIMER_IN_IDLE: Taken = (Kind::External, Vector(0x20), 0);
const PAGE_FAULT: Taken = (Kind::Fault, Vector::PF, 3);
const DIVIDE: Taken = (Kind::Fault, Vector::DE, 3);

const fn fault(taken: Taken, change: Change, says: [&'static str; 3]) -> Fault {
    Fault { taken, change, says }
}

/// Each is seen by the model's rule alone: the words that the other rules look at are as they were.
#[rustfmt::skip]
const FAULTS: [Fault; 23] = [
    // A word of the frame, each at its own address.
    fault(CALL, |e| flip_word(e, Word::Eip, 0x100),
        ["pushed EIP by vector 0x80 at f00", "0804", "0804"]),
    fault(CALL, |e| flip_word(e, Word::Cs, 0x20),
        ["pushed CS by vector 0x80 at f00", "001b", "003b"]),
    fault(CALL, |e| flip_word(e, Word::Eflags, Eflags::CF.0),
        ["pushed EFLAGS by vector 0x80 at f00", "00000", "00000"]),
    fault(CALL, |e| flip_word(e, Word::Esp, 4),
        ["pushed ESP by vector 0x80 at f00", "bfff", "bfff"]),
    fault(CALL, |e| flip_word(e, Word::Ss, 8),
        ["pushed SS by vector 0x80 at f00", "0023", "002b"]),
    fault(TIMER_IN_IDLE, |e| flip_word(e, Word::Cs, 0x10),
        ["pushed CS by vector 0x20 at f00", "0008", "0018"]),
    fault(DIVIDE, |e| flip_word(e, Word::Eflags, Eflags::IF.0),
        ["pushed EFLAGS by #DE", "0001", "0001"]),
    // Bytes that are nobody's.
    fault(CALL, |e| flip_beside(e, -1, 1),
        ["vector 0x80 changed a byte at physical 001", "", ""]),
    fault(TIMER, |e| { flip_beside(e, 20, 1); flip_beside(e, 21, 1); },
        ["vector 0x20 changed 2 bytes at physical 001", " ", " "]),
    fault(CALL, |e| flip_at(e, 0x20_0000, 0xff),
        ["vector 0x80 changed a byte at physical 00200000, which the model does not write", "00", "ff"]),
    // Bits that the processor sets in tables, where they are not to be set.
    fault(CALL, |e| { let gdt = descriptor(e, 0x28); flip_at(e, gdt + 5, 2); },
        ["vector 0x80 changed a byte at physical 001", "00", "02"]),
    fault(TIMER, |e| { let directory = u64::from(e.after.cr3 & !0xfff); flip_at(e, directory + 0x300 * 4, 0x40); },
        ["vector 0x20 changed a byte at physical 001", "", ""]),
    // Parts of the state that no other rule looks at.
    fault(CALL, |e| e.after.segments[SegmentRegister::Cs as usize].limit = 0xffff,
        ["CS limit after vector 0x80", "CS limit ffffffff", "CS limit 0000ffff"]),
    fault(CALL, |e| e.after.segments[SegmentRegister::Ss as usize].base = 0x10,
        ["SS base after vector 0x80", "SS base 00000000", "SS base 00000010"]),
    fault(TIMER, |e| e.after.cr2 ^= 0x1000, ["CR2 after vector 0x20", "CR2 ", "CR2 "]),
    fault(TIMER, |e| e.after.gdtr.limit = 7, ["GDTR limit after vector 0x20", "GDTR limit 000000", "GDTR limit 00000007"]),
    fault(CALL, |e| e.after.interrupt_shadow = 1, ["interrupt shadow after", "00000000", "00000001"]),
    fault(CALL, |e| e.after.ldtr.selector = 0x30, ["LDTR after vector 0x80", "LDTR 00000000", "LDTR 00000030"]),
    // A page fault of no access that the page tables refuse: CR2, the error code, a page that is there.
    fault(PAGE_FAULT, |e| { e.after.cr2 ^= 4; e.exact.as_mut().unwrap().before.cr2 ^= 4; },
        ["#PF is of no access of its instruction", "CR2 c0100000 error code 00000005", "CR2 c0100004 error code 00000005"]),
    fault(PAGE_FAULT, |e| {
        flip_word(e, Word::ErrorCode, 2);
        e.exact.as_mut().unwrap().operation = ia32::Interruption::fault(Vector::PF, Some(7)).into();
    }, ["#PF is of no access of its instruction", "error code 00000005", "error code 00000007"]),
    // What the processor read was something else.
    fault(TIMER, |e| e.exact.as_mut().unwrap().before.tr.limit = 0x20,
        ["after vector 0x20", "", ""]),
    fault(CALL, |e| {
        let gate = u64::from(e.after.idtr.base & 0x0fff_ffff) + 0x80 * 8;
        set_memory(e, gate, 0xff);
    }, ["EIP after vector 0x80", "EIP c01", "EIP c01"]),
    // A gate that is not present leads elsewhere, to what the processor never looked at.
    fault(CALL, |e| {
        let gate = u64::from(e.after.idtr.base & 0x0fff_ffff) + 0x80 * 8 + 5;
        set_memory(e, gate, 0x6e);
    }, ["memory that was not recorded", "each byte", "not all"]),
];

#[test]
fn each_falsified_entry_is_found_by_the_models_rule_with_address_and_owner() {
    for (number, fault) in FAULTS.iter().enumerate() {
        let mut entry = take(fault.taken);
        (fault.change)(&mut entry);
        let judgement = Checker::new(&qemu()).entry(&entry);
        let of_model: Vec<_> =
            judgement.findings.iter().filter(|finding| finding.rule == MODEL).collect();
        let said = of_model.iter().any(|finding| {
            [&finding.sentence, &finding.expected, &finding.got]
                .iter()
                .zip(fault.says)
                .all(|(text, says)| text.contains(says))
        });
        assert!(said, "fault {number}, expected {:?}, got {judgement:#?}", fault.says);
        assert!(of_model.iter().all(
            |finding| finding.subject == Subject::Processor && finding.expected != finding.got
        ));
    }
}

#[test]
fn one_falsified_byte_is_one_finding() {
    for taken in [CALL, TIMER, TIMER_IN_IDLE, PAGE_FAULT, DIVIDE] {
        let mut entry = take(taken);
        assert!(Checker::new(&qemu()).entry(&entry).is_ok(), "{taken:?}: the control");
        flip_word(&mut entry, Word::Cs, 4);
        let judgement = Checker::new(&qemu()).entry(&entry);
        let rules: Vec<&str> = judgement.findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [MODEL], "{taken:?}");
    }
}

#[test]
fn each_falsified_return_is_found_by_the_models_rule() {
    type Change = fn(&mut Returned);
    let faults: [(Change, &str); 6] = [
        (|done| done.after.general.esp += 4, "ESP after IRET"),
        (|done| done.after.eip ^= 1, "EIP after IRET"),
        (|done| done.after.eflags = done.after.eflags ^ Eflags::IOPL, "EFLAGS after IRET"),
        (|done| done.after.general.ebx ^= 1, "EBX after IRET"),
        (
            |done| done.after.segments[SegmentRegister::Ds as usize].selector ^= 0x20,
            "DS after IRET",
        ),
        (|done| flip_in(&mut done.exact, 0x20_0000, 1), "IRET changed a byte at physical 00200000"),
    ];
    for (change, says) in faults {
        let mut done = SEEN.returned().last().expect("there is one").clone();
        assert!(returned(&done).is_ok(), "the control");
        change(&mut done);
        let judgement = returned(&done);
        let found: Vec<_> =
            judgement.findings.iter().map(|one| (one.rule, &one.sentence)).collect();
        assert!(
            matches!(&found[..], [(MODEL, sentence)] if sentence.contains(says)),
            "expected {says:?}, got {found:?}"
        );
    }
}

#[test]
fn what_the_manuals_leave_open_is_no_difference() {
    let open: [(Taken, Change); 2] = [
        // The upper halves of pushed selectors.
        (CALL, |e| flip_word(e, Word::Cs, 0xbeef_0000)),
        (CALL, |e| flip_word(e, Word::Ss, 0xdead_0000)),
    ];
    for (taken, change) in open {
        let mut entry = take(taken);
        change(&mut entry);
        let judgement = Checker::new(&qemu()).entry(&entry);
        assert!(judgement.is_ok(), "{judgement:#?}");
    }
}

#[test]
fn accessed_bits_that_stay_clear_are_qemus_deviation_and_a_finding_on_silicon() {
    let entry = take(CALL);
    let names: Vec<&str> =
        Checker::new(&qemu()).entry(&entry).deviations.iter().map(|known| known.name).collect();
    assert_eq!(names, ["descriptor-not-marked-accessed"]);
    let silicon = Backend { authority: Authority::Silicon, version: None, ..qemu() };
    let found = Checker::new(&silicon).entry(&entry).findings;
    let sentences: Vec<&str> = found.iter().map(|finding| &*finding.sentence).collect();
    assert!(
        found.len() == 2
            && sentences[0].starts_with("CS attributes after")
            && sentences[1].starts_with("accessed bit of descriptor 0008"),
        "{sentences:?}"
    );
}

#[test]
fn an_entry_of_a_trace_is_explained_from_the_file_alone() {
    let folder = tempfile::tempdir().expect("there is room");
    let trace = folder.path().join("trace.jsonl");
    let trace = trace.to_str().expect("the path is text");
    let run = ["run", "--module", "compute 40", "--quiet", "--trace", trace];
    esp0(&[&run[..], &["--exact"]].concat()).assert_status(0);
    let last = std::fs::read_to_string(trace)
        .expect("it was written")
        .lines()
        .filter(|line| line.contains(r#""operation":"int""#))
        .count();
    assert!(last > 1, "the program makes system calls");
    let explained = esp0(&["explain", trace, "1"]);
    explained.assert_status(0);
    for part in ["external interrupt 0x20: done", "SDM vol. 3A", "pushed EIP", "execution goes on"]
    {
        assert!(explained.stdout.contains(part), "expected {part:?} in\n{}", explained.stdout);
    }
    let returned = esp0(&["explain", trace, "1", "--return"]);
    returned.assert_status(0);
    assert!(returned.stdout.contains("IRET, 4 bytes a word: done"), "{}", returned.stdout);
    // Without exact mode there is nothing to explain from.
    esp0(&run).assert_status(0);
    let refused = esp0(&["explain", trace, "1"]);
    refused.assert_status(2);
    assert!(refused.stderr.contains("trace with --exact"), "{}", refused.stderr);
}

#[test]
fn exact_mode_is_refused_where_it_cannot_work() {
    for (option, value) in [("--clock", "real"), ("--probe", "none")] {
        let refused = esp0(&["run", "--exact", option, value]);
        refused.assert_status(2);
        assert!(refused.stderr.contains("--exact needs"), "{}", refused.stderr);
    }
}

/// The last such entry of the run, as a right processor makes it.
fn take(taken: Taken) -> Entry {
    let found = SEEN.entries().rev().find(|e| (e.kind, e.vector, e.origin.ring) == taken);
    let mut entry = found.unwrap_or_else(|| panic!("no {taken:?}")).clone();
    // RF as the model has it, whatever the CPU below has made of it.
    let outcome = exact(&entry).account().outcome;
    let eflags =
        outcome.writes.iter().find(|write| write.owner == ia32::Owner::Pushed(Word::Eflags));
    let expected = eflags.expect("each frame has EFLAGS").value;
    let got = entry.frame.get(Word::Eflags).expect("the frame is mapped");
    flip_word(&mut entry, Word::Eflags, expected ^ got);
    entry.frame = entry.frame.with(Word::Eflags, expected);
    entry
}

fn exact(entry: &Entry) -> &Exact {
    entry.exact.as_ref().unwrap_or_else(|| panic!("entry #{} is not exact", entry.sequence))
}

fn is_pushed(write: &ia32::Write) -> bool {
    matches!(write.owner, ia32::Owner::Pushed(_))
}

/// What the rules say of a return by itself.
fn returned(returned: &Returned) -> Judgement {
    Checker::new(&qemu()).returned(returned)
}

/// The CPU model that the deviations of accessed bits are known of.
fn qemu() -> Backend {
    let version = Some(Version { major: 10, minor: 0 });
    Backend { authority: Authority::Tcg, version, ..tests::host().backend.clone() }
}

/// Changes bits of a pushed word as it lies in memory; what the rules took for the frame stays.
fn flip_word(entry: &mut Entry, word: Word, bits: u32) {
    let offset =
        entry.frame.address_of(word).expect("the frame has the word") - entry.frame.address;
    let start = entry.frame.physical.expect("the frame is mapped") + u64::from(offset);
    for (address, bits) in (start..).zip(bits.to_le_bytes()) {
        flip_at(entry, address, bits);
    }
}

/// Changes bits of a byte, counted from the frame's lowest.
fn flip_beside(entry: &mut Entry, offset: i64, bits: u8) {
    let start = entry.frame.physical.expect("the frame is mapped");
    flip_at(entry, start.wrapping_add_signed(offset), bits);
}

fn flip_at(entry: &mut Entry, address: u64, bits: u8) {
    flip_in(entry.exact.as_mut().expect("the entry is exact"), address, bits);
}

/// As if the processor had left other bits in the byte at `address`.
fn flip_in(exact: &mut Exact, address: u64, bits: u8) {
    let before = exact.memory.get(address).unwrap_or(0);
    match exact.changed.binary_search_by_key(&address, |byte| byte.address) {
        Ok(index) => exact.changed[index].after ^= bits,
        Err(_) if bits == 0 => {}
        Err(index) => {
            exact.changed.insert(index, ChangedByte { address, before, after: before ^ bits });
        }
    }
}

/// As if the processor had read another byte.
fn set_memory(entry: &mut Entry, address: u64, value: u8) {
    let exact = entry.exact.as_mut().expect("the entry is exact");
    assert!(exact.memory.get(address).is_some_and(|byte| byte != value));
    exact.memory.set(address, value);
}

/// The physical address of a descriptor of the microkernel, whose image is mapped from 0xC0000000 on.
fn descriptor(entry: &Entry, selector: u16) -> u64 {
    u64::from(entry.after.gdtr.base & 0x0fff_ffff) + u64::from(selector)
}

#[test]
fn what_was_asked_of_the_model_is_what_happened() {
    let asked = |entry: &Entry| exact(entry).operation;
    for entry in SEEN.entries() {
        let right = match (entry.kind, asked(entry)) {
            (Kind::Software, operation) => {
                operation == ia32::Interruption::int(entry.vector.0).into()
            }
            (Kind::External, Operation::Interruption(event)) => {
                event
                    == ia32::Interruption {
                        repeating: event.repeating,
                        ..ia32::Interruption::external(entry.vector.0)
                    }
            }
            (Kind::Fault, operation) => {
                let code = entry.frame.get(Word::ErrorCode);
                operation == ia32::Interruption::fault(entry.vector, code).into()
            }
            _ => false,
        };
        assert!(right, "entry #{}: {:?}", entry.sequence, asked(entry));
    }
}
