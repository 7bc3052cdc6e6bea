//! The targets, by where their input comes from.

pub mod delivery;
pub mod fleet;
pub mod secrets;
pub mod stick;

use std::path::PathBuf;

use crate::{Reader, Target};

/// Memory that any small parser may take.
const MEMORY: usize = 16 << 20;

fn target(
    name: &'static str,
    rounds: usize,
    words: &'static [&'static str],
    seeds: fn() -> Vec<Vec<u8>>,
    open: fn() -> Reader,
) -> Target {
    Target { name, rounds, memory: MEMORY, words, seeds, open }
}

fn golden(path: &str) -> Vec<u8> {
    std::fs::read(afield_testkit::golden::golden(path)).unwrap()
}

/// Every golden file below a folder with this ending that is not too long.
fn golden_files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let mut open: Vec<PathBuf> = vec![afield_testkit::golden::golden(folder)];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    let bytes = found.iter().map(|path| std::fs::read(path).unwrap());
    bytes.filter(|bytes| bytes.len() < crate::LONGEST).collect()
}
