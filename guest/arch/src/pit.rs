//! The 8254 interval timer: channel 0 is IRQ 0.

use crate::port;

/// What the counters count, in hertz.
pub const FREQUENCY: u32 = 1_193_182;

/// The range of rates that make sense: the counter has 16 bits, and a handler takes its time.
pub const RATES: core::ops::RangeInclusive<u32> = 19..=10_000;

const CHANNEL_0: u16 = 0x40;
const COMMAND: u16 = 0x43;
/// Channel 0, low byte then high byte, mode 2 (rate generator), binary.
const RATE_GENERATOR: u8 = 0x34;

/// The rate that an option asks for, or `default` without one.
///
/// # Panics
/// If it is no number, or none of [`RATES`].
pub fn rate(option: Option<&str>, default: u32) -> u32 {
    let Some(text) = option else { return default };
    match text.parse() {
        Ok(hz) if RATES.contains(&hz) => hz,
        _ => panic!("hz={text}: it has to be a number from {} to {}", RATES.start(), RATES.end()),
    }
}

/// Starts the timer with the divisor that comes nearest to `hz`, one of [`RATES`].
pub fn start(hz: u32) {
    let [low, high, ..] = divisor(hz).to_le_bytes();
    // SAFETY: the ports of the 8254, which move no memory.
    unsafe {
        port::write(COMMAND, RATE_GENERATOR);
        port::write(CHANNEL_0, low);
        port::write(CHANNEL_0, high);
    }
}

const fn divisor(hz: u32) -> u32 {
    (FREQUENCY + hz / 2) / hz
}

const _: () = assert!(divisor(100) == 11_932 && divisor(19) == 62_799 && divisor(1_000) == 1_193);
