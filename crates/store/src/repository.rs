//! The repository's folder: a static tree that any web server, S3 or a stick can hold.
//!
//! ```text
//! metadata/                        TUF metadata, see `trust`
//! targets/<sha256>.release-<N>.json.zst   manifests
//! objects/<2 digits>/<64 digits>   objects, immutable: archives, documents, packs
//! assignments/<host>.json          signed assignments, replaced by the hub
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use afield_core::delivery::Slice;
use afield_core::ids::{HostName, ObjectId, ReleaseId};
use afield_core::release::{FORMAT, Flaw, Manifest, ObjectRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::files;
use crate::object::{self, ObjectError};
use crate::trust::{Trusted, target_name};

/// Longest compressed manifest or document that is read, bytes.
pub const MAX_PACKED: u64 = 32 * 1024 * 1024;

/// Why something could not be read from or written to a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The file system says no.
    #[error("{path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The metadata names no such release.
    #[error("the repository has no release {0}")]
    NoRelease(ReleaseId),
    /// An object is not what it should be.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A manifest that this version cannot follow.
    #[error("the manifest of release {release} cannot be followed: {flaw}")]
    Manifest {
        /// Which.
        release: ReleaseId,
        /// Why.
        flaw: String,
    },
}

/// Place of an object, below the repository's folder or address.
pub fn object_name(id: &ObjectId) -> String {
    let hex = id.hex();
    format!("objects/{}/{hex}", &hex[..2])
}

/// Place of a manifest, likewise.
pub fn manifest_name(release: ReleaseId, id: &ObjectId) -> String {
    format!("targets/{}.{}", id.hex(), target_name(release))
}

/// Place of a host's assignment, likewise.
pub fn assignment_name(host: &HostName) -> String {
    format!("assignments/{host}.json")
}

/// A manifest out of its bytes, proved to be the one that the metadata names.
pub fn open_manifest(
    trusted: &Trusted,
    release: ReleaseId,
    bytes: &[u8],
) -> Result<Manifest, RepositoryError> {
    let object = trusted.releases.get(&release).ok_or(RepositoryError::NoRelease(release))?;
    let manifest: Manifest = object::open_document(object, bytes)?;
    let flaw = |flaw: String| RepositoryError::Manifest { release, flaw };
    if manifest.format > FORMAT {
        return Err(flaw(Flaw::Format(manifest.format).to_string()));
    }
    if manifest.release != release {
        return Err(flaw(format!("it calls itself release {}", manifest.release)));
    }
    if manifest.fleet != trusted.fleet {
        return Err(flaw(format!("it is for the fleet {}, not {}", manifest.fleet, trusted.fleet)));
    }
    Ok(manifest)
}

/// A repository in a folder.
#[derive(Debug, Clone)]
pub struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// The repository in `dir`; its folders are made if they are not there.
    pub fn open(dir: &Path) -> Result<Self, RepositoryError> {
        for sub in ["metadata", "targets", "objects", "assignments"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(|source| RepositoryError::Io { path, source })?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder of TUF metadata.
    pub fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    /// Place of an object.
    pub fn object_path(&self, id: &ObjectId) -> PathBuf {
        self.dir.join(object_name(id))
    }

    /// Place of a host's assignment.
    pub fn assignment_path(&self, host: &HostName) -> PathBuf {
        self.dir.join(assignment_name(host))
    }

    /// A release's manifest.
    pub fn manifest(
        &self,
        trusted: &Trusted,
        release: ReleaseId,
    ) -> Result<Manifest, RepositoryError> {
        let object = trusted.releases.get(&release).ok_or(RepositoryError::NoRelease(release))?;
        let bytes = self.read(&manifest_name(release, &object.id))?;
        open_manifest(trusted, release, &bytes)
    }

    /// A document that a manifest names.
    pub fn document<T: DeserializeOwned>(&self, object: &ObjectRef) -> Result<T, RepositoryError> {
        let bytes = self.read(&object_name(&object.id))?;
        Ok(object::open_document(object, &bytes)?)
    }

    /// Adds a document.
    pub fn add_document<T: Serialize>(&self, document: &T) -> Result<ObjectRef, RepositoryError> {
        let io = |source| RepositoryError::Io { path: self.dir.clone(), source };
        let (object, bytes) = object::pack_document(document).map_err(io)?;
        self.add_bytes(&object_name(&object.id), &bytes)?;
        Ok(object)
    }

    /// Adds a manifest; it counts once the metadata names it.
    pub fn add_manifest(&self, manifest: &Manifest) -> Result<ObjectRef, RepositoryError> {
        let io = |source| RepositoryError::Io { path: self.dir.clone(), source };
        let (object, bytes) = object::pack_document(manifest).map_err(io)?;
        self.add_bytes(&manifest_name(manifest.release, &object.id), &bytes)?;
        Ok(object)
    }

    /// Adds an archive as a full object.
    pub fn add_nar(&self, nar: impl Read) -> Result<ObjectRef, RepositoryError> {
        let beside = self.beside()?;
        let object = object::pack(nar, beside.as_file()).map_err(|e| self.io(e))?;
        self.keep(beside, &object)?;
        Ok(object)
    }

    /// Adds a pack of objects, in this order. Returns where each of them begins.
    pub fn add_pack<R: Read>(
        &self,
        pieces: impl IntoIterator<Item = io::Result<R>>,
    ) -> Result<(ObjectRef, Vec<u64>), RepositoryError> {
        let beside = self.beside()?;
        let joined = object::join(pieces, io::BufWriter::new(beside.as_file()));
        let (object, offsets) = joined.map_err(|e| self.io(e))?;
        self.keep(beside, &object)?;
        Ok((object, offsets))
    }

    /// The bytes of an object, as a file of its own or in a pack. Not proved.
    pub fn open_object(
        &self,
        object: &ObjectRef,
        slice: Option<&Slice>,
    ) -> Result<impl Read + use<>, RepositoryError> {
        let own = self.object_path(&object.id);
        let (path, offset) = match slice {
            Some(slice) if !own.exists() => (self.object_path(&slice.pack.id), slice.offset),
            _ => (own, 0),
        };
        let io = |source| RepositoryError::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        Ok(file.take(object.size))
    }

    /// Whether an object is there, as a file of its own or in a pack, as far as lengths tell.
    pub fn has_object(&self, object: &ObjectRef, slice: Option<&Slice>) -> bool {
        let there =
            |o: &ObjectRef| self.object_path(&o.id).metadata().is_ok_and(|m| m.len() == o.size);
        there(object) || slice.is_some_and(|slice| there(&slice.pack))
    }

    fn io(&self, source: io::Error) -> RepositoryError {
        RepositoryError::Io { path: self.dir.join("objects"), source }
    }

    fn beside(&self) -> Result<NamedTempFile, RepositoryError> {
        let mut builder = tempfile::Builder::new();
        let beside = builder.prefix(".pack-").tempfile_in(self.dir.join("objects"));
        beside.map_err(|e| self.io(e))
    }

    /// Gives a finished file its name.
    fn keep(&self, beside: NamedTempFile, object: &ObjectRef) -> Result<(), RepositoryError> {
        let path = self.object_path(&object.id);
        let io = |source| RepositoryError::Io { path: path.clone(), source };
        // One of another length was damaged in storage, and is replaced.
        if path.metadata().is_ok_and(|m| m.len() == object.size) {
            return Ok(());
        }
        beside.as_file().sync_all().map_err(io)?;
        make_readable(beside.as_file()).map_err(io)?;
        let folder = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder).map_err(io)?;
        beside.persist(&path).map_err(|e| io(e.error))?;
        files::sync_dir(folder).map_err(io)
    }

    fn add_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RepositoryError> {
        let path = self.dir.join(name);
        let io = |source| RepositoryError::Io { path: path.clone(), source };
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.dir)).map_err(io)?;
        files::write_atomic(&path, bytes).map_err(io)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, RepositoryError> {
        let path = self.dir.join(name);
        files::read_limited(&path, MAX_PACKED)
            .map_err(|source| RepositoryError::Io { path, source })
    }
}

/// A temporary file is private; the repository is for everyone.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}
