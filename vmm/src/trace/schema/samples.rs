//! Records for tests: one of each kind at least, and events made of any numbers.

use super::*;
use crate::check::{
    ChangedWord, CodePlace, Degree, Finding, Judgement, LookBack, Subject, TaskId, Verdict,
};
use crate::entry::{CodeBytes, Entry, Frame, InnerStack, Kind, Origin, OriginSource, Return};
use crate::host::DEVIATIONS;
use crate::machine::{LinearMemory, Memory, Paging};
use ia32::{Eflags, FrameShape, Gate, GateKind, General, Segment, Selector, State, Vector, Word};
use std::collections::BTreeMap;

/// A state of any numbers.
fn some_state(words: &[u32]) -> State {
    let mut state = State {
        general: General::from_array(std::array::from_fn(|n| words[n])),
        ..State::default()
    };
    [state.eip, state.cr0, state.cr2, state.cr3, state.cr4] = std::array::from_fn(|n| words[8 + n]);
    state.eflags = Eflags(words[13]);
    for (n, segment) in
        state.segments.iter_mut().chain([&mut state.tr, &mut state.ldtr]).enumerate()
    {
        *segment = Segment {
            selector: words[14 + n] as u16,
            attributes: words[15 + n] as u16,
            ..Segment::default()
        };
    }
    state
}

/// A frame of any shape; some of them lie in part in a page that is not there.
fn some_frame(words: &[u32]) -> Frame {
    let mut memory = Memory::detached(0x2000).unwrap();
    let cut = words[0].is_multiple_of(7);
    let address = if cut { 0x1ff8 } else { 0x1000 };
    for (n, word) in words[1..11].iter().enumerate() {
        let _ = memory.write(address + n as u64 * 4, &word.to_le_bytes());
    }
    let from_virtual_8086 = words[0] & 8 != 0;
    let shape = FrameShape {
        changes_stack: from_virtual_8086 || words[0] & 16 != 0,
        from_virtual_8086,
        error_code: words[0] & 32 != 0,
        word_size: if words[0] & 0xc0 == 0 { 2 } else { 4 },
    };
    let linear = LinearMemory { memory: &memory, paging: Paging::default() };
    Frame::read(&linear, address as u32, shape)
}

fn some_judgement(number: u32, task: u32) -> Judgement {
    let known = DEVIATIONS.len();
    Judgement {
        task: (task > 0).then_some(TaskId(task)),
        deviations: (0..number as usize % 3)
            .map(|n| &DEVIATIONS[(number as usize / 3 + n) % known])
            .collect(),
        ..Judgement::default()
    }
}

/// An entry of any numbers that the hot line takes.
pub(crate) fn some_entry(words: [u32; 40], counts: [u64; 2], task: u32) -> (Entry, Judgement) {
    let flags = words[30];
    let entry = Entry {
        sequence: counts[0],
        time: counts[1],
        vector: Vector(words[31] as u8),
        kind: [Kind::Software, Kind::Fault, Kind::External, Kind::Nmi][flags as usize % 4],
        origin: Origin {
            ring: (flags >> 4 & 3) as u8,
            virtual_8086: flags & 4 != 0,
            source: [OriginSource::Before, OriginSource::Return, OriginSource::Frame]
                [(flags >> 8) as usize % 3],
        },
        before: (flags & 0x1000 != 0).then(|| Box::new(some_state(&words[5..]))),
        after: some_state(&words),
        gate: Gate {
            kind: GateKind::Interrupt32,
            selector: Selector(words[32] as u16),
            offset: words[33],
            dpl: (words[34] & 3) as u8,
            present: true,
        },
        inner_stack: (flags & 0x2000 != 0)
            .then(|| InnerStack { ss: words[35] as u16, esp: words[36] }),
        frame: some_frame(&words[20..]),
        code: CodeBytes {
            linear: (flags & 0x4000 != 0).then_some(words[37]),
            ..CodeBytes::default()
        },
        within_switch: false,
        expected: None,
        exact: None,
        ldt_stack: (flags & 0x8000 != 0).then_some(words[38]),
    };
    (entry, some_judgement(words[39], task))
}

/// A return of any numbers.
pub(crate) fn some_return(words: [u32; 40], counts: [u64; 2], task: u32) -> (Return, Judgement) {
    let returning = Return {
        after_sequence: counts[0],
        time: counts[1],
        state: some_state(&words),
        frame: some_frame(&words[20..]),
    };
    (returning, some_judgement(words[39], task))
}

/// Some of each kind.
pub(crate) fn all() -> Vec<Record> {
    let mut words: [u32; 40] = std::array::from_fn(|n| (n as u32 + 1) * 0x0101_0101);
    words[20] = 0x50;
    words[31] = 0x80;
    let (mut entry, _) = some_entry(words, [3, 40], 1);
    entry.kind = Kind::Software;
    let mut with_finding = EntryRecord::new(&entry, 1);
    with_finding.verdict = RecordVerdict::Finding;
    with_finding.findings.push(finding());
    with_finding.notes.push(FindingRecord { difference: None, advice: None, ..finding() });
    let mut exact_entry = EntryRecord::new(&entry, 0);
    exact_entry.exact = Some(Box::new(exact()));
    let (returning, _) = some_return(words, [3, 41], 2);
    let mut cut = some_return(std::array::from_fn(|n| words[n] & !0x3f | 0x10), [3, 41], 2).0;
    cut.frame = some_frame(&[7 * 16; 11]);
    vec![
        Record::Header(HeaderRecord {
            authority: "tcg".into(),
            backend: "kvm_amd".into(),
            clock: "real".into(),
            kernel: "kernel.elf".into(),
            command_line: "\"quoted\"".into(),
            memory: 16 << 20,
            ..HeaderRecord::new()
        }),
        Record::Place(PlaceRecord {
            address: 0x0804_8f8d,
            used: PlaceUse::Interrupted,
            task: 2,
            program: Some("writer".into()),
            symbol: "call::getpid".into(),
            offset: 17,
            file: Some("call.rs".into()),
            line: Some(155),
        }),
        Record::Stack(StackRecord {
            instruction: "mov ss".into(),
            before: (&State::default()).into(),
            after: (&some_state(&words)).into(),
        }),
        Record::Entry(Box::new(EntryRecord::new(&entry, 1))),
        Record::Entry(Box::new(with_finding)),
        Record::Entry(Box::new(exact_entry)),
        Record::Return(Box::new(ReturnRecord::new(&returning, 2))),
        Record::Return(Box::new(ReturnRecord::new(&cut, 2))),
        Record::Returned(Box::new(ReturnedRecord {
            after: 3,
            time: 44,
            exact: Some(Box::new(exact())),
            verdict: RecordVerdict::Ok,
            deviations: vec!["external-pushes-rf-1".into()],
            findings: Vec::new(),
            notes: Vec::new(),
        })),
        Record::Switch(Box::new(switch())),
        Record::Switch(Box::new(SwitchRecord {
            by: SwitchBy::Gate,
            vector: Some(8),
            error_code: Some(0),
            ..switch()
        })),
        Record::Switch(Box::new(SwitchRecord { by: SwitchBy::Iret, ..switch() })),
        Record::Sysenter(Box::new(sysenter())),
        Record::Crossing(Box::new(crossing())),
        Record::Crossing(Box::new(CrossingRecord {
            way: WayName::Return,
            from_ring: 0,
            to_ring: 3,
            gate: None,
            verdict: RecordVerdict::Finding,
            findings: vec![finding()],
            ..crossing()
        })),
        Record::Console(ConsoleRecord::new(b"hello\n".to_vec())),
        Record::Console(ConsoleRecord::new(vec![0xff, 0x00])),
        Record::Cause(Box::new(cause())),
        Record::End(Box::new(end())),
    ]
}

fn finding() -> FindingRecord {
    let mut finding = Finding::new("empty_stack", Subject::Kernel, "a sentence", "this", "that")
        .because("a reason")
        .advise("do this")
        .of_word(Word::Esp, 0xf000_7fec, 0xf000_5fec)
        .about(CodePlace::Switch(0xf010_0100))
        .about(CodePlace::Handler(0xf010_0000))
        .about_instruction(0xf010_0200);
    let word = ChangedWord { address: 0xf000_1004, physical: 0x1004, value: 0xf000_6000 };
    finding.look_back = Some(LookBack::Stored(word));
    finding.degree = Degree::Fault;
    let names = BTreeMap::from([("f0007fec".to_owned(), "kstack+4076".to_owned())]);
    FindingRecord::new(&finding, "#3 int 0x80 in task 1", 0xf010_0000, names)
}

fn exact() -> ExactRecord {
    use crate::entry::{Exact, KnownBytes};
    use crate::machine::ChangedByte;
    let mut memory = KnownBytes::default();
    memory.set(0x1000, 0x80);
    ExactRecord::new(&Exact {
        operation: ia32::Interruption::int(0x80).into(),
        before: State::default(),
        processor: ia32::Processor::AMD,
        memory,
        changed: vec![ChangedByte { address: 0x2000, before: 0, after: 1 }],
        touched: Vec::new(),
        all_touched: false,
        decided: true,
    })
    .expect("exact mode has interrupts")
}

fn sysenter() -> SysenterRecord {
    SysenterRecord {
        after: 3,
        time: 45,
        task: 2,
        cs: 8,
        eip: 0x1000,
        ss: 0x10,
        esp: 0x2000,
        eflags: 2,
        verdict: RecordVerdict::Ok,
        deviations: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    }
}

fn crossing() -> CrossingRecord {
    CrossingRecord {
        after: 3,
        time: 45,
        task: 2,
        way: WayName::Call,
        from_ring: 3,
        to_ring: 0,
        gate: Some(0x30),
        parameters: 1,
        cs: 8,
        eip: 0x1000,
        ss: 0x10,
        esp: 0x1fec,
        eflags: 0x202,
        words: vec![0x4007, 0x1b, 7, 0x5000, 0x23],
        verdict: RecordVerdict::Ok,
        deviations: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    }
}

fn switch() -> SwitchRecord {
    let task = TaskRecord {
        ss: 0x17,
        esp: 0x1000,
        cs: 0x0f,
        eip: 0x20,
        eflags: 0x202,
        ss0: 0x10,
        esp0: 0x2000,
        ldtr: 0x28,
        cr3: 0,
    };
    SwitchRecord {
        after: 3,
        time: 45,
        task: 2,
        from_ring: 0,
        to_ring: 3,
        by: SwitchBy::Jump,
        vector: None,
        error_code: None,
        selector: 0x30,
        tr: [0x20, 0x30],
        before: SwitchOrigin { ss: 0x10, esp: 0x1f00, ldtr: 0x18, eip: 0x100 },
        left: task,
        loaded: task,
        code_base: Some(0x0400_0000),
        stack_base: None,
        verdict: RecordVerdict::Ok,
        deviations: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    }
}

/// An end.
pub(crate) fn end() -> EndRecord {
    EndRecord {
        ending: "the guest powered off".into(),
        verdict: Verdict::Findings,
        counts: Counts {
            entries: 3,
            outer: 3,
            returns: 2,
            findings: 1,
            notes: 1,
            ..Counts::default()
        },
        events: vec![EventCount { vector: 0x80, kind: Kind::Software, from_ring: 3, count: 3 }],
        stacks: vec![StackRow {
            task: 1,
            esp0: 0xf000_8000,
            name: Some("kstack+4096".into()),
            lowest: 0xf000_7fec,
            entries: 3,
            deepest: 1,
        }],
        deviations: vec![DeviationCount {
            name: "external-pushes-rf-1".into(),
            count: 2,
            description: "an interrupt pushes RF = 1".into(),
        }],
        rules: vec![RuleCount { rule: "empty_stack".into(), findings: 1, notes: 1 }],
        probes: ProbeCounts { patched_no_ops: 6, ..ProbeCounts::default() },
        copies_frames: false,
        unmet: Some("login: ".into()),
        last: Some(Box::new(LastRecord {
            when: LastMoment::Before,
            vector: Some(0x20),
            state: (&State { eip: 0x10_0250, ..State::default() }).into(),
            names: BTreeMap::from([("eip".to_owned(), "timer+12 (kernel.c:40)".to_owned())]),
        })),
        screen: Some(ScreenRecord {
            columns: 80,
            rows: 25,
            address: 0xb8000,
            lines: vec!["panic".into()],
        }),
        unjudged: vec![UnjudgedRecord {
            what: "task_gate".into(),
            sentence: "entries by the task gate of vector 0x08".into(),
            unused: true,
        }],
        unanswered: vec!["nobody there port 0x92: read once, first by 00100250".into()],
        findings: vec![finding()],
        notes: Vec::new(),
    }
}

fn cause() -> CauseRecord {
    CauseRecord {
        rule: "empty_stack".into(),
        at: 0xf010_0000,
        sentence: "a sentence".into(),
        writer: vec!["f0001004 was written by `mov`".into()],
        way: vec!["`ret` led there".into()],
        places: vec![code()],
    }
}

fn code() -> CodeRecord {
    let source = SourceRecord {
        path: "/kernel.c".into(),
        line: 40,
        first: 39,
        lines: vec!["{".into(), "    tick();".into()],
        newer: false,
    };
    CodeRecord {
        name: Some("timer+12 (kernel.c:40)".into()),
        at: "00100250".into(),
        code: vec![["00100250".into(), "cf".into(), "iretd".into()]],
        source: Some(source),
    }
}

/// What a run with `--report` writes between the others, by their type.
pub(crate) fn for_the_page() -> Vec<(&'static str, PageRecord)> {
    let words = || ("f0007fec".to_owned(), "0804808700000023".to_owned());
    let stack = StackDetail {
        from: "f0006000".into(),
        to: "f0008000".into(),
        below: Some(1),
        words: vec![words()],
    };
    let entry = DetailRecord {
        entry: Some(7),
        code: Some(2),
        handler: Some(0),
        stack: Some(stack.clone()),
        user: Some(words()),
        top: Some("00107000".into()),
        top_name: Some("kernel_stack+4096".into()),
        ..DetailRecord::default()
    };
    let late = StackDetail { below: None, ..stack };
    let late = DetailRecord { entry: Some(9), stack: Some(late), ..DetailRecord::default() };
    let back = DetailRecord {
        r#return: Some(0),
        code: Some(5),
        changed: Some(vec![words()]),
        ..DetailRecord::default()
    };
    let code = code();
    let bare = CodeRecord { name: None, source: None, ..code.clone() };
    let names = [("00100250".to_owned(), "timer+12".to_owned())].into();
    vec![
        ("detail", PageRecord::Detail(entry)),
        ("detail", PageRecord::Detail(late)),
        ("detail", PageRecord::Detail(back)),
        ("code", PageRecord::Code(code)),
        ("code", PageRecord::Code(bare)),
        ("names", PageRecord::Names { names }),
    ]
}
