//! Reads and verifies a folder of TUF metadata.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use afield_core::ids::ObjectId;
use afield_core::release::ObjectRef;
use tough::schema::{Role as _, Root};
use tough::{ExpirationEnforcement, Limits, Repository, RepositoryLoader};
use url::Url;

use super::{
    FleetKeys, MAX_ROOT, MAX_ROTATIONS, MAX_TARGETS, Seen, TrustError, Trusted, release_of,
};
use crate::files;

/// Verifies the metadata in a folder, starting from `root`, the root metadata that came with the reader,
/// and accepting nothing older than `seen`. Expiry is the caller's to judge: [`Trusted::check_fresh`].
///
/// `tough` judges expiry by the system's clock and remembers the latest time it saw, so that one start with
/// a wrong clock would block every later one. Here it gets a fresh store of its own at every load, with the
/// files of `seen` in it, and the time is the caller's (see `afield_core::time`).
pub fn load(metadata: &Path, root: &[u8], seen: Option<&Seen>) -> Result<Trusted, TrustError> {
    let store = tempfile::tempdir().map_err(local)?;
    let empty = Seen::default();
    let seen = seen.unwrap_or(&empty);
    for (name, text) in seen_files(seen) {
        if let Some(text) = text {
            fs::write(store.path().join(name), text).map_err(local)?;
        }
    }
    let root = seen.root.as_ref().map_or(root, |r| r.as_bytes());
    let repository = run(metadata, root, store.path())?;
    let text = |name: &str, max| -> Result<Option<String>, TrustError> {
        let bytes = files::read_limited(&store.path().join(name), max).map_err(local)?;
        String::from_utf8(bytes).map(Some).map_err(|e| TrustError::Malformed(e.to_string()))
    };
    let now_seen = Seen {
        root: text("root.json", MAX_ROOT)?,
        timestamp: text("timestamp.json", MAX_ROOT)?,
        snapshot: text("snapshot.json", MAX_TARGETS)?,
        targets: text("targets.json", MAX_TARGETS)?,
    };
    trusted(&repository, now_seen)
}

fn seen_files(seen: &Seen) -> [(&'static str, &Option<String>); 3] {
    [
        ("timestamp.json", &seen.timestamp),
        ("snapshot.json", &seen.snapshot),
        ("targets.json", &seen.targets),
    ]
}

fn run(metadata: &Path, root: &[u8], store: &Path) -> Result<Repository, TrustError> {
    let folder = fs::canonicalize(metadata).map_err(local)?;
    let url = Url::from_directory_path(&folder)
        .map_err(|()| TrustError::Missing(folder.display().to_string()))?;
    let limits = Limits {
        max_root_size: MAX_ROOT,
        max_targets_size: MAX_TARGETS,
        max_timestamp_size: MAX_ROOT,
        max_snapshot_size: MAX_TARGETS,
        max_root_updates: MAX_ROTATIONS,
    };
    let loader = RepositoryLoader::new(&root, url.clone(), url)
        .datastore(store)
        .limits(limits)
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(local)?;
    Ok(runtime.block_on(loader.load())?)
}

fn trusted(repository: &Repository, seen: Seen) -> Result<Trusted, TrustError> {
    let root = &repository.root().signed;
    let FleetKeys { fleet, rollout, operators } = fleet_keys(root)?;
    let targets = &repository.targets().signed;
    let mut releases = BTreeMap::new();
    for (name, target) in &targets.targets {
        let Some(release) = release_of(name.raw()) else {
            continue;
        };
        let hash: [u8; 32] = target.hashes.sha256.as_ref().try_into().map_err(|_| {
            TrustError::Malformed(format!("targets: the hash of {} has not 32 bytes", name.raw()))
        })?;
        let id = ObjectId::from_bytes(hash);
        releases.insert(release, ObjectRef { id, size: target.length });
    }
    let expiries = [
        (root.expires, "root"),
        (repository.timestamp().signed.expires, "timestamp"),
        (repository.snapshot().signed.expires, "snapshot"),
        (targets.expires, "targets"),
    ];
    let earliest = expiries.into_iter().min().map(|(at, role)| (at, role.to_owned()));
    let expires = earliest.ok_or_else(|| TrustError::Malformed("no metadata".into()))?;
    let root_version = root.version().get();
    Ok(Trusted { fleet, root_version, rollout, operators, releases, expires, seen })
}

/// The extra field of root metadata.
pub(super) fn fleet_keys(root: &Root) -> Result<FleetKeys, TrustError> {
    let wrong = |why: String| TrustError::Malformed(format!("root, field \"afield\": {why}"));
    let field = root._extra.get("afield").ok_or_else(|| wrong("it is missing".into()))?;
    let keys: FleetKeys =
        serde_json::from_value(field.clone()).map_err(|e| wrong(e.to_string()))?;
    for set in [&keys.rollout, &keys.operators] {
        if set.threshold == 0 || set.threshold > set.keys.len() {
            return Err(wrong(format!(
                "a threshold of {} for {} keys",
                set.threshold,
                set.keys.len()
            )));
        }
    }
    Ok(keys)
}

fn local(error: std::io::Error) -> TrustError {
    TrustError::Malformed(format!("here, not at the source: {error}"))
}
