//! What the tests of this crate share.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../../testkit/src/golden.rs"]
mod found;

pub use found::golden;

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

/// Deterministic numbers (splitmix64): randomness for sealing.
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

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|b| *b = self.next() as u8);
    }
}
