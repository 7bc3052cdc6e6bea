//! One address space over everything that a patch takes bytes from: the archives of its bases, one after the
//! other, then what was opened in them. Store hashes are read as if they were the target's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_core::release::PathInfo;

use super::tree::{Cache, MAX_ENTRIES, Tree, changed};
use super::{CHUNK, PatchError, Source, codec};

/// Length of a store hash as text.
pub const HASH: usize = 32;

/// A compressed file in a base that is read opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// Address of the file's first byte.
    pub at: u64,
    /// Length of the file.
    pub packed: u64,
    /// Length of its content.
    pub raw: u64,
}

/// The references of a store path and itself, sorted: what a hash in its files can be.
pub fn names(info: &PathInfo) -> Vec<&StorePath> {
    let mut names: Vec<&StorePath> = info.references.iter().chain([&info.path]).collect();
    names.sort();
    names.dedup();
    names
}

/// The bases of one patch.
pub struct Bases<'a> {
    trees: Vec<(u64, &'a Tree, &'a StorePath)>,
    total: u64,
    renamed: Renamed,
    /// What was opened, back to back, behind the archives.
    scratch: Option<File>,
    scratch_len: u64,
    cache: Cache,
    window: Vec<u8>,
}

impl<'a> Bases<'a> {
    /// The archives of the trees, one after the other.
    pub fn new(sources: &[Source<'a>], trees: &[&'a Tree]) -> Result<Self, PatchError> {
        let mut total = 0;
        let mut list = Vec::new();
        let mut entries = 0;
        for (source, tree) in sources.iter().zip(trees.iter().copied()) {
            list.push((total, tree, &source.info.path));
            total += tree.len();
            entries += tree.files().len();
        }
        if entries > MAX_ENTRIES {
            return Err(PatchError::TooLarge("its bases have too many files"));
        }
        Ok(Self {
            trees: list,
            total,
            renamed: Renamed::default(),
            scratch: None,
            scratch_len: 0,
            cache: Cache::default(),
            window: Vec::new(),
        })
    }

    /// From now on these hashes are read as others.
    pub fn rename(&mut self, renamed: Renamed) {
        self.renamed = renamed;
    }

    /// Length of the address space.
    pub fn len(&self) -> u64 {
        self.total + self.scratch_len
    }

    /// Address of the first byte of a base.
    pub fn start(&self, base: usize) -> u64 {
        self.trees.get(base).map_or(self.total, |t| t.0)
    }

    /// Opens a compressed file into a file in `scratch`; its content gets the next addresses.
    pub fn open(&mut self, opened: &Opened, scratch: &Path) -> Result<(), PatchError> {
        let end = opened.at.checked_add(opened.packed);
        if end.is_none_or(|end| end > self.len()) {
            return Err(PatchError::Corrupt("it opens a file outside its bases"));
        }
        let io = |e| PatchError::Scratch(e);
        if self.scratch.is_none() {
            self.scratch = Some(tempfile::tempfile_in(scratch).map_err(io)?);
        }
        let path = self.owner(opened.at).clone();
        let mut start = vec![0; opened.packed.min(6) as usize];
        self.raw(opened.at, &mut start)?;
        // The content goes behind everything that is read for it.
        let mut to = self.scratch.as_ref().map(File::try_clone).transpose().map_err(io)?;
        let packed = Packed { bases: self, at: opened.at, left: opened.packed };
        let packed = std::io::BufReader::with_capacity(CHUNK, packed);
        let wrong = |e| changed(&path, e);
        let mut raw =
            codec::reader(&start, packed, opened.raw).map_err(wrong)?.take(opened.raw + 1);
        let (mut buffer, mut len) = (vec![0; CHUNK], 0);
        loop {
            let n = raw.read(&mut buffer).map_err(wrong)?;
            if n == 0 {
                break;
            }
            len += n as u64;
            if let Some(file) = &mut to {
                file.write_all(&buffer[..n]).map_err(io)?;
            }
        }
        drop(raw);
        self.scratch_len += len;
        if len != opened.raw {
            let e = std::io::Error::other("a compressed file in it has another content");
            return Err(changed(&path, e));
        }
        Ok(())
    }

    /// Reads from `at`, hashes renamed. What lies outside is refused.
    pub fn read(&mut self, at: u64, out: &mut [u8]) -> Result<(), PatchError> {
        let end = at + out.len() as u64;
        if end > self.len() {
            return Err(PatchError::Corrupt("it copies from outside its bases"));
        }
        if self.renamed.is_empty() {
            return self.raw(at, out);
        }
        // A hash that begins or ends outside is renamed as well, so that it does not matter how one reads.
        let margin = HASH as u64 - 1;
        let from = at.saturating_sub(margin);
        let to = (end + margin).min(self.len());
        let mut window = std::mem::take(&mut self.window);
        window.resize((to - from) as usize, 0);
        let read = self.raw(from, &mut window);
        self.renamed.apply(&mut window);
        let skip = (at - from) as usize;
        out.copy_from_slice(&window[skip..skip + out.len()]);
        self.window = window;
        read
    }

    fn raw(&mut self, mut at: u64, mut out: &mut [u8]) -> Result<(), PatchError> {
        while !out.is_empty() {
            let n;
            if at >= self.total {
                n = out.len();
                let file = self.scratch.as_ref();
                let file = file.ok_or(PatchError::Corrupt("it copies from outside its bases"))?;
                file.read_exact_at(out, at - self.total).map_err(PatchError::Scratch)?;
            } else {
                let k = self.trees.partition_point(|t| t.0 <= at) - 1;
                let (start, tree, path) = self.trees[k];
                n = (start + tree.len() - at).min(out.len() as u64) as usize;
                tree.read(at - start, &mut out[..n], &mut self.cache)
                    .map_err(|e| changed(path, e))?;
            }
            out = &mut out[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// The base that an address belongs to; of what was opened, the last one.
    fn owner(&self, at: u64) -> &'a StorePath {
        self.trees[self.trees.partition_point(|t| t.0 <= at) - 1].2
    }
}

/// A compressed file as a stream, as it stands on disk.
struct Packed<'b, 'a> {
    bases: &'b mut Bases<'a>,
    at: u64,
    left: u64,
}

impl std::io::Read for Packed<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.left.min(out.len() as u64) as usize;
        self.bases.raw(self.at, &mut out[..n]).map_err(std::io::Error::other)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Store hashes that are read as others.
#[derive(Debug, Default, Clone)]
pub struct Renamed {
    map: HashMap<[u8; HASH], [u8; HASH]>,
}

impl Renamed {
    /// Reads `from` as `to`; the first `to` of a hash counts.
    pub fn add(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        if let (Ok(from), Ok(to)) = (from.as_bytes().try_into(), to.as_bytes().try_into()) {
            self.map.entry(from).or_insert(to);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Renames every known hash in `bytes`; where two overlap, the later one wins.
    pub fn apply(&self, bytes: &mut [u8]) {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(word) = bytes.get(at..at + HASH) {
            // Behind the last byte that no hash has, the next one can begin.
            if let Some(k) = word.iter().rposition(|b| !in_hash(*b)) {
                at += k + 1;
                continue;
            }
            if let Some(to) = word.try_into().ok().and_then(|w: [u8; HASH]| self.map.get(&w)) {
                found.push((at, *to));
            }
            at += 1;
        }
        for (at, to) in found {
            bytes[at..at + HASH].copy_from_slice(&to);
        }
    }
}

/// Whether a byte occurs in Nix's base 32.
fn in_hash(b: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let all = b"0123456789abcdfghijklmnpqrsvwxyz";
        let mut k = 0;
        while k < 32 {
            table[all[k] as usize] = true;
            k += 1;
        }
        table
    };
    TABLE[b as usize]
}
