//! Step 4: what is there, as seen, not as remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use afield_core::delivery::{Base, Delivery};
use afield_core::ids::{NarHash, StorePath};
use afield_core::plan::{Activation, Attempt, Boot, Direction, Facts, Target, Trial};
use afield_store::files;
use jiff::Timestamp;

use crate::boot::Loader;
use crate::config::Config;
use crate::contract::{self, Contract};
use crate::host::Host;
use crate::nix::{self, Nix};
use crate::state::State;
use crate::verify::{Verified, earlier};
use crate::window::Holding;
use crate::{activate, data, fetch, purse, reach, reboot, units};

/// Facts for the plan, and what was noticed on the way.
#[derive(Debug)]
pub struct Observed {
    /// What the plan is made from.
    pub facts: Facts,
    /// Drift of managed files, by name.
    pub drift: Vec<String>,
    /// What is there undeclared, what is declared without effect, and units that failed; nothing in an attempt.
    pub remarks: Vec<String>,
    /// When the machine may be restarted, and who says so.
    pub window: Holding,
}

/// The system that is current.
pub fn current_system(config: &Config, state: &State) -> Option<StorePath> {
    let attempted = state.attempt.as_ref().and_then(|a| a.to.system.clone());
    let profiled = nix::profiled(config, None);
    let known = [attempted, state.good.system.clone(), profiled];
    contract::current(config, &known.iter().flatten().collect::<Vec<_>>())
}

/// What the machine starts by itself; none while that is being changed.
fn default_system(config: &Config, state: &State) -> Option<StorePath> {
    if state.attempt.as_ref().is_some_and(|a| a.promoting) {
        return None;
    }
    let contract = state.good.system.as_ref().and_then(|system| Contract::of(config, system));
    nix::profiled(config, contract)
}

/// What became of the restart that the attempt asked for.
pub fn boot(config: &Config, state: &State) -> Boot {
    let Some(attempt) = &state.attempt else {
        return Boot::NotAsked;
    };
    match &attempt.boot {
        None if came_by_itself(config, state, attempt) => Boot::Happened,
        None => Boot::NotAsked,
        Some(asked) if *asked == reboot::boot_id(config) => Boot::Asked,
        Some(_) => Boot::Happened,
    }
}

/// Power failed after it was given its tries and before anybody wrote down that a restart was asked for.
fn came_by_itself(config: &Config, state: &State, attempt: &Attempt) -> bool {
    let fallback = state.fallback.as_ref().map(|f| &f.generation);
    let known = [Some(&state.good), fallback];
    let is_new = known.into_iter().flatten().all(|known| known.system != attempt.to.system);
    let forward = attempt.direction == Direction::Forward;
    attempt.promoting && forward && is_new && contract::booted(config) == attempt.to.system
}

/// What became of a system that was proved without a boot, when the machine is booted.
pub fn trial(config: &Config, state: &State) -> Trial {
    let (Some(fallback), Some(good)) = (&state.fallback, &state.good.system) else {
        return Trial::None;
    };
    if fallback.boot == reboot::boot_id(config) {
        return Trial::None;
    }
    match contract::booted(config) {
        Some(booted) if booted == *good => Trial::Booted,
        Some(_) if Loader::find(config).gave_up(good) => Trial::Failed,
        _ => Trial::None,
    }
}

/// Looks at everything the plan depends on.
pub fn observe(
    host: &Host,
    nix: &Nix,
    state: &State,
    verified: Option<&Verified>,
    now: Timestamp,
) -> anyhow::Result<Observed> {
    let (mut drift, mut remarks) = (Vec::new(), Vec::new());
    // In an attempt, what the last good generation does not know may be the next one's.
    let settled = state.attempt.is_none();
    let good_data = state.good.data.filter(|id| match data::kept(host, id) {
        Ok(good) => {
            drift = data::drift(host, &good, now);
            if settled {
                remarks = data::remarks(host, &good, now);
            }
            drift.is_empty()
        }
        Err(e) => {
            drift = vec![format!("{e:#}")];
            false
        }
    });
    remarks.extend(crate::window::zone_is_lost(&host.config));
    if settled {
        let failed = units::failed(&host.config);
        remarks.extend(failed.iter().map(|unit| format!("the unit {unit} failed")));
    }
    let good = state.good.system.as_ref();
    let good_lost = good.is_some_and(|s| !host.config.inside(Path::new(s.as_str())).exists());
    let good = good.filter(|_| !good_lost);
    let good = good.filter(|s| Contract::of(&host.config, s) == Some(Contract::SystemManager));
    drift.extend(
        good.into_iter().flat_map(|s| contract::system_manager::differences(&host.config, s)),
    );
    // During an attempt the data of the new generation may be in place already.
    let attempted = state.attempt.as_ref().and_then(|a| a.to.data);
    let attempted = attempted.filter(|id| applied(host, id, now));
    let budget = verified.and_then(|v| v.data.budget.clone());
    let target = verified.map(|v| target(host, nix, v)).transpose()?;
    let activation = match &state.attempt {
        Some(attempt) => activate::look(host, attempt),
        None => Activation::None,
    };
    let config = &host.config;
    let window = Holding::find(config, state, verified);
    let current = current_system(config, state);
    // What must be booted is asked of the system that is not there yet.
    let to = state.attempt.as_ref().map(|a| a.to.system.as_ref());
    let to = to.unwrap_or_else(|| target.as_ref().map(|t: &Target| &t.system));
    let to = to.filter(|to| current.as_ref() != Some(to));
    let here =
        target.as_ref().filter(|t| t.missing.is_empty() && Some(&t.system) != current.as_ref());
    let tried = |t: &Target| state.attempt.is_none() && state.cut_off.contains_key(&t.release);
    let facts = Facts {
        unheard: target.as_ref().is_some_and(tried) && !reach::look(host).any(),
        deaf: state.deaf.is_some(),
        reboot: to.and_then(|to| reboot::needed(config, contract::booted(config).as_ref(), to)),
        no_trial: Loader::find(config).no_trial(config),
        boot_lack: here.and_then(|t| Loader::find(config).lack(config, &t.system)),
        default: default_system(config, state),
        boot: boot(config, state),
        trial: trial(config, state),
        now,
        window: window.around(config, now),
        target,
        current,
        data: attempted.or(good_data),
        good: state.good.clone(),
        good_lost,
        attempt: state.attempt.clone(),
        activation,
        stuck: state.stuck.clone(),
        quarantined: state.quarantined.clone(),
        free: free(&host.config),
        allowance: purse::of(host, budget, host.now(state).time),
    };
    Ok(Observed { facts, drift, remarks, window })
}

fn applied(host: &Host, id: &afield_core::ids::ObjectId, now: Timestamp) -> bool {
    data::kept(host, id).is_ok_and(|kept| data::drift(host, &kept, now).is_empty())
}

fn target(host: &Host, nix: &Nix, verified: &Verified) -> anyhow::Result<Target> {
    let Verified { assignment, release, closure, delivery, .. } = verified;
    let paths: Vec<StorePath> = closure.paths.iter().map(|p| p.path.clone()).collect();
    let lacks: BTreeSet<StorePath> = nix.missing(&paths)?.into_iter().collect();
    let bases = bases(nix, delivery, &lacks)?;
    let has = |base: &Base| bases.get(&base.path) == Some(&base.nar_hash);
    let missing = delivery.missing(closure, &lacks, |object| fetch::here(host, object), has)?;
    let (system, data) = (release.system.clone(), release.data.id);
    Ok(Target { release: assignment.release, system, data, missing })
}

/// Which bases of patches for missing paths are there, and with which content.
fn bases(
    nix: &Nix,
    delivery: &Delivery,
    lacks: &BTreeSet<StorePath>,
) -> anyhow::Result<BTreeMap<StorePath, NarHash>> {
    let ways = lacks.iter().flat_map(|path| delivery.ways(path));
    let named: BTreeSet<&StorePath> = ways.flat_map(|w| w.bases).map(|b| &b.path).collect();
    let named: Vec<StorePath> = named.into_iter().cloned().collect();
    Ok(nix.infos(&named)?.into_iter().map(|info| (info.path, info.nar_hash)).collect())
}

/// Free bytes where the store is; all of them if the file system does not say. Tests of full disks set `AFIELD_FREE`.
fn free(config: &Config) -> u64 {
    #[cfg(feature = "faults")]
    if let Some(lie) = std::env::var("AFIELD_FREE").ok().and_then(|n| n.parse().ok()) {
        return lie;
    }
    let stat = rustix::fs::statvfs(&config.root);
    stat.map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

/// Removes kept documents that neither the target nor a generation that the host may go back to nor an attempt needs.
pub fn forget_documents(host: &Host, state: &State, verified: Option<&Verified>) {
    let mut needed: Vec<String> = Vec::new();
    let attempted = state.attempt.as_ref().and_then(|a| a.to.data);
    // What the boot loader falls back to is applied then, perhaps when nobody can be asked for it.
    let fallback = state.fallback.as_ref().and_then(|f| f.generation.data);
    let generations = [state.good.data, fallback, attempted];
    needed.extend(generations.into_iter().flatten().map(|id| id.hex()));
    let Some(verified) = verified else { return };
    needed.push(verified.assignment.manifest.hex());
    let release = &verified.release;
    needed.extend([&release.closure, &release.delivery, &release.data].map(|o| o.id.hex()));
    // What the host runs may have to be repaired while nobody can be asked.
    let others = state.other_releases(Some(verified.assignment.release));
    let documents = others.flat_map(|release| earlier::kept(host, state, release));
    needed.extend(documents.map(|id| id.hex()));
    let Ok(entries) = fs::read_dir(host.own("documents")) else {
        return;
    };
    for entry in entries.flatten() {
        if !needed.contains(&entry.file_name().to_string_lossy().into_owned()) {
            // What stays costs a few KiB, and the next run tries again.
            let _ = files::remove_if_there(&entry.path());
        }
    }
}
