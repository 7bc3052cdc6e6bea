//! What a reader of trust metadata refuses, each lie by its name.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::{ObjectId, ReleaseId};
use afield_core::release::ObjectRef;
use afield_core::signed::{PublicKey, SecretKey};
use afield_store::trust::{
    FleetKeys, KeySet, RootContent, Seen, TrustError, Trusted, load, publish, read_root, sign_root,
};
use jiff::{Timestamp, ToSpan as _};

const NOW: &str = "2026-11-23T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn seed(n: u8) -> [u8; 32] {
    [n; 32]
}

fn public(n: u8) -> PublicKey {
    SecretKey::from_seed(&seed(n)).public()
}

fn keys(ns: &[u8], threshold: usize) -> KeySet {
    KeySet { keys: ns.iter().map(|n| public(*n)).collect(), threshold }
}

/// Root keys 1, 2, 3 of which two sign; release key 10; rollout key 20; operator's key 30.
fn content() -> RootContent {
    RootContent {
        version: 1,
        expires: now().checked_add((24 * 700).hours()).unwrap(),
        root: keys(&[1, 2, 3], 2),
        release: keys(&[10], 1),
        afield: FleetKeys {
            fleet: "field".parse().unwrap(),
            rollout: keys(&[20], 1),
            operators: keys(&[30], 1),
        },
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    root: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let root = sign_root(&content(), None, &[seed(1), seed(2)]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.root.json"), &root).unwrap();
        let fixture = Self { dir, root };
        fixture.publish(1, 10);
        fixture
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn publish(&self, newest: u64, key: u8) {
        let release =
            |n: u64| (ReleaseId(n), ObjectRef { id: ObjectId::of(&n.to_le_bytes()), size: n });
        let releases: BTreeMap<_, _> = (1..=newest).map(release).collect();
        let expires = now().checked_add((24 * 90).hours()).unwrap();
        publish(self.path(), &self.root, &releases, expires, &seed(key)).unwrap();
    }

    fn load(&self, seen: Option<&Seen>) -> Result<Trusted, TrustError> {
        load(self.path(), &self.root, seen)
    }

    /// A copy of the folder as it stands.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let mut json = serde_json::from_slice(&fs::read(self.file(name)).unwrap()).unwrap();
        change(&mut json);
        fs::write(self.file(name), serde_json::to_vec(&json).unwrap()).unwrap();
    }
}

fn code(result: Result<Trusted, TrustError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(e) => e.code(),
    }
}

#[test]
fn an_honest_repository_is_accepted() {
    let fixture = Fixture::new();
    fixture.publish(2, 10);
    let trusted = fixture.load(None).unwrap();
    assert_eq!(trusted.releases.keys().map(|r| r.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(trusted.rollout, keys(&[20], 1));
    trusted.check_fresh(now()).unwrap();
    let again = fixture.load(Some(&trusted.seen)).unwrap();
    assert_eq!(again.seen.timestamp, trusted.seen.timestamp);
}

#[test]
fn expired_metadata() {
    let fixture = Fixture::new();
    let later = now().checked_add((24 * 91).hours()).unwrap();
    let refusal = fixture.load(None).unwrap().check_fresh(later).unwrap_err();
    assert_eq!(refusal.code(), "metadata-expired");
    assert!(refusal.to_string().contains("--refresh"), "{refusal}");
}

#[test]
fn older_metadata_than_seen() {
    let fixture = Fixture::new();
    let old = fixture.copy();
    fixture.publish(2, 10);
    let seen = fixture.load(None).unwrap().seen;
    assert_eq!(code(load(old.path(), &fixture.root, Some(&seen))), "metadata-older");
    assert_eq!(code(load(old.path(), &fixture.root, None)), "accepted");
}

#[test]
fn mixed_snapshot_of_two_releases() {
    let fixture = Fixture::new();
    fixture.publish(2, 10);
    fs::copy(fixture.file("1.snapshot.json"), fixture.file("2.snapshot.json")).unwrap();
    assert_eq!(code(fixture.load(None)), "metadata-mixed");
}

#[test]
fn swapped_targets() {
    let fixture = Fixture::new();
    fixture.publish(2, 10);
    fs::copy(fixture.file("1.targets.json"), fixture.file("2.targets.json")).unwrap();
    assert_eq!(code(fixture.load(None)), "metadata-mixed");
}

#[test]
fn endless_timestamp() {
    let fixture = Fixture::new();
    let big = vec![b' '; 1024 * 1024];
    fs::write(fixture.file("timestamp.json"), big).unwrap();
    assert_eq!(code(fixture.load(None)), "metadata-too-long");
}

#[test]
fn half_a_timestamp() {
    let fixture = Fixture::new();
    let whole = fs::read(fixture.file("timestamp.json")).unwrap();
    fs::write(fixture.file("timestamp.json"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(code(fixture.load(None)), "metadata-malformed");
}

#[test]
fn missing_snapshot() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.file("1.snapshot.json")).unwrap();
    assert_eq!(code(fixture.load(None)), "metadata-missing");
}

#[test]
fn duplicate_signatures() {
    let fixture = Fixture::new();
    fixture.edit("timestamp.json", |json| {
        let signature = json["signatures"][0].clone();
        json["signatures"].as_array_mut().unwrap().push(signature);
    });
    assert_eq!(code(fixture.load(None)), "signature-duplicate");
}

#[test]
fn edited_after_signing() {
    let fixture = Fixture::new();
    fixture.edit("timestamp.json", |json| json["signed"]["version"] = 7.into());
    assert_eq!(code(fixture.load(None)), "signature-threshold");
}

#[test]
fn signed_by_a_removed_key() {
    let fixture = Fixture::new();
    let mut next = content();
    next.version = 2;
    next.release = keys(&[11], 1);
    let root = sign_root(&next, Some(&fixture.root), &[seed(1), seed(2)]).unwrap();
    fs::write(fixture.file("2.root.json"), root).unwrap();
    // The metadata is still the old key's.
    assert_eq!(code(fixture.load(None)), "signature-threshold");
    fixture.publish(2, 11);
    let trusted = fixture.load(None).unwrap();
    assert_eq!(trusted.root_version, 2);
}

#[test]
fn root_threshold_not_met() {
    let one = sign_root(&content(), None, &[seed(1)]);
    assert!(one.is_err(), "one root key of two signed a root");
    let fixture = Fixture::new();
    let mut next = content();
    next.version = 2;
    let mut root: serde_json::Value = serde_json::from_slice(
        &sign_root(&next, Some(&fixture.root), &[seed(1), seed(2)]).unwrap(),
    )
    .unwrap();
    root["signatures"].as_array_mut().unwrap().pop();
    fs::write(fixture.file("2.root.json"), serde_json::to_vec(&root).unwrap()).unwrap();
    assert_eq!(code(fixture.load(None)), "signature-threshold");
}

#[test]
fn one_of_three_root_keys_is_lost_and_replaced() {
    let fixture = Fixture::new();
    // Key 1 is lost: 2 and 3 name key 4 in its place.
    let mut next = content();
    next.version = 2;
    next.root = keys(&[2, 3, 4], 2);
    let root = sign_root(&next, Some(&fixture.root), &[seed(2), seed(3), seed(4)]).unwrap();
    fs::write(fixture.file("2.root.json"), &root).unwrap();
    let trusted = fixture.load(None).unwrap();
    assert_eq!(trusted.root_version, 2);
    next.root.keys.sort();
    assert_eq!(read_root(&root).unwrap(), next);
    // The finder of key 1 and one thief cannot make version 3.
    let mut thief = next;
    thief.version = 3;
    assert!(sign_root(&thief, Some(&root), &[seed(1), seed(4)]).is_err());
}

#[test]
fn stranger_takes_over_the_root() {
    let fixture = Fixture::new();
    let mut next = content();
    next.version = 2;
    next.root = keys(&[77, 78], 2);
    let forged = sign_root(&next, None, &[seed(77), seed(78)]).unwrap();
    fs::write(fixture.file("2.root.json"), forged).unwrap();
    assert_eq!(code(fixture.load(None)), "signature-threshold");
}
