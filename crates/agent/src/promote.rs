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

/// Gives a system its tries. If none of them is proved the machine starts the last one that was.
pub fn on_trial(host: &Host, nix: &Nix, state: &State, system: &StorePath) -> anyhow::Result<()> {
    let loader = Loader::find(&host.config);
    let good = state.good.system.as_ref();
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.system.as_ref());
    let safe = fallback.or(good);
    loader.hold(safe)?;
    nix.set_profile(&host.config, system).context("the profile cannot be set")?;
    fault::point("promote:profile-set");
    write_entries(host, system)?;
    fault::point("promote:entries-written");
    let Some(safe) = safe.filter(|_| contract::booted(&host.config).is_some()) else {
        // Without anything to fall back to, tries would only run out.
        return loader.bless(system);
    };
    // What was never booted keeps its own tries, behind those of the newer one.
    let unbooted = good.filter(|good| fallback.is_some() && *good != system);
    if let Some(good) = unbooted {
        loader.count(good)?;
    }
    if loader.counts() {
        boot_check::arm(host)?;
    }
    loader.arm(system, unbooted.unwrap_or(safe))?;
    fault::point("promote:armed");
    Ok(())
}

/// A system that was started from its own entry has proved itself.
pub fn bless(host: &Host, nix: &Nix, system: &StorePath) -> anyhow::Result<()> {
    nix.set_profile(&host.config, system).context("the profile cannot be set")?;
    fault::point("promote:profile-set");
    Loader::find(&host.config).bless(system)?;
    fault::point("promote:blessed");
    Ok(())
}

/// Back to a system that has its entry already: nothing is written that needs room.
pub fn back(host: &Host, nix: &Nix, good: &StorePath) -> anyhow::Result<()> {
    // First what the machine starts, then what Nix keeps.
    let there = Loader::find(&host.config).retreat(good)?;
    fault::point("promote:retreated");
    nix.set_profile(&host.config, good).context("the profile cannot be set")?;
    fault::point("promote:profile-set");
    if !there {
        write_entries(host, good)?;
    }
    fault::point("promote:entries-written");
    Ok(())
}

fn write_entries(host: &Host, system: &StorePath) -> anyhow::Result<()> {
    let folder = host.own("activation");
    fs::create_dir_all(&folder)?;
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    contract::run(&host.config, system, Action::Boot, &log)
        .with_context(|| format!("{system} cannot be made what the machine starts"))
}
