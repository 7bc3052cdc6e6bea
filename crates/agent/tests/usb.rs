//! A host at the end of no link: releases come on a stick, reports go back on it. Real Nix, real processes, and for a
//! stick that is plugged in a real file system.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use afield_core::bundle::{FORMAT, NOTE, Note, Package, Standing};
use afield_core::report::{Event, Report};
use afield_core::secrets::age;
use afield_core::signed::Envelope;
use afield_store::mirror::{Archive, Folder, Place, copy, everything, missing};
use afield_testkit::fleet::{Fleet, ROLLOUT, days, secret};
use afield_testkit::host::{NIX_CONFIG, key};
use afield_testkit::server::Lie;
use afield_testkit::system::{Contract, System};
use common::Bed;
use serde_json::Value;

/// A settled host whose link is dead, and a stick with release 2.
struct Scene {
    bed: Bed,
    stick: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let mut bed = Bed::settled();
        bed.offer("two", Contract::Honest, "config two");
        let stick = tempfile::tempdir().unwrap();
        export(&bed.fleet, stick.path(), &["clinic"]);
        bed.server.lie("", Lie::Gone);
        bed.server.hub_is_down(true);
        Self { bed, stick }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stick.path().join(name)
    }

    fn once(&self, from: &Path, env: &[(&str, &str)]) -> (i32, Value) {
        let output = self.bed.host.run(&["once", "--json", "--from", from.to_str().unwrap()], env);
        said(&output)
    }

    /// The stick is refused by this name, and the host is as before.
    fn refuses(&self, code: &str) {
        self.refuses_with(code, &[]);
    }

    fn refuses_with(&self, code: &str, env: &[(&str, &str)]) {
        let before = self.bed.host.fingerprint();
        let (exit, said) = self.once(self.stick.path(), env);
        assert_eq!((exit, &said["event"]["code"]), (3, &code.into()), "{said}");
        assert_eq!(self.bed.host.fingerprint(), before, "the host changed");
        // That it was refused goes back on the stick like everything else.
        let reports = packages(self.stick.path()).1;
        let told = |r: &Report| matches!(&r.event, Event::Refused { code: c, .. } if c == code);
        assert!(reports.iter().any(told), "{reports:?}");
    }
}

fn said(output: &Output) -> (i32, Value) {
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(
        |_| serde_json::json!({ "stderr": String::from_utf8_lossy(&output.stderr) }),
    );
    (output.status.code().unwrap_or(-1), json)
}

fn fill(place: &mut dyn Place, fleet: &Fleet, hosts: &[&str], of: &str) {
    let dir = tempfile::tempdir().unwrap();
    let note = Note {
        format: FORMAT,
        fleet: of.parse().unwrap(),
        hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
        made: fleet.now,
        expires: days(fleet.now, 30),
    };
    fs::write(dir.path().join(NOTE), serde_json::to_vec(&note).unwrap()).unwrap();
    let mut items = everything(fleet.path()).unwrap();
    items.extend(everything(dir.path()).unwrap());
    let todo = missing(&items, place).unwrap();
    copy(&todo, place, |_| ()).unwrap();
}

fn export(fleet: &Fleet, to: &Path, hosts: &[&str]) {
    fill(&mut Folder::open(to).unwrap(), fleet, hosts, "field");
}

/// What lies in a stick's folder for reports, as the hub opens it: how many packages, and their reports.
fn packages(stick: &Path) -> (usize, Vec<Report>) {
    let (mut count, mut reports) = (0, Vec::new());
    for entry in fs::read_dir(stick.join("reports")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "age") {
            continue;
        }
        let plain = age::decrypt(&fs::read(&path).unwrap(), &secret(ROLLOUT).identity()).unwrap();
        let package: Package = serde_json::from_slice(&plain).unwrap();
        let standing: Standing = package.standing.open(&[key().public()], 1).unwrap();
        assert_eq!(standing.host.as_str(), "clinic");
        let open = |e: &Envelope| e.open::<Report>(&[key().public()], 1).unwrap();
        reports.extend(package.reports.iter().map(open));
        count += 1;
    }
    reports.sort_by_key(|r| r.seq);
    (count, reports)
}

#[test]
fn a_stick_brings_a_release_and_takes_the_reports() {
    let scene = Scene::new();
    let (exit, said) = scene.once(scene.stick.path(), &[]);
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
    let (count, reports) = packages(scene.stick.path());
    assert_eq!((count, said["stick_reports"].as_u64().unwrap()), (1, reports.len() as u64));
    assert!(reports.iter().any(|r| r.event == Event::Healthy), "{reports:?}");
    // Only the hub reads it; not even another key of the fleet.
    let sealed = fs::read_dir(scene.path("reports")).unwrap().next().unwrap().unwrap().path();
    assert!(age::decrypt(&fs::read(sealed).unwrap(), &secret(10).identity()).is_err());
    // The next visit replaces nothing: files are added.
    assert_eq!(scene.once(scene.stick.path(), &[]).0, 0);
    assert_eq!(packages(scene.stick.path()).0, 2);
    // What is on a stick waits on the host until the hub has it.
    scene.bed.server.hub_is_down(false);
    scene.bed.host.once();
    let heard: Vec<u64> = scene.bed.server.reports().iter().map(|r| r.seq).collect();
    assert!(reports.iter().all(|r| heard.contains(&r.seq)), "{heard:?}");
}

#[test]
fn a_bundle_that_is_one_file_does_the_same() {
    let scene = Scene::new();
    let (first, second) = (scene.path("a.tar"), scene.path("b.tar"));
    for path in [&first, &second] {
        fill(&mut Archive::new(path), &scene.bed.fleet, &["clinic"], "field");
    }
    assert_eq!(fs::read(&first).unwrap(), fs::read(second).unwrap(), "not the same bytes");
    let (exit, said) = scene.once(&first, &[]);
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
    assert_eq!(packages(scene.stick.path()).0, 1);
}

#[test]
fn an_archive_that_is_cut_off() {
    let scene = Scene::new();
    let path = scene.path("half.tar");
    fill(&mut Archive::new(&path), &scene.bed.fleet, &["clinic"], "field");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let before = scene.bed.host.fingerprint();
    let (exit, said) = scene.once(&path, &[]);
    assert_eq!(exit, 1);
    assert!(said["stderr"].as_str().unwrap().contains("half.tar"), "{said}");
    assert_eq!(scene.bed.host.fingerprint(), before);
}

#[test]
fn stick_for_another_host() {
    let scene = Scene::new();
    fill(&mut Folder::open(scene.stick.path()).unwrap(), &scene.bed.fleet, &["ward"], "field");
    scene.refuses("stick-without-this-host");
    // Without a note, as on a copy of the repository by hand.
    fs::remove_file(scene.path(NOTE)).unwrap();
    fs::remove_file(scene.path("assignments/clinic.json")).unwrap();
    scene.refuses("stick-without-this-host");
}

#[test]
fn stick_of_another_fleet() {
    let scene = Scene::new();
    fill(&mut Folder::open(scene.stick.path()).unwrap(), &scene.bed.fleet, &["clinic"], "other");
    scene.refuses("other-fleet");
}

#[test]
fn stick_older_than_seen() {
    let mut scene = Scene::new();
    scene.bed.server.be_honest();
    scene.bed.offer("three", Contract::Honest, "config three");
    assert_eq!(scene.bed.host.once().0, 0);
    scene.bed.server.lie("", Lie::Gone);
    scene.refuses("metadata-older");
    assert_eq!(scene.bed.host.text("etc/site"), "three");
}

#[test]
fn stick_whose_assignment_is_older_than_seen() {
    let mut scene = Scene::new();
    let old = fs::read(scene.path("assignments/clinic.json")).unwrap();
    scene.bed.server.be_honest();
    scene.bed.fleet.assign("clinic", afield_core::ids::ReleaseId(2));
    assert_eq!(scene.bed.host.once().0, 0);
    scene.bed.server.lie("", Lie::Gone);
    fs::write(scene.path("assignments/clinic.json"), old).unwrap();
    scene.refuses("assignment-older");
}

#[test]
fn stick_that_expired() {
    let scene = Scene::new();
    let later = days(scene.bed.fleet.now, 31).to_string();
    scene.refuses_with("assignment-expired", &[("AFIELD_CLOCK", &later)]);
    // The clock was only wrong: nothing of it is remembered.
    assert_eq!(scene.once(scene.stick.path(), &[]).0, 0);
    assert_eq!(scene.bed.host.text("etc/site"), "two");
}

/// Every object of the stick, changed by `lie`.
fn objects(scene: &Scene, lie: impl Fn(&Path)) {
    for item in everything(scene.stick.path()).unwrap() {
        if item.name.starts_with("objects/") {
            lie(&scene.path(&item.name));
        }
    }
}

#[test]
fn stick_with_a_swapped_object() {
    let scene = Scene::new();
    objects(&scene, |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    scene.refuses("object-swapped");
}

#[test]
fn stick_with_pipes_and_links_in_the_place_of_files() {
    let scene = Scene::new();
    // Opened as a file, a pipe without a writer would keep the agent for ever, and the link show it the host's key.
    let pipe = scene.path("assignments/clinic.json");
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let timestamp = scene.path("metadata/timestamp.json");
    fs::remove_file(&timestamp).unwrap();
    symlink(scene.bed.host.path("etc/ssh/ssh_host_ed25519_key"), timestamp).unwrap();
    let before = scene.bed.host.fingerprint();
    let (exit, said) = scene.once(scene.stick.path(), &[]);
    assert_eq!(exit, 0, "{said}");
    assert!(said["notes"].to_string().contains("it is no file"), "{said}");
    assert_eq!(scene.bed.host.fingerprint(), before);
    // Nor is anything written where a link leads.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::remove_dir_all(scene.path("reports")).unwrap();
    symlink(elsewhere.path(), scene.path("reports")).unwrap();
    let (exit, said) = scene.once(scene.stick.path(), &[]);
    assert_eq!(exit, 1, "{said}");
    assert!(said["stick_error"].as_str().unwrap().contains("the reports wait"), "{said}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn stick_that_is_full() {
    let scene = Scene::new();
    let small = scene.path("small");
    fs::create_dir(&small).unwrap();
    let small = Tmpfs::mount(&small, "4m");
    export(&scene.bed.fleet, &small.0, &["clinic"]);
    let mut filler = fs::File::create(small.0.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    drop(filler);
    let (exit, said) = scene.once(&small.0, &[]);
    // The release was read; only the way back is barred, and that is told by name.
    assert_eq!(exit, 1, "{said}");
    let why = said["stick_error"].as_str().unwrap();
    assert!(why.contains("No space") && why.contains("the reports wait on the host"), "{why}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
    fs::remove_file(small.0.join("filler")).unwrap();
    let (exit, said) = scene.once(&small.0, &[]);
    assert_eq!(exit, 0, "{said}");
    let (_, reports) = packages(&small.0);
    assert!(reports.iter().any(|r| r.event == Event::Healthy && r.release.is_some()));
}

struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success(), "is the test root?");
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(feature = "faults")]
#[test]
fn stick_pulled_out_while_reports_are_written() {
    for point in ["stick:written", "stick:renamed"] {
        let scene = Scene::new();
        let output = scene.bed.host.run(
            &["once", "--from", scene.stick.path().to_str().unwrap()],
            &[("AFIELD_FAULT", &format!("{point}:1"))],
        );
        assert!(!output.status.success(), "{point}");
        let whole = usize::from(point == "stick:renamed");
        assert_eq!(packages(scene.stick.path()).0, whole, "{point}");
        // The next visit brings all of it.
        assert_eq!(scene.once(scene.stick.path(), &[]).0, 0);
        let seqs: Vec<u64> = packages(scene.stick.path()).1.iter().map(|r| r.seq).collect();
        let first = seqs[0];
        assert!((first..first + 3).all(|seq| seqs.contains(&seq)), "{point}: {seqs:?}");
    }
}

#[test]
fn a_stick_that_is_plugged_in_is_mounted_read_and_written_to() {
    let scene = Scene::new();
    let image = scene.path("image");
    let tree = tempfile::tempdir().unwrap();
    export(&scene.bed.fleet, &tree.path().join("afield"), &["clinic"]);
    let make = Command::new("mkfs.ext4")
        .args(["-q", "-L", "AFIELD", "-d"])
        .args([tree.path(), &image])
        .arg("32M")
        .output();
    assert!(make.unwrap().status.success(), "mkfs.ext4 -d");
    let device = Loop::of(&image);
    // As the unit does it: in a mount namespace of its own.
    let agent = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", env!("CARGO_BIN_EXE_afield-agent"), "stick", &device.0, "--json"]);
        command.arg("--config").arg(scene.bed.host.config()).env("NIX_CONFIG", NIX_CONFIG);
        said(&command.output().unwrap())
    };
    let (exit, said) = agent();
    assert_eq!(exit, 0, "{said}");
    assert_eq!(scene.bed.host.text("etc/site"), "two");
    let (exit, said) = agent();
    assert_eq!(exit, 0, "{said}");
    let seen = scene.path("seen");
    fs::create_dir(&seen).unwrap();
    let mount = Command::new("mount").args(["-o", "ro", &device.0]).arg(&seen).status();
    assert!(mount.unwrap().success());
    let (count, reports) = packages(&seen.join("afield"));
    Command::new("umount").arg(&seen).status().unwrap();
    assert_eq!(count, 2);
    assert!(reports.iter().any(|r| r.event == Event::Healthy));
}

/// A loop device, as a stick is one.
struct Loop(String);

impl Loop {
    fn of(image: &Path) -> Self {
        let output =
            Command::new("losetup").args(["--find", "--show"]).arg(image).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_host_without_link_keeps_the_newest_reports_for_the_next_stick() {
    let scene = Scene::new();
    assert_eq!(scene.once(scene.stick.path(), &[]).0, 0);
    // A queue that is full of reports that a stick took.
    let queue = scene.bed.host.path("var/lib/afield/queue");
    let last = fs::read_to_string(queue.join("carried")).unwrap().parse::<u64>().unwrap();
    let sample = fs::read(queue.join(format!("{last:020}.json"))).unwrap();
    for n in 1..=600u64 {
        fs::write(queue.join(format!("{n:020}.json")), &sample).unwrap();
    }
    let state = scene.bed.host.path("var/lib/afield/state.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    json["seq"] = 600.into();
    fs::write(state, json.to_string()).unwrap();
    fs::write(queue.join("carried"), "590").unwrap();
    scene.bed.host.once();
    let mut kept: Vec<String> = fs::read_dir(&queue)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    kept.sort();
    assert_eq!(kept.len(), 500);
    // The newest are all there, and of those that travel the oldest went.
    assert_eq!(kept.last().unwrap(), &format!("{:020}.json", 601));
    assert_eq!(kept[0], format!("{:020}.json", 102));
}

/// Not a lie of the stick's, but of its maker: it says that it is for this host, and the release has nothing for it.
#[test]
fn stick_with_a_release_without_this_host() {
    let mut scene = Scene::new();
    let system = System::new("three", Contract::Honest);
    let three = scene.bed.fleet.release(&[("ward", key().public())], &system, "c");
    scene.bed.fleet.assign("clinic", three);
    export(&scene.bed.fleet, scene.stick.path(), &["clinic"]);
    scene.refuses("release-without-this-host");
}
