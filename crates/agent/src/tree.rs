//! A folder that is replaced as a whole, at one instant: app configs and secrets (fleet-folder spec §4).
//!
//! Folders have 0750 and files 0640, for root; a POSIX ACL lets further groups read. The kernel's own form of an ACL
//! is written, since not every host has `setfacl`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use afield_store::{fault, files};
use anyhow::Context as _;
use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use rustix::io::Errno;

const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;
/// The kernel's name and version of an ACL (linux/posix_acl_xattr.h).
const ACL: &str = "system.posix_acl_access";
const ACL_VERSION: u32 = 2;
/// No id belongs to this entry.
const NO_ID: u32 = u32::MAX;

/// What the folder holds.
#[derive(Debug)]
pub struct Tree<'a> {
    /// Where.
    pub folder: PathBuf,
    /// Numbers of groups that may read, besides root.
    pub readers: Vec<u32>,
    /// Content by path below the folder.
    pub files: BTreeMap<PathBuf, &'a [u8]>,
}

impl Tree<'_> {
    /// Puts the tree in place of what is there: all or nothing.
    pub fn replace(&self) -> anyhow::Result<()> {
        let above = self.folder.parent().context("the folder has none above it")?;
        let name = self.folder.file_name().context("the folder has no name")?;
        fs::create_dir_all(above)?;
        let new = above.join(format!("{}.new", name.to_string_lossy()));
        remove(&new)?;
        self.make_dir(&new)?;
        for (path, content) in &self.files {
            self.write(&new, path, content)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            fault::point("data:file");
        }
        fault::point("data:written");
        exchange(&new, &self.folder)?;
        fault::point("data:applied");
        Ok(())
    }

    fn write(&self, new: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
        let path = new.join(path);
        let mut missing: Vec<&Path> =
            path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        while let Some(folder) = missing.pop() {
            self.make_dir(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Two names of one path are a mistake, not a choice.
        let mut file = options.write(true).create_new(true).open(&path)?;
        io::Write::write_all(&mut file, content)?;
        self.set_rights(&path, FILE_MODE)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().create(path)?;
        self.set_rights(path, DIR_MODE)
    }

    /// First the mode, then the ACL: chmod would change the ACL's mask.
    fn set_rights(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        if self.readers.is_empty() {
            return Ok(());
        }
        match rustix::fs::setxattr(path, ACL, &self.acl(mode), XattrFlags::empty()) {
            // Then root alone reads; [`takes_acl`] tells.
            Err(Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Owner, group, readers, mask, others: tag, rights and number of each, in the kernel's order.
    fn acl(&self, mode: u32) -> Vec<u8> {
        let bits = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or_default();
        let mut entries = vec![(0x01, bits(6), NO_ID), (0x04, bits(3), NO_ID)];
        let readers: BTreeSet<u32> = self.readers.iter().copied().collect();
        entries.extend(readers.into_iter().map(|gid| (0x08, bits(3), gid)));
        entries.extend([(0x10, bits(3), NO_ID), (0x20, bits(0), NO_ID)]);
        let mut bytes = ACL_VERSION.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(u16::to_le_bytes(tag));
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// What is not as it should be, each by name; `shown` is the folder as people know it. Empty if all is.
    pub fn drift(&self, shown: &Path) -> Vec<String> {
        let mut found = BTreeMap::new();
        if collect(&self.folder, Path::new(""), &mut found).is_err() {
            return vec![format!("{} is missing", shown.display())];
        }
        found.insert(PathBuf::new(), true);
        let mut drift = Vec::new();
        for (path, is_dir) in &found {
            let name = shown.join(path);
            let wanted = self.files.get(path);
            let needed = self.files.keys().any(|file| file.starts_with(path));
            match (wanted, is_dir) {
                (Some(content), false) => self.compare_file(path, content, &name, &mut drift),
                (None, true) if needed || path.as_os_str().is_empty() => {
                    self.compare_rights(path, DIR_MODE, &name, &mut drift);
                }
                (None, true) => {}
                _ => drift.push(format!("{} is not declared", name.display())),
            }
        }
        let missing = self.files.keys().filter(|path| !found.contains_key(*path));
        drift.extend(missing.map(|path| format!("{} is missing", shown.join(path).display())));
        drift
    }

    fn compare_file(&self, path: &Path, content: &[u8], name: &Path, drift: &mut Vec<String>) {
        let full = self.folder.join(path);
        let regular = fs::symlink_metadata(&full).is_ok_and(|meta| meta.is_file());
        let found = files::read_limited(&full, content.len() as u64);
        if !regular || !found.is_ok_and(|found| found == content) {
            drift.push(format!("{} has another content", name.display()));
        }
        self.compare_rights(path, FILE_MODE, name, drift);
    }

    fn compare_rights(&self, path: &Path, mode: u32, name: &Path, drift: &mut Vec<String>) {
        let full = self.folder.join(path);
        let Ok(meta) = fs::symlink_metadata(&full) else {
            return;
        };
        let (found, owner) = (meta.permissions().mode() & 0o7777, (meta.uid(), meta.gid()));
        if found != mode {
            drift.push(format!("{} has the mode {found:04o}, not {mode:04o}", name.display()));
        } else if owner != (0, 0) {
            let (uid, gid) = owner;
            drift.push(format!("{} belongs to {uid}:{gid}, not to root", name.display()));
        } else if takes_acl(&self.folder) && acl_of(&full) != self.wanted_acl(mode) {
            drift.push(format!("{} can be read by other groups than declared", name.display()));
        }
    }

    fn wanted_acl(&self, mode: u32) -> Option<Vec<u8>> {
        (!self.readers.is_empty()).then(|| self.acl(mode))
    }
}

fn acl_of(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = rustix::fs::lgetxattr(path, ACL, &mut bytes[..]).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Whether the file system of a folder knows ACLs.
pub fn takes_acl(folder: &Path) -> bool {
    let mut bytes = [0; 4096];
    rustix::fs::lgetxattr(folder, ACL, &mut bytes[..]) != Err(Errno::OPNOTSUPP)
}

/// Whether what is written there stays in memory.
pub fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let there = folder.ancestors().find(|folder| folder.exists());
    let kind = there.and_then(|folder| rustix::fs::statfs(folder).ok()).map(|s| s.f_type);
    kind.is_some_and(|kind| [TMPFS, RAMFS].contains(&kind))
}

/// Puts the folder `new` in the place of another, which is there at every moment if it was, and removes what was there.
pub fn exchange(new: &Path, folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        fs::rename(new, folder)?;
        return folder.parent().map_or(Ok(()), files::sync_dir);
    }
    match renameat_with(CWD, new, CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => {
            fault::point("folder:exchanged");
            // What is removed must not be the newer one after a power cut.
            folder.parent().map_or(Ok(()), files::sync_dir)?;
            remove(new)?;
        }
        // rename(2): a file system that cannot do this, as ZFS before 2.2. For a moment nothing is there.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            remove(folder)?;
            fs::rename(new, folder)?;
        }
        Err(e) => return Err(e.into()),
    }
    folder.parent().map_or(Ok(()), files::sync_dir)
}

/// Removes a folder with what is in it; that it is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Every entry below a folder, and whether it is one itself.
fn collect(folder: &Path, below: &Path, found: &mut BTreeMap<PathBuf, bool>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let is_dir = entry.file_type()?.is_dir();
        found.insert(path.clone(), is_dir);
        if is_dir {
            collect(folder, &path, found)?;
        }
    }
    Ok(())
}
