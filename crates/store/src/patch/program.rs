//! Addresses in programs: when code moves, every call and every pointer across the move changes. Where things
//! moved is known from the copies, so most of these changes can be foretold.
//!
//! Nothing is disassembled: four bytes behind what looks like a call, a jump or an operand relative to the
//! instruction, and aligned words that could be addresses, are read as addresses if they lead into the
//! program. What is foretold wrongly costs a few bits, not more.

use super::PatchError;
use super::bases::Bases;
use super::plan::Plan;

/// Programs with more segments are not looked at.
pub const MAX_SEGMENTS: usize = 16;
/// Bytes of a file in which its program headers are looked for.
const HEAD: u64 = 4096;

/// A part of a file that is loaded (ELF-64: `Elf64_Phdr` of type `PT_LOAD`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    pub offset: u64,
    pub address: u64,
    pub size: u64,
    /// In memory; what is more than `size` is zeros.
    pub memory: u64,
    pub code: bool,
}

/// How a segment of the target differs from that of the base, field by field.
pub type Moved = [i64; 4];

/// A program of the target that is made from one of a base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Address of the base's file.
    pub base: u64,
    pub len: u64,
    /// Where the target's file begins among what the operations make.
    pub target: u64,
    pub moved: Vec<Moved>,
}

/// The segments of an x86-64 program, from the start of its file.
pub fn segments(head: &[u8]) -> Option<Vec<Segment>> {
    let number = |at: usize, n: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(n)?)?;
        Some(bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    };
    // ELF, 64 bits, little-endian, machine 62.
    if !head.starts_with(b"\x7fELF\x02\x01") || number(18, 2)? != 62 {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut segments = Vec::new();
    for k in 0..count {
        let at = usize::try_from(table.checked_add(k * size)?).ok()?;
        if number(at, 4)? == 1 {
            segments.push(Segment {
                code: number(at + 4, 4)? & 1 != 0,
                offset: number(at + 8, 8)?,
                address: number(at + 16, 8)?,
                size: number(at + 32, 8)?,
                memory: number(at + 40, 8)?,
            });
        }
    }
    (1..=MAX_SEGMENTS).contains(&segments.len()).then_some(segments)
}

/// How the segments of two programs differ, if they have as many.
pub fn moved(old: &[Segment], new: &[Segment]) -> Option<Vec<Moved>> {
    let less = |a: u64, b: u64| a.wrapping_sub(b) as i64;
    let pairs = old.iter().zip(new);
    (old.len() == new.len()).then(|| {
        pairs
            .map(|(o, n)| {
                [
                    less(n.offset, o.offset),
                    less(n.address, o.address),
                    less(n.size, o.size),
                    less(n.memory, o.memory),
                ]
            })
            .collect()
    })
}

struct Program {
    base: u64,
    len: u64,
    target: u64,
    old: Vec<Segment>,
    new: Vec<Segment>,
}

/// Foretells addresses.
pub struct Foresight {
    /// By address of the base's file.
    programs: Vec<Program>,
    /// Address in the bases, and place among what the operations make, of each copy; where they overlap in
    /// the bases, of the longest.
    copies: Vec<(u64, u64)>,
}

impl Foresight {
    pub fn new(plan: &Plan, bases: &mut Bases) -> Result<Self, PatchError> {
        let mut programs = Vec::new();
        for image in &plan.images {
            let end = image.base.checked_add(image.len);
            if end.is_none_or(|end| end > bases.len()) {
                return Err(PatchError::Corrupt("a program outside its bases"));
            }
            let mut head = vec![0; image.len.min(HEAD) as usize];
            bases.read(image.base, &mut head)?;
            let Some(old) = segments(&head).filter(|old| old.len() == image.moved.len()) else {
                continue;
            };
            let add = |(o, m): (&Segment, &Moved)| Segment {
                offset: o.offset.wrapping_add_signed(m[0]),
                address: o.address.wrapping_add_signed(m[1]),
                size: o.size.wrapping_add_signed(m[2]),
                memory: o.memory.wrapping_add_signed(m[3]),
                code: o.code,
            };
            let new = old.iter().zip(&image.moved).map(add).collect();
            programs.push(Program {
                base: image.base,
                len: image.len,
                target: image.target,
                old,
                new,
            });
        }
        programs.sort_by_key(|p| p.base);
        let copies = moves(plan, &programs);
        Ok(Self { programs, copies })
    }

    /// Which program an address of the bases belongs to.
    pub fn program(&self, at: u64) -> Option<usize> {
        let k = self.programs.partition_point(|p| p.base <= at).checked_sub(1)?;
        let p = &self.programs[k];
        (at - p.base < p.len).then_some(k)
    }

    /// Address of the program that an address of the bases belongs to.
    pub fn start(&self, at: u64) -> Option<u64> {
        self.program(at).map(|k| self.programs[k].base)
    }

    /// Changes bytes of a base, from address `at`, into what is likely at `place` of the target.
    pub fn foretell(&self, program: usize, window: &mut [u8], at: u64, place: u64) {
        let p = &self.programs[program];
        let (offset, new_offset) = (at.wrapping_sub(p.base), place.wrapping_sub(p.target));
        let Some((old, new)) = p.segments(offset) else {
            return;
        };
        // Addresses of the window's first byte, before and after.
        let here = old.address.wrapping_add(offset.wrapping_sub(old.offset));
        let there = new.address.wrapping_add(new_offset.wrapping_sub(new.offset));
        if old.code {
            self.code(p, window, here, there);
        } else {
            self.data(p, window, here, there);
        }
    }

    fn code(&self, p: &Program, window: &mut [u8], here: u64, there: u64) {
        let mut k = 2;
        while k + 4 <= window.len() {
            if !is_operand(window[k - 2], window[k - 1]) {
                k += 1;
                continue;
            }
            let next = k as u64 + 4;
            let value = four(&window[k..]);
            let to = here.wrapping_add(next).wrapping_add_signed(i64::from(value));
            if let Some(to) = self.follow(p, to) {
                let value = to.wrapping_sub(there.wrapping_add(next)) as u32;
                window[k..k + 4].copy_from_slice(&value.to_le_bytes());
                k += 4;
            } else {
                k += 1;
            }
        }
    }

    fn data(&self, p: &Program, window: &mut [u8], here: u64, there: u64) {
        let mut k = (here.wrapping_neg() & 3) as usize;
        while k + 4 <= window.len() {
            let at = here.wrapping_add(k as u64);
            if at & 7 == 0 && k + 8 <= window.len() {
                let high = four(&window[k + 4..]) as u32 as u64;
                let value = high << 32 | u64::from(four(&window[k..]) as u32);
                if value >= 4096
                    && let Some(to) = self.follow(p, value)
                {
                    window[k..k + 8].copy_from_slice(&to.to_le_bytes());
                    k += 8;
                    continue;
                }
            }
            // Tables of jumps and of unwinding lead into the code, counted from where they stand.
            let to = at.wrapping_add_signed(i64::from(four(&window[k..])));
            let into_code = p.old.iter().any(|s| s.code && to.wrapping_sub(s.address) < s.size);
            if into_code && let Some(to) = self.follow(p, to) {
                let value = to.wrapping_sub(there.wrapping_add(k as u64)) as u32;
                window[k..k + 4].copy_from_slice(&value.to_le_bytes());
            }
            k += 4;
        }
    }

    /// Where an address of the old program is in the new one.
    fn follow(&self, p: &Program, address: u64) -> Option<u64> {
        let inside = |s: &&Segment| address.wrapping_sub(s.address) < s.memory;
        let k = p.old.iter().position(|s| inside(&s))?;
        let (old, new) = (&p.old[k], &p.new[k]);
        let within = address.wrapping_sub(old.address);
        if within >= old.size {
            // Zeros have no place in the file; they move with their segment's end.
            return Some(new.address.wrapping_add(new.size).wrapping_add(within - old.size));
        }
        let from = p.base.wrapping_add(old.offset).wrapping_add(within);
        let copy = self.copies.partition_point(|c| c.0 <= from).checked_sub(1)?;
        let (start, place) = self.copies[copy];
        if start < p.base || place < p.target {
            return None;
        }
        let offset = place - p.target + (from - start);
        // The segment that the place now lies in; usually the same.
        let new = p.new.iter().find(|s| offset.wrapping_sub(s.offset) < s.size).unwrap_or(new);
        Some(new.address.wrapping_add(offset.wrapping_sub(new.offset)))
    }
}

/// Where copies start in the bases and among what the operations make, by the former. A short copy inside a
/// long one says nothing about where its surroundings went.
fn moves(plan: &Plan, programs: &[Program]) -> Vec<(u64, u64)> {
    let mut at = 0;
    let mut all = Vec::new();
    // Copies out of anything else are never asked for.
    let asked = |from: u64| {
        let k = programs.partition_point(|p| p.base <= from).checked_sub(1);
        k.is_some_and(|k| from - programs[k].base < programs[k].len)
    };
    for op in &plan.ops {
        if op.copy > 0 && asked(op.from) {
            all.push((op.from, op.copy, at + op.fresh));
        }
        at += op.fresh + op.copy;
    }
    all.sort_unstable();
    let mut moves = Vec::new();
    let (mut end, mut longest) = (0, 0);
    for (from, len, place) in all {
        if from >= end || len > longest {
            moves.push((from, place));
            longest = len;
        } else if from + len > end {
            moves.push((end, place + (end - from)));
            longest = from + len - end;
        } else {
            continue;
        }
        end = from + len;
    }
    moves
}

impl Program {
    /// The segments, old and new, that a place in the old file lies in.
    fn segments(&self, offset: u64) -> Option<(&Segment, &Segment)> {
        let inside = |s: &Segment| offset.wrapping_sub(s.offset) < s.size;
        let k = self.old.iter().position(inside)?;
        Some((&self.old[k], &self.new[k]))
    }
}

fn four(bytes: &[u8]) -> i32 {
    i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Whether two bytes of x86-64 code look like what stands before an operand that is relative to the
/// instruction: a call, a jump, a far condition, or an address byte of that kind behind a common opcode.
fn is_operand(before: u8, last: u8) -> bool {
    if matches!(last, 0xE8 | 0xE9) || (before == 0x0F && last & 0xF0 == 0x80) {
        return true;
    }
    last & 0xC7 == 0x05
        && matches!(
            before,
            0x03 | 0x10
                | 0x11
                | 0x28
                | 0x29
                | 0x2B
                | 0x2E
                | 0x2F
                | 0x33
                | 0x38
                | 0x39
                | 0x3A
                | 0x3B
                | 0x58
                | 0x59
                | 0x5C
                | 0x5E
                | 0x63
                | 0x6F
                | 0x7F
                | 0x80
                | 0x81
                | 0x83
                | 0x84
                | 0x85
                | 0x88
                | 0x89
                | 0x8A
                | 0x8B
                | 0x8D
                | 0xB1
                | 0xB6
                | 0xB7
                | 0xBE
                | 0xBF
                | 0xC0
                | 0xC1
                | 0xC6
                | 0xC7
                | 0xD6
                | 0xEF
                | 0xF6
                | 0xF7
                | 0xFE
                | 0xFF
        )
}
