//! The end of applying: plain bytes are written as they come, opened contents are compressed again.

use std::io::{Read, Write};

use super::codec::{Closer, Recipe};
use super::plan::{Plan, Section};
use super::{CHUNK, PatchError, Tape};

/// Writes the target.
pub struct Sink<'p, W> {
    out: W,
    recipes: &'p [Recipe],
    /// Sections that have not ended, each with the length of the content that it begins.
    sections: std::iter::Zip<std::slice::Iter<'p, Section>, std::vec::IntoIter<u64>>,
    /// The one that is being made, and how many of its bytes are still to come.
    section: Option<(Section, u64)>,
    plain: u64,
    /// Contents that have begun, the innermost last.
    begun: Vec<Box<dyn Closer>>,
    /// Bytes that may still be written.
    left: u64,
}

impl<'p, W: Write> Sink<'p, W> {
    pub fn new(plan: &'p Plan, contents: Vec<u64>, out: W) -> Self {
        let mut sink = Self {
            out,
            recipes: &plan.recipes,
            sections: plan.sections.iter().zip(contents),
            section: None,
            plain: 0,
            begun: Vec::new(),
            left: plan.size,
        };
        sink.next();
        sink
    }

    /// Goes on to the next section.
    fn next(&mut self) {
        self.section = self.sections.next().map(|(section, content)| (*section, content));
        self.plain = self.section.map_or(0, |(section, _)| section.plain);
    }

    /// Does what stands at the end of the sections that are complete.
    fn step(&mut self) -> Result<(), PatchError> {
        while let Some((section, content)) = self.section.filter(|_| self.plain == 0) {
            if let Some(k) = section.step.checked_sub(1) {
                let recipe = self.recipes.get(k as usize);
                let recipe = recipe.ok_or(PatchError::Corrupt("a recipe that does not exist"))?;
                self.begun.push(recipe.closer(content).map_err(PatchError::Compress)?);
            } else if let Some(mut closer) = self.begun.pop() {
                let mut rest = Vec::new();
                closer.finish(&mut rest).map_err(PatchError::Compress)?;
                self.put(self.begun.len(), &rest)?;
            }
            self.next();
        }
        Ok(())
    }

    /// Gives bytes to what was begun as number `depth`; 0 is the target.
    fn put(&mut self, depth: usize, bytes: &[u8]) -> Result<(), PatchError> {
        let Some(outer) = depth.checked_sub(1) else {
            let n = bytes.len() as u64;
            self.left = self.left.checked_sub(n).ok_or(PatchError::Bomb)?;
            return self.out.write_all(bytes).map_err(PatchError::Write);
        };
        let mut ready = Vec::new();
        self.begun[outer].write(bytes, &mut ready).map_err(PatchError::Compress)?;
        if ready.is_empty() {
            return Ok(());
        }
        self.put(outer, &ready)
    }

    /// Takes everything that was made.
    pub fn copy(&mut self, mut made: impl Read) -> Result<(), PatchError> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let n = made.read(&mut bytes).map_err(PatchError::Scratch)?;
            if n == 0 {
                return Ok(());
            }
            self.after(&bytes[..n])?;
        }
    }

    pub fn finish(&mut self) -> Result<(), PatchError> {
        self.step()?;
        if self.left > 0 || self.section.is_some() {
            return Err(PatchError::Corrupt("it makes less than it says"));
        }
        self.out.flush().map_err(PatchError::Write)
    }
}

impl<W: Write> Tape for Sink<'_, W> {
    fn before(&mut self, _: &mut [u8]) -> Result<(), PatchError> {
        Ok(())
    }

    fn after(&mut self, mut bytes: &[u8]) -> Result<(), PatchError> {
        while !bytes.is_empty() {
            self.step()?;
            let n = self.plain.min(bytes.len() as u64) as usize;
            if n == 0 {
                return Err(PatchError::Bomb);
            }
            self.put(self.begun.len(), &bytes[..n])?;
            self.plain -= n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn same(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        self.after(bytes)
    }
}
