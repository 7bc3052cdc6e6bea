//! The gate, pure: from what the hub remembers and the repository holds to the assignments that are due.

use std::collections::BTreeMap;

use afield_core::assignment::Assignment;
use afield_core::health::Health;
use afield_core::ids::{HostName, ReleaseId};
use afield_core::release::Wave;
use afield_core::rollout::{Change, Rollout};
use afield_core::status::Record;
use afield_store::trust::Seen;
use jiff::{SignedDuration, Timestamp};

use crate::source::Known;

/// All that the hub remembers; the database holds the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// What was handed out.
    pub rollout: Rollout,
    /// Every host that reported.
    pub records: BTreeMap<HostName, Record>,
    /// The counter of the newest assignment.
    pub counter: u64,
    /// When the newest order was signed that the hub took.
    pub last_order: Option<Timestamp>,
    /// The newest trust metadata; nothing older is accepted.
    pub seen: Seen,
}

/// Lets waves follow until nothing changes any more.
pub fn decide(memory: &mut Memory) -> Vec<Change> {
    let health: BTreeMap<HostName, Health> =
        memory.records.iter().map(|(host, r)| (host.clone(), r.health.clone())).collect();
    std::iter::from_fn(|| memory.rollout.decide(&health)).collect()
}

/// Makes the assignments that are due, with their counters.
pub fn assign(
    memory: &mut Memory,
    known: &Known,
    issued: &BTreeMap<HostName, Assignment>,
    now: Timestamp,
) -> Vec<Assignment> {
    let has = |release: ReleaseId, host: &HostName| known.has(release, host);
    let assigned = memory.rollout.assign(has).clone();
    let mut due = Vec::new();
    for (host, release) in assigned {
        let Some(next) = assignment(known, &host, release, memory.counter.saturating_add(1), now)
        else {
            continue;
        };
        if issued.get(&host).is_none_or(|old| is_due(old, &next, now)) {
            memory.counter = next.counter;
            due.push(next);
        }
    }
    due
}

/// None if the release is not, or no longer, in the repository: then the host keeps what it has.
fn assignment(
    known: &Known,
    host: &HostName,
    release: ReleaseId,
    counter: u64,
    now: Timestamp,
) -> Option<Assignment> {
    let days = known.manifests.get(&release)?.hosts.get(host)?.fresh_days;
    let fresh = SignedDuration::from_hours(24 * i64::from(days.max(1)));
    Some(Assignment {
        fleet: known.fleet.clone(),
        host: host.clone(),
        release,
        manifest: *known.addresses.get(&release)?,
        counter,
        issued: now,
        expires: now.checked_add(fresh).unwrap_or(Timestamp::MAX),
    })
}

/// Whether an assignment says something new, or the old one is past half of its life.
fn is_due(old: &Assignment, new: &Assignment, now: Timestamp) -> bool {
    let life = old.expires.duration_since(old.issued);
    let age = now.duration_since(old.issued);
    (old.release, old.manifest) != (new.release, new.manifest) || age > life / 2
}

/// Takes in the assignments that were found in the repository's folder. Whatever happened to the database,
/// counters grow and no host is made older; if it is gone, this is where the hub starts from again.
/// Returns whether it was gone.
pub fn recover(memory: &mut Memory, known: &Known, found: &BTreeMap<HostName, Assignment>) -> bool {
    for assignment in found.values() {
        memory.counter = memory.counter.max(assignment.counter);
    }
    if memory.rollout == Rollout::default() && !found.is_empty() {
        let newest = found.values().map(|a| a.release).max();
        let manifest = newest.and_then(|r| known.manifests.get(&r).map(AsRef::as_ref));
        let waves = manifest.or(known.newest()).map(built_waves).unwrap_or_default();
        let assigned = found.iter().map(|(host, a)| (host.clone(), a.release)).collect();
        memory.rollout = Rollout::recover(&waves, assigned);
        return true;
    }
    for (host, found) in found {
        let assigned = memory.rollout.assigned.entry(host.clone()).or_default();
        *assigned = (*assigned).max(found.release);
    }
    false
}

/// The waves of a release, with those hosts alone that it has something for: nobody waits for the others.
pub fn built_waves(manifest: &afield_core::release::Manifest) -> Vec<Wave> {
    let built = |wave: &Wave| Wave {
        name: wave.name.clone(),
        hosts: wave.hosts.iter().filter(|h| manifest.hosts.contains_key(*h)).cloned().collect(),
    };
    manifest.waves.iter().map(built).collect()
}
