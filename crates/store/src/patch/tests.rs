//! Patches that no honest Afield makes: each is refused by its name, before anything is written if possible.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use afield_core::ids::NarHash;
use afield_core::release::PathInfo;

use super::bases::Opened;
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
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("base");
        fs::write(&root, vec![b'x'; 3000]).unwrap();
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
        patch.extend([0x5A; 64]);
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
    let mut sections = plan(&[(0, 1000, 0)]);
    sections.sections = vec![Section::default(); 1000];
    let found = case.lie(sections);
    assert!(matches!(found, PatchError::Looping), "{found:?}");
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
    // Size, no hashes, no opened files, no sections, and more operations than memory.
    for n in [SIZE, 0, 0, 0, 1 << 50] {
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
    raw.sections[0].raw = 2_000_000;
    let found = case.lie(raw);
    assert!(matches!(found, PatchError::Bomb), "{found:?}");
    // A content that is too large to be held.
    let mut raw = plan(&[]);
    raw.sections[0].raw = 1 << 40;
    let found = case.lie(raw);
    assert!(matches!(found, PatchError::TooLarge(_)), "{found:?}");
    // A base that opens to more than it can.
    let mut opened = plan(&[(0, 1000, 0)]);
    opened.opened = vec![Opened { at: 0, packed: 100, raw: 1 << 50 }];
    let found = case.lie(opened);
    assert!(matches!(found, PatchError::Bomb), "{found:?}");
}

#[test]
fn opened_content_that_does_not_fit() {
    let case = Case::new();
    // A thousand zeros that are said to be 900 bytes compressed: closed again they are a few.
    let mut plan = plan(&[(0, 1000, 100)]);
    plan.sections[0] = Section { plain: 100, raw: 900, method: 0 };
    let found = case.lie(plan.clone());
    assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
    plan.sections[0].method = 99;
    let found = case.lie(plan);
    assert!(matches!(found, PatchError::Corrupt(_)), "{found:?}");
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
