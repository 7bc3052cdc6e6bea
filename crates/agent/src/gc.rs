//! Room for an update: old generations are given up, never what runs, what was booted, what was last good, or what is on
//! its way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use afield_core::ids::StorePath;
use afield_store::fault;
use anyhow::Context as _;

use crate::host::Host;
use crate::nix::{Generation, Nix};
use crate::observe::current_system;
use crate::roots;
use crate::state::State;
use crate::verify::Verified;

/// Frees at least `bytes` if old generations have so many. Says what was given up; nothing if there was nothing.
pub fn make_room(
    host: &Host,
    nix: &Nix,
    state: &State,
    verified: Option<&Verified>,
    bytes: u64,
) -> anyhow::Result<Option<String>> {
    let keep = keep(host, state);
    root(host, nix, &keep, verified).context("what must stay cannot be held fast")?;
    // What an older release left is not held for one that nobody waits for.
    let coming = verified.into_iter().flat_map(|v| v.closure.paths.iter().map(|info| &info.path));
    roots::coming(&host.config, coming)?;
    let generations = nix.generations()?;
    let newest = generations.iter().map(|g| g.number).max();
    let old: Vec<&Generation> = generations
        .iter()
        .filter(|g| Some(g.number) != newest && !keep.contains(&g.system))
        .collect();
    for generation in &old {
        fs::remove_file(&generation.link)?;
        fault::point("gc:generation");
    }
    let freed = nix.collect(bytes)?;
    fault::point("gc:done");
    if old.is_empty() && freed == 0 {
        return Ok(None);
    }
    let numbers: Vec<String> = old.iter().map(|g| g.number.to_string()).collect();
    let given_up = match numbers.is_empty() {
        true => String::new(),
        false => format!("; given up: generations {}", numbers.join(", ")),
    };
    Ok(Some(format!("{freed} bytes were freed in the Nix store for the update{given_up}")))
}

/// Systems that must stay.
fn keep(host: &Host, state: &State) -> Vec<StorePath> {
    let booted = fs::read_link(host.config.inside(Path::new("/run/booted-system"))).ok();
    let booted = booted.and_then(|link| link.to_str()?.parse().ok());
    let attempt = state.attempt.as_ref().and_then(|a| a.to.system.clone());
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.system.clone());
    let current = current_system(&host.config, state);
    let all = [current, booted, state.good.system.clone(), fallback, attempt];
    all.into_iter().flatten().collect()
}

/// Makes garbage-collector roots of what must stay, and of what has been imported of the release on its way: that was
/// paid for.
fn root(
    host: &Host,
    nix: &Nix,
    keep: &[StorePath],
    verified: Option<&Verified>,
) -> anyhow::Result<()> {
    let folder: PathBuf = host.config.inside(Path::new("/nix/var/nix/gcroots/afield"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let coming = verified.into_iter().flat_map(|v| v.closure.paths.iter().map(|info| &info.path));
    let all: Vec<StorePath> = coming.chain(keep).cloned().collect();
    for path in nix.valid(&all)? {
        let link = folder.join(path.base_name());
        if link.symlink_metadata().is_err() {
            symlink(path.as_str(), link)?;
        }
    }
    Ok(())
}
