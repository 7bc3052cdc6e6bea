//! Reads a fleet folder from disk into [`Sources`]: within limits, and never through a link that leads out of it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use afield_core::fleet::{Sources, WAVES_FILE, WavesResult};
use anyhow::Context as _;

use crate::waves;

/// The most bytes of one file; the parsers allow no more.
const FILE_BYTES: u64 = 64 << 20;
/// The most bytes of all files together.
const ALL_BYTES: u64 = 512 << 20;
/// The most files and folders that are looked at.
const ENTRIES: usize = 200_000;
/// The deepest folder that is looked into.
const DEPTH: usize = 32;

/// Reads everything that `load` wants, and evaluates the waves.
pub fn read(dir: &Path) -> anyhow::Result<Sources> {
    let mut walk = Walk::new(dir)?;
    for top in ["json", "app_configs/master", "secrets/master", "hosts"] {
        walk.folder(top, 0)?;
    }
    let root = walk.root.clone();
    walk.file(WAVES_FILE)?;
    let mut sources = walk.sources;
    if sources.files.contains_key(WAVES_FILE) {
        sources.waves = waves::evaluate(&root);
    } else if sources.unreadable.contains_key(WAVES_FILE) {
        sources.waves = WavesResult::NotEvaluated("the file could not be read".to_owned());
    }
    Ok(sources)
}

/// Reads `json/tunnels.d` alone, for those who only need the hosts' keys; nothing is evaluated.
pub fn read_tunnels(dir: &Path) -> anyhow::Result<Sources> {
    let mut walk = Walk::new(dir)?;
    walk.folder("json/tunnels.d", 0)?;
    Ok(walk.sources)
}

struct Walk {
    root: PathBuf,
    sources: Sources,
    bytes: u64,
    entries: usize,
}

impl Walk {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let root = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
        Ok(Self { root, sources: Sources::default(), bytes: 0, entries: 0 })
    }

    fn folder(&mut self, path: &str, depth: usize) -> anyhow::Result<()> {
        let full = self.root.join(path);
        let entries = match fs::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", full.display()));
            }
        };
        if depth > DEPTH || !self.inside(&full) {
            self.skip(path, "it leads out of the fleet folder, or lies too deep");
            return Ok(());
        }
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", full.display()))?;
            self.entries += 1;
            anyhow::ensure!(self.entries <= ENTRIES, "the fleet folder has over {ENTRIES} files");
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{path}/{name}");
            // What is no link is inside, as its folder is; asking the disk again takes long for 10,000 hosts.
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && Sources::is_host(&path) {
                self.sources.hosts.insert(path);
                continue;
            }
            // Follows links: some fleets share files by links within the folder.
            match fs::metadata(self.root.join(&path)) {
                Ok(meta) if meta.is_dir() => self.folder(&path, depth + 1)?,
                Ok(_) => self.file(&path)?,
                Err(_) => self.skip(&path, "it is a link to nothing"),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> anyhow::Result<()> {
        let host = Sources::is_host(path);
        if !host && !Sources::wanted(path) {
            return Ok(());
        }
        let full = self.root.join(path);
        match fs::metadata(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.skip(path, &error.to_string());
                return Ok(());
            }
            // A pipe or device would block or never end.
            Ok(meta) if !meta.is_file() => {
                self.skip(path, "it is not a regular file");
                return Ok(());
            }
            Ok(_) if !self.inside(&full) => {
                self.skip(path, "it is a link that leads out of the fleet folder");
                return Ok(());
            }
            Ok(_) if host => {
                self.sources.hosts.insert(path.to_owned());
                return Ok(());
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        let read =
            fs::File::open(&full).and_then(|f| f.take(FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            self.skip(path, &error.to_string());
            return Ok(());
        }
        self.bytes += bytes.len() as u64;
        anyhow::ensure!(self.bytes <= ALL_BYTES, "the fleet folder has over {ALL_BYTES} bytes");
        self.sources.files.insert(path.to_owned(), bytes);
        Ok(())
    }

    fn inside(&self, full: &Path) -> bool {
        full.canonicalize().is_ok_and(|real| real.starts_with(&self.root))
    }

    fn skip(&mut self, path: &str, why: &str) {
        if path == WAVES_FILE
            || Sources::wanted(path)
            || Sources::is_host(path)
            || !path.contains('.')
        {
            self.sources.unreadable.insert(path.to_owned(), why.to_owned());
        }
    }
}
