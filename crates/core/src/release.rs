//! What a release says: for each host its system, its closure, how the closure travels, and its host data.
//!
//! The manifest is the one TUF target of a release. It names three documents per host by their address, so
//! that hosts that share a closure share the document, and new ways to travel (patches) change nothing here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, NarHash, ObjectId, ReleaseId, StorePath};
use crate::signed::PublicKey;

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

/// How the paths of a closure can travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// [`FORMAT`].
    pub format: u32,
    /// For each path at least a full object.
    pub offers: BTreeMap<StorePath, Vec<Offer>>,
}

/// One way to get a store path. What an agent does not know it passes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Offer {
    /// The whole NAR, compressed with zstd.
    Full {
        /// Where it is.
        object: ObjectRef,
    },
    /// The archive made from store paths that the host has (`docs/formats/patch.md`).
    Patch {
        /// Where the patch is; its bytes are proved before they are read.
        object: ObjectRef,
        /// What it takes bytes from, in the order in which it counts them; all must be there.
        bases: Vec<Base>,
    },
    /// A way that this version of Afield does not know.
    #[serde(other)]
    Unknown,
}

/// A store path that a patch takes bytes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The path.
    pub path: StorePath,
    /// SHA-256 of its NAR where the patch was made. A host that has the path with another content (a build
    /// that does not repeat) sees it in Nix's database and passes the patch over.
    pub nar_hash: NarHash,
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

impl Delivery {
    /// The full object of a path.
    pub fn full(&self, path: &StorePath) -> Result<&ObjectRef, Flaw> {
        let offers = self.offers.get(path).map(Vec::as_slice).unwrap_or_default();
        let full = offers.iter().find_map(|offer| match offer {
            Offer::Full { object } => Some(object),
            Offer::Patch { .. } | Offer::Unknown => None,
        });
        full.ok_or_else(|| Flaw::NoOffer(path.clone()))
    }

    /// The smallest object that makes a path, with its bases: a patch whose bases all satisfy `has`, or the
    /// full object, which has no bases.
    pub fn best(
        &self,
        path: &StorePath,
        has: impl Fn(&Base) -> bool,
    ) -> Result<(&ObjectRef, &[Base]), Flaw> {
        let offers = self.offers.get(path).map(Vec::as_slice).unwrap_or_default();
        let usable = offers.iter().filter_map(|offer| match offer {
            Offer::Full { object } => Some((object, &[][..])),
            Offer::Patch { object, bases } => {
                bases.iter().all(&has).then_some((object, bases.as_slice()))
            }
            Offer::Unknown => None,
        });
        usable.min_by_key(|(object, _)| object.size).ok_or_else(|| Flaw::NoOffer(path.clone()))
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

    #[test]
    fn unknown_offers_are_passed_over() {
        let p = path(1);
        let json = format!(
            r#"{{"format":1,"offers":{{"{p}":[{{"kind":"telepathy","base":"x"}},{{"kind":"full","object":{{"id":"{}","size":3}}}}]}}}}"#,
            ObjectId::of(b"abc")
        );
        let delivery: Delivery = serde_json::from_str(&json).unwrap();
        assert_eq!(delivery.full(&p).unwrap().size, 3);
        assert_eq!(delivery.full(&path(2)), Err(Flaw::NoOffer(path(2))));
        assert_eq!(delivery.best(&p, |_| true).unwrap().0.size, 3);
    }

    #[test]
    fn a_patch_counts_only_with_all_its_bases() {
        let object = |size| ObjectRef { id: ObjectId::of(b"x"), size };
        let base = |n| Base { path: path(n), nar_hash: NarHash::of(&[n]) };
        let patch = |size, bases: &[u8]| Offer::Patch {
            object: object(size),
            bases: bases.iter().map(|n| base(*n)).collect(),
        };
        let full = Offer::Full { object: object(100) };
        let offers = vec![full, patch(5, &[2, 3]), patch(9, &[2]), patch(200, &[])];
        let text = serde_json::to_string(&offers).unwrap();
        assert!(text.contains(r#"{"kind":"patch","object":{"#), "{text}");
        let delivery = Delivery {
            format: 1,
            offers: [(path(1), serde_json::from_str(&text).unwrap())].into(),
        };
        let best = |has: &[u8]| {
            let has = |b: &Base| has.iter().any(|n| *b == base(*n));
            delivery.best(&path(1), has).unwrap().0.size
        };
        assert_eq!((best(&[2, 3]), best(&[2]), best(&[3]), best(&[])), (5, 9, 100, 100));
        assert_eq!(delivery.full(&path(1)).unwrap().size, 100);
    }

    /// What an agent from before patches reads: the same, but without that kind.
    #[test]
    fn an_old_agent_passes_over_patches() {
        #[derive(Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        enum OldOffer {
            Full {
                object: ObjectRef,
            },
            #[serde(other)]
            Unknown,
        }
        let object = ObjectRef { id: ObjectId::of(b"x"), size: 3 };
        let patch = Offer::Patch {
            object: object.clone(),
            bases: vec![Base { path: path(2), nar_hash: NarHash::of(b"y") }],
        };
        let text = serde_json::to_string(&[patch, Offer::Full { object }]).unwrap();
        let old: Vec<OldOffer> = serde_json::from_str(&text).unwrap();
        assert!(matches!(old[0], OldOffer::Unknown));
        assert!(matches!(&old[1], OldOffer::Full { object } if object.size == 3));
    }
}
