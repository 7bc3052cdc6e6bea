//! A power cut took bytes of a store path that Nix calls valid: the next run finds it and gets it again.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use afield_testkit::host::{Host, NIX_CONFIG};
use afield_testkit::server::Lie;
use common::Bed;

/// The page of the system's busybox, as a disk leaves it that had written the size and not the content.
fn damage(host: &Host) -> PathBuf {
    let mut paths =
        fs::read_dir(host.path("nix/store")).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.to_string_lossy().ends_with("-busybox")).unwrap();
    let file = path.join("bin/busybox");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, vec![0; bytes.len()]).unwrap();
    // As if the agent had last run in another boot, which had no orderly end.
    fs::write(host.path("var/lib/afield/boot"), "another boot\n").unwrap();
    file
}

fn store_is_well(host: &Host) -> bool {
    let mut verify = Command::new("nix-store");
    verify.arg("--store").arg(host.path("")).args(["--verify", "--check-contents"]);
    verify.env("NIX_CONFIG", NIX_CONFIG).output().unwrap().status.success()
}

#[test]
fn what_a_power_cut_took_is_found_and_repaired() {
    let bed = Bed::settled();
    damage(&bed.host);
    assert!(!store_is_well(&bed.host));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(said["notes"].to_string().contains("is repaired"), "{said}");
    assert!(store_is_well(&bed.host));
    assert!(!bed.host.path("var/lib/afield/unclean.json").exists());
}

#[test]
fn what_cannot_be_repaired_now_is_told_and_repaired_later() {
    let bed = Bed::settled();
    damage(&bed.host);
    bed.server.lie("objects/", Lie::Gone);
    let (_, said) = bed.host.once();
    assert!(said["notes"].to_string().contains("was damaged by a power cut"), "{said}");
    assert!(!store_is_well(&bed.host));
    bed.server.be_honest();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(store_is_well(&bed.host));
}

/// Reading the whole system costs minutes on a slow disk; an orderly boot is not a reason.
#[test]
fn after_an_orderly_end_nothing_is_read() {
    let bed = Bed::settled();
    damage(&bed.host);
    let ended = bed.host.run(&["ended"], &[("SERVICE_RESULT", "success")]);
    assert!(ended.status.success(), "{ended:?}");
    let (_, said) = bed.host.once();
    assert!(!said["notes"].to_string().contains("power cut"), "{said}");
}
