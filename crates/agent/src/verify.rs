//! Steps 2 and 3: what is offered, and whether it may be believed.

pub mod earlier;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use afield_core::assignment::Assignment;
use afield_core::host_data::HostData;
use afield_core::ids::ReleaseId;
use afield_core::release::{Closure, Delivery, HostRelease, Manifest, ObjectRef};
use afield_core::signed::{Envelope, OpenError};
use afield_store::object;
use afield_store::repository::{
    MAX_PACKED, assignment_name, manifest_name, object_name, open_manifest,
};
use afield_store::trust::{self, KeySet, TrustError, Trusted};
use afield_store::{fault, files};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::host::Host;
use crate::obtain::{Halt, Run, obtain};
use crate::refusal::Refusal;
use crate::source::{Source, SourceError};
use crate::state::State;
use crate::tree;

/// An assignment has at most this many bytes.
const MAX_ASSIGNMENT: u64 = 64 * 1024;

/// A release that both keys agree on, as far as it concerns this host.
#[derive(Debug)]
pub struct Verified {
    /// The assignment that was accepted.
    pub envelope: Envelope,
    /// What it says.
    pub assignment: Assignment,
    /// Who may sign assignments.
    pub rollout_keys: KeySet,
    /// When the manifest was made.
    pub created: Timestamp,
    /// The host's share of the release.
    pub release: HostRelease,
    /// Its closure.
    pub closure: Closure,
    /// How that travels.
    pub delivery: Delivery,
    /// Its host data.
    pub data: HostData,
}

/// Step 2: what each source offers, asked for one after the other, as the caller goes on.
pub fn fetch_assignments(host: &Host) -> impl Iterator<Item = Result<Envelope, Refusal>> {
    let name = assignment_name(&host.config.host);
    let stick = host.stick.as_ref().and_then(|stick| stick.refusal(&host.config));
    let asked = host.sources.iter().map(move |source| {
        let bytes = source.get(&name, MAX_ASSIGNMENT).map_err(|e| match &host.stick {
            Some(stick) => stick.explain(host, e),
            None => e.into(),
        })?;
        Envelope::from_slice(&bytes).map_err(|e| {
            let (place, name, why) = (source.place(), name.clone(), e.to_string());
            Refusal::Unreachable(SourceError::Failed { place, name, why })
        })
    });
    stick.map(Err).into_iter().chain(asked)
}

/// Step 3 for all that is offered: the newest that is accepted, else the assignment that was accepted before; and why
/// the others were not. One source that lies, or is behind, does not keep the host from the next one.
pub fn verify_first(
    host: &Host,
    state: &mut State,
    offers: impl Iterator<Item = Result<Envelope, Refusal>>,
    now: Timestamp,
) -> (Option<Verified>, Option<Refusal>) {
    let mut refusal: Option<Refusal> = None;
    let mut newest: Option<Verified> = None;
    for offer in offers {
        // Not believed yet: it only tells what need not be looked at.
        let counter = offer.as_ref().ok().and_then(told).map(|told| told.counter);
        if newest.as_ref().is_some_and(|n| counter.is_none_or(|c| c <= n.assignment.counter)) {
            continue;
        }
        match offer.and_then(|e| verify(host, state, e, now)) {
            Ok(verified) => newest = Some(verified),
            // That there is nothing for this host yet is no refusal, and a lie says more than silence.
            Err(Refusal::Unreachable(SourceError::NotThere { .. })) => {}
            Err(e) if e.is_silence() => refusal = refusal.or(Some(e)),
            Err(e) => refusal = Some(e),
        }
    }
    if newest.is_some() {
        return (newest, None);
    }
    let stored = state.assignment.as_ref().map(|(_, stored)| stored.clone());
    match stored.map(|e| verify(host, state, e, now)) {
        Some(Ok(verified)) => (Some(verified), refusal),
        Some(Err(e)) => (None, refusal.or(Some(e))),
        None => (None, refusal),
    }
}

/// What an assignment says, whoever signed it.
fn told(envelope: &Envelope) -> Option<Assignment> {
    serde_json::from_str(&envelope.payload).ok()
}

/// Step 3: accepts what both keys agree on, what is fresh, and what is not older than what was seen.
fn verify(
    host: &Host,
    state: &mut State,
    envelope: Envelope,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let known = state.assignment.as_ref().is_some_and(|(_, stored)| *stored == envelope);
    let release = told(&envelope).map(|told| told.release);
    let trusted = trusted(host, state, known, release, now)?;
    // A key that root metadata has removed stays removed, whatever is wrong with the rest.
    state.trust = trusted.seen.clone();
    let assignment = open_assignment(host, state, &envelope, &trusted, now)?;
    let manifest = manifest(host, &trusted, &assignment)?;
    let release = manifest.hosts.get(&host.config.host);
    let release = release.ok_or(Refusal::NotInRelease(manifest.release))?.clone();
    let closure: Closure = document(host, &release.closure)?;
    let delivery: Delivery = document(host, &release.delivery)?;
    let data: HostData = document(host, &release.data)?;
    check_documents(host, manifest.release, &release, &closure, &delivery, &data)?;
    let (created, rollout_keys) = (manifest.created, trusted.rollout);
    Ok(Verified { envelope, assignment, rollout_keys, created, release, closure, delivery, data })
}

/// The metadata of trust: what was accepted before if nothing changed, else the first on offer that names the release;
/// if none does, any of them.
fn trusted(
    host: &Host,
    state: &State,
    known: bool,
    release: Option<ReleaseId>,
    now: Timestamp,
) -> Result<Trusted, Refusal> {
    let root = files::read_limited(&host.config.inside(&host.config.trust_root), trust::MAX_ROOT)
        .map_err(|e| {
        TrustError::Missing(format!("{}: {e}", host.config.trust_root.display()))
    })?;
    let accepted = host.own("metadata");
    if known
        && let Ok(trusted) = trust::load(&accepted, &root, Some(&state.trust))
        && trusted.check_fresh(now).is_ok()
    {
        return Ok(trusted);
    }
    let (mut refusal, mut behind) = (None, None);
    for source in &host.sources {
        match sync(host, state, source, &root, now) {
            Ok(trusted) if release.is_none_or(|r| trusted.releases.contains_key(&r)) => {
                return Ok(trusted);
            }
            // This mirror lags; another one may not.
            Ok(trusted) => behind = Some(trusted),
            // A lie says more than a source that is not there.
            Err(e @ Refusal::Unreachable(_)) => {
                refusal.get_or_insert(e);
            }
            Err(e) => refusal = Some(e),
        }
    }
    if let Some(trusted) = behind {
        return Ok(trusted);
    }
    Err(refusal
        .unwrap_or(Refusal::Trust(TrustError::Missing("no repository is configured".into()))))
}

/// Brings the metadata of one source into a folder of its own, verifies it there, and keeps it if it holds.
fn sync(
    host: &Host,
    state: &State,
    source: &Source,
    root: &[u8],
    now: Timestamp,
) -> Result<Trusted, Refusal> {
    let incoming = host.own("metadata.new");
    let here = |e: std::io::Error| TrustError::Malformed(format!("{}: {e}", incoming.display()));
    if incoming.exists() {
        fs::remove_dir_all(&incoming).map_err(here)?;
    }
    fs::create_dir_all(&incoming).map_err(here)?;
    let newest = state.trust.root.as_ref().map_or(root, |r| r.as_bytes());
    copy_metadata(source, &incoming, newest)?;
    fault::point("verify:metadata-fetched");
    let trusted = trust::load(&incoming, root, Some(&state.trust))?;
    trusted.check_fresh(now)?;
    if trusted.fleet != host.config.fleet {
        let own = host.config.fleet.clone();
        return Err(Refusal::OtherFleet { found: trusted.fleet, own });
    }
    // Offline, nothing is verified without it.
    tree::exchange(&incoming, &host.own("metadata")).map_err(here)?;
    fault::point("verify:metadata-kept");
    Ok(trusted)
}

/// Copies root metadata newer than `root`, and the newest timestamp, snapshot and targets. What the files
/// say here only tells which to fetch; `trust::load` judges them after.
fn copy_metadata(source: &Source, to: &Path, root: &[u8]) -> Result<(), Refusal> {
    let put = |name: &str, bytes: &[u8]| {
        let written = files::write_atomic(&to.join(name), bytes);
        written.map_err(|e| TrustError::Malformed(e.to_string()))
    };
    let mut version = trust::read_root(root)?.version;
    for _ in 0..trust::MAX_ROTATIONS {
        version += 1;
        let name = format!("{version}.root.json");
        match source.get(&format!("metadata/{name}"), trust::MAX_ROOT) {
            Ok(bytes) => put(&name, &bytes)?,
            Err(SourceError::NotThere { .. }) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let timestamp = source.get("metadata/timestamp.json", trust::MAX_ROOT)?;
    put("timestamp.json", &timestamp)?;
    let name = format!("{}.snapshot.json", named_version(&timestamp, "snapshot.json")?);
    let snapshot = source.get(&format!("metadata/{name}"), trust::MAX_TARGETS)?;
    put(&name, &snapshot)?;
    let name = format!("{}.targets.json", named_version(&snapshot, "targets.json")?);
    let targets = source.get(&format!("metadata/{name}"), trust::MAX_TARGETS)?;
    put(&name, &targets)?;
    Ok(())
}

fn named_version(json: &[u8], file: &str) -> Result<u64, TrustError> {
    #[derive(Deserialize)]
    struct Meta {
        version: u64,
    }
    #[derive(Deserialize)]
    struct Signed {
        meta: std::collections::BTreeMap<String, Meta>,
    }
    #[derive(Deserialize)]
    struct File {
        signed: Signed,
    }
    let parsed: File =
        serde_json::from_slice(json).map_err(|e| TrustError::Malformed(e.to_string()))?;
    let meta = parsed.signed.meta.get(file);
    meta.map(|m| m.version).ok_or_else(|| TrustError::Malformed(format!("it does not name {file}")))
}

fn open_assignment(
    host: &Host,
    state: &State,
    envelope: &Envelope,
    trusted: &Trusted,
    now: Timestamp,
) -> Result<Assignment, Refusal> {
    let keys = &trusted.rollout;
    let opened: Result<Assignment, OpenError> = envelope.open(&keys.keys, keys.threshold);
    let assignment = opened.map_err(Refusal::AssignmentSignature)?;
    if assignment.host != host.config.host || assignment.fleet != host.config.fleet {
        return Err(Refusal::OtherHost { fleet: assignment.fleet, host: assignment.host });
    }
    // A thief of the old rollout key may have used up all counters; root has named others since.
    let same_keys = state.rollout_keys.as_ref().is_none_or(|k| k == keys);
    if let Some((seen, stored)) = state.assignment.as_ref().filter(|_| same_keys) {
        let (seen, found) = (*seen, assignment.counter);
        if found < seen {
            return Err(Refusal::OlderAssignment { found, seen });
        }
        if found == seen && stored.payload != envelope.payload {
            return Err(Refusal::TwoAssignments(found));
        }
    }
    if let Some(seen) = state.release_seen.filter(|seen| *seen > assignment.release) {
        return Err(Refusal::OlderRelease { found: assignment.release, seen });
    }
    // A clock that was set back is caught by what the hub signed last.
    let now = now.max(assignment.issued);
    trusted.check_fresh(now)?;
    if assignment.expires <= now {
        return Err(Refusal::AssignmentExpired { at: assignment.expires, now });
    }
    Ok(assignment)
}

fn manifest(host: &Host, trusted: &Trusted, assignment: &Assignment) -> Result<Manifest, Refusal> {
    let release = assignment.release;
    let signed = trusted.releases.get(&release).ok_or(Refusal::NotReleased(release))?;
    if signed.id != assignment.manifest {
        let (assigned, released) = (assignment.manifest, signed.id);
        return Err(Refusal::OtherManifest { release, assigned, released });
    }
    let bytes = packed(host, &manifest_name(release, &signed.id), signed)?;
    Ok(open_manifest(trusted, release, &bytes)?)
}

fn document<T: DeserializeOwned>(host: &Host, object: &ObjectRef) -> Result<T, Refusal> {
    let bytes = packed(host, &object_name(&object.id), object)?;
    Ok(object::open_document(object, &bytes)?)
}

/// A manifest's or document's bytes: kept ones if they are right, else from a source, and then kept.
fn packed(host: &Host, name: &str, object: &ObjectRef) -> Result<Vec<u8>, Refusal> {
    let path = host.document(&object.id);
    if let Ok(Some(bytes)) = files::read_if_there(&path, MAX_PACKED)
        && object::prove_slice(&bytes, object).is_ok()
    {
        return Ok(bytes);
    }
    if object.size > MAX_PACKED {
        return Err(Refusal::Trust(TrustError::Malformed(format!("{name} is too large"))));
    }
    let wrong = |e: std::io::Error| TrustError::Malformed(format!("{}: {e}", path.display()));
    files::remove_if_there(&path).map_err(wrong)?;
    let run = Run::whole(name.to_owned(), object);
    let mut count = |bytes| {
        host.documents.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    };
    obtain(host, &host.own("documents"), &run, &mut count).map_err(|halt| match halt {
        Halt::Refused(refusal) => *refusal,
        other => Refusal::Trust(TrustError::Malformed(other.to_string())),
    })?;
    fault::point("verify:document-kept");
    Ok(files::read_limited(&path, MAX_PACKED).map_err(wrong)?)
}

fn check_documents(
    host: &Host,
    release: ReleaseId,
    share: &HostRelease,
    closure: &Closure,
    delivery: &Delivery,
    data: &HostData,
) -> Result<(), Refusal> {
    let flawed = |what: String| Refusal::Flawed { release, what };
    closure.validate(&share.system).map_err(|e| flawed(e.to_string()))?;
    delivery.validate(closure).map_err(|e| flawed(e.to_string()))?;
    data.validate(&host.config.host).map_err(|e| flawed(e.to_string()))
}
