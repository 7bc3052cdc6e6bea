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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(n: u8) -> StorePath {
        format!("/nix/store/{}-p{n}", "0".repeat(32)).parse().unwrap()
    }

    fn object(n: u8, size: u64) -> ObjectRef {
        ObjectRef { id: ObjectId::of(&[n]), size }
    }

    fn base(n: u8) -> Base {
        Base { path: path(n), nar_hash: NarHash::of(&[n]) }
    }

    fn full(n: u8, size: u64, at: Option<(usize, u64)>) -> Offer {
        let at = at.map(|(pack, offset)| Place { pack, offset });
        Offer::Full { object: object(n, size), at }
    }

    fn closure(paths: &[(u8, &[u8])]) -> Closure {
        let info = |(n, refs): &(u8, &[u8])| PathInfo {
            path: path(*n),
            nar_hash: NarHash::of(&[*n]),
            nar_size: 1000,
            references: refs.iter().map(|r| path(*r)).collect(),
        };
        Closure { format: 1, paths: paths.iter().map(info).collect() }
    }

    fn delivery(offers: &[(u8, Vec<Offer>)]) -> Delivery {
        let offers = offers.iter().map(|(n, o)| (path(*n), o.clone())).collect();
        Delivery { format: 1, packs: vec![object(100, 50), object(101, 50)], offers }
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
        assert_eq!(delivery.best(&p, |o| o.size, |_| true).unwrap().object.size, 3);
    }

    #[test]
    fn a_patch_counts_only_with_all_its_bases() {
        let patch = |n, size, bases: &[u8]| Offer::Patch {
            object: object(n, size),
            bases: bases.iter().map(|n| base(*n)).collect(),
            at: None,
        };
        let offers =
            vec![full(1, 100, None), patch(2, 5, &[2, 3]), patch(3, 9, &[2]), patch(4, 1, &[])];
        let text = serde_json::to_string(&offers).unwrap();
        assert!(text.contains(r#"{"kind":"patch","object":{"#), "{text}");
        let delivery = delivery(&[(1, serde_json::from_str(&text).unwrap())]);
        let best = |has: &[u8], here: &[u8]| {
            let has = |b: &Base| has.iter().any(|n| *b == base(*n));
            let to_come = |o: &ObjectRef| match here.iter().any(|n| o.id == object(*n, 0).id) {
                true => 0,
                false => o.size,
            };
            delivery.best(&path(1), to_come, has).unwrap().object.size
        };
        let sizes = (best(&[2, 3], &[]), best(&[2], &[]), best(&[3], &[]), best(&[], &[]));
        assert_eq!(sizes, (5, 9, 100, 100));
        assert_eq!(best(&[2, 3], &[1]), 100, "what is here already needs no patch");
        assert_eq!(delivery.full(&path(1)).unwrap().size, 100);
    }

    /// What an agent from before patches and packs reads: the same, but without them.
    #[test]
    fn an_old_agent_passes_over_patches_and_packs() {
        #[derive(Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        enum OldOffer {
            Full {
                object: ObjectRef,
            },
            #[serde(other)]
            Unknown,
        }
        #[derive(Deserialize)]
        struct OldDelivery {
            offers: BTreeMap<StorePath, Vec<OldOffer>>,
        }
        let at = Some(Place { pack: 0, offset: 0 });
        let patch = Offer::Patch { object: object(1, 3), bases: vec![base(2)], at };
        let new = delivery(&[(1, vec![patch, full(2, 3, Some((0, 3)))])]);
        let old: OldDelivery = serde_json::from_str(&serde_json::to_string(&new).unwrap()).unwrap();
        let old = &old.offers[&path(1)];
        assert!(matches!(old[0], OldOffer::Unknown));
        assert!(matches!(&old[1], OldOffer::Full { object } if object.size == 3));
    }

    #[test]
    fn packs_are_as_they_are_told() {
        let closure = closure(&[(1, &[]), (2, &[1])]);
        let check =
            |one: Offer, two: Offer| delivery(&[(1, vec![one]), (2, vec![two])]).validate(&closure);
        let at = |pack, offset| Some((pack, offset));
        assert_eq!(check(full(1, 20, at(0, 0)), full(2, 30, at(0, 20))), Ok(()));
        assert_eq!(check(full(1, 20, at(0, 0)), full(2, 50, at(1, 0))), Ok(()));
        assert_eq!(
            check(full(1, 20, at(0, 0)), full(1, 20, at(0, 0))),
            Ok(()),
            "one object for both"
        );
        let outside = |found| assert_eq!(found, Err(Flaw::OutsidePack(path(2))));
        outside(check(full(1, 20, at(0, 0)), full(2, 31, at(0, 20))));
        outside(check(full(1, 20, at(0, 0)), full(2, 1, at(2, 0))));
        outside(check(full(1, 20, at(0, 0)), full(2, 2, at(0, u64::MAX))));
        let overlap = |found: Result<(), Flaw>| assert!(matches!(found, Err(Flaw::Overlap(_))));
        overlap(check(full(1, 20, at(0, 0)), full(2, 20, at(0, 19))));
        overlap(check(full(1, 20, at(0, 0)), full(2, 20, at(0, 0))));
        let none = delivery(&[(1, vec![])]).validate(&closure);
        assert_eq!(none, Err(Flaw::NoOffer(path(1))));
    }

    #[test]
    fn missing_paths_come_as_they_stand_in_packs_and_after_what_they_need() {
        let closure = closure(&[(1, &[]), (2, &[1]), (3, &[]), (4, &[3, 2])]);
        let offers = [
            (1, vec![full(1, 5, Some((1, 0)))]),
            (2, vec![full(2, 5, None)]),
            (3, vec![full(3, 5, Some((0, 20)))]),
            (4, vec![full(4, 5, Some((0, 0)))]),
        ];
        let names = |lacks: &[u8]| -> String {
            let lacks = lacks.iter().map(|n| path(*n)).collect();
            let missing = delivery(&offers).missing(&closure, &lacks, |_| 0, |_| false).unwrap();
            missing.iter().map(|m| m.path.name()).collect()
        };
        // 4 stands first, and needs 3 and 2, which needs 1.
        assert_eq!(names(&[1, 2, 3, 4]), "p3p1p2p4");
        assert_eq!(names(&[1, 2, 3]), "p3p1p2");
        assert_eq!(names(&[4]), "p4");
    }

    #[test]
    fn a_fetch_is_told_now_and_then() {
        let (soon, later) = (Duration::from_secs(60), Duration::from_secs(600));
        assert!(worth_telling(5, 0, 100, later) && worth_telling(99, 50, 100, later));
        assert!(!worth_telling(50, 0, 100, soon), "too soon");
        assert!(!worth_telling(54, 50, 100, later), "too little");
        assert!(!worth_telling(0, 0, 1, later));
    }

    #[test]
    fn batches_are_large_enough_and_few() {
        let item = |size| Missing {
            path: path(1),
            object: object(1, size),
            here: 0,
            nar_size: 2 * size,
            bases: vec![],
            slice: None,
        };
        let sizes = |sizes: &[u64]| -> Vec<usize> {
            let items: Vec<Missing> = sizes.iter().map(|s| item(*s)).collect();
            batches(&items).iter().map(|b| b.len()).collect()
        };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[1, 2, 3]), [3]);
        assert_eq!(sizes(&[BATCH, 1, 1]), [1, 2]);
        assert_eq!(sizes(&[1, BATCH, 1]), [2, 1]);
        assert!(sizes(&[BATCH; 1000]).len() <= BATCHES as usize + 1);
        let items: Vec<Missing> = [BATCH, BATCH + 1, 5].into_iter().map(item).collect();
        assert_eq!(room(&items), 2 * (2 * BATCH + 6) + 2 * BATCH + 1);
    }
}
