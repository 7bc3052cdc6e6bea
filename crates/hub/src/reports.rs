//! Takes in the reports of a host: all of them or none, and never one twice.

use afield_core::health::Health;
use afield_core::ids::{HostName, ReleaseId};
use afield_core::report::{CheckResult, MAX_LOG_LINES, Report, clip};
use afield_core::signed::{Envelope, PublicKey};
use afield_core::status::{Record, Taken};
use jiff::Timestamp;
use serde::Deserialize;

use crate::database::Received;
use crate::gate::{self, Memory};
use crate::http::{Kind, Rejection};
use crate::hub::Hub;
use crate::log::say;
use crate::source::Known;

/// A report is at most this long, bytes; so is a file in an agent's queue.
const MAX_REPORT: usize = 256 * 1024;
/// Numbers of reports are below this (2^53), so that every JSON reader knows them exactly.
const MAX_SEQ: u64 = 1 << 53;
/// So many checks and notes of the last report are kept for the page.
const MAX_SHOWN: usize = 100;

/// A report is looked into for its sender before it is known who signed it; nothing else is believed.
#[derive(Deserialize)]
pub(crate) struct Sender {
    pub host: HostName,
}

impl Hub {
    /// Takes the reports of one host. Those that the hub has already are passed over.
    pub async fn take_reports(&self, envelopes: &[Envelope]) -> Result<Taken, Rejection> {
        let mut state = self.state.lock().await;
        self.refresh(&mut state, true).await?;
        let known = state.known.clone().ok_or_else(Rejection::no_release)?;
        let mut memory = state.memory.clone();
        let now = (self.clock)();
        let reports = open_all(envelopes, &known, &memory)?;
        let mut seq = 0;
        let mut kept = Vec::new();
        for (report, envelope) in reports {
            let newest = memory.records.get(&report.host).map_or(0, |r| r.last.seq);
            seq = newest.max(report.seq);
            if report.seq <= newest {
                continue;
            }
            kept.push(received(&report, envelope, now)?);
            say(&format!("heard: {} number {}: {}", report.host, report.seq, said(&report)));
            observe(&mut memory, report, now);
            // After each, so that what was good or bad in between counts, however many came at once.
            for change in gate::decide(&mut memory) {
                say(&format!("rollout: {change}"));
            }
        }
        if !kept.is_empty() {
            self.settle(&mut state, memory, &kept).await?;
        }
        Ok(Taken { accepted: kept.len() as u64, seq })
    }
}

/// Verifies all of them; oldest first.
fn open_all<'a>(
    envelopes: &'a [Envelope],
    known: &Known,
    memory: &Memory,
) -> Result<Vec<(Report, &'a Envelope)>, Rejection> {
    let malformed =
        |error: &str, remedy: &str| Rejection::new(Kind::Malformed, error.into(), remedy);
    let first = envelopes
        .first()
        .ok_or_else(|| malformed("there is no report in the list", "send at least one"))?;
    let sender: Sender = serde_json::from_str(&first.payload).map_err(|e| {
        malformed(&format!("a report cannot be read: {e}"), "send it as it was signed")
    })?;
    let key = key_of(&sender.host, known, memory)?;
    let mut reports = Vec::new();
    for envelope in envelopes {
        let report = open(envelope, &sender.host, key)?;
        if report.fleet != known.fleet {
            let error = format!(
                "the report is from the fleet {}, and this is {}",
                report.fleet, known.fleet
            );
            return Err(malformed(
                &error,
                "give the agent its own fleet's hub (hub, in agent.toml)",
            ));
        }
        if report.seq == 0 || report.seq >= MAX_SEQ {
            let error = format!("{} is no number of a report", report.seq);
            return Err(malformed(&error, "number reports from 1"));
        }
        reports.push((report, envelope));
    }
    reports.sort_by_key(|(report, _)| report.seq);
    Ok(reports)
}

fn open(envelope: &Envelope, host: &HostName, key: PublicKey) -> Result<Report, Rejection> {
    if envelope.payload.len() > MAX_REPORT {
        let error = format!(
            "a report has {} bytes; at most {MAX_REPORT} are taken",
            envelope.payload.len()
        );
        return Err(Rejection::new(Kind::TooLong, error, "send fewer checks, or shorter ones"));
    }
    let remedy = "sign it with the host key that the fleet folder names for this host; if that changed, \
                  change it there and make a release";
    let report: Report = envelope
        .open(&[key], 1)
        .map_err(|e| Rejection::unopened(&format!("the report of {host}"), &e, remedy))?;
    if report.host != *host {
        let error = format!("the list has reports of {host} and of {}", report.host);
        return Err(Rejection::new(
            Kind::Malformed,
            error,
            "send each host's reports by themselves",
        ));
    }
    Ok(report)
}

/// The key of a host in the newest release; for one that was not built there, in the release that it has.
pub(crate) fn key_of(
    host: &HostName,
    known: &Known,
    memory: &Memory,
) -> Result<PublicKey, Rejection> {
    let newest = known.newest().map(|m| m.release);
    let assigned = memory.rollout.assigned.get(host).copied();
    let entry = |release: ReleaseId| known.manifests.get(&release)?.hosts.get(host);
    let refused = |error: String, remedy: &str| Rejection::new(Kind::Forbidden, error, remedy);
    let found = newest.and_then(entry).or_else(|| assigned.and_then(entry)).ok_or_else(|| {
        let error = format!("there is no host {host} in the newest release");
        refused(
            error,
            "correct its name in agent.toml, or add it to the fleet folder and make a release",
        )
    })?;
    found.key.ok_or_else(|| {
        let error = format!("the key of {host} is not in the newest release yet");
        refused(error, "add its SSH host key to the fleet folder and make a release")
    })
}

fn received(report: &Report, envelope: &Envelope, now: Timestamp) -> Result<Received, Rejection> {
    let (host, seq) = (report.host.clone(), report.seq);
    let envelope = serde_json::to_string(envelope)
        .map_err(|e| Rejection::new(Kind::Malformed, e.to_string(), "send it as it was signed"))?;
    Ok(Received { host, seq, received: now, envelope })
}

fn observe(memory: &mut Memory, report: Report, received: Timestamp) {
    let old = memory.records.remove(&report.host);
    let mut health: Health = old.map(|r| r.health).unwrap_or_default();
    health.observe(&report, received);
    let last = short(report);
    memory.records.insert(last.host.clone(), Record { health, last, received });
}

/// What is kept beside the envelope is cut to what can be shown.
fn short(mut report: Report) -> Report {
    use afield_core::report::Event::{Refused, RolledBack, Stuck};
    let cut = |c: CheckResult| CheckResult { saw: clip(&c.saw), ..c };
    report.checks = report.checks.into_iter().take(MAX_SHOWN).map(cut).collect();
    report.notes = report.notes.iter().take(MAX_SHOWN).map(|n| clip(n)).collect();
    report.agent = clip(&report.agent);
    match &mut report.event {
        RolledBack { why, log, .. } | Stuck { why, log, .. } => {
            *why = clip(why);
            *log = log.iter().rev().take(MAX_LOG_LINES).rev().map(|l| clip(l)).collect();
        }
        Refused { code, why } => (*code, *why) = (clip(code), clip(why)),
        _ => {}
    }
    report
}

fn said(report: &Report) -> String {
    use afield_core::report::Event;
    let on = report.release.map_or("no release".into(), |r| format!("release {r}"));
    match &report.event {
        Event::Healthy => format!("healthy on {on}"),
        Event::Unhealthy => format!("unhealthy on {on}"),
        Event::Updating { to, .. } => format!("updating to release {to}"),
        Event::RolledBack { from, why, .. } => format!("rolled back from release {from}: {why}"),
        Event::Stuck { from, why, .. } => format!("stuck at release {from}: {why}"),
        Event::Refused { code, why } => format!("refused ({code}): {why}"),
    }
}
