//! What `afield release` says of a release: to people, and with `--json` to scripts.

use std::collections::BTreeMap;

use afield_core::ids::{HostName, ReleaseId, StorePath};
use afield_core::status::bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::diff::HostChange;
use super::forecast::SiteForecast;
use super::pack::Packed;
use super::write::Cost;
use crate::commands::build::{Built, FailedHost, print_failed};
use crate::context::Context;
use crate::exit::Failure;
use crate::fleet::Declared;
use crate::table::{Tone, cell, render};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct ReleaseReport {
    /// Its number, or the one that it would have.
    pub release: ReleaseId,
    /// Nothing was published.
    pub dry_run: bool,
    /// The release whose systems it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<ReleaseId>,
    /// The release that `hosts` compares with.
    pub compared_with: Option<ReleaseId>,
    /// Until when hosts take it.
    pub expires: Timestamp,
    /// What changes on each.
    pub hosts: BTreeMap<HostName, HostReport>,
    /// Hosts that the release before had and this one has not.
    pub left_out: Vec<HostName>,
    /// What does not build.
    pub failed: BTreeMap<HostName, FailedHost>,
    /// What was new in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
    /// What each site fetches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<SiteForecast>,
    /// What a person should know before rolling it out.
    pub notes: Vec<String>,
}

/// What it says of one host.
#[derive(Debug, Serialize)]
pub struct HostReport {
    /// What it runs then.
    pub system: StorePath,
    /// Against the release before.
    #[serde(flatten)]
    pub change: HostChange,
    /// What it fetches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// What a person should know before rolling it out.
pub fn notes(declared: &Declared, built: &Built) -> Vec<String> {
    let mut notes = Vec::new();
    if declared.unsealed {
        notes.push("nobody sealed the files of secrets/master, so hosts get no secrets; see afield secrets seal".into());
    }
    let in_wave = |host: &HostName| declared.waves.iter().any(|w| w.hosts.contains(host));
    for (host, told) in &declared.hosts {
        if !built.systems.contains_key(host) {
            continue;
        }
        if !in_wave(host) {
            notes.push(format!("{host} stands in no wave, so no rollout reaches it"));
        } else if told.key.is_none() {
            notes.push(format!(
                "{host} has no key in tunnels.d, so it cannot report, and its wave waits for it"
            ));
        }
    }
    notes
}

/// What a host fetches, in words.
fn sent(cost: &Cost) -> String {
    if cost.full == 0 {
        return String::new();
    }
    let (objects, full) = (bytes(cost.objects), bytes(cost.full));
    match (cost.known, cost.objects < cost.full) {
        (true, true) => format!("{objects} instead of {full}"),
        (true, false) => full,
        (false, _) => format!("{full}, if it has nothing"),
    }
}

/// For a person.
pub fn print(report: &ReleaseReport, context: &mut Context) -> Result<(), Failure> {
    let color = context.out.color();
    let rows = report.hosts.iter().map(|(host, host_report)| {
        let tone = match host_report.change.is_none() {
            true => Tone::Dim,
            false => Tone::Plain,
        };
        let sent = host_report.cost.as_ref().map_or(String::new(), sent);
        vec![cell(host.as_str()), cell(host_report.change.words()).tone(tone), cell(&sent)]
    });
    let rows: Vec<_> = rows.collect();
    let heading = match report.compared_with {
        Some(before) => format!("what changes since release {before}"),
        None => "what is new".to_owned(),
    };
    context.out.text(&render(&["host", &heading, "to fetch"], &rows, color))?;
    print_failed(&report.failed, context)?;
    for host in &report.left_out {
        context.out.line(&format!("{host} is left out: it stays as it is"))?;
    }
    for note in &report.notes {
        context.out.line(&format!("note: {note}"))?;
    }
    for site in report.forecast.iter().filter(|site| site.site.is_some()) {
        context.out.line(&site.line())?;
    }
    let (release, day) = (report.release, report.expires.strftime("%F"));
    if let Some(packed) = &report.packed {
        let (n, size, unpacked) = (packed.objects, bytes(packed.bytes), bytes(packed.unpacked));
        context.out.line(&format!("packed {n} new objects: {size} ({unpacked} unpacked)"))?;
        if packed.patches > 0 {
            let (n, size, against) = (packed.patches, bytes(packed.patch_bytes), &packed.against);
            context.out.line(&format!("made {n} new patches: {size}, against {against}"))?;
        }
        if packed.patches_late > 0 {
            let n = packed.patches_late;
            context.out.line(&format!("note: {n} paths got no patch in the time given"))?;
        }
    }
    let line = match (report.dry_run, report.like) {
        (true, _) => format!("this would be release {release}; nothing was published"),
        (false, None) => format!("published release {release}, valid until {day}"),
        (false, Some(like)) => {
            format!(
                "published release {release} with the systems of release {like}, valid until {day}"
            )
        }
    };
    context.out.line(&line)?;
    if !report.dry_run {
        context.out.line(&format!("next: afield rollout start {release} --keys DIR"))?;
    }
    Ok(())
}
