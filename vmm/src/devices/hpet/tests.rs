//! The timers' registers, and when they match.

use proptest::prelude::*;

use super::*;

const TIMER: [u16; TIMERS] = [0x100, 0x120, 0x140];
const COMPARATOR: u16 = 8;

fn get(hpet: &Hpet, offset: u16) -> u32 {
    let mut bytes = [0; 4];
    hpet.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn put(hpet: &mut Hpet, offset: u16, value: u32) {
    hpet.write(offset, &value.to_le_bytes());
}

fn edges(hpet: &mut Hpet) -> Vec<Output> {
    hpet.take_edges().collect()
}

fn due(hpet: &Hpet) -> Option<u64> {
    hpet.deadline(&|_| true)
}

/// It runs since time 0 in legacy replacement, and timer 0 ticks at each 100,000 counts: a millisecond.
fn ticking() -> Hpet {
    let mut hpet = Hpet::default();
    put(&mut hpet, TIMER[0], SET_ACCUMULATOR | PERIODIC | INTERRUPTS);
    put(&mut hpet, TIMER[0] + COMPARATOR, 100_000);
    put(&mut hpet, TIMER[0] + COMPARATOR + 4, 0);
    // The high half is not all ones any more.
    put(&mut hpet, TIMER[0], SET_ACCUMULATOR | PERIODIC | INTERRUPTS);
    hpet.write(TIMER[0] + COMPARATOR, &100_000u64.to_le_bytes());
    put(&mut hpet, CONFIGURATION, 3);
    hpet
}

#[test]
fn it_says_what_it_can_do() {
    let mut hpet = Hpet::default();
    assert_eq!([get(&hpet, 0), get(&hpet, 4)], [0x8086_A201, 10_000_000]);
    for timer in TIMER {
        assert_eq!([get(&hpet, timer), get(&hpet, timer + 4)], [0x30, 0x00FF_0104]);
        put(&mut hpet, timer, u32::MAX);
        // Neither messages nor pin 31, and the accumulator's bit reads as 0.
        assert_eq!(get(&hpet, timer), 0x13E);
        put(&mut hpet, timer, 20 << 9);
        assert_eq!(get(&hpet, timer), 20 << 9 | 0x30);
        put(&mut hpet, timer, 5 << 9);
        assert_eq!(get(&hpet, timer), 20 << 9 | 0x30, "a pin that it cannot have");
    }
    put(&mut hpet, 0, 0);
    assert_eq!(get(&hpet, 0), 0x8086_A201);
}

#[test]
fn the_counter_runs_at_100_mhz_while_it_is_enabled_and_is_written_while_it_stands() {
    let mut hpet = Hpet::default();
    hpet.advance_to(1_000_000);
    assert_eq!(get(&hpet, COUNTER), 0);
    hpet.write(COUNTER, &0xFFFF_FFF0u64.to_le_bytes());
    put(&mut hpet, CONFIGURATION, 1);
    put(&mut hpet, COUNTER, 7);
    hpet.advance_to(1_000_329);
    assert_eq!([get(&hpet, COUNTER), get(&hpet, COUNTER + 4)], [0x10, 1]);
    let mut all = [0; 8];
    hpet.read(COUNTER, &mut all);
    assert_eq!(u64::from_le_bytes(all), 0x1_0000_0010);
    put(&mut hpet, CONFIGURATION, 0);
    hpet.advance_to(2_000_000);
    assert_eq!(get(&hpet, COUNTER), 0x10);
    put(&mut hpet, CONFIGURATION, 1);
    hpet.advance_to(2_000_010);
    assert_eq!(get(&hpet, COUNTER), 0x11);
}

#[test]
fn a_periodic_timer_adds_what_was_written_last() {
    let mut hpet = ticking();
    for tick in 1..=10u64 {
        assert_eq!(due(&hpet), Some(tick * 1_000_000));
        hpet.advance_to(tick * 1_000_000 - 1);
        assert_eq!(edges(&mut hpet), []);
        hpet.advance_to(tick * 1_000_000);
        assert_eq!(edges(&mut hpet), [Output::Line(0)]);
        assert_eq!(u64::from(get(&hpet, 0x108)), (tick + 1) * 100_000);
    }
    put(&mut hpet, TIMER[0] + COMPARATOR, 50_000);
    let next = [10_500_000, 11_000_000, 11_500_000];
    hpet.advance_to(11_000_000);
    assert_eq!(due(&hpet), Some(next[2]), "of the new period, behind the old comparator");
    hpet.advance_to(100_000_000);
    assert_eq!(edges(&mut hpet).len(), 1, "those that were not taken are one");
    assert_eq!(due(&hpet), Some(100_500_000));
}

#[test]
fn a_one_shot_comes_once_and_in_32_bits_when_the_counter_has_come_around() {
    for (narrow, next) in [(0, None), (NARROW, Some(1_000 + (10 << 32)))] {
        let mut hpet = Hpet::default();
        put(&mut hpet, CONFIGURATION, 1);
        put(&mut hpet, TIMER[2], INTERRUPTS | narrow | 20 << 9);
        hpet.write(TIMER[2] + COMPARATOR, &100u64.to_le_bytes());
        assert_eq!(due(&hpet), Some(1_000));
        hpet.advance_to(1_000);
        assert_eq!(edges(&mut hpet), [Output::Pin(20)]);
        assert!(!hpet.level(Output::Pin(20)), "an edge is a pulse at a pin");
        assert_eq!(due(&hpet), next);
        assert_eq!(get(&hpet, STATUS), 0);
    }
}

#[test]
fn a_comparator_that_was_just_passed_matches_at_once_and_an_old_one_never() {
    let mut hpet = Hpet::default();
    put(&mut hpet, CONFIGURATION, 1);
    put(&mut hpet, TIMER[2], INTERRUPTS | 20 << 9);
    hpet.advance_to(5_000_000_000);
    hpet.write(TIMER[2] + COMPARATOR, &499_999_000u64.to_le_bytes());
    assert_eq!(edges(&mut hpet).len(), 1);
    hpet.write(TIMER[2] + COMPARATOR, &1_000u64.to_le_bytes());
    assert_eq!((edges(&mut hpet).len(), due(&hpet)), (0, None));
}

#[test]
fn a_level_lasts_until_its_status_is_cleared() {
    let mut hpet = Hpet::default();
    put(&mut hpet, CONFIGURATION, 1);
    put(&mut hpet, TIMER[1], LEVEL | INTERRUPTS | 16 << 9);
    hpet.write(TIMER[1] + COMPARATOR, &100u64.to_le_bytes());
    hpet.advance_to(1_000);
    assert_eq!((edges(&mut hpet).len(), get(&hpet, STATUS)), (0, 2));
    assert!(hpet.level(Output::Pin(16)) && !hpet.level(Output::Pin(17)));
    put(&mut hpet, STATUS, 5);
    assert!(hpet.level(Output::Pin(16)), "the bits of others");
    put(&mut hpet, STATUS, 2);
    assert!(!hpet.level(Output::Pin(16)) && get(&hpet, STATUS) == 0);
}

#[test]
fn a_timer_that_does_not_interrupt_has_a_status_and_no_level() {
    let mut hpet = Hpet::default();
    put(&mut hpet, CONFIGURATION, 1);
    put(&mut hpet, TIMER[1], LEVEL | 16 << 9);
    hpet.write(TIMER[1] + COMPARATOR, &100u64.to_le_bytes());
    hpet.advance_to(1_000);
    assert_eq!((due(&hpet), get(&hpet, STATUS)), (None, 2));
    assert!(!hpet.level(Output::Pin(16)));
    put(&mut hpet, TIMER[1], LEVEL | INTERRUPTS | 16 << 9);
    assert!(hpet.level(Output::Pin(16)));
}

#[test]
fn a_replaced_line_is_held_after_an_edge_until_the_timer_is_silent() {
    let mut hpet = ticking();
    hpet.advance_to(1_000_000);
    assert!(hpet.level(Output::Line(0)) && !hpet.level(Output::Line(8)));
    put(&mut hpet, TIMER[0], PERIODIC);
    put(&mut hpet, TIMER[0], PERIODIC | INTERRUPTS);
    assert!(!hpet.level(Output::Line(0)));
    hpet.advance_to(2_000_000);
    assert!(hpet.level(Output::Line(0)));
    put(&mut hpet, CONFIGURATION, 1);
    assert!(!hpet.level(Output::Line(0)));
    assert_eq!(hpet.next_tick(), None);
}

#[test]
fn accesses_of_other_widths_are_read_and_not_written() {
    let mut hpet = Hpet::default();
    hpet.write(CONFIGURATION, &[3]);
    hpet.write(CONFIGURATION, &[3, 0]);
    hpet.write(CONFIGURATION + 4, &[3; 8]);
    hpet.write(CONFIGURATION + 1, &[3; 4]);
    assert_eq!(get(&hpet, CONFIGURATION), 0);
    let mut bytes = [0; 2];
    hpet.read(2, &mut bytes);
    assert_eq!(bytes, [0x86, 0x80]);
}

#[test]
fn the_shortest_period_is_100_microseconds() {
    let mut hpet = ticking();
    put(&mut hpet, CONFIGURATION, 0);
    put(&mut hpet, TIMER[0], SET_ACCUMULATOR | PERIODIC | INTERRUPTS);
    hpet.write(TIMER[0] + COMPARATOR, &3_000u64.to_le_bytes());
    put(&mut hpet, CONFIGURATION, 3);
    hpet.advance_to(30_000);
    assert_eq!((edges(&mut hpet).len(), due(&hpet)), (1, Some(150_000)));
}

proptest! {
    #[test]
    fn how_often_time_is_told_changes_nothing_and_each_deadline_is_exact(
        configuration in any::<u32>(),
        first in 0u64..1 << 34,
        period in 0u64..1 << 34,
        times in proptest::collection::vec(0u64..400_000_000_000, 1..20),
    ) {
        let mut often = Hpet::default();
        put(&mut often, TIMER[0], configuration | INTERRUPTS | SET_ACCUMULATOR);
        often.write(TIMER[0] + COMPARATOR, &first.to_le_bytes());
        often.write(TIMER[0] + COMPARATOR, &period.to_le_bytes());
        put(&mut often, CONFIGURATION, 3);
        edges(&mut often);
        let mut once = often.clone();
        let mut sorted = times;
        sorted.sort_unstable();
        for time in &sorted {
            if let Some(due) = due(&often).filter(|due| due <= time) {
                let mut before = often.clone();
                edges(&mut before);
                before.advance_to(due - 1);
                prop_assert_eq!(edges(&mut before), []);
                prop_assert_eq!(get(&before, STATUS), get(&often, STATUS));
            }
            often.advance_to(*time);
            prop_assert!(due(&often).is_none_or(|due| due > *time));
        }
        once.advance_to(*sorted.last().unwrap());
        prop_assert_eq!(often, once);
    }

    #[test]
    fn the_comparator_is_what_the_counter_holds_at_the_next_match(
        narrow in any::<bool>(),
        start in any::<u64>(),
        first in any::<u64>(),
        period in 1u64..1 << 40,
        time in 0u64..1 << 50,
    ) {
        let mut hpet = Hpet::default();
        hpet.write(COUNTER, &start.to_le_bytes());
        let narrow = if narrow { NARROW } else { 0 };
        put(&mut hpet, CONFIGURATION, 1);
        put(&mut hpet, TIMER[2], INTERRUPTS | PERIODIC | SET_ACCUMULATOR | 20 << 9 | narrow);
        hpet.write(TIMER[2] + COMPARATOR, &first.to_le_bytes());
        hpet.write(TIMER[2] + COMPARATOR, &period.to_le_bytes());
        hpet.advance_to(time);
        if let Some(due) = due(&hpet) {
            let comparator = hpet.register(TIMER[2] + COMPARATOR);
            hpet.now = due;
            let mask = hpet.timers[2].mask();
            prop_assert_eq!(hpet.counter() & mask, comparator);
        }
    }
}
