//! Deflate (RFC 1951) as GNU gzip and zlib choose it: the same matches, the same blocks, the same codes.
//!
//! Which of the many valid encodings these programs write is fixed by their algorithm: hash chains with lazy
//! evaluation (RFC 1951, 4), blocks that end when a buffer is full, and (GNU gzip) when a block has become
//! well packed. All constants are theirs.

use super::huffman::{self, Bits, Codes};

const WINDOW: usize = 1 << 15;
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
const MAX_DISTANCE: usize = WINDOW - (MAX_MATCH + MIN_MATCH + 1);
/// A match of three bytes farther away than this is longer than three literals.
const TOO_FAR: usize = 4096;

/// A program and a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// With a shorter match than this, a better one is looked for at the next byte.
    lazy: usize,
    /// With this much, less effort is made.
    good: usize,
    /// With this much, the search ends.
    nice: usize,
    /// Candidates tried.
    chain: usize,
    /// Bits of the hash of three bytes, and by how much each byte shifts it.
    hash: (u32, u32),
    /// A block has one symbol less.
    block: usize,
    /// Ends a block early, as GNU gzip does.
    early: bool,
}

impl Method {
    const fn new(level: u32, hash: (u32, u32), block: usize, early: bool) -> Self {
        let (good, lazy, nice, chain) = match level {
            9 => (32, 258, 258, 4096),
            8 => (32, 128, 258, 1024),
            _ => (8, 16, 128, 128),
        };
        Self { lazy, good, nice, chain, hash, block, early }
    }

    /// By number, as patches name them: gzip -9, gzip -6, zlib 9, zlib 6, zlib 9 with more memory. Never
    /// changed, only added to.
    pub const ALL: [Self; 5] = [
        Self::new(9, (15, 5), 0x8000, true),
        Self::new(6, (15, 5), 0x8000, true),
        Self::new(9, (15, 5), 0x4000, false),
        Self::new(6, (15, 5), 0x4000, false),
        Self::new(9, (16, 6), 0x8000, false),
    ];
}

/// A literal (distance 0), or a match.
#[derive(Clone, Copy)]
pub struct Symbol {
    pub distance: u16,
    /// The byte, or the length less 3.
    pub value: u8,
}

/// Bytes that are looked at behind the one that is due.
const AHEAD: usize = MAX_MATCH + MIN_MATCH + 1;
/// Bytes that are kept together before the oldest ones are let go.
const BUFFER: usize = 1 << 19;

/// Deflates a content piece by piece: how it is cut makes no difference.
pub struct Deflater {
    matcher: Matcher,
    out: Bits,
    block: Block,
    /// The match that was found for the last byte.
    previous: usize,
    from: usize,
    /// Whether the last byte waits for its neighbour's match.
    pending: bool,
    at: usize,
}

impl Deflater {
    pub fn new(method: Method) -> Self {
        Self {
            matcher: Matcher::new(method),
            out: Bits::default(),
            block: Block::default(),
            previous: MIN_MATCH - 1,
            from: 0,
            pending: false,
            at: 0,
        }
    }

    /// Takes a piece, and adds to `out` what is certain.
    pub fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.matcher.text.extend_from_slice(piece);
        while self.matcher.end() > self.at + AHEAD {
            self.step();
        }
        self.matcher.forget(self.at);
        self.out.take(out);
    }

    /// Adds the rest.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        while self.matcher.end() > self.at {
            self.step();
        }
        if self.pending {
            let last = self.matcher.byte(self.at - 1);
            self.block.add(literal(last), self.at, &self.matcher.method);
        }
        self.block.flush(&mut self.out, self.at, true);
        self.out.finish(out);
    }

    fn step(&mut self) {
        let method = self.matcher.method;
        let at = self.at;
        let head = self.matcher.insert(at);
        let (old, old_from) = (self.previous, self.from);
        self.previous = MIN_MATCH - 1;
        if let Some(head) = head
            && old < method.lazy
            && at - head <= MAX_DISTANCE
        {
            (self.previous, self.from) = self.matcher.longest(at, head, old, old_from);
            if self.previous == MIN_MATCH && at - self.from > TOO_FAR {
                self.previous = MIN_MATCH - 1;
            }
        }
        if old >= MIN_MATCH && self.previous <= old {
            let symbol =
                Symbol { distance: (at - 1 - old_from) as u16, value: (old - MIN_MATCH) as u8 };
            let full = self.block.add(symbol, at, &method);
            for next in at + 1..at + old - 1 {
                self.matcher.insert(next);
            }
            self.at += old - 1;
            self.pending = false;
            self.previous = MIN_MATCH - 1;
            if full {
                self.block.flush(&mut self.out, self.at, false);
            }
            return;
        }
        if self.pending && self.block.add(literal(self.matcher.byte(at - 1)), at, &method) {
            self.block.flush(&mut self.out, at, false);
        }
        self.pending = true;
        self.at += 1;
    }
}

fn literal(value: u8) -> Symbol {
    Symbol { distance: 0, value }
}

/// Where three bytes stood before.
struct Matcher {
    /// The content from `base` on.
    text: Vec<u8>,
    base: usize,
    method: Method,
    /// Place of the last occurrence of each hash; 0 is none, so that the first byte is never found.
    head: Vec<u32>,
    before: Vec<u32>,
}

impl Matcher {
    fn new(method: Method) -> Self {
        let head = vec![0; 1 << method.hash.0];
        Self { text: Vec::new(), base: 0, method, head, before: vec![0; WINDOW] }
    }

    fn end(&self) -> usize {
        self.base + self.text.len()
    }

    fn byte(&self, at: usize) -> u8 {
        self.text[at - self.base]
    }

    /// Lets go of what is too far behind `at` to be copied.
    fn forget(&mut self, at: usize) {
        if self.text.len() > BUFFER {
            let gone = at.saturating_sub(WINDOW + 1).saturating_sub(self.base);
            self.text.drain(..gone);
            self.base += gone;
        }
    }

    /// Notes the place `at`; returns the last one with the same hash.
    fn insert(&mut self, at: usize) -> Option<usize> {
        let at_text = at - self.base;
        let three = self.text.get(at_text..at_text + MIN_MATCH)?;
        let (bits, shift) = self.method.hash;
        let hash = three.iter().fold(0, |h: u32, b| h << shift ^ u32::from(*b));
        let head = &mut self.head[hash as usize & ((1 << bits) - 1)];
        let last = *head;
        self.before[at % WINDOW] = last;
        *head = at as u32;
        (last > 0).then_some(last as usize)
    }

    /// The longest match at `at` that is longer than `best`, else `best` and `from` again.
    fn longest(&self, at: usize, head: usize, best: usize, from: usize) -> (usize, usize) {
        let limit = at.saturating_sub(MAX_DISTANCE);
        let room = self.end() - at;
        let mut chain = self.method.chain;
        if best >= self.method.good {
            chain /= 4;
        }
        let (mut best, mut from) = (best, from);
        let mut candidate = head;
        loop {
            let due = &self.text[at - self.base..][..room.min(MAX_MATCH)];
            let there = &self.text[candidate - self.base..];
            let len = due.iter().zip(there).take_while(|(a, b)| a == b).count();
            if len > best {
                (best, from) = (len, candidate);
                if len >= self.method.nice.min(room) {
                    break;
                }
            }
            candidate = self.before[candidate % WINDOW] as usize;
            chain -= 1;
            if candidate <= limit || chain == 0 {
                break;
            }
        }
        (best.min(room), from)
    }
}

/// Symbols that get their own codes.
#[derive(Default)]
struct Block {
    symbols: Vec<Symbol>,
    matches: usize,
    codes: Codes,
    start: usize,
}

impl Block {
    /// Takes a symbol; whether the block is to end. `at` is the byte that is being looked at.
    fn add(&mut self, symbol: Symbol, at: usize, method: &Method) -> bool {
        self.symbols.push(symbol);
        self.matches += usize::from(symbol.distance > 0);
        self.codes.count(symbol);
        let n = self.symbols.len();
        if method.early && n & 0xFFF == 0 {
            let length = (n as u64 * 8 + self.codes.distance_bits()) >> 3;
            if self.matches < n / 2 && length < (at - self.start) as u64 / 2 {
                return true;
            }
        }
        n == method.block - 1 || self.matches == method.block
    }

    fn flush(&mut self, out: &mut Bits, at: usize, last: bool) {
        huffman::block(out, &mut self.codes, &self.symbols, last);
        *self = Self { start: at, ..Self::default() };
    }
}
