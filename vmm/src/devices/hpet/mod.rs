//! The high precision event timer at 0xFED00000: a counter of 100 MHz and three timers that compare with it.
//!
//! Source: IA-PC HPET specification 1.0a, section 2.3; where it leaves a choice, QEMU's: 10 ns, three timers, all of them
//! periodic and of 64 bits, no messages on the front side bus.
//! ```text
//!  000  capabilities    63–32 femtoseconds of a count · 31–16 maker · 15 legacy · 13 64 bits · 12–8 last timer · 7–0 revision
//!  010  configuration   1 legacy replacement · 0 enable: the counter runs, and timers interrupt
//!  020  status          2–0 of each level-triggered timer; a 1 that is written clears it
//!  0F0  main counter    written while it stands
//!  100 + 20n  timer n   63–32 pins that it can have · 13–9 its pin · 8 32 bits · 6 set the accumulator · 5 can do 64 bits
//!                       4 can be periodic · 3 periodic · 2 interrupts · 1 level
//!  108 + 20n  comparator: the counter's value at the next match; in periodic mode the last that was written is added
//!                       at each match, and what is written becomes the comparator only after bit 6
//!
//!                            legacy replacement           without it
//!  timer 0 ─► IRQ 0 (pin 2), the 8254 is not heard        the pin that it has been given
//!  timer 1 ─► IRQ 8,         the clock is not heard       of the I/O APIC: 2, 8, 16 to 23
//!  timer 2 ─► its pin
//! ```
//! Counts are computed from when the counter was let run, never by adding up intervals.

/// Where its registers lie.
pub const BASE: u64 = 0xFED0_0000;
/// Bytes of its page.
pub const SIZE: u64 = 0x400;
/// The low half of the capabilities, which ACPI's table repeats: maker 8086, legacy replacement, 64 bits, three timers.
pub const IDENTITY: u32 = 0x8086_A001 | (TIMERS as u32 - 1) << 8;
/// Counts of the shortest period, 100 µs: that of a handler has to fit in. QEMU has the same limit.
pub const SHORTEST_PERIOD: u16 = 10_000;

const TIMERS: usize = 3;
/// Nanoseconds of a count.
const TICK: u64 = 10;
const FEMTOSECONDS: u64 = TICK * 1_000_000;
/// The pins of the I/O APIC that a timer can have: those of the lines that it may replace, and those that no ISA device has.
const PINS: u32 = 0x00FF_0104;

const CAPABILITIES: u16 = 0x000;
const CONFIGURATION: u16 = 0x010;
const STATUS: u16 = 0x020;
const COUNTER: u16 = 0x0F0;
const FIRST_TIMER: u16 = 0x100;

const ENABLED: u64 = 1 << 0;
const LEGACY: u64 = 1 << 1;

const LEVEL: u32 = 1 << 1;
const INTERRUPTS: u32 = 1 << 2;
const PERIODIC: u32 = 1 << 3;
/// It can be periodic, and has 64 bits.
const CAPABLE: u32 = 1 << 4 | 1 << 5;
const SET_ACCUMULATOR: u32 = 1 << 6;
const NARROW: u32 = 1 << 8;
const PIN: u32 = 0x1F << 9;

/// A comparator that is written when the counter has passed it by less than this, one second, matches at once.
///
/// On a processor the counter would have to come around once more. But an exit takes longer than what a driver keeps in hand
/// between reading the counter and writing the comparator: it would lose a race that it wins on any real machine.
const JUST_PASSED: u64 = 100_000_000;

/// Where a timer's interrupt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To a line of the 8259s and its pin of the I/O APIC, in place of the device that has it.
    Line(
        /// IRQ.
        u8,
    ),
    /// To a pin of the I/O APIC alone.
    Pin(
        /// Its number.
        usize,
    ),
}

/// The counter and its timers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hpet {
    configuration: u64,
    /// What the counter held when it last began to run, or holds while it stands.
    count: u64,
    /// When it began to run.
    began: u64,
    now: u64,
    timers: [Timer; TIMERS],
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Timer {
    /// The low half, without what cannot be written.
    configuration: u32,
    comparator: u64,
    period: u64,
    /// How many counts after the counter began to run it next matches; `None` if it stands, or never.
    due: Option<u64>,
    /// It is level-triggered and has matched.
    status: bool,
    /// It is edge-triggered and has matched since it was last silent: see [`Pit::interrupt_line`](super::pit::Pit::interrupt_line).
    held: bool,
    /// It has matched, and its edge has not been taken.
    edge: bool,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            configuration: 0,
            comparator: u64::MAX,
            period: 0,
            due: None,
            status: false,
            held: false,
            edge: false,
        }
    }
}

impl Hpet {
    /// Reads bytes from `offset` on.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.register(at & !7).to_le_bytes()[usize::from(at & 7)];
        }
    }

    /// Writes a double word or a quad word at `offset`; others have no defined effect, and are ignored.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        if !matches!(data.len(), 4 | 8) || !usize::from(offset).is_multiple_of(data.len()) {
            return;
        }
        let register = offset & !7;
        let at = usize::from(offset & 7);
        // What is written lies over what `value` has.
        let over = |value: u64| {
            let mut bytes = value.to_le_bytes();
            bytes[at..at + data.len()].copy_from_slice(data);
            u64::from_le_bytes(bytes)
        };
        match register {
            CONFIGURATION => self.configure(over(self.configuration)),
            STATUS => {
                let cleared = over(0);
                for (index, timer) in self.timers.iter_mut().enumerate() {
                    timer.status &= cleared & 1 << index == 0;
                }
            }
            COUNTER if !self.is_enabled() => self.count = over(self.count),
            _ => {
                let Some((index, register)) = timer_register(register) else { return };
                let timer = &mut self.timers[index];
                match register {
                    0x00 => {
                        let old = timer.configuration;
                        timer.configure(over(old.into()) as u32);
                        if (old ^ timer.configuration) & (PERIODIC | NARROW) != 0 {
                            self.aim(index, false);
                        }
                    }
                    0x08 => {
                        timer.write(over);
                        self.aim(index, true);
                    }
                    _ => {}
                }
            }
        }
        self.silence();
        self.advance_to(self.now);
    }

    /// The quad word at a multiple of 8.
    fn register(&self, offset: u16) -> u64 {
        match offset {
            CAPABILITIES => FEMTOSECONDS << 32 | u64::from(IDENTITY),
            CONFIGURATION => self.configuration,
            STATUS => (0..TIMERS).map(|index| u64::from(self.timers[index].status) << index).sum(),
            COUNTER => self.counter(),
            _ => match timer_register(offset) {
                Some((index, 0x00)) => {
                    let configuration = self.timers[index].configuration & !SET_ACCUMULATOR;
                    u64::from(PINS) << 32 | u64::from(configuration | CAPABLE)
                }
                Some((index, 0x08)) => self.timers[index].comparator,
                _ => 0,
            },
        }
    }

    /// Moves time on to `now`, in nanoseconds. Time that runs backwards stands still.
    pub fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        let elapsed = self.elapsed();
        let interrupts = self.is_enabled();
        for timer in &mut self.timers {
            timer.advance_to(elapsed, interrupts);
        }
    }

    /// When a timer next changes its output; `is_open` tells whether that reaches the CPU.
    pub fn deadline(&self, is_open: &dyn Fn(Output) -> bool) -> Option<u64> {
        let waited = |index: &usize| {
            let output = self.output(*index);
            !self.timers[*index].status && self.interrupts(*index) && output.is_some_and(is_open)
        };
        (0..TIMERS).filter(waited).filter_map(|index| self.matches_at(index)).min()
    }

    /// The lines and pins whose timers have matched since the last call, by an edge.
    pub fn take_edges(&mut self) -> impl Iterator<Item = Output> + use<> {
        let edges = [0, 1, 2].map(|index| {
            let edge = std::mem::take(&mut self.timers[index].edge);
            self.output(index).filter(|_| edge)
        });
        edges.into_iter().flatten()
    }

    /// The level of a line or pin, as far as the timers drive it.
    pub fn level(&self, output: Output) -> bool {
        (0..TIMERS).any(|index| {
            let timer = &self.timers[index];
            // A pin that others have too is left to them between two edges.
            let holds = timer.held && matches!(output, Output::Line(_));
            (timer.status || holds) && self.interrupts(index) && self.output(index) == Some(output)
        })
    }

    /// The lines of the 8254 and the clock are its own.
    pub fn replaces_legacy(&self) -> bool {
        self.configuration & LEGACY != 0
    }

    /// A timer is to interrupt.
    pub fn is_used(&self) -> bool {
        (0..TIMERS).any(|index| self.interrupts(index))
    }

    /// When the timer that has IRQ 0 next matches.
    pub fn next_tick(&self) -> Option<u64> {
        self.matches_at(0).filter(|_| self.replaces_legacy() && self.interrupts(0))
    }

    fn is_enabled(&self) -> bool {
        self.configuration & ENABLED != 0
    }

    fn interrupts(&self, index: usize) -> bool {
        self.is_enabled() && self.timers[index].configuration & INTERRUPTS != 0
    }

    /// Where a timer's interrupt goes; `None` if it was given no pin that it can have.
    fn output(&self, index: usize) -> Option<Output> {
        match index {
            0 if self.replaces_legacy() => Some(Output::Line(super::TIMER_IRQ)),
            1 if self.replaces_legacy() => Some(Output::Line(super::cmos::IRQ)),
            _ => {
                let pin = (self.timers[index].configuration & PIN) >> 9;
                can_have(pin).then_some(Output::Pin(pin as usize))
            }
        }
    }

    /// Counts since the counter began to run.
    fn elapsed(&self) -> u64 {
        if self.is_enabled() { (self.now - self.began) / TICK } else { 0 }
    }

    fn counter(&self) -> u64 {
        self.count.wrapping_add(self.elapsed())
    }

    fn matches_at(&self, index: usize) -> Option<u64> {
        self.timers[index].due?.checked_mul(TICK)?.checked_add(self.began)
    }

    fn configure(&mut self, value: u64) {
        let was_enabled = self.is_enabled();
        let count = self.counter();
        if (self.configuration ^ value) & LEGACY != 0 {
            self.timers.iter_mut().for_each(|timer| timer.held = false);
        }
        self.configuration = value & (ENABLED | LEGACY);
        if self.is_enabled() == was_enabled {
            return;
        }
        (self.count, self.began) = (count, self.now);
        (0..TIMERS).for_each(|index| self.aim(index, false));
    }

    /// Finds out when a timer next matches; `written` if its comparator has just been.
    fn aim(&mut self, index: usize, written: bool) {
        let (is_enabled, counter, elapsed) = (self.is_enabled(), self.counter(), self.elapsed());
        let timer = &mut self.timers[index];
        let ahead = timer.comparator.wrapping_sub(counter) & timer.mask();
        let behind = counter.wrapping_sub(timer.comparator) & timer.mask();
        timer.due = if !is_enabled {
            None
        } else if written && behind < JUST_PASSED {
            Some(elapsed.checked_sub(behind).unwrap_or_else(|| {
                // It was passed by the counter's being loaded.
                timer.comparator = counter & timer.mask();
                elapsed
            }))
        } else {
            elapsed.checked_add(ahead)
        };
    }

    /// A timer that interrupts no more holds no line.
    fn silence(&mut self) {
        for index in 0..TIMERS {
            self.timers[index].held &= self.interrupts(index);
        }
    }
}

impl Timer {
    fn mask(&self) -> u64 {
        if self.configuration & NARROW != 0 { u32::MAX.into() } else { u64::MAX }
    }

    fn configure(&mut self, value: u32) {
        // A pin that it cannot have is not taken, by which software finds out.
        let pin = if can_have((value & PIN) >> 9) { value } else { self.configuration };
        let writable = LEVEL | INTERRUPTS | PERIODIC | SET_ACCUMULATOR | NARROW;
        self.configuration = value & writable | pin & PIN;
        self.comparator &= self.mask();
        self.period &= self.mask();
        self.status &= value & LEVEL != 0;
        self.held &= value & LEVEL == 0;
    }

    /// The comparator is written: `over` puts what is written over a value.
    fn write(&mut self, over: impl Fn(u64) -> u64) {
        let is_periodic = self.configuration & PERIODIC != 0;
        if !is_periodic || self.configuration & SET_ACCUMULATOR != 0 {
            self.comparator = over(self.comparator) & self.mask();
        }
        if is_periodic {
            self.period = over(self.period) & self.mask();
        }
        self.configuration &= !SET_ACCUMULATOR;
    }

    /// Counts from one match to the next that interrupts; `None` if there is no next.
    fn stride(&self) -> Option<u64> {
        if self.configuration & PERIODIC != 0 && self.period != 0 {
            let least = u64::from(SHORTEST_PERIOD).div_ceil(self.period);
            return Some(self.period * least);
        }
        // The counter comes around.
        self.mask().checked_add(1)
    }

    fn advance_to(&mut self, elapsed: u64, interrupts: bool) {
        let Some(due) = self.due.filter(|due| *due <= elapsed) else { return };
        let passed =
            self.stride().and_then(|stride| stride.checked_mul((elapsed - due) / stride + 1));
        self.due = passed.and_then(|passed| due.checked_add(passed));
        if self.configuration & PERIODIC != 0 {
            self.comparator = self.comparator.wrapping_add(passed.unwrap_or(0)) & self.mask();
        }
        if self.configuration & LEVEL != 0 {
            self.status = true;
        } else if interrupts && self.configuration & INTERRUPTS != 0 {
            (self.held, self.edge) = (true, true);
        }
    }
}

/// Which timer's register lies at a multiple of 8, and which of them.
fn timer_register(offset: u16) -> Option<(usize, u16)> {
    let offset = offset.checked_sub(FIRST_TIMER)?;
    let index = usize::from(offset / 0x20);
    (index < TIMERS).then_some((index, offset % 0x20))
}

fn can_have(pin: u32) -> bool {
    PINS & 1 << pin != 0
}

#[cfg(test)]
mod tests;
