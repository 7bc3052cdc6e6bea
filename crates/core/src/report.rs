//! What a host says about itself, signed with its own key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, ReleaseId, StorePath};
use crate::signed::Document;

/// At most this many lines of a log travel in a report.
pub const MAX_LOG_LINES: usize = 20;
/// A line of a log, and every message, is cut to this many bytes.
pub const MAX_TEXT: usize = 400;

/// One report. `seq` grows by one with each, across restarts, so that the hub can tell what it missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The fleet's name.
    pub fleet: Name,
    /// Who reports.
    pub host: HostName,
    /// Number of the report.
    pub seq: u64,
    /// The host's idea of the time (see [`crate::time`]).
    pub time: Timestamp,
    /// Version of the agent.
    pub agent: String,
    /// The release that the host runs; none before its first.
    pub release: Option<ReleaseId>,
    /// The system that is current on it, as seen, not as remembered.
    pub system: Option<StorePath>,
    /// What happened.
    pub event: Event,
    /// Every check that was run, in the order of the host data.
    #[serde(default)]
    pub checks: Vec<CheckResult>,
    /// Things worth knowing that are no failure: a clock that was not believed, drift that was put back.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Document for Report {
    const KIND: &'static str = "report";
}

/// What happened on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Event {
    /// It runs what `release` says and every check passes.
    Healthy,
    /// It runs what `release` says, and a check fails outside of an update.
    Unhealthy,
    /// It is on the way to a release.
    Updating {
        /// Which.
        to: ReleaseId,
        /// Bytes that are here already.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A release failed here; the host is back at the last good one.
    RolledBack {
        /// The release that failed.
        from: ReleaseId,
        /// Why, in a sentence.
        why: String,
        /// Last lines of the activation's and the failed check's logs.
        log: Vec<String>,
    },
    /// A release failed here, and going back did not make the host healthy: a person is needed.
    Stuck {
        /// The release that failed.
        from: ReleaseId,
        /// Why, in a sentence.
        why: String,
        /// Last lines of the logs.
        log: Vec<String>,
    },
    /// What was offered was refused; nothing on the host changed.
    Refused {
        /// Code of the refusal, as in `docs/refusals.md`.
        code: String,
        /// What is wrong and what to do.
        why: String,
    },
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's name.
    pub name: Name,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen.
    pub saw: String,
    /// How often it was tried.
    pub tries: u32,
}

/// Cuts a text to [`MAX_TEXT`] bytes at a character boundary, without control characters.
pub fn clip(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(if c.is_control() && c != '\t' { ' ' } else { c });
    }
    out
}

/// The last [`MAX_LOG_LINES`] lines of a text, each clipped.
pub fn tail(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(MAX_LOG_LINES)..].iter().map(|l| clip(l)).collect()
}

/// The checks that failed, in a sentence; `None` if all passed.
pub fn failing(checks: &[CheckResult]) -> Option<String> {
    let failed = checks.iter().filter(|c| !c.passed);
    let texts: Vec<_> = failed.map(|c| format!("check {}: {}", c.name, c.saw)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
