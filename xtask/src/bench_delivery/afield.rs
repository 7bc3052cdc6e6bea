//! What Afield needs: patches where there is a base, full objects else, and the documents that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use afield_core::ids::ObjectId;
use afield_core::release::{Base, Closure, Delivery, FORMAT, ObjectRef, Offer, PathInfo};
use afield_store::object;
use afield_store::patch::{self, Library, Source};
use anyhow::{Context as _, bail};

use super::closure::Generation;
use super::{Progress, Row, megabytes, output, package, parallel, timed};

/// A patch is only tried against the full object if it has more than this part of the archive.
const SUSPICIOUS: u64 = 20;

/// What applying may take, KiB.
const MOST_MEMORY: u64 = 64 * 1024;

struct Packed {
    offer: Offer,
    bytes: u64,
    applied: Option<Applied>,
}

struct Applied {
    seconds: f64,
    kilobytes: u64,
}

/// Makes everything, applies every patch in a process of its own, and proves the result.
pub fn measure(
    work: &Path,
    old: &Generation,
    new: &Generation,
    verbose: bool,
) -> anyhow::Result<Row> {
    let folder = work.join("patches");
    fs::create_dir_all(&folder)?;
    let have: BTreeSet<_> = old.paths.iter().map(|p| &p.path).collect();
    let mut wanted: Vec<&PathInfo> = new.paths.iter().filter(|p| !have.contains(&p.path)).collect();
    let sources =
        || old.paths.iter().map(|info| Source { info, dir: Path::new(info.path.as_str()) });
    let (library, looked) = timed(|| Ok(Library::new(sources())?))?;
    // The largest first, so that all cores end together.
    wanted.sort_by_key(|info| std::cmp::Reverse(info.nar_size));
    let progress = Progress::new("patches", wanted.iter().map(|info| info.nar_size).sum());
    let (made, making) = timed(|| {
        parallel(&wanted, |info| {
            let made = make(&folder, &library, info);
            progress.add(info.nar_size);
            made
        })
    })?;
    let making_peak = super::apply::peak()?;
    let mut packed = Vec::new();
    let mut counts = [0; 3];
    for (info, made) in wanted.iter().zip(made) {
        if let Some((_, m)) = &made {
            counts[0] += m.opened;
            counts[1] += m.closed;
            counts[2] += m.closed_for_memory;
        }
        packed.push(finish(work, old, info, made)?);
        if let (true, Some(p)) = (verbose, packed.last()) {
            let applied = p.applied.as_ref();
            println!(
                "  {:<44} {:>10} of {:>11}  {:>6.1} s {:>7} KB",
                info.path.name(),
                p.bytes,
                info.nar_size,
                applied.map_or(0.0, |a| a.seconds),
                applied.map_or(0, |a| a.kilobytes)
            );
        }
    }
    let documents = documents(new, &wanted, &packed)?;
    let bytes: u64 = packed.iter().map(|p| p.bytes).sum();
    let applied: Vec<&Applied> = packed.iter().filter_map(|p| p.applied.as_ref()).collect();
    let seconds: f64 = applied.iter().map(|a| a.seconds).sum();
    let peak = applied.iter().map(|a| a.kilobytes).max().unwrap_or(0);
    if peak > MOST_MEMORY {
        bail!("applying a patch took {peak} KiB of memory, and {MOST_MEMORY} are promised");
    }
    let size: u64 = wanted.iter().map(|info| info.nar_size).sum();
    let made = (looked + making).as_secs_f64();
    let part = |(info, p): (&&PathInfo, &Packed)| (package(info.path.name()).to_owned(), p.bytes);
    Ok(Row {
        way: "Afield".into(),
        bytes: bytes + documents,
        time: Duration::from_secs_f64(seconds),
        peak,
        parts: wanted.iter().zip(&packed).map(part).collect(),
        note: format!(
            "applying; {documents} bytes say what there is; made in {made:.0} s ({:.2} s/MB, peak {}); compressed \
             files opened {}, not {}, not for memory {}",
            made / (size as f64 / 1e6),
            megabytes(making_peak * 1024),
            counts[0],
            counts[1],
            counts[2]
        ),
    })
}

/// A patch file and its bases, if it is worth it.
type Made = Option<(PathBuf, patch::Made)>;

fn make(folder: &Path, library: &Library, info: &&PathInfo) -> anyhow::Result<Made> {
    let source = Source { info, dir: Path::new(info.path.as_str()) };
    let path = folder.join(info.path.base_name());
    let out = BufWriter::new(File::create(&path)?);
    let made = patch::make(&source, library, folder, None, out)
        .with_context(|| format!("the patch for {} was not made", info.path))?;
    Ok(made.map(|m| (path, m)))
}

fn finish(work: &Path, old: &Generation, info: &PathInfo, made: Made) -> anyhow::Result<Packed> {
    let full = || -> anyhow::Result<ObjectRef> {
        let mut dump = super::closure::nix("nix-store")
            .args(["--dump", info.path.as_str()])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let nar = dump.stdout.take().context("no output of nix-store --dump")?;
        let object = object::pack(nar, std::io::sink())?;
        dump.wait()?;
        Ok(object)
    };
    let small = |m: &patch::Made| m.size < info.nar_size / SUSPICIOUS;
    let object = match &made {
        Some((_, m)) if small(m) => None,
        _ => Some(full()?),
    };
    match (made, object) {
        (Some((path, m)), object) if object.as_ref().is_none_or(|o| m.size < o.size) => {
            let mut bytes = Vec::new();
            File::open(&path)?.read_to_end(&mut bytes)?;
            let infos: Vec<&PathInfo> =
                m.bases.iter().filter_map(|b| old.paths.iter().find(|p| p.path == *b)).collect();
            let applied = apply(work, &path, info, &infos)?;
            let object = ObjectRef { id: ObjectId::of(&bytes), size: bytes.len() as u64 };
            let base = |p: &&PathInfo| Base { path: p.path.clone(), nar_hash: p.nar_hash };
            let bases = infos.iter().map(base).collect();
            Ok(Packed {
                bytes: object.size,
                offer: Offer::Patch { object, bases, at: None },
                applied: Some(applied),
            })
        }
        (_, object) => {
            let object = object.map_or_else(full, Ok)?;
            Ok(Packed {
                bytes: object.size,
                offer: Offer::Full { object, at: None },
                applied: None,
            })
        }
    }
}

/// Applies a patch in a process of its own, so that its memory can be told.
fn apply(
    work: &Path,
    patch: &Path,
    info: &PathInfo,
    bases: &[&PathInfo],
) -> anyhow::Result<Applied> {
    let job = work.join("apply.json");
    fs::write(&job, serde_json::to_vec(&(info, bases))?)?;
    let told = output(
        Command::new(std::env::current_exe()?).arg("apply-patch").arg(patch).arg(&job).arg(work),
    )?;
    let mut words = told.split_whitespace();
    Ok(Applied {
        seconds: words.next().unwrap_or_default().parse()?,
        kilobytes: words.next().unwrap_or_default().parse()?,
    })
}

/// Length of the documents that a host reads for this release.
fn documents(new: &Generation, wanted: &[&PathInfo], packed: &[Packed]) -> anyhow::Result<u64> {
    let closure = Closure { format: FORMAT, paths: new.paths.clone() };
    let offers: BTreeMap<_, _> = wanted
        .iter()
        .zip(packed)
        .map(|(info, p)| {
            // Beside a patch stands always the full object: its hash is not known here, but as long as any.
            let mut all = vec![p.offer.clone()];
            if matches!(p.offer, Offer::Patch { .. }) {
                let id = ObjectId::of(info.path.as_str().as_bytes());
                let size = info.nar_size / 3;
                all.push(Offer::Full { object: ObjectRef { id, size }, at: None });
            }
            (info.path.clone(), all)
        })
        .collect();
    let delivery = Delivery { format: FORMAT, packs: Vec::new(), offers };
    let closure = object::pack_document(&closure)?.0.size;
    Ok(closure + object::pack_document(&delivery)?.0.size)
}
