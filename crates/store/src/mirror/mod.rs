//! Copies a repository, or a piece of it, to another place, so that whoever reads there in the middle, or after the
//! copy was cut off at any point, sees something whole: what is named comes before what names it.
//!
//! ```text
//! content     objects/… and whatever else is named by its hash; nobody looks before a manifest names it
//! manifests   targets/<sha256>.release-<N>.json.zst
//! metadata    N.targets.json, N.snapshot.json, N.root.json: each version is a file of its own
//! timestamp   metadata/timestamp.json makes the release count
//! assignments name releases that count
//! note        bundle.json says that all of it is there
//! ```

mod archive;
mod folder;
mod order;
#[cfg(feature = "s3")]
mod s3;

use std::collections::BTreeMap;
use std::io;

use crate::fault;
use crate::trust::MAX_ROOT;

pub use archive::Archive;
pub use folder::Folder;
pub use order::{Item, Rank, everything, rank};
#[cfg(feature = "s3")]
pub use s3::S3;

/// Where trust begins; two repositories with different ones are two fleets'.
const FIRST_ROOT: &str = "metadata/1.root.json";
const TIMESTAMP: &str = "metadata/timestamp.json";
/// A small file that is compared before it is replaced has at most this many bytes.
const MAX_SMALL: u64 = MAX_ROOT;

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// A file of the repository, or the place, cannot be used.
    #[error("{place}: {name} cannot be copied")]
    Io {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A place that is asked over a network says no.
    #[error("{place}: {name}: {why}")]
    Remote {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// What it says.
        why: String,
    },
    /// The place has a release that this repository has not.
    #[error(
        "{place} has version {there} of the metadata, and here is version {here}: somebody else published there; nothing was replaced"
    )]
    Newer {
        /// The place.
        place: String,
        /// The version there.
        there: u64,
        /// The version here.
        here: u64,
    },
    /// Two repositories with the same version numbers.
    #[error(
        "{place} has other metadata of the same version {version}: two releases were made apart from each other; nothing was replaced"
    )]
    Other {
        /// The place.
        place: String,
        /// The version.
        version: u64,
    },
    /// Somebody published while this was being copied.
    #[error(
        "{place} got other metadata in the meantime: somebody else published there; nothing was replaced"
    )]
    Changed {
        /// The place.
        place: String,
    },
    /// Another fleet's repository.
    #[error("{place} is the repository of another fleet: its first root metadata is another")]
    OtherFleet {
        /// The place.
        place: String,
    },
    /// The file system cannot hold a file of this length.
    #[error(
        "{name} has {size} bytes, and {place} can hold files of {limit} bytes at most; format it as exFAT or ext4"
    )]
    TooLarge {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// Its length.
        size: u64,
        /// The longest that fits.
        limit: u64,
    },
    /// Too little room, told before the first byte.
    #[error("{place} has {free} bytes free, and {needed} are needed; nothing was written")]
    NoSpace {
        /// The place.
        place: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
}

/// Somewhere that holds a repository's files.
pub trait Place {
    /// As a person would name it.
    fn shown(&self) -> String;
    /// The files that are there, with their lengths.
    fn list(&mut self) -> Result<BTreeMap<String, u64>, MirrorError>;
    /// A small file, if it is there.
    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, MirrorError>;
    /// Puts a file there, all or nothing.
    fn put(&mut self, item: &Item) -> Result<(), MirrorError>;
    /// Puts the timestamp there, if what is there is still `old`. A place that cannot tell just puts it.
    fn replace(&mut self, item: &Item, _old: Option<&[u8]>) -> Result<(), MirrorError> {
        self.put(item)
    }
    /// Whether all that is put there becomes one file.
    fn is_one_file(&self) -> bool {
        false
    }
    /// The longest file that it can hold.
    fn limit(&self) -> Option<u64> {
        None
    }
    /// Bytes that are free.
    fn free(&self) -> Option<u64> {
        None
    }
    /// Makes it durable.
    fn finish(&mut self) -> Result<(), MirrorError> {
        Ok(())
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub there: u64,
}

/// What has to be copied, in order.
#[derive(Debug)]
pub struct Todo<'a> {
    /// The files.
    pub items: Vec<&'a Item>,
    /// Files that are there already.
    pub there: u64,
    /// The timestamp that is there.
    old: Option<Vec<u8>>,
}

impl Todo<'_> {
    /// Bytes to copy.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum()
    }
}

/// What is missing at a place; refuses a place that belongs to somebody else, or that cannot hold it.
pub fn missing<'a>(items: &'a [Item], place: &mut dyn Place) -> Result<Todo<'a>, MirrorError> {
    let old = guard(items, place)?;
    let there = place.list()?;
    let mut todo = Vec::new();
    for item in items {
        let same = there.get(&item.name) == Some(&item.size)
            && (item.rank.is_immutable() || place.get(&item.name)? == Some(item.read(place)?));
        if !same {
            todo.push(item);
        }
    }
    let count = (items.len() - todo.len()) as u64;
    let todo = Todo { items: todo, there: count, old };
    let longest = todo.items.iter().max_by_key(|item| item.size);
    let longest = longest.map(|item| (item.name.clone(), item.size));
    let longest = match place.is_one_file() {
        true => Some(("all of it".to_owned(), todo.bytes())),
        false => longest,
    };
    if let (Some(limit), Some((name, size))) = (place.limit(), longest)
        && size > limit
    {
        return Err(MirrorError::TooLarge { place: place.shown(), name, size, limit });
    }
    if let Some(free) = place.free().filter(|free| *free < todo.bytes()) {
        let (place, needed) = (place.shown(), todo.bytes());
        return Err(MirrorError::NoSpace { place, needed, free });
    }
    Ok(todo)
}

/// Copies what is missing, in the order in which it may be seen.
pub fn copy(
    todo: &Todo<'_>,
    place: &mut dyn Place,
    mut progress: impl FnMut(&Item),
) -> Result<Copied, MirrorError> {
    let mut copied = Copied { there: todo.there, ..Copied::default() };
    for item in &todo.items {
        progress(item);
        match item.rank {
            Rank::Timestamp => place.replace(item, todo.old.as_deref())?,
            _ => place.put(item)?,
        }
        fault::point("mirror:put");
        copied.files += 1;
        copied.bytes += item.size;
    }
    place.finish()?;
    Ok(copied)
}

/// Refuses to replace another fleet's metadata, or newer one; gives the timestamp that is there.
fn guard(items: &[Item], place: &mut dyn Place) -> Result<Option<Vec<u8>>, MirrorError> {
    let ours = |name: &str| items.iter().find(|item| item.name == name);
    if let Some(item) = ours(FIRST_ROOT)
        && let Some(there) = place.get(FIRST_ROOT)?
        && there != item.read(place)?
    {
        return Err(MirrorError::OtherFleet { place: place.shown() });
    }
    let there = place.get(TIMESTAMP)?;
    if let (Some(bytes), Some(item)) = (&there, ours(TIMESTAMP)) {
        let ours = item.read(place)?;
        let (old, new) = (version(bytes), version(&ours));
        let place = place.shown();
        if let (Some(there), Some(here)) = (old, new) {
            if there > here {
                return Err(MirrorError::Newer { place, there, here });
            }
            if there == here && *bytes != ours {
                return Err(MirrorError::Other { place, version: here });
            }
        }
    }
    Ok(there)
}

/// The version that metadata says of itself; what cannot be read counts as none, and is replaced.
fn version(json: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    value.get("signed")?.get("version")?.as_u64()
}
