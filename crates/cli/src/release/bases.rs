//! Where the contents of store paths lie here: in the Nix store, or, if a machine that makes releases is a fresh one,
//! restored out of the repository's full objects.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use afield_core::ids::{NarHash, StorePath};
use afield_core::release::PathInfo;
use afield_store::object;
use afield_store::repository::Repository;
use anyhow::Context as _;

use super::patch_cache::Cache;
use super::stock::Stock;

/// Where a path lies in the Nix store, if it is there.
pub fn local(path: &StorePath) -> Option<PathBuf> {
    let below = path.as_str().trim_start_matches('/');
    let remote = std::env::var_os("NIX_REMOTE").map(PathBuf::from);
    let root = remote.filter(|r| r.is_absolute()).unwrap_or_else(|| "/".into());
    let place = root.join(below);
    place.symlink_metadata().is_ok().then_some(place)
}

/// Finds and restores paths.
pub struct Places<'a> {
    repository: &'a Repository,
    /// Removed with this.
    folder: tempfile::TempDir,
    restored: BTreeMap<NarHash, Option<PathBuf>>,
}

impl<'a> Places<'a> {
    /// Restores into a folder beside the cache.
    pub fn new(repository: &'a Repository, cache: &Cache) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(".bases-").tempdir_in(cache.folder())?;
        Ok(Self { repository, folder, restored: BTreeMap::new() })
    }

    /// Those that lie somewhere, with their places.
    pub fn of(&mut self, infos: &[&PathInfo], stock: &Stock) -> Vec<(PathInfo, PathBuf)> {
        let mut found = Vec::new();
        for info in infos {
            if let Some(place) = local(&info.path).or_else(|| self.restored(info, stock)) {
                found.push(((*info).clone(), place));
            }
        }
        found
    }

    fn restored(&mut self, info: &PathInfo, stock: &Stock) -> Option<PathBuf> {
        if let Some(known) = self.restored.get(&info.nar_hash) {
            return known.clone();
        }
        let place = self.folder.path().join(info.path.base_name());
        let object = stock.full.get(&info.nar_hash)?;
        let file = self.repository.object_path(&object.object.id);
        let restored = match restore(&file, &place) {
            Ok(()) => Some(place),
            Err(e) => {
                eprintln!("note: no patches against {}: {e:#}", info.path);
                None
            }
        };
        self.restored.insert(info.nar_hash, restored.clone());
        restored
    }
}

fn restore(object: &Path, place: &Path) -> anyhow::Result<()> {
    let mut nar = object::unpack(File::open(object)?)?;
    let mut command = Command::new("nix-store");
    command.arg("--restore").arg(place).stdin(Stdio::piped());
    let mut child = command.spawn().context("nix-store cannot be started")?;
    let copied = child.stdin.take().map_or(Ok(0), |mut pipe| std::io::copy(&mut nar, &mut pipe));
    anyhow::ensure!(child.wait()?.success(), "nix-store --restore failed");
    copied?;
    Ok(())
}
