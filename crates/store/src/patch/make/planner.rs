//! The operations: what is copied from where, file by file and between the files.

mod opened;

use std::fs::File;
use std::path::Path;

use afield_core::ids::StorePath;

use super::Deadline;
use super::choice::Choice;
use super::text::{Counts, Text};
use crate::patch::PatchError;
use crate::patch::bases::{Bases, Opened};
use crate::patch::codec::{MAX_DEPTH, Recipe};
use crate::patch::diff::diff;
use crate::patch::plan::{Op, Section};
use crate::patch::program::{self, Image};
use crate::patch::tree::{Cache, Entry, Tree};

/// Larger files are not compared byte by byte: a suffix array has 31 bits, and memory is finite.
const MAX_DIFF: u64 = 512 << 20;
/// A frame (names and symlinks between files) is compared with at most this much of a base.
const MAX_FRAME: u64 = 16 << 20;
/// Within a copy, longer runs of the same bytes are marked as exact, for speed.
const EXACT_RUN: usize = 1 << 15;

/// Builds the operations.
pub struct Planner<'p, 'a> {
    pub tree: &'p Tree,
    pub path: &'p StorePath,
    pub bases: &'p mut Bases<'a>,
    pub cache: Cache,
    pub ops: Vec<Op>,
    /// How much of the target's archive is planned.
    pub at: u64,
    pub scratch: &'p Path,
    pub deadline: Deadline,
    pub opened: Vec<Opened>,
    pub recipes: Vec<Recipe>,
    pub sections: Vec<Section>,
    pub closed: Vec<Closed>,
    /// Holds what the opened files of the target are made from.
    pub kept: File,
    pub kept_len: u64,
    /// How many bytes the operations make so far, and made at the last step.
    pub made: u64,
    pub stepped: u64,
    pub images: Vec<Image>,
    pub counts: Counts,
}

/// A file of the target that is made from what is in it.
pub struct Closed {
    /// Where it stands in the archive.
    pub at: u64,
    pub len: u64,
    /// Where what it is made from is kept, from and to.
    pub made: (u64, u64),
}

impl Planner<'_, '_> {
    pub fn plan(&mut self, choice: &Choice, trees: &[&Tree]) -> Result<(), PatchError> {
        // Where the archive of the base would go on.
        let mut base = Some(self.bases.start(0));
        for (file, from) in self.tree.files().iter().zip(&choice.from) {
            let from = from.map(|(b, f)| (self.bases.start(b), &trees[b].files()[f]));
            let start = from.map(|(start, f)| start + f.at);
            self.frame(file.at, base, start)?;
            match from {
                Some((start, f)) => {
                    self.file(file, start + f.at, f.len)?;
                    base = Some(start + f.at + f.len);
                }
                None => self.alone(file)?,
            }
        }
        let end = self.bases.start(0) + trees[0].len();
        self.frame(self.tree.len(), base, Some(end))?;
        self.step(None);
        Ok(())
    }

    /// Plans what stands between two files: the start as it goes on in the base, the end as it leads to the
    /// next file there, and the rest against what stands between.
    fn frame(&mut self, to: u64, base: Option<u64>, next: Option<u64>) -> Result<(), PatchError> {
        let new = self.target(self.at, to - self.at)?;
        self.at = to;
        let base = base.unwrap_or(0);
        let behind = self.base(base, (new.len() as u64).min(self.bases.len() - base))?;
        let start = same(new.iter(), behind.iter());
        let mut end = 0;
        if let Some(next) = next {
            let room = (new.len() as u64).min(next);
            let before = self.base(next - room, room)?;
            end = same(new.iter().rev(), before.iter().rev()).min(new.len() - start);
        }
        self.copy(base, start as u64, true);
        let middle = &new[start..new.len() - end];
        let from = base + start as u64;
        let until = next.map_or(from, |n| n - end as u64);
        if middle.len() > 64 && until > from && until - from <= MAX_FRAME {
            let old = self.base(from, until - from)?;
            self.different(middle, &old, from)?;
        } else {
            self.fresh(middle.len() as u64);
        }
        if let Some(next) = next {
            self.copy(next - end as u64, end as u64, true);
        }
        Ok(())
    }

    /// Plans a file that no base has anything like.
    fn alone(&mut self, file: &Entry) -> Result<(), PatchError> {
        match self.open(file, None)? {
            Some((text, recipes)) => self.closed(file, &text, &recipes, None)?,
            None => self.fresh(file.len),
        }
        self.at += file.len;
        Ok(())
    }

    /// Plans a file against one of a base.
    fn file(&mut self, file: &Entry, from: u64, len: u64) -> Result<(), PatchError> {
        if len == file.len && self.is_same(file, from)? {
            self.at += len;
            self.copy(from, len, true);
            return Ok(());
        }
        if len > MAX_DIFF || file.len > MAX_DIFF {
            self.at += file.len;
            self.fresh(file.len);
            return Ok(());
        }
        if self.may_open(file)? {
            let base = Text::open(self.base(from, len)?, MAX_DEPTH);
            if let Some((text, recipes)) = self.open(file, Some(&base))? {
                self.closed(file, &text, &recipes, Some((&base, from)))?;
                self.at += file.len;
                return Ok(());
            }
        }
        let (old, new) = (self.base(from, len)?, self.target(file.at, file.len)?);
        self.image(&old, from, &new);
        self.different(&new, &old, from)?;
        self.at += file.len;
        Ok(())
    }

    /// Notes that what comes is a program made from one of the bases.
    fn image(&mut self, old: &[u8], base: u64, new: &[u8]) {
        let moved = program::segments(old).zip(program::segments(new));
        if let Some(moved) = moved.and_then(|(old, new)| program::moved(&old, &new)) {
            self.images.push(Image { base, len: old.len() as u64, target: self.made, moved });
        }
    }

    fn is_same(&mut self, file: &Entry, from: u64) -> Result<bool, PatchError> {
        let mut at = 0;
        while at < file.len {
            let n = (file.len - at).min(1 << 20);
            if self.base(from + at, n)? != self.target(file.at + at, n)? {
                return Ok(false);
            }
            at += n;
        }
        Ok(true)
    }

    /// Plans bytes that are like others, which stand at `from`.
    fn different(&mut self, new: &[u8], old: &[u8], from: u64) -> Result<(), PatchError> {
        let mut done = 0;
        let deadline = self.deadline;
        for m in diff(old, new, || deadline.check())? {
            self.fresh((m.new - done) as u64);
            done = m.new + m.len;
            self.nearly(&new[m.new..done], &old[m.old..m.old + m.len], from + m.old as u64);
        }
        self.fresh((new.len() - done) as u64);
        Ok(())
    }

    /// Plans a copy of which some bytes are different.
    fn nearly(&mut self, new: &[u8], old: &[u8], from: u64) {
        let mut at = 0;
        let mut start = 0;
        while at < new.len() {
            let run = same(new[at..].iter(), old[at..].iter());
            let whole = at == 0 && run == new.len();
            if run >= EXACT_RUN || whole {
                self.copy(from + start as u64, (at - start) as u64, false);
                self.copy(from + at as u64, run as u64, true);
                start = at + run;
            }
            at += run + 1;
        }
        self.copy(from + start as u64, (new.len() - start) as u64, false);
    }

    fn fresh(&mut self, n: u64) {
        if n == 0 {
            return;
        }
        self.made += n;
        match self.ops.last_mut() {
            Some(op) if op.copy == 0 => op.fresh += n,
            _ => self.ops.push(Op { fresh: n, ..Op::default() }),
        }
    }

    fn copy(&mut self, from: u64, n: u64, exact: bool) {
        if n == 0 {
            return;
        }
        self.made += n;
        match self.ops.last_mut() {
            Some(op) if op.copy == 0 => (op.copy, op.from, op.exact) = (n, from, exact),
            Some(op) if op.from + op.copy == from && op.exact == exact => op.copy += n,
            _ => self.ops.push(Op { fresh: 0, copy: n, from, exact }),
        }
    }

    fn target(&mut self, at: u64, n: u64) -> Result<Vec<u8>, PatchError> {
        let mut bytes = vec![0; n as usize];
        let read = self.tree.read(at, &mut bytes, &mut self.cache);
        read.map_err(|_| PatchError::TargetChanged(self.path.clone()))?;
        Ok(bytes)
    }

    fn base(&mut self, at: u64, n: u64) -> Result<Vec<u8>, PatchError> {
        let mut bytes = vec![0; n as usize];
        self.bases.read(at, &mut bytes)?;
        Ok(bytes)
    }
}

/// How many items two sequences share at their start.
fn same<'i>(a: impl Iterator<Item = &'i u8>, b: impl Iterator<Item = &'i u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}
