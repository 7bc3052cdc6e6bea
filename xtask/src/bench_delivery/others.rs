//! What others need for the same update: `nix copy`, rsync and casync.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::closure::{Generation, nix};
use super::{Row, measured, output, timed};

/// A binary cache; what a host with the old generation loads from it.
pub fn nix_copy(
    work: &Path,
    old: &Generation,
    new: &Generation,
    compression: &str,
) -> anyhow::Result<Row> {
    let cache = work.join("cache");
    if cache.exists() {
        fs::remove_dir_all(&cache)?;
    }
    let to = format!("file://{}?compression={compression}", cache.display());
    let copy = || measured(nix("nix").args(["copy", "--to", &to, &new.top]));
    let ((_, peak), time) = timed(copy)?;
    let have: BTreeSet<_> = old.paths.iter().map(|p| &p.path).collect();
    let mut bytes = 0;
    for info in new.paths.iter().filter(|p| !have.contains(&p.path)) {
        let file = cache.join(format!("{}.narinfo", info.path.hash_part()));
        let narinfo = fs::read_to_string(file)?;
        bytes += narinfo.len() as u64;
        let url = narinfo.lines().find_map(|l| l.strip_prefix("URL: "));
        bytes += fs::metadata(cache.join(url.unwrap_or_default()))?.len();
    }
    let (way, note) = (format!("nix copy, {compression}"), "packing".into());
    Ok(Row { way, bytes, time, peak, note, ..Row::default() })
}

/// The generation as a folder with names that do not change, which helps those who go by names.
fn plain(work: &Path, generation: &Generation, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = work.join(name);
    if folder.exists() {
        output(Command::new("chmod").args(["-R", "u+w"]).arg(&folder))?;
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for info in &generation.paths {
        let stem = info.path.name().split("-0").next().unwrap_or_default();
        let stem = stem.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
        let short: String =
            stem.split('-').take_while(|p| !starts_digit(p)).collect::<Vec<_>>().join("-");
        output(Command::new("cp").args(["-a", info.path.as_str()]).arg(folder.join(short)))?;
    }
    Ok(folder)
}

fn starts_digit(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

/// Between trees whose names do not change.
pub fn rsync(work: &Path, old: &Generation, new: &Generation) -> anyhow::Result<Row> {
    let (from, to) = (plain(work, new, "tree-new")?, plain(work, old, "tree-old")?);
    let args = ["-a", "-c", "--no-whole-file", "-z", "--delete", "--stats"];
    let ((told, peak), time) = timed(|| {
        measured(
            Command::new("rsync")
                .args(args)
                .arg(format!("{}/", from.display()))
                .arg(format!("{}/", to.display())),
        )
    })?;
    let number = |label: &str| -> u64 {
        let line = told.lines().find_map(|l| l.strip_prefix(label));
        let digits: String =
            line.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    Ok(Row {
        way: "rsync -z, names kept".into(),
        bytes: number("Total bytes sent:") + number("Total bytes received:"),
        time,
        peak,
        note: "both directions".into(),
        ..Row::default()
    })
}

/// Chunks that a store lacks, between trees whose names do not change.
pub fn casync(work: &Path, old: &Generation, new: &Generation) -> anyhow::Result<Row> {
    let store = work.join("casync.castr");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    let make = |generation: &Generation, name: &str| -> anyhow::Result<(u64, u64)> {
        let tree = plain(work, generation, name)?;
        let index = work.join(format!("{name}.caidx"));
        let (_, peak) = measured(
            Command::new("casync")
                .arg("make")
                .arg(format!("--store={}", store.display()))
                .args(["--without=all", "--with=symlinks"])
                .arg(&index)
                .arg(&tree),
        )?;
        Ok((fs::metadata(&index)?.len(), peak))
    };
    make(old, "tree-old")?;
    let before = size(&store)?;
    let ((index, peak), time) = timed(|| make(new, "tree-new"))?;
    Ok(Row {
        way: "casync, names kept".into(),
        bytes: size(&store)? - before + index,
        time,
        peak,
        note: "new chunks and the index".into(),
        ..Row::default()
    })
}

fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}
