//! Which release each wave may have: one pure decision from reports and the time.
//!
//! A wave gets a release when every wave before it is good. A wave is good when enough of its hosts have
//! *reported* the release healthy, and said so again after the soak time. Silence is not health; one failed
//! host stops the rollout. What a wave has reached it keeps, so a host that wakes after months gets the
//! newest release that its wave has reached.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assignment::Action;
use crate::ids::{HostName, Name, ReleaseId};
use crate::release::Wave;
use crate::report::{Event, Report};
use crate::span::Span;

/// When a wave is good enough for the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How long a host must have been healthy on the release, by the hub's clock.
    #[serde(default = "default_soak")]
    pub soak: Span,
    /// How many of a wave's hosts must be, percent, rounded up.
    #[serde(default = "default_percent")]
    pub healthy_percent: u8,
}

fn default_soak() -> Span {
    Span::secs(3600)
}

fn default_percent() -> u8 {
    100
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            soak: default_soak(),
            healthy_percent: default_percent(),
        }
    }
}

/// What the hub knows of a host's health: the sum of its reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The release that it said it runs.
    pub release: Option<ReleaseId>,
    /// When the hub first heard it healthy on that release, without a bad report since.
    pub healthy_since: Option<Timestamp>,
    /// When the hub last heard that.
    pub last_healthy: Option<Timestamp>,
    /// The newest release that failed on it, until it is healthy on that or a newer one.
    pub failed: Option<Failure>,
}

/// A release that failed on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub release: ReleaseId,
    /// Why, as the host said.
    pub why: String,
}

impl Health {
    /// Takes in a report that the hub received at `received`.
    pub fn observe(&mut self, report: &Report, received: Timestamp) {
        if self.release != report.release {
            self.release = report.release;
            self.healthy_since = None;
        }
        match &report.event {
            Event::Healthy => self.healthy(received),
            Event::Unhealthy => self.failed(report.release, failing(report)),
            Event::RolledBack { from, why, .. } | Event::Stuck { from, why, .. } => {
                self.failed(Some(*from), why.clone());
            }
            Event::Updating { .. } | Event::Refused { .. } => {}
        }
    }

    fn healthy(&mut self, received: Timestamp) {
        self.healthy_since.get_or_insert(received);
        self.last_healthy = Some(received);
        if self
            .failed
            .as_ref()
            .is_some_and(|f| Some(f.release) <= self.release)
        {
            self.failed = None;
        }
    }

    fn failed(&mut self, release: Option<ReleaseId>, why: String) {
        self.healthy_since = None;
        if let Some(release) = release {
            self.failed = Some(Failure { release, why });
        }
    }

    fn soaked(&self, release: ReleaseId, soak: Span) -> bool {
        let (Some(since), Some(last)) = (self.healthy_since, self.last_healthy) else {
            return false;
        };
        let healthy_for = last.duration_since(since).as_secs();
        self.release == Some(release)
            && u64::try_from(healthy_for).is_ok_and(|s| s >= soak.as_secs())
    }
}

fn failing(report: &Report) -> String {
    let failed: Vec<_> = report.checks.iter().filter(|c| !c.passed).collect();
    let text: Vec<_> = failed
        .iter()
        .map(|c| format!("check {}: {}", c.name, c.saw))
        .collect();
    text.join("; ")
}

/// All that the hub remembers about handing out releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The waves of the release handed out last, first to last.
    pub waves: Vec<Wave>,
    /// The newest release that each wave has reached.
    pub reached: BTreeMap<Name, ReleaseId>,
    /// The release that each host was last assigned; never made older.
    pub assigned: BTreeMap<HostName, ReleaseId>,
    /// The rollout under way, or the last one.
    pub active: Option<Active>,
}

/// One release on its way through the waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Which.
    pub release: ReleaseId,
    /// When a wave is good.
    pub policy: Policy,
    /// How it goes.
    pub status: Status,
    /// When it began.
    pub started: Timestamp,
    /// Hosts whose failure an operator has seen and passed over by resuming; they count no more.
    #[serde(default)]
    pub passed_over: BTreeSet<HostName>,
}

/// How a rollout goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Status {
    /// Waves follow as they become good.
    Running,
    /// An operator holds it.
    Paused,
    /// A host failed.
    Stopped {
        /// Which.
        host: HostName,
        /// Why.
        why: String,
    },
    /// The last wave is good.
    Done,
    /// An operator ended it.
    Cancelled,
}

/// Why an order was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Another one is under way.
    #[error("release {0} is still being rolled out; cancel it first")]
    Busy(ReleaseId),
    /// Hosts never accept an older release.
    #[error(
        "release {wanted} is not newer than {newest}, which was handed out already; \
         to go back, make a new release with the old systems: afield release --like {wanted}"
    )]
    Older {
        /// The release asked for.
        wanted: ReleaseId,
        /// The newest one handed out.
        newest: ReleaseId,
    },
    /// Nothing to pause, resume or cancel.
    #[error("no rollout is under way")]
    Nothing,
}

/// What changed in one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A wave may have the release now.
    Reached(Name),
    /// A host failed; no further wave.
    Stopped(HostName),
    /// The last wave is good.
    Done,
}

impl Rollout {
    /// Follows an operator's order. `waves` are those of the release to start.
    pub fn order(
        &mut self,
        action: &Action,
        waves: &[Wave],
        now: Timestamp,
    ) -> Result<(), OrderError> {
        match action {
            Action::Start { release, policy } => self.start(*release, policy, waves, now),
            Action::Pause => self.change(|s| matches!(s, Status::Running), Status::Paused),
            Action::Resume => self.resume(),
            Action::Cancel => self.change(|s| !s.ended(), Status::Cancelled),
        }
    }

    fn start(
        &mut self,
        release: ReleaseId,
        policy: &Policy,
        waves: &[Wave],
        started: Timestamp,
    ) -> Result<(), OrderError> {
        if let Some(active) = &self.active
            && matches!(active.status, Status::Running | Status::Paused)
        {
            return Err(OrderError::Busy(active.release));
        }
        if let Some(newest) = self.reached.values().max().filter(|n| **n >= release) {
            return Err(OrderError::Older {
                wanted: release,
                newest: *newest,
            });
        }
        self.waves = waves.to_vec();
        let policy = policy.clone();
        let status = Status::Running;
        let passed_over = BTreeSet::new();
        self.active = Some(Active {
            release,
            policy,
            status,
            started,
            passed_over,
        });
        Ok(())
    }

    fn change(&mut self, may: fn(&Status) -> bool, to: Status) -> Result<(), OrderError> {
        match &mut self.active {
            Some(active) if may(&active.status) => {
                active.status = to;
                Ok(())
            }
            _ => Err(OrderError::Nothing),
        }
    }

    fn resume(&mut self) -> Result<(), OrderError> {
        if let Some(active) = &mut self.active
            && let Status::Stopped { host, .. } = &active.status
        {
            active.passed_over.insert(host.clone());
        }
        let held = |s: &Status| matches!(s, Status::Paused | Status::Stopped { .. });
        self.change(held, Status::Running)
    }

    /// The decision: lets waves follow, stops, or ends. Call it again until it changes nothing.
    pub fn decide(&mut self, hosts: &BTreeMap<HostName, Health>) -> Vec<Change> {
        let Some(active) = &mut self.active else {
            return Vec::new();
        };
        if active.status != Status::Running {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for wave in &self.waves {
            let reached = self.reached.get(&wave.name).copied().unwrap_or_default();
            if reached < active.release {
                self.reached.insert(wave.name.clone(), active.release);
                changes.push(Change::Reached(wave.name.clone()));
            }
            if let Some((host, why)) = first_failure(wave, active, hosts) {
                active.status = Status::Stopped {
                    host: host.clone(),
                    why,
                };
                changes.push(Change::Stopped(host));
                return changes;
            }
            if !is_good(wave, active, hosts) {
                return changes;
            }
        }
        active.status = Status::Done;
        changes.push(Change::Done);
        changes
    }

    /// What every host should run now; remembers it, so that no host is ever assigned an older one.
    pub fn assign(&mut self) -> &BTreeMap<HostName, ReleaseId> {
        for wave in &self.waves {
            let Some(reached) = self.reached.get(&wave.name) else {
                continue;
            };
            for host in &wave.hosts {
                let assigned = self.assigned.entry(host.clone()).or_default();
                *assigned = (*assigned).max(*reached);
            }
        }
        &self.assigned
    }

    /// Healthy hosts of a wave on the active release, and how many are needed.
    pub fn progress(&self, wave: &Wave, hosts: &BTreeMap<HostName, Health>) -> (usize, usize) {
        match &self.active {
            Some(active) => (healthy(wave, active, hosts), needed(wave, active)),
            None => (0, 0),
        }
    }
}

impl Status {
    fn ended(&self) -> bool {
        matches!(self, Status::Done | Status::Cancelled)
    }
}

fn counted<'a>(wave: &'a Wave, active: &'a Active) -> impl Iterator<Item = &'a HostName> {
    wave.hosts
        .iter()
        .filter(|h| !active.passed_over.contains(*h))
}

fn healthy(wave: &Wave, active: &Active, hosts: &BTreeMap<HostName, Health>) -> usize {
    let soaked = |h: &Health| h.soaked(active.release, active.policy.soak);
    counted(wave, active)
        .filter(|h| hosts.get(*h).is_some_and(soaked))
        .count()
}

fn needed(wave: &Wave, active: &Active) -> usize {
    let percent = usize::from(active.policy.healthy_percent.min(100));
    (counted(wave, active).count() * percent).div_ceil(100)
}

fn is_good(wave: &Wave, active: &Active, hosts: &BTreeMap<HostName, Health>) -> bool {
    healthy(wave, active, hosts) >= needed(wave, active)
}

fn first_failure(
    wave: &Wave,
    active: &Active,
    hosts: &BTreeMap<HostName, Health>,
) -> Option<(HostName, String)> {
    counted(wave, active).find_map(|host| {
        let failure = hosts.get(host)?.failed.as_ref()?;
        (failure.release == active.release).then(|| (host.clone(), failure.why.clone()))
    })
}
