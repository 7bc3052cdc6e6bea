//! Updates that travel as patches; and what becomes of patches that do not serve: the full object is the way out, and
//! the report names why.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use afield_core::ids::{ReleaseId, StorePath};
use afield_testkit::server::{Lie, Request};
use afield_testkit::system::Contract;
use common::Bed;

/// A host on release 1, and release 2 as a patch whose bytes were changed like this.
fn patched(twist: Option<fn(&mut Vec<u8>)>) -> Bed {
    let mut bed = Bed::settled();
    bed.fleet.twist = twist;
    bed.offer_patched("two", Contract::Honest, "config two");
    bed
}

/// Where the patch of release 2 stands: pack, first byte and the one behind the last.
fn place(bed: &Bed) -> (String, u64, u64) {
    let delivery = bed.delivery(ReleaseId(2));
    let ways = delivery.offers.keys().flat_map(|path| delivery.ways(path));
    let way = ways.into_iter().find(|way| !way.bases.is_empty()).expect("there is a patch");
    let slice = delivery.slice(&way).unwrap();
    (slice.pack.id.hex(), slice.offset, slice.offset + way.object.size)
}

fn asked(bed: &Bed, pack: &str) -> Vec<(u64, Option<u64>)> {
    let requests: Vec<Request> = bed.server.requests();
    let requests = requests.iter().filter(|r| r.path.ends_with(pack));
    requests.map(|r| (r.from, r.to)).collect()
}

/// The host gets release 2 all the same, and says this about the patch.
fn full_object_serves(bed: &Bed, note: &str) {
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    let notes: Vec<String> = bed.server.reports().into_iter().flat_map(|r| r.notes).collect();
    assert!(notes.iter().any(|n| n.contains(note)), "no {note:?} in {notes:?}");
}

#[test]
fn a_patch_makes_the_next_system() {
    let bed = patched(None);
    let (pack, from, to) = place(&bed);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    assert_eq!(said["notes"], serde_json::json!([]), "{said}");
    assert_eq!(asked(&bed, &pack), [(from, Some(to))], "the patch and nothing else");
}

#[test]
fn base_changed_on_disk() {
    let bed = patched(None);
    let system: StorePath = bed.host.current().unwrap().parse().unwrap();
    let file = bed.host.path(&system.as_str()[1..]).join("bin/switch-to-configuration");
    let mut bytes = fs::read(&file).unwrap();
    bytes[3] ^= 1;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&file, bytes).unwrap();
    full_object_serves(&bed, "is not what it was when it was installed");
}

#[test]
fn base_that_is_gone() {
    let bed = patched(None);
    let (pack, from, to) = place(&bed);
    fs::remove_dir_all(bed.host.path("nix")).unwrap();
    fs::create_dir_all(bed.host.path("nix/store")).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    let asked = asked(&bed, &pack);
    assert!(asked.iter().all(|(f, t)| *f >= to || t.is_some_and(|t| t <= from)), "{asked:?}");
}

#[test]
fn patch_of_something_else() {
    let bed = patched(Some(|bytes| bytes[9] ^= 1));
    full_object_serves(&bed, "it was swapped");
}

#[test]
fn patch_with_a_wrong_base() {
    let bed = patched(Some(|bytes| bytes[14] ^= 1));
    full_object_serves(&bed, "was made against another content");
}

#[test]
fn patch_that_unpacks_for_ever() {
    let bed = patched(Some(|bytes| {
        let header = 13 + 4 * usize::from(bytes[12]);
        bytes[header..].fill(0xff);
    }));
    full_object_serves(&bed, "does not serve");
}

#[test]
fn patch_that_no_source_has() {
    let bed = patched(None);
    let (pack, ..) = place(&bed);
    bed.server.lie(&pack, Lie::Gone);
    full_object_serves(&bed, "was fetched as a full object");
}

#[test]
fn pack_that_lies_about_a_patch() {
    let bed = patched(None);
    let (pack, from, _) = place(&bed);
    let path = bed.fleet.path().join("objects").join(&pack[..2]).join(&pack);
    let mut bytes = fs::read(path).unwrap();
    bytes[from as usize + 5] ^= 1;
    bed.server.lie(&pack, Lie::Content(bytes));
    full_object_serves(&bed, "was fetched as a full object");
}
