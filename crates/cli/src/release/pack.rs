//! Packs what the repository lacks: store paths as full objects.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use afield_core::ids::NarHash;
use afield_core::release::{ObjectRef, PathInfo};
use afield_store::repository::Repository;
use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::stock::{Kept, Stock};
use crate::nix::closure::Nar;
use crate::nix::{parallel, processors};
use crate::progress::Progress;

/// What was packed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Packed {
    /// New objects.
    pub objects: u64,
    /// Their length in the repository, bytes.
    pub bytes: u64,
    /// Length of the archives in them, bytes.
    pub unpacked: u64,
    /// New patches.
    pub patches: u64,
    /// Their length.
    pub patch_bytes: u64,
    /// Paths that got none because the time was up.
    pub patches_late: u64,
    /// What patches are made against, in a sentence.
    pub against: String,
}

/// Packs those archives that `stock` does not have yet, a few at once, and adds them to it.
pub fn archives(
    repository: &Repository,
    paths: &[PathInfo],
    stock: &mut Stock,
) -> anyhow::Result<Packed> {
    let mut seen = BTreeSet::new();
    let lacking =
        paths.iter().filter(|p| !stock.full.contains_key(&p.nar_hash) && seen.insert(p.nar_hash));
    let mut missing: Vec<&PathInfo> = lacking.collect();
    // The largest first, so that no processor is left waiting for a large one at the end.
    missing.sort_by_key(|p| std::cmp::Reverse(p.nar_size));
    let unpacked = missing.iter().map(|p| p.nar_size).sum();
    let progress = Progress::bytes("packing", unpacked);
    let failed = AtomicBool::new(false);
    let bytes = AtomicU64::new(0);
    let results = parallel(&missing, processors(), |info| {
        if failed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        progress.at(info.path.name());
        let object = archive(repository, info, &progress);
        match &object {
            Ok(object) => drop(bytes.fetch_add(object.size, Ordering::Relaxed)),
            Err(_) => failed.store(true, Ordering::Relaxed),
        }
        object.map(Some)
    });
    for (info, object) in missing.iter().zip(results) {
        if let Some(object) = object? {
            stock.full.insert(info.nar_hash, Kept { object, slice: None });
        }
    }
    let (objects, bytes) = (missing.len() as u64, bytes.into_inner());
    Ok(Packed { objects, bytes, unpacked, ..Packed::default() })
}

/// Packs one store path, and proves that it is what Nix's database says.
fn archive(
    repository: &Repository,
    info: &PathInfo,
    progress: &Progress,
) -> anyhow::Result<ObjectRef> {
    let path = &info.path;
    let mut nar = Nar::of(path)?;
    let mut hashing = Hashing { inner: &mut nar, hash: Sha256::new(), progress };
    let object = repository.add_nar(&mut hashing).with_context(|| format!("packing {path}"))?;
    let found = NarHash::from_bytes(hashing.hash.finalize().into());
    nar.finish()?;
    if found != info.nar_hash {
        bail!(
            "{path} is not what was built: its content was changed in the store; \
               repair it with nix-store --repair-path {path}"
        );
    }
    Ok(object)
}

struct Hashing<'a> {
    inner: &'a mut Nar,
    hash: Sha256,
    progress: &'a Progress,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.progress.add(n as u64);
        Ok(n)
    }
}
