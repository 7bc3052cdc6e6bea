//! One patch applied and proved, in a process of its own.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Instant;

use afield_core::release::PathInfo;
use afield_store::nar;
use afield_store::patch::{self, Source};
use anyhow::Context as _;

/// Which patch, and what it is for.
#[derive(clap::Args)]
pub struct Options {
    patch: PathBuf,
    /// JSON: the target's `PathInfo`, and a list of those of the bases.
    job: PathBuf,
    /// Folder for temporary files.
    work: PathBuf,
}

/// Prints seconds and peak memory in KiB.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (info, bases): (PathInfo, Vec<PathInfo>) =
        serde_json::from_slice(&fs::read(&options.job)?)?;
    let sources: Vec<Source> =
        bases.iter().map(|info| Source { info, dir: Path::new(info.path.as_str()) }).collect();
    let result = options.work.join("applied.nar");
    let start = Instant::now();
    patch::apply(
        BufReader::new(File::open(&options.patch)?),
        &info,
        &sources,
        &options.work,
        BufWriter::new(File::create(&result)?),
    )
    .with_context(|| format!("the patch for {} does not apply", info.path))?;
    let seconds = start.elapsed().as_secs_f64();
    let nar = BufReader::new(File::open(&result)?);
    nar::prove(nar, info.nar_size, info.nar_hash)
        .with_context(|| format!("the patch for {} makes another archive", info.path))?;
    fs::remove_file(&result)?;
    println!("{seconds:.3} {}", peak()?);
    Ok(())
}

/// Largest resident memory of this process so far, KiB.
pub fn peak() -> anyhow::Result<u64> {
    peak_of("/proc/self/status")
}

/// Likewise of the process whose status file this is.
pub fn peak_of(status: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(status)?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).context("the status has no VmHWM")
}
