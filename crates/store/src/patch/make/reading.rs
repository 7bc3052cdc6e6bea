//! The target, read for its patch.

use afield_core::ids::StorePath;

use super::Deadline;
use super::planner::Closed;
use crate::patch::tree::{Cache, Tree};
use crate::patch::{CHUNK, PatchError, Tape, gzip};

/// The target, read for its patch: opened where the plan opens it.
pub struct Reading<'p> {
    tree: &'p Tree,
    path: &'p StorePath,
    at: u64,
    cache: Cache,
    own: Vec<u8>,
    closed: std::slice::Iter<'p, Closed>,
    next: Option<&'p Closed>,
    /// What is left of an opened content, the last byte first.
    raw: Vec<u8>,
    deadline: Deadline,
}

impl<'p> Reading<'p> {
    pub fn new(
        tree: &'p Tree,
        path: &'p StorePath,
        closed: &'p [Closed],
        deadline: Deadline,
    ) -> Self {
        let mut closed = closed.iter();
        Self {
            tree,
            path,
            at: 0,
            cache: Cache::default(),
            own: vec![0; CHUNK],
            next: closed.next(),
            closed,
            raw: Vec::new(),
            deadline,
        }
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), PatchError> {
        let read = self.tree.read(at, bytes, &mut self.cache);
        read.map_err(|_| PatchError::TargetChanged(self.path.clone()))
    }

    /// Opens the compressed content that begins here.
    fn open(&mut self, closed: &Closed) -> Result<(), PatchError> {
        let mut file = vec![0; (closed.at + closed.len - closed.file) as usize];
        self.read(closed.file, &mut file)?;
        let raw = gzip::inflate(&file);
        self.raw = raw.ok_or_else(|| PatchError::TargetChanged(self.path.clone()))?;
        self.raw.reverse();
        self.at = closed.at + closed.len;
        Ok(())
    }
}

impl Tape for Reading<'_> {
    fn before(&mut self, mut bytes: &mut [u8]) -> Result<(), PatchError> {
        self.deadline.check()?;
        while !bytes.is_empty() {
            if let Some(closed) = self.next.take_if(|c| c.at == self.at) {
                self.open(closed)?;
                self.next = self.closed.next();
            }
            let n;
            if self.raw.is_empty() {
                let until = self.next.as_ref().map_or(u64::MAX, |c| c.at);
                n = (until - self.at).min(bytes.len() as u64) as usize;
                self.read(self.at, &mut bytes[..n])?;
                self.at += n as u64;
            } else {
                n = self.raw.len().min(bytes.len());
                let rest = self.raw.split_off(self.raw.len() - n);
                for (to, from) in bytes.iter_mut().zip(rest.iter().rev()) {
                    *to = *from;
                }
            }
            bytes = &mut bytes[n..];
        }
        Ok(())
    }

    fn after(&mut self, _: &[u8]) -> Result<(), PatchError> {
        Ok(())
    }

    fn same(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        let mut own = std::mem::take(&mut self.own);
        let read = self.before(&mut own[..bytes.len()]);
        let same = own[..bytes.len()] == *bytes;
        self.own = own;
        read?;
        if same {
            return Ok(());
        }
        Err(PatchError::TargetChanged(self.path.clone()))
    }
}
