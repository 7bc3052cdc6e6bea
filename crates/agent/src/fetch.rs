//! Steps 6 and 7: objects from the sources, proved, and into the Nix store.

use std::fs::{self, File};
use std::path::PathBuf;

use afield_core::plan::Missing;
use afield_core::release::{Closure, PathInfo};
use afield_store::object::{self, ObjectError};
use afield_store::repository::object_name;
use afield_store::{export, fault, files};
use anyhow::Context as _;

use crate::host::Host;
use crate::nix::Nix;
use crate::refusal::Refusal;
use crate::source;

/// Bytes of an object that are here already, whole or in part.
pub fn here(host: &Host, missing: &afield_core::release::ObjectRef) -> u64 {
    let path = host.download(&missing.id);
    source::len(&path).max(source::len(&part(&path))).min(missing.size)
}

fn part(path: &std::path::Path) -> PathBuf {
    path.with_extension("part")
}

/// Step 6: fetches what is not here, each object from where the last run stopped. Objects that nothing
/// needs any more are removed first.
pub fn fetch(
    host: &Host,
    missing: &[Missing],
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<()> {
    clean(host, missing)?;
    let total: u64 = missing.iter().map(|m| m.object.size).sum();
    let mut done = 0;
    for item in missing {
        fetch_one(host, item, |n| progress(done + n, total))?;
        done += item.object.size;
        progress(done, total);
    }
    Ok(())
}

/// Fetches one object, from where the last run stopped.
pub fn fetch_one(host: &Host, item: &Missing, mut progress: impl FnMut(u64)) -> anyhow::Result<()> {
    let path = host.download(&item.object.id);
    if path.exists() {
        return Ok(());
    }
    let part = part(&path);
    let name = object_name(&item.object.id);
    let mut refusal: Option<Refusal> = None;
    for source in &host.sources {
        // What another source left half may be a lie; then this one is asked for all of it.
        let mut tries = if part.exists() { 2 } else { 1 };
        while tries > 0 {
            tries -= 1;
            if let Err(e) = source.resume(&name, &part, item.object.size, &mut progress) {
                if refusal.as_ref().is_none_or(Refusal::is_silence) {
                    refusal = Some(e.into());
                }
                break;
            }
            match object::prove_bytes(&part, &item.object) {
                Ok(()) => {
                    fault::point("fetch:proved");
                    fs::rename(&part, &path)?;
                    files::sync_dir(&host.own("downloads"))?;
                    fault::point("fetch:kept");
                    return Ok(());
                }
                // Nothing tells which bytes are wrong, so all are fetched again.
                Err(e) => {
                    files::remove_if_there(&part)?;
                    refusal = Some(e.into());
                }
            }
        }
    }
    Err(refusal.map_or_else(|| anyhow::anyhow!("no repository is configured"), Into::into))
}

/// Removes downloads that are not among the wanted ones.
fn clean(host: &Host, wanted: &[Missing]) -> anyhow::Result<()> {
    let folder = host.own("downloads");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if !wanted.iter().any(|m| m.object.id.hex() == stem) {
            files::remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Step 7: proves each archive and imports it, references first; then the objects are not needed any more.
pub fn import(
    host: &Host,
    nix: &Nix,
    missing: &[Missing],
    closure: &Closure,
) -> anyhow::Result<()> {
    let infos: Vec<&PathInfo> = missing
        .iter()
        .filter_map(|m| closure.paths.iter().find(|info| info.path == m.path))
        .collect();
    for (item, info) in missing.iter().zip(&infos) {
        prove(host, item, info)?;
    }
    fault::point("import:proved");
    let imported = nix.import(|out| {
        let mut out = out;
        for (item, info) in missing.iter().zip(&infos) {
            let file = File::open(host.download(&item.object.id))?;
            export::path(&mut out, object::unpack(file)?, info)?;
            fault::point("import:path");
        }
        Ok(export::end(&mut out)?)
    });
    imported.map_err(|e| {
        let left = nix.missing(&missing.iter().map(|m| m.path.clone()).collect::<Vec<_>>());
        let path = left.ok().and_then(|l| l.first().map(ToString::to_string)).unwrap_or_default();
        Refusal::Import { path, why: format!("{e:#}") }
    })?;
    // Nix has registered the paths; their bytes must be on the disk before the objects go.
    nix.sync().context("the Nix store cannot be written to the disk")?;
    fault::point("import:done");
    clean(host, &[])
}

/// Proves an object; one that does not hold is removed, so that it can be fetched again.
fn prove(host: &Host, item: &Missing, info: &PathInfo) -> Result<(), Refusal> {
    let path = host.download(&item.object.id);
    object::prove(&path, &item.object, info).map_err(|e: ObjectError| {
        // What cannot be removed is refused again by the next run.
        let _ = files::remove_if_there(&path);
        Refusal::Object(e)
    })
}
