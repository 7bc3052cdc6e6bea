//! The best-known limit: for each file of the new generation the smallest of bsdiff, xdelta3 and
//! zstd --patch-from against the file of the same name in the same package, and of xz if there is none. Store
//! hashes are blanked first, and files that are then the same cost nothing: more than any tool does by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use afield_core::ids::NarHash;

use super::closure::Generation;
use super::{Progress, Row, output, package, parallel};

/// Measures and remembers, by content: bsdiff of a large file takes minutes.
pub fn measure(
    work: &Path,
    old: &Generation,
    new: &Generation,
    verbose: bool,
) -> anyhow::Result<Row> {
    let start = Instant::now();
    let (old, new) = (files(old)?, files(new)?);
    let memory = work.join("limit");
    fs::create_dir_all(&memory)?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let mut wanted: Vec<_> = new.iter().collect();
    // The largest first, so that all cores end together.
    wanted.sort_by_key(|(_, path)| std::cmp::Reverse(size(path)));
    let blank: BTreeMap<String, &PathBuf> = old.iter().map(|(n, p)| (digits(n), p)).collect();
    let progress = Progress::new("limit", new.values().map(|path| size(path)).sum());
    let found = parallel(&wanted, |(name, path)| {
        let base = old.get(*name).or_else(|| blank.get(&digits(name)).copied());
        let found = smallest(&memory, base, path)?;
        progress.add(size(path));
        Ok((*name, found))
    })?;
    let (mut total, mut parts) = (BTreeMap::<&str, u64>::new(), BTreeMap::<String, u64>::new());
    for (name, (tool, bytes)) in &found {
        *total.entry(tool).or_default() += bytes;
        let package = name.split('/').next().unwrap_or_default();
        *parts.entry(package.to_owned()).or_default() += bytes;
        if verbose && *bytes > 20_000 {
            println!("  limit: {tool} {bytes} {name}");
        }
    }
    Ok(Row {
        way: "limit: smallest tool for each file".into(),
        bytes: total.values().sum(),
        time: start.elapsed(),
        note: format!("{total:?}"),
        parts,
        ..Row::default()
    })
}

fn digits(name: &str) -> String {
    name.replace(|c: char| c.is_ascii_digit(), "#")
}

/// Package and path of each file, without hash and version.
fn files(generation: &Generation) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for info in &generation.paths {
        let package = package(info.path.name());
        let root = PathBuf::from(info.path.as_str());
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    let below = entry.path().strip_prefix(&root)?.display().to_string();
                    all.insert(format!("{package}/{below}"), entry.path());
                }
            }
        }
    }
    Ok(all)
}

/// The content with all store hashes blanked.
fn blanked(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    let store = b"/nix/store/";
    let mut at = 0;
    while at + store.len() + 32 < bytes.len() {
        if bytes[at] == b'/' && bytes[at..].starts_with(store) {
            bytes[at + store.len()..at + store.len() + 32].fill(b'0');
            at += store.len() + 32;
        } else {
            at += 1;
        }
    }
    Ok(bytes)
}

fn smallest(memory: &Path, base: Option<&PathBuf>, path: &Path) -> anyhow::Result<(String, u64)> {
    let new = blanked(path)?;
    let old = base.map(|b| blanked(b)).transpose()?;
    if old.as_ref() == Some(&new) {
        return Ok(("same".into(), 0));
    }
    let key = match &old {
        Some(old) => format!("{}-{}", NarHash::of(old).hex(), NarHash::of(&new).hex()),
        None => NarHash::of(&new).hex(),
    };
    let known = memory.join(&key);
    if let Ok(text) = fs::read_to_string(&known)
        && let Some((tool, bytes)) = text.split_once(' ')
    {
        return Ok((tool.into(), bytes.parse()?));
    }
    let place = tempfile::tempdir_in(memory)?;
    let at = |name: &str| place.path().join(name);
    fs::write(at("new"), &new)?;
    let mut all = Vec::new();
    let mut tool = |name: &str, command: &mut Command| -> anyhow::Result<()> {
        output(command.current_dir(place.path()))?;
        all.push((fs::metadata(at("out"))?.len(), name.to_owned()));
        fs::remove_file(at("out"))?;
        Ok(())
    };
    if old.is_none() {
        tool("xz", Command::new("sh").args(["-c", "xz -9e -c new > out"]))?;
    }
    if let Some(old) = &old {
        fs::write(at("old"), old)?;
        tool("bsdiff", Command::new("bsdiff").args(["old", "new", "out"]))?;
        // A source window as large as the file: more is only memory to clear, for thousands of files.
        let window = old.len().next_power_of_two().clamp(16 << 20, 512 << 20).to_string();
        let args = ["-9", "-S", "djw", "-B", &window, "-e", "-s", "old", "new", "out"];
        tool("xdelta3", Command::new("xdelta3").args(args))?;
        tool(
            "zstd",
            Command::new("zstd").args([
                "-q",
                "-19",
                "--ultra",
                "--long=31",
                "--patch-from=old",
                "new",
                "-o",
                "out",
            ]),
        )?;
    }
    let (bytes, name) = all.into_iter().min().unwrap_or_default();
    fs::write(&known, format!("{name} {bytes}"))?;
    Ok((name, bytes))
}
