//! The hub itself: one state behind one lock. Whatever happens (a report, an order, a new release, a second
//! gone by) makes a changed copy of its memory, saves that, and only then counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use afield_core::assignment::Assignment;
use afield_core::ids::HostName;
use afield_core::rollout::Change;
use afield_core::signed::{Envelope, SecretKey};
use afield_core::status::{FleetStatus, Sight};
use afield_store::files::write_atomic;
use afield_store::repository::Repository;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::database::{Database, DatabaseError, Received};
use crate::gate::{self, Memory};
use crate::log::say;
use crate::source::{self, Known};

/// Metadata that could not be loaded is tried again after this long, even if it looks the same.
const RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a hub is made of.
pub struct Setup {
    /// The repository's folder.
    pub repository: Repository,
    /// The root metadata that the hub came with.
    pub trust_root: Vec<u8>,
    /// What it signs assignments with.
    pub rollout_key: SecretKey,
    /// Its memory's file.
    pub database: PathBuf,
    /// Its clock.
    pub clock: Clock,
}

/// A hub.
pub struct Hub {
    pub(crate) repository: Repository,
    pub(crate) clock: Clock,
    trust_root: Arc<Vec<u8>>,
    pub(crate) rollout_key: Arc<SecretKey>,
    pub(crate) state: Mutex<State>,
}

/// What is behind the lock.
pub(crate) struct State {
    database: Database,
    pub(crate) memory: Memory,
    pub(crate) known: Option<Arc<Known>>,
    /// Assignments as they are in the folder.
    issued: BTreeMap<HostName, Assignment>,
    /// The metadata that was loaded last.
    stamp: Option<Vec<u8>>,
    /// When to try again what could not be loaded.
    retry: Option<Timestamp>,
    /// Why the metadata was not loaded.
    load_problem: Option<String>,
    /// Why assignments were not written.
    write_problem: Option<String>,
}

impl Hub {
    /// Opens the database and looks at the repository. A repository that cannot be verified (yet) is no
    /// error but a problem that the page shows: it is tried again.
    pub async fn open(setup: Setup) -> Result<Self, DatabaseError> {
        let database = Database::open(&setup.database).await?;
        let hub = Self::with(setup, database).await?;
        hub.refresh(&mut *hub.state.lock().await, true).await?;
        Ok(hub)
    }

    /// A hub that is never to do anything but tell what it would do: see [`Hub::plan`].
    pub async fn look(setup: Setup) -> Result<Self, DatabaseError> {
        let database = Database::look(&setup.database).await?;
        let hub = Self::with(setup, database).await?;
        hub.refresh(&mut *hub.state.lock().await, false).await?;
        Ok(hub)
    }

    async fn with(setup: Setup, mut database: Database) -> Result<Self, DatabaseError> {
        let mut memory = database.load().await?;
        // A database that was lost or is old must not make counters go back.
        let seconds = u64::try_from((setup.clock)().as_second()).unwrap_or_default();
        memory.counter = memory.counter.max(seconds);
        let state = State {
            database,
            memory,
            known: None,
            issued: BTreeMap::new(),
            stamp: None,
            retry: None,
            load_problem: None,
            write_problem: None,
        };
        Ok(Self {
            repository: setup.repository,
            clock: setup.clock,
            trust_root: Arc::new(setup.trust_root),
            rollout_key: Arc::new(setup.rollout_key),
            state: Mutex::new(state),
        })
    }

    /// Does what is due at the clock's time: reads a changed repository, lets waves follow, renews assignments.
    pub async fn tick(&self) -> Result<Vec<Change>, DatabaseError> {
        let mut state = self.state.lock().await;
        self.refresh(&mut state, true).await?;
        let memory = state.memory.clone();
        self.settle(&mut state, memory, &[]).await
    }

    /// What [`Hub::tick`] would change and sign now.
    pub async fn plan(&self) -> (Vec<Change>, Vec<Assignment>) {
        let state = self.state.lock().await;
        let Some(known) = state.known.as_ref() else {
            return Default::default();
        };
        let mut memory = state.memory.clone();
        let changes = gate::decide(&mut memory);
        (changes, gate::assign(&mut memory, known, &state.issued, (self.clock)()))
    }

    /// Reads the repository again if it changed.
    pub(crate) async fn refresh(&self, state: &mut State, save: bool) -> Result<(), DatabaseError> {
        let now = (self.clock)();
        let stamp = source::stamp(&self.repository);
        let again = state.retry.is_some_and(|at| at <= now);
        if state.stamp.as_ref() == Some(&stamp) && !again {
            return Ok(());
        }
        match self.load(state).await {
            Ok((known, found)) => {
                self.learn(state, known, found, save).await?;
            }
            Err(problem) => {
                if state.load_problem.as_ref() != Some(&problem) {
                    say(&format!("repository: {problem}"));
                }
                state.load_problem = Some(problem);
            }
        }
        let flawed = state.known.as_ref().is_some_and(|k| !k.flaws.is_empty());
        let trouble = flawed || state.load_problem.is_some();
        state.retry = trouble.then(|| now.checked_add(RETRY).unwrap_or(now));
        state.stamp = Some(stamp);
        Ok(())
    }

    /// Verifying blocks, and brings a runtime of its own.
    async fn load(&self, state: &State) -> Result<(Known, Found), String> {
        let (repository, root) = (self.repository.clone(), self.trust_root.clone());
        let (seen, before) = (state.memory.seen.clone(), state.known.clone());
        let work = move || {
            let known = source::load(&repository, &root, &seen, before.as_deref())?;
            let found = source::assignments(&repository, &known);
            Ok((known, found))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
    }

    async fn learn(
        &self,
        state: &mut State,
        known: Known,
        found: Found,
        save: bool,
    ) -> Result<(), DatabaseError> {
        let mut memory = state.memory.clone();
        memory.seen = known.seen.clone();
        if gate::recover(&mut memory, &known, &found) {
            let n = found.len();
            say(&format!(
                "there is no memory of rollouts: started from {n} assignments in the repository"
            ));
        }
        if save {
            state.database.save(&state.memory, &memory, &[]).await?;
        }
        let newest =
            known.newest().map_or("no release".into(), |m| format!("release {}", m.release));
        say(&format!("repository: fleet {}, {newest}", known.fleet));
        known.flaws.iter().for_each(|flaw| say(&format!("repository: {flaw}")));
        state.memory = memory;
        state.known = Some(Arc::new(known));
        state.issued = found;
        state.load_problem = None;
        Ok(())
    }

    /// Decides, saves, and hands out.
    pub(crate) async fn settle(
        &self,
        state: &mut State,
        mut memory: Memory,
        reports: &[Received],
    ) -> Result<Vec<Change>, DatabaseError> {
        let mut changes = Vec::new();
        let mut due = Vec::new();
        if let Some(known) = state.known.clone() {
            changes = gate::decide(&mut memory);
            if self.key_problem(&known).is_none() {
                due = gate::assign(&mut memory, &known, &state.issued, (self.clock)());
            }
        }
        if memory != state.memory || !reports.is_empty() {
            state.database.save(&state.memory, &memory, reports).await?;
            state.memory = memory;
        }
        changes.iter().for_each(|change| say(&format!("rollout: {change}")));
        if !due.is_empty() {
            self.hand_out(state, due).await;
        }
        Ok(changes)
    }

    /// Signs and writes. What could not be written is due again at the next tick.
    async fn hand_out(&self, state: &mut State, due: Vec<Assignment>) {
        let (repository, key) = (self.repository.clone(), self.rollout_key.clone());
        let work = move || write_all(&repository, &key, due);
        let (written, problem) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => (Vec::new(), Some(e.to_string())),
        };
        for assignment in written {
            let Assignment { host, release, counter, .. } = &assignment;
            say(&format!("assigned: {host} release {release} (number {counter})"));
            state.issued.insert(host.clone(), assignment);
        }
        if let Some(problem) = problem.as_ref().filter(|p| state.write_problem.as_ref() != Some(p))
        {
            say(problem);
        }
        state.write_problem = problem;
    }

    /// Why the hub's assignments would be refused, if they would.
    fn key_problem(&self, known: &Known) -> Option<String> {
        let (mine, keys) = (self.rollout_key.public(), &known.rollout);
        if !keys.keys.contains(&mine) {
            return Some(format!(
                "no assignments are signed: the root metadata does not name this hub's rollout key {mine}; \
                 give it the key that it names (--rollout-key), or name this one: afield keys rotate rollout"
            ));
        }
        (keys.threshold > 1).then(|| {
            format!(
                "no assignments are signed: the root metadata wants {} rollout keys to sign, and a hub has one; \
                 such a fleet hands out without a hub, or has root metadata with a threshold of 1",
                keys.threshold
            )
        })
    }

    /// What keeps the hub from its work, each with a remedy.
    pub(crate) fn problems(&self, state: &State) -> Vec<String> {
        let now = (self.clock)();
        let mut problems = Vec::new();
        if let Some(problem) = &state.load_problem {
            let last = if state.known.is_some() { "; the last good one counts" } else { "" };
            problems.push(format!("the repository is not accepted{last}: {problem}"));
        }
        problems.extend(state.write_problem.clone());
        let Some(known) = &state.known else {
            return problems;
        };
        let (expires, role) = &known.expires;
        if *expires <= now {
            problems.push(format!(
                "the {role} metadata expired on {expires}, so hosts refuse it; publish it anew: afield release"
            ));
        }
        problems.extend(self.key_problem(known));
        problems.extend(known.flaws.iter().map(|flaw| {
            format!(
                "{flaw}; copy the whole repository again, or make a new release: afield release"
            )
        }));
        problems.extend(expired(&state.issued, now));
        problems
    }

    /// How the fleet stands.
    pub async fn status(&self) -> FleetStatus {
        let mut state = self.state.lock().await;
        // An operator asks right after publishing. What stands in the way is among the problems.
        if let Err(error) = self.refresh(&mut state, true).await {
            crate::log::say(&format!("the repository was not read again: {error}"));
        }
        let none = BTreeMap::new();
        FleetStatus::of(Sight {
            now: (self.clock)(),
            rollout: &state.memory.rollout,
            records: &state.memory.records,
            manifests: state.known.as_ref().map_or(&none, |k| &k.manifests),
            problems: self.problems(&state),
        })
    }
}

type Found = BTreeMap<HostName, Assignment>;

fn write_all(
    repository: &Repository,
    key: &SecretKey,
    due: Vec<Assignment>,
) -> (Vec<Assignment>, Option<String>) {
    let mut written = Vec::new();
    for assignment in due {
        let path = repository.assignment_path(&assignment.host);
        let sealed = Envelope::seal(&assignment, key).and_then(|e| e.to_vec());
        let result = sealed.map_err(Into::into).and_then(|bytes| write_atomic(&path, &bytes));
        if let Err(e) = result {
            let path = path.display();
            let remedy = "make the folder writable for the hub, and room on the disk";
            return (written, Some(format!("{path} cannot be written: {e}; {remedy}")));
        }
        written.push(assignment);
    }
    (written, None)
}

/// Assignments that ran out, since their release is no longer in the repository.
fn expired(issued: &Found, now: Timestamp) -> Option<String> {
    let hosts: Vec<_> = issued.values().filter(|a| a.expires <= now).collect();
    let first = hosts.first()?;
    Some(format!(
        "the assignment of {} host(s), {} among them, ran out, and release {} is not in the repository \
         any more; roll out a newer one: afield rollout start",
        hosts.len(),
        first.host,
        first.release
    ))
}
