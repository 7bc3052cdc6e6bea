//! The models of bytes: new ones, and ones that stand where another was expected.

use super::PatchError;
use super::coder::Coder;
use super::mix::{Contexts, Mixer, Slots, hash};

/// How far back new bytes are compared with what came before, bytes.
const HISTORY: usize = 1 << 22;
/// Bytes that make a repetition.
const REPEAT: usize = 6;
/// Contexts of new bytes: orders 1, 2, 3, 4, 6 and the word.
const ORDERS: usize = 6;
/// Contexts of a wrong expectation, and of how wrong it was.
const FLAGS: usize = 7;
const WRONGS: usize = 6;

/// After this many right bytes, they are asked for by the block.
const BLOCK_RUN: u32 = 96;
const BLOCK: usize = 32;

/// What both sides know: everything that was written so far, and the models.
pub struct Bytes {
    fresh: Fresh,
    aligned: Aligned,
    /// The last eight bytes, the latest lowest.
    last: u64,
    word: u32,
}

impl Bytes {
    pub fn new() -> Self {
        Self { fresh: Fresh::new(), aligned: Aligned::new(), last: 0, word: 0 }
    }

    /// Codes bytes that nothing is known of.
    pub fn fresh(&mut self, coder: &mut impl Coder, bytes: &mut [u8]) -> Result<(), PatchError> {
        for byte in bytes {
            *byte = self.fresh.code(coder, *byte, self.last, self.word)?;
            self.push(*byte, true);
        }
        Ok(())
    }

    /// Codes bytes of which `bytes.len()` of `expected`, from `start`, are the likely ones.
    pub fn aligned(
        &mut self,
        coder: &mut impl Coder,
        expected: &[u8],
        start: usize,
        bytes: &mut [u8],
    ) -> Result<(), PatchError> {
        let mut k = 0;
        while k < bytes.len() {
            let until = k + BLOCK;
            if self.aligned.run >= BLOCK_RUN && until <= bytes.len() {
                let want = &expected[start + k..start + until];
                if self.aligned.block(coder, &bytes[k..until], want)? {
                    bytes[k..until].copy_from_slice(want);
                    self.known(want);
                    k = until;
                    continue;
                }
            }
            // A block with something wrong in it, or the bytes after something wrong.
            let until = until.min(bytes.len());
            while k < until {
                bytes[k] = self.aligned.code(coder, bytes[k], expected, start + k, self.last)?;
                self.push(bytes[k], false);
                k += 1;
            }
        }
        Ok(())
    }

    /// Notes bytes that both sides have.
    pub fn known(&mut self, bytes: &[u8]) {
        let tail = bytes.len().saturating_sub(64);
        bytes[tail..].iter().for_each(|b| self.push(*b, false));
    }

    fn push(&mut self, byte: u8, remember: bool) {
        self.last = self.last << 8 | u64::from(byte);
        self.word = if byte.is_ascii_alphanumeric() || byte >= 128 {
            hash(&[self.word, u32::from(byte)])
        } else if self.word == 0 {
            0
        } else {
            // One separator belongs to the word, so that the next one is seen in its light.
            self.word & 0xFF
        };
        self.fresh.push(byte, remember);
    }
}

/// The model of new bytes: contexts of several lengths, and the longest repetition of what came before.
struct Fresh {
    contexts: Vec<Contexts>,
    places: [usize; ORDERS],
    first: Slots,
    repeats: Slots,
    mixer: Mixer,
    history: Vec<u8>,
    end: usize,
    /// Where the last bytes, hashed, stood before.
    seen: Vec<u32>,
    pointer: usize,
    length: usize,
}

impl Fresh {
    fn new() -> Self {
        Self {
            contexts: (0..ORDERS).map(|_| Contexts::new(17)).collect(),
            places: [0; ORDERS],
            first: Slots::new(8),
            repeats: Slots::new(16),
            mixer: Mixer::new(ORDERS + 2, &[256, 64]),
            history: vec![0; HISTORY],
            end: 0,
            seen: vec![0; 1 << 18],
            pointer: 0,
            length: 0,
        }
    }

    fn code(
        &mut self,
        coder: &mut impl Coder,
        byte: u8,
        last: u64,
        word: u32,
    ) -> Result<u8, PatchError> {
        let (low, high) = (last as u32, (last >> 32) as u32);
        let hashes = [
            hash(&[1, low & 0xFF]),
            hash(&[2, low & 0xFFFF]),
            hash(&[3, low & 0xFF_FFFF]),
            hash(&[4, low]),
            hash(&[6, low, high & 0xFFFF]),
            hash(&[7, word, low & 0xFF]),
        ];
        let mut node: usize = 1;
        for at in (0..8).rev() {
            if at == 7 || at == 3 {
                let half = if at == 7 { 0 } else { node as u32 };
                for (k, h) in hashes.iter().enumerate() {
                    self.places[k] = self.contexts[k].find(hash(&[*h, half]));
                }
            }
            let bit = self.bit(coder, u32::from(byte >> at) & 1, node, at)?;
            node = node << 1 | bit as usize;
        }
        Ok(node as u8)
    }

    fn bit(
        &mut self,
        coder: &mut impl Coder,
        bit: u32,
        node: usize,
        at: u32,
    ) -> Result<u32, PatchError> {
        // Place in the half byte: 1, then two, four, eight nodes.
        let inner = if at > 3 { node } else { node & ((1 << (3 - at)) - 1) | 1 << (3 - at) };
        for k in 0..ORDERS {
            match self.contexts[k].p(self.places[k], inner) {
                0 => self.mixer.skip(),
                p => self.mixer.add(p),
            }
        }
        self.mixer.add(self.first.at(node as u32).known());
        let guess = self.guess(node, at);
        let repeat = guess.map(|bit| (self.length.min(31) as u32) << 1 | bit);
        match repeat {
            Some(context) => self.mixer.add(self.repeats.at(context).known()),
            None => self.mixer.skip(),
        }
        let long = repeat.map_or(0, |c| 1 + (c >> 1).min(15)) as usize;
        let p = self.mixer.mix(&[node, long]);
        let bit = coder.bit(bit, p)?;
        self.mixer.learn(bit);
        for k in 0..ORDERS {
            self.contexts[k].learn(self.places[k], inner, bit);
        }
        self.first.at(node as u32).learn(bit, 250);
        if let Some(context) = repeat {
            self.repeats.at(context).learn(bit, 250);
        }
        Ok(bit)
    }

    /// The next bit if the repetition goes on.
    fn guess(&self, node: usize, at: u32) -> Option<u32> {
        if self.length == 0 {
            return None;
        }
        let byte = usize::from(self.history[self.pointer]) | 256;
        (byte >> (at + 1) == node).then_some(byte as u32 >> at & 1)
    }

    fn push(&mut self, byte: u8, remember: bool) {
        if self.length > 0 && self.history[self.pointer] == byte {
            self.length += 1;
            self.pointer = (self.pointer + 1) % HISTORY;
        } else {
            self.length = 0;
        }
        self.history[self.end] = byte;
        self.end = (self.end + 1) % HISTORY;
        if !remember {
            return;
        }
        let mut key = [0; 2];
        for k in 1..=REPEAT {
            let byte = u32::from(self.history[(self.end + HISTORY - k) % HISTORY]);
            key[k % 2] = key[k % 2] << 8 | byte;
        }
        let seen = &mut self.seen[hash(&key) as usize & 0x3_FFFF];
        if self.length == 0 && *seen != 0 {
            self.pointer = *seen as usize % HISTORY;
            while self.length < 32 && self.same_before(self.length + 1) {
                self.length += 1;
            }
        }
        self.seen[hash(&key) as usize & 0x3_FFFF] = self.end as u32;
    }

    /// Whether the bytes `back` before the end and before the pointer are the same.
    fn same_before(&self, back: usize) -> bool {
        let at = |end: usize| self.history[(end + HISTORY - back) % HISTORY];
        at(self.end) == at(self.pointer)
    }
}

/// The model of bytes that stand beside expected ones: is it the expected one, and if not, how far off.
struct Aligned {
    flags: Vec<Slots>,
    flag_mixer: Mixer,
    wrongs: Vec<Contexts>,
    wrong_mixer: Mixer,
    /// Right (1) and wrong (0) for the last 32 bytes.
    past: u32,
    /// Right ones since the last wrong one.
    run: u32,
    /// How far off the last four wrong ones were, the latest lowest.
    offs: u32,
    /// The same by place: how far off each of the last eight bytes was.
    places: u64,
}

impl Aligned {
    fn new() -> Self {
        Self {
            flags: (0..FLAGS).map(|_| Slots::new(18)).collect(),
            flag_mixer: Mixer::new(FLAGS, &[32, 256]),
            wrongs: (0..WRONGS).map(|_| Contexts::new(14)).collect(),
            wrong_mixer: Mixer::new(WRONGS, &[256, 5]),
            past: u32::MAX,
            run: 0,
            offs: 0,
            places: 0,
        }
    }

    fn code(
        &mut self,
        coder: &mut impl Coder,
        byte: u8,
        expected: &[u8],
        at: usize,
        last: u64,
    ) -> Result<u8, PatchError> {
        let old = |ahead: isize| -> u32 {
            let at = at as isize + ahead;
            let byte = usize::try_from(at).ok().and_then(|at| expected.get(at));
            byte.copied().map_or(0, u32::from)
        };
        let want = old(0) as u8;
        let ahead = old(0) << 24 | old(1) << 16 | old(2) << 8 | old(3);
        let behind = old(-1) << 16 | old(-2) << 8 | old(-3);
        let run = self.run_class();
        let contexts = [
            hash(&[1, run, self.past & 0xFF]),
            hash(&[2, old(0) << 8 | old(-1), self.past & 3]),
            hash(&[3, behind, self.past & 7]),
            hash(&[4, self.past & 0xFFFF]),
            hash(&[5, ahead, behind >> 16, self.past & 1]),
            hash(&[6, behind >> 8, old(0), self.past & 15]),
            hash(&[7, self.run.min(255), old(-4) << 8 | old(0) & 0xF0]),
        ];
        for (k, c) in contexts.iter().enumerate() {
            match self.flags[k].at(*c).p() {
                0 => self.flag_mixer.skip(),
                p => self.flag_mixer.add(p),
            }
        }
        let p = self.flag_mixer.mix(&[run as usize, (self.past & 0xFF) as usize]);
        let right = coder.bit(u32::from(byte == want), p)?;
        self.flag_mixer.learn(right);
        for (k, c) in contexts.iter().enumerate() {
            self.flags[k].at(*c).learn(right, 255);
        }
        self.past = self.past << 1 | right;
        self.places <<= 8;
        if right == 1 {
            self.run = self.run.saturating_add(1);
            return Ok(want);
        }
        let off = self.wrong(coder, byte.wrapping_sub(want), ahead, behind, last)?;
        self.run = 0;
        self.offs = self.offs << 8 | u32::from(off);
        self.places |= u64::from(off);
        let byte = want.wrapping_add(off);
        if off == 0 {
            return Err(PatchError::Corrupt("a byte that is wrong and right at once"));
        }
        Ok(byte)
    }

    /// Codes whether a whole block is right.
    fn block(
        &mut self,
        coder: &mut impl Coder,
        bytes: &[u8],
        want: &[u8],
    ) -> Result<bool, PatchError> {
        let context = hash(&[8, self.run.ilog2(), self.past & 1]);
        let slot = self.flags[0].at(context);
        let right = coder.bit(u32::from(bytes == want), slot.known())?;
        slot.learn(right, 255);
        if right == 1 {
            self.run = self.run.saturating_add(BLOCK as u32);
            self.past = u32::MAX;
            self.places = 0;
        }
        Ok(right == 1)
    }

    /// Right bytes since the last wrong one, in 32 classes.
    fn run_class(&self) -> u32 {
        let run = self.run;
        if run < 12 { run } else { (8 + run.ilog2()).min(31) }
    }

    /// Codes how far off a wrong byte is.
    fn wrong(
        &mut self,
        coder: &mut impl Coder,
        off: u8,
        ahead: u32,
        behind: u32,
        last: u64,
    ) -> Result<u8, PatchError> {
        let before = self.places >> 8;
        let hashes = [
            hash(&[1, ahead >> 24, (before & 0xFF) as u32]),
            hash(&[2, ahead, behind >> 16]),
            hash(&[3, self.offs & 0xFFFF]),
            hash(&[4, self.past & 0xFF, self.offs & 0xFF]),
            hash(&[5, last as u32 & 0xFFFF, ahead >> 24]),
            hash(&[6, (before & 0xFF_FFFF) as u32, self.past & 0xF, self.offs >> 24]),
        ];
        let streak = (!self.past).trailing_ones().min(4) as usize;
        let mut places = [0; WRONGS];
        let mut node: usize = 1;
        for at in (0..8).rev() {
            if at == 7 || at == 3 {
                let half = if at == 7 { 0 } else { node as u32 };
                for (k, h) in hashes.iter().enumerate() {
                    places[k] = self.wrongs[k].find(hash(&[*h, half]));
                }
            }
            let inner = if at > 3 { node } else { node & ((1 << (3 - at)) - 1) | 1 << (3 - at) };
            for (k, place) in places.iter().enumerate() {
                match self.wrongs[k].p(*place, inner) {
                    0 => self.wrong_mixer.skip(),
                    p => self.wrong_mixer.add(p),
                }
            }
            let p = self.wrong_mixer.mix(&[node, streak]);
            let bit = coder.bit(u32::from(off >> at) & 1, p)?;
            self.wrong_mixer.learn(bit);
            for (k, place) in places.iter().enumerate() {
                self.wrongs[k].learn(*place, inner, bit);
            }
            node = node << 1 | bit as usize;
        }
        Ok(node as u8)
    }
}
