//! Entries and returns made by hand, in memory that belongs to no VM: what rules say of them.

use super::{Checker, Degree, Finding, Judgement, Object, Objects};
use crate::entry::{CodeBytes, Entry, Frame, InnerStack, Kind, Origin, OriginSource, Return};
use crate::host::{Authority, Backend};
use crate::machine::{LinearMemory, Memory, Paging};
use ia32::{Eflags, FrameShape, Gate, GateKind, Selector, State, TableRegister, Vector, Word};

const HANDLER: u32 = 0x10_0000;
const IRET: u32 = 0x10_0100;
const TSS: u32 = 0x2000;
/// The five words of a program in ring 3.
const WORDS: [u32; 5] = [0x8048, 0x1b, 0x202, 0x9000, 0x23];

/// A kernel whose every event is told by the test.
struct Desk {
    checker: Checker,
    memory: Memory,
    sequence: u64,
    eflags: u32,
    cr3: u32,
}

impl Desk {
    fn new() -> Self {
        let backend = Backend {
            authority: Authority::Silicon,
            doubts: Vec::new(),
            module: "none".into(),
            version: None,
            processor: "none".into(),
            hypervisor: None,
            kernel: "none".into(),
        };
        let mut desk = Desk {
            checker: Checker::new(&backend),
            memory: Memory::detached(0x40_0000).unwrap(),
            sequence: 0,
            eflags: 2,
            cr3: 0,
        };
        // Flat segments of ring 0 and ring 3, and a TSS at the end of the GDT.
        for (index, entry) in [
            0,
            0x00cf_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_fb00_0000_ffff,
            0x00cf_f300_0000_ffff_u64,
        ]
        .into_iter()
        .enumerate()
        {
            desk.memory.write(0x1000 + index as u64 * 8, &entry.to_le_bytes()).unwrap();
        }
        desk
    }

    /// Ring 0, flat, at `eip` with ESP.
    fn state(&self, eip: u32, esp: u32) -> State {
        let linear = LinearMemory { memory: &self.memory, paging: Paging::default() };
        let mut state = State {
            cr0: 1,
            cr3: self.cr3,
            eip,
            eflags: Eflags(self.eflags),
            gdtr: TableRegister { base: 0x1000, limit: 0x27 },
            ..State::default()
        };
        for (index, selector) in [0x23, 0x08, 0x10, 0x23, 0, 0].into_iter().enumerate() {
            if let Some(one) = linear.descriptor(&state, Selector(selector)) {
                state.segments[index] = one.segment(selector);
            }
        }
        state.tr = ia32::Segment { selector: 0x28, attributes: 0x8b, base: TSS, limit: 103 };
        state.general.esp = esp;
        state
    }

    fn store(&mut self, address: u32, words: &[u32]) {
        for (at, word) in (address..).step_by(4).zip(words) {
            self.memory.write(at.into(), &word.to_le_bytes()).unwrap();
        }
    }

    /// An event pushes `words` below `top`, error code first.
    fn enter_with(
        &mut self,
        (kind, vector): (Kind, Vector),
        top: u32,
        words: &[u32],
        change: impl FnOnce(&mut Entry),
    ) -> Judgement {
        self.sequence += 1;
        let address = top - words.len() as u32 * 4;
        self.store(address, words);
        self.store(TSS + 4, &[top, 0x10]);
        let outer = words.len() >= 5;
        let shape = FrameShape {
            changes_stack: outer,
            from_virtual_8086: false,
            error_code: vector.has_error_code() && kind == Kind::Fault,
            word_size: 4,
        };
        let linear = LinearMemory { memory: &self.memory, paging: Paging::default() };
        let frame = Frame::read(&linear, address, shape);
        let mut entry = Entry {
            sequence: self.sequence,
            time: 0,
            vector,
            kind,
            origin: Origin {
                ring: if outer { 3 } else { 0 },
                virtual_8086: false,
                source: OriginSource::Return,
            },
            before: None,
            after: self.state(HANDLER, address),
            gate: Gate {
                kind: GateKind::Interrupt32,
                selector: Selector(8),
                offset: HANDLER,
                dpl: 3,
                present: true,
            },
            inner_stack: Some(InnerStack { ss: 0x10, esp: top }),
            frame,
            code: CodeBytes { linear: frame.get(Word::Eip), ..CodeBytes::default() },
            expected: None,
            exact: None,
            within_switch: false,
            ldt_stack: None,
        };
        entry.after.eflags =
            Eflags(frame.get(Word::Eflags).unwrap_or(2) & (Eflags::STATUS.0 | Eflags::DF.0) | 2);
        change(&mut entry);
        self.checker.look_at_entry(&linear, &entry);
        self.checker.entry(&entry)
    }

    fn enter(&mut self, event: (Kind, Vector), top: u32, words: &[u32]) -> Judgement {
        self.enter_with(event, top, words, |_| {})
    }

    /// The IRET pops what lies at `address`.
    fn leave_with(&mut self, address: u32, change: impl FnOnce(&mut Return)) -> Judgement {
        let linear = LinearMemory { memory: &self.memory, paging: Paging::default() };
        let outer = linear.read_u32(address + 4).unwrap() & 3 == 3;
        let shape = FrameShape {
            changes_stack: outer,
            from_virtual_8086: false,
            error_code: false,
            word_size: 4,
        };
        let mut returning = Return {
            after_sequence: self.sequence,
            time: 0,
            state: self.state(IRET, address),
            frame: Frame::read(&linear, address, shape),
        };
        change(&mut returning);
        self.checker.look_at_return(&linear, &returning);
        self.checker.leave(&returning)
    }

    fn leave(&mut self, address: u32) -> Judgement {
        self.leave_with(address, |_| {})
    }

    /// The IRET pops these words, stored at `address`.
    fn leave_to(&mut self, address: u32, words: &[u32]) -> Judgement {
        self.store(address, words);
        self.leave(address)
    }
}

const TIMER: (Kind, Vector) = (Kind::External, Vector(0x20));
const CALL: (Kind, Vector) = (Kind::Software, Vector(0x80));
const PAGE_FAULT: (Kind, Vector) = (Kind::Fault, Vector::PF);

fn with(word: usize, value: u32) -> [u32; 5] {
    let mut words = WORDS;
    words[word] = value;
    words
}

#[track_caller]
fn only(judgement: &Judgement) -> &Finding {
    match &judgement.findings[..] {
        [one] => one,
        others => panic!("expected one finding, got {others:#?}"),
    }
}

#[track_caller]
fn clean(judgement: &Judgement) {
    assert!(judgement.is_unremarkable(), "{judgement:#?}");
}

fn rules(judgement: &Judgement) -> Vec<&'static str> {
    judgement.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_refused_iret_is_no_return_and_the_words_say_how_far_off_it_was() {
    let mut desk = Desk::new();
    clean(&desk.leave_to(0x8000 - 20, &WORDS));
    let mut words = vec![6];
    words.extend(WORDS);
    words[3] |= Eflags::RF.0;
    clean(&desk.enter(PAGE_FAULT, 0x8000, &words));
    // The error code is still there.
    desk.leave(0x8000 - 24);
    let fault = [0x8048, IRET, 8, 0x1_0002];
    let judgement = desk.enter((Kind::Fault, Vector::GP), 0x8000 - 24, &fault);
    let finding = only(&judgement);
    assert!(judgement.refuses_return);
    assert_eq!(finding.rule, "refused_iret");
    assert!(finding.sentence.contains("the IRET at 00100100 was refused with #GP(8048)"));
    let reason = finding.reason.as_deref().unwrap();
    assert!(
        reason.contains("4 bytes too few")
            && reason.contains("popped as EIP: the error code of #1"),
        "{reason}"
    );
    assert!(finding.advice.as_deref().unwrap().contains("add esp, 4"));
    // Nothing was popped: the frame of #1 is still live, and no stack was invented.
    let history = desk.checker.history();
    assert_eq!(history.live().map(|live| live.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((history.stacks().len(), history.refused_returns()), (1, 1));
}

#[test]
fn a_refused_iret_without_an_entry_is_told_by_the_model() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &[0x8048, 0x18, 0x202, 0x9000, 0x20]);
    let judgement = desk.enter((Kind::Fault, Vector::GP), 0x8000 - 20, &[0x18, IRET, 8, 0x1_0002]);
    let finding = only(&judgement);
    assert_eq!(
        finding.got,
        "IRET to CS 0018 with RPL 0 while the descriptor has DPL 3; the same for SS: 0020 with RPL 0, DPL 3"
    );
    assert_eq!(finding.advice.as_deref(), Some("put 001b as CS and 0023 as SS into the frame"));
    // The handler ends in the same IRET: one cause, told once.
    desk.leave(0x8000 - 36);
    clean(&desk.enter((Kind::Fault, Vector::GP), 0x8000 - 36, &[0x18, IRET, 8, 0x1_0002]));
}

#[test]
fn one_stack_with_frames_in_records_is_nobodys_fault() {
    let mut desk = Desk::new();
    let other = [0x8100, 0x1b, 0x202, 0xa000, 0x23];
    desk.leave_to(0x2_0000, &WORDS);
    desk.enter(TIMER, 0x8000, &WORDS);
    // Saved in an order of its own.
    desk.store(0x3_0000, &[WORDS[3], 1, 2, 3, WORDS[0]]);
    clean(&desk.leave_to(0x2_0100, &other));
    clean(&desk.enter(TIMER, 0x8000, &other));
    assert!(desk.checker.history().copies_frames());
    clean(&desk.leave_to(0x2_0000, &WORDS));
    clean(&desk.enter(TIMER, 0x8000, &WORDS));
    assert_eq!(desk.checker.history().stacks().len(), 1, "records are no stacks");
}

/// A child replaces its program by the system call with which its parent waits, and has the parent's words.
#[test]
fn another_tasks_frame_is_no_copy_and_a_program_that_is_replaced_is_no_new_task() {
    let mut desk = Desk::new();
    let other = [0x8100, 0x1b, 0x202, 0xa000, 0x23];
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(CALL, 0x8000, &WORDS);
    desk.cr3 = 0x5000;
    desk.leave_to(0x6_0000 - 20, &WORDS);
    clean(&desk.enter(CALL, 0x6_0000, &WORDS));
    // The kernel leaves from deep in the call.
    clean(&desk.leave_to(0x6_0000 - 0x214, &other));
    clean(&desk.enter(CALL, 0x6_0000, &other));
    let history = desk.checker.history();
    assert!(!history.copies_frames());
    assert_eq!(history.stacks().iter().map(|one| one.top).collect::<Vec<_>>(), [0x8000, 0x6_0000]);
}

#[test]
fn a_stale_esp0_is_told_where_nobody_kept_the_words() {
    let mut desk = Desk::new();
    let other = [0x8100, 0x1b, 0x202, 0xa000, 0x23];
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(TIMER, 0x8000, &WORDS);
    clean(&desk.leave_to(0x9000 - 20, &other));
    let judgement = desk.enter(TIMER, 0x8000, &other);
    assert_eq!(only(&judgement).rule, "suspended_stack");
}

#[test]
fn a_task_that_may_have_ended_accuses_nobody() {
    let mut desk = Desk::new();
    let other = [0x8100, 0x1b, 0x202, 0xa000, 0x23];
    desk.leave_to(0x2_0004, &WORDS);
    desk.enter(CALL, 0x8000, &WORDS);
    desk.leave_to(0x2_0104, &other);
    clean(&desk.enter(CALL, 0x8000, &other));
}

#[test]
fn a_return_that_was_not_seen_is_counted_and_accuses_nobody() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(CALL, 0x8000, &WORDS);
    clean(&desk.enter(CALL, 0x8000, &WORDS));
    clean(&desk.enter(TIMER, 0x8000, &WORDS));
    assert_eq!(desk.checker.history().missed_returns(), 2);
}

#[test]
fn a_frame_made_anew_has_to_have_the_flags() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(TIMER, 0x8000, &WORDS);
    clean(&desk.leave_to(0x8000 - 100, &with(1, 0xbeef_001b)));
    desk.enter(TIMER, 0x8000, &with(2, 0x246));
    let judgement = desk.leave_to(0x8000 - 100, &WORDS);
    let finding = only(&judgement);
    assert!(
        finding.sentence.contains("are not those that #2 pushed (ZF PF changed)"),
        "{finding:?}"
    );
    // A system call answers in them.
    desk.enter(CALL, 0x8000, &with(2, 0x246));
    clean(&desk.leave_to(0x8000 - 100, &WORDS));
}

#[test]
fn a_kernel_may_turn_its_own_call_into_a_program() {
    let mut desk = Desk::new();
    desk.enter(CALL, 0x7f80, &[0x10_0200, 8, 2]);
    clean(&desk.leave_to(0x7f80 - 12, &WORDS));
    clean(&desk.enter(CALL, 0x8000, &WORDS));
    clean(&desk.leave(0x8000 - 20));
}

#[test]
fn registers_belong_to_whoever_is_interrupted() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(TIMER, 0x8000, &WORDS);
    let judgement = desk.leave_with(0x8000 - 20, |returning| {
        returning.state.general.eax = 7;
        returning.state.segments[3].selector = 0;
    });
    let finding = only(&judgement);
    assert_eq!(finding.rule, "registers_restored");
    assert!(finding.sentence.starts_with("EAX and DS are not what #1 interrupted"), "{finding:?}");
    let answers = |returning: &mut Return| returning.state.general.eax = 7;
    // A call has a result.
    desk.enter(CALL, 0x8000, &WORDS);
    clean(&desk.leave_with(0x8000 - 20, answers));
    // An instruction that is done in the program's stead has one as well.
    desk.enter((Kind::Fault, Vector::UD), 0x8000, &with(2, 0x1_0202));
    desk.store(0x8000 - 20, &[WORDS[0] + 2]);
    clean(&desk.leave_with(0x8000 - 20, answers));
    // The page is there now, and the instruction is done again.
    let words: Vec<u32> = [6].into_iter().chain(with(2, 0x1_0202)).collect();
    desk.enter(PAGE_FAULT, 0x8000, &words);
    assert_eq!(rules(&desk.leave_with(0x8000 - 20, answers)), ["registers_restored"]);
    // Who waits by HLT counts on nothing.
    desk.memory.write(0x8047, &[0xf4]).unwrap();
    desk.enter(TIMER, 0x8000, &WORDS);
    let judgement = desk.leave_with(0x8000 - 20, answers);
    assert!(judgement.findings.is_empty());
    assert_eq!(judgement.notes[0].degree, Degree::Note);
}

#[test]
fn a_segment_that_iret_makes_null_was_null_before() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter_with(TIMER, 0x8000, &WORDS, |entry| entry.after.segments[4].selector = 0);
    clean(&desk.leave_with(0x8000 - 20, |returning| {
        returning.state.segments[4] = returning.state.segments[2];
    }));
}

#[test]
fn the_direction_flag_is_the_kernels_to_clear_if_it_uses_it() {
    let with_df = with(2, 0x602);
    for (code, harm) in [
        // pusha; call +1; iret; rep movsd; ret
        (&[0x60, 0xe8, 1, 0, 0, 0, 0xcf, 0xf3, 0xa5, 0xc3][..], Some((7, "damages"))),
        // pusha; cld; rep movsd; popa; iret
        (&[0x60, 0xfc, 0xf3, 0xa5, 0x61, 0xcf], None),
        // inc eax; iret
        (&[0x40, 0xcf], None),
        // lodsb; repne scasb; repe cmpsb; rep outsb; iret
        (&[0xac, 0xf2, 0xae, 0xf3, 0xa6, 0xf3, 0x6e, 0xcf], Some((0, "reads"))),
        // lodsb; stosb; iret
        (&[0xac, 0xaa, 0xcf], Some((1, "damages"))),
        // lodsb; cld; stosb; iret
        (&[0xac, 0xfc, 0xaa, 0xcf], Some((0, "reads"))),
        // rep insw; iret
        (&[0xf3, 0x66, 0x6d, 0xcf], Some((0, "damages"))),
    ] {
        let mut desk = Desk::new();
        desk.memory.write(HANDLER.into(), code).unwrap();
        desk.leave_to(0x8000 - 20, &with_df);
        desk.enter(TIMER, 0x8000, &with_df);
        desk.eflags |= Eflags::DF.0;
        let judgement = desk.leave(0x8000 - 20);
        let told = |list: &[Finding]| list.iter().map(|told| told.reason.clone()).collect();
        let (findings, notes): (Vec<_>, Vec<_>) =
            (told(&judgement.findings), told(&judgement.notes));
        let said = harm.map(|(offset, harm)| {
            Some(format!(
                "the handler reaches the string instruction at {:08x} without CLD: with DF 1 it runs downwards, and \
                 {harm} what lies below",
                HANDLER + offset
            ))
        });
        let expected: Vec<_> = said.into_iter().collect();
        let is_note = harm.is_some_and(|(_, harm)| harm == "reads");
        let expected = if is_note { (Vec::new(), expected) } else { (expected, Vec::new()) };
        assert_eq!((findings, notes), expected, "{code:02x?}");
    }
}

#[test]
fn a_stack_that_grows_over_its_neighbour_is_told_when_the_neighbour_goes_on() {
    let other = [0x8100, 0x1b, 0x202, 0xa000, 0x23];
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    desk.enter(TIMER, 0x8000, &WORDS);
    desk.leave_to(0x9000 - 20, &other);
    desk.enter(CALL, 0x9000, &other);
    // A kernel may change another task's frame, and that alone is no overflow.
    desk.store(0x8000 - 20, &[0x8200]);
    clean(&desk.leave(0x9000 - 20));
    desk.store(0x8000 - 20, &[0x8048]);
    desk.enter(CALL, 0x9000, &other);
    // It may give the memory of a dead task to somebody, and its own record may lie there.
    desk.store(0x8000 - 12, &[0x4141_4141; 6]);
    clean(&desk.leave(0x9000 - 20));
    desk.store(0x8000 - 20, &WORDS);
    desk.enter(CALL, 0x9000, &other);
    desk.store(0x8000 - 12, &[0x4242_4242; 12]);
    // The task may be dead; when the kernel goes on from its stack, it is not.
    clean(&desk.leave(0x9000 - 20));
    let judgement =
        desk.enter((Kind::Fault, Vector::GP), 0x8000 - 60, &[0x4140, 0x10_0300, 8, 0x1_0002]);
    let finding = only(&judgement);
    assert_eq!(finding.rule, "overflow");
    assert!(
        finding.sentence.starts_with(
            "the words of task 1's frame (#1) were overwritten while task 2 was in the kernel"
        ),
        "{finding:?}"
    );
    assert!(finding.reason.as_deref().unwrap().contains("at least 12 bytes beyond"), "{finding:?}");
    // It is told once.
    clean(&desk.enter(CALL, 0x9000, &other));
}

#[test]
fn esp0_at_a_start_is_told_by_what_lies_around_it() {
    let objects = |stack: u32| {
        Objects::new(vec![
            Object { name: "table".into(), start: stack - 64, end: stack },
            Object { name: "kstack".into(), start: stack, end: stack + 4096 },
        ])
    };
    let mut desk = Desk::new();
    desk.checker = desk.checker.with_objects(objects(0x3_0040));
    desk.store(0x3_0000, &(1..=16).collect::<Vec<_>>());
    desk.store(TSS + 4, &[0x3_0040, 0x10]);
    desk.leave_to(0x8000 - 100, &WORDS);
    let judgement = desk.enter(CALL, 0x3_0040, &WORDS);
    let finding = only(&judgement);
    assert_eq!(finding.rule, "stack_start");
    assert!(
        finding.sentence.ends_with("overwrite table") && finding.got.contains("kstack+0"),
        "{finding:?}"
    );
    // The end of the same array.
    let mut desk = Desk::new();
    desk.checker = desk.checker.with_objects(objects(0x3_0040));
    desk.store(TSS + 4, &[0x3_1040, 0x10]);
    desk.leave_to(0x8000 - 100, &WORDS);
    clean(&desk.enter(CALL, 0x3_1040, &WORDS));
}

#[test]
fn esp0_in_a_table_or_in_the_users_stack_is_the_kernels_fault_alone() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 100, &WORDS);
    let judgement = desk.enter_with(CALL, TSS + 40, &WORDS, |entry| {
        // What lies there now is what was pushed.
        entry.inner_stack = Some(InnerStack { ss: 0, esp: 0x1b });
    });
    assert_eq!(rules(&judgement), ["stack_over_tables"]);
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 100, &WORDS);
    assert_eq!(rules(&desk.enter(CALL, 0x9000, &WORDS)), ["user_stack"]);
}

#[test]
fn a_lower_esp0_is_odd_and_one_in_the_middle_of_a_stack_is_not() {
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 20, &WORDS);
    let judgement = desk.enter(CALL, 0x8000 - 16, &WORDS);
    assert!(judgement.findings.is_empty());
    assert_eq!(judgement.notes[0].rule, "empty_stack");
    // Ring 3 was reached from somewhere on the stack that ESP0 is the end of.
    let mut desk = Desk::new();
    desk.leave_to(0x8000 - 60, &WORDS);
    clean(&desk.enter(CALL, 0x8000, &WORDS));
}

/// What is looked at for an event does not grow with the number of stacks, their logarithm aside.
#[test]
fn ten_thousand_stacks_cost_what_ten_do() {
    let visited = |stacks: u32| {
        let mut desk = Desk::new();
        let top = |task: u32| 0x4_0000 + (task + 1) * 64;
        let words = |task: u32| with(3, 0x100_0000 + task * 16);
        for task in 0..stacks {
            desk.leave_to(top(task) - 20, &words(task));
            desk.enter(TIMER, top(task), &words(task));
        }
        let before = desk.checker.history().visited();
        // Each task has its turn, in an order that no cache would like.
        for turn in 0..200 {
            let task = turn * 7 % stacks;
            desk.leave(top(task) - 20);
            clean(&desk.enter(TIMER, top(task), &words(task)));
        }
        assert_eq!(desk.checker.history().stacks().len(), stacks as usize);
        desk.checker.history().visited() - before
    };
    let (few, many) = (visited(10), visited(10_000));
    assert!(many * 4 <= few * 5, "{few} for ten stacks, {many} for ten thousand");
}
