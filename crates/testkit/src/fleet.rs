//! A fleet's keys and repository, and releases that are honest unless a test says otherwise.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::assignment::Assignment;
use afield_core::budget::Budget;
use afield_core::delivery::{Base, Place};
use afield_core::host_data::{Check, ConfigFile, HostData, Probe};
use afield_core::ids::{HostName, ObjectId, ReleaseId, StorePath};
use afield_core::release::{
    Closure, Delivery, FORMAT, HostRelease, Manifest, ObjectRef, Offer, PathInfo, Wave,
};
use afield_core::signed::{Envelope, PublicKey, SecretKey};
use afield_core::span::Span;
use afield_store::patch::{self, Library, Source};
use afield_store::repository::Repository;
use afield_store::trust::{FleetKeys, KeySet, RootContent, publish, sign_root};
use jiff::{Timestamp, ToSpan as _};

use crate::system::{Built, System};

/// Seeds of the fleet's keys: root 1, 2, 3 (two sign); release 10; rollout 20; operator 30.
pub const RELEASE: u8 = 10;
/// The rollout key's seed.
pub const ROLLOUT: u8 = 20;
/// The operator's key's seed.
pub const OPERATOR: u8 = 30;

/// The key of a seed.
pub fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn set(seeds: &[u8], threshold: usize) -> KeySet {
    let keys = seeds.iter().map(|n| secret(*n).public()).collect();
    KeySet { keys, threshold }
}

/// A fleet.
#[derive(Debug)]
pub struct Fleet {
    dir: tempfile::TempDir,
    /// Root metadata, version 1.
    pub root: Vec<u8>,
    /// What that says.
    pub content: RootContent,
    /// The time at which everything is signed.
    pub now: Timestamp,
    /// Releases so far.
    pub releases: BTreeMap<ReleaseId, ObjectRef>,
    objects: HashMap<StorePath, ObjectRef>,
    /// Releases offer patches against this, too.
    pub against: Option<System>,
    /// What the hosts' links allow.
    pub budget: Option<Budget>,
    /// Changes the bytes of patches before they are published.
    pub twist: Option<fn(&mut Vec<u8>)>,
    counter: u64,
}

impl Fleet {
    /// A fleet without releases.
    #[allow(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        Self::with_rollout(&[ROLLOUT], 1)
    }

    /// A fleet with these rollout keys.
    pub fn with_rollout(seeds: &[u8], threshold: usize) -> Self {
        let now = Timestamp::now();
        let content = RootContent {
            version: 1,
            expires: days(now, 700),
            root: set(&[1, 2, 3], 2),
            release: set(&[RELEASE], 1),
            afield: FleetKeys {
                fleet: "field".parse().unwrap(),
                rollout: set(seeds, threshold),
                operators: set(&[OPERATOR], 1),
            },
        };
        let root = sign_root(&content, None, &[[1; 32], [2; 32]]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Repository::open(dir.path()).unwrap();
        fs::write(dir.path().join("metadata/1.root.json"), &root).unwrap();
        let (releases, objects) = (BTreeMap::new(), HashMap::new());
        let (against, budget, twist) = (None, None, None);
        Self { dir, root, content, now, releases, objects, against, budget, twist, counter: 0 }
    }

    /// The repository's folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The repository.
    pub fn repository(&self) -> Repository {
        Repository::open(self.path()).unwrap()
    }

    /// Releases a system to hosts, honestly.
    pub fn release(
        &mut self,
        hosts: &[(&str, PublicKey)],
        system: &System,
        config: &str,
    ) -> ReleaseId {
        let told = hosts.iter().map(|(name, key)| (data(&name.parse().unwrap(), config), *key));
        self.release_data(&told.collect::<Vec<_>>(), system)
    }

    /// Releases a system to hosts, each with its own host data.
    pub fn release_data(&mut self, hosts: &[(HostData, PublicKey)], system: &System) -> ReleaseId {
        let id = ReleaseId(self.releases.len() as u64 + 1);
        let mut shares = BTreeMap::new();
        for (data, key) in hosts {
            let budget = self.budget.clone().or_else(|| data.budget.clone());
            let data = HostData { budget, ..data.clone() };
            let share = self.share(system, &data, *key);
            shares.insert(data.host.clone(), share);
        }
        let manifest = self.manifest(id, shares);
        self.publish(&manifest, 90);
        self.releases.insert(id, self.repository().add_manifest(&manifest).unwrap());
        id
    }

    /// One host's share of a release, its objects in place.
    pub fn share(&mut self, system: &System, data: &HostData, key: PublicKey) -> HostRelease {
        let repository = self.repository();
        let mut objects = Vec::new();
        for built in &system.paths {
            let path = &built.info.path;
            let known = self.objects.get(path).cloned();
            let object = known.unwrap_or_else(|| repository.add_nar(built.nar.as_slice()).unwrap());
            self.objects.insert(path.clone(), object.clone());
            let patch = self.against.as_ref().and_then(|old| patch(old, built, self.twist));
            objects.push(Packed { path: path.clone(), object, patch });
        }
        let delivery = packed(&repository, &objects);
        let paths = system.paths.iter().map(|b| b.info.clone()).collect();
        HostRelease {
            system: system.path().clone(),
            closure: repository.add_document(&Closure { format: FORMAT, paths }).unwrap(),
            delivery: repository.add_document(&delivery).unwrap(),
            data: repository.add_document(data).unwrap(),
            key: Some(key),
            fresh_days: 30,
        }
    }

    /// A manifest with one wave.
    pub fn manifest(&self, id: ReleaseId, hosts: BTreeMap<HostName, HostRelease>) -> Manifest {
        let wave = Wave { name: "first".parse().unwrap(), hosts: hosts.keys().cloned().collect() };
        Manifest {
            format: FORMAT,
            fleet: self.content.afield.fleet.clone(),
            release: id,
            created: self.now,
            like: None,
            waves: vec![wave],
            hosts,
        }
    }

    /// Signs the metadata of all releases and of this manifest; it expires after so many days.
    pub fn publish(&mut self, manifest: &Manifest, expires: i64) {
        let object = self.repository().add_manifest(manifest).unwrap();
        self.releases.insert(manifest.release, object);
        self.publish_all(expires, RELEASE);
    }

    /// Signs the metadata of all releases with the key of a seed.
    pub fn publish_all(&self, expires: i64, seed: u8) {
        let metadata = self.path().join("metadata");
        let expires = days(self.now, expires);
        publish(&metadata, &self.root, &self.releases, expires, &[seed; 32]).unwrap();
    }

    /// The next assignment of a host to a release, not yet signed.
    pub fn assignment(&mut self, host: &str, release: ReleaseId) -> Assignment {
        self.counter += 1;
        Assignment {
            fleet: self.content.afield.fleet.clone(),
            host: host.parse().unwrap(),
            release,
            manifest: self.releases[&release].id,
            counter: self.counter,
            issued: self.now,
            expires: days(self.now, 30),
        }
    }

    /// Assigns a release to a host, honestly.
    pub fn assign(&mut self, host: &str, release: ReleaseId) {
        let assignment = self.assignment(host, release);
        self.hand_out(host, &Envelope::seal(&assignment, &secret(ROLLOUT)).unwrap());
    }

    /// Puts an envelope where the host looks for its assignment.
    pub fn hand_out(&self, host: &str, envelope: &Envelope) {
        let path = self.assignment_path(host);
        fs::write(path, envelope.to_vec().unwrap()).unwrap();
    }

    /// Where the host looks for its assignment.
    pub fn assignment_path(&self, host: &str) -> PathBuf {
        self.repository().assignment_path(&host.parse().unwrap())
    }
}

/// A path with what it can be made from.
struct Packed {
    path: StorePath,
    object: ObjectRef,
    patch: Option<(Vec<u8>, Vec<Base>)>,
}

/// A delivery of patches and full objects that stand in a pack, in this order.
fn packed(repository: &Repository, objects: &[Packed]) -> Delivery {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for packed in objects {
        pieces.extend(packed.patch.iter().map(|(bytes, _)| bytes.clone()));
        pieces.push(fs::read(repository.object_path(&packed.object.id)).unwrap());
    }
    let (pack, offsets) = repository.add_pack(pieces.iter().map(|p| Ok(p.as_slice()))).unwrap();
    let mut places = offsets.into_iter().map(|offset| Some(Place { pack: 0, offset }));
    let mut offers = BTreeMap::new();
    for Packed { path, object, patch } in objects {
        let mut ways = Vec::new();
        if let Some((bytes, bases)) = patch {
            let object = ObjectRef { id: ObjectId::of(bytes), size: bytes.len() as u64 };
            ways.push(Offer::Patch { object, bases: bases.clone(), at: places.next().unwrap() });
        }
        ways.push(Offer::Full { object: object.clone(), at: places.next().unwrap() });
        offers.insert(path.clone(), ways);
    }
    Delivery { format: FORMAT, packs: vec![pack], offers }
}

/// A patch for a path that a system has not, against the paths of that system.
fn patch(
    old: &System,
    new: &Built,
    twist: Option<fn(&mut Vec<u8>)>,
) -> Option<(Vec<u8>, Vec<Base>)> {
    if old.paths.iter().any(|p| p.info.path == new.info.path) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = new.restore(dir.path());
    let olds: Vec<(&PathInfo, PathBuf)> =
        old.paths.iter().map(|p| (&p.info, p.restore(dir.path()))).collect();
    let library =
        Library::new(olds.iter().map(|(info, dir)| Source { info, dir: dir.as_path() })).unwrap();
    let mut bytes = Vec::new();
    let source = Source { info: &new.info, dir: &target };
    let made = patch::make(&source, &library, dir.path(), None, &mut bytes).unwrap()?;
    let base = |path: &StorePath| {
        let info = olds.iter().find(|(info, _)| info.path == *path).unwrap().0;
        Base { path: path.clone(), nar_hash: info.nar_hash }
    };
    let bases = made.bases.iter().map(base).collect();
    if let Some(twist) = twist {
        twist(&mut bytes);
    }
    Some((bytes, bases))
}

/// Host data with one app config, and a check that `/etc/site` is there.
pub fn data(host: &HostName, config: &str) -> HostData {
    let check = Check {
        name: "site".parse().unwrap(),
        probe: Probe::File { path: "/etc/site".into(), contains: None },
        deadline: Span::secs(5),
        tries: 2,
        pause: Span::secs(0),
        log: None,
    };
    let file = ConfigFile { path: "app/settings.yml".into(), content: config.into() };
    HostData {
        checks: vec![check],
        configs: BTreeMap::from([("settings".into(), file)]),
        ..HostData::empty(host.clone())
    }
}

/// So many days later.
pub fn days(from: Timestamp, n: i64) -> Timestamp {
    from.checked_add((24 * n).hours()).unwrap()
}
