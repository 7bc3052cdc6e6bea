//! After a power cut: finds store paths that Nix calls valid and the disk lost, and gets them again.
//!
//! Nix is told to write a path to the disk before it registers it, so this should find nothing. It is here for what the
//! agent did not import, for disks that lie about having written, and because a host that runs from a half-written path
//! fails where nobody looks. Every path that the host's generations need is read and its hash compared, once after each
//! boot that was not preceded by an orderly end of the agent.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_core::release::PathInfo;
use afield_store::{fault, files, object};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::fetch;
use crate::host::Host;
use crate::nix::Nix;
use crate::state::State;
use crate::verify::Verified;

/// There while the agent runs: the boot in which it does.
const BOOT: &str = "boot";
/// There from a power cut until everything is well.
const UNCLEAN: &str = "unclean.json";
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Unclean {
    /// What was found, once everything was read; only that is looked at again.
    damaged: Option<Vec<StorePath>>,
}

/// Looks and repairs, if the power failed since the agent last ran. What it found, in sentences.
pub fn after_a_power_cut(
    host: &Host,
    nix: &Nix,
    state: &State,
    verified: Option<&Verified>,
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<String>> {
    let Some(mut unclean) = unclean(host)? else { return Ok(Vec::new()) };
    let suspects = match unclean.damaged.take() {
        Some(damaged) => damaged,
        None => {
            say("the power failed: reading every store path that this host needs");
            needed(nix, state, verified)?
        }
    };
    let damaged = nix.damaged(&suspects)?;
    let mut notes = Vec::new();
    let mut left = Vec::new();
    for path in damaged {
        say(&format!("{path} is damaged"));
        match repair(host, nix, verified, &path) {
            Ok(()) => notes.push(format!("{path} was damaged by a power cut and is repaired")),
            Err(e) => {
                notes.push(format!("{path} was damaged by a power cut: {e:#}"));
                left.push(path);
            }
        }
    }
    fault::point("repair:done");
    if left.is_empty() {
        nix.sync()?;
        files::remove_if_there(&host.own(UNCLEAN))?;
    } else {
        write(host, &Unclean { damaged: Some(left) })?;
    }
    Ok(notes)
}

/// Says that the agent ended in an orderly way; what comes now is no power cut.
pub fn ended_well(state_dir: &Path) -> io::Result<()> {
    files::remove_if_there(&state_dir.join(BOOT))
}

fn unclean(host: &Host) -> anyhow::Result<Option<Unclean>> {
    let now = fs::read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let last = files::read_if_there(&host.own(BOOT), MAX_FILE)?;
    if last.as_ref().is_some_and(|last| *last != now) {
        write(host, &Unclean::default())?;
    }
    if last.as_ref() != Some(&now) {
        files::write_atomic(&host.own(BOOT), &now)?;
    }
    let Some(bytes) = files::read_if_there(&host.own(UNCLEAN), MAX_FILE)? else { return Ok(None) };
    // A file that cannot be read means the same as an empty one.
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default()))
}

fn write(host: &Host, unclean: &Unclean) -> anyhow::Result<()> {
    Ok(files::write_atomic(&host.own(UNCLEAN), &serde_json::to_vec(unclean)?)?)
}

/// What the last good generation, an attempt and the assigned release consist of, as far as it is here.
fn needed(nix: &Nix, state: &State, verified: Option<&Verified>) -> anyhow::Result<Vec<StorePath>> {
    let attempt = state.attempt.as_ref().and_then(|a| a.to.system.clone());
    let systems: Vec<StorePath> = state.good.system.clone().into_iter().chain(attempt).collect();
    let mut paths = nix.closure(&nix.valid(&systems)?)?;
    if let Some(verified) = verified {
        let all: Vec<StorePath> = verified.closure.paths.iter().map(|i| i.path.clone()).collect();
        paths.extend(nix.valid(&all)?);
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Fetches the whole object of a path, proves it, and lets Nix put it in the place of what is there.
fn repair(
    host: &Host,
    nix: &Nix,
    verified: Option<&Verified>,
    path: &StorePath,
) -> anyhow::Result<()> {
    let verified = verified.context("no release could be read; it is tried again")?;
    let info = verified.closure.paths.iter().find(|info| info.path == *path);
    let info =
        info.context("the assigned release does not have it; a release that does repairs it")?;
    let object = verified.delivery.full(path)?;
    fetch::whole(host, object)?;
    let file = host.download(&object.id);
    object::prove(&file, object, info)?;
    let cache = host.own("repair");
    files_of_a_cache(&cache, info, &file).context("the archive cannot be unpacked")?;
    nix.repair(path, &cache)?;
    fault::point("repair:path");
    fs::remove_dir_all(&cache)?;
    Ok(files::remove_if_there(&file)?)
}

/// Nix repairs a path from a binary cache only, so it is given one in a folder, with this path alone.
fn files_of_a_cache(folder: &Path, info: &PathInfo, object: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut nar = File::create(folder.join("path.nar"))?;
    io::copy(&mut object::unpack(File::open(object)?)?, &mut nar)?;
    let name = |path: &StorePath| path.as_str().trim_start_matches("/nix/store/").to_owned();
    let references: Vec<String> = info.references.iter().map(name).collect();
    let text = format!(
        "StorePath: {}\nURL: path.nar\nCompression: none\nNarHash: {}\nNarSize: {}\nReferences: {}\n",
        info.path,
        info.nar_hash,
        info.nar_size,
        references.join(" ")
    );
    fs::write(folder.join("nix-cache-info"), "StoreDir: /nix/store\n")?;
    Ok(fs::write(folder.join(format!("{}.narinfo", info.path.hash_part())), text)?)
}
