//! What `nix/packages.nix` builds from holds every file that the programs are made of. Nothing here can build it, so that a
//! file that is left out would show on somebody else's machine.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The files and folders of its `fileset`.
fn sources() -> Vec<PathBuf> {
    let text = fs::read_to_string(root().join("nix/packages.nix")).unwrap();
    let list = text.split_once("fileset.unions [").unwrap().1.split_once(']').unwrap().0;
    let names = list.split_whitespace().map(|path| path.strip_prefix("../").unwrap());
    names.map(|name| root().join(name)).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Without `..`, also where the file is not there.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            out.pop()
        } else {
            out.push(part);
            true
        };
    }
    out
}

#[test]
fn every_file_that_a_program_includes_is_built_from() {
    let sources = sources();
    assert!(sources.iter().all(|path| path.exists()), "{sources:?}");
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let (mut seen, mut missing) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // `include_str!("../x")` and `include_str!(concat!("../x/", …))`.
        for after in text.split("include_str!(").chain(text.split("include_bytes!(")).skip(1) {
            let Some(path) = after.trim_start_matches("concat!(").strip_prefix('"') else {
                continue;
            };
            let path = plain(&file.parent().unwrap().join(path.split('"').next().unwrap()));
            seen += 1;
            if !sources.iter().any(|source| path.starts_with(source)) {
                missing.push(format!("{}: {}", file.display(), path.display()));
            }
        }
    }
    assert!(seen > 5, "nothing is included any more?");
    assert!(missing.is_empty(), "nix/packages.nix leaves out:\n{}", missing.join("\n"));
}
