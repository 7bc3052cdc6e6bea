//! What the tests of this crate share.

#![allow(clippy::unwrap_used, dead_code)]

use std::path::PathBuf;

/// A path below `shared/golden`. Fails loudly if the folder is missing.
pub fn golden(path: &str) -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let root = std::env::var_os("AFIELD_SHARED").map(PathBuf::from);
    let root = root.or_else(|| {
        [beside, "/work/shared"].map(PathBuf::from).into_iter().find(|dir| dir.is_dir())
    });
    let root = root.expect(
        "the golden data is missing: put `shared/` beside the repository or set AFIELD_SHARED",
    );
    root.join("golden").join(path)
}

/// The text of a golden file.
pub fn golden_text(path: &str) -> String {
    let path = golden(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A golden JSON file.
pub fn golden_json(path: &str) -> serde_json::Value {
    serde_json::from_str(&golden_text(path)).unwrap()
}

/// A throwaway private key as an OpenSSH file.
pub fn private_key(name: &str) -> String {
    let keys = golden_json("inputs/throwaway-keys.json");
    let body = keys[name]["openssh_key_v1_base64"].as_str().unwrap();
    let lines: Vec<&str> =
        (0..body.len()).step_by(70).map(|at| &body[at..body.len().min(at + 70)]).collect();
    let kind = "OPENSSH PRIVATE KEY";
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// Deterministic numbers (splitmix64): randomness for sealing and for mutations.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|b| *b = self.next() as u8);
    }

    /// Changes bytes at a few places: flips, deletes, repeats, cuts, inserts.
    pub fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut out = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            let end = (at + 1 + self.below(40)).min(out.len());
            match self.below(6) {
                0 if !out.is_empty() => out[at] ^= 1 << self.below(8),
                1 if !out.is_empty() => out[at] = b"\n\0:{}[]&*!|>'\"-#;=\xff\x80 "[self.below(21)],
                2 => drop(out.drain(at.min(end)..end)),
                3 => out.truncate(at),
                4 => {
                    let part = out[at.min(end)..end].to_vec();
                    let to = self.below(out.len() + 1);
                    out.splice(to..to, part);
                }
                _ => out.insert(at, self.next() as u8),
            }
        }
        out
    }
}
