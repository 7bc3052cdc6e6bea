//! Before outside is asked: what peers have, and who fetches the rest.
//!
//! Nobody is elected. A host says what it is about to fetch and that it still looks; then it looks whether another says
//! the same. Who has begun goes on. Of two that still look the one with the higher name takes its word back, and the
//! other waits until that is settled. Both said it before they looked, so one of them at least sees the other. Then it
//! asks once more, for another may have ended in between. Waiting in vain is bounded for the whole run, so that hosts
//! that lie, die or lose their link delay an update and never stop it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use afield_core::release::ObjectRef;
use afield_store::files;

use super::peers::Peer;
use super::{Fetching, Settings, Shelf, is_local};
use crate::config::Config;
use crate::host::Host;

/// The file of peers has at most this many bytes.
const MAX_PEERS: u64 = 64 * 1024;
/// No more peers are asked.
const MOST: usize = 32;
/// Pause between two looks at what others fetch.
const LOOK: Duration = Duration::from_secs(1);
/// The same while another, too, is about to begin; that takes a moment.
const GLANCE: Duration = Duration::from_millis(100);
/// Smaller objects are not worth a wait; they are fetched by everyone.
const WORTH: u64 = 16 * 1024;

/// The other hosts of the site, for one run.
pub struct Lan {
    me: String,
    shelf: Shelf,
    peers: Vec<Peer>,
    /// How long a run waits in vain.
    wait: Duration,
    run: Mutex<Run>,
}

/// What changes in a run.
struct Run {
    /// How long it may still wait in vain.
    patience: Duration,
    /// When it last said that the fetch goes on.
    touched: Option<Instant>,
    /// What it says that it fetches.
    mine: Fetching,
}

impl std::fmt::Debug for Lan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lan of {} peers", self.peers.len())
    }
}

impl Lan {
    /// The peers of a host, if its configuration wants any. A shelf that cannot be used is no reason to stop. A run from
    /// a stick waits for nobody, and leaves what it brings to the others.
    pub fn of(host: &Host) -> Option<Self> {
        let settings = host.config.lan.as_ref()?;
        let waits = host.stick.is_none();
        let wait = if waits { settings.wait.duration() } else { Duration::ZERO };
        match Self::new(&host.config, settings, wait) {
            Ok(lan) => Some(lan),
            Err(e) => {
                eprintln!("afield-agent: no help from the LAN: {}: {e}", settings.shelf.display());
                None
            }
        }
    }

    /// Whoever is written down as a peer. A file that is not there, or makes no sense, names nobody.
    fn new(config: &Config, settings: &Settings, wait: Duration) -> std::io::Result<Self> {
        let shelf = Shelf::new(config.inside(&settings.shelf), settings);
        shelf.make()?;
        // The server's account has no rights, and the file is its own.
        let bytes = files::read_foreign(&config.inside(&settings.peers), MAX_PEERS).ok();
        let all: Vec<SocketAddr> =
            bytes.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        let local = all.into_iter().filter(|a| is_local(a.ip())).take(MOST);
        let me = config.host.to_string();
        let peers = local.map(Peer::new).collect();
        let mine = Fetching { host: me.clone(), ..Fetching::default() };
        let run = Mutex::new(Run { patience: wait, touched: None, mine });
        Ok(Self { me, shelf, peers, wait, run })
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from peers what they have of `wanted` into `folder`, and waits for what they fetch. Returns what is to
    /// be fetched from outside now; call it again after that, until it returns nothing.
    pub fn gather<'a>(&self, folder: &Path, wanted: &[&'a ObjectRef]) -> Vec<&'a ObjectRef> {
        loop {
            let lacking = wanted.iter().filter(|o| !folder.join(o.id.hex()).exists()).count();
            let left = self.take(folder, wanted);
            if left.len() < lacking {
                // What others promised comes.
                self.run().patience = self.wait;
            }
            if left.is_empty() || self.run().patience.is_zero() {
                return self.claim(left);
            }
            let theirs = self.theirs();
            let is_theirs = |o: &&&ObjectRef| o.size >= WORTH && theirs.contains(&o.id.hex());
            let free: Vec<&ObjectRef> = left.iter().filter(|o| !is_theirs(o)).copied().collect();
            let mine = self.settle(folder, free);
            if !mine.is_empty() {
                return mine;
            }
            self.pause(LOOK);
        }
    }

    /// Takes one object from whoever has it, without a word to the others; false if nobody has.
    pub fn ask(&self, folder: &Path, object: &ObjectRef) -> bool {
        self.take(folder, &[object]).is_empty()
    }

    /// Which of these this host fetches, as it now says.
    fn settle<'a>(&self, folder: &Path, free: Vec<&'a ObjectRef>) -> Vec<&'a ObjectRef> {
        if free.is_empty() {
            return free;
        }
        let mut mine = self.say(free, true);
        loop {
            let claims = self.claims();
            let (before, after): (Vec<_>, Vec<_>) =
                claims.into_iter().partition(|c| !c.looks || c.host < self.me);
            mine.retain(|o| o.size < WORTH || !is_among(&before, o));
            // They see what is said here, and take theirs back.
            let contested = mine.iter().any(|o| o.size >= WORTH && is_among(&after, o));
            if !contested || self.run().patience.is_zero() {
                break;
            }
            mine = self.say(mine, true);
            self.pause(GLANCE);
        }
        let (small, large): (Vec<_>, Vec<_>) = mine.into_iter().partition(|o| o.size < WORTH);
        let left = self.take(folder, &large);
        self.claim(small.into_iter().chain(left).collect())
    }

    /// Waits, for as long as may still be waited.
    fn pause(&self, longest: Duration) {
        let (began, pause) = (Instant::now(), longest.min(self.run().patience));
        std::thread::sleep(pause);
        let mut run = self.run();
        run.patience = run.patience.saturating_sub(began.elapsed());
    }

    /// Asks each peer for each object that is not here; gives those that nobody has.
    fn take<'a>(&self, folder: &Path, wanted: &[&'a ObjectRef]) -> Vec<&'a ObjectRef> {
        let lacking = wanted.iter().copied().filter(|o| !folder.join(o.id.hex()).exists());
        lacking
            .filter(|object| {
                let path = folder.join(object.id.hex());
                let mut asked = self.peers.iter().filter(|p| p.is_asked());
                let taken = asked.any(|peer| peer.take(object, &path));
                if taken {
                    self.keep(object, &path);
                }
                !taken
            })
            .collect()
    }

    fn claims(&self) -> Vec<Fetching> {
        let asked = self.peers.iter().filter(|p| p.is_asked());
        asked.filter_map(Peer::claim).filter(|claim| claim.host != self.me).collect()
    }

    fn theirs(&self) -> BTreeSet<String> {
        self.claims().into_iter().flat_map(|claim| claim.objects).collect()
    }

    /// Says what this host fetches.
    fn claim<'a>(&self, objects: Vec<&'a ObjectRef>) -> Vec<&'a ObjectRef> {
        self.say(objects, false)
    }

    /// Without a word others would fetch it, too; that is no reason to stop.
    fn say<'a>(&self, objects: Vec<&'a ObjectRef>, looks: bool) -> Vec<&'a ObjectRef> {
        let mut run = self.run();
        run.mine.objects = objects.iter().map(|o| o.id.hex()).collect();
        run.mine.looks = looks;
        let _ = self.shelf.claim(&run.mine);
        objects
    }

    /// A proved object for others. What cannot be kept is only not helped with.
    pub fn keep(&self, object: &ObjectRef, path: &Path) {
        let _ = self.shelf.keep(&object.id, path);
    }

    /// Bytes came from outside.
    pub fn progress(&self) {
        let mut run = self.run();
        if run.touched.is_none_or(|then| then.elapsed() > LOOK) {
            run.touched = Some(Instant::now());
            let _ = self.shelf.touch();
        }
    }
}

/// Whether one of the claims is on this object.
fn is_among(claims: &[Fetching], object: &ObjectRef) -> bool {
    let hex = object.id.hex();
    claims.iter().any(|claim| claim.objects.contains(&hex))
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Nobody waits for a run that has ended.
        self.claim(Vec::new());
    }
}
