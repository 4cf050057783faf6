//! The library, as a kernel's own tests use it.

use esp0::guest::{Guest, GuestError, Judged, Setup, Sink, Verdict};
use esp0::guests;
use esp0::machine::Machine;
use esp0::probe::Choice;
use esp0::retrace::Writer;
use esp0::run::Ending;
use ia32::{Vector, Word};
use std::time::Duration;
use tests::{case, compiled};

fn micro() -> Setup {
    let guest = guests::guest("micro").expect("it is carried");
    let mut setup = Guest::from_bytes("micro", guest.kernel).timeout(Duration::from_secs(300));
    for command in guest.modules {
        let program = guests::program(command).expect("it is carried");
        setup = setup.module(*command, program.bytes);
    }
    setup
}

#[test]
fn a_kernel_is_run_to_a_place_and_asked() {
    let mut guest = micro().deterministic().boot().expect("micro boots");
    let entry = guest.run_until(|entry| entry.vector == Vector(0x80)).expect("it calls");
    assert_eq!(entry.frame.selector(Word::Cs), Some(0x1b));
    let registers = guest.registers();
    assert_eq!((registers.eip, registers.general.esp), (entry.after.eip, entry.frame.address));
    // The frame, read by whoever asks.
    let eip = guest.read_u32(entry.frame.address).expect("the kernel's stack is mapped");
    assert_eq!(Some(eip), entry.frame.get(Word::Eip));
    let next = guest.run_entries(3).expect("three more");
    assert_eq!(next.sequence, entry.sequence + 3);
    guest.run_until_console("compute").expect("it tells its tasks");
    let end = guest.run_to_end().expect("it powers off");
    assert!(end.ending.is_good(), "{}", end.ending);
    guest.assert_clean();
    assert!(matches!(guest.run_until(|_| true), Err(GuestError::Ended { .. })));
}

#[test]
fn what_is_changed_after_a_checkpoint_is_gone_after_going_back() {
    let mut guest = micro().boot().expect("micro boots");
    let entry = guest.run_until(|entry| entry.vector == Vector(0x80)).expect("it calls");
    let checkpoint = guest.checkpoint().expect("KVM gives its state");
    let plain = guest.run_until(|_| true).expect("another entry");
    guest.restore(&checkpoint).expect("KVM takes its state");
    // Another system call, which no program makes: the kernel refuses it, and goes on.
    let mut registers = guest.registers();
    let before = registers.general;
    registers.general.eax = 0xdead;
    guest.set_registers(&registers).expect("KVM takes registers");
    guest.write(entry.frame.address, &[0x11; 4]).expect("the stack is mapped");
    assert_eq!(guest.read_u32(entry.frame.address).ok(), Some(0x1111_1111));
    guest.restore(&checkpoint).expect("KVM takes its state");
    assert_eq!(guest.registers().general, before);
    assert_eq!(guest.read_u32(entry.frame.address).ok(), entry.frame.get(Word::Eip));
    let again = guest.run_until(|_| true).expect("another entry");
    assert_eq!(format!("{again:?}"), format!("{plain:?}"));
    guest.assert_clean();
}

/// Back by instructions from an entry to before it, and forwards again to the same; on both clocks that repeat.
#[test]
fn a_guest_goes_back_by_instructions_and_comes_to_the_same_again() {
    let Some(kernel) = case("stack_overflow") else { return };
    for by_exits in [false, true] {
        let setup = Guest::from_bytes("stack_overflow", kernel.clone());
        let setup = setup.timeout(Duration::from_secs(300));
        let setup = if by_exits { setup.by_exits() } else { setup.deterministic() };
        let mut guest = setup.reversible().boot().expect("it boots");
        guest.run_until(|entry| entry.vector == Vector(0x80)).expect("a system call");
        let found = guest.run_until(|entry| entry.vector == Vector(0x80)).expect("another");
        let mut way = Vec::new();
        while way.len() < 60 {
            way.push(guest.registers());
            assert!(guest.step_back().expect("KVM takes its state"), "{} steps back", way.len());
        }
        assert_eq!((way[0].cpl(), way[1].cpl()), (0, 3), "ring 3 calls, in front of the entry");
        assert_eq!(way[0].general.esp, found.frame.address);
        assert_eq!(way[59].cpl(), 0, "and before that it was come back to");
        while let Some(state) = way.pop() {
            assert!(guest.step().expect("KVM runs it"));
            let now = guest.registers();
            assert_eq!((now.eip, now.general), (state.eip, state.general), "{} to go", way.len());
        }
        let next = guest.run_until(|_| true).expect("the next entry");
        assert_eq!(next.sequence, found.sequence + 1);
    }
}

#[test]
fn whoever_changed_a_word_is_named_and_the_guest_stays_where_it_is() {
    let Some(kernel) = case("stack_overflow") else { return };
    let setup = Guest::from_bytes("stack_overflow", kernel).timeout(Duration::from_secs(300));
    let mut guest = setup.deterministic().reversible().boot().expect("it boots");
    let tick = guest.run_until(|entry| entry.vector == Vector(0x20)).expect("a tick");
    let call = guest.run_until(|entry| entry.vector == Vector(0x80)).expect("a system call");
    guest.run_until(|_| true).expect("the next entry");
    let before = guest.registers();
    // The EIP that the tick pushed, and what is left of it.
    let writer =
        guest.who_wrote(tick.frame.address).expect("it is mapped").expect("it was written");
    let Writer::Instruction { before: state, after_entry, new, .. } = writer else {
        panic!("{writer:?}");
    };
    assert_eq!((new, after_entry), (0x4141_4141, call.sequence));
    let format = guest.symbol("format").expect("it has symbols");
    assert!((format..format + 32).contains(&state.eip), "at {:08x}", state.eip);
    assert_eq!(guest.registers().general, before.general);
    // What the processor has pushed, and what nobody has touched.
    let pushed = guest.who_wrote(before.general.esp).expect("it is mapped");
    assert!(matches!(pushed, Some(Writer::Push { .. })), "{pushed:?}");
    let untouched = guest.symbol("user_stack").expect("it has symbols");
    assert!(guest.who_wrote(untouched).expect("it is mapped").is_none());
    let mut plain = Guest::from_bytes("micro", guests::GUESTS[0].kernel)
        .deterministic()
        .boot()
        .expect("it boots");
    assert!(matches!(plain.who_wrote(untouched), Err(GuestError::Contradiction(_))));
    assert!(matches!(plain.step_back(), Err(GuestError::Contradiction(_))));
}

#[test]
fn an_address_is_run_to_and_the_guest_goes_on_as_if_nothing_had_been_there() {
    for probes in [Choice::Auto, Choice::Breakpoint, Choice::Patch] {
        let mut guest = micro().probes(probes).boot().expect("micro boots");
        let entry = guest.run_until(|entry| entry.origin.ring == 3).expect("a task runs");
        // Where the task goes on.
        let back = entry.frame.get(Word::Eip).expect("it was pushed");
        let state = guest.run_until_address(back).expect("it returns");
        assert_eq!((state.eip, state.cpl()), (back, 3));
        let end = guest.run_to_end().expect("it powers off");
        assert!(end.ending.is_good(), "{}", end.ending);
        guest.assert_clean();
    }
}

#[test]
fn an_interrupt_is_delivered_at_the_boundary_at_which_the_guest_stands() {
    let mut guest = micro().boot().expect("micro boots");
    let entry = guest.run_until(|entry| entry.origin.ring == 3).expect("a task runs");
    assert!(!guest.inject(0x20).expect("KVM answers"), "IF is clear behind an interrupt gate");
    let back = entry.frame.get(Word::Eip).expect("it was pushed");
    guest.run_until_address(back).expect("it returns");
    assert!(guest.inject(0x20).expect("KVM answers"), "ring 3 takes interrupts");
    let injected = guest.run_until(|_| true).expect("it comes");
    assert_eq!(injected.vector, Vector(0x20));
    assert_eq!(injected.frame.get(Word::Eip), Some(back), "nothing was executed before it");
    guest.assert_clean();
}

#[test]
fn findings_are_values_and_assert_clean_tells_them() {
    let broken = guests::guest("broken").expect("it is carried");
    let setup = Guest::from_bytes("broken", broken.kernel);
    let mut guest = setup.command_line("plant=esp0_not_updated").boot().expect("it boots");
    let mut judged = 0;
    while !matches!(guest.next_event().expect("KVM runs it"), Judged::End(_)) {
        judged += 1;
    }
    assert!(judged > 10);
    let rules: Vec<_> = guest.findings().iter().map(|found| found.finding.rule).collect();
    assert_eq!(rules, ["suspended_stack"]);
    let told = std::panic::catch_unwind(|| guest.assert_clean()).expect_err("it panics");
    let text = told.downcast_ref::<String>().expect("with a text");
    assert!(text.contains("expected") && text.contains("got  ") && text.contains("#2"), "{text}");
}

/// Counts what it is told.
#[derive(Default)]
struct Counts {
    entries: u64,
    returns: u64,
    steps: u64,
}

impl Sink for Counts {
    fn take(&mut self, _: &Machine, judged: &Judged) {
        match judged {
            Judged::Entry(..) => self.entries += 1,
            Judged::Return(..) => self.returns += 1,
            Judged::Step(step) => {
                assert_eq!(step.before.cpl(), 0, "the kernel alone is followed");
                self.steps += 1;
            }
            _ => {}
        }
    }
}

#[test]
fn a_sink_takes_each_event_and_the_kernels_instructions_as_long_as_it_is_wanted() {
    let told = |setup: Setup, most: u64| {
        let mut guest = setup.boot().expect("micro boots");
        let mut counts = Counts::default();
        let end = guest.run_to(&mut counts, |counters| counters.stepped < most).expect("KVM");
        (counts, end.ending)
    };
    let (plain, ending) = told(micro(), u64::MAX);
    assert!(ending.is_good() && plain.entries > 10 && plain.returns > 10, "{ending}");
    assert_eq!(plain.steps, 0);
    let (followed, ending) = told(micro().follow_kernel(), 20_000);
    assert_eq!(ending, Ending::Enough);
    assert!((1_000..20_000).contains(&followed.steps), "{}", followed.steps);
    let by_exits = micro().follow_kernel().by_exits().boot();
    assert!(matches!(by_exits, Err(GuestError::Contradiction(_))));
    let mut back = micro().reversible().boot().expect("micro boots");
    let refused = back.run_to(&mut Counts::default(), |_| true);
    assert!(matches!(refused, Err(GuestError::Contradiction(_))));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let exact = micro().exact();
    assert!(matches!(exact.clone().real_time().boot(), Err(GuestError::Contradiction(_))));
    assert!(matches!(exact.probes(Choice::None).boot(), Err(GuestError::Contradiction(_))));
    assert!(matches!(Guest::from_file("/no/such/kernel"), Err(GuestError::Read { .. })));
    assert!(matches!(Guest::from_bytes("text", *b"no kernel").boot(), Err(GuestError::Boot(_))));
}

/// What [`Guest::assert_clean`] panics with, if it does.
fn said(guest: &Guest) -> Option<String> {
    let asserted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guest.assert_clean()));
    asserted.err().map(|panic| panic.downcast_ref::<String>().expect("it is a text").clone())
}

#[test]
fn how_a_guest_ends_is_judged_as_the_program_judges_it() {
    for (name, verdict, says) in [
        ("DIRECTORY_OVERWRITTEN", Verdict::GuestFailed, "triple fault"),
        ("SEGMENT_NOT_PRESENT", Verdict::Findings, "stopped itself after #NP(0020)"),
    ] {
        let Some(kernel) = compiled(name) else { return };
        let mut guest = Guest::from_bytes(name, kernel).boot().expect("it boots");
        assert_eq!(guest.verdict(), None, "it has not ended");
        guest.assert_clean();
        guest.run_to_end().expect("KVM runs it");
        assert_eq!(guest.verdict(), Some(verdict), "{name}: {:?}", guest.findings());
        let said = said(&guest).expect("it is not clean");
        assert!(said.contains(says), "{name}: expected {says:?} in\n{said}");
    }
}

#[test]
fn a_run_in_which_nothing_was_judged_is_not_clean() {
    let mut guest = micro().probes(Choice::None).deterministic().boot().expect("micro boots");
    guest.run_to_end().expect("KVM runs it");
    assert_eq!(guest.verdict(), Some(Verdict::Unchecked));
    assert!(said(&guest).is_some_and(|said| said.contains("verdict: unchecked")));
}

#[test]
fn a_name_of_the_kernel_is_an_address_to_run_to() {
    let Some(kernel) = compiled("START_OF_ARRAY") else { return };
    let mut guest = Guest::from_bytes("a kernel", kernel).boot().expect("it boots");
    let state = guest.run_until_symbol("main").expect("it has a main");
    assert_eq!(Ok(state.eip), guest.symbol("main").map_err(|error| error.to_string()));
    let area = guest.symbol("area").expect("a variable has a name too");
    assert!(guest.read_u32(area).is_ok());
    let missing = guest.run_until_symbol("nothing_of_that_name").expect_err("there is none");
    assert_eq!(missing.to_string(), "the kernel has no symbol nothing_of_that_name");
}
