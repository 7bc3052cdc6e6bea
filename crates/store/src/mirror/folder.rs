//! A folder as a place: another disk, a share, a stick.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::order::everything;
use super::{Item, MAX_SMALL, MirrorError, Place};
use crate::{fault, files};

/// `statfs` of FAT (`linux/magic.h`), which Rust's `rustix` leaves to the caller.
const FAT: i64 = 0x4d44;
/// The longest file of FAT.
const FAT_LIMIT: u64 = u32::MAX as u64;

/// A folder.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The folder `dir`; made if it is not there.
    pub fn open(dir: &Path) -> Result<Self, MirrorError> {
        let place = Self { dir: dir.to_owned() };
        fs::create_dir_all(dir).map_err(|e| place.io("the folder itself", e))?;
        Ok(place)
    }

    /// The folder `dir`, only to see what is missing there.
    pub fn look(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn io(&self, name: &str, source: io::Error) -> MirrorError {
        MirrorError::Io { place: self.shown(), name: name.to_owned(), source }
    }
}

impl Place for Folder {
    fn shown(&self) -> String {
        self.dir.display().to_string()
    }

    fn list(&mut self) -> Result<BTreeMap<String, u64>, MirrorError> {
        if !self.dir.exists() {
            return Ok(BTreeMap::new());
        }
        let items = everything(&self.dir).map_err(|e| self.io("the folder itself", e))?;
        Ok(items.into_iter().map(|item| (item.name, item.size)).collect())
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        let path = self.dir.join(name);
        match files::read_if_there(&path, MAX_SMALL) {
            // What is longer than it can be is something else, and is replaced.
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => Ok(None),
            other => other.map_err(|e| self.io(name, e)),
        }
    }

    fn put(&mut self, item: &Item) -> Result<(), MirrorError> {
        let path = self.dir.join(&item.name);
        put(&item.path, &path).map_err(|e| self.io(&item.name, e))
    }

    fn limit(&self) -> Option<u64> {
        limit(&self.dir)
    }

    fn free(&self) -> Option<u64> {
        free(&self.dir)
    }
}

/// The longest file that a file system can hold, if that is known to matter.
pub(super) fn limit(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statfs(dir).ok()?;
    (found.f_type == FAT).then_some(FAT_LIMIT)
}

/// Bytes that are free on a file system.
pub(super) fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Copies beside, syncs, renames.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().ok_or_else(|| io::Error::other("a path without a folder"))?;
    fs::create_dir_all(folder)?;
    let beside = folder.join(".copy.new");
    let done = (|| {
        let mut file = File::create(&beside)?;
        io::copy(&mut File::open(from)?, &mut file)?;
        fault::point("mirror:written");
        file.sync_all()?;
        fs::rename(&beside, to)?;
        files::sync_dir(folder)
    })();
    if done.is_err() {
        // A stick that is full or gone: that this fails too changes nothing.
        let _ = files::remove_if_there(&beside);
    }
    done
}
