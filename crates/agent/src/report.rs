//! Step 11: reports wait on disk, signed, until the hub takes them.

use std::fs;
use std::path::{Path, PathBuf};

use afield_core::report::{CheckResult, Event, MAX_LOG_LINES, Report, clip};
use afield_core::signed::Envelope;
use afield_store::{fault, files};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;

use crate::host::Host;
use crate::observe::current_system;
use crate::state::State;

/// At most this many reports wait.
const MAX_QUEUE: usize = 500;
/// At most this many are written down and not yet queued, since the queue cannot be written: the state has to stay readable.
const MAX_OUTBOX: usize = 50;
/// At most this many travel in one request.
const BATCH: usize = 50;
/// A number that no honest hub has seen: one report a second for thirty thousand years.
const MAX_SEQ: u64 = 1 << 40;
/// More notes than this are counted, not told.
const MAX_NOTES: usize = 50;
/// At most about this many bytes, half of what the hub reads.
const MAX_BATCH: usize = 512 * 1024;
/// A signed report has at most this many bytes.
const MAX_REPORT: u64 = 256 * 1024;

/// Writes a report into the state's outbox, unless nothing happened since the last one and it is recent.
/// The caller saves the state, so that what happened and the report of it are written down together.
pub fn note(
    host: &Host,
    state: &mut State,
    now: Timestamp,
    event: Event,
    checks: Vec<CheckResult>,
    notes: Vec<String>,
) {
    let (notes, event) = (at_most(notes), shortened(event));
    let same = serde_json::to_string(&(&event, &notes, state.good.release)).unwrap_or_default();
    if let Some((when, last)) = &state.last_report {
        let age = now.duration_since(*when).as_secs();
        let recent = age >= 0 && age.unsigned_abs() < host.config.heartbeat.as_secs();
        if recent && *last == same {
            return;
        }
    }
    state.last_report = Some((now, same));
    state.seq += 1;
    let report = Report {
        fleet: host.config.fleet.clone(),
        host: host.config.host.clone(),
        seq: state.seq,
        time: now,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        release: state.good.release,
        system: current_system(&host.config, state),
        event,
        checks,
        notes,
    };
    write_down(&mut state.outbox, report);
}

/// The oldest say how it began and the newest how it is.
fn write_down<T>(outbox: &mut Vec<T>, new: T) {
    while outbox.len() >= MAX_OUTBOX {
        outbox.remove(MAX_OUTBOX / 2);
    }
    outbox.push(new);
}

fn at_most(mut notes: Vec<String>) -> Vec<String> {
    let more = notes.len().saturating_sub(MAX_NOTES);
    notes.truncate(MAX_NOTES);
    notes = notes.iter().map(|n| clip(n)).collect();
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    notes
}

/// With reasons and logs of a length that travels.
fn shortened(mut event: Event) -> Event {
    if let Event::RolledBack { why, log, .. } | Event::Stuck { why, log, .. } = &mut event {
        *why = clip(why);
        let old = log.len().saturating_sub(2 * MAX_LOG_LINES);
        log.drain(..old);
    }
    event
}

fn queue(host: &Host) -> PathBuf {
    host.own("queue")
}

/// Signs what is in the outbox and puts it into the queue. Doing it twice does no harm: the file is the same.
pub fn enqueue(host: &Host, state: &mut State) -> anyhow::Result<()> {
    let folder = queue(host);
    fs::create_dir_all(&folder)?;
    for report in &state.outbox {
        let envelope = Envelope::seal(report, &host.key)?;
        let path = folder.join(format!("{:020}.json", report.seq));
        files::write_atomic(&path, &envelope.to_vec()?)?;
        fault::point("report:queued");
    }
    state.outbox.clear();
    let mut waiting = waiting(&folder)?;
    if waiting.len() > MAX_QUEUE {
        // What is on a stick may be on its way; it goes first, oldest first.
        let carried = carried(host);
        let surplus = waiting.len() - MAX_QUEUE;
        let on_its_way = waiting.iter().take(surplus).take_while(|p| number(p) <= carried).count();
        let gone = waiting.drain(..on_its_way).collect::<Vec<_>>();
        gone.iter().try_for_each(|path| files::remove_if_there(path))?;
    }
    // When the hub is away for long, the oldest say how it began and the newest how it is.
    if waiting.len() > MAX_QUEUE {
        let surplus = &waiting[MAX_QUEUE - 1..waiting.len() - 1];
        surplus.iter().try_for_each(|path| files::remove_if_there(path))?;
    }
    Ok(())
}

/// The number of a report that waits.
fn number(path: &Path) -> u64 {
    path.file_stem().and_then(|s| s.to_str()?.parse().ok()).unwrap_or(u64::MAX)
}

/// The newest report that was put onto a stick. It waits on, since a stick may be lost on its way to the hub.
fn carried(host: &Host) -> u64 {
    let text = files::read_if_there(&queue(host).join("carried"), 64).ok().flatten();
    text.and_then(|t| String::from_utf8(t).ok()?.parse().ok()).unwrap_or_default()
}

/// Hands all that waits to `take`, oldest first, in portions that travel, and remembers that it is on its way. `take`
/// is called at least once.
pub fn carry(
    host: &Host,
    mut take: impl FnMut(Vec<Envelope>) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let (mut after, mut count) = (0, 0);
    loop {
        let batch = batch(host, after, BATCH)?;
        let last = batch.last().map(|(path, _)| number(path));
        if last.is_none() && count > 0 {
            return Ok(count);
        }
        count += batch.len();
        take(batch.into_iter().map(|(_, envelope)| envelope).collect())?;
        let Some(last) = last else {
            return Ok(0);
        };
        files::write_atomic(&queue(host).join("carried"), last.to_string().as_bytes())?;
        after = last;
    }
}

fn waiting(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Sends what waits, oldest first. Returns how many the hub took.
pub fn send(host: &Host, state: &mut State) -> anyhow::Result<usize> {
    let Some(hub) = &host.config.hub else {
        return Ok(0);
    };
    let (mut taken, mut most) = (0, BATCH);
    loop {
        let batch = batch(host, 0, most)?;
        if batch.is_empty() {
            return Ok(taken);
        }
        let envelopes: Vec<&Envelope> = batch.iter().map(|(_, e)| e).collect();
        match post(host, hub, &envelopes)? {
            Answer::Taken { seq } => {
                fault::point("report:sent");
                // The hub knows a newer one: this host lost its memory, and goes on from there.
                if seq > state.seq && seq < MAX_SEQ {
                    state.seq = seq;
                    state.last_report = None;
                }
                batch.iter().try_for_each(|(path, _)| files::remove_if_there(path))?;
                taken += batch.len();
                most = BATCH;
            }
            // One of them is not to the hub's liking; which, smaller batches tell.
            Answer::Unacceptable(_) if batch.len() > 1 => most = batch.len() / 2,
            Answer::Unacceptable(why) => {
                let (path, _) = &batch[0];
                fs::rename(path, path.with_extension("refused"))?;
                bail!("{}: {why}; it is set aside as .refused", path.display());
            }
        }
    }
}

/// The oldest reports that wait beyond number `after`, at most `most` and about [`MAX_BATCH`] bytes.
fn batch(host: &Host, after: u64, most: usize) -> anyhow::Result<Vec<(PathBuf, Envelope)>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    fs::create_dir_all(queue(host))?;
    for path in waiting(&queue(host))?.into_iter().filter(|p| number(p) > after) {
        let text = files::read_limited(&path, MAX_REPORT)?;
        let Ok(envelope) = Envelope::from_slice(&text) else {
            // Damaged on disk: it can never be sent.
            files::remove_if_there(&path)?;
            continue;
        };
        let envelope = resealed(host, envelope)?;
        bytes += text.len();
        if batch.len() >= most || (bytes > MAX_BATCH && !batch.is_empty()) {
            break;
        }
        batch.push((path, envelope));
    }
    Ok(batch)
}

/// A host that got a new key signs with it what it wrote before, or the hub would refuse that for ever.
fn resealed(host: &Host, envelope: Envelope) -> anyhow::Result<Envelope> {
    if envelope.signatures.iter().any(|s| s.key == host.key.public()) {
        return Ok(envelope);
    }
    let report: Report = serde_json::from_str(&envelope.payload)?;
    Ok(Envelope::seal(&report, &host.key)?)
}

enum Answer {
    /// The newest report that the hub knows of this host.
    Taken { seq: u64 },
    /// It will never take these as they are.
    Unacceptable(String),
}

fn post(host: &Host, hub: &str, envelopes: &[&Envelope]) -> anyhow::Result<Answer> {
    #[derive(Deserialize)]
    struct Taken {
        seq: u64,
    }
    let url = format!("{}/v1/reports", hub.trim_end_matches('/'));
    let body = serde_json::to_vec(envelopes)?;
    let request = host.client.post(&url).header("content-type", "application/json");
    let mut response = request.send(&body).with_context(|| format!("{url} does not answer"))?;
    let status = response.status();
    let text = response.body_mut().with_config().limit(64 * 1024).read_to_string()?;
    if matches!(status.as_u16(), 400 | 413 | 422) {
        return Ok(Answer::Unacceptable(format!("{url} refuses it: {status} {}", text.trim())));
    }
    if !status.is_success() {
        bail!("{url} refuses the reports: {status} {}", text.trim());
    }
    let answer: serde_json::Result<Taken> = serde_json::from_str(&text);
    let answer = answer.with_context(|| format!("{url} answers something else than a hub does"))?;
    Ok(Answer::Taken { seq: answer.seq })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_that_nobody_empties_keeps_the_first_and_the_newest() {
        let mut outbox = Vec::new();
        (0..1000).for_each(|n| write_down(&mut outbox, n));
        assert_eq!((outbox.len(), outbox[0], outbox[MAX_OUTBOX - 1]), (MAX_OUTBOX, 0, 999));
    }
}
