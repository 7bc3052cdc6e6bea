//! What comes on a stick: a bundle that is one file, the note in it, and what a host sends back.

use std::fs::{self, File};
use std::io::Read as _;

use afield_core::bundle::{FORMAT, NOTE, Note, Package, Standing};
use afield_core::plan::Generation;
use afield_core::signed::{Envelope, SecretKey};
use afield_store::archive::Index;
use afield_store::mirror::{Archive, Item, Place as _, Rank};
use jiff::Timestamp;

use super::target;
use crate::{Reader, Target};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        target(
            "bundle",
            400,
            &["ustar\0", "ustar  \0", "././@LongLink", "7777777777777", NOTE, "x", "L"],
            bundle_seeds,
            open_bundle,
        ),
        target(
            "note",
            1000,
            &["\"format\":2", "\"hosts\":["],
            || vec![serde_json::to_vec(&note()).unwrap()],
            || Box::new(|input| drop(serde_json::from_slice::<Note>(input))),
        ),
        target(
            "package",
            1000,
            &["\"format\":2", "ed25519:", "\"standing\":", "\"failed\":["],
            package_seeds,
            || Box::new(package),
        ),
    ]
}

fn note() -> Note {
    Note {
        format: FORMAT,
        fleet: "field".parse().unwrap(),
        hosts: vec!["nuc-juba".parse().unwrap(), "ship-1".parse().unwrap()],
        made: Timestamp::UNIX_EPOCH,
        expires: Timestamp::MAX,
    }
}

/// An archive as `afield bundle export` makes it.
fn bundle_seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stick.tar");
    let mut archive = Archive::new(&file);
    let content = [(NOTE, serde_json::to_vec(&note()).unwrap()), ("objects/pack", vec![7; 3000])];
    for (number, (name, bytes)) in content.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        fs::write(&path, &bytes).unwrap();
        let size = bytes.len() as u64;
        let item = Item { rank: Rank::Content, name: name.into(), size, path };
        archive.put(&item).unwrap();
    }
    archive.finish().unwrap();
    vec![fs::read(file).unwrap()]
}

/// Checksums that fit, as whoever wrote the archive would make them: the octal sum of a header's bytes, its own eight
/// counted as blanks (POSIX pax(1), "ustar Interchange Format").
fn summed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for header in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

fn open_bundle() -> Reader {
    let dir = tempfile::tempdir().unwrap();
    Box::new(move |input| {
        let path = dir.path().join("stick.tar");
        fs::write(&path, summed(input)).unwrap();
        let Ok(index) = Index::open(&path, File::open(&path).unwrap()) else { return };
        for name in [NOTE, "objects/pack"] {
            for from in [0, 1000, u64::MAX] {
                let Some((mut file, size)) = index.read(name, from).unwrap() else { continue };
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert!(size <= input.len() as u64, "a file is longer than the archive");
                assert_eq!(bytes.len() as u64, size.saturating_sub(from), "all of it is there");
            }
        }
    })
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn package_seeds() -> Vec<Vec<u8>> {
    let standing = Standing {
        fleet: "field".parse().unwrap(),
        host: "nuc-juba".parse().unwrap(),
        time: Timestamp::UNIX_EPOCH,
        agent: "0.1.0".into(),
        release_seen: Some(afield_core::ids::ReleaseId(3)),
        good: Generation::default(),
        attempt: None,
        failed: vec![afield_core::ids::ReleaseId(2)],
        log: vec!["x".into(); 5],
    };
    let standing_alone = serde_json::to_vec(&standing).unwrap();
    let standing = Envelope::seal(&standing, &key()).unwrap();
    let package = Package { format: FORMAT, standing: standing.clone(), reports: vec![standing] };
    vec![serde_json::to_vec(&package).unwrap(), standing_alone]
}

/// What was sealed to the hub, and what is inside, as if the host had signed it.
fn package(input: &[u8]) {
    if let Ok(package) = serde_json::from_slice::<Package>(input) {
        let _ = package.standing.open::<Standing>(&[key().public()], 1);
    }
    let Ok(standing) = serde_json::from_slice::<Standing>(input) else { return };
    let envelope = Envelope::seal(&standing, &key()).unwrap();
    assert_eq!(envelope.open::<Standing>(&[key().public()], 1).ok(), Some(standing));
}
