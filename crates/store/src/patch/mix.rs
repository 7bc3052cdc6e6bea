//! Probabilities that learn, and a mixer that learns whom to trust. Integers only, so that every machine
//! computes the same.
//!
//! The method is context mixing (M. Mahoney, "Data Compression Explained", 4.3): each context predicts the
//! next bit; predictions are stretched to ln(p / (1 - p)), weighted, summed, and squashed back; the weights
//! follow the error.

use std::sync::LazyLock;

/// Stretched probabilities lie between -LIMIT and LIMIT; 256 is 1.
const LIMIT: i32 = 3071;

/// 65536 / (1 + e^(-x / 2)) for x = -24 … 24.
const SQUASH: [i32; 49] = [
    1, 1, 1, 2, 3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812,
    11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816,
    65097, 65269, 65374, 65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535,
    65535, 65535,
];

/// Stretched to a probability of 16 bits, 1 to 65535.
fn squash(x: i32) -> u32 {
    let x = x.clamp(-LIMIT, LIMIT) + 3072;
    let (at, part) = ((x >> 7) as usize, x & 127);
    let p = (SQUASH[at] * (128 - part) + SQUASH[at + 1] * part) >> 7;
    p.clamp(1, 65535) as u32
}

/// The inverse of `squash`, for probabilities of 12 bits.
static STRETCH: LazyLock<Vec<i16>> = LazyLock::new(|| {
    let mut table = Vec::with_capacity(4096);
    let mut x = -LIMIT;
    for p in 0..4096 {
        while x < LIMIT && squash(x) < p * 16 + 8 {
            x += 1;
        }
        table.push(x as i16);
    }
    table
});

/// A weighted sum of predictions.
pub struct Mixer {
    inputs: Vec<i32>,
    used: usize,
    sets: Vec<Set>,
    chosen: Vec<usize>,
    outputs: Vec<u32>,
    stretch: &'static [i16],
}

/// Weights that are chosen by one small context.
struct Set {
    weights: Vec<i32>,
    /// How often each context was seen: the first errors teach more than the later ones.
    seen: Vec<u8>,
}

impl Mixer {
    /// A mixer of `inputs` predictions, with one set of weights for each of `sizes`, averaged.
    pub fn new(inputs: usize, sizes: &[usize]) -> Self {
        let first = 65536 / inputs.max(1) as i32 + 12_000;
        let set = |size: &usize| Set { weights: vec![first; size * inputs], seen: vec![0; *size] };
        Self {
            inputs: vec![0; inputs],
            used: 0,
            sets: sizes.iter().map(set).collect(),
            chosen: vec![0; sizes.len()],
            outputs: vec![0; sizes.len()],
            stretch: &STRETCH,
        }
    }

    /// Adds a prediction, 16 bits.
    pub fn add(&mut self, p: u32) {
        self.inputs[self.used] = i32::from(self.stretch[(p >> 4) as usize & 4095]);
        self.used += 1;
    }

    /// Adds nothing: the context has not been seen.
    pub fn skip(&mut self) {
        self.inputs[self.used] = 0;
        self.used += 1;
    }

    /// The prediction, with `chosen` the context of each set of weights.
    pub fn mix(&mut self, chosen: &[usize]) -> u32 {
        let n = self.inputs.len();
        let mut sum = 0;
        for (k, set) in self.sets.iter().enumerate() {
            let at = chosen[k] * n;
            let weights = &set.weights[at..at + n];
            let dot: i64 =
                weights.iter().zip(&self.inputs).map(|(w, x)| i64::from(*w) * i64::from(*x)).sum();
            let x = (dot >> 16).clamp(-i64::from(LIMIT), i64::from(LIMIT)) as i32;
            self.chosen[k] = chosen[k];
            self.outputs[k] = squash(x);
            sum += x;
        }
        squash(sum / self.sets.len() as i32)
    }

    /// Learns from the bit that came.
    pub fn learn(&mut self, bit: u32) {
        let n = self.inputs.len();
        for (k, set) in self.sets.iter_mut().enumerate() {
            let chosen = self.chosen[k];
            let seen = &mut set.seen[chosen];
            let rate = 5 + 400 / (i64::from(*seen) + 12);
            *seen = seen.saturating_add(1);
            let error = (i64::from(bit) << 16) - i64::from(self.outputs[k]);
            let at = chosen * n;
            for (w, x) in set.weights[at..at + n].iter_mut().zip(&self.inputs) {
                let step = (i64::from(*x) * error * rate + (1 << 19)) >> 20;
                *w = (i64::from(*w) + step).clamp(-(1 << 24), 1 << 24) as i32;
            }
        }
        self.used = 0;
    }
}

/// A probability of 22 bits and a count of 10: it moves by 1 / (count + 1.5), at least by 1 / (limit + 1.5).
#[derive(Clone, Copy)]
pub struct Slot(u32);

impl Slot {
    pub const NEW: Self = Self(1 << 31);

    /// Probability, 16 bits; 0 if never seen.
    pub fn p(self) -> u32 {
        if self.0 & 1023 == 0 { 0 } else { self.known() }
    }

    /// Probability, one half if never seen.
    pub fn known(self) -> u32 {
        (self.0 >> 16).clamp(1, 65535)
    }

    pub fn learn(&mut self, bit: u32, limit: u32) {
        let count = self.0 & 1023;
        let p = i64::from(self.0 >> 10);
        let target = i64::from(bit) * ((1 << 22) - 1);
        let p = p + (target - p) * 2 / (2 * i64::from(count) + 3);
        self.0 = (p as u32) << 10 | (count + 1).min(limit);
    }
}

/// Slots chosen by a hash, without a check: for contexts that are few or dense.
pub struct Slots {
    slots: Vec<Slot>,
    mask: usize,
}

impl Slots {
    pub fn new(bits: u32) -> Self {
        Self { slots: vec![Slot::NEW; 1 << bits], mask: (1 << bits) - 1 }
    }

    pub fn at(&mut self, hash: u32) -> &mut Slot {
        let at = hash as usize & self.mask;
        &mut self.slots[at]
    }
}

/// The 15 nodes of half a byte in one context: 12 bits of probability and 4 of count each. `check` tells
/// contexts of one place apart.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Bucket {
    check: u16,
    nodes: [u16; 15],
}

impl Bucket {
    const NEW: Self = Self { check: 0, nodes: [1 << 15; 15] };
}

/// Contexts of one order, by half bytes.
pub struct Contexts {
    buckets: Vec<Bucket>,
    mask: usize,
}

impl Contexts {
    pub fn new(bits: u32) -> Self {
        Self { buckets: vec![Bucket::NEW; 1 << bits], mask: (1 << bits) - 1 }
    }

    /// Place of the bucket of a context; the less used of two gives way.
    pub fn find(&mut self, hash: u32) -> usize {
        let check = (hash >> 16) as u16;
        let first = (hash.wrapping_mul(0x9E37_79B1) >> 8) as usize & self.mask;
        let second = first ^ 1;
        for at in [first, second] {
            if self.buckets[at].check == check {
                return at;
            }
        }
        let used = |at: usize| self.buckets[at].nodes[0] & 15;
        let at = if used(first) <= used(second) { first } else { second };
        self.buckets[at] = Bucket { check, ..Bucket::NEW };
        at
    }

    /// Prediction of a node, 16 bits; 0 if never seen.
    pub fn p(&self, at: usize, node: usize) -> u32 {
        let v = self.buckets[at].nodes[node - 1];
        if v & 15 == 0 {
            return 0;
        }
        u32::from(v & 0xFFF0).max(16)
    }

    pub fn learn(&mut self, at: usize, node: usize, bit: u32) {
        let v = &mut self.buckets[at].nodes[node - 1];
        let (p, count) = (i32::from(*v >> 4), i32::from(*v & 15));
        let target = if bit == 1 { 4095 } else { 0 };
        let p = p + (target - p) * 2 / (2 * count + 3);
        *v = (p as u16) << 4 | (count + 1).min(15) as u16;
    }
}

/// Mixes words into a hash.
pub fn hash(words: &[u32]) -> u32 {
    let mut h: u32 = 0x2545_F491;
    for w in words {
        h = (h ^ w).wrapping_mul(0x85EB_CA6B);
        h ^= h >> 15;
    }
    h
}
