//! Makes a system what the machine starts by itself: the profile's newest generation, and the boot loader's
//! first entry. Forward only after the proof; what a boot must prove first is on trial.
//!
//! Every step may be repeated: the plan repeats all of them until the attempt is judged.

use std::fs::{self, OpenOptions};

use afield_core::ids::StorePath;
use afield_store::fault;
use anyhow::Context as _;

use crate::boot::Loader;
use crate::boot_check;
use crate::contract::{self, Action};
use crate::host::Host;
use crate::nix::Nix;
use crate::state::State;

/// Gives a system its tries. If none of them is proved the machine starts the last one that was booted.
pub fn on_trial(host: &Host, nix: &Nix, state: &State, system: &StorePath) -> anyhow::Result<()> {
    let loader = Loader::find(&host.config);
    let Some(safe) = safe(host, state, &loader) else {
        // Without anything to fall back to, tries would only run out.
        set_profile(host, nix, system)?;
        write_entries(host, system)?;
        fault::point("promote:entries-written");
        return loader.bless(system);
    };
    let spent = loader.hold(safe)?;
    if system != safe {
        boot_check::arm(host)?;
    }
    // Generations get old and are given up, and their boot entries with them.
    if !stands_behind(nix, system, safe)? {
        set_profile(host, nix, safe)?;
    }
    set_profile(host, nix, system)?;
    write_entries(host, system)?;
    fault::point("promote:entries-written");
    arm(&loader, system, safe, &spent)
}

/// The last system that was booted, where the machine can fall back to it.
fn safe<'a>(host: &Host, state: &'a State, loader: &Loader) -> Option<&'a StorePath> {
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.system.as_ref());
    let known = loader.counts() && contract::booted(&host.config).is_some();
    fallback.or(state.good.system.as_ref()).filter(|_| known)
}

fn arm(
    loader: &Loader,
    system: &StorePath,
    safe: &StorePath,
    spent: &[String],
) -> anyhow::Result<()> {
    if system == safe {
        // It comes back as a new release; it was booted already.
        loader.retreat(safe)?;
    } else {
        loader.arm(system, safe, spent)?;
    }
    fault::point("promote:armed");
    Ok(())
}

/// Whether one system's generation is the newest but that of the other.
fn stands_behind(nix: &Nix, system: &StorePath, safe: &StorePath) -> anyhow::Result<bool> {
    let generations = nix.generations()?.into_iter().filter(|g| g.system != *system);
    let newest = generations.max_by_key(|generation| generation.number);
    Ok(newest.is_some_and(|generation| generation.system == *safe))
}

fn set_profile(host: &Host, nix: &Nix, system: &StorePath) -> anyhow::Result<()> {
    nix.set_profile(&host.config, system).context("the profile cannot be set")?;
    fault::point("promote:profile-set");
    Ok(())
}

/// A system that was started from its own entry has proved itself.
pub fn bless(host: &Host, nix: &Nix, system: &StorePath) -> anyhow::Result<()> {
    set_profile(host, nix, system)?;
    Loader::find(&host.config).bless(system)?;
    fault::point("promote:blessed");
    Ok(())
}

/// Back to a system that has its entry already: nothing is written that needs room. One that was never booted is on
/// trial there as it was.
pub fn back(host: &Host, nix: &Nix, state: &State, good: &StorePath) -> anyhow::Result<()> {
    let loader = Loader::find(&host.config);
    let safe = safe(host, state, &loader).filter(|safe| *safe != good);
    // First what the machine starts, then what Nix keeps.
    let there = match safe {
        Some(safe) => loader.has(safe) && loader.retreat(safe)? && loader.has(good),
        None => loader.retreat(good)?,
    };
    fault::point("promote:retreated");
    match safe {
        Some(safe) if there => {
            set_profile(host, nix, good)?;
            boot_check::arm(host)?;
            // Entries in another order are written anew.
            let armed = arm(&loader, good, safe, &[]);
            armed.or_else(|_| on_trial(host, nix, state, good))
        }
        Some(_) => on_trial(host, nix, state, good),
        None => {
            set_profile(host, nix, good)?;
            if !there {
                write_entries(host, good)?;
            }
            fault::point("promote:entries-written");
            Ok(())
        }
    }
}

fn write_entries(host: &Host, system: &StorePath) -> anyhow::Result<()> {
    let folder = host.own("activation");
    fs::create_dir_all(&folder)?;
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    contract::run(&host.config, system, Action::Boot, &log)
        .with_context(|| format!("{system} cannot be made what the machine starts"))
}
