//! Changes an input: bytes, lines, words of the format, and, in JSON, whole values.

use serde_json::{Map, Value, json};

use crate::LONGEST;

/// Numbers that repeat from run to run (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> Option<&'a T> {
        list.get(self.below(list.len())).copied()
    }
}

/// What breaks readers of any text.
const WORDS: [&str; 30] = [
    "\0",
    "\t",
    "\r\n",
    "\n\n",
    " ",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "-",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "9999999999999999999999",
    "é",
    "🏥",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "..",
    "/",
];

/// One to a few changes. `other` is another good input, to take parts from.
pub fn mutate(input: &[u8], other: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        bytes = match random.below(10) {
            0..4 => json_value(&bytes, other, random).unwrap_or_else(|| raw(bytes, words, random)),
            4 => lines(&bytes, random),
            5 => splice(&bytes, other, random),
            _ => raw(bytes, words, random),
        };
    }
    bytes.truncate(LONGEST);
    bytes
}

fn raw(mut bytes: Vec<u8>, words: &[&str], random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len() + 1);
    let end = (at + 1 + random.below(40)).min(bytes.len());
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.number() as u8,
        2 if at < end => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 if at < end => {
            let part = bytes[at..end].repeat(1 + random.below(20));
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
        5 if at + 8 <= bytes.len() => {
            // Lengths and counts are where binary formats lie.
            let extreme = [0, 1, 0xff, 0xffff, 0xffff_ffff, u64::MAX, 1 << 40, random.number()]
                [random.below(8)];
            bytes[at..at + 8].copy_from_slice(&extreme.to_le_bytes());
        }
        _ => {
            let known = if random.below(2) == 0 { words } else { &WORDS };
            let word = random.pick(known).or(random.pick(&WORDS)).unwrap_or("x");
            bytes.splice(at..at, word.bytes());
        }
    }
    bytes
}

/// A line twice, gone, moved, or at another indentation.
fn lines(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let (at, to) = (random.below(lines.len()), random.below(lines.len()));
    if lines.is_empty() {
        return Vec::new();
    }
    match random.below(5) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(to, lines[at].clone()),
        2 => lines.swap(at, to),
        3 => drop(lines[at].splice(0..0, vec![b' '; 1 + random.below(4)])),
        _ => {
            let blanks = lines[at].iter().take_while(|b| **b == b' ').count();
            lines[at].drain(..random.below(blanks + 1));
        }
    }
    lines.concat()
}

/// The beginning of one and the end of the other.
fn splice(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let (to, from) = (random.below(bytes.len() + 1), random.below(other.len() + 1));
    [&bytes[..to], &other[from..]].concat()
}

/// Changes one value of a JSON text; none if it is no JSON.
fn json_value(bytes: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(bytes).ok()?;
    let count = size(&root);
    let target = random.below(count);
    let donor = serde_json::from_slice(other).unwrap_or(Value::Null);
    let new = match random.below(8) {
        0 => {
            let from = random.below(size(&donor));
            nth(&mut donor.clone(), from).map(|value| value.clone()).unwrap_or_default()
        }
        1 => {
            let from = random.below(count);
            nth(&mut root.clone(), from).map(|value| value.clone()).unwrap_or_default()
        }
        2 => (0..random.below(200)).fold(Value::Null, |inner, _| json!([inner])),
        3 => Value::String("x".repeat(random.below(5000))),
        _ => extremes(random),
    };
    let place = nth(&mut root, target)?;
    match (random.below(4), &mut *place) {
        (0, Value::Object(map)) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            match keys.get(random.below(keys.len() + 1)) {
                Some(key) => drop(map.remove(key)),
                None => drop(map.insert("_comment".to_owned(), new)),
            }
        }
        (0, Value::Array(list)) => {
            let at = random.below(list.len() + 1);
            if at < list.len() && random.below(2) == 0 {
                list.remove(at);
            } else {
                list.insert(at, new);
            }
        }
        (1, Value::Object(map)) => rename(map, random),
        _ => *place = new,
    }
    serde_json::to_vec(&root).ok()
}

fn extremes(random: &mut Random) -> Value {
    let all = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!("../../etc/passwd"),
        json!("2026-02-30"),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("\u{0}"),
        json!([]),
        json!({}),
        json!({"_comment": {"_comment": []}}),
    ];
    all[random.below(all.len())].clone()
}

/// Gives one key's value another name, which may be taken.
fn rename(map: &mut Map<String, Value>, random: &mut Random) {
    let keys: Vec<String> = map.keys().cloned().collect();
    if let (Some(from), Some(to)) =
        (keys.get(random.below(keys.len())), keys.get(random.below(keys.len())))
    {
        let value = map.remove(from).unwrap_or_default();
        map.insert(format!("{to}{}", ["", "x", "\n"][random.below(3)]), value);
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

/// The value at a place, counted from the root as 0.
fn nth(value: &mut Value, at: usize) -> Option<&mut Value> {
    if at == 0 {
        return Some(value);
    }
    let mut left = at - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => return None,
    };
    for child in children {
        let size = size(child);
        if left < size {
            return nth(child, left);
        }
        left -= size;
    }
    None
}
