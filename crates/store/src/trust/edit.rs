//! Makes and signs metadata: root metadata with its rotations, and the metadata of releases.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

use afield_core::ids::ReleaseId;
use afield_core::release::ObjectRef;
use afield_core::signed::{PublicKey, SecretKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{
    Hashes, KeyHolder, Metafile, Role, RoleKeys, RoleType, Root, Signed, Snapshot, Target, Targets,
    Timestamp as TimestampRole,
};
use tough::sign::Sign;

use super::load::{fleet_keys, load};
use super::{FleetKeys, KeySet, MAX_ROOT, TrustError, target_name};
use crate::files;

const SPEC: &str = "1.0.0";

/// Why metadata could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A file could not be read or written.
    #[error("the metadata in {path} cannot be written")]
    Io {
        /// The folder or file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is there already is not in order.
    #[error("the metadata that is there is not in order")]
    There(#[from] TrustError),
    /// Signing did not lead to metadata that holds.
    #[error("the new metadata would not be accepted: {0}")]
    NotAccepted(String),
}

/// What root metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootContent {
    /// Its version; grows by one with each change.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// Who may change it.
    pub root: KeySet,
    /// Who signs releases.
    pub release: KeySet,
    /// The fleet and its other keys.
    pub afield: FleetKeys,
}

/// What a root metadata file says. Its signatures are not looked at.
pub fn read_root(bytes: &[u8]) -> Result<RootContent, TrustError> {
    let signed: Signed<Root> =
        serde_json::from_slice(bytes).map_err(|e| TrustError::Malformed(format!("root: {e}")))?;
    let root = signed.signed;
    let set = |role: RoleType| -> KeySet {
        let keys = root.keys(role).filter_map(|key| match key {
            Key::Ed25519 { keyval, .. } => {
                <[u8; 32]>::try_from(keyval.public.as_ref()).ok().map(PublicKey::from_bytes)
            }
            _ => None,
        });
        let threshold = root.roles.get(&role).map_or(1, |r| r.threshold.get() as usize);
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        KeySet { keys, threshold }
    };
    Ok(RootContent {
        version: root.version.get(),
        expires: root.expires,
        root: set(RoleType::Root),
        release: set(RoleType::Targets),
        afield: fleet_keys(&root)?,
    })
}

/// Signs root metadata with every one of the `seeds` that counts, for itself and for the `previous` version.
/// Refuses what a host with the previous version would not accept.
pub fn sign_root(
    content: &RootContent,
    previous: Option<&[u8]>,
    seeds: &[[u8; 32]],
) -> Result<Vec<u8>, EditError> {
    let refused = |e: &dyn std::fmt::Display| EditError::NotAccepted(e.to_string());
    let root = root_role(content)?;
    let signers = signers(seeds);
    let holder = KeyHolder::Root(root.clone());
    let mut signed =
        block_on(SignedRole::new(root.clone(), &holder, &signers, &SystemRandom::new()))
            .map_err(|e| refused(&e))?;
    if let Some(previous) = previous {
        let previous: Signed<Root> = serde_json::from_slice(previous).map_err(|e| refused(&e))?;
        if previous.signed.version.get() + 1 != content.version {
            return Err(EditError::NotAccepted(format!(
                "version {} does not follow version {}",
                content.version, previous.signed.version
            )));
        }
        let holder = KeyHolder::Root(previous.signed.clone());
        let for_old =
            block_on(SignedRole::new(root.clone(), &holder, &signers, &SystemRandom::new()))
                .map_err(|e| refused(&e))?;
        let more = for_old.signed().signatures.clone();
        signed = signed.add_old_signatures(more).map_err(|e| refused(&e))?;
        previous.signed.verify_role(signed.signed()).map_err(|e| refused(&e))?;
    }
    root.verify_role(signed.signed()).map_err(|e| refused(&e))?;
    Ok(signed.buffer().clone())
}

fn root_role(content: &RootContent) -> Result<Root, EditError> {
    let wrong = |e: &dyn std::fmt::Display| EditError::NotAccepted(e.to_string());
    let mut keys = HashMap::new();
    let mut role = |set: &KeySet| -> Result<RoleKeys, EditError> {
        let mut keyids = Vec::new();
        for public in &set.keys {
            let key = tuf_key(public);
            let id = key.key_id().map_err(|e| wrong(&e))?;
            keys.insert(id.clone(), key);
            keyids.push(id);
        }
        let threshold = NonZeroU64::new(set.threshold as u64)
            .filter(|t| t.get() <= keyids.len() as u64)
            .ok_or_else(|| {
                wrong(&format!("a threshold of {} for {} keys", set.threshold, keyids.len()))
            })?;
        Ok(RoleKeys { keyids, threshold, _extra: HashMap::new() })
    };
    let root = role(&content.root)?;
    let release = role(&content.release)?;
    let roles = HashMap::from([
        (RoleType::Root, root),
        (RoleType::Targets, release.clone()),
        (RoleType::Snapshot, release.clone()),
        (RoleType::Timestamp, release),
    ]);
    let afield = serde_json::to_value(&content.afield).map_err(|e| wrong(&e))?;
    Ok(Root {
        spec_version: SPEC.into(),
        consistent_snapshot: true,
        version: version(content.version)?,
        expires: content.expires,
        keys,
        roles,
        _extra: HashMap::from([("afield".to_owned(), afield)]),
    })
}

/// Writes the metadata of the given releases into the folder `metadata`, signed with the release key; what
/// was there is replaced, and the timestamp, which makes it count, is written last.
pub fn publish(
    metadata: &Path,
    trusted_root: &[u8],
    releases: &BTreeMap<ReleaseId, ObjectRef>,
    expires: Timestamp,
    release_seed: &[u8; 32],
) -> Result<(), EditError> {
    let next = next_version(metadata, trusted_root)?;
    let (_, root) = newest_root(metadata, trusted_root)?;
    let holder = KeyHolder::Root(parse_root(&root)?.signed);
    let signers = signers(&[*release_seed]);
    let next = version(next)?;

    let mut targets = Targets::new(SPEC.into(), next, expires);
    targets.delegations = None;
    for (release, object) in releases {
        let name = tough::TargetName::new(target_name(*release)).map_err(not_accepted)?;
        targets.targets.insert(name, target(object));
    }
    let targets = sign(targets, &holder, &signers)?;
    let mut snapshot = Snapshot::new(SPEC.into(), next, expires);
    snapshot.meta.insert("targets.json".into(), meta(&targets, next));
    let snapshot = sign(snapshot, &holder, &signers)?;
    let mut timestamp = TimestampRole::new(SPEC.into(), next, expires);
    timestamp.meta.insert("snapshot.json".into(), meta(&snapshot, next));
    let timestamp = sign(timestamp, &holder, &signers)?;

    write(&metadata.join(format!("{next}.targets.json")), targets.buffer())?;
    write(&metadata.join(format!("{next}.snapshot.json")), snapshot.buffer())?;
    write(&metadata.join("timestamp.json"), timestamp.buffer())
}

fn next_version(metadata: &Path, trusted_root: &[u8]) -> Result<u64, EditError> {
    if !metadata.join("timestamp.json").exists() {
        return Ok(1);
    }
    let seen = load(metadata, trusted_root, None);
    let text = fs::read(metadata.join("timestamp.json")).map_err(|e| io_error(metadata, e))?;
    let there: Signed<TimestampRole> = serde_json::from_slice(&text)
        .map_err(|e| TrustError::Malformed(format!("timestamp: {e}")))?;
    match seen {
        // A rotated release key makes the old metadata invalid, and is no reason to stop.
        Ok(_) | Err(TrustError::Threshold { .. }) => Ok(there.signed.version.get() + 1),
        Err(e) => Err(e.into()),
    }
}

/// The newest root metadata in the folder that follows, version by version and each signed for the one before,
/// from the trusted one: what it says, and its bytes. A file that does not follow is refused, so that nobody who
/// can write into the repository gets his own keys signed into the next version.
pub fn newest_root(
    metadata: &Path,
    trusted_root: &[u8],
) -> Result<(RootContent, Vec<u8>), EditError> {
    let mut bytes = trusted_root.to_vec();
    let mut root = parse_root(&bytes)?;
    loop {
        let version = root.signed.version.get() + 1;
        let path = metadata.join(format!("{version}.root.json"));
        let Some(next_bytes) =
            files::read_if_there(&path, MAX_ROOT).map_err(|e| io_error(&path, e))?
        else {
            return Ok((read_root(&bytes)?, bytes));
        };
        let next = parse_root(&next_bytes)?;
        if next.signed.version.get() != version {
            return Err(not_accepted(format!("{} is of another version", path.display())));
        }
        let follows = root.signed.verify_role(&next).and_then(|()| next.signed.verify_role(&next));
        follows.map_err(|e| not_accepted(format!("{} does not follow: {e}", path.display())))?;
        (root, bytes) = (next, next_bytes);
    }
}

fn parse_root(bytes: &[u8]) -> Result<Signed<Root>, EditError> {
    Ok(serde_json::from_slice(bytes).map_err(|e| TrustError::Malformed(format!("root: {e}")))?)
}

fn sign<T: Role + Serialize>(
    role: T,
    holder: &KeyHolder,
    signers: &[Box<dyn KeySource>],
) -> Result<SignedRole<T>, EditError> {
    block_on(SignedRole::new(role, holder, signers, &SystemRandom::new())).map_err(|e| {
        EditError::NotAccepted(format!("{e}; is this the release key that root metadata names?"))
    })
}

fn meta<T>(role: &SignedRole<T>, version: NonZeroU64) -> Metafile
where
    T: Role + Serialize,
{
    Metafile {
        length: Some(*role.length()),
        hashes: Some(hashes(role.sha256())),
        version,
        _extra: HashMap::new(),
    }
}

fn target(object: &ObjectRef) -> Target {
    // The hex digits of an address are always 64.
    let hash = data_encoding::HEXLOWER.decode(object.id.hex().as_bytes()).unwrap_or_default();
    Target {
        length: object.size,
        hashes: hashes(&hash),
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

fn hashes(sha256: &[u8]) -> Hashes {
    Hashes { sha256: sha256.to_vec().into(), _extra: HashMap::new() }
}

fn tuf_key(public: &PublicKey) -> Key {
    let public: Decoded<Hex> = public.as_bytes().to_vec().into();
    Key::Ed25519 {
        keyval: Ed25519Key { public, _extra: HashMap::new() },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// A seed in memory, as `tough` wants its keys.
struct Seed([u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed of {}", SecretKey::from_seed(&self.0).public())
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

#[tough::async_trait]
impl KeySource for Seed {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, BoxError> {
        Ok(Box::new(Ed25519KeyPair::from_seed_unchecked(&self.0).map_err(|e| e.to_string())?))
    }

    async fn write(&self, _value: &str, _key_id_hex: &str) -> Result<(), BoxError> {
        Err("keys are written by afield keys".into())
    }
}

fn signers(seeds: &[[u8; 32]]) -> Vec<Box<dyn KeySource>> {
    seeds.iter().map(|s| Box::new(Seed(*s)) as Box<dyn KeySource>).collect()
}

fn version(n: u64) -> Result<NonZeroU64, EditError> {
    NonZeroU64::new(n).ok_or_else(|| EditError::NotAccepted("versions start at 1".into()))
}

fn not_accepted(e: impl std::fmt::Display) -> EditError {
    EditError::NotAccepted(e.to_string())
}

fn io_error(path: &Path, source: io::Error) -> EditError {
    EditError::Io { path: path.display().to_string(), source }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EditError> {
    files::write_atomic(path, bytes).map_err(|e| io_error(path, e))
}

/// Runs `tough`'s signing, which is async for keys that live elsewhere.
#[allow(clippy::result_large_err, reason = "the error is tough's own")]
fn block_on<T>(future: impl Future<Output = tough::error::Result<T>>) -> tough::error::Result<T> {
    match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(_) => Err(tough::error::Error::MissingTransport),
    }
}
