//! What a host reads from a repository, and what a hub hears from hosts. Addresses and signatures are made to fit the
//! changed bytes, as a thief of the key would do, so that what lies behind them is reached.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use afield_agent::state::{State, Store};
use afield_core::assignment::{Assignment, Order};
use afield_core::delivery::Place;
use afield_core::health::Health;
use afield_core::host_data::HostData;
use afield_core::ids::{HostName, NarHash, ObjectId, StorePath};
use afield_core::release::{Closure, Delivery, Manifest, ObjectRef, Offer, PathInfo};
use afield_core::report::{CheckResult, Event, Report, clip, failing, tail};
use afield_core::signed::{Envelope, SecretKey};
use afield_store::patch::{self, Library, Source};
use afield_store::{nar, object, trust};
use afield_testkit::fleet::{Fleet, ROLLOUT, secret};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::target;
use crate::{Reader, Target};

const DOCUMENT: &[&str] = &[
    "/nix/store/00000000000000000000000000000000-a",
    "sha256:",
    "\"format\":2",
    "\"kind\":\"patch\"",
    "\"kind\":\"x\"",
    "[[[[[[[[",
    "{\"a\":",
];

pub(crate) fn targets() -> Vec<Target> {
    vec![
        target(
            "nar",
            3000,
            &["nix-archive-1", "regular", "symlink", "directory", "entry", "contents"],
            nar_seeds,
            || {
                Box::new(|input| {
                    // Cut and lengthened as well as whole.
                    for size in [input.len() as u64, input.len() as u64 / 2, u64::MAX] {
                        let _ = nar::prove(input, size, NarHash::of(input));
                    }
                })
            },
        ),
        Target {
            memory: 96 << 20,
            ..target("patch", 150, &["AFPATCH\u{1}"], || vec![Patched::new().patch], open_patch)
        },
        // A bomb of 64 KiB unpacks to as much as a document may have.
        Target {
            memory: 80 << 20,
            ..target("object", 300, &["(\u{fffd}/"], object_seeds, open_object)
        },
        target(
            "manifest",
            2000,
            DOCUMENT,
            || vec![Documents::new().manifest],
            || Box::new(|input| drop(document::<Manifest>(input))),
        ),
        target(
            "closure",
            2000,
            DOCUMENT,
            || vec![Documents::new().closure],
            || {
                let system: StorePath = store_path("toplevel");
                Box::new(move |input| {
                    let _ = document::<Closure>(input).map(|closure| closure.validate(&system));
                })
            },
        ),
        target(
            "delivery",
            2000,
            DOCUMENT,
            || vec![Documents::new().delivery],
            || {
                Box::new(|input| {
                    let Some(delivery) = document::<Delivery>(input) else { return };
                    let none = Closure { format: 1, paths: Vec::new() };
                    let _ = delivery.validate(&none);
                    for path in delivery.offers.keys() {
                        let full = delivery.full(path);
                        let best = delivery.best(path, |object| object.size, |_| true);
                        assert!(
                            full.is_err()
                                || best.is_ok_and(
                                    |best| full.is_ok_and(|full| best.object.size <= full.size)
                                )
                        );
                    }
                })
            },
        ),
        target(
            "host-data",
            2000,
            DOCUMENT,
            || vec![Documents::new().data],
            || {
                let host: HostName = "nuc-juba".parse().unwrap();
                Box::new(move |input| {
                    let _ = document::<HostData>(input).map(|data| data.validate(&host));
                })
            },
        ),
        target(
            "envelope",
            2000,
            &["ed25519:", "\"kind\":\"order\"", "\"signatures\":[]"],
            envelope_seeds,
            || {
                let key = secret(ROLLOUT);
                Box::new(move |input| {
                    if let Ok(envelope) = Envelope::from_slice(input) {
                        let _ = envelope.open::<Assignment>(&[key.public()], 1);
                        let _ = envelope.open::<Order>(&[key.public(), key.public()], 2);
                    }
                    // What is inside, as if the key's owner had signed it.
                    let payload = String::from_utf8_lossy(input);
                    let _ = serde_json::from_str::<Assignment>(&payload);
                    let _ = serde_json::from_str::<Order>(&payload);
                })
            },
        ),
        target(
            "report",
            2000,
            &["\"is\":\"stuck\"", "\"is\":\"refused\"", "\"log\":[", "9007199254740993"],
            report_seeds,
            || Box::new(report),
        ),
        target(
            "trust",
            60,
            &["\"afield\":", "\"_type\":\"root\"", "\"version\":0", "\"threshold\":0"],
            trust_seeds,
            open_trust,
        ),
        target("state", 400, &["\"format\":2", "\"attempt\":", "\"good\":"], state_seeds, || {
            let dir = tempfile::tempdir().unwrap();
            Box::new(move |input| state(dir.path(), input))
        }),
    ]
}

/// A document as a host reads it: JSON, in zstd, at its address; and JSON alone.
fn document<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

fn store_path(name: &str) -> StorePath {
    format!("/nix/store/{}-{name}", "0".repeat(32)).parse().unwrap()
}

fn package(root: &Path, text: &str) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/tool"), text.repeat(40)).unwrap();
    std::os::unix::fs::symlink("bin/tool", root.join("link")).unwrap();
}

fn nar_of(root: &Path) -> Vec<u8> {
    let mut nar = Vec::new();
    patch::archive(root).unwrap().read_to_end(&mut nar).unwrap();
    nar
}

fn nar_seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    package(dir.path(), "some text\n");
    vec![nar_of(dir.path())]
}

/// A base on disk, and a patch against it.
struct Patched {
    dir: tempfile::TempDir,
    base: PathInfo,
    target: PathInfo,
    patch: Vec<u8>,
}

impl Patched {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str| {
            let root = dir.path().join(name);
            package(&root, text);
            let nar = nar_of(&root);
            let (nar_hash, nar_size) = (NarHash::of(&nar), nar.len() as u64);
            PathInfo { path: store_path(name), nar_hash, nar_size, references: Vec::new() }
        };
        let (base, target) = (make("tool-1", "one two three\n"), make("tool-2", "one two four\n"));
        let mut bytes = Vec::new();
        let (old, new) = (dir.path().join("tool-1"), dir.path().join("tool-2"));
        let library = Library::new([Source { info: &base, dir: &old }]).unwrap();
        patch::make(&Source { info: &target, dir: &new }, &library, dir.path(), None, &mut bytes)
            .unwrap()
            .unwrap();
        Self { dir, base, target, patch: bytes }
    }
}

fn open_patch() -> Reader {
    let Patched { dir, base, target, patch: good } = Patched::new();
    Box::new(move |input| {
        let old = dir.path().join("tool-1");
        let mut out = Vec::new();
        let source = Source { info: &base, dir: &old };
        let made = patch::apply(input, &target, &[source], dir.path(), &mut out);
        assert!(out.len() as u64 <= target.nar_size, "it makes more than was signed");
        if made.is_ok() && nar::prove(&out[..], target.nar_size, target.nar_hash).is_ok() {
            return;
        }
        assert!(input != good, "the good patch does not make its target: {made:?}");
    })
}

fn object_seeds() -> Vec<Vec<u8>> {
    let documents = Documents::new();
    let pack = |bytes: &[u8]| {
        let mut out = Vec::new();
        object::pack(bytes, &mut out).unwrap();
        out
    };
    vec![pack(&documents.closure), pack(&documents.manifest), pack(&vec![b' '; 1 << 20])]
}

fn open_object() -> Reader {
    let dir = tempfile::tempdir().unwrap();
    Box::new(move |input| {
        let reference = ObjectRef { id: ObjectId::of(input), size: input.len() as u64 };
        let _ = object::open_document::<Closure>(&reference, input);
        let path = dir.path().join("object");
        fs::write(&path, input).unwrap();
        let info = PathInfo {
            path: store_path("x"),
            nar_hash: NarHash::of(input),
            nar_size: 4096,
            references: Vec::new(),
        };
        assert!(object::prove(&path, &reference, &info).is_err(), "no such archive has this hash");
        if let Ok(unpacked) = object::unpack(fs::File::open(&path).unwrap()) {
            let _ = io::copy(&mut unpacked.take(1 << 20), &mut io::sink());
        }
    })
}

/// One of each, as `afield release` makes them.
struct Documents {
    manifest: Vec<u8>,
    closure: Vec<u8>,
    delivery: Vec<u8>,
    data: Vec<u8>,
}

impl Documents {
    fn new() -> Self {
        let host: HostName = "nuc-juba".parse().unwrap();
        let path = |name: &str, references: &[&str]| PathInfo {
            path: store_path(name),
            nar_hash: NarHash::of(name.as_bytes()),
            nar_size: 4096,
            references: references.iter().map(|name| store_path(name)).collect(),
        };
        let closure = Closure {
            format: 1,
            paths: vec![path("libc", &["libc"]), path("toplevel", &["libc"])],
        };
        let object = ObjectRef { id: ObjectId::of(b"x"), size: 1 };
        let pack = object.clone();
        let patch = r#"[{"kind":"patch","object":{"id":"ID","size":1},"bases":[{"path":"PATH","nar_hash":"ID"}]},{"kind":"later"}]"#;
        let patch =
            patch.replace("ID", &object.id.to_string()).replace("PATH", store_path("old").as_str());
        let mut offers: Vec<Offer> = serde_json::from_str(&patch).unwrap();
        offers.push(Offer::Full { object: object.clone(), at: Some(Place { pack: 0, offset: 0 }) });
        let offers = BTreeMap::from([(store_path("libc"), offers)]);
        let fleet = Fleet::new();
        let share = afield_core::release::HostRelease {
            system: store_path("toplevel"),
            closure: object.clone(),
            delivery: object.clone(),
            data: object,
            key: Some(secret(1).public()),
            fresh_days: 30,
        };
        let manifest =
            fleet.manifest(afield_core::ids::ReleaseId(1), BTreeMap::from([(host.clone(), share)]));
        let data = afield_testkit::fleet::data(&host, "a: b");
        Self {
            manifest: serde_json::to_vec(&manifest).unwrap(),
            closure: serde_json::to_vec(&closure).unwrap(),
            delivery: serde_json::to_vec(&Delivery { format: 1, packs: vec![pack], offers })
                .unwrap(),
            data: serde_json::to_vec(&data).unwrap(),
        }
    }
}

fn assignment() -> Assignment {
    let (issued, expires) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let (fleet, host) = ("field".parse().unwrap(), "nuc-juba".parse().unwrap());
    let (release, manifest) = (afield_core::ids::ReleaseId(1), ObjectId::of(b"m"));
    Assignment { fleet, host, release, manifest, counter: 1, issued, expires }
}

fn envelope_seeds() -> Vec<Vec<u8>> {
    let sealed = Envelope::seal(&assignment(), &secret(ROLLOUT)).unwrap();
    vec![sealed.to_vec().unwrap(), serde_json::to_vec(&assignment()).unwrap()]
}

fn report_seeds() -> Vec<Vec<u8>> {
    let events = [
        Event::Healthy,
        Event::Stuck {
            from: afield_core::ids::ReleaseId(1),
            why: "é".repeat(300),
            log: vec!["x".into(); 30],
        },
        Event::Refused { code: "old-release".into(), why: "it is older".into() },
    ];
    let report = |event| Report {
        fleet: "field".parse().unwrap(),
        host: "nuc-juba".parse().unwrap(),
        seq: 7,
        time: Timestamp::UNIX_EPOCH,
        agent: "0.1.0".into(),
        release: None,
        system: Some(store_path("toplevel")),
        event,
        checks: vec![CheckResult {
            name: "ssh".parse().unwrap(),
            passed: false,
            saw: "refused".into(),
            tries: 3,
        }],
        notes: vec!["a note".into()],
    };
    events.into_iter().map(|event| serde_json::to_vec(&report(event)).unwrap()).collect()
}

/// The body of a request, and a report that its host signed.
fn report(input: &[u8]) {
    let _ = serde_json::from_slice::<Vec<Envelope>>(input);
    let text = String::from_utf8_lossy(input);
    tail(&text).iter().for_each(|line| assert_eq!(*line, clip(line)));
    let Ok(report) = serde_json::from_slice::<Report>(input) else { return };
    let key = SecretKey::from_seed(&[1; 32]);
    let Ok(envelope) = Envelope::seal(&report, &key) else { return };
    assert_eq!(
        envelope.open::<Report>(&[key.public()], 1).as_ref(),
        Ok(&report),
        "what is signed is what is read"
    );
    assert!(
        envelope.open::<Report>(&[secret(2).public()], 1).is_err(),
        "a stranger's signature counts"
    );
    failing(&report.checks);
    let mut health = Health::default();
    health.observe(&report, Timestamp::UNIX_EPOCH);
    health.observe(&report, Timestamp::MAX);
}

/// The four files of metadata, each behind its number.
fn trust_seeds() -> Vec<Vec<u8>> {
    let mut fleet = Fleet::new();
    let manifest = fleet.manifest(afield_core::ids::ReleaseId(1), BTreeMap::new());
    fleet.publish(&manifest, 90);
    let read = |(at, name): (usize, String)| {
        [&[at as u8][..], &fs::read(fleet.path().join("metadata").join(name)).unwrap()].concat()
    };
    metadata_files(&fleet).into_iter().enumerate().map(read).collect()
}

fn metadata_files(fleet: &Fleet) -> Vec<String> {
    let entries = fs::read_dir(fleet.path().join("metadata")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open_trust() -> Reader {
    let mut fleet = Fleet::new();
    let manifest = fleet.manifest(afield_core::ids::ReleaseId(1), BTreeMap::new());
    fleet.publish(&manifest, 90);
    let names = metadata_files(&fleet);
    Box::new(move |input| {
        let Some((number, bytes)) = input.split_first() else { return };
        let path = fleet.path().join("metadata").join(&names[usize::from(*number) % names.len()]);
        let good = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let _ = trust::load(&fleet.path().join("metadata"), &fleet.root, None);
        let _ = trust::load(&fleet.path().join("metadata"), bytes, None);
        fs::write(&path, good).unwrap();
    })
}

fn state_seeds() -> Vec<Vec<u8>> {
    let mut state = State::default();
    let first = serde_json::to_vec(&state).unwrap();
    state.assignment = Some((1, Envelope::seal(&assignment(), &secret(ROLLOUT)).unwrap()));
    state.quarantined.insert(afield_core::ids::ReleaseId(3));
    state.outbox =
        report_seeds().iter().map(|seed| serde_json::from_slice(seed).unwrap()).collect();
    vec![first, serde_json::to_vec(&state).unwrap()]
}

/// A damaged memory is set aside, and the host goes on.
fn state(dir: &Path, input: &[u8]) {
    let path = dir.join("state.json");
    fs::write(&path, input).unwrap();
    let peeked = Store::peek(dir);
    match Store::open(dir) {
        Ok((store, state, note)) => {
            assert_eq!(peeked.ok().as_ref(), Some(&state), "looking and opening see the same");
            assert!(note.is_none() || dir.join("state.damaged").exists(), "{note:?}");
            store.save(&state, "fuzz").unwrap();
            assert_eq!(Store::peek(dir).ok(), Some(state), "what is saved is read back");
        }
        Err(_) => assert!(path.exists(), "what is refused stays"),
    }
}
