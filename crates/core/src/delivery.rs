//! How the paths of a closure travel: which objects make them, and where those stand in packs.
//!
//! A pack is objects one after the other, an object itself, so that a host on a slow link reads many of them with one
//! request. What is read is proved object by object; a pack as a whole is never proved, nor need it be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{NarHash, ObjectId, StorePath};
use crate::plan::Missing;
use crate::release::{Closure, FORMAT, Flaw, ObjectRef, PathInfo};

/// How the paths of a closure can travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// [`FORMAT`].
    pub format: u32,
    /// Packs in which offered objects stand, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<ObjectRef>,
    /// For each path at least a full object.
    pub offers: BTreeMap<StorePath, Vec<Offer>>,
}

/// One way to get a store path. What an agent does not know it passes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Offer {
    /// The whole NAR, compressed with zstd. It is an object of its own, too, for those who read no packs.
    Full {
        /// Where it is.
        object: ObjectRef,
        /// Where it stands in a pack.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// The archive made from store paths that the host has (`docs/formats/patch.md`).
    Patch {
        /// Where the patch is; its bytes are proved before they are read.
        object: ObjectRef,
        /// What it takes bytes from, in the order in which it counts them; all must be there.
        bases: Vec<Base>,
        /// Where it stands in a pack.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
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

/// Where an object stands, as a document says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Which of the delivery's packs.
    pub pack: usize,
    /// Its first byte there.
    pub offset: u64,
}

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The pack.
    pub pack: ObjectRef,
    /// Its first byte there.
    pub offset: u64,
}

/// One offer, looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way<'a> {
    /// The object to fetch.
    pub object: &'a ObjectRef,
    /// What it is a patch against; empty for a full object.
    pub bases: &'a [Base],
    /// Where it stands.
    pub at: Option<Place>,
}

impl Offer {
    /// The offer as a way; none if it is not known here, as a patch against nothing.
    pub fn way(&self) -> Option<Way<'_>> {
        match self {
            Self::Full { object, at } => Some(Way { object, bases: &[], at: *at }),
            Self::Patch { object, bases, at } if !bases.is_empty() => {
                Some(Way { object, bases, at: *at })
            }
            Self::Patch { .. } | Self::Unknown => None,
        }
    }
}

impl Delivery {
    /// The full object of a path.
    pub fn full(&self, path: &StorePath) -> Result<&ObjectRef, Flaw> {
        Ok(self.full_way(path)?.object)
    }

    /// The full object of a path, with its place.
    pub fn full_way(&self, path: &StorePath) -> Result<Way<'_>, Flaw> {
        let full = self.ways(path).find(|way| way.bases.is_empty());
        full.ok_or_else(|| Flaw::NoOffer(path.clone()))
    }

    /// Every way of a path that is known here.
    pub fn ways(&self, path: &StorePath) -> impl Iterator<Item = Way<'_>> {
        self.offers.get(path).into_iter().flatten().filter_map(Offer::way)
    }

    /// The way with the fewest bytes to come: a patch whose bases all satisfy `has`, or the full object.
    pub fn best(
        &self,
        path: &StorePath,
        to_come: impl Fn(&ObjectRef) -> u64,
        has: impl Fn(&Base) -> bool,
    ) -> Result<Way<'_>, Flaw> {
        let usable = self.ways(path).filter(|way| way.bases.iter().all(&has));
        usable.min_by_key(|way| to_come(way.object)).ok_or_else(|| Flaw::NoOffer(path.clone()))
    }

    /// Where a way's object stands.
    pub fn slice(&self, way: &Way<'_>) -> Option<Slice> {
        let at = way.at?;
        Some(Slice { pack: self.packs.get(at.pack)?.clone(), offset: at.offset })
    }

    /// Checks what the signature cannot: format, that every path has a full object, and that packs can be as they
    /// are told.
    pub fn validate(&self, closure: &Closure) -> Result<(), Flaw> {
        if self.format > FORMAT {
            return Err(Flaw::Format(self.format));
        }
        closure.paths.iter().try_for_each(|info| self.full(&info.path).map(drop))?;
        let mut stretches: BTreeMap<Place, (u64, ObjectId)> = BTreeMap::new();
        for (path, offer) in self.offers.iter().flat_map(|(p, all)| all.iter().map(move |o| (p, o)))
        {
            let Some((object, at)) = offer.way().and_then(|w| Some((w.object, w.at?))) else {
                continue;
            };
            let end = at.offset.checked_add(object.size);
            let size = self.packs.get(at.pack).map_or(0, |pack| pack.size);
            let Some(end) = end.filter(|end| *end <= size) else {
                return Err(Flaw::OutsidePack(path.clone()));
            };
            let known = stretches.insert(at, (end, object.id));
            if known.is_some_and(|(_, id)| id != object.id) {
                return Err(Flaw::Overlap(object.id));
            }
        }
        let all: Vec<_> = stretches.into_iter().collect();
        let overlap = all.windows(2).find(|pair| {
            let ((one, (end, _)), (next, _)) = (&pair[0], &pair[1]);
            one.pack == next.pack && next.offset < *end
        });
        overlap.map_or(Ok(()), |pair| Err(Flaw::Overlap(pair[1].1.1)))
    }

    /// What a host lacks, each path with its best way, in the order in which to fetch and import: as the objects stand
    /// in packs, as far as each comes after those that it refers to. `here` tells how many bytes of an object the host
    /// has already.
    pub fn missing(
        &self,
        closure: &Closure,
        lacks: &BTreeSet<StorePath>,
        here: impl Fn(&ObjectRef) -> u64,
        has: impl Fn(&Base) -> bool,
    ) -> Result<Vec<Missing>, Flaw> {
        let mut found = BTreeMap::new();
        let mut places = Vec::new();
        for info in closure.paths.iter().filter(|info| lacks.contains(&info.path)) {
            let way = self.best(&info.path, |o| o.size - here(o).min(o.size), &has)?;
            places.push((way.at.is_none(), way.at, places.len(), &info.path));
            found.insert(&info.path, (info, self.as_missing(info, &way, &here)));
        }
        places.sort();
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        // (path, whether its references are in already); the last one comes first.
        let mut work: Vec<_> = places.into_iter().rev().map(|(.., path)| (path, false)).collect();
        while let Some((path, ready)) = work.pop() {
            let Some((info, missing)) = found.get(path) else { continue };
            if ready {
                order.push(missing.clone());
            } else if seen.insert(path) {
                work.push((path, true));
                let others = info.references.iter().rev().filter(|r| *r != path);
                work.extend(others.map(|r| (r, false)));
            }
        }
        Ok(order)
    }

    /// The full object of a path that another way did not make.
    pub fn instead(
        &self,
        info: &PathInfo,
        here: impl Fn(&ObjectRef) -> u64,
    ) -> Result<Missing, Flaw> {
        Ok(self.as_missing(info, &self.full_way(&info.path)?, here))
    }

    fn as_missing(
        &self,
        info: &PathInfo,
        way: &Way<'_>,
        here: impl Fn(&ObjectRef) -> u64,
    ) -> Missing {
        Missing {
            path: info.path.clone(),
            object: way.object.clone(),
            here: here(way.object),
            nar_size: info.nar_size,
            bases: way.bases.to_vec(),
            slice: self.slice(way),
        }
    }
}

/// A batch has at least this many bytes to fetch, except the last one.
const BATCH: u64 = 2 * 1024 * 1024;
/// And at least this part of all.
const BATCHES: u64 = 32;

/// Cuts a fetch into batches: while one is imported, the next one is fetched, so that objects never take much room
/// beside the closure.
pub fn batches(missing: &[Missing]) -> Vec<&[Missing]> {
    let total: u64 = missing.iter().map(|m| m.object.size).sum();
    let least = BATCH.max(total / BATCHES);
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (k, item) in missing.iter().enumerate() {
        bytes += item.object.size;
        if bytes >= least || k + 1 == missing.len() {
            batches.push(&missing[from..=k]);
            (from, bytes) = (k + 1, 0);
        }
    }
    batches
}

/// Between two reports of a fetch there is at least so long.
const TELL_AFTER: Duration = Duration::from_secs(600);

/// Whether the hub should hear how far a fetch is: now and then, since a report costs bytes, too.
pub fn worth_telling(done: u64, told: u64, total: u64, since: Duration) -> bool {
    since >= TELL_AFTER && done.saturating_sub(told) >= (total / 20).max(1)
}

/// Free bytes that a fetch needs: what is imported, and the objects of two batches at a time.
pub fn room(missing: &[Missing]) -> u64 {
    let to_come = |batch: &&[Missing]| -> u64 {
        batch.iter().map(|m| m.object.size - m.here.min(m.object.size)).sum()
    };
    let batches: Vec<u64> = batches(missing).iter().map(to_come).collect();
    let two = batches.windows(2).map(|w| w[0] + w[1]).max();
    let objects = two.or(batches.first().copied()).unwrap_or(0);
    missing.iter().map(|m| m.nar_size).sum::<u64>().saturating_add(objects)
}

#[cfg(test)]
mod tests;
