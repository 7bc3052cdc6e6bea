//! What the agent remembers: one file, replaced as a whole, with a format number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afield_core::ids::ReleaseId;
use afield_core::plan::{Attempt, Fallback, Generation, Stuck};
use afield_core::report::Report;
use afield_core::signed::Envelope;
use afield_store::trust::{KeySet, Seen};
use afield_store::{fault, files};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Format number of [`State`].
const FORMAT: u32 = 1;
/// The file has at most this many bytes.
const MAX_STATE: u64 = 16 * 1024 * 1024;

/// The agent's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Number of the last report.
    pub seq: u64,
    /// The newest signed time that was accepted.
    pub signed_time: Option<Timestamp>,
    /// The newest release that was accepted.
    pub release_seen: Option<ReleaseId>,
    /// The newest assignment that was accepted: its counter and itself.
    pub assignment: Option<(u64, Envelope)>,
    /// Who could sign assignments when that one was accepted; new keys start a new count.
    #[serde(default)]
    pub rollout_keys: Option<KeySet>,
    /// The trust metadata that was accepted.
    pub trust: Seen,
    /// The last generation that passed its checks.
    pub good: Generation,
    /// The generation before, while the last good one has not been booted yet.
    #[serde(default)]
    pub fallback: Option<Fallback>,
    /// What is under way.
    pub attempt: Option<Attempt>,
    /// The last attempt to go back did not help.
    #[serde(default)]
    pub stuck: Option<Stuck>,
    /// The boot whose system was found bad: nothing makes it a good one again.
    #[serde(default)]
    pub bad_boot: Option<String>,
    /// Releases that failed here.
    pub quarantined: BTreeSet<ReleaseId>,
    /// Releases that were taken back while nothing could be reached, and nothing without them either; how often.
    #[serde(default)]
    pub cut_off: BTreeMap<ReleaseId, u32>,
    /// The boot in which a way back left the host cut off, until something can be reached.
    #[serde(default)]
    pub deaf: Option<String>,
    /// Reports that are written down and not yet signed and queued.
    pub outbox: Vec<Report>,
    /// When the last report was made, and of which event, to keep quiet while nothing happens.
    pub last_report: Option<(Timestamp, String)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            seq: 0,
            signed_time: None,
            release_seen: None,
            assignment: None,
            rollout_keys: None,
            trust: Seen::default(),
            good: Generation::default(),
            fallback: None,
            attempt: None,
            stuck: None,
            bad_boot: None,
            quarantined: BTreeSet::new(),
            cut_off: BTreeMap::new(),
            deaf: None,
            outbox: Vec::new(),
            last_report: None,
        }
    }
}

impl State {
    /// Releases that this host has, or is about to have, besides the assigned one.
    pub fn other_releases(&self, assigned: Option<ReleaseId>) -> impl Iterator<Item = ReleaseId> {
        let attempt = self.attempt.as_ref().and_then(|attempt| attempt.to.release);
        let fallback = self.fallback.as_ref().and_then(|f| f.generation.release);
        let all: BTreeSet<ReleaseId> =
            [self.good.release, fallback, attempt].into_iter().flatten().collect();
        all.into_iter().filter(move |release| Some(*release) != assigned)
    }
}

/// Why the state could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or file cannot be used.
    #[error("the agent's state {path} cannot be used")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was written by a newer agent.
    #[error(
        "the agent's state has format {0}, and this agent reads up to {FORMAT}; install the newer agent again"
    )]
    Format(u32),
    /// Another agent runs.
    #[error("another afield-agent works on this host right now; wait for it, or stop it first")]
    Locked,
}

/// The state file, and the lock that keeps others away from it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    _lock: Option<File>,
}

impl Store {
    /// Takes the lock and reads the state; a host without one starts afresh. A file that cannot be read is
    /// moved aside, since a host that never updates again is worse than one that forgets what it saw.
    pub fn open(dir: &Path) -> Result<(Self, State, Option<String>), StateError> {
        let io = |source| StateError::Io { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(io)?;
        let lock = File::create(dir.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|_| StateError::Locked)?;
        let store = Self { path: dir.join("state.json"), _lock: Some(lock) };
        let (state, note) = store.read()?;
        Ok((store, state, note))
    }

    /// Waits until no other agent works on this host.
    pub fn wait(dir: &Path, longest: Duration) -> Result<(), StateError> {
        let until = Instant::now() + longest;
        loop {
            match Self::open(dir) {
                Err(StateError::Locked) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_secs(2));
                }
                other => return other.map(drop),
            }
        }
    }

    /// Reads the state without the lock, for those who only look.
    pub fn peek(dir: &Path) -> Result<State, StateError> {
        let store = Self { path: dir.join("state.json"), _lock: None };
        Ok(store.read()?.0)
    }

    fn read(&self) -> Result<(State, Option<String>), StateError> {
        let io = |source| StateError::Io { path: self.path.clone(), source };
        let Some(bytes) = files::read_if_there(&self.path, MAX_STATE).map_err(io)? else {
            return Ok((State::default(), None));
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        if let Ok(Format { format }) = serde_json::from_slice(&bytes)
            && format > FORMAT
        {
            return Err(StateError::Format(format));
        }
        match serde_json::from_slice(&bytes) {
            Ok(state) => Ok((state, None)),
            Err(e) => {
                let aside = self.path.with_extension("damaged");
                let (state, lost) = salvage(&bytes).unwrap_or_default();
                match (&self._lock, lost.is_empty()) {
                    (None, _) => {}
                    (_, true) => fs::rename(&self.path, &aside).map_err(io)?,
                    // It stays until it is replaced. On a full disk there is no copy.
                    (_, false) => drop(fs::copy(&self.path, &aside)),
                }
                let what = match lost.is_empty() {
                    true => "was damaged".to_owned(),
                    false => format!("has what this agent does not know in {}", lost.join(", ")),
                };
                let note =
                    format!("the agent's state {what} ({e}); it is kept in {}", aside.display());
                Ok((state, Some(note)))
            }
        }
    }

    /// Replaces the state.
    pub fn save(&self, state: &State, point: &str) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: self.path.clone(), source };
        let bytes = serde_json::to_vec(state).map_err(|e| io(e.into()))?;
        fault::point(&format!("state:{point}:before"));
        files::write_atomic_mode(&self.path, &bytes, 0o600).map_err(io)?;
        fault::point(&format!("state:{point}:after"));
        Ok(())
    }
}

/// What can be read of a state that another agent wrote, and the names of what cannot: one that is gone back to must not
/// forget which releases failed and what was good.
fn salvage(bytes: &[u8]) -> Option<(State, Vec<String>)> {
    let found: serde_json::Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let (mut state, mut lost) = (State::default(), Vec::new());
    for (name, mut value) in found {
        if let (true, Value::Array(reports)) = (name == "outbox", &mut value) {
            let all = reports.len();
            reports.retain(|report| Report::deserialize(report).is_ok());
            lost.extend((reports.len() < all).then(|| name.clone()));
        }
        let Value::Object(mut known) = serde_json::to_value(&state).ok()? else { return None };
        known.insert(name.clone(), value);
        match serde_json::from_value(Value::Object(known)) {
            Ok(more) => state = more,
            Err(_) => lost.push(name),
        }
    }
    Some((state, lost))
}
