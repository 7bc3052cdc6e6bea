//! A piece of the repository that is enough for some hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::assignment::Assignment;
use afield_core::ids::{HostName, NarHash, ReleaseId, StorePath};
use afield_core::release::{
    Base, Closure, Delivery, HostRelease, Manifest, ObjectRef, Offer, PathInfo,
};
use afield_core::signed::{Envelope, MAX_ENVELOPE};
use afield_store::files::read_limited;
use afield_store::mirror::{Item, Rank, everything};
use afield_store::repository::{Repository, assignment_name, manifest_name, object_name};
use afield_store::trust::{self, MAX_ROOT, Trusted};
use anyhow::Context as _;
use jiff::Timestamp;

use crate::exit::Failure;
use crate::fleet::Project;
use crate::release::published::check_repository;

/// A repository, verified as a host would, to take pieces from.
pub struct Shelf {
    dir: PathBuf,
    repository: Repository,
    /// Its metadata.
    pub trusted: Trusted,
    manifests: BTreeMap<ReleaseId, Manifest>,
}

/// What a host has: store paths, each with its content, since the same content under another name is another path.
type Has = BTreeSet<(StorePath, NarHash)>;

/// What one host is brought.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Portion {
    /// The release that is assigned to it.
    pub release: ReleaseId,
    /// The release that it runs, as far as that is known and helps.
    pub runs: Option<ReleaseId>,
    /// After this day the host refuses the assignment.
    pub expires: Timestamp,
    /// Files that it needs.
    #[serde(skip)]
    names: BTreeSet<String>,
}

impl Shelf {
    /// Reads and verifies the repository of a project.
    pub fn open(project: &Project) -> Result<Self, Failure> {
        check_repository(project)?;
        let dir = project.repository();
        let repository = Repository::open(&dir)?;
        // Trust begins with what lies there: each host judges for itself, from its own root metadata.
        let root = dir.join("metadata/1.root.json");
        let root = read_limited(&root, MAX_ROOT).with_context(|| root.display().to_string())?;
        let trusted = trust::load(&dir.join("metadata"), &root, None).map_err(|e| {
            Failure::refused(format!("the repository's metadata is not in order: {e}"))
                .hint("hosts would refuse it; publish a release first: afield release --keys DIR")
        })?;
        Ok(Self { dir, repository, trusted, manifests: BTreeMap::new() })
    }

    /// What a host needs to get from the release that it runs to the one that it is assigned.
    pub fn portion(
        &mut self,
        host: &HostName,
        runs: Option<ReleaseId>,
    ) -> Result<Portion, Failure> {
        let assignment = self.assignment(host)?;
        let release = assignment.release;
        let share = self.share(release, host)?.ok_or_else(|| {
            Failure::refused(format!("release {release} has nothing for {host}"))
                .hint("its build failed, or it was left out: publish a release with it")
        })?;
        let mut names = BTreeSet::from([assignment_name(host)]);
        names.insert(manifest_name(release, &assignment.manifest));
        let has = runs.and_then(|runs| self.has(runs, host));
        let runs = runs.filter(|_| has.is_some());
        names.extend(self.objects(&share, &has.unwrap_or_default())?);
        Ok(Portion { release, runs, expires: assignment.expires, names })
    }

    fn assignment(&self, host: &HostName) -> Result<Assignment, Failure> {
        let path = self.repository.assignment_path(host);
        let hint = "hand a release to it first (afield rollout start), and export where the hub's repository is";
        let bytes = read_limited(&path, MAX_ENVELOPE as u64).map_err(|e| {
            let error = format!("nothing is assigned to {host} ({}: {e})", path.display());
            Failure::refused(error).hint(hint)
        })?;
        let keys = &self.trusted.rollout;
        let opened = Envelope::from_slice(&bytes).and_then(|e| e.open(&keys.keys, keys.threshold));
        opened.map_err(|e| {
            Failure::refused(format!("the assignment of {host} would be refused: {e}")).hint(hint)
        })
    }

    fn share(
        &mut self,
        release: ReleaseId,
        host: &HostName,
    ) -> Result<Option<HostRelease>, Failure> {
        if !self.manifests.contains_key(&release) {
            let manifest = self.repository.manifest(&self.trusted, release)?;
            self.manifests.insert(release, manifest);
        }
        Ok(self.manifests.get(&release).and_then(|m| m.hosts.get(host)).cloned())
    }

    /// What a host has; none if that release is no longer here.
    fn has(&mut self, runs: ReleaseId, host: &HostName) -> Option<Has> {
        let share = self.share(runs, host).ok()??;
        let closure: Closure = self.repository.document(&share.closure).ok()?;
        Some(closure.paths.into_iter().map(|info| (info.path, info.nar_hash)).collect())
    }

    /// The documents, and for each path that the host lacks every way to get it, since the host chooses.
    fn objects(&self, share: &HostRelease, has: &Has) -> Result<BTreeSet<String>, Failure> {
        let closure: Closure = self.repository.document(&share.closure)?;
        let delivery: Delivery = self.repository.document(&share.delivery)?;
        let documents = [&share.closure, &share.delivery, &share.data];
        let mut names: BTreeSet<String> = documents.map(|o| object_name(&o.id)).into();
        let lacks = |info: &&PathInfo| !has.contains(&(info.path.clone(), info.nar_hash));
        for info in closure.paths.iter().filter(lacks) {
            let full = delivery.full(&info.path).with_context(|| info.path.to_string())?;
            names.insert(object_name(&full.id));
            names.extend(patches(&delivery, info, has).map(|o| object_name(&o.id)));
        }
        Ok(names)
    }

    /// The files of these portions, with the metadata that speaks for them, in the order of publishing.
    pub fn items<'a>(
        &self,
        portions: impl IntoIterator<Item = &'a Portion>,
    ) -> Result<Vec<Item>, Failure> {
        let mut names: BTreeSet<String> =
            portions.into_iter().flat_map(|p| p.names.iter().cloned()).collect();
        names.extend(self.metadata()?);
        let mut items = Vec::new();
        for name in names {
            let item = Item::of(&self.dir, &name).ok_or_else(|| {
                Failure::failed(anyhow::anyhow!("the repository has no {name}"))
                    .hint("copy the whole repository again, or make a new release: afield release")
            })?;
            items.push(item);
        }
        items.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
        Ok(items)
    }

    /// Every root metadata file, and the newest of the others.
    fn metadata(&self) -> anyhow::Result<Vec<String>> {
        let mut names = vec!["metadata/timestamp.json".to_owned()];
        for entry in fs::read_dir(self.dir.join("metadata"))? {
            let name = format!("metadata/{}", entry?.file_name().to_string_lossy());
            if afield_store::mirror::rank(&name) == Some(Rank::Root) {
                names.push(name);
            }
        }
        let seen = &self.trusted.seen;
        for (file, by) in [("snapshot.json", &seen.timestamp), ("targets.json", &seen.snapshot)] {
            let text = by.as_deref().unwrap_or_default();
            let json: serde_json::Value = serde_json::from_str(text)?;
            let version = json["signed"]["meta"][file]["version"].as_u64();
            let version = version.with_context(|| format!("no version of {file}"))?;
            names.push(format!("metadata/{version}.{file}"));
        }
        Ok(names)
    }

    /// All of the repository.
    pub fn everything(&self) -> anyhow::Result<Vec<Item>> {
        everything(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

/// Patches for a path against what the host has.
fn patches<'a>(
    delivery: &'a Delivery,
    info: &PathInfo,
    has: &'a Has,
) -> impl Iterator<Item = &'a ObjectRef> {
    let offers = delivery.offers.get(&info.path).into_iter().flatten();
    offers.filter_map(move |offer| match offer {
        Offer::Patch { object, bases, .. } => {
            let there = |base: &Base| has.contains(&(base.path.clone(), base.nar_hash));
            bases.iter().all(there).then_some(object)
        }
        _ => None,
    })
}

/// The hosts of a site.
pub fn site(project: &Project, name: &str) -> Result<Vec<HostName>, Failure> {
    let sites = &project.settings.sites;
    let found = sites.iter().find(|(site, _)| site.as_str() == name);
    found.map(|(_, site)| site.hosts.clone()).ok_or_else(|| {
        let names: Vec<&str> = sites.keys().map(|n| n.as_str()).collect();
        let hint = match names.is_empty() {
            true => format!("write [sites.{name}] hosts = [\"…\"] into afield.toml"),
            false => format!("afield.toml has the sites {}", names.join(", ")),
        };
        Failure::usage(format!("there is no site {name}")).hint(hint)
    })
}

/// Whether a path names a bundle that is one file.
pub fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "tar")
}
