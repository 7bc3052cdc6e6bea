//! Copies of a repository, in a folder and in a real S3 server: the same table for both. Whoever reads in the middle sees
//! the release before or the new one, never half of either.
#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(feature = "s3")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use afield_core::ids::ReleaseId;
use afield_core::signed::SecretKey;
use afield_store::mirror::{Folder, Item, MirrorError, Place, S3, copy, everything, missing};
use afield_store::trust;
use afield_testkit::fleet::Fleet;
use afield_testkit::s3::S3Server;
use afield_testkit::system::{Contract, System};
use common::Field;

/// A place of each kind, and how to look into it.
struct Places {
    server: S3Server,
    dir: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        Self { server: S3Server::start("bucket"), dir: tempfile::tempdir().unwrap() }
    }

    fn open(&self, kind: &str) -> Box<dyn Place> {
        match kind {
            "folder" => Box::new(Folder::open(&self.dir.path().join("mirror")).unwrap()),
            _ => {
                let environment = self.server.environment();
                let environment = environment.into_iter().map(|(k, v)| (k.to_owned(), v));
                Box::new(S3::open("s3://bucket/fleet", environment).unwrap())
            }
        }
    }

    /// What a web server in front of it would serve.
    fn folder(&self, kind: &str) -> std::path::PathBuf {
        match kind {
            "folder" => self.dir.path().join("mirror"),
            _ => self.server.bucket("bucket").join("fleet"),
        }
    }
}

const KINDS: [&str; 2] = ["folder", "s3"];

fn release(fleet: &mut Fleet, text: &str) -> ReleaseId {
    let system = System::new(text, Contract::Honest);
    let key = SecretKey::from_seed(&[99; 32]).public();
    let release = fleet.release(&[("clinic", key)], &system, text);
    fleet.assign("clinic", release);
    release
}

fn sync(fleet: &Fleet, place: &mut dyn Place) -> Result<u64, MirrorError> {
    let items = everything(fleet.path()).unwrap();
    let todo = missing(&items, place)?;
    Ok(copy(&todo, place, |_| ())?.files)
}

/// A place whose line is cut after so many files.
struct Cut<'a> {
    inner: &'a mut dyn Place,
    left: usize,
}

impl Cut<'_> {
    fn one(&mut self) -> Result<(), MirrorError> {
        let why = "the line was cut".to_owned();
        let cut = MirrorError::Remote { place: self.shown(), name: String::new(), why };
        self.left = self.left.checked_sub(1).ok_or(cut)?;
        Ok(())
    }
}

impl Place for Cut<'_> {
    fn shown(&self) -> String {
        self.inner.shown()
    }
    fn list(&mut self) -> Result<BTreeMap<String, u64>, MirrorError> {
        self.inner.list()
    }
    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        self.inner.get(name)
    }
    fn put(&mut self, item: &Item) -> Result<(), MirrorError> {
        self.one()?;
        self.inner.put(item)
    }
    fn replace(&mut self, item: &Item, old: Option<&[u8]>) -> Result<(), MirrorError> {
        self.one()?;
        self.inner.replace(item, old)
    }
}

/// The newest release that a reader sees, all of which is there; none before the first.
fn seen(fleet: &Fleet, folder: &Path) -> Option<ReleaseId> {
    if !folder.join("metadata/timestamp.json").exists() {
        // Nothing counts yet, so nothing is assigned.
        assert!(!folder.join("assignments/clinic.json").exists());
        return None;
    }
    let trusted = trust::load(&folder.join("metadata"), &fleet.root, None).unwrap();
    let newest = *trusted.releases.keys().last().unwrap();
    for release in trusted.releases.keys() {
        let repository = afield_store::repository::Repository::open(folder).unwrap();
        let manifest = repository.manifest(&trusted, *release).unwrap();
        for host in manifest.hosts.values() {
            let delivery: afield_core::release::Delivery =
                repository.document(&host.delivery).unwrap();
            for path in delivery.offers.keys() {
                let full = delivery.full(path).unwrap();
                let found = repository.object_path(&full.id).metadata();
                assert_eq!(found.unwrap().len(), full.size, "release {release} lacks an object");
            }
        }
    }
    Some(newest)
}

#[test]
fn whoever_reads_while_it_is_copied_sees_a_whole_release() {
    let places = Places::new();
    for kind in KINDS {
        let mut fleet = Fleet::new();
        release(&mut fleet, "one");
        let mut place = places.open(kind);
        let folder = places.folder(kind);
        // Cut after each file in turn, and gone on each time: the first release, then a second one.
        for wanted in 1..=2 {
            let before = (wanted > 1).then(|| ReleaseId(wanted - 1));
            let mut cuts = 0;
            loop {
                let done = sync(&fleet, &mut Cut { inner: place.as_mut(), left: 1 });
                let now = seen(&fleet, &folder);
                assert!(now == before || now == Some(ReleaseId(wanted)), "{kind}: {now:?}");
                match done {
                    Ok(_) => break,
                    Err(e) => assert!(e.to_string().contains("was cut"), "{kind}: {e}"),
                }
                cuts += 1;
                assert!(cuts < 100, "{kind}: it does not go on");
            }
            assert_eq!(seen(&fleet, &folder), Some(ReleaseId(wanted)), "{kind}");
            assert!(cuts > 3, "{kind}: too few files to prove anything");
            // What is there is not copied again.
            assert_eq!(sync(&fleet, place.as_mut()).unwrap(), 0, "{kind}");
            release(&mut fleet, "two");
        }
    }
}

#[test]
fn another_fleets_place_and_a_newer_one_are_left_alone() {
    let places = Places::new();
    for kind in KINDS {
        let mut fleet = Fleet::new();
        release(&mut fleet, "one");
        let copy_of_old = tempfile::tempdir().unwrap();
        sync(&fleet, &mut Folder::open(copy_of_old.path()).unwrap()).unwrap();
        release(&mut fleet, "two");
        let mut place = places.open(kind);
        sync(&fleet, place.as_mut()).unwrap();
        // From a copy that lacks the last release.
        let items = everything(copy_of_old.path()).unwrap();
        let refused = missing(&items, place.as_mut()).unwrap_err();
        assert!(
            matches!(refused, MirrorError::Newer { there: 2, here: 1, .. }),
            "{kind}: {refused}"
        );
        // From two machines that made release 2 apart from each other.
        let repository = fleet.path().join("metadata/timestamp.json");
        let mut other: serde_json::Value =
            serde_json::from_slice(&fs::read(&repository).unwrap()).unwrap();
        other["signatures"] = serde_json::json!([]);
        fs::write(&repository, other.to_string()).unwrap();
        let items = everything(fleet.path()).unwrap();
        let refused = missing(&items, place.as_mut()).unwrap_err();
        assert!(matches!(refused, MirrorError::Other { version: 2, .. }), "{kind}: {refused}");
        let mut stranger = Fleet::with_rollout(&[77], 1);
        release(&mut stranger, "one");
        let items = everything(stranger.path()).unwrap();
        let refused = missing(&items, place.as_mut()).unwrap_err();
        assert!(matches!(refused, MirrorError::OtherFleet { .. }), "{kind}: {refused}");
        assert_eq!(seen(&fleet, &places.folder(kind)), Some(ReleaseId(2)), "{kind}");
    }
}

/// A folder cannot tell (docs/operator.md): only S3 knows conditions.
#[test]
fn of_two_machines_that_publish_at_once_one_is_refused() {
    let places = Places::new();
    let mut fleet = Fleet::new();
    release(&mut fleet, "one");
    let mut first = places.open("s3");
    // Both looked before either wrote: once when nothing was there, and once over what was.
    for text in ["two", "three"] {
        let items = everything(fleet.path()).unwrap();
        let late = missing(&items, first.as_mut()).unwrap();
        sync(&fleet, places.open("s3").as_mut()).unwrap();
        let refused = copy(&late, first.as_mut(), |_| ()).unwrap_err();
        assert!(matches!(refused, MirrorError::Changed { .. }), "{refused}");
        release(&mut fleet, text);
    }
}

#[test]
fn a_long_object_travels_in_parts_and_is_the_same() {
    let places = Places::new();
    let dir = tempfile::tempdir().unwrap();
    let name = format!("objects/aa/{}", "a".repeat(64));
    fs::create_dir_all(dir.path().join("objects/aa")).unwrap();
    let bytes: Vec<u8> = (0..40u32 * 1024 * 1024 / 4).flat_map(u32::to_le_bytes).collect();
    fs::write(dir.path().join(&name), &bytes).unwrap();
    let items = everything(dir.path()).unwrap();
    let mut place = places.open("s3");
    let todo = missing(&items, place.as_mut()).unwrap();
    assert_eq!(copy(&todo, place.as_mut(), |_| ()).unwrap().bytes, bytes.len() as u64);
    assert!(fs::read(places.folder("s3").join(&name)).unwrap() == bytes);
}

#[test]
fn a_release_goes_to_the_mirrors_by_itself_and_sync_brings_the_rest() {
    let server = S3Server::start("bucket");
    let field = Field::new(&[("aa", r#"mk "one" "echo x > $out/x""#)]);
    field.waves(&["aa"], &[]);
    field.write(
        "afield.toml",
        "fleet = \"test\"\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n\
         mirrors = [\"s3://bucket/fleet\", \"mirror\"]\n",
    );
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    // Without credentials the release is published all the same, and the command says what is left to do.
    let ran = field.run(&["release", "--keys", "keys"]).code(1);
    assert!(ran.err.contains("afield repository sync"), "{ran:?}");
    let mut wrong = server.environment();
    wrong.retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    let file = field.path("credentials");
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        afield_testkit::s3::ACCESS_KEY,
        afield_testkit::s3::SECRET_KEY
    );
    fs::write(&file, text).unwrap();
    wrong.push(("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string()));
    let environment: Vec<(&str, &str)> = wrong.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let dry =
        field.run_with(&["repository", "sync", "--dry-run", "--json"], &environment).code(0).json();
    assert!(dry[0]["files"].as_u64().unwrap() > 5 && dry[0]["there"] == 0, "{dry:#}");
    field.run_with(&["repository", "sync"], &environment).code(0);
    let all: Vec<String> =
        everything(&field.path("repository")).unwrap().into_iter().map(|i| i.name).collect();
    for folder in [server.bucket("bucket").join("fleet"), field.path("mirror")] {
        let there: Vec<String> = everything(&folder).unwrap().into_iter().map(|i| i.name).collect();
        assert_eq!(there, all);
    }
    // The next one needs no word.
    field.run_with(&["release", "--keys", "keys", "--like", "1"], &environment).code(0);
    let again = field.run_with(&["repository", "sync", "--json"], &environment).code(0).json();
    assert_eq!((&again[0]["files"], &again[1]["files"]), (&0.into(), &0.into()), "{again:#}");
}
