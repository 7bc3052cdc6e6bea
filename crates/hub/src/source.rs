//! What the hub reads from the repository's folder: who may sign what, the releases, and its own assignments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use afield_core::assignment::Assignment;
use afield_core::ids::{HostName, Name, ObjectId, ReleaseId};
use afield_core::release::Manifest;
use afield_core::signed::{Envelope, MAX_ENVELOPE, PublicKey};
use afield_store::files::read_limited;
use afield_store::repository::Repository;
use afield_store::trust::{self, KeySet, MAX_ROOT, Seen};
use jiff::Timestamp;

/// Verified content of the repository.
#[derive(Debug, Clone)]
pub struct Known {
    /// The fleet's name.
    pub fleet: Name,
    /// Who signs assignments.
    pub rollout: KeySet,
    /// Who signs orders.
    pub operators: KeySet,
    /// When the first of the metadata files expires, and which that is.
    pub expires: (Timestamp, String),
    /// The releases that are still there.
    pub manifests: BTreeMap<ReleaseId, Arc<Manifest>>,
    /// Their addresses.
    pub addresses: BTreeMap<ReleaseId, ObjectId>,
    /// Releases that the metadata names and that cannot be read, and why.
    pub flaws: Vec<String>,
    /// Nothing older is accepted after.
    pub seen: Seen,
}

impl Known {
    /// Whether a release has something for a host.
    pub fn has(&self, release: ReleaseId, host: &HostName) -> bool {
        self.manifests.get(&release).is_some_and(|m| m.hosts.contains_key(host))
    }

    /// The newest release.
    pub fn newest(&self) -> Option<&Manifest> {
        self.manifests.last_key_value().map(|(_, m)| m.as_ref())
    }
}

/// Tells whether the metadata may have changed, without verifying it: its file names and its timestamp.
pub fn stamp(repository: &Repository) -> Vec<u8> {
    let folder = repository.metadata();
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_encoded_bytes()).collect();
    names.sort();
    let timestamp = read_limited(&folder.join("timestamp.json"), MAX_ROOT).unwrap_or_default();
    [names.join(&b'/'), timestamp].join(&b'\n')
}

/// Verifies the repository, starting from `root`. Manifests that `before` has already are not read again.
/// The error is a sentence for the operator.
pub fn load(
    repository: &Repository,
    root: &[u8],
    seen: &Seen,
    before: Option<&Known>,
) -> Result<Known, String> {
    let metadata = repository.metadata();
    let trusted = trust::load(&metadata, root, Some(seen)).map_err(|e| e.to_string())?;
    let mut manifests = BTreeMap::new();
    let mut flaws = Vec::new();
    for (release, object) in &trusted.releases {
        let same = before.filter(|b| b.addresses.get(release) == Some(&object.id));
        if let Some(manifest) = same.and_then(|b| b.manifests.get(release)) {
            manifests.insert(*release, manifest.clone());
            continue;
        }
        match repository.manifest(&trusted, *release) {
            Ok(manifest) => drop(manifests.insert(*release, Arc::new(manifest))),
            Err(e) => flaws.push(format!("release {release} cannot be read: {}", chain(&e))),
        }
    }
    Ok(Known {
        fleet: trusted.fleet,
        rollout: trusted.rollout,
        operators: trusted.operators,
        expires: trusted.expires,
        addresses: trusted.releases.iter().map(|(r, o)| (*r, o.id)).collect(),
        manifests,
        flaws,
        seen: trusted.seen,
    })
}

/// The assignments in the folder that the rollout keys signed. Anything else there counts as missing.
pub fn assignments(repository: &Repository, known: &Known) -> BTreeMap<HostName, Assignment> {
    let hosts: BTreeSet<_> = known.manifests.values().flat_map(|m| m.hosts.keys()).collect();
    let found = |host: &HostName| Some((host.clone(), assignment(repository, known, host)?));
    hosts.into_iter().filter_map(found).collect()
}

fn assignment(repository: &Repository, known: &Known, host: &HostName) -> Option<Assignment> {
    let bytes = read_limited(&repository.assignment_path(host), MAX_ENVELOPE as u64).ok()?;
    let envelope = Envelope::from_slice(&bytes).ok()?;
    let keys: &[PublicKey] = &known.rollout.keys;
    let assignment: Assignment = envelope.open(keys, known.rollout.threshold).ok()?;
    (assignment.fleet == known.fleet && assignment.host == *host).then_some(assignment)
}

/// An error with its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
