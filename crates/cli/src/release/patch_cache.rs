//! Patches that were made before, also those that were not worth it: by what they make, against what, and the engine's
//! format. A release that was interrupted, or had too little time, goes on where it stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use afield_core::delivery::Base;
use afield_core::ids::ObjectId;
use afield_core::release::{ObjectRef, PathInfo};
use afield_store::{files, patch};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::stock::{Kept, Patch};

/// What was not asked for during so long is removed.
const KEPT: Duration = Duration::from_secs(120 * 24 * 3600);
/// A patch's description has at most this many bytes.
const MAX_ENTRY: u64 = 64 * 1024;

/// A patch, or that there is none worth it.
pub type Entry = Option<Patch>;

#[derive(Serialize, Deserialize)]
struct Stored {
    patch: Option<(ObjectRef, Vec<Base>)>,
}

/// A folder of patches.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The person's cache: `$XDG_CACHE_HOME/afield/patches`, or the same below `~/.cache`.
    pub fn open() -> anyhow::Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let base = base.unwrap_or_else(std::env::temp_dir);
        let folder = base.join("afield/patches");
        fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where temporary files may be, too.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a patch is remembered by.
    pub fn key<'a>(target: &'a PathInfo, bases: impl Iterator<Item = &'a PathInfo>) -> String {
        let mut hash = Sha256::new();
        hash.update([patch::FORMAT]);
        hash.update(env!("CARGO_PKG_VERSION"));
        for info in std::iter::once(target).chain(bases) {
            hash.update(format!("{} {}\n", info.path, info.nar_hash));
        }
        ObjectId::from_bytes(hash.finalize().into()).hex()
    }

    /// The bytes of a patch.
    pub fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.patch"))
    }

    fn entry(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    /// What is remembered, if anything is and its bytes are there.
    pub fn get(&self, key: &str) -> Option<Entry> {
        let path = self.entry(key);
        let bytes = files::read_if_there(&path, MAX_ENTRY).ok().flatten()?;
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        if let Some((object, _)) = &stored.patch {
            afield_store::object::prove_bytes(&self.file(key), object).ok()?;
        }
        // So that it is kept; that this fails only makes it older.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|f| f.set_modified(SystemTime::now()));
        Some(stored.patch.map(|(object, bases)| patch_of(object, bases)))
    }

    /// A file that is kept only if it is given to [`Self::put`].
    pub fn temporary(&self) -> anyhow::Result<NamedTempFile> {
        Ok(tempfile::Builder::new().prefix(".patch-").tempfile_in(&self.folder)?)
    }

    /// Remembers a patch.
    pub fn put(&self, key: &str, file: NamedTempFile, bases: Vec<Base>) -> anyhow::Result<Patch> {
        let bytes = fs::read(file.path())?;
        let object = ObjectRef { id: ObjectId::of(&bytes), size: bytes.len() as u64 };
        file.persist(self.file(key)).map_err(|e| e.error)?;
        self.store(key, &Stored { patch: Some((object.clone(), bases.clone())) })?;
        Ok(patch_of(object, bases))
    }

    /// Remembers that there is none worth it.
    pub fn put_none(&self, key: &str) -> anyhow::Result<()> {
        self.store(key, &Stored { patch: None })
    }

    fn store(&self, key: &str, stored: &Stored) -> anyhow::Result<()> {
        Ok(files::write_atomic(&self.entry(key), &serde_json::to_vec(stored)?)?)
    }

    /// Removes what nobody asked for in months. What stays only takes room.
    pub fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let age = entry.metadata().and_then(|m| m.modified()).map(|t| t.elapsed());
            let old = matches!(age, Ok(Ok(age)) if age > KEPT);
            // A patch's bytes are as old as the patch; its description says when it was wanted.
            let described = path.with_extension("json").exists();
            if old && (path.extension().is_some_and(|e| e == "json") || !described) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn patch_of(object: ObjectRef, bases: Vec<Base>) -> Patch {
    Patch { kept: Kept { object, slice: None }, bases }
}
