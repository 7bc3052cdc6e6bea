//! How the fleet stands, as the hub tells it: to its page, to `afield status`, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::{Failure, FailureKind, Health, said_by};
use crate::ids::{HostName, Name, ReleaseId, StorePath};
use crate::release::{Manifest, Wave};
use crate::report::{CheckResult, Event, Report, clip};
use crate::rollout::{Active, Change, Rollout};
use crate::span::Span;

/// A host that said nothing for longer than this is silent: four heartbeats of an agent that was told nothing else.
pub const SILENT_AFTER: Span = Span::secs(3600);

/// The whole fleet; `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The fleet's name; none as long as the hub knows no release.
    pub fleet: Option<Name>,
    /// When this was told, by the hub's clock.
    pub time: Timestamp,
    /// The newest release in the repository.
    pub newest: Option<ReleaseId>,
    /// The rollout under way, or the last one.
    pub rollout: Option<Active>,
    /// First to last.
    pub waves: Vec<WaveStatus>,
    /// Wave by wave, then by name.
    pub hosts: Vec<HostStatus>,
    /// What keeps the hub from its work, each with a remedy.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// How far a wave is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveStatus {
    /// The wave.
    pub name: Name,
    /// The newest release that it may have.
    pub reached: Option<ReleaseId>,
    /// How many hosts stand in it.
    pub hosts: usize,
    /// How many of them run the rollout's release.
    pub running: usize,
    /// How many have been healthy on it for the soak time.
    pub healthy: usize,
    /// How many must be, before the next wave follows.
    pub needed: usize,
}

/// One host; `GET /v1/status/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The host.
    pub host: HostName,
    /// Its wave; none if it stands in none.
    pub wave: Option<Name>,
    /// The release that it should run.
    pub assigned: Option<ReleaseId>,
    /// The release that it says it runs.
    pub running: Option<ReleaseId>,
    /// The system that is current on it, as it saw.
    pub system: Option<StorePath>,
    /// In a word.
    pub state: State,
    /// In a sentence, if there is more to say than the word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
    /// How far it is on the way to a release, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Progress>,
    /// Its last report.
    pub heard: Option<Heard>,
    /// The checks of its last report.
    pub checks: Vec<CheckResult>,
    /// The notes of its last report, and the hub's own.
    pub notes: Vec<String>,
    /// The newest release that failed on it, until it is healthy on that or a newer one.
    pub failure: Option<Failure>,
}

/// How much of a release is on a host already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which release.
    pub to: ReleaseId,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// When and what the hub last heard of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// By the hub's clock; the age is [`FleetStatus::time`] less this.
    pub received: Timestamp,
    /// By the host's clock, which may lie.
    pub time: Timestamp,
    /// Number of the report.
    pub seq: u64,
    /// Version of the agent.
    pub agent: String,
}

/// How a host is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs what it should, and every check passes.
    Healthy,
    /// A check fails outside of an update.
    Unhealthy,
    /// It is on the way to a release.
    Updating,
    /// A release failed on it, and it is back at the last good one.
    RolledBack,
    /// A release failed on it, and going back did not help: a person is needed.
    Stuck,
    /// It refused what it was offered.
    Refused,
    /// Nothing was heard for [`SILENT_AFTER`].
    Silent,
    /// Nothing was ever heard.
    NeverSeen,
    /// It is well, and has not yet taken the release that it should run.
    Waiting,
}

impl State {
    /// The word: that of the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Updating => "updating",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::NeverSeen => "never-seen",
            Self::Waiting => "waiting",
        }
    }

    /// Whether someone should look.
    pub fn is_trouble(self) -> bool {
        use State::{Refused, RolledBack, Silent, Stuck, Unhealthy};
        matches!(self, Unhealthy | RolledBack | Stuck | Refused | Silent)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the hub keeps of each host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The sum of its reports.
    pub health: Health,
    /// The last one.
    pub last: Report,
    /// When the hub received that.
    pub received: Timestamp,
}

/// What a status is made from.
pub struct Sight<'a> {
    /// The time by the hub's clock.
    pub now: Timestamp,
    /// What was handed out.
    pub rollout: &'a Rollout,
    /// Hosts that reported.
    pub records: &'a BTreeMap<HostName, Record>,
    /// The releases in the repository.
    pub manifests: &'a BTreeMap<ReleaseId, Arc<Manifest>>,
    /// See [`FleetStatus::problems`].
    pub problems: Vec<String>,
}

impl FleetStatus {
    /// Tells how the fleet stands.
    pub fn of(sight: Sight<'_>) -> Self {
        let newest = sight.manifests.last_key_value().map(|(_, m)| m.as_ref());
        let waves = waves(&sight, newest);
        let mut hosts: Vec<_> = names(&sight, newest)
            .into_iter()
            .map(|name| host(&sight, newest, waves, name))
            .collect();
        let place = |h: &HostStatus| {
            let place = waves.iter().position(|w| Some(&w.name) == h.wave.as_ref());
            place.unwrap_or(usize::MAX)
        };
        hosts.sort_by_key(|h| (place(h), h.host.clone()));
        Self {
            fleet: newest.map(|m| m.fleet.clone()),
            time: sight.now,
            newest: newest.map(|m| m.release),
            rollout: sight.rollout.active.clone(),
            waves: waves.iter().map(|w| wave(&sight, w)).collect(),
            hosts,
            problems: sight.problems,
        }
    }
}

/// The waves of the rollout, or of the newest release as long as nothing was handed out.
fn waves<'a>(sight: &Sight<'a>, newest: Option<&'a Manifest>) -> &'a [Wave] {
    match (&sight.rollout.waves[..], newest) {
        ([], Some(manifest)) => &manifest.waves,
        (waves, _) => waves,
    }
}

/// The hosts of the newest release, and those that still have an older one from the repository.
fn names<'a>(sight: &Sight<'a>, newest: Option<&'a Manifest>) -> BTreeSet<&'a HostName> {
    let still = |host: &HostName, release: &ReleaseId| {
        sight.manifests.get(release).is_some_and(|m| m.hosts.contains_key(host))
    };
    let assigned = sight.rollout.assigned.iter();
    let old = assigned.filter(|(host, release)| still(host, release)).map(|(host, _)| host);
    newest.into_iter().flat_map(|m| m.hosts.keys()).chain(old).collect()
}

fn wave(sight: &Sight<'_>, wave: &Wave) -> WaveStatus {
    let health = |h: &HostName| sight.records.get(h).map(|r| &r.health);
    let hosts: BTreeMap<_, _> =
        wave.hosts.iter().filter_map(|h| Some((h.clone(), health(h)?.clone()))).collect();
    let active = sight.rollout.active.as_ref().map(|a| a.release);
    let runs = |h: &&Health| active.is_some() && h.release == active;
    let (healthy, needed) = sight.rollout.progress(wave, &hosts);
    WaveStatus {
        name: wave.name.clone(),
        reached: sight.rollout.reached.get(&wave.name).copied(),
        hosts: wave.hosts.len(),
        running: hosts.values().filter(runs).count(),
        healthy,
        needed,
    }
}

fn host(
    sight: &Sight<'_>,
    newest: Option<&Manifest>,
    waves: &[Wave],
    name: &HostName,
) -> HostStatus {
    let assigned = sight.rollout.assigned.get(name).copied();
    let record = sight.records.get(name);
    let last = record.map(|r| &r.last);
    let stands_in = |waves: &[Wave]| {
        let wave = waves.iter().find(|w| w.hosts.contains(name));
        wave.map(|w| w.name.clone())
    };
    let mut notes: Vec<String> =
        last.map(|r| r.notes.iter().map(|n| clip(n)).collect()).unwrap_or_default();
    if let Some(manifest) = newest.filter(|m| !m.hosts.contains_key(name)) {
        let release = manifest.release;
        notes.push(format!("release {release} has nothing for it: it was removed, or not built"));
    }
    let (state, says) =
        record.map_or((State::NeverSeen, String::new()), |r| state(r, assigned, sight.now));
    HostStatus {
        host: name.clone(),
        wave: stands_in(waves).or_else(|| stands_in(&newest?.waves)),
        assigned,
        running: last.and_then(|r| r.release),
        system: last.and_then(|r| r.system.clone()),
        state,
        says,
        update: last.and_then(progress).filter(|_| state == State::Updating),
        heard: record.map(heard),
        checks: last.map(|r| r.checks.clone()).unwrap_or_default(),
        notes,
        failure: record.and_then(|r| r.health.failed.clone()),
    }
}

fn progress(report: &Report) -> Option<Progress> {
    match report.event {
        Event::Updating { to, done, total } => Some(Progress { to, done, total }),
        _ => None,
    }
}

fn heard(record: &Record) -> Heard {
    Heard {
        received: record.received,
        time: record.last.time,
        seq: record.last.seq,
        agent: clip(&record.last.agent),
    }
}

/// The word and the sentence of a host that reported at least once.
fn state(record: &Record, assigned: Option<ReleaseId>, now: Timestamp) -> (State, String) {
    let age = now.duration_since(record.received).as_secs();
    if age > i64::try_from(SILENT_AFTER.as_secs()).unwrap_or(i64::MAX) {
        return (State::Silent, format!("nothing heard for {}", ago(age)));
    }
    let report = &record.last;
    let failed = record.health.failed.as_ref();
    match &report.event {
        Event::Updating { to, done, total } => {
            (State::Updating, format!("release {to}: {} of {}", bytes(*done), bytes(*total)))
        }
        Event::Refused { code, why } => (State::Refused, clip(&format!("{code}: {why}"))),
        Event::RolledBack { from, why, .. } => {
            (State::RolledBack, clip(&format!("release {from} failed: {why}")))
        }
        Event::Stuck { from, why, .. } => {
            (State::Stuck, clip(&format!("release {from} failed, going back too: {why}")))
        }
        Event::Unhealthy => {
            let failing: Vec<_> = report.checks.iter().filter(|c| !c.passed).cloned().collect();
            let stuck = failed.is_some_and(|f| f.kind == FailureKind::Stuck);
            (if stuck { State::Stuck } else { State::Unhealthy }, said_by(&failing))
        }
        Event::Healthy => match (failed, assigned) {
            (Some(f), _) if assigned <= Some(f.release) => {
                (State::RolledBack, format!("release {} failed: {}", f.release, f.why))
            }
            (_, Some(assigned)) if report.release < Some(assigned) => {
                (State::Waiting, format!("release {assigned} is not there yet"))
            }
            _ => (State::Healthy, String::new()),
        },
    }
}

/// A length of time as a person says it, from seconds: `12 s`, `5 min`, `3 h`, `9 days`.
pub fn ago(secs: i64) -> String {
    match secs.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// A size as a person says it, from bytes, in powers of 1024.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let power = ((63 - n.leading_zeros()) / 10).clamp(1, 4);
    let tenths = (u128::from(n) * 10) >> (10 * power);
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let unit = UNITS[power as usize - 1];
    if whole < 100 { format!("{whole}.{tenth} {unit}") } else { format!("{whole} {unit}") }
}

/// The hub's answer to `POST /v1/reports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many of them were new.
    pub accepted: u64,
    /// The newest number that the hub has of that host.
    pub seq: u64,
}

/// The hub's answer to `POST /v1/orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// What changed at once.
    pub changes: Vec<Change>,
}

/// The hub's answer to anything that it refuses; the HTTP status is 4xx or 5xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub error: String,
    /// What to do.
    pub remedy: String,
}
