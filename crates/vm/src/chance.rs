//! Chance that can be repeated: the seed is printed, and `AFIELD_VM_SEED` sets it.

use std::time::SystemTime;

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
