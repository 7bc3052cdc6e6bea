//! Step 4: what is there, as seen, not as remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use afield_core::delivery::{Base, Delivery};
use afield_core::ids::{NarHash, StorePath};
use afield_core::plan::{Activation, Facts, Target};
use afield_store::files;
use jiff::Timestamp;

use crate::config::Config;
use crate::host::Host;
use crate::nix::Nix;
use crate::state::State;
use crate::verify::Verified;
use crate::{activate, data, fetch, purse};

/// Facts for the plan, and what was noticed on the way.
#[derive(Debug)]
pub struct Observed {
    /// What the plan is made from.
    pub facts: Facts,
    /// Drift of managed files, by name.
    pub drift: Vec<String>,
    /// What is there undeclared, and what is declared without effect.
    pub remarks: Vec<String>,
}

/// The system that is current.
pub fn current_system(config: &Config) -> Option<StorePath> {
    let link = fs::read_link(config.inside(Path::new("/run/current-system"))).ok()?;
    link.to_str()?.parse().ok()
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
    let good_data = state.good.data.filter(|id| match data::kept(host, id) {
        Ok(good) => {
            drift = data::drift(host, &good, now);
            remarks = data::remarks(host, &good, now);
            drift.is_empty()
        }
        Err(e) => {
            drift = vec![format!("{e:#}")];
            false
        }
    });
    // During an attempt the data of the new generation may be in place already.
    let attempted = state.attempt.as_ref().and_then(|a| a.to.data);
    let attempted = attempted.filter(|id| applied(host, id, now));
    let budget = verified.and_then(|v| v.data.budget.clone());
    let target = verified.map(|v| target(host, nix, v)).transpose()?;
    let activation = match &state.attempt {
        Some(attempt) => activate::look(host, attempt),
        None => Activation::None,
    };
    remarks.extend(profile_drift(host, state));
    let facts = Facts {
        target,
        current: current_system(&host.config),
        data: attempted.or(good_data),
        good: state.good.clone(),
        attempt: state.attempt.clone(),
        activation,
        quarantined: state.quarantined.clone(),
        free: free(&host.config),
        allowance: purse::of(host, budget, host.now(state).time),
    };
    Ok(Observed { facts, drift, remarks })
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

/// The profile decides what boots next; what runs is compared for itself.
fn profile_drift(host: &Host, state: &State) -> Option<String> {
    let good = state.good.system.as_ref().filter(|_| state.good.release.is_some())?;
    let profile = host.config.inside(Path::new("/nix/var/nix/profiles/system"));
    let link = fs::read_link(&profile).ok()?;
    let found = fs::read_link(profile.parent()?.join(link)).ok()?;
    let differs = state.attempt.is_none() && found != Path::new(good.as_str());
    differs.then(|| format!("drift: the system profile is {}, not {good}", found.display()))
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

/// Removes kept documents that neither the target nor the last good generation nor an attempt needs.
pub fn forget_documents(host: &Host, state: &State, verified: Option<&Verified>) {
    let mut needed: Vec<String> = Vec::new();
    let attempted = state.attempt.as_ref().and_then(|a| a.to.data);
    needed.extend(state.good.data.into_iter().chain(attempted).map(|id| id.hex()));
    let Some(verified) = verified else { return };
    needed.push(verified.assignment.manifest.hex());
    let release = &verified.release;
    needed.extend([&release.closure, &release.delivery, &release.data].map(|o| o.id.hex()));
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
