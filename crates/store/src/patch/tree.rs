//! A store path on disk, seen as its archive: any byte of the NAR, without writing the NAR.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::PatchError;

/// More entries in the bases of one patch are refused: their names are held in memory.
pub const MAX_ENTRIES: usize = 60_000;
/// Folders deeper than this are refused, as in [`crate::nar`].
const MAX_DEPTH: usize = 256;

/// A file of the tree, and where its content stands in the archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Place of its first byte in the NAR.
    pub at: u64,
    /// Length of its content, bytes.
    pub len: u64,
    /// Its path below the root; empty if the root is a file.
    pub name: PathBuf,
    /// Where in `frame` the bytes start that stand before the content.
    frame: usize,
}

/// The archive of what lies at a path.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<Entry>,
    /// Everything that is not the content of a file, in order.
    frame: Vec<u8>,
    len: u64,
}

impl Tree {
    /// Looks at every entry below `root`; contents are read later.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut tree = Self { root: root.to_owned(), files: Vec::new(), frame: Vec::new(), len: 0 };
        tree.text(b"nix-archive-1");
        tree.node(PathBuf::new(), 0)?;
        tree.len = tree.end();
        Ok(tree)
    }

    /// Length of the archive, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Its files with content, in the order of the archive.
    pub fn files(&self) -> &[Entry] {
        &self.files
    }

    /// Reads the archive from `at`; the range must lie within it.
    pub fn read(&self, mut at: u64, mut out: &mut [u8], cache: &mut Cache) -> io::Result<()> {
        let mut k = self.files.partition_point(|f| f.at + f.len <= at);
        while !out.is_empty() {
            let (start, n) = match self.files.get(k) {
                Some(file) if file.at <= at => {
                    let n = take(out.len(), file.at + file.len - at);
                    cache
                        .open(&self.below(&file.name))?
                        .read_exact_at(&mut out[..n], at - file.at)?;
                    k += 1;
                    (None, n)
                }
                Some(file) => {
                    // In the frame before this file: counted back from where the content starts.
                    let n = take(out.len(), file.at - at);
                    (Some(file.frame - (file.at - at) as usize), n)
                }
                None => {
                    let n = take(out.len(), self.len.saturating_sub(at));
                    let left = self.len.saturating_sub(at) as usize;
                    (Some(self.frame.len() - left), n)
                }
            };
            if let Some(start) = start {
                out[..n].copy_from_slice(&self.frame[start..start + n]);
            }
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = &mut out[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// A path below the root; the root itself if it is a file (with a slash behind it, it would be none).
    fn below(&self, name: &Path) -> PathBuf {
        if name.as_os_str().is_empty() {
            return self.root.clone();
        }
        self.root.join(name)
    }

    fn end(&self) -> u64 {
        self.frame.len() as u64 + self.files.iter().map(|f| f.len).sum::<u64>()
    }

    fn text(&mut self, text: &[u8]) {
        self.frame.extend((text.len() as u64).to_le_bytes());
        self.frame.extend(text);
        self.pad(text.len() as u64);
    }

    fn pad(&mut self, len: u64) {
        self.frame.extend(&[0; 8][..((8 - len % 8) % 8) as usize]);
    }

    fn words(&mut self, words: &[&[u8]]) {
        words.iter().for_each(|w| self.text(w));
    }

    fn node(&mut self, name: PathBuf, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH || self.files.len() > 4 * MAX_ENTRIES {
            return Err(io::Error::other("too many or too deep folders"));
        }
        let path = self.below(&name);
        let meta = fs::symlink_metadata(&path)?;
        self.words(&[b"(", b"type"]);
        if meta.is_dir() {
            self.words(&[b"directory"]);
            self.folder(&path, &name, depth)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path)?;
            self.words(&[b"symlink", b"target", target.as_os_str().as_bytes()]);
        } else if meta.is_file() {
            self.words(&[b"regular"]);
            if meta.permissions().mode() & 0o100 != 0 {
                self.words(&[b"executable", b""]);
            }
            self.text(b"contents");
            self.file(name, meta.len());
        } else {
            return Err(io::Error::other("neither a file, a folder nor a symlink"));
        }
        self.words(&[b")"]);
        Ok(())
    }

    fn file(&mut self, name: PathBuf, len: u64) {
        self.frame.extend(len.to_le_bytes());
        if len > 0 {
            let before = self.files.last().map_or(0, |f| f.at + f.len - f.frame as u64);
            self.files.push(Entry {
                at: before + self.frame.len() as u64,
                len,
                name,
                frame: self.frame.len(),
            });
        }
        self.pad(len);
    }

    fn folder(&mut self, path: &Path, name: &Path, depth: usize) -> io::Result<()> {
        let names: io::Result<Vec<OsString>> =
            fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect();
        let mut names: Vec<Vec<u8>> = names?.into_iter().map(OsString::into_vec).collect();
        names.sort();
        for entry in names {
            self.words(&[b"entry", b"(", b"name", &entry, b"node"]);
            self.node(name.join(OsString::from_vec(entry)), depth + 1)?;
            self.words(&[b")"]);
        }
        Ok(())
    }
}

fn take(room: usize, left: u64) -> usize {
    left.min(room as u64) as usize
}

/// The file that was read last, kept open.
#[derive(Debug, Default)]
pub struct Cache {
    open: Option<(PathBuf, File)>,
}

impl Cache {
    fn open(&mut self, path: &Path) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(p, _)| p != path) {
            // Never through a symlink: what was a file must still be one.
            let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
            let file = options.read(true).open(path)?;
            self.open = Some((path.to_owned(), file));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A tree's archive from its first byte to its last.
pub struct Whole {
    tree: Tree,
    at: u64,
    cache: Cache,
}

impl Whole {
    /// The whole archive as a stream.
    pub fn of(tree: Tree) -> Self {
        Self { tree, at: 0, cache: Cache::default() }
    }
}

impl io::Read for Whole {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = take(out.len(), self.tree.len - self.at);
        self.tree.read(self.at, &mut out[..n], &mut self.cache)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The error for a base that cannot be read as it was.
pub fn changed(path: &afield_core::ids::StorePath, e: io::Error) -> PatchError {
    PatchError::BaseChanged { path: path.clone(), why: e.to_string() }
}
