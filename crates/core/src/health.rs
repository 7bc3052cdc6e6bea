//! What the hub knows of a host's health: the sum of its reports, by the hub's own clock.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::ReleaseId;
use crate::report::{CheckResult, Event, MAX_LOG_LINES, Report, clip};
use crate::span::Span;

/// At most this many checks of a report are remembered; a host that sends more names the rest in vain.
const MAX_CHECKS: usize = 50;

/// The sum of a host's reports.
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

/// A release that failed on a host, cut to what a page can show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which release.
    pub release: ReleaseId,
    /// How it ended.
    pub kind: FailureKind,
    /// Why, as the host said.
    pub why: String,
    /// Last lines of its logs.
    #[serde(default)]
    pub log: Vec<String>,
    /// The checks that did not pass.
    #[serde(default)]
    pub checks: Vec<CheckResult>,
    /// When the hub heard of it.
    pub time: Timestamp,
}

/// How a release failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The host runs it, and a check fails.
    Unhealthy,
    /// The host went back to the last good one.
    RolledBack,
    /// The host went back and is not healthy there either.
    Stuck,
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
            Event::Unhealthy | Event::RolledBack { .. } | Event::Stuck { .. } => {
                self.healthy_since = None;
                if let Some(failure) = Failure::of(report, received) {
                    self.remember(failure);
                }
            }
            Event::Updating { .. } | Event::Refused { .. } => {}
        }
    }

    fn healthy(&mut self, received: Timestamp) {
        self.healthy_since.get_or_insert(received);
        self.last_healthy = Some(received);
        let over = |f: &Failure| Some(f.release) <= self.release;
        if self.failed.as_ref().is_some_and(over) {
            self.failed = None;
        }
    }

    /// The newest release's failure stays: trouble on the old release after going back must not hide it,
    /// nor a later failing check the log of the roll-back.
    fn remember(&mut self, failure: Failure) {
        let keep = self.failed.as_ref().is_some_and(|old| {
            old.release > failure.release
                || (old.release == failure.release && failure.kind == FailureKind::Unhealthy)
        });
        if !keep {
            self.failed = Some(failure);
        }
    }

    /// Whether it said twice, at least `soak` apart and with nothing bad between, that `release` is healthy.
    pub fn soaked(&self, release: ReleaseId, soak: Span) -> bool {
        let (Some(since), Some(last)) = (self.healthy_since, self.last_healthy) else {
            return false;
        };
        let healthy_for = last.duration_since(since).as_secs();
        self.release == Some(release)
            && u64::try_from(healthy_for).is_ok_and(|s| s >= soak.as_secs())
    }
}

impl Failure {
    /// The failure that a report tells of, if it does and names a release.
    fn of(report: &Report, time: Timestamp) -> Option<Self> {
        let failing: Vec<CheckResult> =
            report.checks.iter().filter(|c| !c.passed).cloned().collect();
        let (release, kind, why, log) = match &report.event {
            Event::Unhealthy => {
                let why = said_by(&failing);
                (report.release?, FailureKind::Unhealthy, why, [].as_slice())
            }
            Event::RolledBack { from, why, log } => {
                (*from, FailureKind::RolledBack, why.clone(), &log[..])
            }
            Event::Stuck { from, why, log } => (*from, FailureKind::Stuck, why.clone(), &log[..]),
            _ => return None,
        };
        let checks = failing.into_iter().take(MAX_CHECKS).map(clipped).collect();
        let log = log[log.len().saturating_sub(MAX_LOG_LINES)..].iter().map(|l| clip(l)).collect();
        Some(Self { release, kind, why: clip(&why), log, checks, time })
    }
}

fn clipped(check: CheckResult) -> CheckResult {
    CheckResult { saw: clip(&check.saw), ..check }
}

/// Failing checks in a sentence.
pub fn said_by(failing: &[CheckResult]) -> String {
    if failing.is_empty() {
        return "it says that it is not healthy, and names no check".into();
    }
    let text: Vec<_> = failing.iter().map(|c| format!("check {}: {}", c.name, c.saw)).collect();
    clip(&text.join("; "))
}
