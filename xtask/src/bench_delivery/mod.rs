//! `cargo bench-delivery`: two generations of a system as real Nix closures, made of pairs of Debian packages,
//! and what an update from one to the other costs by each way.

mod afield;
pub mod apply;
mod closure;
mod limit;
mod others;
mod packages;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

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
    /// Tell the store paths that lose most against the limit.
    #[arg(long, default_value_t = 0)]
    worst: usize,
    /// Where packages, patches and caches are kept.
    #[arg(long, default_value = "target/bench-delivery")]
    work: PathBuf,
}

/// One way to bring an update, and what it took.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Row {
    way: String,
    bytes: u64,
    time: Duration,
    /// Largest memory of one process, KiB.
    peak: u64,
    note: String,
    /// By package, where that is known.
    parts: BTreeMap<String, u64>,
}

/// Runs the bench.
pub fn run(options: &Options) -> anyhow::Result<()> {
    crate::setup::ensure_delivery()?;
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
    println!("{:<34} {:>12} {:>9} {:>8} {:>9}", "way", "bytes", "of all", "seconds", "peak");
    // Each as soon as it is known: the last ones take minutes.
    let show = |row: Row| {
        let part = row.bytes as f64 * 100.0 / size as f64;
        println!(
            "{:<34} {:>12} {part:>8.3}% {:>8.1} {:>9}  {}",
            row.way,
            row.bytes,
            row.time.as_secs_f64(),
            megabytes(row.peak * 1024),
            row.note
        );
        row
    };
    let afield = show(afield::measure(work, old, new, options.verbose)?);
    if options.only_afield {
        return Ok(());
    }
    let limit = show(limit::measure(work, old, new, options.verbose)?);
    worst(&afield, &limit, options.worst);
    let known = |way: &str, row: &dyn Fn() -> anyhow::Result<Row>| {
        remembered(work, &format!("{way}-{}-{}", base_name(&old.top), base_name(&new.top)), row)
    };
    show(known("rsync", &|| others::rsync(work, old, new))?);
    show(known("casync", &|| others::casync(work, old, new))?);
    show(known("zstd", &|| others::nix_copy(work, old, new, "zstd"))?);
    let xz = show(known("xz", &|| others::nix_copy(work, old, new, "xz"))?);
    let bytes = |row: &Row| row.bytes.max(1) as f64;
    println!(
        "Afield is {:.2} of the limit and 1/{:.1} of nix copy with xz",
        bytes(&afield) / bytes(&limit),
        bytes(&xz) / bytes(&afield)
    );
    Ok(())
}

/// Where Afield loses most against the limit.
fn worst(afield: &Row, limit: &Row, n: usize) {
    let lost = |(name, bytes): (&String, &u64)| {
        let least = limit.parts.get(name).copied().unwrap_or(0);
        (*bytes as i64 - least as i64, name.clone(), *bytes, least)
    };
    let mut all: Vec<_> = afield.parts.iter().map(lost).collect();
    all.sort_by_key(|(lost, ..)| -lost);
    for (_, name, bytes, least) in all.iter().take(n) {
        println!("  {name:<32} {bytes:>10}, limit {least:>10}");
    }
}

/// What another tool took for the same two systems in an earlier run, else in this one.
fn remembered(
    work: &Path,
    key: &str,
    measure: &dyn Fn() -> anyhow::Result<Row>,
) -> anyhow::Result<Row> {
    let folder = work.join("others");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{key}.json"));
    if let Some(mut row) =
        std::fs::read(&file).ok().and_then(|b| serde_json::from_slice::<Row>(&b).ok())
    {
        row.note = format!("{} (measured in an earlier run)", row.note);
        return Ok(row);
    }
    let row = measure()?;
    std::fs::write(&file, serde_json::to_vec(&row)?)?;
    Ok(row)
}

/// The last part of a store path, which tells its content.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A package's name without version.
fn package(name: &str) -> &str {
    let cut = name
        .char_indices()
        .find(|(k, c)| *c == '-' && name[k + 1..].starts_with(|c: char| c.is_ascii_digit()));
    cut.map_or(name, |(k, _)| &name[..k])
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

/// Likewise; with the largest memory that was seen while it ran, KiB.
fn measured(command: &mut Command) -> anyhow::Result<(String, u64)> {
    use std::process::Stdio;
    let told: String = format!("{command:?}").chars().take(300).collect();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let out = scope.spawn(|| all_of(out.as_mut()));
        let err = scope.spawn(|| all_of(err.as_mut()));
        let code = loop {
            if let Some(code) = child.try_wait()? {
                break code;
            }
            peak = peak.max(apply::peak_of(&status).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        };
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if !code.success() {
            bail!("{told} failed: {}", String::from_utf8_lossy(&err));
        }
        Ok((String::from_utf8_lossy(&out).into_owned(), peak))
    })
}

fn all_of(from: Option<&mut impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What cannot be read any more is not told.
        from.read_to_end(&mut bytes).ok();
    }
    bytes
}

/// Tells now and then how far something is.
struct Progress {
    what: &'static str,
    all: u64,
    state: std::sync::Mutex<(u64, Instant)>,
}

impl Progress {
    fn new(what: &'static str, all: u64) -> Self {
        Self { what, all, state: std::sync::Mutex::new((0, Instant::now())) }
    }

    fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.0 += bytes;
        if state.1.elapsed() > Duration::from_secs(10) {
            state.1 = Instant::now();
            eprintln!("  {}: {} of {}", self.what, megabytes(state.0), megabytes(self.all));
        }
    }
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
