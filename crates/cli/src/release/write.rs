//! Puts a release's objects and documents into the repository. Nobody looks at them before the manifest is published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afield_core::delivery::Delivery;
use afield_core::host_data::HostData;
use afield_core::ids::{HostName, NarHash, ReleaseId, StorePath};
use afield_core::release::{Closure, HostRelease, ObjectRef, PathInfo};
use anyhow::Context as _;

use super::layout::{self, Closures};
use super::pack::{self, Packed};
use super::patches::{self, Patches, Work};
use super::published::Published;
use super::running::Running;
use crate::exit::Failure;
use crate::fleet::{Project, Told};
use crate::nix::closure::Facts;

/// What documents are made from.
pub struct Ingredients<'a> {
    /// Each host's system and its closure.
    pub closures: &'a Closures,
    /// What each is given besides.
    pub data: &'a BTreeMap<HostName, HostData>,
    /// What the fleet folder says.
    pub told: &'a BTreeMap<HostName, Told>,
}

/// How patches are made.
#[derive(Debug, Clone, Default)]
pub struct Patching {
    /// Releases that hosts run; otherwise the hub knows.
    pub against: Vec<ReleaseId>,
    /// How long to make them.
    pub budget: Option<Duration>,
}

/// What was written.
pub struct Written {
    /// Each host's share.
    pub hosts: BTreeMap<HostName, HostRelease>,
    /// What was packed.
    pub packed: Packed,
    /// What each host will fetch.
    pub costs: BTreeMap<HostName, Cost>,
}

/// What a host fetches for a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Objects.
    pub objects: u64,
    /// The same as full objects, without patches.
    pub full: u64,
    /// Documents, and the manifest as far as it is this host's.
    pub documents: u64,
    /// Whether that is known: no is a host that may run anything.
    pub known: bool,
}

/// Writes everything but the manifest.
pub fn write(
    project: &Project,
    published: &Published,
    facts: &Facts,
    from: &Ingredients<'_>,
    patching: &Patching,
) -> Result<Written, Failure> {
    let repository = &published.repository;
    let running = Running::of(project, published, &patching.against)?;
    let paths: Vec<PathInfo> = facts.paths().cloned().collect();
    let old = running.closures.iter().flat_map(|old| old.paths());
    let wanted: BTreeSet<NarHash> = paths.iter().chain(old).map(|p| p.nar_hash).collect();
    let mut stock = published.stock(&wanted);
    let mut packed = pack::archives(repository, &paths, &mut stock)?;
    let work = Work {
        closures: from.closures,
        running: &running,
        stock: &stock,
        repository,
        budget: patching.budget,
    };
    let mut patches = patches::make(&work)?;
    layout::place(repository, from.closures, &mut stock, &mut patches)?;
    packed.count(&patches, &running);
    let (mut hosts, mut costs) = (BTreeMap::new(), BTreeMap::new());
    let mut known: BTreeMap<(StorePath, BTreeSet<usize>), ObjectRef> = BTreeMap::new();
    for (host, (system, closure)) in from.closures {
        let olds = running.hosts.get(host).cloned().unwrap_or_default();
        let delivery = layout::delivery(closure, &olds, &running, &stock, &patches)?;
        let told = from.told.get(host);
        let data = from.data.get(host).with_context(|| format!("no host data for {host}"))?;
        let key = (system.clone(), olds.clone());
        let document = match known.get(&key) {
            Some(document) => document.clone(),
            None => repository.add_document(&delivery)?,
        };
        known.insert(key, document.clone());
        let release = HostRelease {
            system: system.clone(),
            closure: repository.add_document(closure)?,
            delivery: document,
            data: repository.add_document(data)?,
            key: told.and_then(|t| t.key),
            fresh_days: project.settings.assignment_days(host),
        };
        costs.insert(host.clone(), cost(closure, &delivery, &olds, &running, &release)?);
        hosts.insert(host.clone(), release);
    }
    Ok(Written { hosts, packed, costs })
}

/// What a host fetches, by the same choice that it makes itself; of several closures that it may have, the dearest.
fn cost(
    closure: &Closure,
    delivery: &Delivery,
    olds: &BTreeSet<usize>,
    running: &Running,
    release: &HostRelease,
) -> anyhow::Result<Cost> {
    let documents = release.closure.size + release.delivery.size + release.data.size;
    let mut worst = Cost { documents, ..Cost::default() };
    let nothing = super::running::Old::default();
    let olds: Vec<_> = olds.iter().filter_map(|k| running.closures.get(*k)).collect();
    let known = !olds.is_empty();
    for old in if known { olds } else { vec![&nothing] } {
        let lacks = closure.paths.iter().filter(|info| old.info(&info.path).is_none());
        let lacks: BTreeSet<StorePath> = lacks.map(|info| info.path.clone()).collect();
        let missing = delivery.missing(closure, &lacks, |_| 0, |base| old.has(base))?;
        let objects = missing.iter().map(|m| m.object.size).sum();
        let full =
            lacks.iter().map(|p| delivery.full(p).map(|o| o.size)).sum::<Result<u64, _>>()?;
        if objects >= worst.objects {
            worst = Cost { objects, full, documents, known };
        }
    }
    Ok(worst)
}

impl Packed {
    fn count(&mut self, patches: &Patches, running: &Running) {
        self.patches = patches.files.len() as u64;
        self.patches_late = patches.late;
        self.against.clone_from(&running.from);
        let new = patches.all.values().flatten();
        let new = new.filter(|p| patches.files.contains_key(&p.kept.object.id));
        self.patch_bytes = new.map(|p| p.kept.object.size).sum();
    }
}
