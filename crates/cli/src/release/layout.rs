//! Where new objects stand: one pack a release, in an order that gives each host few stretches to read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

use afield_core::delivery::{Delivery, Offer, Place, Slice};
use afield_core::ids::{HostName, NarHash, ObjectId, StorePath};
use afield_core::release::{Closure, FORMAT, ObjectRef, PathInfo};
use afield_store::repository::Repository;
use anyhow::Context as _;

use super::patches::Patches;
use super::running::Running;
use super::stock::{Kept, Patch, Stock};

/// A full object up to this length stands in a pack, too: a larger one is worth a request of its own.
const SMALL: u64 = 64 * 1024;

/// Systems with their closures, by host.
pub type Closures = BTreeMap<HostName, (StorePath, Closure)>;

/// Puts what stands nowhere yet into one pack, and tells everything its place.
pub fn place(
    repository: &Repository,
    closures: &Closures,
    stock: &mut Stock,
    patches: &mut Patches,
) -> anyhow::Result<Option<ObjectRef>> {
    let pieces = pieces(repository, &in_order(closures), stock, patches);
    if pieces.is_empty() {
        return Ok(None);
    }
    let files = pieces.iter().map(|(_, path)| File::open(path));
    let (pack, offsets) = repository.add_pack(files)?;
    let places: BTreeMap<ObjectId, u64> = pieces.iter().map(|(id, _)| *id).zip(offsets).collect();
    let slice = |kept: &mut Kept| {
        if let (None, Some(offset)) = (&kept.slice, places.get(&kept.object.id)) {
            kept.slice = Some(Slice { pack: pack.clone(), offset: *offset });
        }
    };
    stock.full.values_mut().for_each(slice);
    patches.all.values_mut().flatten().for_each(|patch| slice(&mut patch.kept));
    stock.packs.retain(|known| *known != pack);
    stock.packs.push(pack.clone());
    Ok(Some(pack))
}

/// New objects with their files: patches and small objects that have none, then the small ones that have.
fn pieces(
    repository: &Repository,
    order: &[&PathInfo],
    stock: &Stock,
    patches: &Patches,
) -> Vec<(ObjectId, PathBuf)> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for info in order {
        let made = patches.all.get(&(info.path.clone(), info.nar_hash));
        let made: &[Patch] = made.map_or(&[], Vec::as_slice);
        for patch in made.iter().filter(|p| p.kept.slice.is_none()) {
            let id = patch.kept.object.id;
            if let (true, Some(file)) = (seen.insert(id), patches.files.get(&id)) {
                first.push((id, file.clone()));
            }
        }
        let Some(full) = stock.full.get(&info.nar_hash) else { continue };
        let id = full.object.id;
        if full.slice.is_none() && full.object.size <= SMALL && seen.insert(id) {
            let list = if made.is_empty() { &mut first } else { &mut second };
            list.push((id, repository.object_path(&id)));
        }
    }
    first.extend(second);
    first
}

/// All paths: those that most closures have first, and among those of the same closures each after what it refers to.
fn in_order(closures: &Closures) -> Vec<&PathInfo> {
    let mut paths: BTreeMap<&StorePath, (&PathInfo, u32, Vec<usize>)> = BTreeMap::new();
    let distinct: BTreeMap<&StorePath, &Closure> =
        closures.values().map(|(system, closure)| (system, closure)).collect();
    for (k, closure) in distinct.values().enumerate() {
        for info in &closure.paths {
            if let Some((_, _, who)) = paths.get_mut(&info.path) {
                who.push(k);
                continue;
            }
            let depth = |r: &StorePath| paths.get(r).map_or(0, |(_, depth, _)| depth + 1);
            let depth = info.references.iter().map(depth).max().unwrap_or(0);
            paths.insert(&info.path, (info, depth, vec![k]));
        }
    }
    let mut all: Vec<_> = paths.into_values().collect();
    all.sort_by(|(a, deep_a, who_a), (b, deep_b, who_b)| {
        let key = |n: usize| Reverse(n);
        (key(who_a.len()), who_a, deep_a, &a.path).cmp(&(key(who_b.len()), who_b, deep_b, &b.path))
    });
    all.into_iter().map(|(info, ..)| info).collect()
}

/// How the paths of a closure travel to the hosts that have one of some closures.
pub fn delivery(
    closure: &Closure,
    from: &BTreeSet<usize>,
    running: &Running,
    stock: &Stock,
    patches: &Patches,
) -> anyhow::Result<Delivery> {
    let mut used: BTreeSet<ObjectId> = BTreeSet::new();
    let mut chosen: Vec<(&PathInfo, Vec<&Patch>, &Kept)> = Vec::new();
    let olds = || from.iter().filter_map(|k| running.closures.get(*k));
    for info in &closure.paths {
        let full = full(stock, info)?;
        let made = patches.all.get(&(info.path.clone(), info.nar_hash)).into_iter().flatten();
        let serves = |patch: &&Patch| {
            olds()
                .any(|old| old.info(&info.path).is_none() && patch.bases.iter().all(|b| old.has(b)))
        };
        let made: Vec<&Patch> = made.filter(serves).collect();
        let slices = made.iter().map(|p| &p.kept).chain([full]);
        used.extend(slices.filter_map(|kept| kept.slice.as_ref()).map(|slice| slice.pack.id));
        chosen.push((info, made, full));
    }
    let packs: Vec<ObjectRef> =
        stock.packs.iter().filter(|pack| used.contains(&pack.id)).cloned().collect();
    let at = |kept: &Kept| -> Option<Place> {
        let slice = kept.slice.as_ref()?;
        let pack = packs.iter().position(|pack| *pack == slice.pack)?;
        Some(Place { pack, offset: slice.offset })
    };
    let offers = chosen.into_iter().map(|(info, made, full)| {
        let patch = |p: &Patch| Offer::Patch {
            object: p.kept.object.clone(),
            bases: p.bases.clone(),
            at: at(&p.kept),
        };
        let mut offers: Vec<Offer> = made.into_iter().map(patch).collect();
        offers.push(Offer::Full { object: full.object.clone(), at: at(full) });
        (info.path.clone(), offers)
    });
    let offers = offers.collect();
    let delivery = Delivery { format: FORMAT, packs, offers };
    delivery.validate(closure).context("the delivery is not in order")?;
    Ok(delivery)
}

fn full<'a>(stock: &'a Stock, info: &PathInfo) -> anyhow::Result<&'a Kept> {
    let full = stock.full.get::<NarHash>(&info.nar_hash);
    full.with_context(|| format!("{} was not packed", info.path))
}
