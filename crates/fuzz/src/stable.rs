//! The driver that CI runs: a number of changed seeds, the same each time, with no other compiler than the stable one.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::mutate::{Random, mutate};
use crate::{Reader, Target};

/// Memory that a target may take for each byte of its input.
const MEMORY_PER_BYTE: usize = 256;
/// Processor time for one input after which it counts as a hang. The slowest takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the driver sees the memory of the process: only a program can have an allocator that counts.
pub struct Meter {
    /// Forgets the peak.
    pub reset: fn(),
    /// Bytes at the peak since then.
    pub peak: fn() -> usize,
}

/// An input that breaks a promise.
#[derive(Debug)]
pub struct Found {
    /// What is broken.
    pub what: String,
    /// Where the input was kept.
    pub file: PathBuf,
}

/// Runs a target: first its regression inputs, then its seeds, then `rounds` changed ones.
pub fn run(
    target: &Target,
    seed: u64,
    rounds: usize,
    meter: &Meter,
    keep: &Path,
) -> Result<(), Found> {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seed", target.name);
    let mut driver = Driver { target, meter, keep, open: (target.open)() };
    for input in regressions(target.name).iter().chain(&seeds) {
        driver.try_one(input)?;
    }
    let mut random = Random(seed);
    for _ in 0..rounds {
        let one = &seeds[random.below(seeds.len())];
        let other = &seeds[random.below(seeds.len())];
        driver.try_one(&mutate(one, other, target.words, &mut random))?;
    }
    Ok(())
}

/// Runs a target on one input.
pub fn try_input(target: &Target, input: &[u8], meter: &Meter, keep: &Path) -> Result<(), Found> {
    Driver { target, meter, keep, open: (target.open)() }.try_one(input)
}

/// Inputs that once broke a target.
pub fn regressions(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

struct Driver<'a> {
    target: &'a Target,
    meter: &'a Meter,
    keep: &'a Path,
    open: Reader,
}

impl Driver<'_> {
    fn try_one(&mut self, input: &[u8]) -> Result<(), Found> {
        // Before it is tried: what aborts or never ends leaves no other trace.
        let file = self.keep.join(format!("{}.input", self.target.name));
        fs::write(&file, input).unwrap();
        (self.meter.reset)();
        let (memory, begin) = ((self.meter.peak)(), cpu());
        let done = catch_unwind(AssertUnwindSafe(|| (self.open)(input)));
        let took = cpu().saturating_sub(begin);
        let memory = (self.meter.peak)().saturating_sub(memory);
        let allowed = self.target.memory + MEMORY_PER_BYTE * input.len();
        let what = if done.is_err() {
            "it panics".to_owned()
        } else if took > PATIENCE {
            format!("it takes {took:?} of the processor")
        } else if memory > allowed {
            format!(
                "it takes {memory} bytes of memory for {} of input; {allowed} are allowed",
                input.len()
            )
        } else {
            return Ok(());
        };
        Err(Found { what, file })
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.try_into().unwrap_or(0))
}
