//! The way back, and what must not lead onto it: a release is given up for what is seen of it, never for the host's own
//! trouble; a boot that was judged bad never counts as good; and going back without end takes no host down.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use afield_testkit::host::{Host, key};
use afield_testkit::machine::power_cycle;
use afield_testkit::system::{Contract, System};
use common::Bed;
use common::machine::{machine, offer, window};

fn quarantined(host: &Host) -> serde_json::Value {
    let state: serde_json::Value =
        serde_json::from_str(&host.text("var/lib/afield/state.json")).unwrap();
    state["quarantined"].clone()
}

/// A machine that was just booted on trial with release 2, which is not well there; its systems.
fn on_trial() -> (Bed, String, String) {
    let mut bed = machine("old");
    window(&bed, true);
    let one = bed.host.current().unwrap();
    let two = offer(&mut bed, "two", Contract::Honest, "new");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(power_cycle(&bed.host), two);
    fs::remove_file(bed.host.path("etc/site")).unwrap();
    (bed, one, two)
}

#[test]
fn a_boot_that_was_found_bad_stays_so_when_the_way_back_fails() {
    let (bed, _, two) = on_trial();
    // Nothing can be written there any more.
    let conf = bed.host.path("boot/loader/loader.conf");
    fs::remove_file(&conf).unwrap();
    fs::create_dir(&conf).unwrap();
    let check = bed.host.run(&["boot-check"], &[]);
    assert_eq!(check.status.code(), Some(1), "{two} would be blessed: {check:?}");
    let check = bed.host.run(&["boot-check"], &[]);
    assert_eq!(
        check.status.code(),
        Some(1),
        "{two} would be blessed at the second look: {check:?}"
    );
}

#[test]
fn the_boot_after_a_bad_one_is_in_order_before_the_way_back_is_written_down() {
    let (bed, one, _) = on_trial();
    bed.host.once();
    assert!(bed.host.path("run/reboot-asked").exists());
    assert_eq!(power_cycle(&bed.host), one);
    let check = bed.host.run(&["boot-check"], &[]);
    assert_eq!(check.status.code(), Some(0), "{one} would be left by force: {check:?}");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert_eq!(bed.host.run(&["boot-check"], &[]).status.code(), Some(0));
}

#[test]
fn a_switch_that_cannot_be_started_says_nothing_about_the_release() {
    let mut bed = Bed::settled();
    let job = bed.host.path("var/lib/afield/activation/job.json");
    let _ = fs::remove_file(&job);
    fs::create_dir_all(job.join("in the way")).unwrap();
    let (_, two) = bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"updating".into()), "{said}");
    let notes = said["notes"].to_string();
    assert!(notes.contains("release 2 is tried again by the next run"), "{notes}");
    assert_eq!(quarantined(&bed.host), serde_json::json!([]));
    fs::remove_dir_all(&job).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!((code, bed.host.current()), (0, Some(two)), "{said}");
}

#[test]
fn a_full_disk_says_nothing_about_the_release() {
    let mut bed = Bed::new();
    let run = Mount::small(bed.host.path("run"), "256k");
    bed.offer("one", Contract::Honest, "config one");
    assert_eq!(bed.host.once().0, 0);
    let full = run.0.join("full");
    let _ = std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(&full).unwrap());
    let (_, two) = bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"updating".into()), "{said}");
    assert!(said["notes"].to_string().contains("No space left"), "{said}");
    assert_eq!(quarantined(&bed.host), serde_json::json!([]));
    fs::remove_file(&full).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!((code, bed.host.current()), (0, Some(two)), "{said}");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config two");
}

#[test]
fn a_host_that_cannot_go_back_is_not_taken_down_again_and_again() {
    let mut bed = Bed::new();
    let more = "echo x >> /var/lib/switches\nif [ -e /etc/broken ]; then $b rm -f /run/current-system; fi\n";
    let system = System::scripted("one", more);
    let release = bed.fleet.release(&[("clinic", key().public())], &system, "config one");
    bed.fleet.assign("clinic", release);
    assert_eq!(bed.host.once().0, 0);
    let switches = || bed.host.text("var/lib/switches").lines().count();
    assert_eq!(switches(), 1);
    fs::write(bed.host.path("etc/broken"), "").unwrap();
    fs::remove_file(bed.host.path("run/current-system")).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (code, said) = bed.host.once();
        assert_eq!((code, &said["event"]["is"]), (1, &"stuck".into()), "{said}");
        seen.push(switches());
    }
    assert_eq!(seen, [2, 3, 3, 3], "each check-in switches");
    // A newer release is what it waits for.
    let (_, two) = bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!((code, bed.host.current()), (0, Some(two)), "{said}");
}

/// A small file system, while it lives.
struct Mount(std::path::PathBuf);

impl Mount {
    fn small(path: std::path::PathBuf, size: &str) -> Self {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "small"]).arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
