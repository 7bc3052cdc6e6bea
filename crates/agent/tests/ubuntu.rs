//! Hosts of system-manager: no link says what is current there, so that the agent looks at every file and unit.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use afield_testkit::host::key;
use afield_testkit::system::System;
use afield_testkit::ubuntu::{Lie, system};
use common::Bed;

const PROFILE: &str = "nix/var/nix/profiles/system-manager-profiles/system-manager";

fn offer(bed: &mut Bed, system: &System) {
    let release = bed.fleet.release(&[("clinic", key().public())], system, "config");
    bed.fleet.assign("clinic", release);
}

/// A host that runs release 1.
fn settled() -> Bed {
    let mut bed = Bed::new();
    offer(&mut bed, &system("one", &[], Lie::None));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    bed.server.reports();
    bed
}

#[test]
fn a_release_reaches_a_host_of_system_manager() {
    let bed = settled();
    assert_eq!(bed.host.text("etc/site"), "one");
    assert!(!bed.host.path("run/current-system").exists());
    let link = fs::read_link(bed.host.path(PROFILE)).unwrap();
    assert_eq!(link.to_string_lossy(), "system-manager-1-link");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{said}");
    assert!(!said["notes"].to_string().contains("drift"), "{said}");
}

#[test]
fn a_file_that_was_passed_over_is_named_and_the_host_goes_back() {
    let mut bed = settled();
    offer(&mut bed, &system("two", &[], Lie::PassesOverFiles));
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    let why = said["event"]["why"].to_string();
    assert!(why.contains("/etc/site.link is not that of the system"), "{why}");
    assert!(said["event"]["log"].to_string().contains("/etc/site.link exists, ignoring"), "{said}");
    assert_eq!(bed.host.text("etc/site"), "one");
    let link = fs::read_link(bed.host.path(PROFILE)).unwrap();
    assert_eq!(
        link.to_string_lossy(),
        "system-manager-1-link",
        "it was the default without a proof"
    );
}

#[test]
fn one_that_says_one_after_its_work_is_good_and_that_is_told() {
    let mut bed = settled();
    offer(&mut bed, &system("two", &[], Lie::SaysOneAfterItsWork));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    assert!(said["notes"].to_string().contains("exit status: 1"), "{said}");
}

#[test]
fn a_file_changed_by_hand_is_put_back() {
    let bed = settled();
    fs::remove_file(bed.host.path("etc/site")).unwrap();
    fs::write(bed.host.path("etc/site"), "by hand").unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(said["notes"].to_string().contains("/etc/site is not that of the system"), "{said}");
    assert_eq!(bed.host.text("etc/site"), "one");
}

#[test]
fn a_full_disk_gives_up_old_generations_and_never_the_last_good_one() {
    let mut bed = settled();
    let two = system("two", &[], Lie::None);
    offer(&mut bed, &two);
    assert_eq!(bed.host.once().0, 0);
    // One that fails leaves no generation; what was good stays the one to keep.
    offer(&mut bed, &system("three", &[], Lie::PassesOverFiles));
    assert_eq!(bed.host.once().0, 1);
    offer(&mut bed, &system("four", &[], Lie::None));
    let (code, said) = bed.host.once_with(&[("AFIELD_FREE", "10")]);
    assert_eq!((code, &said["event"]["code"]), (3, &"no-space".into()), "{said}");
    assert!(said["notes"].to_string().contains("given up: generations 1\""), "{said}");
    let generation =
        |n: u32| bed.host.path(PROFILE).with_file_name(format!("system-manager-{n}-link"));
    assert!(generation(1).symlink_metadata().is_err(), "the old generation holds its system");
    assert!(generation(2).symlink_metadata().is_ok(), "the last good one was given up");
    assert!(
        bed.host.path(&two.path().as_str()[1..]).exists(),
        "the last good system was collected"
    );
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "four");
}

#[test]
fn what_the_installation_wrote_makes_way_and_nothing_else() {
    let mut bed = Bed::new();
    offer(&mut bed, &system("one", &[], Lie::PassesOverFiles));
    fs::write(bed.host.path("etc/site.link"), "# Written by `afield-agent install`.\n").unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(bed.host.text("etc/site.link.from-install").contains("Written by"));

    let mut other = Bed::new();
    offer(&mut other, &system("one", &[], Lie::PassesOverFiles));
    fs::write(other.host.path("etc/site.link"), "somebody's own").unwrap();
    let (code, said) = other.host.once();
    assert_eq!(code, 1, "{said}");
    assert!(said["event"]["why"].to_string().contains("/etc/site.link is not that of"), "{said}");
    assert_eq!(other.host.text("etc/site.link"), "somebody's own");
}
