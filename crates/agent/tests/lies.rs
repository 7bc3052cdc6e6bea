//! What a host refuses, each lie by its name: exit code 3, a code and a sentence of its own, a report, and
//! nothing changed on the host.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use afield_core::delivery::Place;
use afield_core::ids::{NarHash, ReleaseId, StorePath};
use afield_core::release::{Delivery, Manifest, ObjectRef, Offer};
use afield_core::report::Event;
use afield_core::signed::Envelope;
use afield_store::{object, trust};
use afield_testkit::fleet::{Fleet, ROLLOUT, data, days, secret};
use afield_testkit::host::key;
use afield_testkit::server::Lie;
use afield_testkit::system::{Built, Contract, System};
use common::Bed;

/// A settled host to which release 2 was published, and not yet assigned.
struct Scene {
    bed: Bed,
    two: ReleaseId,
}

impl Scene {
    fn new() -> Self {
        let mut bed = Bed::settled();
        let system = System::new("two", Contract::Honest);
        let two = bed.fleet.release(&[("clinic", key().public())], &system, "config two");
        Self { bed, two }
    }

    /// Assigned, too: what follows is the lie.
    fn assigned() -> Self {
        let mut scene = Self::new();
        scene.bed.fleet.assign("clinic", scene.two);
        scene
    }

    fn refuses(&self, code: &str) {
        self.refuses_with(code, &[]);
    }

    fn refuses_with(&self, code: &str, env: &[(&str, &str)]) {
        let before = self.bed.host.fingerprint();
        self.bed.server.reports();
        let (exit, said) = self.bed.host.once_with(env);
        assert_eq!((exit, &said["event"]["code"]), (3, &code.into()), "{said}");
        let why = said["event"]["why"].as_str().unwrap();
        assert!(why.len() > 30, "{why:?} is no sentence");
        assert_eq!(self.bed.host.fingerprint(), before, "the host changed");
        let reports = self.bed.server.reports();
        let told = |r: &afield_core::report::Report| matches!(&r.event, Event::Refused { code: c, .. } if c == code);
        assert!(reports.iter().any(told), "{reports:?}");
    }

    /// After the lie, the truth is still taken.
    fn recovers(&mut self) {
        self.bed.server.be_honest();
        self.bed.fleet.publish_all(90, 10);
        self.bed.fleet.assign("clinic", self.two);
        let (exit, said) = self.bed.host.once();
        assert_eq!(exit, 0, "{said}");
        assert_eq!(self.bed.host.text("etc/site"), "two");
    }

    /// Publishes release 2 again with another content, and assigns it.
    fn republish(&mut self, change: impl FnOnce(&mut Manifest)) {
        let fleet = &mut self.bed.fleet;
        let root = trust::load(&fleet.path().join("metadata"), &fleet.root, None).unwrap();
        let mut manifest = fleet.repository().manifest(&root, self.two).unwrap();
        change(&mut manifest);
        fleet.publish(&manifest, 90);
        fleet.assign("clinic", self.two);
    }

    fn system_of_two(&self) -> StorePath {
        let fleet = &self.bed.fleet;
        let trusted = trust::load(&fleet.path().join("metadata"), &fleet.root, None).unwrap();
        let manifest = fleet.repository().manifest(&trusted, self.two).unwrap();
        manifest.hosts[&"clinic".parse().unwrap()].system.clone()
    }

    /// Release 2 with a system that has one more path, with this archive.
    fn with_archive(&mut self, nar: Vec<u8>) {
        let mut system = System::new("two", Contract::Honest);
        system.paths.insert(1, Built::of("bad", nar, vec![]));
        let data = data(&"clinic".parse().unwrap(), "config two");
        let share = self.bed.fleet.share(&system, &data, key().public());
        self.republish(|m| {
            m.hosts.insert("clinic".parse().unwrap(), share);
        });
    }
}

#[test]
fn expired_metadata() {
    let mut scene = Scene::new();
    scene.bed.fleet.publish_all(10, 10);
    let later = days(scene.bed.fleet.now, 11).to_string();
    let assignment = scene.bed.fleet.assignment("clinic", scene.two);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&assignment, &secret(ROLLOUT)).unwrap());
    scene.refuses_with("metadata-expired", &[("AFIELD_CLOCK", &later)]);
    scene.recovers();
}

#[test]
fn release_older_than_seen() {
    let mut scene = Scene::assigned();
    assert_eq!(scene.bed.host.once().0, 0);
    scene.bed.fleet.assign("clinic", ReleaseId(1));
    scene.refuses("release-older");
}

#[test]
fn metadata_older_than_seen() {
    let mut scene = Scene::new();
    let metadata = scene.bed.fleet.path().join("metadata");
    let old = fs::read(metadata.join("timestamp.json")).unwrap();
    scene.bed.fleet.publish_all(90, 10);
    scene.bed.fleet.assign("clinic", scene.two);
    assert_eq!(scene.bed.host.once().0, 0);
    fs::write(metadata.join("timestamp.json"), old).unwrap();
    scene.bed.fleet.assign("clinic", scene.two);
    scene.refuses("metadata-older");
}

#[test]
fn assignment_older_than_seen() {
    let mut scene = Scene::new();
    let old = scene.bed.fleet.assignment("clinic", scene.two);
    scene.bed.fleet.assign("clinic", ReleaseId(1));
    assert_eq!(scene.bed.host.once().0, 0);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&old, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-older");
    scene.recovers();
}

#[test]
fn two_assignments_with_one_counter() {
    let mut scene = Scene::new();
    let mut second = scene.bed.fleet.assignment("clinic", ReleaseId(1));
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&second, &secret(ROLLOUT)).unwrap());
    assert_eq!(scene.bed.host.once().0, 0);
    second.release = scene.two;
    second.manifest = scene.bed.fleet.releases[&scene.two].id;
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&second, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-two-of-one-counter");
    scene.recovers();
}

#[test]
fn assignment_for_another_host() {
    let mut scene = Scene::new();
    let other = scene.bed.fleet.assignment("hospital", scene.two);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&other, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-for-another-host");
    scene.recovers();
}

#[test]
fn expired_assignment() {
    let mut scene = Scene::new();
    let mut old = scene.bed.fleet.assignment("clinic", scene.two);
    old.expires = days(scene.bed.fleet.now, -1);
    old.issued = days(scene.bed.fleet.now, -31);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&old, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-expired");
    scene.recovers();
}

#[test]
fn release_without_assignment() {
    // Signed by the release key alone: nothing happens, and nothing is wrong.
    let scene = Scene::new();
    let before = scene.bed.host.fingerprint();
    assert_eq!(scene.bed.host.once().0, 0);
    assert_eq!(scene.bed.host.fingerprint(), before);
}

#[test]
fn assignment_without_release() {
    let mut scene = Scene::new();
    let mut ahead = scene.bed.fleet.assignment("clinic", scene.two);
    ahead.release = ReleaseId(3);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&ahead, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-without-release");
    scene.recovers();
}

#[test]
fn assignment_of_another_manifest() {
    let mut scene = Scene::new();
    let mut twisted = scene.bed.fleet.assignment("clinic", scene.two);
    twisted.manifest = scene.bed.fleet.releases[&ReleaseId(1)].id;
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&twisted, &secret(ROLLOUT)).unwrap());
    scene.refuses("assignment-of-another-manifest");
    scene.recovers();
}

#[test]
fn assignment_signed_by_a_stranger() {
    let mut scene = Scene::new();
    let forged = scene.bed.fleet.assignment("clinic", scene.two);
    // Not even the release key may hand out.
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&forged, &secret(10)).unwrap());
    scene.refuses("assignment-signature");
    scene.recovers();
}

#[test]
fn assignment_signed_by_a_removed_key() {
    let mut scene = Scene::new();
    let mut next = scene.bed.fleet.content.clone();
    next.version = 2;
    next.afield.rollout.keys = vec![secret(21).public()];
    let root = trust::sign_root(&next, Some(&scene.bed.fleet.root), &[[1; 32], [2; 32]]).unwrap();
    fs::write(scene.bed.fleet.path().join("metadata/2.root.json"), root).unwrap();
    scene.bed.fleet.assign("clinic", scene.two);
    scene.refuses("assignment-signature");
    let good = scene.bed.fleet.assignment("clinic", scene.two);
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&good, &secret(21)).unwrap());
    assert_eq!(scene.bed.host.once().0, 0);
}

#[test]
fn metadata_signed_by_a_removed_key() {
    let mut scene = Scene::assigned();
    let mut next = scene.bed.fleet.content.clone();
    next.version = 2;
    next.release.keys = vec![secret(11).public()];
    let root = trust::sign_root(&next, Some(&scene.bed.fleet.root), &[[1; 32], [2; 32]]).unwrap();
    fs::write(scene.bed.fleet.path().join("metadata/2.root.json"), root).unwrap();
    scene.refuses("signature-threshold");
    scene.bed.fleet.publish_all(90, 11);
    scene.bed.fleet.assign("clinic", scene.two);
    assert_eq!(scene.bed.host.once().0, 0);
}

#[test]
fn rollout_threshold_not_met() {
    let mut bed = Bed::of(Fleet::with_rollout(&[20, 21], 2));
    // One signature of the two that are needed.
    bed.offer("one", Contract::Honest, "config one");
    let (exit, said) = bed.host.once();
    assert_eq!((exit, &said["event"]["code"]), (3, &"assignment-signature".into()), "{said}");
    let assignment = bed.fleet.assignment("clinic", ReleaseId(1));
    let mut both = Envelope::seal(&assignment, &secret(20)).unwrap();
    both.signatures.extend(Envelope::seal(&assignment, &secret(21)).unwrap().signatures);
    bed.fleet.hand_out("clinic", &both);
    assert_eq!(bed.host.once().0, 0);
}

#[test]
fn duplicate_signatures() {
    let mut bed = Bed::of(Fleet::with_rollout(&[20, 21], 2));
    bed.offer("one", Contract::Honest, "config one");
    let assignment = bed.fleet.assignment("clinic", ReleaseId(1));
    let mut twice = Envelope::seal(&assignment, &secret(20)).unwrap();
    twice.signatures.push(twice.signatures[0].clone());
    bed.fleet.hand_out("clinic", &twice);
    let (exit, said) = bed.host.once();
    assert_eq!((exit, &said["event"]["code"]), (3, &"assignment-signature".into()), "{said}");
    assert!(said["event"]["why"].as_str().unwrap().contains("signed it twice"), "{said}");
}

#[test]
fn duplicate_signatures_on_metadata() {
    let scene = Scene::assigned();
    let path = scene.bed.fleet.path().join("metadata/timestamp.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let again = json["signatures"][0].clone();
    json["signatures"].as_array_mut().unwrap().push(again);
    fs::write(path, json.to_string()).unwrap();
    scene.refuses("signature-duplicate");
}

#[test]
fn snapshot_mixed_from_two_releases() {
    let mut scene = Scene::assigned();
    let metadata = scene.bed.fleet.path().join("metadata");
    let honest = fs::read(metadata.join("2.snapshot.json")).unwrap();
    fs::copy(metadata.join("1.snapshot.json"), metadata.join("2.snapshot.json")).unwrap();
    scene.refuses("metadata-mixed");
    fs::write(metadata.join("2.snapshot.json"), honest).unwrap();
    scene.recovers();
}

/// The new object of release 2, and the pack in which it stands.
struct Packed {
    object: String,
    pack: String,
    bytes: Vec<u8>,
    offset: usize,
}

impl Packed {
    fn of_two(scene: &Scene) -> Self {
        let delivery = scene.bed.delivery(scene.two);
        let system = scene.system_of_two();
        let way = delivery.full_way(&system).unwrap();
        let slice = delivery.slice(&way).unwrap();
        let repository = scene.bed.fleet.repository();
        let bytes = fs::read(repository.object_path(&slice.pack.id)).unwrap();
        let (object, pack) = (way.object.id.hex(), slice.pack.id.hex());
        Self { object, pack, bytes, offset: slice.offset as usize }
    }

    /// Without packs the object is fetched by itself.
    fn alone(scene: &Scene) -> Self {
        let packed = Self::of_two(scene);
        scene.bed.server.lie(&packed.pack, Lie::Gone);
        packed
    }
}

#[test]
fn swapped_object() {
    let mut scene = Scene::assigned();
    let object = Packed::alone(&scene).object;
    let path = scene.bed.fleet.path().join("objects").join(&object[..2]).join(&object);
    let mut bytes = fs::read(path).unwrap();
    bytes[20] ^= 1;
    scene.bed.server.lie(&object, Lie::Content(bytes));
    scene.refuses("object-swapped");
    scene.recovers();
}

#[test]
fn truncated_object() {
    let mut scene = Scene::assigned();
    let object = Packed::alone(&scene).object;
    scene.bed.server.lie(&object, Lie::Content(vec![0; 10]));
    scene.refuses("truncated");
    scene.recovers();
}

#[test]
fn object_longer_than_declared() {
    let mut scene = Scene::assigned();
    let object = Packed::alone(&scene).object;
    scene.bed.server.lie(&object, Lie::Content(vec![0; 1_000_000]));
    scene.refuses("too-long");
    scene.recovers();
}

#[test]
fn endless_object() {
    let mut scene = Scene::assigned();
    let object = Packed::alone(&scene).object;
    scene.bed.server.lie(&object, Lie::Endless);
    scene.refuses("too-long");
    scene.recovers();
}

#[test]
fn swapped_pack() {
    let mut scene = Scene::assigned();
    let Packed { pack, mut bytes, offset, .. } = Packed::of_two(&scene);
    bytes[offset + 20] ^= 1;
    scene.bed.server.lie(&pack, Lie::Content(bytes));
    scene.refuses("object-swapped");
    scene.recovers();
}

#[test]
fn truncated_pack() {
    let mut scene = Scene::assigned();
    let Packed { pack, bytes, offset, .. } = Packed::of_two(&scene);
    scene.bed.server.lie(&pack, Lie::Content(bytes[..offset + 10].to_vec()));
    scene.refuses("truncated");
    scene.recovers();
}

#[test]
fn endless_pack() {
    let mut scene = Scene::assigned();
    let Packed { pack, .. } = Packed::of_two(&scene);
    scene.bed.server.lie(&pack, Lie::Endless);
    scene.refuses("too-long");
    scene.recovers();
}

/// Release 2 with a delivery that was signed with a mistake.
fn flawed_delivery(change: impl FnOnce(&StorePath, &mut Delivery)) {
    let mut scene = Scene::new();
    let mut delivery = scene.bed.delivery(scene.two);
    change(&scene.system_of_two(), &mut delivery);
    let object = scene.bed.fleet.repository().add_document(&delivery).unwrap();
    scene.republish(|m| {
        m.hosts.values_mut().for_each(|h| h.delivery = object.clone());
    });
    scene.refuses("release-flawed");
}

fn place(delivery: &mut Delivery, path: &StorePath, place: Place) {
    for offer in delivery.offers.get_mut(path).unwrap() {
        if let Offer::Full { at, .. } = offer {
            *at = Some(place);
        }
    }
}

#[test]
fn index_pointing_outside_its_pack() {
    flawed_delivery(|path, delivery| {
        let offset = delivery.packs[0].size - 1;
        place(delivery, path, Place { pack: 0, offset });
    });
    flawed_delivery(|path, delivery| place(delivery, path, Place { pack: 7, offset: 0 }));
}

#[test]
fn index_with_overlapping_objects() {
    flawed_delivery(|path, delivery| place(delivery, path, Place { pack: 0, offset: 1 }));
}

#[test]
fn endless_metadata() {
    let mut scene = Scene::assigned();
    scene.bed.server.lie("timestamp.json", Lie::Endless);
    scene.refuses("too-long");
    scene.recovers();
}

#[test]
fn swapped_manifest() {
    let mut scene = Scene::assigned();
    let name = trust::target_name(scene.two);
    let object = &scene.bed.fleet.releases[&ReleaseId(1)];
    let other = format!("targets/{}.{}", object.id.hex(), trust::target_name(ReleaseId(1)));
    let bytes = fs::read(scene.bed.fleet.path().join(other)).unwrap();
    scene.bed.server.lie(&name, Lie::Content(bytes));
    let before = scene.bed.host.fingerprint();
    let (exit, said) = scene.bed.host.once();
    assert_eq!(exit, 3, "{said}");
    let code = said["event"]["code"].as_str().unwrap();
    // Hashes compress now better, now worse: the other one may be shorter, longer, or as long.
    let codes = ["object-swapped", "object-length", "too-long", "truncated"];
    assert!(codes.contains(&code), "{said}");
    assert_eq!(scene.bed.host.fingerprint(), before);
    scene.recovers();
}

fn word(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
    out.resize(out.len().div_ceil(8) * 8, 0);
}

/// An archive of a folder with empty files of these names, in this order.
fn archive(names: &[&[u8]]) -> Vec<u8> {
    let mut nar = Vec::new();
    let mut say = |words: &[&[u8]]| words.iter().for_each(|w| word(&mut nar, w));
    say(&[b"nix-archive-1", b"(", b"type", b"directory"]);
    for name in names {
        say(&[b"entry", b"(", b"name", name, b"node", b"(", b"type", b"regular", b")", b")"]);
    }
    say(&[b")"]);
    nar
}

#[test]
fn archive_with_unsorted_entries() {
    let mut scene = Scene::new();
    scene.with_archive(archive(&[b"b", b"a"]));
    scene.refuses("nar-unsorted");
}

#[test]
fn archive_with_escaping_entries() {
    let mut scene = Scene::new();
    scene.with_archive(archive(&[b"../../etc/passwd"]));
    scene.refuses("nar-escaping");
}

#[test]
fn archive_of_another_content() {
    let mut scene = Scene::new();
    let mut system = System::new("two", Contract::Honest);
    system.paths[1].info.nar_hash = NarHash::of(b"another");
    let data = data(&"clinic".parse().unwrap(), "config two");
    // A fresh fleet's objects are not remembered, so the object is that of the honest archive.
    let share = scene.bed.fleet.share(&system, &data, key().public());
    scene.republish(|m| {
        m.hosts.insert("clinic".parse().unwrap(), share);
    });
    scene.refuses("nar-hash");
}

#[test]
fn manifest_naming_a_path_outside_the_store() {
    let mut scene = Scene::new();
    let fleet = &mut scene.bed.fleet;
    let trusted = trust::load(&fleet.path().join("metadata"), &fleet.root, None).unwrap();
    let manifest = fleet.repository().manifest(&trusted, scene.two).unwrap();
    let mut json = serde_json::to_value(&manifest).unwrap();
    json["hosts"]["clinic"]["system"] = "/etc/evil".into();
    let (object, bytes): (ObjectRef, _) = object::pack_document(&json).unwrap();
    let name = format!("targets/{}.{}", object.id.hex(), trust::target_name(scene.two));
    fs::write(fleet.path().join(name), bytes).unwrap();
    fleet.releases.insert(scene.two, object);
    fleet.publish_all(90, 10);
    fleet.assign("clinic", scene.two);
    scene.refuses("document-malformed");
}

#[test]
fn app_config_outside_its_folder() {
    let mut scene = Scene::new();
    let mut data = data(&"clinic".parse().unwrap(), "x");
    data.configs.get_mut("settings").unwrap().path = "../../etc/cron.d/evil".into();
    let system = System::new("two", Contract::Honest);
    let share = scene.bed.fleet.share(&system, &data, key().public());
    scene.republish(|m| {
        m.hosts.insert("clinic".parse().unwrap(), share);
    });
    scene.refuses("release-flawed");
}

#[test]
fn release_of_another_fleet() {
    let mut scene = Scene::new();
    scene.republish(|m| m.fleet = "other".parse().unwrap());
    scene.refuses("repository");
}

#[test]
fn release_without_this_host() {
    let mut scene = Scene::new();
    scene.republish(|m| m.hosts = BTreeMap::new());
    scene.refuses("release-without-this-host");
}

#[test]
fn clock_set_back_ten_years() {
    // Updates go on, and what is expired stays expired.
    let mut scene = Scene::assigned();
    let back = days(scene.bed.fleet.now, -3650).to_string();
    let clock: &[(&str, &str)] = &[("AFIELD_CLOCK", &back)];
    let (exit, said) = scene.bed.host.once_with(clock);
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
    assert!(said["notes"].to_string().contains("the clock says"), "{said}");
    let mut old = scene.bed.fleet.assignment("clinic", scene.two);
    (old.issued, old.expires) = (days(scene.bed.fleet.now, -31), days(scene.bed.fleet.now, -1));
    scene.bed.fleet.hand_out("clinic", &Envelope::seal(&old, &secret(ROLLOUT)).unwrap());
    scene.refuses_with("assignment-expired", clock);
}

#[test]
fn clock_set_forward_ten_years() {
    // Everything looks expired; set right, the host goes on.
    let scene = Scene::assigned();
    let ahead = days(scene.bed.fleet.now, 3650).to_string();
    scene.refuses_with("metadata-expired", &[("AFIELD_CLOCK", &ahead)]);
    let (exit, said) = scene.bed.host.once();
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
}
