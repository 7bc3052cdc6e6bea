//! Patches through their public face: what they make, and what is refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::ids::NarHash;
use afield_core::release::PathInfo;
use afield_store::nar::{self, NarError};
use afield_store::patch::{self, Library, Made, PatchError, Source};

/// Numbers that repeat from run to run.
struct Seed(u64);

impl Seed {
    fn next(&mut self, below: usize) -> usize {
        let state = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = state.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next(256) as u8).collect()
    }
}

fn hash(c: char) -> String {
    c.to_string().repeat(32)
}

fn store_path(c: char, name: &str) -> String {
    format!("/nix/store/{}-{name}", hash(c))
}

/// A store path in a folder of its own.
struct Thing {
    info: PathInfo,
    dir: PathBuf,
}

impl Thing {
    fn new(dir: PathBuf, path: &str, references: &[String]) -> Self {
        let mut nar = Vec::new();
        patch::archive(&dir).unwrap().read_to_end(&mut nar).unwrap();
        let info = PathInfo {
            path: path.parse().unwrap(),
            nar_hash: NarHash::of(&nar),
            nar_size: nar.len() as u64,
            references: references.iter().map(|r| r.parse().unwrap()).collect(),
        };
        Self { info, dir }
    }

    fn source(&self) -> Source<'_> {
        Source { info: &self.info, dir: &self.dir }
    }
}

/// An old and a new package: rebuilt against another library, and changed here and there.
struct World {
    dir: tempfile::TempDir,
    old: Thing,
    new: Thing,
}

fn package(root: &Path, own: &str, library: &str, program: &[u8], text: &str) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("share/empty")).unwrap();
    let tool = root.join("bin/tool");
    let rpath = format!("{library}/lib:{own}/lib\0");
    fs::write(&tool, [&program[..5000], rpath.as_bytes(), &program[5000..]].concat()).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("share/none"), b"").unwrap();
    fs::write(root.join("share/text"), text).unwrap();
    symlink(format!("{library}/lib/libx.so"), root.join("bin/link")).unwrap();
    symlink(format!("{own}/bin/tool"), root.join("self")).unwrap();
}

impl World {
    fn new(change: impl FnOnce(&mut Vec<u8>, &mut String, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Seed(1).bytes(60_000);
        let mut text = String::from("one\ntwo\nthree\n").repeat(30);
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let old_refs = [store_path('1', "x-1.0"), store_path('a', "tool-1.0")];
        let new_refs = [store_path('2', "x-1.1"), store_path('b', "tool-1.1")];
        package(&a, &old_refs[1], &old_refs[0], &program, &text);
        fs::create_dir_all(b.join("extra")).unwrap();
        change(&mut program, &mut text, &b);
        package(&b, &new_refs[1], &new_refs[0], &program, &text);
        fs::remove_dir(b.join("extra")).ok();
        Self {
            old: Thing::new(a, &old_refs[1], &old_refs),
            new: Thing::new(b, &new_refs[1], &new_refs),
            dir,
        }
    }

    fn make(&self) -> (Vec<u8>, Made) {
        let library = Library::new([self.old.source()]).unwrap();
        let mut out = Vec::new();
        let made = patch::make(&self.new.source(), &library, self.dir.path(), None, &mut out);
        let made = made.unwrap().expect("there is a base");
        assert_eq!(made.size, out.len() as u64);
        (out, made)
    }

    fn apply(&self, patch: &[u8], bases: &[Source]) -> Result<Vec<u8>, PatchError> {
        let mut out = Vec::new();
        patch::apply(patch, &self.new.info, bases, self.dir.path(), &mut out)?;
        Ok(out)
    }

    fn prove(&self, nar: &[u8]) -> Result<(), NarError> {
        nar::prove(nar, self.new.info.nar_size, self.new.info.nar_hash)
    }

    /// Makes, applies and proves; returns the length of the patch.
    fn round(&self) -> u64 {
        let (patch, made) = self.make();
        let nar = self.apply(&patch, &[self.old.source()]).unwrap();
        self.prove(&nar).unwrap();
        made.size
    }
}

#[test]
fn the_archive_of_a_folder_is_what_nix_writes() {
    let world = World::new(|_, _, _| ());
    let dump = Command::new("nix-store")
        .arg("--dump")
        .arg(&world.new.dir)
        .output()
        .expect("nix-store must be installed (apt-get install nix-bin)");
    let mut nar = Vec::new();
    patch::archive(&world.new.dir).unwrap().read_to_end(&mut nar).unwrap();
    assert!(nar == dump.stdout, "{} and {} bytes", nar.len(), dump.stdout.len());
}

#[test]
fn a_rebuild_costs_next_to_nothing() {
    // Only hashes of references are different: in files, in symlinks, its own among them.
    let size = World::new(|_, _, _| ()).round();
    assert!(size < 64, "{size} bytes");
}

#[test]
fn small_changes_cost_little() {
    let size = World::new(|program, text, _| {
        program[30_000..30_010].fill(7);
        program.splice(40_000..40_000, *b"inserted");
        text.push_str("four\n");
    })
    .round();
    assert!(size < 300, "{size} bytes");
}

#[test]
fn renamed_and_new_files() {
    let mut content = Seed(9).bytes(20_000);
    let size = World::new(|program, _, root| {
        // What was bin/tool is now also somewhere else.
        fs::create_dir_all(root.join("lib")).unwrap();
        fs::write(root.join("lib/new"), &content[..1000]).unwrap();
        program.truncate(59_000);
    })
    .round();
    assert!((1000..1500).contains(&size), "{size} bytes");
    // A file that moved between store paths.
    let world = World::new(|_, _, root| {
        fs::write(root.join("moved"), &content).unwrap();
    });
    let other = world.dir.path().join("other");
    fs::write(&other, &content).unwrap();
    let other = Thing::new(other, &store_path('c', "data"), &[]);
    let library = Library::new([world.old.source(), other.source()]).unwrap();
    let mut out = Vec::new();
    let made = patch::make(&world.new.source(), &library, world.dir.path(), None, &mut out)
        .unwrap()
        .unwrap();
    assert!(made.size < 200, "{made:?}");
    assert_eq!(made.bases, [world.old.info.path.clone(), other.info.path.clone()]);
    let bases = [world.old.source(), other.source()];
    world.prove(&world.apply(&out, &bases).unwrap()).unwrap();
    content.clear();
}

/// What a real program makes of a content.
fn packed(command: &str, content: &[u8]) -> Vec<u8> {
    let mut words = command.split(' ');
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command}: {e}"));
    let mut to = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || to.write_all(&content).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.success(), "{command}");
    out.stdout
}

/// A file in two versions, in a package of which nothing else changed.
fn update(old: &[u8], new: &[u8]) -> World {
    let world = World::new(|_, _, root| fs::write(root.join("file"), new).unwrap());
    fs::write(world.old.dir.join("file"), old).unwrap();
    let refs: Vec<String> = world.old.info.references.iter().map(ToString::to_string).collect();
    let old = Thing::new(world.old.dir.clone(), world.old.info.path.as_str(), &refs);
    World { old, ..world }
}

/// Lines that nothing foretells.
fn history(lines: usize, seed: u64) -> String {
    let mut seed = Seed(seed);
    (0..lines).map(|_| format!("entry {}\n", seed.next(1 << 30))).collect()
}

#[test]
fn compressed_files_are_patched_inside() {
    let (old, new) = (history(4000, 5), format!("news\n{}", history(4000, 5)));
    for command in [
        "gzip -9n",
        "xz -c",
        "xz -c -9",
        "xz -c -T2 --block-size=20000",
        "xz -c --check=crc32 --lzma2=dict=1MiB",
        "zstd -q -c -1",
    ] {
        let world = update(&packed(command, old.as_bytes()), &packed(command, new.as_bytes()));
        let (_, made) = world.make();
        assert_eq!((made.opened, made.closed, made.closed_for_memory), (1, 0, 0), "{command}");
        let size = world.round();
        assert!(size < 250, "{command}: {size} bytes");
    }
}

#[test]
fn what_takes_a_host_too_much_memory_stays_closed_and_is_counted() {
    // Long enough for the memory, and not so alike that it looks like a bomb.
    let text = history(8000, 6).repeat(50);
    let command = "xz -c -0 --lzma2=preset=0,dict=64MiB";
    let world = update(&packed(command, text.as_bytes()), &packed(command, &text.as_bytes()[9..]));
    let (_, made) = world.make();
    assert_eq!((made.opened, made.closed, made.closed_for_memory), (0, 0, 1));
    world.round();
}

/// An archive as the kernel unpacks it at boot (cpio, newc).
fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in members.iter().chain(&[("TRAILER!!!", &[][..])]) {
        let fields = [0, 0o100644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend(b"070701");
        fields.iter().for_each(|f| out.extend(format!("{f:08x}").into_bytes()));
        out.extend(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(*data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

#[test]
fn an_initrd_is_patched_inside_its_modules() {
    let module = |text: &str| packed("xz -c --check=crc32 --lzma2=dict=1MiB", text.as_bytes());
    let initrd = |command: &str, version: &str, first: &str, second: &str| {
        let names = ["a", "b"].map(|m| format!("lib/modules/6.1.{version}/{m}.ko.xz"));
        let modules = [module(first), module(second)];
        let root =
            cpio(&[("init", b"#!/bin/sh\n"), (&names[0], &modules[0]), (&names[1], &modules[1])]);
        [cpio(&[("kernel/x86/microcode", &[7; 3000])]), packed(command, &root)].concat()
    };
    let (a, b) = (history(4000, 1), history(4000, 2));
    let changed = b.replacen("entry", "changed", 1);
    for command in ["gzip -9n", "xz -c --check=crc32", "zstd -q -c -1"] {
        let old = initrd(command, "5", &a, &b);
        let world = update(&old, &initrd(command, "12", &a, &changed));
        let (_, made) = world.make();
        // The archive, and the module that changed; the other one is the same as it was.
        assert_eq!(made.opened, 2, "{command}: {made:?}");
        let size = world.round();
        assert!(size < 400, "{command}: {size} bytes");
    }
}

#[test]
fn a_kernel_is_patched_inside_its_payload() {
    let kernel = |text: &str| {
        let mut image = Seed(8).bytes(4 * 512);
        image[0x1F1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        let mut payload = packed("xz -c --check=crc32 --x86 --lzma2=dict=1MiB", text.as_bytes());
        payload.extend((text.len() as u32).to_le_bytes());
        let length = payload.len() as u32;
        image[0x248..0x24C].copy_from_slice(&512_u32.to_le_bytes());
        image[0x24C..0x250].copy_from_slice(&length.to_le_bytes());
        [image, payload, Seed(9).bytes(5000)].concat()
    };
    let text = history(5000, 3);
    let world = update(&kernel(&text), &kernel(&text.replacen("entry", "another entry", 1)));
    assert_eq!(world.make().1.opened, 1);
    let size = world.round();
    assert!(size < 250, "{size} bytes");
    // An image that lies about its payload is a file like any other.
    let mut bad = kernel(&text);
    bad[0x248..0x24C].copy_from_slice(&u32::MAX.to_le_bytes());
    update(&kernel(&text), &bad).round();
}

#[test]
fn nothing_alike_is_no_patch() {
    let world = World::new(|_, _, _| ());
    let library = Library::new([]).unwrap();
    let made = patch::make(&world.new.source(), &library, world.dir.path(), None, Vec::new());
    assert_eq!(made.unwrap(), None);
}

#[test]
fn what_takes_too_long_is_given_up() {
    let world = World::new(|program, _, _| program[1] = 1);
    let library = Library::new([world.old.source()]).unwrap();
    let now = Some(std::time::Instant::now());
    let made = patch::make(&world.new.source(), &library, world.dir.path(), now, std::io::sink());
    assert!(matches!(made, Err(PatchError::Late)), "{made:?}");
}

#[test]
fn files_of_odd_sizes() {
    for size in [0, 1, 7, 8, 9, 31, 32, 33, 65_535, 65_536, 65_537, 131_072] {
        World::new(|program, _, root| {
            fs::write(root.join("odd"), Seed(3).bytes(size)).unwrap();
            program.extend(Seed(4).bytes(size));
        })
        .round();
    }
}

#[test]
fn truncated_patch() {
    let world = World::new(|program, _, _| program[100..200].fill(1));
    let (patch, _) = world.make();
    for cut in 0..patch.len() {
        let found = world.apply(&patch[..cut], &[world.old.source()]);
        assert!(matches!(found, Err(PatchError::Truncated)), "{cut}: {found:?}");
    }
}

#[test]
fn patch_longer_than_itself() {
    let world = World::new(|_, _, _| ());
    let (mut patch, _) = world.make();
    patch.push(0);
    let found = world.apply(&patch, &[world.old.source()]);
    assert!(matches!(found, Err(PatchError::Corrupt(_))), "{found:?}");
}

#[test]
fn something_else_than_a_patch() {
    let world = World::new(|_, _, _| ());
    let (mut patch, _) = world.make();
    let found = world.apply(&[b'x'; 100], &[world.old.source()]);
    assert!(matches!(found, Err(PatchError::NotAPatch)), "{found:?}");
    patch[7] = 3;
    let found = world.apply(&patch, &[world.old.source()]);
    assert!(matches!(found, Err(PatchError::Format(3))), "{found:?}");
}

#[test]
fn swapped_patch() {
    let world = World::new(|program, _, _| program[1] = 1);
    let other = World::new(|program, _, _| program[2] = 2);
    let found = world.apply(&other.make().0, &[world.old.source()]);
    assert!(matches!(found, Err(PatchError::OtherTarget(_))), "{found:?}");
}

#[test]
fn oversized_patch() {
    let mut world = World::new(|_, _, _| ());
    let (patch, _) = world.make();
    world.new.info.nar_size -= 8;
    let found = world.apply(&patch, &[world.old.source()]);
    assert!(matches!(found, Err(PatchError::Size { .. })), "{found:?}");
}

#[test]
fn wrong_bases() {
    let world = World::new(|_, _, _| ());
    let (patch, _) = world.make();
    let found = world.apply(&patch, &[world.new.source()]);
    assert!(matches!(found, Err(PatchError::WrongBase(p)) if p == world.new.info.path));
    let found = world.apply(&patch, &[]);
    assert!(matches!(found, Err(PatchError::BaseCount { wanted: 1, found: 0 })));
}

#[test]
fn base_changed_on_disk() {
    let world = World::new(|program, _, _| program[1] = 1);
    let (patch, _) = world.make();
    let bases = [world.old.source()];
    patch::blame(&bases).unwrap();
    // As long as before: the end does not fit, or the proof sees it; the blame tells where it comes from.
    let tool = world.old.dir.join("bin/tool");
    let mut bytes = fs::read(&tool).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&tool, &bytes).unwrap();
    let found = world.apply(&patch, &bases);
    assert!(found.is_err() || world.prove(&found.unwrap()).is_err());
    let found = patch::blame(&bases);
    assert!(
        matches!(found, Err(PatchError::BaseChanged { path, .. }) if path == world.old.info.path)
    );
    // Shorter, or gone: it is refused before anything is made.
    bytes.pop();
    fs::write(&tool, &bytes[..100]).unwrap();
    let found = world.apply(&patch, &bases);
    assert!(matches!(found, Err(PatchError::BaseChanged { .. })), "{found:?}");
    fs::remove_dir_all(&world.old.dir).unwrap();
    let found = world.apply(&patch, &bases);
    assert!(matches!(found, Err(PatchError::BaseChanged { .. })), "{found:?}");
}

#[test]
fn corrupted_patches_never_panic_and_never_pass() {
    let world = World::new(|program, text, root| {
        program[3000..3100].fill(1);
        text.push_str("new words at the end");
        fs::write(root.join("new"), "fresh text ".repeat(20)).unwrap();
        fs::write(root.join("packed"), packed("xz -c -0", history(50, 1).as_bytes())).unwrap();
    });
    let (patch, made) = world.make();
    assert_eq!(made.opened, 1);
    let bases = [world.old.source()];
    let mut seed = Seed(42);
    let (mut seen, mut refused) = (0, 0);
    for _ in 0..300 {
        let mut bad = patch.clone();
        for _ in 0..1 + seed.next(3) {
            let at = 13 + seed.next(bad.len() - 13);
            match seed.next(3) {
                0 => bad[at] ^= 1 << seed.next(8),
                1 => bad[at] = seed.next(256) as u8,
                _ => drop(bad.remove(at)),
            }
        }
        if bad == patch {
            continue;
        }
        seen += 1;
        match world.apply(&bad, &bases) {
            Err(_) => refused += 1,
            Ok(nar) => assert!(world.prove(&nar).is_err(), "a changed patch made the target"),
        }
    }
    assert!(refused + 2 >= seen, "only {refused} of {seen} were refused before the proof");
}
