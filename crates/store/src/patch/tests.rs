//! Patches that no honest Afield makes: each is refused by its name, before anything is written if possible.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;

use afield_core::ids::NarHash;
use afield_core::release::PathInfo;

use super::bases::Opened;
use super::codec::Recipe;
use super::coder::{Decoder, Encoder};
use super::number::Number;
use super::plan::{Op, Pair, Plan, Section};
use super::program::Image;
use super::{PatchError, Source, apply, archive, header};

const SIZE: u64 = 1000;

/// A base with one file, and a target of 1000 bytes that no honest patch can make.
struct Case {
    dir: tempfile::TempDir,
    base: PathInfo,
    target: PathInfo,
}

fn info(name: &str, nar: &[u8]) -> PathInfo {
    let path = format!("/nix/store/{}-{name}", "0".repeat(32));
    PathInfo {
        path: path.parse().unwrap(),
        nar_hash: NarHash::of(nar),
        nar_size: nar.len() as u64,
        references: vec![],
    }
}

impl Case {
    fn new() -> Self {
        Self::of(&[b'x'; 3000])
    }

    fn of(base: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("base");
        fs::write(&root, base).unwrap();
        let mut nar = Vec::new();
        std::io::Read::read_to_end(&mut archive(&root).unwrap(), &mut nar).unwrap();
        Self { base: info("base", &nar), target: info("target", &vec![0; SIZE as usize]), dir }
    }

    /// What applying a patch with this plan and no bytes says.
    fn lie(&self, mut plan: Plan) -> PatchError {
        let root = self.dir.path().join("base");
        let bases = [Source { info: &self.base, dir: &root }];
        let mut coder = Encoder::new(header(&self.target, &bases));
        // What cannot even be written is refused by the same checks that a reader makes.
        if let Err(e) = plan.code(&mut coder) {
            return e;
        }
        let (mut patch, _) = coder.finish().unwrap();
        if plan.ops.iter().any(|op| op.fresh > 0) {
            patch.extend([0x5A; 64]);
        }
        let mut out = Vec::new();
        let scratch: &Path = self.dir.path();
        let found = apply(patch.as_slice(), &self.target, &bases, scratch, &mut out);
        assert!(out.len() as u64 <= SIZE, "{} bytes were written", out.len());
        found.unwrap_err()
    }
}

fn plan(ops: &[(u64, u64, u64)]) -> Plan {
    let op = |(fresh, copy, from): &(u64, u64, u64)| Op {
        fresh: *fresh,
        copy: *copy,
        from: *from,
        exact: true,
    };
    Plan {
        size: SIZE,
        sections: vec![Section { plain: SIZE, ..Section::default() }],
        ops: ops.iter().map(op).collect(),
        ..Plan::default()
    }
}

#[test]
fn looping_patch() {
    let case = Case::new();
    let found = case.lie(plan(&[(0, 500, 0), (0, 0, 0), (0, 500, 0)]));
    assert!(matches!(found, PatchError::Looping), "{found:?}");
    // Contents without content.
    let mut empty = plan(&[(0, 1000, 0)]);
    empty.recipes = vec![gzip()];
    let (begin, end) = (Section { plain: 0, step: 1 }, Section::default());
    empty.sections = [[begin, end]; 1000].into_iter().flatten().chain(empty.sections).collect();
    let found = case.lie(empty);
    assert!(matches!(found, PatchError::Looping), "{found:?}");
}

#[test]
fn sections_that_do_not_fit_together() {
    let case = Case::new();
    let section = |plain, step| Section { plain, step };
    for sections in [
        vec![],
        vec![section(1000, 1)],
        vec![section(500, 0), section(500, 0)],
        vec![section(400, 1), section(600, 0)],
        vec![section(400, 0), section(400, 1), section(200, 0)],
        vec![section(400, 2), section(400, 0), section(200, 0)],
        vec![section(400, u64::MAX), section(400, 0), section(200, 0)],
        vec![Section::default(); 1000],
    ] {
        let mut bad = plan(&[(0, 1000, 0)]);
        bad.recipes = vec![gzip()];
        bad.sections = sections.clone();
        let found = case.lie(bad);
        assert!(matches!(found, PatchError::Corrupt(_)), "{sections:?}: {found:?}");
    }
    // Deeper than anything is packed.
    let mut deep = plan(&[(0, 1000, 0)]);
    deep.recipes = vec![gzip()];
    deep.sections = vec![section(100, 1); 9];
    deep.sections.push(section(100, 0));
    deep.sections.extend(vec![section(0, 0); 9]);
    let found = case.lie(deep);
    assert!(matches!(found, PatchError::TooLarge(_)), "{found:?}");
}

#[test]
fn compressors_that_take_too_much_memory() {
    let case = Case::new();
    for (kind, fields) in [
        // xz -9: a window of 64 MiB.
        (1, &[9, 26, 28, 93, 0, 4, 0, 12, 0][..]),
        // zstd -22, of a length that is not known.
        (2, &[22, 1, 0, 0, 0]),
    ] {
        let mut greedy = plan(&[(0, 1000, 0)]);
        greedy.recipes = vec![recipe(kind, fields).unwrap()];
        greedy.sections = vec![
            Section { plain: 10, step: 1 },
            Section { plain: 990, step: 0 },
            Section::default(),
        ];
        let found = case.lie(greedy);
        assert!(matches!(found, PatchError::TooLarge(_)), "{fields:?}: {found:?}");
    }
}

#[test]
fn recipes_that_do_not_exist() {
    let all: [(u64, &[u64]); 9] = [
        (0, &[99]),
        (1, &[10, 20, 28, 93, 0, 4, 0, 12, 0]),
        (1, &[6, 63, 28, 93, 0, 4, 0, 12, 0]),
        (1, &[6, 20, 28, 225, 0, 4, 0, 12, 0]),
        (1, &[6, 20, 28, 93, 3, 4, 0, 12, 0]),
        (1, &[6, 20, 28, 93, 0, 4, 0, 1 << 40, 0]),
        (2, &[0, 1, 0, 0, 0]),
        (2, &[3, 1, 0, 0, 64]),
        (3, &[0]),
    ];
    for (kind, fields) in all {
        let found = recipe(kind, fields);
        assert!(matches!(found, Err(PatchError::Corrupt(_))), "{kind} {fields:?}: {found:?}");
    }
}

/// A recipe as a patch tells it.
fn recipe(kind: u64, fields: &[u64]) -> Result<Recipe, PatchError> {
    let mut coder = Encoder::new(Vec::new());
    let mut numbers = Number::new();
    for n in [kind].iter().chain(fields) {
        numbers.code(&mut coder, *n).unwrap();
    }
    let (mut bytes, _) = coder.finish().unwrap();
    bytes.extend([0; 8]);
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    Recipe::code(None, &mut decoder, &mut Number::new())
}

fn gzip() -> Recipe {
    recipe(0, &[0]).unwrap()
}

#[test]
fn oversized_patch() {
    let case = Case::new();
    let mut large = plan(&[(0, 1000, 0)]);
    large.size = 1 << 40;
    let found = case.lie(large);
    let signed = SIZE;
    assert!(
        matches!(found, PatchError::Size { signed: s, found } if s == signed && found == 1 << 40)
    );
}

#[test]
fn patch_with_too_many_parts() {
    let mut coder = Encoder::new(Vec::new());
    let mut lengths = Number::new();
    // Size, no hashes, no opened files, no recipes, no sections, and more operations than memory.
    for n in [SIZE, 0, 0, 0, 0, 1 << 50] {
        lengths.code(&mut coder, n).unwrap();
    }
    let (bytes, _) = coder.finish().unwrap();
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let found = Plan::default().code(&mut decoder);
    assert!(matches!(found, Err(PatchError::TooLarge(_))), "{found:?}");
}

#[test]
fn copies_from_outside_the_bases() {
    let case = Case::new();
    for from in [1 << 20, u64::MAX - 500, i64::MAX as u64] {
        let found = case.lie(plan(&[(0, 1000, from)]));
        assert!(matches!(found, PatchError::Corrupt(_)), "{from}: {found:?}");
    }
}

#[test]
fn decompression_bombs() {
    let case = Case::new();
    // More bytes than there are to make.
    for ops in [&[(u64::MAX, 0, 0)][..], &[(0, 1001, 0)], &[(u64::MAX, 1 << 40, 0)]] {
        let found = case.lie(plan(ops));
        assert!(matches!(found, PatchError::Bomb), "{ops:?}: {found:?}");
    }
    // A content that is larger than any compression allows.
    let mut raw = plan(&[]);
    raw.sections[0].plain = 2_000_000;
    let found = case.lie(raw);
    assert!(matches!(found, PatchError::Bomb), "{found:?}");
    // A base that opens to more than it can.
    let mut opened = plan(&[(0, 1000, 0)]);
    opened.opened = vec![Opened { at: 0, packed: 100, raw: 1 << 50 }];
    let found = case.lie(opened);
    assert!(matches!(found, PatchError::Bomb), "{found:?}");
}

#[test]
fn opened_content_that_does_not_fit() {
    let case = Case::new();
    // A thousand bytes x, of which 900 are said to be compressed in the target: closed again they are a few.
    let mut small = plan(&[(0, 1000, 100)]);
    small.recipes = vec![gzip()];
    small.sections =
        vec![Section { plain: 100, step: 1 }, Section { plain: 900, step: 0 }, Section::default()];
    let found = case.lie(small);
    assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
    // A length that the compressor is told, and that is another one.
    let mut other = plan(&[(0, 1000, 100)]);
    other.recipes = vec![recipe(2, &[3, 1, 500, 0, 0]).unwrap()];
    other.sections =
        vec![Section { plain: 100, step: 1 }, Section { plain: 900, step: 0 }, Section::default()];
    let found = case.lie(other);
    assert!(matches!(found, PatchError::Compress(_)), "{found:?}");
}

#[test]
fn bombs_in_opened_bases() {
    // Files of a few bytes that open to 64 MB.
    let zeros = vec![0; 64_000_000];
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    for to in [&mut gz as &mut dyn Write, &mut xz, &mut zstd] {
        to.write_all(&zeros).unwrap();
    }
    let packed = [gz.finish().unwrap(), xz.finish().unwrap(), zstd.finish().unwrap()];
    for file in packed {
        let case = Case::of(&file);
        let opened = |raw| Opened { at: 96, packed: file.len() as u64, raw };
        let mut said = plan(&[(1000, 0, 0)]);
        said.opened = vec![opened(64_000_000)];
        let found = case.lie(said);
        assert!(matches!(found, PatchError::Bomb), "{found:?}");
        // Said to be less than it is: no more than that is written.
        let mut less = plan(&[(1000, 0, 0)]);
        less.opened = vec![opened(1000)];
        let found = case.lie(less);
        assert!(matches!(found, PatchError::BaseChanged { .. }), "{found:?}");
    }
}

#[test]
fn opens_what_is_not_there() {
    let case = Case::new();
    for (at, packed) in [(5000, 10), (0, 1 << 40), (u64::MAX / 2, 10)] {
        let mut opened = plan(&[(0, 1000, 0)]);
        opened.opened = vec![Opened { at, packed, raw: 5 }];
        let found = case.lie(opened);
        assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
    }
    // It is there, but no gzip file.
    let mut opened = plan(&[(0, 1000, 0)]);
    opened.opened = vec![Opened { at: 96, packed: 1000, raw: 5 }];
    let found = case.lie(opened);
    assert!(matches!(found, PatchError::BaseChanged { .. }), "{found:?}");
}

#[test]
fn renames_what_is_no_reference() {
    let case = Case::new();
    for (base, from, to) in [(1, 0, 0), (0, 9, 0), (0, 0, 9), (u64::MAX, 0, 0)] {
        let mut renaming = plan(&[(0, 1000, 0)]);
        renaming.pairs = vec![Pair { base, from, to }];
        let found = case.lie(renaming);
        assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
    }
}

#[test]
fn operations_that_end_early() {
    let case = Case::new();
    let found = case.lie(plan(&[(0, 999, 0)]));
    assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let image = |base, moved: &[i64]| Image {
        base,
        len: 640_000,
        target: base + 77,
        moved: moved.iter().map(|m| [*m, -*m, m / 3, 0]).collect(),
    };
    let mut wanted = plan(&[(5, 100, 7), (9, 0, 0), (0, 1 << 40, 1 << 20), (3, 8, 2)]);
    wanted.pairs = (0..40).map(|n| Pair { base: n % 3, from: n, to: 40 - n }).collect();
    wanted.opened = vec![Opened { at: 900, packed: 100, raw: 1000 }, Opened::default()];
    let xz = [6, 20, 28, 93, 4, 1, 3, 24, 1 << 20];
    wanted.recipes = vec![gzip(), recipe(1, &xz).unwrap(), recipe(2, &[3, 1, 77, 0, 0]).unwrap()];
    wanted.sections = vec![
        Section { plain: 5, step: 3 },
        Section { plain: 1 << 40, step: 1 },
        Section::default(),
    ];
    wanted.images =
        vec![image(4000, &[0, 4096, -8]), image(90, &[]), image(1 << 41, &[i64::MIN + 1])];
    let mut coder = Encoder::new(Vec::new());
    wanted.code(&mut coder).unwrap();
    let (bytes, _) = coder.finish().unwrap();
    let mut found = Plan::default();
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    found.code(&mut decoder).unwrap();
    decoder.finish().unwrap();
    assert_eq!(found, wanted);
}
