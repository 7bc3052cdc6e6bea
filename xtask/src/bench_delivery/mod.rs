//! `cargo bench-delivery`: two generations of a system as real Nix closures, made of pairs of Debian packages,
//! and what an update from one to the other costs by each way.

mod afield;
pub mod apply;
mod closure;
mod limit;
mod others;
mod packages;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// All packages; otherwise about a dozen.
    #[arg(long, conflicts_with = "small")]
    full: bool,
    /// About a dozen packages (the default).
    #[arg(long)]
    small: bool,
    /// Only these packages, divided by commas.
    #[arg(long, value_delimiter = ',')]
    packages: Vec<String>,
    /// Only Afield, not what it is compared with.
    #[arg(long)]
    only_afield: bool,
    /// Only the month of updates.
    #[arg(long)]
    only_month: bool,
    /// Tell each store path.
    #[arg(long)]
    verbose: bool,
    /// Where packages, patches and caches are kept.
    #[arg(long, default_value = "target/bench-delivery")]
    work: PathBuf,
}

/// One way to bring an update, and what it took.
struct Row {
    way: String,
    bytes: u64,
    time: Duration,
    note: String,
}

/// Runs the bench.
pub fn run(options: &Options) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.work)?;
    let work = options.work.canonicalize()?;
    let names: Vec<String> = if options.packages.is_empty() {
        packages::names(options.full)
    } else {
        options.packages.clone()
    };
    println!("Packages, oldest and newest that the archive offers:");
    let pairs = packages::download(&names, &work)?;
    let old = closure::build(&work, &pairs, closure::Version::Old, "1")?;
    let rebuilt = closure::build(&work, &pairs, closure::Version::Old, "2")?;
    let month = closure::build(&work, &pairs, closure::Version::New, "3")?;
    if !options.only_month {
        let name = "everything rebuilt, nothing changed";
        scenario(name, &work, options, &old, &rebuilt)?;
    }
    scenario("a month of updates", &work, options, &old, &month)
}

fn scenario(
    name: &str,
    work: &Path,
    options: &Options,
    old: &closure::Generation,
    new: &closure::Generation,
) -> anyhow::Result<()> {
    let size: u64 = new.paths.iter().map(|p| p.nar_size).sum();
    println!("\n{name}: {} store paths, {}", new.paths.len(), megabytes(size));
    println!("{:<34} {:>12} {:>9} {:>8}  ", "way", "bytes", "of all", "seconds");
    // Each as soon as it is known: the last ones take minutes.
    let show = |row: Row| {
        let part = row.bytes as f64 * 100.0 / size as f64;
        println!(
            "{:<34} {:>12} {part:>8.3}% {:>8.1}  {}",
            row.way,
            row.bytes,
            row.time.as_secs_f64(),
            row.note
        );
        row.bytes.max(1) as f64
    };
    let afield = show(afield::measure(work, old, new, options.verbose)?);
    if options.only_afield {
        return Ok(());
    }
    let limit = show(limit::measure(work, old, new, options.verbose)?);
    show(others::rsync(work, old, new)?);
    show(others::casync(work, old, new)?);
    show(others::nix_copy(work, old, new, "zstd")?);
    let xz = show(others::nix_copy(work, old, new, "xz")?);
    println!(
        "Afield is {:.2} of the limit and 1/{:.1} of nix copy with xz",
        afield / limit,
        xz / afield
    );
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Runs a program to its end; its output if it succeeds.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let told = format!("{command:?}");
    let short: String = told.chars().take(300).collect();
    let done =
        command.output().with_context(|| format!("{short} cannot be started: is it installed?"))?;
    if !done.status.success() {
        bail!("{short} failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    Ok((work()?, start.elapsed()))
}

/// Carries out `work` on all items, on all cores; the results are in the order of the items.
fn parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let k = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(k) else { return };
                    let result = work(item);
                    let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
                    results.push((k, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(k, _)| *k);
    results.into_iter().map(|(_, r)| r).collect()
}
