//! Numbers that look random, the same for the same seed.

/// Marsaglia's xorshift with 32 bits ("Xorshift RNGs", 2003): shifts 13, 17, 5.
#[derive(Clone, Copy, Debug)]
pub struct Random(u32);

impl Random {
    /// A generator for a seed.
    pub fn new(seed: u32) -> Self {
        Self(if seed == 0 { 0x9E37_79B9 } else { seed })
    }

    /// The next number, which is never 0.
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(bound)) >> 32) as u32
    }
}
