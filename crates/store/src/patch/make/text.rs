//! What is compressed in a file, and in what is compressed there: single files, the payload of a kernel, the
//! members of an archive that the kernel unpacks at boot.

use super::choice::blanked;
use crate::patch::codec::{self, Closed, Open, Recipe};

/// Archives with more members are not looked into.
const MAX_MEMBERS: usize = 20_000;
const CPIO_HEADER: usize = 110;

/// A content, and what is compressed in it.
pub struct Text {
    pub bytes: Vec<u8>,
    /// In the order in which they stand there.
    pub inner: Vec<Inner>,
}

/// A compressed part of a text.
pub struct Inner {
    /// Where it begins, its header included.
    pub at: usize,
    /// Bytes at its start that stay as they are.
    pub header: usize,
    pub len: usize,
    /// What it is called in an archive; empty outside.
    pub name: Vec<u8>,
    pub text: Text,
}

/// Where something compressed may begin, and how long it is at most.
struct Place {
    at: usize,
    len: usize,
    name: Vec<u8>,
}

impl Text {
    /// Opens everything that can be opened.
    pub fn open(bytes: Vec<u8>, depth: usize) -> Self {
        let mut text = Self { bytes, inner: Vec::new() };
        if depth == 0 {
            return text;
        }
        if let Some(place) = kernel(&text.bytes) {
            text.inner.extend(inner(&text.bytes, place, depth));
            return text;
        }
        let mut at = 0;
        // One after the other, with zeros in between.
        while let Some(skip) = text.bytes[at..].iter().position(|b| *b != 0) {
            at += skip;
            let rest = &text.bytes[at..];
            if rest.starts_with(b"07070") {
                let (places, end) = members(&text.bytes, at);
                let all = places.into_iter().filter_map(|p| inner(&text.bytes, p, depth));
                text.inner.extend(all);
                if end == at {
                    break;
                }
                at = end;
            } else if codec::likely(rest) {
                let place = Place { at, len: rest.len(), name: Vec::new() };
                let Some(found) = inner(&text.bytes, place, depth) else {
                    break;
                };
                at += found.len;
                text.inner.push(found);
            } else {
                break;
            }
        }
        text
    }

    /// The partner of an inner text: of the same name, or of one that differs in numbers only.
    pub fn like(&self, inner: &Inner) -> Option<&Inner> {
        let same = self.inner.iter().find(|i| i.name == inner.name);
        same.or_else(|| {
            let wanted = blanked(&inner.name);
            self.inner.iter().find(|i| blanked(&i.name) == wanted)
        })
    }

    /// Leaves closed what is the same in a base.
    pub fn prune(&mut self, base: &Self) {
        let bytes = &self.bytes;
        self.inner.retain_mut(|inner| {
            let Some(old) = base.like(inner) else {
                return true;
            };
            inner.text.prune(&old.text);
            let packed = |i: &Inner, bytes: &[u8]| bytes[i.at..i.at + i.len].to_vec();
            packed(inner, bytes) != packed(old, &base.bytes)
        });
    }

    /// The recipe for each inner text; those that a host cannot make again are closed, and counted.
    pub fn prove(&mut self, counts: &mut Counts) -> Vec<Recipe> {
        let bytes = &self.bytes;
        let mut recipes = Vec::new();
        self.inner.retain_mut(|inner| {
            let mut below = Counts::default();
            let mut own = inner.text.prove(&mut below);
            let packed = &bytes[inner.at + inner.header..inner.at + inner.len];
            match codec::prove(packed, &inner.text.bytes, inner.text.plain()) {
                Ok(recipe) => {
                    counts.opened += 1 + below.opened;
                    counts.unknown += below.unknown;
                    counts.memory += below.memory;
                    recipes.push(recipe);
                    recipes.append(&mut own);
                    true
                }
                Err(why) => {
                    counts.close(why);
                    false
                }
            }
        });
        recipes
    }

    /// How many bytes of it a patch makes as they are.
    pub fn plain(&self) -> u64 {
        let own = |i: &Inner| i.text.plain() + i.header as u64 - i.len as u64;
        (self.inner.iter().map(own)).fold(self.bytes.len() as u64, u64::wrapping_add)
    }
}

/// How many compressed files were opened, and why others were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub opened: u64,
    pub unknown: u64,
    pub memory: u64,
}

impl Counts {
    fn close(&mut self, why: Closed) {
        match why {
            Closed::Unknown => self.unknown += 1,
            Closed::Memory => self.memory += 1,
        }
    }
}

fn inner(bytes: &[u8], place: Place, depth: usize) -> Option<Inner> {
    let Open { raw, header, packed } = codec::open(&bytes[place.at..place.at + place.len])?;
    Some(Inner {
        at: place.at,
        header,
        len: packed,
        name: place.name,
        text: Text::open(raw, depth - 1),
    })
}

/// The payload of a kernel for x86 (Documentation/arch/x86/boot.rst).
fn kernel(bytes: &[u8]) -> Option<Place> {
    let number = |at: usize| -> Option<usize> {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    };
    if bytes.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    // Zero stands for four sectors of setup code.
    let sectors = match bytes[0x1F1] {
        0 => 4,
        n => usize::from(n),
    };
    let at = (sectors + 1) * 512 + number(0x248)?;
    let len = number(0x24C)?;
    let payload = bytes.get(at..at.checked_add(len)?)?;
    codec::likely(payload).then_some(Place { at, len, name: Vec::new() })
}

/// Compressed members of an archive that begins at `at` (cpio, newc), and where the archive ends.
fn members(bytes: &[u8], start: usize) -> (Vec<Place>, usize) {
    let mut places = Vec::new();
    let mut at = start;
    for _ in 0..MAX_MEMBERS {
        let Some((name, data, len)) = member(bytes, at) else {
            return (places, start);
        };
        if name == b"TRAILER!!!" {
            return (places, data);
        }
        if codec::likely(&bytes[data..data + len]) {
            places.push(Place { at: data, len, name: name.to_vec() });
        }
        // Members begin at multiples of four.
        at = (data + len + 3) & !3;
    }
    (places, start)
}

/// Name, place and length of the member at `at`.
fn member(bytes: &[u8], at: usize) -> Option<(&[u8], usize, usize)> {
    let header = bytes.get(at..at + CPIO_HEADER)?;
    if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
        return None;
    }
    let number = |k: usize| {
        let text = std::str::from_utf8(&header[6 + 8 * k..14 + 8 * k]).ok()?;
        usize::from_str_radix(text, 16).ok()
    };
    let (len, name) = (number(6)?, number(11)?);
    let end = at.checked_add(CPIO_HEADER)?.checked_add(name)?;
    let text = bytes.get(at + CPIO_HEADER..end.checked_sub(1)?)?;
    let data = end.checked_add(3)? & !3;
    (data.checked_add(len)? <= bytes.len()).then_some((text, data, len))
}
