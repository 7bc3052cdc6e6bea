//! What a release says: for each host its system, its closure, how the closure travels, and its host data.
//!
//! The manifest is the one TUF target of a release. It names three documents per host by their address, so
//! that hosts that share a closure share the document, and new ways to travel (patches) change nothing here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, NarHash, ObjectId, ReleaseId, StorePath};
use crate::signed::PublicKey;

pub use crate::delivery::{Base, Delivery, Offer};

/// Format number of [`Manifest`], [`Closure`] and [`Delivery`]; an agent refuses a higher one.
pub const FORMAT: u32 = 1;
/// A manifest or one of its documents, unpacked, has at most this many bytes.
pub const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;
/// A closure has at most this many store paths.
pub const MAX_PATHS: usize = 200_000;

/// An object in the repository: its address, and its length there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// SHA-256 of the object's bytes.
    pub id: ObjectId,
    /// Length of the object, bytes.
    pub size: u64,
}

/// A release: which system and data each host is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The fleet's name; a host of another fleet refuses it.
    pub fleet: Name,
    /// Number of the release.
    pub release: ReleaseId,
    /// When it was made.
    pub created: Timestamp,
    /// The earlier release whose systems it repeats, if it takes one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<ReleaseId>,
    /// The waves, first to last. A host stands in one at most.
    pub waves: Vec<Wave>,
    /// Every host that was built.
    pub hosts: BTreeMap<HostName, HostRelease>,
}

/// Hosts that are updated together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// `first`, `middle`, `final` or `latest` in a fleet of the older format.
    pub name: Name,
    /// Its hosts, sorted.
    pub hosts: Vec<HostName>,
}

/// One host's share of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRelease {
    /// Toplevel of its system.
    pub system: StorePath,
    /// Its [`Closure`], zstd.
    pub closure: ObjectRef,
    /// The [`Delivery`] of that closure, zstd.
    pub delivery: ObjectRef,
    /// Its [`crate::host_data::HostData`], zstd.
    pub data: ObjectRef,
    /// The key that its reports are signed with; none while it is being provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// Days that an assignment for it stays valid.
    pub fresh_days: u32,
}

/// A system's store paths, each after those that it refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// [`FORMAT`].
    pub format: u32,
    /// References before referrers.
    pub paths: Vec<PathInfo>,
}

/// What Nix's database knows of a store path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// SHA-256 of its NAR.
    pub nar_hash: NarHash,
    /// Length of its NAR, bytes.
    pub nar_size: u64,
    /// Paths that it refers to, itself among them if so, sorted.
    pub references: Vec<StorePath>,
}

/// What is wrong with a release that was signed all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Written by a newer Afield.
    #[error("it has format {0}, and this version reads up to {FORMAT}; update Afield here first")]
    Format(u32),
    /// Too many store paths.
    #[error("it lists {0} store paths, and at most {MAX_PATHS} are taken")]
    TooManyPaths(usize),
    /// A path stands twice.
    #[error("it lists {0} twice")]
    Duplicate(StorePath),
    /// A reference comes after the path that needs it, or not at all.
    #[error("{path} refers to {reference}, which is not listed before it")]
    NotClosed {
        /// The referrer.
        path: StorePath,
        /// What it needs.
        reference: StorePath,
    },
    /// The system itself is missing.
    #[error("it does not contain the host's system {0}")]
    NoSystem(StorePath),
    /// No offer that this version knows.
    #[error("it offers {0} in no way that this version knows")]
    NoOffer(StorePath),
    /// An object that its pack cannot hold.
    #[error("it says that an object of {0} stands where its pack has ended")]
    OutsidePack(StorePath),
    /// Two objects at one place of a pack.
    #[error("it says that the object {0} stands in the middle of another one")]
    Overlap(ObjectId),
}

impl Closure {
    /// Checks what the signature cannot: format, order, closedness, and that `system` is in it.
    pub fn validate(&self, system: &StorePath) -> Result<(), Flaw> {
        if self.format > FORMAT {
            return Err(Flaw::Format(self.format));
        }
        if self.paths.len() > MAX_PATHS {
            return Err(Flaw::TooManyPaths(self.paths.len()));
        }
        let mut seen = BTreeSet::new();
        for info in &self.paths {
            if !seen.insert(&info.path) {
                return Err(Flaw::Duplicate(info.path.clone()));
            }
            if let Some(r) = info.references.iter().find(|r| !seen.contains(r)) {
                return Err(Flaw::NotClosed { path: info.path.clone(), reference: r.clone() });
            }
        }
        if !seen.contains(system) {
            return Err(Flaw::NoSystem(system.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(n: u8) -> StorePath {
        format!("/nix/store/{}-p{n}", "0".repeat(32)).parse().unwrap()
    }

    fn info(n: u8, refs: &[u8]) -> PathInfo {
        PathInfo {
            path: path(n),
            nar_hash: NarHash::of(&[n]),
            nar_size: 1,
            references: refs.iter().map(|r| path(*r)).collect(),
        }
    }

    #[test]
    fn a_closure_must_be_closed_ordered_and_hold_the_system() {
        let check = |paths: Vec<PathInfo>| Closure { format: 1, paths }.validate(&path(2));
        assert_eq!(check(vec![info(1, &[]), info(2, &[1, 2])]), Ok(()));
        let order = check(vec![info(2, &[1]), info(1, &[])]);
        assert_eq!(order, Err(Flaw::NotClosed { path: path(2), reference: path(1) }));
        assert_eq!(check(vec![info(1, &[])]), Err(Flaw::NoSystem(path(2))));
        assert_eq!(check(vec![info(1, &[]), info(1, &[])]), Err(Flaw::Duplicate(path(1))));
    }
}
