//! The PC's interval timer: an 8254 with three counters, and its share of port 0x61.
//!
//! Source: Intel 8254 data sheet (231164), "Programming the 8254"; for the wiring the IBM PC AT
//! Technical Reference, "System Timers".
//! ```text
//!  105/88 MHz ─┬─► counter 0 ─► IRQ 0             gate always high
//!              ├─► counter 1 ─► memory refresh    gate always high
//!              └─► counter 2 ─► speaker           gate = port 0x61 bit 0
//! ```
//! Time is the VMM's: nanoseconds of whatever clock it chose, handed in with each call. The number of
//! CLK pulses up to a time is computed from the origin in integers, never by adding up intervals, so
//! the timer neither drifts nor depends on how often it is asked. Time that runs backwards stands still.

pub mod i8254;

use i8254::Counter;

/// CLK is 14.31818… MHz (315/22) divided by 12: 105/88 pulses in a microsecond.
const PULSES: u128 = 105;
/// See [`PULSES`].
const NANOSECONDS: u128 = 88_000;

/// Refresh happens every 18 CLK pulses, 15.09 µs; bit 4 of port 0x61 changes with each.
const REFRESH_PULSES: u64 = 18;

/// CLK pulses in the first `nanoseconds` of time.
pub fn pulses_at(nanoseconds: u64) -> u64 {
    (u128::from(nanoseconds) * PULSES / NANOSECONDS) as u64
}

/// The first nanosecond at which `pulses` CLK pulses have passed; saturates at 584 years.
pub fn nanoseconds_at(pulses: u64) -> u64 {
    u64::try_from((u128::from(pulses) * NANOSECONDS).div_ceil(PULSES)).unwrap_or(u64::MAX)
}

/// The three counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pit {
    counters: [Counter; 3],
    /// CLK pulses that have passed.
    pulse: u64,
    /// Counter 0 has got a control word from the guest.
    is_programmed: bool,
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}

impl Pit {
    /// As a PC's BIOS leaves it at time 0: counter 0 a square wave of 18.2 Hz, counter 1 at the
    /// refresh rate, counter 2 silent.
    pub fn new() -> Self {
        let programmed = |control: u8, gate: bool, bytes: &[u8]| {
            let mut counter = Counter::new(control, gate);
            for byte in bytes {
                counter.write(*byte);
            }
            counter
        };
        Self {
            counters: [
                programmed(0x36, true, &[0, 0]),
                programmed(0x14, true, &[REFRESH_PULSES as u8]),
                programmed(0x36, false, &[0, 0]),
            ],
            pulse: 0,
            is_programmed: false,
        }
    }

    /// Moves time on to `now` in nanoseconds. Says how often counter 0 raised IRQ 0 meanwhile; of
    /// several edges a guest that was not interrupted in between sees one.
    pub fn advance_to(&mut self, now: u64) -> u64 {
        let target = pulses_at(now).max(self.pulse);
        let pulses = target - self.pulse;
        self.pulse = target;
        let [timer, refresh, speaker] = &mut self.counters;
        refresh.advance(pulses);
        speaker.advance(pulses);
        timer.advance(pulses)
    }

    /// The time in nanoseconds at which counter 0 next raises IRQ 0, if nothing is written before.
    pub fn next_edge(&self) -> Option<u64> {
        let pulses = self.counters[0].pulses_to_rising_edge()?;
        Some(nanoseconds_at(self.pulse.saturating_add(pulses)))
    }

    /// The control word and the one byte that counter 0 was given of a count of two; it does not count.
    pub fn half_a_count(&self) -> Option<(u8, u8)> {
        self.counters[0].half_a_count()
    }

    /// The guest has given counter 0 a control word.
    pub fn is_programmed(&self) -> bool {
        self.is_programmed
    }

    /// The control word's bits 5–0 of counter 0, where the guest has set it to count once and it has.
    pub fn counted_once(&self) -> Option<u8> {
        let timer = &self.counters[0];
        let once = matches!(timer.mode(), 0 | 1 | 4 | 5) && timer.half_a_count().is_none();
        (self.is_programmed && once && timer.pulses_to_rising_edge().is_none())
            .then(|| timer.control_word())
    }

    /// The level of IRQ 0 between edges.
    ///
    /// In the periodic modes it is held high after an edge, where the chip's OUT falls again half a
    /// period (mode 3) or a period less a pulse (mode 2) later. An 8259A forgets an edge whose line
    /// fell; a VMM that gets around to injecting late would lose ticks that a CPU would have taken.
    pub fn interrupt_line(&self) -> bool {
        let timer = &self.counters[0];
        matches!(timer.mode(), 2 | 3) || timer.out()
    }

    /// Reads counter `index` (0–2; port 0x40 and up) at the time of the last [`Self::advance_to`].
    pub fn read(&mut self, index: usize) -> u8 {
        self.counters.get_mut(index).map_or(0xFF, Counter::read)
    }

    /// Writes counter `index` (0–2; port 0x40 and up).
    pub fn write(&mut self, index: usize, byte: u8) {
        if let Some(counter) = self.counters.get_mut(index) {
            counter.write(byte);
        }
    }

    /// Writes the control port, 0x43: a control word, a latch command or a read-back command.
    pub fn control(&mut self, word: u8) {
        self.is_programmed |= word >> 6 == 0 && word & 0x30 != 0;
        match self.counters.get_mut(usize::from(word >> 6)) {
            Some(counter) if word & 0x30 == 0 => counter.latch_count(),
            Some(counter) => counter.program(word & 0x3F),
            None => {
                for (index, counter) in self.counters.iter_mut().enumerate() {
                    if word & 2 << index == 0 {
                        continue;
                    }
                    if word & 0x20 == 0 {
                        counter.latch_count();
                    }
                    if word & 0x10 == 0 {
                        counter.latch_status();
                    }
                }
            }
        }
    }

    /// Drives the speaker counter's gate: bit 0 of port 0x61.
    pub fn set_speaker_gate(&mut self, high: bool) {
        self.counters[2].set_gate(high);
    }

    /// The speaker counter's output: bit 5 of port 0x61.
    pub fn speaker_out(&self) -> bool {
        self.counters[2].out()
    }

    /// The refresh detector: bit 4 of port 0x61. It runs whatever counter 1 is programmed for.
    pub fn refresh_toggle(&self) -> bool {
        !(self.pulse / REFRESH_PULSES).is_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn programmed(control: u8, divisor: u16) -> Pit {
        let mut pit = Pit::new();
        pit.control(control);
        for byte in divisor.to_le_bytes() {
            pit.write(0, byte);
        }
        pit
    }

    #[test]
    fn the_clock_is_1_193_182_hz() {
        assert_eq!(pulses_at(SECOND), 1_193_181);
        assert_eq!(pulses_at(88_000), 105);
        assert_eq!(nanoseconds_at(105), 88_000);
        assert_eq!(nanoseconds_at(1), 839);
    }

    #[test]
    fn the_largest_divisor_ticks_18_2_times_a_second() {
        let mut pit = programmed(0x34, 0);
        assert_eq!(pit.advance_to(10_000 * SECOND), 182_065);
        assert_eq!(Pit::new().advance_to(10_000 * SECOND), 182_065, "as the BIOS leaves it");
    }

    #[test]
    fn the_usual_divisors_give_the_usual_rates() {
        for (divisor, rate) in [(11_932, 99_998), (1193, 1_000_152), (23_864, 49_999)] {
            for control in [0x34, 0x36] {
                let mut pit = programmed(control, divisor);
                assert_eq!(pit.advance_to(1000 * SECOND), rate, "divisor {divisor}");
            }
        }
    }

    #[test]
    fn the_first_edge_comes_one_pulse_and_one_period_after_the_count() {
        let pit = programmed(0x34, 11_932);
        assert_eq!(pit.next_edge(), Some(nanoseconds_at(11_933)));
    }

    #[test]
    fn a_control_word_alone_stops_the_timer() {
        let mut pit = Pit::new();
        pit.control(0x34);
        assert_eq!(pit.next_edge(), None);
        assert_eq!(pit.advance_to(SECOND), 0);
        assert_eq!(pit.half_a_count(), None);
    }

    #[test]
    fn one_byte_of_two_does_not_start_the_timer() {
        let mut pit = Pit::new();
        pit.control(0x36);
        pit.write(0, 0x9b);
        assert_eq!((pit.next_edge(), pit.half_a_count()), (None, Some((0x36, 0x9b))));
        pit.write(0, 0x2e);
        assert!(pit.next_edge().is_some() && pit.half_a_count().is_none());
        // A new count without a control word: the old one runs on.
        pit.write(0, 0);
        assert!(pit.next_edge().is_some() && pit.half_a_count().is_none());
    }

    #[test]
    fn a_one_shot_raises_its_line_once_and_holds_it() {
        let mut pit = programmed(0x30, 1000);
        assert!(!pit.interrupt_line());
        assert_eq!(pit.advance_to(SECOND), 1);
        assert!(pit.interrupt_line());
        assert_eq!(pit.next_edge(), None);
    }

    #[test]
    fn read_back_latches_the_counters_it_names() {
        let mut pit = programmed(0x34, 0x1000);
        pit.advance_to(nanoseconds_at(1));
        pit.control(0b1100_0010);
        pit.advance_to(nanoseconds_at(100));
        assert_eq!(pit.read(0), 0b1011_0100, "status: OUT high, loaded, both bytes, mode 2");
        assert_eq!([pit.read(0), pit.read(0)], [0x00, 0x10]);
        assert_eq!([pit.read(0), pit.read(0)], [0x9D, 0x0F]);
    }

    #[test]
    fn the_latch_command_holds_one_counter() {
        let mut pit = programmed(0x34, 0x1000);
        pit.advance_to(nanoseconds_at(1));
        pit.control(0x00);
        pit.advance_to(nanoseconds_at(100));
        assert_eq!([pit.read(0), pit.read(0)], [0x00, 0x10]);
    }

    #[test]
    fn the_speaker_counter_measures_time_as_calibration_loops_expect() {
        let mut pit = Pit::new();
        pit.set_speaker_gate(true);
        pit.control(0xB0);
        pit.write(2, 0x9C);
        pit.write(2, 0x2E); // 11 932 pulses: 10 ms.
        assert!(!pit.speaker_out());
        pit.advance_to(nanoseconds_at(11_932));
        assert!(!pit.speaker_out());
        pit.advance_to(nanoseconds_at(11_933));
        assert!(pit.speaker_out());
    }

    #[test]
    fn the_refresh_bit_toggles_every_15_microseconds() {
        let mut pit = Pit::new();
        assert!(!pit.refresh_toggle());
        pit.advance_to(15_200);
        assert!(pit.refresh_toggle());
        pit.advance_to(30_200);
        assert!(!pit.refresh_toggle());
    }

    #[test]
    fn time_that_runs_backwards_stands_still() {
        let mut pit = programmed(0x34, 100);
        pit.advance_to(SECOND);
        let before = pit.clone();
        assert_eq!(pit.advance_to(0), 0);
        assert_eq!(pit, before);
    }

    proptest! {
        #[test]
        fn pulses_and_nanoseconds_agree(pulses in 0u64..1 << 53) {
            let at = nanoseconds_at(pulses);
            prop_assert_eq!(pulses_at(at), pulses);
            if at > 0 {
                prop_assert!(pulses_at(at - 1) < pulses);
            }
        }

        #[test]
        fn how_often_time_is_told_changes_nothing(
            control in prop_oneof![Just(0x30u8), Just(0x34), Just(0x36), Just(0x38)],
            divisor in any::<u16>(),
            times in proptest::collection::vec(0u64..100 * SECOND, 1..20),
        ) {
            let mut often = programmed(control, divisor);
            let mut once = often.clone();
            let last = *times.iter().max().unwrap();
            let mut sorted = times;
            sorted.sort_unstable();
            let edges: u64 = sorted.iter().map(|time| often.advance_to(*time)).sum();
            prop_assert_eq!(once.advance_to(last), edges);
            prop_assert_eq!(often, once);
        }

        #[test]
        fn the_next_edge_is_exactly_when_it_was_said_to_be(
            control in prop_oneof![Just(0x30u8), Just(0x34), Just(0x36), Just(0x38)],
            divisor in any::<u16>(),
            start in 0u64..SECOND,
        ) {
            let mut pit = programmed(control, divisor);
            pit.advance_to(start);
            if let Some(edge) = pit.next_edge() {
                prop_assert!(edge > start);
                prop_assert_eq!(pit.clone().advance_to(edge - 1), 0);
                prop_assert_eq!(pit.advance_to(edge), 1);
            }
        }
    }
}
