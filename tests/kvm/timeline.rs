//! A run that is gone through backwards is the same run.

use esp0::machine::{LinearMemory, Paging};
use esp0::run::{ClockChoice, Ending, Event, Run};
use esp0::timeline::{Came, Company, Hit, Noted, Past, Place, Remark, Sought, Timeline, Watched};
use ia32::{Eflags, State};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tests::{Experiment, compiled};

/// All runs from one machine together.
const PATIENCE: Duration = Duration::from_secs(900);
/// Where kernel and programs lie, in physical memory.
const LOOKED_AT: u32 = 1 << 20;
/// So much of that is looked at where an event is, and so much of the stack at each instruction.
const AT_EVENTS: usize = 1 << 20;
const AT_STEPS: usize = 256;

/// Nobody.
struct Alone;

impl Company for Alone {
    type Memory = ();

    fn memory(&self) {}

    fn put_back(&mut self, (): &()) {}

    fn told(&mut self, _: &mut Run, event: &Event, _: bool) -> Remark {
        if let Event::End(end) = event {
            assert_ne!(end.ending, Ending::TimedOut, "what was slow is no part of the run");
        }
        Remark::default()
    }
}

/// What a guest can tell of where it is: registers, time, what lies at ESP, and where an event is more of memory,
/// without probes.
fn seen(run: &mut Run, at_event: bool) -> (State, u64, u64) {
    let mut state = run.state();
    state.eflags = state.eflags.without(Eflags::RF);
    // Busy: it is taken out of a state that is set on AMD's processors, and comes back with the next exit.
    state.tr.attributes |= 2;
    let mut bytes = vec![0; if at_event { AT_EVENTS } else { AT_STEPS }];
    if at_event {
        let linear = LinearMemory { memory: run.machine().memory(), paging: Paging::default() };
        run.probes().read_code(&linear, LOOKED_AT, &mut bytes);
        // Accessed and dirty, in page tables: they depend on what the processor has cached.
        for entry in bytes.chunks_exact_mut(4).filter(|entry| entry[0] & 1 != 0) {
            entry[0] &= !0x60;
        }
    } else {
        run.machine().linear().read_some(state.general.esp, &mut bytes);
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    (state, run.time(), hasher.finish())
}

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// Goes forwards freely and notes what is seen at each event; then goes to events in any order, and from each some
/// instructions forwards and back.
#[track_caller]
fn is_the_same_run(experiment: &Experiment, events: u64, turns: u64) {
    is_the_same_run_looked_up_from(experiment, None, Forwards::Freely, events, turns);
}

/// How the guest goes on the first time.
#[derive(Clone, Copy)]
enum Forwards {
    Freely,
    /// As if somebody watched words: at every second exit on average it is put back to the last one, and stepped a little; the
    /// number says which.
    Past(u64),
}

impl Forwards {
    fn turn(self, timeline: &mut Timeline<()>, run: &mut Run, numbers: &mut Numbers) -> Came {
        let event = timeline.event();
        if matches!(self, Forwards::Freely) {
            return timeline.turn(run, &mut Alone).expect("KVM runs the guest");
        }
        let past = timeline.turn_past(run, &mut Alone, |_, _| numbers.below(2) == 0);
        let to_its_end = match past.expect("KVM runs the guest") {
            Past::Came(came) => return came,
            // The place where it was put back to has been kept, which is an event.
            Past::Not { .. } if timeline.event() != event => return Came::Event(Noted::default()),
            Past::Not { to_its_end } => to_its_end,
        };
        let mut left = 1 + numbers.below(100);
        loop {
            let came = timeline.step(run, &mut Alone).expect("KVM steps the guest");
            left = left.saturating_sub(1);
            if timeline.event() != event || matches!(came, Came::End) || left == 0 && !to_its_end {
                return came;
            }
        }
    }
}

/// The same, with a signal again and again that ends KVM_RUN, wherever the guest is then.
#[track_caller]
fn is_the_same_run_looked_up_from(
    experiment: &Experiment,
    every: Option<Duration>,
    forwards: Forwards,
    events: u64,
    turns: u64,
) {
    let mut run = experiment.start().reversible(64 << 20);
    run.look_up_every(every);
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    let mut noted = vec![seen(&mut run, true)];
    let mut preempted = BTreeSet::new();
    let seed = if let Forwards::Past(seed) = forwards { seed } else { 0 };
    let mut numbers = Numbers(events + 1000 * seed);
    while timeline.event() < events {
        let before = run.preemptions();
        match forwards.turn(&mut timeline, &mut run, &mut numbers) {
            Came::Event(_) => {
                noted.push(seen(&mut run, true));
                if run.preemptions() > before {
                    preempted.insert(timeline.event());
                }
            }
            Came::End => break,
            _ => {}
        }
    }
    let last = noted.len() as u64 - 1;
    assert!(last > 10, "only {last} events");
    for turn in 0..turns {
        let event = numbers.below(last);
        let place = Place { event, step: 0 };
        assert!(timeline.go_to(&mut run, &mut Alone, place).expect("KVM takes its state"));
        assert_eq!(
            seen(&mut run, true),
            noted[event as usize],
            "event {event} of {last}, turn {turn}"
        );
        // Forwards by instructions, over the next event or two, and back by as many.
        let mut way = vec![seen(&mut run, false)];
        for _ in 0..=numbers.below(40) {
            loop {
                let before = timeline.event();
                let came = timeline.step(&mut run, &mut Alone).expect("KVM steps the guest");
                // A signal may have come while something was under way.
                if matches!(came, Came::Nothing) {
                    continue;
                }
                let now = seen(&mut run, false);
                if timeline.event() > before
                    && let Some(noted) = noted.get(timeline.event() as usize)
                {
                    let now = seen(&mut run, true);
                    assert_eq!(now, *noted, "stepped to event {} of {last}", timeline.event());
                }
                // On the clock of exits the exit for an event takes time, and no instruction is executed.
                if let (Came::Event(_), Some(last)) = (&came, way.last_mut())
                    && (last.0, last.2) == (now.0, now.2)
                {
                    *last = now;
                    continue;
                }
                if way.last() != Some(&now) {
                    way.push(now);
                    break;
                }
                if matches!(came, Came::Executed | Came::End) {
                    break;
                }
            }
        }
        while let Some(expected) = way.pop() {
            assert_eq!(
                seen(&mut run, false),
                expected,
                "back from event {event}, {} to go",
                way.len()
            );
            // How much was computed up to there depends on the machine: it may be millions of instructions.
            if timeline
                .place()
                .is_some_and(|here| here.step == 0 && preempted.contains(&here.event))
            {
                break;
            }
            let went = timeline.step_back(&mut run, &mut Alone).expect("KVM takes its state");
            assert!(went || way.is_empty(), "no way back with {} to go", way.len());
        }
    }
}

#[test]
fn the_microkernel_is_the_same_backwards() {
    let experiment = Experiment::with_programs(&["compute 3", "sleeper 2", "fault"]);
    is_the_same_run(&experiment.timeout(PATIENCE), 120, 6);
}

#[test]
fn a_kernel_in_the_manner_of_linux_is_the_same_backwards() {
    is_the_same_run(&Experiment::with_guest("classic").timeout(PATIENCE), 60, 4);
}

#[test]
fn a_kernel_without_no_ops_is_the_same_backwards() {
    is_the_same_run(&Experiment::with_guest("broken-plain").timeout(PATIENCE), 40, 4);
}

#[test]
fn guests_by_exits_are_the_same_backwards() {
    for (guest, events, turns) in [("micro", 120, 4), ("classic", 60, 3), ("broken-plain", 40, 4)] {
        let experiment = Experiment::with_guest(guest).clock(ClockChoice::EXITS).timeout(PATIENCE);
        is_the_same_run(&experiment, events, turns);
    }
}

/// What a signal has cut short was executed or was not: either way it is counted once.
#[test]
fn guests_that_are_looked_up_from_are_the_same_backwards() {
    looked_up_from(ClockChoice::DETERMINISTIC);
}

#[test]
fn guests_by_exits_that_are_looked_up_from_are_the_same_backwards() {
    looked_up_from(ClockChoice::EXITS);
}

fn looked_up_from(clock: ClockChoice) {
    let often = Some(Duration::from_micros(200));
    for (guest, events, turns) in [("micro", 60, 4), ("broken", 30, 3)] {
        let experiment = Experiment::with_guest(guest).clock(clock).timeout(PATIENCE);
        is_the_same_run_looked_up_from(&experiment, often, Forwards::Freely, events, turns);
    }
}

/// Who is put back to the last exit and goes on otherwise comes to the same events.
#[test]
fn guests_that_are_gone_past_are_the_same_backwards() {
    for clock in [ClockChoice::DETERMINISTIC, ClockChoice::EXITS] {
        for (guest, events, turns) in [("micro", 120, 3), ("broken", 30, 3)] {
            let experiment = Experiment::with_guest(guest).clock(clock).timeout(PATIENCE);
            for every in [None, Some(Duration::from_millis(1))] {
                is_the_same_run_looked_up_from(
                    &experiment,
                    every,
                    Forwards::Past(0),
                    events,
                    turns,
                );
            }
        }
    }
    for name in ["TASKS_COMPUTE", "COMPUTES_LITTLE"] {
        let Some(kernel) = compiled(name) else { return };
        let experiment =
            Experiment::with_kernel(kernel).clock(ClockChoice::EXITS).timeout(PATIENCE);
        is_the_same_run_looked_up_from(&experiment, None, Forwards::Past(0), 30, 3);
    }
}

/// KVM ends a `rep outs` by a pass over it with ECX = 0, which leaves the VM no more: a step must not run on from there.
#[test]
fn a_repeated_output_with_nothing_left_is_one_step() {
    for clock in [ClockChoice::DETERMINISTIC, ClockChoice::EXITS] {
        let experiment = Experiment::with_guest("micro").clock(clock).timeout(PATIENCE);
        let mut run = experiment.start().reversible(64 << 20);
        let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
        let ends = |run: &mut Run| {
            let state = run.state();
            let mut code = [0; 2];
            run.machine().linear().read_some(state.eip, &mut code);
            (code == [0xf3, 0x6e] && state.general.ecx == 0).then_some(state.eip)
        };
        while run.counters().device_accesses < 100 {
            timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest");
        }
        let at = (0..1000).find_map(|_| {
            timeline.step(&mut run, &mut Alone).expect("KVM steps the guest");
            ends(&mut run)
        });
        let at = at.expect("micro prints by `rep outsb`");
        while !matches!(timeline.step(&mut run, &mut Alone).expect("KVM steps"), Came::Executed) {}
        assert_eq!(run.state().eip, at + 2, "{clock:?}");
        // KVM has executed it itself: the next one is stepped all the same.
        while !matches!(timeline.step(&mut run, &mut Alone).expect("KVM steps"), Came::Executed) {}
        assert!((at + 3..at + 10).contains(&run.state().eip), "{clock:?}: {:x}", run.state().eip);
    }
}

/// Over places where the guest was preempted.
#[test]
fn guests_that_compute_without_an_exit_are_the_same_backwards() {
    for name in ["TASKS_COMPUTE", "KERNEL_SPINS"] {
        let Some(kernel) = compiled(name) else { return };
        let experiment =
            Experiment::with_kernel(kernel).clock(ClockChoice::EXITS).timeout(PATIENCE);
        is_the_same_run(&experiment, 60, 5);
    }
}

/// What a guest was preempted at is come to by single instructions too: where state and memory are the recorded ones.
#[test]
fn the_way_to_a_preemption_can_be_stepped() {
    let Some(kernel) = compiled("COMPUTES_LITTLE") else { return };
    let experiment = Experiment::with_kernel(kernel).clock(ClockChoice::EXITS).timeout(PATIENCE);
    let mut run = experiment.start().recorded(64 << 20);
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    let mut preempted = Vec::new();
    while preempted.len() < 3 {
        let before = run.preemptions();
        timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest");
        if run.preemptions() > before {
            preempted.push((timeline.event(), seen(&mut run, true)));
        }
    }
    for (event, expected) in preempted {
        let place = Place { event: event - 1, step: 0 };
        assert!(timeline.go_to(&mut run, &mut Alone, place).expect("KVM takes its state"));
        let mut steps = 0;
        while timeline.event() < event {
            timeline.step(&mut run, &mut Alone).expect("KVM steps the guest");
            steps += 1;
        }
        assert_eq!(seen(&mut run, true), expected, "event {event} after {steps} steps");
        println!("event {event} was come to in {steps} steps");
    }
}

#[test]
fn addresses_are_come_back_to_as_often_as_they_were_passed() {
    let mut run = Experiment::with_guest("broken-plain").timeout(PATIENCE).start();
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    let mut handlers = Vec::new();
    while handlers.len() < 8 {
        match timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest") {
            Came::Event(noted) if noted.entry.is_some() => {
                handlers.push(run.state().instruction_address());
            }
            Came::End => break,
            _ => {}
        }
    }
    let address = *handlers.last().expect("it is entered");
    let passed = handlers.iter().filter(|handler| **handler == address).count();
    let addresses = [address];
    let sought = Sought { addresses: &addresses, watched: &[], touched: &[], events: &|_| false };
    let mut hits = 0;
    while timeline.back_to(&mut run, &mut Alone, &sought).expect("KVM runs the guest")
        == Hit::Address
    {
        assert_eq!(run.state().instruction_address(), address);
        hits += 1;
    }
    // The one where the search begins is none.
    assert_eq!(hits, passed - 1);
    assert_eq!(timeline.place(), Some(Place { event: 0, step: 0 }));
}

/// Checkpoints are taken while somebody wants to stop at an address, and gone back to when nobody does.
#[test]
fn whoever_goes_back_stops_only_where_that_is_asked_for_now() {
    let mut run = Experiment::with_guest("broken-plain").timeout(PATIENCE).start();
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    let mut handler = None;
    let mut reached = 0;
    while timeline.event() < 40 {
        match timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest") {
            Came::Event(noted) if handler.is_none() && noted.entry.is_some() => {
                let address = run.state().instruction_address();
                run.stop_at(address, true).expect("it can be stopped at");
                handler = Some(address);
            }
            Came::Reached => reached += 1,
            Came::End => break,
            _ => {}
        }
    }
    assert!(reached > 2, "it was stopped at {reached} times");
    run.stop_at(handler.expect("it is entered"), false).expect("no more");
    let last = timeline.event();
    for event in [20, 5, 33] {
        let place = Place { event, step: 0 };
        assert!(timeline.go_to(&mut run, &mut Alone, place).expect("KVM takes its state"));
        while timeline.event() < last.min(event + 8) {
            let came = timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest");
            assert!(!matches!(came, Came::Reached), "nobody asked, behind event {event}");
        }
    }
}

/// Who has filled more memory than checkpoints may hold has checkpoints behind that all the same: they share it.
#[test]
fn a_guest_that_has_filled_its_memory_has_checkpoints_behind_that() {
    let mut run = Experiment::with_guest("micro").timeout(PATIENCE).start();
    let mut timeline = Timeline::new(&mut run, &Alone, 2 << 20).expect("KVM gives its state");
    for page in 0..1800_u64 {
        run.write_physical((8 << 20) + page * 4096, &[1]).expect("it is RAM");
    }
    while timeline.event() < 120 {
        timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest");
    }
    let (kept, bytes) = timeline.kept();
    assert!(kept > 5, "{kept} checkpoints, {bytes} bytes");
}

#[test]
fn the_writer_of_a_word_is_come_back_to() {
    let mut run = Experiment::with_guest("broken").timeout(PATIENCE).start();
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    while timeline.event() < 6 {
        timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest");
    }
    let state = run.state();
    let esp0 = state.tr.base.wrapping_add(4);
    let physical = run.machine().linear().paging.translate(run.machine().memory(), esp0);
    let word = Watched { physical: physical.expect("the TSS is mapped"), length: 4, address: esp0 };
    let now = word.value(&run);
    assert_ne!(now, 0);
    let words = [word];
    let sought = Sought { addresses: &[], watched: &words, touched: &[], events: &|_| false };
    let hit = timeline.back_to(&mut run, &mut Alone, &sought).expect("KVM runs the guest");
    assert_eq!(hit, Hit::Watched(word));
    assert_ne!(word.value(&run), now, "it is about to be written");
    assert!(matches!(timeline.step(&mut run, &mut Alone), Ok(Came::Executed)));
    assert_eq!(word.value(&run), now);
}

/// `cargo test -p tests --test kvm going_back_costs -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn going_back_costs_so_much() {
    use std::time::Instant;
    let mut run = Experiment::with_guest("micro").timeout(PATIENCE).start();
    let mut timeline = Timeline::new(&mut run, &Alone, 64 << 20).expect("KVM gives its state");
    let begun = Instant::now();
    while !matches!(timeline.turn(&mut run, &mut Alone).expect("KVM runs the guest"), Came::End) {}
    let (kept, bytes) = timeline.kept();
    println!(
        "{} events in {:?}; {kept} checkpoints, {bytes} bytes",
        timeline.event(),
        begun.elapsed()
    );
    for event in [timeline.event() - 20, timeline.event() / 2] {
        let begun = Instant::now();
        timeline
            .go_to(&mut run, &mut Alone, Place { event, step: 0 })
            .expect("KVM takes its state");
        println!("to event {event}: {:?}", begun.elapsed());
        for _ in 0..6 {
            let begun = Instant::now();
            timeline.step_back(&mut run, &mut Alone).expect("KVM takes its state");
            println!("  one instruction back, to {:?}: {:?}", timeline.place(), begun.elapsed());
        }
    }
    for page in 0..100_u64 {
        run.write_physical((8 << 20) + page * 4096, &[1]).expect("it is RAM");
    }
    let begun = Instant::now();
    let checkpoint = run.checkpoint().expect("KVM gives its state");
    println!("a checkpoint with 100 pages touched: {:?}", begun.elapsed());
    for page in 0..100_u64 {
        run.write_physical((8 << 20) + page * 4096, &[2]).expect("it is RAM");
    }
    let begun = Instant::now();
    run.restore(&checkpoint).expect("KVM takes its state");
    println!("put back, 100 pages touched since: {:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..20 {
        timeline.step(&mut run, &mut Alone).expect("KVM steps the guest");
    }
    println!("20 instructions: {:?}", begun.elapsed());
}

mod soak {
    use super::*;

    /// A signal comes where it likes, so a way that does not repeat shows in one of many runs.
    #[test]
    #[ignore = "takes minutes: scripts/soak"]
    fn many_guests_that_are_gone_past_are_the_same_backwards() {
        for seed in 0..60 {
            for every in [None, Some(Duration::from_millis(1))] {
                let experiment = Experiment::with_guest("micro").clock(ClockChoice::EXITS);
                let experiment = experiment.timeout(PATIENCE);
                is_the_same_run_looked_up_from(&experiment, every, Forwards::Past(seed), 60, 6);
            }
        }
    }
}
