//! Every target, a bounded number of rounds: no panic, no hang, no unbounded memory. The seed is printed;
//! `AFIELD_FUZZ_SEED` makes it another, and `AFIELD_FUZZ_TIMES=100` runs a hundred times as long.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Mutex;

use afield_fuzz::stable::{Meter, run};
use peak_alloc::PeakAlloc;

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// The peak is that of the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn hold(name: &str) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = afield_fuzz::find(name).unwrap();
    let (seed, times) = (number("AFIELD_FUZZ_SEED", 20_261_128), number("AFIELD_FUZZ_TIMES", 1));
    let rounds = target.rounds * usize::try_from(times).unwrap();
    println!("{name}: {rounds} rounds, seed {seed}");
    let meter = Meter { reset: || PEAK.reset_peak_usage(), peak: || PEAK.peak_usage() };
    if let Err(found) = run(&target, seed, rounds, &meter, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        panic!("{name}: {}; the input is in {}", found.what, found.file.display());
    }
}

macro_rules! targets {
    ($($test:ident $name:literal,)*) => {
        $(#[test] fn $test() { hold($name); })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<&str> = afield_fuzz::all().iter().map(|target| target.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

targets! {
    json "json",
    yaml "yaml",
    fleet "fleet",
    waves "waves",
    ssh_public "ssh-public",
    deploy_hook "deploy-hook",
    master "master",
    opened "opened",
    sealed "sealed",
    vault "vault",
    age "age",
    ssh_private "ssh-private",
    recipient "recipient",
    nar "nar",
    patch "patch",
    object "object",
    manifest "manifest",
    closure "closure",
    delivery "delivery",
    host_data "host-data",
    envelope "envelope",
    report "report",
    trust "trust",
    state "state",
    bundle "bundle",
    note "note",
    package "package",
}

#[test]
fn what_breaks_a_promise_is_found_and_kept() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lie = |open| afield_fuzz::Target {
        name: "a-lie",
        rounds: 1,
        memory: 1 << 20,
        words: &[],
        seeds: || vec![b"seed".to_vec()],
        open,
    };
    let meter = Meter { reset: || PEAK.reset_peak_usage(), peak: || PEAK.peak_usage() };
    let dir = tempfile::tempdir().unwrap();
    let panics =
        run(&lie(|| Box::new(|_| panic!("on purpose"))), 1, 0, &meter, dir.path()).unwrap_err();
    assert_eq!(panics.what, "it panics");
    assert_eq!(std::fs::read(panics.file).unwrap(), b"seed");
    let eats = run(&lie(|| Box::new(|_| drop(vec![1_u8; 4 << 20]))), 1, 0, &meter, dir.path())
        .unwrap_err();
    assert!(eats.what.contains("bytes of memory"), "{}", eats.what);
}
