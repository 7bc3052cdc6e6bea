//! Chance that can be repeated: the seed is printed, and `AFIELD_VM_SEED` sets it.

use std::time::{Duration, SystemTime};

/// SplitMix64.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// With the seed that was asked for, or a new one.
    #[allow(clippy::new_without_default, reason = "it prints")]
    pub fn new() -> Self {
        let asked = std::env::var("AFIELD_VM_SEED").ok().map(|seed| seed.parse().unwrap());
        let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let seed = asked.unwrap_or_else(clock);
        println!("AFIELD_VM_SEED={seed}");
        Self(seed)
    }

    /// Chance of its own for one part of a test: what the others draw does not change it.
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    /// A moment before `end`.
    pub fn moment(&mut self, end: Duration) -> Duration {
        end.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Heads or tails.
    pub fn toss(&mut self) -> bool {
        self.next() & 1 == 0
    }
}
