//! After a power cut: finds store paths that Nix calls valid and the disk lost, and gets them again.
//!
//! Nix is told to write a path to the disk before it registers it, so this should find nothing. It is here for what the
//! agent did not import, for disks that lie about having written, and because a host that runs from a half-written path
//! fails where nobody looks. Every path that the host's generations need is read and its hash compared, once after each
//! boot that was not preceded by an orderly end of the agent.
//!
//! What is damaged comes from the other hosts of the site if they kept it, else from the sources, and is proved like
//! everything else. A release that was assigned before serves as well as the one that is, if the host runs it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use afield_core::ids::StorePath;
use afield_core::release::{Closure, Delivery, ObjectRef, PathInfo};
use afield_store::{fault, files, object};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::fetch;
use crate::host::Host;
use crate::lan::Lan;
use crate::nix::Nix;
use crate::refusal::Refusal;
use crate::state::State;
use crate::verify::{Verified, earlier};

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
    let mut workshop = None;
    for path in damaged {
        say(&format!("{path} is damaged"));
        let workshop = workshop.get_or_insert_with(|| Workshop::open(host, nix, state, verified));
        match workshop.repair(&path) {
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

/// What the last good generation, the fallback, an attempt and the assigned release consist of, as far as it is here.
fn needed(nix: &Nix, state: &State, verified: Option<&Verified>) -> anyhow::Result<Vec<StorePath>> {
    let attempt = state.attempt.as_ref().and_then(|a| a.to.system.clone());
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.system.clone());
    let systems: Vec<StorePath> =
        [state.good.system.clone(), fallback, attempt].into_iter().flatten().collect();
    let mut paths = nix.closure(&nix.valid(&systems)?)?;
    if let Some(verified) = verified {
        let all: Vec<StorePath> = verified.closure.paths.iter().map(|i| i.path.clone()).collect();
        paths.extend(nix.valid(&all)?);
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// What a repair needs to know and to ask.
struct Workshop<'a> {
    host: &'a Host,
    nix: &'a Nix,
    lan: Option<Lan>,
    verified: Option<&'a Verified>,
    /// Other releases that this host has, as far as they can be read.
    earlier: Vec<(Closure, Delivery)>,
    /// Why one of them cannot.
    unread: Option<Refusal>,
}

impl<'a> Workshop<'a> {
    fn open(host: &'a Host, nix: &'a Nix, state: &State, verified: Option<&'a Verified>) -> Self {
        let (mut earlier, mut unread) = (Vec::new(), None);
        for release in state.other_releases(verified.map(|v| v.assignment.release)) {
            match earlier::contents(host, state, release) {
                Ok(contents) => earlier.push(contents),
                Err(refusal) => unread = Some(refusal),
            }
        }
        Self { host, nix, lan: Lan::of(host), verified, earlier, unread }
    }

    /// What is signed of a path.
    fn find(&self, path: &StorePath) -> anyhow::Result<(&PathInfo, &ObjectRef)> {
        let assigned = self.verified.map(|v| (&v.closure, &v.delivery));
        let earlier = self.earlier.iter().map(|(closure, delivery)| (closure, delivery));
        for (closure, delivery) in assigned.into_iter().chain(earlier) {
            if let Some(info) = closure.paths.iter().find(|info| info.path == *path) {
                return Ok((info, delivery.full(path)?));
            }
        }
        match &self.unread {
            Some(refusal) => bail!("its release cannot be read; it is tried again: {refusal}"),
            None => bail!("no release of this host has it; the next one that does repairs it"),
        }
    }

    /// Fetches the whole object of a path, proves it, and lets Nix put it in the place of what is there.
    fn repair(&self, path: &StorePath) -> anyhow::Result<()> {
        let (info, object) = self.find(path)?;
        let file = self.host.download(&object.id);
        self.bring(object)?;
        object::prove(&file, object, info)?;
        let cache = self.host.own("repair");
        files_of_a_cache(&cache, info, &file).context("the archive cannot be unpacked")?;
        self.nix.repair(path, &cache)?;
        fault::point("repair:path");
        fs::remove_dir_all(&cache)?;
        Ok(files::remove_if_there(&file)?)
    }

    /// From a neighbour, else from a source.
    fn bring(&self, object: &ObjectRef) -> anyhow::Result<()> {
        let folder = self.host.own("downloads");
        fs::create_dir_all(&folder)?;
        if self.lan.as_ref().is_some_and(|lan| lan.ask(&folder, object)) {
            return Ok(());
        }
        fetch::whole(self.host, object)?;
        if let Some(lan) = &self.lan {
            lan.keep(object, &self.host.download(&object.id));
        }
        Ok(())
    }
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
