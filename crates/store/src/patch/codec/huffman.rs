//! The codes of a deflate block (RFC 1951, 3.2), with ties broken as zlib and GNU gzip break them.

use super::deflate::Symbol;

const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const LENGTHS: usize = 19;
const END: usize = 256;
/// In this order the lengths of length codes are sent.
const ORDER: [usize; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LENGTH_EXTRA: [u32; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// Bits, the lowest first.
#[derive(Default)]
pub struct Bits {
    out: Vec<u8>,
    held: u64,
    n: u32,
}

impl Bits {
    fn put(&mut self, value: u32, n: u32) {
        self.held |= u64::from(value) << self.n;
        self.n += n;
        while self.n >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.n -= 8;
        }
    }

    /// Moves the whole bytes to `out`.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    /// Moves all to `out`, the last byte filled up with zeros.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.put(0, (8 - self.n) % 8);
        self.take(out);
    }
}

/// Frequencies of a block's symbols.
pub struct Codes {
    literals: Vec<u32>,
    distances: Vec<u32>,
}

impl Default for Codes {
    fn default() -> Self {
        let mut literals = vec![0; LITERALS];
        literals[END] = 1;
        Self { literals, distances: vec![0; DISTANCES] }
    }
}

impl Codes {
    /// Counts a symbol.
    pub fn count(&mut self, symbol: Symbol) {
        if symbol.distance == 0 {
            self.literals[usize::from(symbol.value)] += 1;
        } else {
            self.literals[END + 1 + length_code(symbol.value).0] += 1;
            self.distances[distance_code(symbol.distance).0] += 1;
        }
    }

    /// Bits of all distances so far, as GNU gzip guesses them.
    pub fn distance_bits(&self) -> u64 {
        let each = |(code, n): (usize, &u32)| u64::from(*n) * (5 + u64::from(distance_extra(code)));
        self.distances.iter().enumerate().map(each).sum()
    }
}

/// Code, extra bits and their value of a length, which is given less 3.
fn length_code(length: u8) -> (usize, u32, u32) {
    if length == 255 {
        return (28, 0, 0);
    }
    let mut base = 0;
    for (code, extra) in LENGTH_EXTRA.iter().enumerate() {
        let next = base + (1 << extra);
        if u32::from(length) < next {
            return (code, *extra, u32::from(length) - base);
        }
        base = next;
    }
    (28, 0, 0)
}

fn distance_extra(code: usize) -> u32 {
    (code as u32 / 2).saturating_sub(1)
}

/// Likewise for a distance.
fn distance_code(distance: u16) -> (usize, u32, u32) {
    let d = u32::from(distance) - 1;
    if d < 4 {
        return (d as usize, 0, 0);
    }
    let extra = d.ilog2() - 1;
    let code = 2 * (extra + 1) + (d >> extra & 1);
    (code as usize, extra, d & ((1 << extra) - 1))
}

/// Writes a block, with codes of its own or the fixed ones, whichever is shorter.
pub fn block(out: &mut Bits, codes: &mut Codes, symbols: &[Symbol], last: bool) {
    let fixed: Vec<u32> = (0..288)
        .map(|n| match n {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        })
        .collect();
    let fixed_distances = vec![5; DISTANCES];
    let literals = lengths(&mut codes.literals, 15);
    let distances = lengths(&mut codes.distances, 15);
    let sent = runs(&literals, &distances);
    let mut counts = vec![0; LENGTHS];
    sent.iter().for_each(|(code, _, _)| counts[*code] += 1);
    let order = lengths(&mut counts, 7);
    let used = (3..LENGTHS).rev().find(|k| order[ORDER[*k]] != 0).unwrap_or(3) + 1;
    let sizes: u64 = sent.iter().map(|(code, bits, _)| u64::from(order[*code] + bits)).sum();
    let own = cost(codes, &literals, &distances) + sizes + 3 * used as u64 + 14;
    let plain = cost(codes, &fixed, &fixed_distances);
    if (plain + 10) >> 3 <= (own + 10) >> 3 {
        out.put(2 + u32::from(last), 3);
        return write(out, symbols, &fixed, &fixed_distances);
    }
    out.put(4 + u32::from(last), 3);
    out.put(trimmed(&literals) as u32 - 257, 5);
    out.put(trimmed(&distances) as u32 - 1, 5);
    out.put(used as u32 - 4, 4);
    ORDER[..used].iter().for_each(|k| out.put(order[*k], 3));
    let values = values(&order);
    for (code, bits, extra) in sent {
        out.put(values[code], order[code]);
        out.put(extra, bits);
    }
    write(out, symbols, &literals, &distances);
}

/// Bits of all symbols.
fn cost(codes: &Codes, literals: &[u32], distances: &[u32]) -> u64 {
    let extra = |n: usize| n.checked_sub(END + 1).map_or(0, |k| LENGTH_EXTRA[k]);
    let mut bits = 0;
    for (n, count) in codes.literals.iter().enumerate() {
        bits += u64::from(*count) * u64::from(literals[n] + extra(n));
    }
    for (n, count) in codes.distances.iter().enumerate() {
        bits += u64::from(*count) * u64::from(distances[n] + distance_extra(n));
    }
    bits
}

fn write(out: &mut Bits, symbols: &[Symbol], literals: &[u32], distances: &[u32]) {
    let (literal_values, distance_values) = (values(literals), values(distances));
    for symbol in symbols {
        if symbol.distance == 0 {
            let n = usize::from(symbol.value);
            out.put(literal_values[n], literals[n]);
            continue;
        }
        let (code, bits, extra) = length_code(symbol.value);
        out.put(literal_values[END + 1 + code], literals[END + 1 + code]);
        out.put(extra, bits);
        let (code, bits, extra) = distance_code(symbol.distance);
        out.put(distance_values[code], distances[code]);
        out.put(extra, bits);
    }
    out.put(literal_values[END], literals[END]);
}

/// Length up to the last code that is used.
fn trimmed(lengths: &[u32]) -> usize {
    lengths.iter().rposition(|l| *l != 0).map_or(0, |k| k + 1)
}

/// The codes by which code lengths are sent: code, extra bits, their value. A run does not go over from the
/// literals to the distances.
fn runs(literals: &[u32], distances: &[u32]) -> Vec<(usize, u32, u32)> {
    let mut sent = Vec::new();
    for lengths in [literals, distances] {
        let lengths = &lengths[..trimmed(lengths)];
        let mut at = 0;
        let mut before = None;
        while at < lengths.len() {
            let value = lengths[at];
            let most = match (value, before == Some(value)) {
                (0, _) => 138,
                (_, true) => 6,
                (_, false) => 7,
            };
            let least = if value == 0 || before == Some(value) { 3 } else { 4 };
            let run = lengths[at..].iter().take(most).take_while(|l| **l == value).count();
            let mut left = run;
            if run < least {
                sent.extend((0..run).map(|_| (value as usize, 0, 0)));
            } else if value != 0 {
                if before != Some(value) {
                    sent.push((value as usize, 0, 0));
                    left -= 1;
                }
                sent.push((16, 2, left as u32 - 3));
            } else if run <= 10 {
                sent.push((17, 3, run as u32 - 3));
            } else {
                sent.push((18, 7, run as u32 - 11));
            }
            before = Some(value);
            at += run;
        }
    }
    sent
}

/// The codes themselves, their bits reversed as they are sent.
fn values(lengths: &[u32]) -> Vec<u32> {
    let mut next = [0_u32; 17];
    for bits in 1..=15 {
        let n = lengths.iter().filter(|l| **l == bits).count() as u32;
        next[bits as usize + 1] = (next[bits as usize] + n) << 1;
    }
    let value = |bits: &u32| {
        if *bits == 0 {
            return 0;
        }
        let code = &mut next[*bits as usize];
        *code += 1;
        (*code - 1).reverse_bits() >> (32 - bits)
    };
    lengths.iter().map(value).collect()
}

/// A heap of nodes, the rarest first; of equally rare ones, the shallower.
struct Heap {
    nodes: Vec<usize>,
    counts: Vec<u32>,
    depths: Vec<u32>,
}

impl Heap {
    fn smaller(&self, a: usize, b: usize) -> bool {
        (self.counts[a], self.depths[a]) <= (self.counts[b], self.depths[b])
    }

    /// Moves the node at `k` (counted from 1) down to its place.
    fn down(&mut self, mut k: usize) {
        let v = self.nodes[k - 1];
        let mut j = 2 * k;
        while j <= self.nodes.len() {
            if j < self.nodes.len() && self.smaller(self.nodes[j], self.nodes[j - 1]) {
                j += 1;
            }
            if self.smaller(v, self.nodes[j - 1]) {
                break;
            }
            self.nodes[k - 1] = self.nodes[j - 1];
            k = j;
            j *= 2;
        }
        self.nodes[k - 1] = v;
    }

    /// Takes the first one away.
    fn pop(&mut self) -> usize {
        let first = self.nodes.swap_remove(0);
        if !self.nodes.is_empty() {
            self.down(1);
        }
        first
    }
}

/// Lengths of the codes, at most `max` bits. There are always two codes at least, so counts may be added.
fn lengths(counts: &mut [u32], max: u32) -> Vec<u32> {
    let n = counts.len();
    let mut heap = Heap {
        nodes: (0..n).filter(|k| counts[*k] != 0).collect(),
        counts: counts.to_vec(),
        depths: vec![0; n],
    };
    let mut largest = heap.nodes.last().map_or(-1, |k| *k as i64);
    while heap.nodes.len() < 2 {
        let added = if largest < 2 {
            largest += 1;
            largest as usize
        } else {
            0
        };
        heap.nodes.push(added);
        heap.counts[added] = 1;
    }
    for k in (1..=heap.nodes.len() / 2).rev() {
        heap.down(k);
    }
    let mut parent = vec![0; n];
    let mut order = Vec::new();
    while heap.nodes.len() >= 2 {
        let a = heap.pop();
        let b = heap.nodes[0];
        let node = heap.counts.len();
        heap.counts.push(heap.counts[a] + heap.counts[b]);
        heap.depths.push(heap.depths[a].max(heap.depths[b]) + 1);
        parent.push(0);
        (parent[a], parent[b]) = (node, node);
        order.extend([a, b]);
        heap.nodes[0] = node;
        heap.down(1);
    }
    limit(&order, &parent, n, max)
}

/// Lengths out of the tree; those that are too long are shortened, at the cost of the next shorter ones.
fn limit(order: &[usize], parent: &[usize], n: usize, max: u32) -> Vec<u32> {
    let mut lengths = vec![0; parent.len()];
    let mut number = vec![0_u32; max as usize + 1];
    let mut over = 0_i64;
    for node in order.iter().rev() {
        let mut bits = lengths[parent[*node]] + 1;
        if bits > max {
            bits = max;
            over += 1;
        }
        lengths[*node] = bits;
        if *node < n {
            number[bits as usize] += 1;
        }
    }
    if over > 0 {
        while over > 0 {
            let bits = (1..max as usize).rev().find(|b| number[*b] != 0).unwrap_or(1);
            number[bits] -= 1;
            number[bits + 1] += 2;
            number[max as usize] -= 1;
            over -= 2;
        }
        // The rarest get the longest.
        let mut leaves = order.iter().filter(|k| **k < n);
        for bits in (1..=max).rev() {
            for leaf in leaves.by_ref().take(number[bits as usize] as usize) {
                lengths[*leaf] = bits;
            }
        }
    }
    lengths.truncate(n);
    lengths
}
