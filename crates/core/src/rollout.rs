//! Which release each wave may have: one pure decision from reports and the time.
//!
//! A wave gets a release when every wave before it is good. A wave is good when enough of its hosts have
//! *reported* the release healthy, and said so again after the soak time. Silence is not health; one failed
//! host stops the rollout. What a wave has reached it keeps, so a host that wakes after months gets the
//! newest release that its wave has reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assignment::Action;
use crate::health::Health;
use crate::ids::{HostName, Name, ReleaseId};
use crate::release::Wave;
use crate::span::Span;

/// When a wave is good enough for the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// How long a host must have been healthy on the release, by the hub's clock.
    #[serde(default = "default_soak")]
    pub soak: Span,
    /// How many of a wave's hosts must be, percent, rounded up; taken as 1 to 100, since silence is not health.
    #[serde(default = "default_percent", alias = "healthy_percent")]
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
        Self { soak: default_soak(), healthy_percent: default_percent() }
    }
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
    #[error("release {0} is still being rolled out")]
    Busy(ReleaseId),
    /// Hosts never accept an older release.
    #[error("release {wanted} is not newer than {newest}, which was handed out already")]
    Older {
        /// The release asked for.
        wanted: ReleaseId,
        /// The newest one handed out.
        newest: ReleaseId,
    },
    /// Nothing to pause, resume or cancel.
    #[error("no rollout is under way")]
    Nothing,
    /// The rollout is in a state in which the order means nothing.
    #[error("the rollout of release {release} is {status}, so there is nothing to {verb}")]
    Pointless {
        /// The rollout's release.
        release: ReleaseId,
        /// [`Status::word`].
        status: &'static str,
        /// What was ordered.
        verb: &'static str,
    },
}

impl OrderError {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Busy(_) => "wait until it is done, or end it: afield rollout cancel".into(),
            Self::Older { wanted, .. } => format!(
                "to go back, make a new release with the old systems: afield release --like {wanted}"
            ),
            Self::Nothing => "start one: afield rollout start".into(),
            Self::Pointless { .. } => "see how it stands: afield rollout status".into(),
        }
    }
}

/// What changed in one decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Change {
    /// A wave may have the release now.
    Reached {
        /// Which wave.
        wave: Name,
        /// The release.
        release: ReleaseId,
    },
    /// A host failed; no further wave.
    Stopped {
        /// Which host.
        host: HostName,
        /// Why, as it said.
        why: String,
    },
    /// The last wave is good.
    Done {
        /// The release.
        release: ReleaseId,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { wave, release } => write!(f, "wave {wave} may have release {release}"),
            Self::Stopped { host, why } => write!(f, "stopped: {host} failed: {why}"),
            Self::Done { release } => write!(f, "release {release} is rolled out"),
        }
    }
}

impl Rollout {
    /// What a hub that lost its memory can know: the release that each host was last assigned, from the
    /// signed assignments, and the waves of the newest of them. A wave counts as having reached only what
    /// all of its hosts were assigned, so that one host that moved between waves draws none after it.
    pub fn recover(waves: &[Wave], assigned: BTreeMap<HostName, ReleaseId>) -> Self {
        let least = |wave: &Wave| wave.hosts.iter().filter_map(|h| assigned.get(h)).min().copied();
        let reached = waves.iter().filter_map(|w| Some((w.name.clone(), least(w)?))).collect();
        Self { waves: waves.to_vec(), reached, assigned, active: None }
    }

    /// Follows an operator's order. `waves` are those of the release to start.
    pub fn order(
        &mut self,
        action: &Action,
        waves: &[Wave],
        now: Timestamp,
    ) -> Result<(), OrderError> {
        match action {
            Action::Start { release, policy } => self.start(*release, policy, waves, now),
            Action::Pause => self.change("pause", |s| *s == Status::Running, Status::Paused),
            Action::Resume => self.resume(),
            Action::Cancel => self.change("cancel", |s| !s.ended(), Status::Cancelled),
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
        if let Some(newest) = self.newest()
            && (newest > release || (newest == release && !self.unfinished(release, waves)))
        {
            return Err(OrderError::Older { wanted: release, newest });
        }
        self.waves = waves.to_vec();
        self.active = Some(Active {
            release,
            policy: policy.clone(),
            status: Status::Running,
            started,
            passed_over: BTreeSet::new(),
        });
        Ok(())
    }

    /// The newest release that was handed out to anyone.
    fn newest(&self) -> Option<ReleaseId> {
        self.reached.values().chain(self.assigned.values()).max().copied()
    }

    /// Whether a hub that was rebuilt finds a release half handed out; it may be started once more.
    fn unfinished(&self, release: ReleaseId, waves: &[Wave]) -> bool {
        self.active.is_none() && waves.iter().any(|w| self.reached_by(&w.name) < release)
    }

    fn reached_by(&self, wave: &Name) -> ReleaseId {
        self.reached.get(wave).copied().unwrap_or_default()
    }

    fn change(
        &mut self,
        verb: &'static str,
        may: fn(&Status) -> bool,
        to: Status,
    ) -> Result<(), OrderError> {
        let active = self.active.as_mut().ok_or(OrderError::Nothing)?;
        if !may(&active.status) {
            let (release, status) = (active.release, active.status.word());
            return Err(OrderError::Pointless { release, status, verb });
        }
        active.status = to;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), OrderError> {
        if let Some(active) = &mut self.active
            && let Status::Stopped { host, .. } = &active.status
        {
            active.passed_over.insert(host.clone());
        }
        let held = |s: &Status| matches!(s, Status::Paused | Status::Stopped { .. });
        self.change("resume", held, Status::Running)
    }

    /// The decision: stops, lets one wave follow, or ends. Call it again until it changes nothing.
    pub fn decide(&mut self, hosts: &BTreeMap<HostName, Health>) -> Option<Change> {
        let active = self.active.as_mut().filter(|a| a.status == Status::Running)?;
        let release = active.release;
        // In every wave, also those behind one that is not good at the moment.
        if let Some((host, why)) = self.waves.iter().find_map(|w| first_failure(w, active, hosts)) {
            active.status = Status::Stopped { host: host.clone(), why: why.clone() };
            return Some(Change::Stopped { host, why });
        }
        for wave in &self.waves {
            let reached = self.reached.entry(wave.name.clone()).or_default();
            if *reached < release {
                *reached = release;
                return Some(Change::Reached { wave: wave.name.clone(), release });
            }
            if !is_good(wave, active, hosts) {
                return None;
            }
        }
        active.status = Status::Done;
        Some(Change::Done { release })
    }

    /// What every host should run now; remembers it, so that no host is ever assigned an older one.
    /// `has` tells whether a release has something for a host: one that is new in a wave, or was not built,
    /// is not in the release that its wave reached.
    pub fn assign(
        &mut self,
        has: impl Fn(ReleaseId, &HostName) -> bool,
    ) -> &BTreeMap<HostName, ReleaseId> {
        for wave in &self.waves {
            let Some(reached) = self.reached.get(&wave.name) else {
                continue;
            };
            for host in wave.hosts.iter().filter(|h| has(*reached, h)) {
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
    /// In a word: running, paused, stopped, done, cancelled.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped { .. } => "stopped",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    fn ended(&self) -> bool {
        matches!(self, Status::Done | Status::Cancelled)
    }
}

fn counted<'a>(wave: &'a Wave, active: &'a Active) -> impl Iterator<Item = &'a HostName> {
    wave.hosts.iter().filter(|h| !active.passed_over.contains(*h))
}

fn healthy(wave: &Wave, active: &Active, hosts: &BTreeMap<HostName, Health>) -> usize {
    let soaked = |h: &Health| h.soaked(active.release, active.policy.soak);
    counted(wave, active).filter(|h| hosts.get(*h).is_some_and(soaked)).count()
}

fn needed(wave: &Wave, active: &Active) -> usize {
    let percent = usize::from(active.policy.healthy_percent.clamp(1, 100));
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
