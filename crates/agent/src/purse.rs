//! The site's budget on this host: what was fetched is on the disk before much more is, and no byte comes faster than
//! it may.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use afield_core::budget::{Allowance, Bucket, Budget};
use afield_store::files;
use jiff::{SignedDuration, Timestamp};

use crate::host::Host;
use crate::obtain::Halt;

/// The ledger has at most this many bytes.
const MAX_LEDGER: u64 = 64 * 1024;
/// After so many bytes the ledger is written: more cannot be forgotten when the power fails.
const SAVE_AFTER: u64 = 256 * 1024;

fn ledger(host: &Host) -> PathBuf {
    host.own("ledger.json")
}

/// What the site's link allows now. A ledger that cannot be read is begun anew.
pub fn of(host: &Host, budget: Option<Budget>, now: Timestamp) -> Allowance {
    let bytes = files::read_if_there(&ledger(host), MAX_LEDGER).ok().flatten();
    // A stick costs the link nothing.
    let budget = budget.filter(|_| host.stick.is_none());
    let spent = bytes.and_then(|b| serde_json::from_slice(&b).ok());
    Allowance {
        budget: budget.unwrap_or_default(),
        spent: spent.unwrap_or_default(),
        now,
        go: host.go,
    }
}

/// Counts, and holds back.
#[derive(Debug)]
pub struct Purse {
    allowance: Allowance,
    path: PathBuf,
    bucket: Option<Bucket>,
    began: (Timestamp, Instant),
    last: Instant,
    unsaved: u64,
    /// Whether what comes costs nothing.
    free: bool,
}

impl Purse {
    /// From an allowance.
    pub fn new(host: &Host, mut allowance: Allowance) -> Self {
        let documents = host.documents.swap(0, Ordering::Relaxed);
        if host.stick.is_none() {
            allowance.spend(documents);
        }
        let (bucket, now) = (allowance.budget.rate.map(Bucket::new), Instant::now());
        let began = (allowance.now, now);
        let free = host.stick.is_some();
        Self { allowance, path: ledger(host), bucket, began, last: now, unsaved: 0, free }
    }

    /// Counts bytes that came, and waits as the rate says. An error ends the fetch: the day's bytes are used, or the
    /// window has closed.
    pub fn spend(&mut self, bytes: u64) -> Result<(), Halt> {
        if self.free {
            return Ok(());
        }
        // By this process's own clock: the host's may be set while it fetches.
        let since = SignedDuration::try_from(self.began.1.elapsed()).unwrap_or(SignedDuration::MAX);
        self.allowance.now = self.began.0.checked_add(since).unwrap_or(self.began.0);
        self.allowance.spend(bytes);
        self.unsaved += bytes;
        let verdict = self.allowance.verdict();
        if self.unsaved >= SAVE_AFTER || verdict.is_err() {
            self.save()?;
        }
        verdict.map_err(|wait| Halt::Paused(wait.to_string()))?;
        if let Some(bucket) = &mut self.bucket {
            let wait = bucket.take(bytes, self.last.elapsed());
            self.last = Instant::now();
            std::thread::sleep(wait);
        }
        Ok(())
    }

    /// Writes the ledger down.
    pub fn save(&mut self) -> Result<(), Halt> {
        let here = |source| Halt::Here { path: self.path.clone(), source };
        let bytes = serde_json::to_vec(&self.allowance.spent).map_err(|e| here(e.into()))?;
        files::write_atomic(&self.path, &bytes).map_err(here)?;
        self.unsaved = 0;
        Ok(())
    }
}
