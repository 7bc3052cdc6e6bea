//! A fuzz target for each parser of something from outside: what operators, hosts, servers and thieves may hand to us.
//!
//! One list of targets, two drivers: [`stable`] changes seeds at random, the same each run, and is a test; the package
//! in `coverage/` lets libFuzzer choose what to change, by hand. Both check the same: no panic, no hang, and memory
//! within what the length of the input allows. How to run them: `docs/fuzzing.md`.

#![allow(
    clippy::unwrap_used,
    reason = "seeds are honest, and a harness that cannot make them shall stop"
)]

pub mod mutate;
pub mod stable;
pub mod targets;

/// Longer inputs are cut: limits for large files have tests of their own.
pub const LONGEST: usize = 64 << 10;

/// What is run on each input.
pub type Reader = Box<dyn FnMut(&[u8])>;

/// A parser, and what to begin with.
pub struct Target {
    /// Its name, also of its folder of regression inputs.
    pub name: &'static str,
    /// Inputs in a run of CI, so that all targets together take seconds.
    pub rounds: usize,
    /// Bytes of memory that it may take whatever the input is.
    pub memory: usize,
    /// Words of its format, to put in.
    pub words: &'static [&'static str],
    /// Good inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes the parser once, then reads any input; it panics if a promise is broken.
    pub open: fn() -> Reader,
}

/// All targets.
pub fn all() -> Vec<Target> {
    [
        targets::fleet::targets(),
        targets::secrets::targets(),
        targets::delivery::targets(),
        targets::stick::targets(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The target of a name.
pub fn find(name: &str) -> anyhow::Result<Target> {
    let names: Vec<&str> = all().iter().map(|target| target.name).collect();
    let found = all().into_iter().find(|target| target.name == name);
    found.ok_or_else(|| anyhow::anyhow!("no target {name:?}; there are {}", names.join(", ")))
}
