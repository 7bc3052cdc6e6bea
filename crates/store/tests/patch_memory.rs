//! Applying a patch stays below 64 MiB, whatever the length of the files. The kernel tells the
//! peak of a process, so it is applied in a process of its own.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::Command;

use afield_core::ids::NarHash;
use afield_core::release::PathInfo;
use afield_store::nar;
use afield_store::patch::{self, Library, Source};
use sha2::{Digest as _, Sha256};

const MIB: usize = 1 << 20;

fn info(dir: &Path, name: &str) -> PathInfo {
    let mut archive = patch::archive(dir).unwrap();
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; MIB];
    loop {
        let n = archive.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
    let path = format!("/nix/store/{}-{name}", "1".repeat(32));
    PathInfo {
        path: path.parse().unwrap(),
        nar_hash: NarHash::from_bytes(hash.finalize().into()),
        nar_size: size,
        references: vec![],
    }
}

/// A file that changed in many places, and one of 128 MiB that did not.
fn package(dir: &Path, changed: bool) {
    fs::create_dir_all(dir).unwrap();
    let mut state: u64 = 7;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let mut bytes: Vec<u8> = (0..12 * MIB).map(|_| next() as u8).collect();
    if changed {
        for _ in 0..4000 {
            let at = next() % bytes.len();
            bytes[at] ^= 1;
        }
        bytes.splice(5 * MIB..5 * MIB, (0..200_000).map(|_| next() as u8));
    }
    fs::write(dir.join("changed"), &bytes).unwrap();
    // Compressed files: most of it letters, the rest as it is.
    let letters = bytes.iter().map(|b| b' ' + b % 64).chain(bytes.iter().copied().take(MIB));
    let content: Vec<u8> = letters.cycle().take(6 * MIB).collect();
    for (name, args) in [("gz", &["gzip", "-6n"][..]), ("xz", &["xz", "-3"])] {
        let path = dir.join(name);
        fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        let packed = Command::new(args[0]).args(&args[1..]).arg("-c").stdin(file).output().unwrap();
        assert!(packed.status.success(), "{args:?}");
        fs::write(&path, packed.stdout).unwrap();
    }
    // Mostly a hole, so that the test needs no room.
    let mut same = File::create(dir.join("same")).unwrap();
    same.seek(io::SeekFrom::Start(128 * MIB as u64)).unwrap();
    same.write_all(b"end").unwrap();
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Tells the child which folder the patch lies in.
const FOLDER: &str = "AFIELD_TEST_PATCH_FOLDER";

/// The child: applies the patch, and does nothing else that takes memory.
fn apply(dir: &Path) {
    let infos = fs::read(dir.join("infos")).unwrap();
    let (old, new): (PathInfo, PathInfo) = serde_json::from_slice(&infos).unwrap();
    let base = Source { info: &old, dir: &dir.join("a") };
    let from = io::BufReader::new(File::open(dir.join("patch")).unwrap());
    let to = io::BufWriter::new(File::create(dir.join("nar")).unwrap());
    patch::apply(from, &new, &[base], dir, to).unwrap();
    let peak = peak();
    assert!(peak < 64 * 1024, "{peak} KiB");
    let nar = io::BufReader::new(File::open(dir.join("nar")).unwrap());
    nar::prove(nar, new.nar_size, new.nar_hash).unwrap();
}

#[test]
fn applying_a_patch_takes_less_than_64_mib() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return apply(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    package(&a, false);
    package(&b, true);
    let (old, new) = (info(&a, "big-1"), info(&b, "big-2"));
    let library = Library::new([Source { info: &old, dir: &a }]);
    let target = Source { info: &new, dir: &b };
    let out = io::BufWriter::new(File::create(dir.path().join("patch")).unwrap());
    let made = patch::make(&target, &library.unwrap(), dir.path(), None, out);
    let made = made.unwrap().unwrap();
    assert!(made.opened == 2 && made.size < 900_000, "{made:?}");
    let infos = serde_json::to_vec(&(&old, &new)).unwrap();
    fs::write(dir.path().join("infos"), infos).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "applying_a_patch_takes_less_than_64_mib"])
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}
