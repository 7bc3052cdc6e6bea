//! What the repository has: full objects and patches that earlier releases offer, with the packs in which they stand.

use std::collections::{BTreeMap, BTreeSet};

use afield_core::delivery::{Base, Slice};
use afield_core::ids::{NarHash, StorePath};
use afield_core::release::{Closure, Delivery, HostRelease, ObjectRef, PathInfo};
use afield_store::repository::Repository;

/// Objects by what they make.
#[derive(Debug, Default)]
pub struct Stock {
    /// Full objects, by the archive that they hold.
    pub full: BTreeMap<NarHash, Kept>,
    /// Patches, by the path that they make and its archive.
    pub patches: BTreeMap<(StorePath, NarHash), Vec<Patch>>,
    /// Packs, the oldest first.
    pub packs: Vec<ObjectRef>,
}

/// An object, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its address.
    pub object: ObjectRef,
    /// Its place in a pack, if it has one.
    pub slice: Option<Slice>,
}

/// A patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its bytes.
    pub kept: Kept,
    /// What it is made against, in order.
    pub bases: Vec<Base>,
}

impl Stock {
    /// Learns what a release offers to one host; as far as it is `wanted` and the repository has it.
    pub fn learn(
        &mut self,
        repository: &Repository,
        host: &HostRelease,
        wanted: &BTreeSet<NarHash>,
    ) {
        // What cannot be read is not offered again; packing anew puts it back.
        let closure = repository.document::<Closure>(&host.closure);
        let delivery = repository.document::<Delivery>(&host.delivery);
        let (Ok(closure), Ok(delivery)) = (closure, delivery) else { return };
        // Releases are looked through from the newest on.
        let unknown = delivery.packs.iter().filter(|p| !self.packs.contains(p)).cloned();
        let unknown: Vec<ObjectRef> = unknown.collect();
        self.packs.splice(0..0, unknown);
        for info in closure.paths.iter().filter(|p| wanted.contains(&p.nar_hash)) {
            self.learn_path(repository, &delivery, info);
        }
    }

    fn learn_path(&mut self, repository: &Repository, delivery: &Delivery, info: &PathInfo) {
        for way in delivery.ways(&info.path) {
            let (object, slice) = (way.object.clone(), delivery.slice(&way));
            // Agents from before packs need full objects as files of their own.
            let in_pack = slice.as_ref().filter(|_| !way.bases.is_empty());
            if !repository.has_object(&object, in_pack) {
                continue;
            }
            let slice = slice.filter(|s| repository.has_object(&s.pack, None));
            let kept = Kept { object, slice };
            if way.bases.is_empty() {
                self.full.entry(info.nar_hash).or_insert(kept);
                continue;
            }
            let key = (info.path.clone(), info.nar_hash);
            let known = self.patches.entry(key).or_default();
            if known.iter().all(|p| p.kept.object != kept.object) {
                known.push(Patch { kept, bases: way.bases.to_vec() });
            }
        }
    }
}
