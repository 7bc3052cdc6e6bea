//! A rotation as files, all of them made and synced before the first one counts: one that is cut off is
//! finished by the next command from what stands beside the keys, and never from what the repository says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use afield_core::signed::SecretKey;
use afield_store::keys::{read_seed, write_seed};
use afield_store::trust::MAX_ROOT;
use afield_store::{fault, files};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{ROTATION, Role, write};
use crate::exit::Failure;

/// Format number of [`About`].
const FORMAT: u32 = 1;
const ABOUT: &str = "rotation.json";
const KEY: &str = "key.pem";

/// What is being replaced.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: u32,
    role: Role,
    /// Root metadata that the rotation makes.
    version: u64,
}

/// A folder that becomes a rotation once [`Draft::seal`] has been called.
pub(super) struct Draft {
    folder: PathBuf,
    about: About,
}

impl Draft {
    /// Begins anew; what an earlier command left unsealed is nothing.
    pub(super) fn new(keys: &Path, role: Role, version: u64) -> Result<Self, Failure> {
        let folder = keys.join(format!(".{ROTATION}.new"));
        remove(&folder)?;
        fs::create_dir_all(folder.join("metadata"))
            .with_context(|| folder.display().to_string())?;
        Ok(Self { folder, about: About { format: FORMAT, role, version } })
    }

    /// Where the metadata goes that the repository is to have.
    pub(super) fn metadata(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    /// The key that takes the place of the old one.
    pub(super) fn key(&self, seed: &[u8; 32]) -> Result<(), Failure> {
        Ok(write_seed(&self.folder.join(KEY), seed)?)
    }

    /// From here on the rotation happens, whatever is cut off.
    pub(super) fn seal(self, keys: &Path) -> Result<Staged, Failure> {
        let about = serde_json::to_vec(&self.about).context("a number and a name")?;
        write(&self.folder.join(ABOUT), &about)?;
        files::sync_dir(&self.metadata()).with_context(|| self.folder.display().to_string())?;
        let folder = keys.join(ROTATION);
        fs::rename(&self.folder, &folder).with_context(|| folder.display().to_string())?;
        files::sync_dir(keys).with_context(|| keys.display().to_string())?;
        fault::point("rotate:sealed");
        Ok(Staged { folder, about: self.about })
    }
}

/// A rotation whose files are all there.
pub(super) struct Staged {
    folder: PathBuf,
    about: About,
}

impl Staged {
    /// The one that was cut off, if there is one.
    pub(super) fn find(keys: &Path) -> Result<Option<Self>, Failure> {
        let folder = keys.join(ROTATION);
        let path = folder.join(ABOUT);
        let text = files::read_if_there(&path, MAX_ROOT);
        let Some(text) = text.with_context(|| path.display().to_string())? else {
            return Ok(None);
        };
        let about: About =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        if about.format > FORMAT {
            let why = format!("{} was written by a newer afield", path.display());
            return Err(Failure::refused(why).hint("finish the rotation with that version"));
        }
        Ok(Some(Self { folder, about }))
    }

    /// Which key it replaces.
    pub(super) fn role(&self) -> Role {
        self.about.role
    }

    /// Puts every file in its place; doing it twice does no harm.
    pub(super) fn finish(self, keys: &Path, metadata: &Path) -> Result<(), Failure> {
        for name in self.names()? {
            let from = self.folder.join("metadata").join(&name);
            let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
            write(&metadata.join(&name), &bytes)?;
            fault::point("rotate:published");
        }
        let root = format!("{}.root.json", self.about.version);
        let root = self.folder.join("metadata").join(root);
        let root = fs::read(&root).with_context(|| root.display().to_string())?;
        write(&keys.join("root.json"), &root)?;
        fault::point("rotate:root");
        self.swap(keys)?;
        // What is moved away first cannot be found half removed.
        let away = keys.join(format!(".{ROTATION}.new"));
        remove(&away)?;
        fs::rename(&self.folder, &away).with_context(|| away.display().to_string())?;
        fault::point("rotate:done");
        remove(&away)
    }

    /// Root metadata first, and the timestamp, which makes the rest count, last.
    fn names(&self) -> Result<Vec<String>, Failure> {
        let folder = self.folder.join("metadata");
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()
            .with_context(|| folder.display().to_string())?;
        names.sort_by_key(|n| (!n.ends_with("root.json"), n == "timestamp.json", n.clone()));
        Ok(names)
    }

    /// The new key in the place of the old one, which keeps the number of the root metadata that named it.
    fn swap(&self, keys: &Path) -> Result<(), Failure> {
        let new = self.folder.join(KEY);
        if self.about.role == Role::Expiry {
            return Ok(());
        }
        let (seed, path) = (read_seed(&new)?, self.about.role.file(keys));
        if path.exists() {
            let public = |seed| SecretKey::from_seed(seed).public();
            if public(&read_seed(&path)?) == public(&seed) {
                return Ok(());
            }
            let replaced = path.with_extension(format!("replaced-{}.pem", self.about.version - 1));
            fs::rename(&path, &replaced).with_context(|| replaced.display().to_string())?;
            fault::point("rotate:replaced");
        }
        // A copy, so that one that is cut off here is made again.
        write_seed(&path, &seed)?;
        fault::point("rotate:swapped");
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(anyhow::Error::from(e).context(folder.display().to_string()).into())
        }
        _ => Ok(()),
    }
}
