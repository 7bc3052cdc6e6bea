//! The target, read for its patch.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use afield_core::ids::StorePath;

use super::Deadline;
use super::planner::Closed;
use crate::patch::tree::{Cache, Tree};
use crate::patch::{CHUNK, PatchError, Tape};

/// The target, read for its patch: opened where the plan opens it.
pub struct Reading<'p> {
    tree: &'p Tree,
    path: &'p StorePath,
    at: u64,
    cache: Cache,
    own: Vec<u8>,
    closed: std::slice::Iter<'p, Closed>,
    next: Option<&'p Closed>,
    /// What the opened files are made from.
    scratch: &'p File,
    /// What of it is due, from and to.
    due: (u64, u64),
    deadline: Deadline,
}

impl<'p> Reading<'p> {
    pub fn new(
        tree: &'p Tree,
        path: &'p StorePath,
        closed: &'p [Closed],
        scratch: &'p File,
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
            scratch,
            due: (0, 0),
            deadline,
        }
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), PatchError> {
        let read = self.tree.read(at, bytes, &mut self.cache);
        read.map_err(|_| PatchError::TargetChanged(self.path.clone()))
    }
}

impl Tape for Reading<'_> {
    fn before(&mut self, mut bytes: &mut [u8]) -> Result<(), PatchError> {
        self.deadline.check()?;
        while !bytes.is_empty() {
            if let Some(closed) = self.next.take_if(|c| c.at == self.at) {
                self.due = closed.made;
                self.at = closed.at + closed.len;
                self.next = self.closed.next();
            }
            let n;
            if self.due.0 == self.due.1 {
                let until = self.next.as_ref().map_or(u64::MAX, |c| c.at);
                n = (until - self.at).min(bytes.len() as u64) as usize;
                self.read(self.at, &mut bytes[..n])?;
                self.at += n as u64;
            } else {
                n = (self.due.1 - self.due.0).min(bytes.len() as u64) as usize;
                let read = self.scratch.read_exact_at(&mut bytes[..n], self.due.0);
                read.map_err(PatchError::Scratch)?;
                self.due.0 += n as u64;
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
