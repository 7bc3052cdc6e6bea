//! The files of a repository, in the order in which they may be seen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use afield_core::bundle;

use super::{MAX_SMALL, MirrorError, Place};
use crate::files;

/// What a file of a repository is; the order is that of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Named by its hash.
    Content,
    /// A manifest.
    Manifest,
    /// `N.targets.json`.
    Targets,
    /// `N.snapshot.json`.
    Snapshot,
    /// `N.root.json`.
    Root,
    /// `timestamp.json`.
    Timestamp,
    /// A host's assignment.
    Assignment,
    /// Whom a bundle is for.
    Note,
}

impl Rank {
    /// Whether a file of this name never gets another content.
    pub fn is_immutable(self) -> bool {
        self < Rank::Timestamp
    }
}

/// The rank of a file; none for what is no part of a repository, as a lock or half a file.
pub fn rank(name: &str) -> Option<Rank> {
    if name.split('/').any(|part| part.starts_with('.') || part.is_empty()) {
        return None;
    }
    let (folder, file) = name.split_once('/').unwrap_or(("", name));
    match folder {
        "metadata" if file == "timestamp.json" => Some(Rank::Timestamp),
        "metadata" if file.ends_with(".root.json") => Some(Rank::Root),
        "metadata" if file.ends_with(".snapshot.json") => Some(Rank::Snapshot),
        "metadata" if file.ends_with(".targets.json") => Some(Rank::Targets),
        "targets" => Some(Rank::Manifest),
        "assignments" => Some(Rank::Assignment),
        "objects" | "packs" => Some(Rank::Content),
        "" if file == bundle::NOTE => Some(Rank::Note),
        _ => None,
    }
}

/// A file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub rank: Rank,
    /// Its place below a repository's folder or address.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// Where its bytes are.
    pub path: PathBuf,
}

impl Item {
    /// The file `name` of the repository in `dir`; none if it is not there, or no part of a repository.
    pub fn of(dir: &Path, name: &str) -> Option<Self> {
        let (rank, path) = (rank(name)?, dir.join(name));
        let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { rank, name: name.to_owned(), size: meta.len(), path })
    }

    /// The bytes of a small one.
    pub(super) fn read(&self, place: &dyn Place) -> Result<Vec<u8>, MirrorError> {
        files::read_limited(&self.path, MAX_SMALL).map_err(|source| MirrorError::Io {
            place: place.shown(),
            name: self.name.clone(),
            source,
        })
    }
}

/// Every file of the repository in `dir`, in the order of publishing.
pub fn everything(dir: &Path) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else {
                items.extend(Item::of(dir, &name));
            }
        }
    }
    items.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
    Ok(items)
}
