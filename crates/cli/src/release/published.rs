//! What the repository offers already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use afield_core::ids::{NarHash, ReleaseId};
use afield_core::release::{Manifest, ObjectRef};
use afield_core::signed::SecretKey;
use afield_store::keys::read_seed;
use afield_store::repository::{Repository, RepositoryError};
use afield_store::trust::{self, Trusted};
use anyhow::Context as _;
use jiff::Timestamp;

use super::stock::Stock;
use crate::commands::keys::ROTATION;
use crate::exit::Failure;
use crate::fleet::Project;
use crate::root::{newest_root, read_trust_root};

/// So many releases stay in the metadata; hosts that were away for longer get the newest all the same.
const KEPT: usize = 20;
/// Releases that are looked through for objects that can be offered again. An older one costs only time:
/// the same archive gives the same object.
const LOOKED_THROUGH: usize = 5;

/// The releases of a repository, verified as a host would.
pub struct Published {
    /// Where they are.
    pub repository: Repository,
    /// None before the first.
    pub trusted: Option<Trusted>,
    /// The newest one.
    pub newest: Option<Manifest>,
    root: Vec<u8>,
    seed: [u8; 32],
}

impl Published {
    /// Reads a repository with the trust root and the release key of a folder of keys.
    pub fn open(project: &Project, keys: &Path) -> Result<Self, Failure> {
        let dir = project.repository();
        let root = read_trust_root(keys)?;
        let metadata = dir.join("metadata");
        let seed = release_seed(project, keys, &metadata, &root)?;
        let repository = Repository::open(&dir)?;
        let trusted = match metadata.join("timestamp.json").exists() {
            true => Some(trust::load(&metadata, &root, None).map_err(not_in_order)?),
            false => None,
        };
        let last = trusted.as_ref().and_then(|t| Some((t, t.releases.last_key_value()?.0)));
        let newest = last.map(|(t, id)| repository.manifest(t, *id)).transpose()?;
        Ok(Self { repository, trusted, newest, root, seed })
    }

    /// Number of the next release.
    pub fn next(&self) -> ReleaseId {
        ReleaseId(self.newest.as_ref().map_or(0, |m| m.release.0) + 1)
    }

    /// The manifest of a release.
    pub fn manifest(&self, release: ReleaseId) -> Result<Manifest, Failure> {
        let none = || Err(RepositoryError::NoRelease(release));
        let found =
            self.trusted.as_ref().map_or_else(none, |t| self.repository.manifest(t, release));
        found.map_err(|e| match e {
            RepositoryError::NoRelease(_) => Failure::usage(e.to_string()).hint(self.range()),
            other => Failure::failed(other),
        })
    }

    fn range(&self) -> String {
        let releases = self.trusted.as_ref().map(|t| &t.releases);
        match releases.and_then(|r| Some((r.first_key_value()?.0, r.last_key_value()?.0))) {
            Some((first, last)) => format!("it has the releases {first} to {last}"),
            None => "it has none yet".to_owned(),
        }
    }

    /// Every release that the metadata names.
    pub fn releases(&self) -> impl DoubleEndedIterator<Item = ReleaseId> {
        self.trusted.iter().flat_map(|trusted| trusted.releases.keys().copied())
    }

    /// Objects that are in the repository already, as far as archives are `wanted`.
    pub fn stock(&self, wanted: &BTreeSet<NarHash>) -> Stock {
        let mut stock = Stock::default();
        let mut read = BTreeSet::new();
        for release in self.releases().rev().take(LOOKED_THROUGH) {
            let Ok(manifest) = self.manifest(release) else { continue };
            for host in manifest.hosts.values().filter(|host| read.insert(host.delivery.id)) {
                stock.learn(&self.repository, host, wanted);
            }
        }
        stock
    }

    /// Publishes a manifest: from now on hosts may take the release, once it is assigned to them.
    pub fn publish(&self, manifest: &Manifest, expires: Timestamp) -> Result<(), Failure> {
        let object = self.repository.add_manifest(manifest)?;
        let trusted = self.trusted.as_ref();
        let mut releases = trusted.map(|t| t.releases.clone()).unwrap_or_default();
        releases.insert(manifest.release, object);
        while releases.len() > KEPT {
            releases.pop_first();
        }
        self.sign(&releases, expires)
    }

    /// Signs the releases that are published anew.
    pub fn refresh(&self, expires: Timestamp) -> Result<(), Failure> {
        match &self.trusted {
            Some(trusted) => self.sign(&trusted.releases, expires),
            None => Ok(()),
        }
    }

    fn sign(
        &self,
        releases: &BTreeMap<ReleaseId, ObjectRef>,
        expires: Timestamp,
    ) -> Result<(), Failure> {
        let metadata = self.repository.metadata();
        trust::publish(&metadata, &self.root, releases, expires, &self.seed)?;
        // Read back as a host reads it: what it would refuse must not be called done.
        let trusted = trust::load(&metadata, &self.root, None)?;
        if let Some(newest) = trusted.releases.keys().last() {
            self.repository.manifest(&trusted, *newest)?;
        }
        Ok(())
    }
}

/// Refuses a folder that is no repository yet, before anything is written into it.
pub fn check_repository(project: &Project) -> Result<(), Failure> {
    let dir = project.repository();
    if dir.join("metadata/1.root.json").exists() {
        return Ok(());
    }
    let dir = dir.display();
    Err(Failure::refused(format!("{dir} is no repository yet: it has no root metadata"))
        .hint("make the keys with afield keys init, or correct [repository] path in afield.toml"))
}

/// Keeps others from changing the repository's metadata until the file is dropped: two releases at once would both
/// be the next one.
pub fn lock(project: &Project) -> Result<File, Failure> {
    let path = project.repository().join(".lock");
    let named = || path.display().to_string();
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(named)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::refused(
            "another afield release or afield keys rotate is at work in this repository",
        )
        .hint("wait until it is done")),
        Err(TryLockError::Error(error)) => Err(Failure::failed(error)),
    }
}

/// The release key, if root metadata names it.
fn release_seed(
    project: &Project,
    keys: &Path,
    metadata: &Path,
    root: &[u8],
) -> Result<[u8; 32], Failure> {
    if keys.join(ROTATION).exists() {
        return Err(Failure::refused("a key is being replaced, and that was cut off")
            .hint("finish it with afield keys rotate --keys DIR ROLE, any role"));
    }
    let (content, _) = newest_root(metadata, root)?;
    if content.expires <= Timestamp::now() {
        let day = content.expires.strftime("%F");
        return Err(Failure::refused(format!(
            "the root metadata expired on {day}, so no host would take a release"
        ))
        .hint("renew it with afield keys rotate --keys DIR expiry"));
    }
    let (named, fleet) = (&content.afield.fleet, &project.settings.fleet);
    if named != fleet {
        return Err(Failure::refused(format!(
            "these keys are for the fleet {named}, and this is the fleet {fleet}"
        ))
        .hint("give the folder of this fleet's keys with --keys"));
    }
    let path: PathBuf = keys.join("release.pem");
    let seed = read_seed(&path)?;
    if !content.release.keys.contains(&SecretKey::from_seed(&seed).public()) {
        let (path, version) = (path.display(), content.version);
        return Err(Failure::refused(format!(
            "{path} is not the release key that root metadata {version} names"
        ))
        .hint("it was replaced with afield keys rotate; use the new one"));
    }
    Ok(seed)
}

fn not_in_order(error: trust::TrustError) -> Failure {
    Failure::refused(format!("the repository's metadata is not in order: {error}"))
        .hint("nothing was written; restore metadata/ of the repository from a backup or a mirror")
}
