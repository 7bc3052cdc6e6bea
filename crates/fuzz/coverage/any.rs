//! The target that `AFIELD_FUZZ_TARGET` names, under libFuzzer.
#![no_main]

use std::cell::RefCell;
use std::sync::OnceLock;

use afield_fuzz::{Reader, Target};
use afield_fuzz::mutate::{Random, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("AFIELD_FUZZ_TARGET").expect("AFIELD_FUZZ_TARGET names a target");
        afield_fuzz::find(&name).unwrap()
    })
}

thread_local! {
    static OPEN: RefCell<Reader> = RefCell::new((target().open)());
    static SEEDS: Vec<Vec<u8>> = (target().seeds)();
}

fuzz_target!(|input: &[u8]| OPEN.with_borrow_mut(|open| open(input)));

// Half of the changes are libFuzzer's own, half know the format.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(u64::from(seed));
    if random.below(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    SEEDS.with(|seeds| {
        let other = &seeds[random.below(seeds.len())];
        let changed = mutate(&data[..size], other, target().words, &mut random);
        let length = changed.len().min(max_size);
        data[..length].copy_from_slice(&changed[..length]);
        length
    })
});
