//! One counter of the 8254 programmable interval timer.
//!
//! Source: Intel 8254 data sheet (231164), "Mode Definitions", "Read Operations" and the timing figures
//! of each mode. All six modes with gate, binary and BCD.
//!
//! [`Counter::clock`] is one CLK pulse, told as the data sheet tells it. No VMM can afford a call for
//! each of 1.19 million pulses a second, so [`Counter::advance`] goes from one pulse at which something
//! happens to the next, and over whole periods at once. That both agree is a property test.
//! ```text
//!  mode 2, N=4   CE   4 3 2 1 4 3 2 1 4      mode 3, N=5   CE   4 2 0 4 2 4 2 0
//!                OUT  ‾‾‾‾‾‾\_/‾‾‾‾‾\_/‾                    OUT  ‾‾‾‾‾\___/‾‾‾‾‾
//!                             ▲ rising edge                               ▲
//! ```

/// A counter's control word, count registers and output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Bits 5–0 of the last control word, as the status byte gives them back.
    control: u8,
    gate: bool,
    out: bool,
    /// The count register as a number of CLK pulses, 1 to 65536; `None` before the first one.
    count: Option<u32>,
    /// The low byte while the high byte is awaited.
    low_byte: Option<u8>,
    /// The next byte read is the high one.
    high_byte_next: bool,
    /// The count register has not reached the counting element yet.
    null_count: bool,
    /// The next CLK pulse loads the counting element.
    load: bool,
    /// The counting element, CE; 0 to 65536.
    element: u32,
    /// The element has been loaded and counts as far as gate lets it.
    counting: bool,
    /// Mode 0: the first of two bytes stops the count.
    stopped: bool,
    /// Modes 0, 1, 4, 5: reaching zero will change OUT; only once for each load.
    armed: bool,
    /// Modes 4, 5: OUT is low for this CLK period.
    strobe: bool,
    /// Mode 3: the count loaded last was odd.
    odd: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    /// A counter that was programmed with `control` (bits 5–0 of a control word), without a count.
    pub fn new(control: u8, gate: bool) -> Self {
        let mut counter = Self {
            control: 0,
            gate,
            out: false,
            count: None,
            low_byte: None,
            high_byte_next: false,
            null_count: true,
            load: false,
            element: 0,
            counting: false,
            stopped: false,
            armed: false,
            strobe: false,
            odd: false,
            latched_count: None,
            latched_status: None,
        };
        counter.program(control);
        counter
    }

    /// A control word for this counter (not a latch or read-back command), bits 5–0.
    ///
    /// OUT takes its initial state at once, and the counter waits for a count.
    pub fn program(&mut self, control: u8) {
        *self = Self {
            control: control & 0x3F,
            gate: self.gate,
            out: true,
            count: None,
            low_byte: None,
            high_byte_next: false,
            null_count: true,
            load: false,
            element: self.element,
            counting: false,
            stopped: false,
            armed: false,
            strobe: false,
            odd: false,
            latched_count: None,
            latched_status: None,
        };
        self.out = self.mode() != 0;
    }

    /// The mode, 0 to 5; bit 2 of the field does not count for modes 2 and 3.
    pub fn mode(&self) -> u8 {
        match self.control >> 1 & 7 {
            6 => 2,
            7 => 3,
            mode => mode,
        }
    }

    /// The control word's bits 5–0.
    pub fn control_word(&self) -> u8 {
        self.control
    }

    /// The control word's bits 5–0 and the low byte, where they ask for a high byte as well, and the counter stands still
    /// until it comes.
    pub fn half_a_count(&self) -> Option<(u8, u8)> {
        let low = self.low_byte.filter(|_| self.count.is_none())?;
        Some((self.control, low))
    }

    /// The level of OUT.
    pub fn out(&self) -> bool {
        self.out
    }

    /// The level of GATE.
    pub fn gate(&self) -> bool {
        self.gate
    }

    /// Writes a byte of the count, as the control word's bits 5–4 say.
    pub fn write(&mut self, byte: u8) {
        let count = match self.control >> 4 {
            1 => u16::from(byte),
            2 => u16::from(byte) << 8,
            _ => match self.low_byte.take() {
                Some(low) => u16::from_le_bytes([low, byte]),
                None => {
                    self.low_byte = Some(byte);
                    if self.mode() == 0 {
                        self.stopped = true;
                        self.out = false;
                    }
                    return;
                }
            },
        };
        let first = self.count.is_none();
        self.count = Some(self.pulses(count));
        self.null_count = true;
        match self.mode() {
            0 => {
                self.out = false;
                self.stopped = false;
                self.load = true;
            }
            4 => self.load = true,
            // Later counts wait for the end of the period or half-period.
            2 | 3 => self.load |= first,
            // A trigger will load it.
            _ => {}
        }
    }

    /// Reads a byte: a latched status, else the latched or running count by bits 5–4.
    pub fn read(&mut self) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let count = self.latched_count.unwrap_or_else(|| self.current());
        let [low, high] = count.to_le_bytes();
        let (byte, last) = match self.control >> 4 {
            1 => (low, true),
            2 => (high, true),
            _ => {
                let last = self.high_byte_next;
                self.high_byte_next = !last;
                (if last { high } else { low }, last)
            }
        };
        if last {
            self.latched_count = None;
        }
        byte
    }

    /// The latch command: holds the count until it has been read. A second one is ignored.
    pub fn latch_count(&mut self) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.current());
        }
    }

    /// The read-back command's status: OUT, null count, and the control word. A second is ignored.
    pub fn latch_status(&mut self) {
        if self.latched_status.is_none() {
            self.latched_status =
                Some(u8::from(self.out) << 7 | u8::from(self.null_count) << 6 | self.control);
        }
    }

    /// Drives GATE ("Gate Pin Operations Summary").
    pub fn set_gate(&mut self, high: bool) {
        let rises = high && !self.gate;
        self.gate = high;
        match self.mode() {
            1 | 5 if rises => self.load |= self.count.is_some(),
            2 | 3 if rises => self.load |= self.count.is_some(),
            2 | 3 if !high => self.out = true,
            _ => {}
        }
    }

    /// One CLK pulse. Says whether OUT rose.
    pub fn clock(&mut self) -> bool {
        let before = self.out;
        if std::mem::take(&mut self.strobe) {
            self.out = true;
        }
        if std::mem::take(&mut self.load) {
            self.reload();
            self.counting = true;
            self.armed = true;
            match self.mode() {
                1 => self.out = false,
                2 | 3 => self.out = true,
                _ => {}
            }
        } else if self.runs() {
            match self.mode() {
                2 if self.element == 1 => {
                    self.reload();
                    self.out = true;
                }
                2 => {
                    self.element -= 1;
                    self.out = self.element != 1;
                }
                3 if self.pulses_in_half() == 1 => {
                    self.reload();
                    self.out = !self.out || self.count == Some(1);
                }
                3 => self.element -= 2,
                mode => {
                    self.element = self.element.checked_sub(1).unwrap_or(self.modulus() - 1);
                    if self.element == 0 && std::mem::take(&mut self.armed) {
                        self.strobe = mode >= 4;
                        self.out = !self.strobe;
                    }
                }
            }
        }
        !before && self.out
    }

    /// `pulses` CLK pulses. Says how often OUT rose.
    pub fn advance(&mut self, mut pulses: u64) -> u64 {
        let mut edges = 0;
        while pulses > 0 {
            if let Some(period) = self.steady_period()
                && pulses >= period
            {
                edges += pulses / period;
                pulses %= period;
                continue;
            }
            match self.pulses_to_event() {
                Some(event) if event <= pulses => {
                    self.skip(event - 1);
                    edges += u64::from(self.clock());
                    pulses -= event;
                }
                _ => {
                    self.skip(pulses);
                    pulses = 0;
                }
            }
        }
        edges
    }

    /// After how many CLK pulses OUT rises next, if nothing is written and GATE stays.
    pub fn pulses_to_rising_edge(&self) -> Option<u64> {
        // Load, fall, rise, with a shortened period in between: more is not needed.
        const EVENTS: usize = 6;
        let mut future = self.clone();
        let mut pulses = 0;
        for _ in 0..EVENTS {
            let event = future.pulses_to_event()?;
            future.skip(event - 1);
            pulses += event;
            if future.clock() {
                return Some(pulses);
            }
        }
        None
    }

    /// Whether a CLK pulse changes the counting element.
    fn runs(&self) -> bool {
        self.counting
            && match self.mode() {
                0 => self.gate && !self.stopped,
                // A count of 1 is illegal in these modes; OUT then stays high for good.
                2 => self.gate && !(self.element == 1 && self.count == Some(1) && self.out),
                3 => self.gate && !(self.element == 0 && self.count == Some(1) && self.out),
                4 => self.gate,
                _ => true,
            }
    }

    /// The CLK pulse, counted from 1, at which more happens than the element going down.
    fn pulses_to_event(&self) -> Option<u64> {
        if self.strobe || self.load {
            return Some(1);
        }
        if !self.runs() {
            return None;
        }
        match self.mode() {
            2 => Some(u64::from(self.element - 1).max(1)),
            3 => Some(self.pulses_in_half()),
            _ => self.armed.then_some(self.element.into()),
        }
    }

    /// Mode 3: CLK pulses left in this half-period. An odd count makes the high half one longer.
    fn pulses_in_half(&self) -> u64 {
        let longer = self.odd && self.out;
        u64::from(self.element / 2 + u32::from(longer)).max(1)
    }

    /// CLK pulses at none of which anything happens but the element going down.
    fn skip(&mut self, pulses: u64) {
        if !self.runs() {
            return;
        }
        let modulus = u64::from(self.modulus());
        let step = if self.mode() == 3 { 2 } else { 1 };
        let element = u64::from(self.element);
        self.element = match element.checked_sub(pulses * step) {
            Some(left) => left as u32,
            None => ((element + modulus - pulses % modulus) % modulus) as u32,
        };
    }

    /// The period, if OUT is at its start and nothing is going to change it.
    fn steady_period(&self) -> Option<u64> {
        let count = self.count?;
        let at_start = match self.mode() {
            2 => self.element == count,
            3 => self.element == count & !1 && self.odd == (count & 1 != 0),
            _ => false,
        };
        let steady = self.runs() && !self.load && !self.null_count && self.out && count > 1;
        (at_start && steady).then_some(count.into())
    }

    fn reload(&mut self) {
        let Some(count) = self.count else { return };
        self.null_count = false;
        self.odd = count & 1 != 0;
        self.element = if self.mode() == 3 { count & !1 } else { count };
    }

    fn is_bcd(&self) -> bool {
        self.control & 1 != 0
    }

    fn modulus(&self) -> u32 {
        if self.is_bcd() { 10_000 } else { 0x1_0000 }
    }

    /// A count as written, in CLK pulses; 0 stands for the largest.
    fn pulses(&self, count: u16) -> u32 {
        let value = if self.is_bcd() {
            (0..4)
                .rev()
                .fold(0, |value, digit| value * 10 + (u32::from(count) >> (digit * 4) & 0xF))
        } else {
            count.into()
        };
        if value == 0 { self.modulus() } else { value }
    }

    /// The counting element as it is read.
    fn current(&self) -> u16 {
        if !self.is_bcd() {
            return self.element as u16;
        }
        let digit = |place: u32| (self.element / 10u32.pow(place) % 10) << (place * 4);
        (digit(0) | digit(1) | digit(2) | digit(3)) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOW_BYTE: u8 = 1 << 4;
    const BOTH_BYTES: u8 = 3 << 4;

    fn counter(mode: u8, count: u8) -> Counter {
        let mut counter = Counter::new(LOW_BYTE | mode << 1, true);
        counter.write(count);
        counter
    }

    /// CE and OUT after each of so many pulses, in the manner of the data sheet's figures.
    fn trace(counter: &mut Counter, pulses: usize) -> Vec<(u32, bool)> {
        (0..pulses)
            .map(|_| {
                counter.clock();
                (counter.element, counter.out)
            })
            .collect()
    }

    fn figure(elements: &[u32], out: &str) -> Vec<(u32, bool)> {
        elements.iter().copied().zip(out.chars().map(|level| level == '-')).collect()
    }

    #[test]
    fn mode_0_rises_n_plus_1_pulses_after_the_count_was_written() {
        let mut counter = counter(0, 4);
        assert!(!counter.out());
        assert_eq!(trace(&mut counter, 7), figure(&[4, 3, 2, 1, 0, 0xFFFF, 0xFFFE], "____---"));
    }

    #[test]
    fn mode_0_holds_its_count_while_gate_is_low() {
        let mut counter = counter(0, 3);
        trace(&mut counter, 2);
        counter.set_gate(false);
        assert_eq!(trace(&mut counter, 2), figure(&[2, 2], "__"));
        counter.set_gate(true);
        assert_eq!(trace(&mut counter, 2), figure(&[1, 0], "_-"));
    }

    #[test]
    fn mode_0_stops_at_the_first_byte_of_a_new_count() {
        let mut counter = Counter::new(BOTH_BYTES, true);
        counter.write(3);
        counter.write(0);
        trace(&mut counter, 4);
        assert!(counter.out());
        counter.write(2);
        assert!(!counter.out(), "at once, without a pulse");
        assert_eq!(trace(&mut counter, 2), figure(&[0, 0], "__"));
        counter.write(0);
        assert_eq!(trace(&mut counter, 3), figure(&[2, 1, 0], "__-"));
    }

    #[test]
    fn mode_1_is_a_one_shot_that_each_trigger_starts_again() {
        let mut counter = Counter::new(LOW_BYTE | 1 << 1, false);
        counter.write(3);
        assert_eq!(trace(&mut counter, 2), figure(&[0, 0], "--"));
        counter.set_gate(true);
        assert_eq!(trace(&mut counter, 2), figure(&[3, 2], "__"));
        counter.set_gate(false);
        counter.set_gate(true);
        assert_eq!(trace(&mut counter, 5), figure(&[3, 2, 1, 0, 0xFFFF], "___--"));
    }

    #[test]
    fn mode_2_is_low_for_the_last_pulse_of_each_period() {
        let mut counter = counter(2, 3);
        assert_eq!(trace(&mut counter, 8), figure(&[3, 2, 1, 3, 2, 1, 3, 2], "--_--_--"));
    }

    #[test]
    fn mode_2_takes_a_new_count_at_the_end_of_the_period() {
        let mut counter = counter(2, 4);
        trace(&mut counter, 2);
        counter.write(5);
        assert_eq!(trace(&mut counter, 8), figure(&[2, 1, 5, 4, 3, 2, 1, 5], "-_----_-"));
    }

    #[test]
    fn mode_2_is_restarted_by_its_gate() {
        let mut counter = counter(2, 3);
        trace(&mut counter, 3);
        assert!(!counter.out());
        counter.set_gate(false);
        assert!(counter.out(), "at once");
        trace(&mut counter, 2);
        counter.set_gate(true);
        assert_eq!(trace(&mut counter, 4), figure(&[3, 2, 1, 3], "--_-"));
    }

    #[test]
    fn mode_3_is_a_square_wave_whose_high_half_takes_the_odd_pulse() {
        assert_eq!(trace(&mut counter(3, 4), 9), figure(&[4, 2, 4, 2, 4, 2, 4, 2, 4], "--__--__-"));
        assert_eq!(
            trace(&mut counter(3, 5), 11),
            figure(&[4, 2, 0, 4, 2, 4, 2, 0, 4, 2, 4], "---__---__-")
        );
    }

    #[test]
    fn mode_4_strobes_once_for_one_pulse() {
        let mut counter = counter(4, 3);
        assert_eq!(trace(&mut counter, 6), figure(&[3, 2, 1, 0, 0xFFFF, 0xFFFE], "---_--"));
        assert_eq!(counter.advance(200_000), 0);
    }

    #[test]
    fn mode_5_strobes_after_a_trigger() {
        let mut counter = Counter::new(LOW_BYTE | 5 << 1, false);
        counter.write(2);
        assert_eq!(counter.advance(100), 0);
        counter.set_gate(true);
        assert_eq!(trace(&mut counter, 5), figure(&[2, 1, 0, 0xFFFF, 0xFFFE], "--_--"));
    }

    #[test]
    fn a_count_of_zero_is_the_largest() {
        let mut binary = counter(2, 0);
        assert_eq!(binary.pulses_to_rising_edge(), Some(65_537));
        assert_eq!(binary.advance(65_536), 0);
        assert_eq!(binary.advance(1), 1);
        let mut decimal = Counter::new(LOW_BYTE | 2 << 1 | 1, true);
        decimal.write(0);
        assert_eq!(decimal.pulses_to_rising_edge(), Some(10_001));
    }

    #[test]
    fn a_decimal_counter_reads_and_writes_decimal_digits() {
        let mut counter = Counter::new(BOTH_BYTES | 1, true);
        counter.write(0x00);
        counter.write(0x10);
        counter.advance(2);
        assert_eq!([counter.read(), counter.read()], [0x99, 0x09]);
        counter.advance(1000);
        counter.latch_count();
        assert_eq!([counter.read(), counter.read()], [0x99, 0x99], "wraps to 9999");
    }

    #[test]
    fn a_count_of_one_keeps_a_rate_generator_silent() {
        for mode in [2, 3] {
            let mut counter = counter(mode, 1);
            assert_eq!(counter.pulses_to_rising_edge(), None);
            assert_eq!(counter.advance(1_000_000), 0);
            assert!(counter.out());
            counter.write(4);
            assert!(counter.advance(1_000) > 200, "a legal count brings it back");
        }
    }

    #[test]
    fn a_latched_count_holds_until_read_and_a_second_latch_is_ignored() {
        let mut counter = Counter::new(BOTH_BYTES | 2 << 1, true);
        counter.write(0x34);
        counter.write(0x12);
        counter.advance(1);
        counter.latch_count();
        counter.advance(0x10);
        counter.latch_count();
        assert_eq!([counter.read(), counter.read()], [0x34, 0x12]);
        assert_eq!([counter.read(), counter.read()], [0x24, 0x12]);
    }

    #[test]
    fn the_status_comes_before_the_count_and_tells_a_null_count() {
        let mut counter = Counter::new(BOTH_BYTES | 3 << 1, true);
        counter.write(0x00);
        counter.write(0x10);
        counter.latch_status();
        assert_eq!(counter.read(), 0b1111_0110, "OUT high, count not loaded yet, mode 3");
        counter.advance(1);
        counter.latch_status();
        counter.latch_count();
        assert_eq!(counter.read(), 0b1011_0110);
        assert_eq!([counter.read(), counter.read()], [0x00, 0x10]);
    }

    proptest! {
        #[test]
        fn advancing_is_the_same_as_clocking(
            control in 0u8..0x40,
            actions in proptest::collection::vec((0u8..4, any::<u8>(), 0u64..700), 1..30),
        ) {
            let mut stepped = Counter::new(control, true);
            let mut jumped = stepped.clone();
            for (action, value, pulses) in actions {
                for counter in [&mut stepped, &mut jumped] {
                    match action {
                        0 => counter.write(value),
                        1 => counter.set_gate(value & 1 != 0),
                        2 => counter.write(value & 7),
                        _ => counter.latch_count(),
                    }
                }
                let expected = jumped.pulses_to_rising_edge();
                let mut edges = 0;
                let mut first = None;
                for pulse in 1..=pulses {
                    if stepped.clock() {
                        edges += 1;
                        first = first.or(Some(pulse));
                    }
                }
                prop_assert_eq!(jumped.advance(pulses), edges);
                prop_assert_eq!(&jumped, &stepped);
                match expected {
                    Some(pulse) if pulse <= pulses => prop_assert_eq!(first, Some(pulse)),
                    _ => prop_assert_eq!(first, None),
                }
            }
        }
    }
}
