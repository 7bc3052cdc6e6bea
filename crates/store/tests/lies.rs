//! Archives and objects that lie, each by its name.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;

use afield_core::ids::{NarHash, ObjectId};
use afield_core::release::{ObjectRef, PathInfo};
use afield_store::nar::{self, NarError};
use afield_store::object::{self, ObjectError};

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
    out.resize(out.len().div_ceil(8) * 8, 0);
}

fn words(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    words.iter().for_each(|w| text(&mut out, w));
    out
}

fn file(content: &[u8]) -> Vec<u8> {
    words(&[b"(", b"type", b"regular", b"contents", content, b")"])
}

fn folder(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut out = words(&[b"(", b"type", b"directory"]);
    for (name, node) in entries {
        out.extend(words(&[b"entry", b"(", b"name", name, b"node"]));
        out.extend(node);
        out.extend(words(&[b")"]));
    }
    out.extend(words(&[b")"]));
    out
}

fn archive(node: Vec<u8>) -> Vec<u8> {
    [words(&[b"nix-archive-1"]), node].concat()
}

fn prove(bytes: &[u8]) -> Result<(), NarError> {
    nar::prove(bytes, bytes.len() as u64, NarHash::of(bytes))
}

#[test]
fn an_honest_archive_is_proved() {
    let link = words(&[b"(", b"type", b"symlink", b"target", b"../a", b")"]);
    let tool =
        words(&[b"(", b"type", b"regular", b"executable", b"", b"contents", b"#!/bin/sh", b")"]);
    let nar = archive(folder(&[(b"a", file(b"x")), (b"b", tool), (b"c", link)]));
    prove(&nar).unwrap();
    prove(&archive(words(&[b"(", b"type", b"regular", b")"]))).unwrap();
}

#[test]
fn real_nix_writes_what_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("p");
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(root.join("sub/file"), vec![7; 100_001]).unwrap();
    std::os::unix::fs::symlink("sub/file", root.join("link")).unwrap();
    let dump = std::process::Command::new("nix-store").arg("--dump").arg(&root).output();
    let dump = dump.expect("nix-store must be installed (apt-get install nix-bin)");
    assert!(dump.status.success(), "{dump:?}");
    prove(&dump.stdout).unwrap();
}

#[test]
fn unsorted_and_duplicate_entries() {
    for names in [[b"b", b"a"], [b"a", b"a"]] {
        let nar = archive(folder(&[(names[0], file(b"")), (names[1], file(b""))]));
        assert!(matches!(prove(&nar), Err(NarError::Unsorted { .. })));
    }
}

#[test]
fn escaping_entries() {
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b"] {
        let nar = archive(folder(&[(name, file(b""))]));
        assert!(matches!(prove(&nar), Err(NarError::BadName(_))), "{name:?}");
    }
}

#[test]
fn truncated_archive() {
    let nar = archive(folder(&[(b"a", file(b"hello"))]));
    let half = &nar[..nar.len() / 2];
    let found = nar::prove(half, nar.len() as u64, NarHash::of(&nar));
    assert!(matches!(found, Err(NarError::Truncated)), "{found:?}");
    let found = nar::prove(half, half.len() as u64, NarHash::of(half));
    assert!(matches!(found, Err(NarError::Truncated)), "{found:?}");
}

#[test]
fn archive_longer_than_declared() {
    let nar = archive(file(b"hello"));
    let longer = [nar.as_slice(), &[0; 8]].concat();
    let found = nar::prove(longer.as_slice(), nar.len() as u64, NarHash::of(&nar));
    assert!(matches!(found, Err(NarError::TooLong(_))), "{found:?}");
    let short = nar::prove(nar.as_slice(), nar.len() as u64 - 16, NarHash::of(&nar));
    assert!(matches!(short, Err(NarError::TooLong(_))), "{short:?}");
}

#[test]
fn endless_archive() {
    // A file that says it has 2^60 bytes, and keeps sending.
    let mut start = words(&[b"nix-archive-1", b"(", b"type", b"regular", b"contents"]);
    start.extend((1_u64 << 60).to_le_bytes());
    let endless = start.as_slice().chain(std::io::repeat(0));
    let found = nar::prove(endless, 1 << 20, NarHash::of(b""));
    assert!(matches!(found, Err(NarError::TooLong(_))), "{found:?}");
}

#[test]
fn a_word_of_2_to_the_63_bytes_allots_nothing() {
    let mut nar = words(&[b"nix-archive-1", b"(", b"type"]);
    nar.extend((1_u64 << 63).to_le_bytes());
    assert!(matches!(prove(&nar), Err(NarError::Malformed(_))));
}

#[test]
fn folders_without_end() {
    let mut node = file(b"");
    for _ in 0..300 {
        node = folder(&[(b"d", node)]);
    }
    assert!(matches!(prove(&archive(node)), Err(NarError::Malformed(_))));
}

#[test]
fn no_mutation_panics() {
    let nar = archive(folder(&[(b"a", file(b"hello")), (b"b", file(b"there"))]));
    for at in 0..nar.len() {
        for bit in 0..8 {
            let mut bad = nar.clone();
            bad[at] ^= 1 << bit;
            let found = nar::prove(bad.as_slice(), bad.len() as u64, NarHash::of(&nar));
            assert!(found.is_err(), "bit {bit} of byte {at} was changed unseen");
        }
    }
}

struct Object {
    dir: tempfile::TempDir,
    object: ObjectRef,
    info: PathInfo,
    packed: Vec<u8>,
}

impl Object {
    fn new() -> Self {
        let nar = archive(file(&b"hello".repeat(1000)));
        let mut packed = Vec::new();
        let object = object::pack(nar.as_slice(), &mut packed).unwrap();
        let path = format!("/nix/store/{}-hello", "0".repeat(32)).parse().unwrap();
        let nar_size = nar.len() as u64;
        let info = PathInfo { path, nar_hash: NarHash::of(&nar), nar_size, references: vec![] };
        Self { dir: tempfile::tempdir().unwrap(), object, info, packed }
    }

    fn prove(&self, bytes: &[u8]) -> Result<(), ObjectError> {
        let path = self.dir.path().join("object");
        fs::write(&path, bytes).unwrap();
        object::prove(&path, &self.object, &self.info)
    }
}

#[test]
fn an_honest_object_is_proved() {
    let object = Object::new();
    object.prove(&object.packed).unwrap();
    let mut unpacked = Vec::new();
    let file = fs::File::open(object.dir.path().join("object")).unwrap();
    object::unpack(file).unwrap().read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked.len() as u64, object.info.nar_size);
}

#[test]
fn swapped_object() {
    let object = Object::new();
    let mut swapped = object.packed.clone();
    swapped[10] ^= 1;
    assert!(matches!(object.prove(&swapped), Err(ObjectError::Swapped { .. })));
}

#[test]
fn truncated_object() {
    let object = Object::new();
    let half = object.prove(&object.packed[..10]);
    assert!(matches!(half, Err(ObjectError::Length { found: 10, .. })), "{half:?}");
}

#[test]
fn object_longer_than_declared() {
    let object = Object::new();
    let longer = [object.packed.as_slice(), b"x"].concat();
    assert!(matches!(object.prove(&longer), Err(ObjectError::Length { .. })));
}

#[test]
fn object_of_another_path() {
    let mut object = Object::new();
    object.info.nar_hash = NarHash::of(b"another");
    assert!(matches!(object.prove(&object.packed), Err(ObjectError::Nar { .. })));
}

#[test]
fn decompression_bomb() {
    let mut packed = Vec::new();
    let zeros = std::io::repeat(0).take(100 << 20);
    let mut object = Object::new();
    object.object = object::pack(zeros, &mut packed).unwrap();
    assert!(matches!(object.prove(&packed), Err(ObjectError::Nar { .. })));
    let document = object::open_document::<String>(&object.object, &packed);
    assert!(matches!(document, Err(ObjectError::Document { .. })), "{document:?}");
}

#[test]
fn swapped_document() {
    let (object, bytes) = object::pack_document(&"hello").unwrap();
    assert_eq!(object::open_document::<String>(&object, &bytes).unwrap(), "hello");
    let other = ObjectRef { id: ObjectId::of(b"x"), size: object.size };
    let found = object::open_document::<String>(&other, &bytes);
    assert!(matches!(found, Err(ObjectError::Swapped { .. })));
}
