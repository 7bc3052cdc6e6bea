//! A disk that loses what a real one loses when its power fails: everything written after the last flush, or any part
//! of it. It is served to qemu as a network block device over a socket.
//!
//! Stricter than killing qemu, which leaves in the page cache of the machine below what the guest never flushed.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::nbd;

/// Smallest part that is written as a whole or not at all.
pub const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

#[derive(Debug, Clone, Default)]
struct Content {
    /// Flushed: it survives.
    kept: HashMap<u64, Block>,
    /// Written and not flushed.
    pending: HashMap<u64, Block>,
}

#[derive(Debug)]
struct Shared {
    base: File,
    size: u64,
    content: Mutex<Content>,
}

/// A disk: an image that is never written to, and what was written since.
#[derive(Debug, Clone)]
pub struct Disk {
    shared: Arc<Shared>,
}

/// What a disk held at one moment, together with what it had not written yet.
#[derive(Debug, Clone)]
pub struct Saved(Content);

impl Disk {
    /// A disk with this image on it.
    pub fn of(image: &Path) -> Self {
        let base = File::open(image).unwrap();
        let size = base.metadata().unwrap().len();
        assert_eq!(size % BLOCK as u64, 0, "{} has no whole blocks", image.display());
        Self { shared: Arc::new(Shared { base, size, content: Mutex::default() }) }
    }

    /// Another disk with the same image on it.
    pub fn another(&self) -> Self {
        let base = self.shared.base.try_clone().unwrap();
        let (size, content) = (self.shared.size, Mutex::default());
        Self { shared: Arc::new(Shared { base, size, content }) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.content.lock().unwrap()
    }

    /// Serves it on a socket for as long as this process lives.
    pub fn serve(&self, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let disk = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let disk = disk.clone();
                // That qemu was killed is how most connections end.
                std::thread::spawn(move || drop(nbd::serve(&stream, &disk)));
            }
        });
    }

    /// Its length, bytes.
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// Power fails: of what was not flushed, some blocks were written and some were not; `chance` says of each.
    pub fn lose(&self, mut chance: impl FnMut() -> bool) -> usize {
        let mut content = self.content();
        let mut pending: Vec<_> = content.pending.drain().collect();
        // The same chances mean the same blocks.
        pending.sort_by_key(|(at, _)| *at);
        let before = pending.len();
        pending.retain(|_| chance());
        let lost = before - pending.len();
        content.kept.extend(pending);
        lost
    }

    /// Remembers it as it is.
    pub fn save(&self) -> Saved {
        Saved(self.content().clone())
    }

    /// Makes it what it was.
    pub fn restore(&self, saved: &Saved) {
        *self.content() = saved.0.clone();
    }

    /// Reads; false if that is not on the disk.
    pub fn read(&self, from: u64, buffer: &mut [u8]) -> bool {
        if !self.has(from, buffer.len()) {
            return false;
        }
        let content = self.content();
        let mut done = 0;
        for (at, start, length) in parts(from, buffer.len()) {
            let part = &mut buffer[done..done + length];
            match content.pending.get(&at).or_else(|| content.kept.get(&at)) {
                Some(block) => part.copy_from_slice(&block[start..start + length]),
                None => {
                    let offset = at * BLOCK as u64 + start as u64;
                    self.shared.base.read_exact_at(part, offset).unwrap();
                }
            }
            done += length;
        }
        true
    }

    /// Writes, not yet flushed; false if that is not on the disk.
    pub fn write(&self, from: u64, bytes: &[u8]) -> bool {
        if !self.has(from, bytes.len()) {
            return false;
        }
        let mut done = 0;
        for (at, start, length) in parts(from, bytes.len()) {
            let mut block = [0; BLOCK];
            if length < BLOCK {
                self.read(at * BLOCK as u64, &mut block);
            }
            block[start..start + length].copy_from_slice(&bytes[done..done + length]);
            self.content().pending.insert(at, Arc::new(block));
            done += length;
        }
        true
    }

    /// What was written so far survives from now on.
    pub fn flush(&self) {
        let content = &mut *self.content();
        content.kept.extend(content.pending.drain());
    }

    fn has(&self, from: u64, length: usize) -> bool {
        from.checked_add(length as u64).is_some_and(|end| end <= self.size())
    }
}

/// A range in blocks: which, where in it, how much of it.
fn parts(from: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = from + length as u64;
    let mut next = from;
    std::iter::from_fn(move || {
        if next == end {
            return None;
        }
        let (at, start) = (next / BLOCK as u64, usize::try_from(next % BLOCK as u64).unwrap());
        let length = (BLOCK - start).min(usize::try_from(end - next).unwrap());
        next += length as u64;
        Some((at, start, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().write_all_at(&[1; 4 * BLOCK], 0).unwrap();
        Disk::of(image.path())
    }

    fn byte(disk: &Disk, at: u64) -> u8 {
        let mut byte = [0];
        assert!(disk.read(at, &mut byte));
        byte[0]
    }

    #[test]
    fn what_was_flushed_survives_and_the_rest_may_not() {
        let (disk, edge) = (disk(), BLOCK as u64);
        assert!(disk.write(edge - 1, &[2, 2]));
        disk.flush();
        assert!(disk.write(edge, &[3]));
        let saved = disk.save();
        assert_eq!(disk.lose(|| false), 1);
        assert_eq!([edge - 2, edge - 1, edge].map(|at| byte(&disk, at)), [1, 2, 2]);
        disk.restore(&saved);
        assert_eq!(disk.lose(|| true), 0);
        assert_eq!([edge - 1, edge, edge + 1].map(|at| byte(&disk, at)), [2, 3, 1]);
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let (disk, end) = (disk(), 4 * BLOCK as u64);
        assert!(!disk.write(end - 1, &[2, 2]) && !disk.read(u64::MAX, &mut [0]));
        assert_eq!(byte(&disk, end - 1), 1);
    }
}
