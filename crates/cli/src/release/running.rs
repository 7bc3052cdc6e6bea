//! What hosts run now, so that patches can be made against it.

use std::collections::{BTreeMap, BTreeSet};

use afield_core::delivery::Base;
use afield_core::ids::{HostName, NarHash, ObjectId, ReleaseId, StorePath};
use afield_core::release::{Closure, Manifest, PathInfo};

use super::published::Published;
use crate::exit::Failure;
use crate::fleet::Project;
use crate::hub::Hub;

/// Without a hub that answers, hosts may run any of so many of the newest releases.
const WITHOUT_HUB: usize = 2;

/// Closures that hosts have.
#[derive(Debug, Default)]
pub struct Running {
    /// Distinct ones.
    pub closures: Vec<Old>,
    /// Which of them each host may have.
    pub hosts: BTreeMap<HostName, BTreeSet<usize>>,
    /// Where this was learnt, in a sentence.
    pub from: String,
    known: BTreeMap<ObjectId, usize>,
}

/// A closure that some hosts have.
#[derive(Debug, Default)]
pub struct Old(BTreeMap<StorePath, PathInfo>);

impl Old {
    /// What it knows of a path.
    pub fn info(&self, path: &StorePath) -> Option<&PathInfo> {
        self.0.get(path)
    }

    /// Whether it has a base of a patch, with that content.
    pub fn has(&self, base: &Base) -> bool {
        self.hash(&base.path) == Some(base.nar_hash)
    }

    /// Every path.
    pub fn paths(&self) -> impl Iterator<Item = &PathInfo> {
        self.0.values()
    }

    fn hash(&self, path: &StorePath) -> Option<NarHash> {
        Some(self.0.get(path)?.nar_hash)
    }
}

impl Running {
    /// What these hosts may have: what the person says, else what the hub was told, else the newest releases.
    pub fn of(
        project: &Project,
        published: &Published,
        against: &[ReleaseId],
    ) -> Result<Self, Failure> {
        let mut running = Self::default();
        if !against.is_empty() {
            for release in against {
                running.all(published, &published.manifest(*release)?);
            }
            running.from = "the releases given with --against".into();
            return Ok(running);
        }
        let status = project.settings.hub.as_ref().map(|hub| Hub::at(&hub.url).status());
        let newest: Vec<ReleaseId> = published.releases().rev().take(WITHOUT_HUB).collect();
        let Some(Ok(status)) = status else {
            for release in newest {
                running.all(published, &published.manifest(release)?);
            }
            running.from = format!("the newest {WITHOUT_HUB} releases, since no hub answers");
            return Ok(running);
        };
        let mut manifests: BTreeMap<ReleaseId, Option<Manifest>> = BTreeMap::new();
        for host in &status.hosts {
            // One that is on its way will have what it is assigned when the next release comes.
            for release in host.running.into_iter().chain(host.assigned) {
                let manifest = manifests.entry(release);
                let manifest = manifest.or_insert_with(|| published.manifest(release).ok());
                if let Some(manifest) = manifest {
                    running.one(published, manifest, &host.host);
                }
            }
        }
        running.from = "what hosts told the hub".into();
        Ok(running)
    }

    fn all(&mut self, published: &Published, manifest: &Manifest) {
        for host in manifest.hosts.keys() {
            self.one(published, manifest, host);
        }
    }

    /// A closure that cannot be read any more is no base.
    fn one(&mut self, published: &Published, manifest: &Manifest, host: &HostName) {
        let Some(release) = manifest.hosts.get(host) else { return };
        let index = match self.known.get(&release.closure.id) {
            Some(index) => *index,
            None => {
                let closure = published.repository.document::<Closure>(&release.closure);
                let Ok(closure) = closure else { return };
                let paths = closure.paths.into_iter().map(|info| (info.path.clone(), info));
                self.closures.push(Old(paths.collect()));
                self.known.insert(release.closure.id, self.closures.len() - 1);
                self.closures.len() - 1
            }
        };
        self.hosts.entry(host.clone()).or_default().insert(index);
    }

    /// What all of some closures have, with one content.
    pub fn common(&self, which: &BTreeSet<usize>) -> Vec<&PathInfo> {
        let mut all = which.iter().filter_map(|k| self.closures.get(*k));
        let Some(first) = all.next() else { return Vec::new() };
        let rest: Vec<&Old> = all.collect();
        let in_all =
            |info: &&PathInfo| rest.iter().all(|old| old.hash(&info.path) == Some(info.nar_hash));
        first.paths().filter(in_all).collect()
    }
}
