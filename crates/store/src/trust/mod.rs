//! Who may make releases and who may hand them out: TUF metadata by `tough` (design §5).
//!
//! Root metadata names, beside TUF's roles, the keys that hand out (`rollout`) and the people who order it
//! (`operators`), in an extra field `afield`; the threshold of root keys signs them as it signs the roles.
//! TUF's targets, snapshot and timestamp are all signed by the release key.

mod edit;
mod load;
mod refusal;

use std::collections::BTreeMap;

use afield_core::ids::{Name, ReleaseId};
use afield_core::release::ObjectRef;
use afield_core::signed::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use edit::{EditError, RootContent, newest_root, publish, read_root, sign_root};
pub use load::load;
pub use refusal::TrustError;

/// Longest root or timestamp metadata that is read, bytes.
pub const MAX_ROOT: u64 = 256 * 1024;
/// Longest snapshot or targets metadata that is read, bytes.
pub const MAX_TARGETS: u64 = 1024 * 1024;
/// A host follows at most this many root rotations in one go.
pub const MAX_ROTATIONS: u64 = 256;

/// Keys for one purpose, and how many of them must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: usize,
}

/// The extra field `afield` of root metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetKeys {
    /// The fleet's name.
    pub fleet: Name,
    /// Who signs assignments.
    pub rollout: KeySet,
    /// Who signs orders to the hub.
    pub operators: KeySet,
}

/// Metadata that a reader has accepted before; nothing older is accepted after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The newest root metadata.
    #[serde(default)]
    pub root: Option<String>,
    /// The newest timestamp metadata.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// The newest snapshot metadata.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// The newest targets metadata.
    #[serde(default)]
    pub targets: Option<String>,
}

/// Metadata whose signatures, versions and hashes all hold together.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The fleet's name.
    pub fleet: Name,
    /// Version of the root metadata.
    pub root_version: u64,
    /// Who signs assignments.
    pub rollout: KeySet,
    /// Who signs orders.
    pub operators: KeySet,
    /// Manifests by release.
    pub releases: BTreeMap<ReleaseId, ObjectRef>,
    /// The earliest expiry of any of the four metadata files, and that file's role.
    pub expires: (Timestamp, String),
    /// To be kept, and given to the next [`load`].
    pub seen: Seen,
}

impl Trusted {
    /// Refuses metadata that has expired by `now`.
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), TrustError> {
        let (at, role) = &self.expires;
        if *at > now {
            return Ok(());
        }
        Err(TrustError::Expired { role: role.clone(), at: *at, now })
    }
}

/// Name of a release's manifest among the targets.
pub fn target_name(release: ReleaseId) -> String {
    format!("release-{release}.json.zst")
}

/// The release that a target's name stands for.
fn release_of(target: &str) -> Option<ReleaseId> {
    target.strip_prefix("release-")?.strip_suffix(".json.zst")?.parse().ok()
}
