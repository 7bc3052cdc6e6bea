//! `afield-agent tunnel`: keeps a reverse tunnel to every relay at the same time.
//!
//! What to do is decided by `afield_core::tunnel::link`, one state machine a relay; here it is done: [`dial`] connects
//! and waits for an SSH server's first words, [`client`] runs the system's OpenSSH client on the connection that won,
//! [`worker`] holds one relay's loop, and [`watch`] notices that the network changed.
//!
//! Why OpenSSH and not an SSH library: its client is on every host already, gets its security updates with the
//! system, and is what relays are tried with; the agent stays small, and what speaks to the Internet is a process of
//! its own. What a library would save is handed over instead: the connection that won the race becomes OpenSSH's
//! standard input and output (`ProxyCommand=-`), so that nothing is connected twice, also behind a proxy. Figures are
//! in `docs/tunnels.md`.

pub mod client;
mod dial;
mod folder;
mod unanswered;
mod watch;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afield_core::ids::Name;
use afield_core::tunnel::{Config, Site};
use afield_store::files;
use anyhow::Context as _;

use self::folder::Folder;
use self::worker::Worker;

/// The configuration has at most this many bytes.
const MAX_CONFIG: u64 = 1024 * 1024;
/// The configuration and the clock are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A network that changes says so in many messages; the last counts, but none waits longer than five times this.
const SETTLE: Duration = Duration::from_millis(200);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// `tunnel.json`, or the same as TOML if its name ends in `.toml`; the first that is there counts.
    pub configs: Vec<PathBuf>,
    /// The tunnel's own folder; what is in it may be lost without harm.
    pub state: PathBuf,
    /// Where it says how it is doing, for people and checks.
    pub status: PathBuf,
    /// The private key, if not where the configuration says.
    pub key: Option<PathBuf>,
}

impl Places {
    /// The configuration that is there; none if nobody named any relays yet.
    fn config(&self) -> anyhow::Result<Option<Config>> {
        let Some(path) = self.configs.iter().find(|path| path.exists()) else { return Ok(None) };
        let mut config = read_config(path)?;
        if let Some(key) = &self.key {
            config.key = key.to_str().context("--tunnel-key is not UTF-8")?.to_owned();
            config.check().context("--tunnel-key")?;
        }
        Ok(Some(config))
    }

    /// Where the configuration is looked for, for people.
    fn looked_for(&self) -> String {
        let all: Vec<String> = self.configs.iter().map(|path| path.display().to_string()).collect();
        all.join(" or ")
    }
}

/// Reads and checks a configuration.
pub fn read_config(path: &Path) -> anyhow::Result<Config> {
    let at = || path.display().to_string();
    let bytes = files::read_limited(path, MAX_CONFIG).with_context(at)?;
    let text = String::from_utf8(bytes).with_context(at)?;
    let config: Config = match path.extension().is_some_and(|e| e == "toml") {
        true => toml::from_str(&text).with_context(at)?,
        false => serde_json::from_str(&text).with_context(at)?,
    };
    config.check().with_context(at)?;
    Ok(config)
}

/// Runs until the process is ended.
pub fn run(places: &Places) -> anyhow::Result<()> {
    let folder = Arc::new(Folder::new(places)?);
    let (changed, changes) = mpsc::channel();
    if let Err(e) = watch::network(changed.clone()) {
        // Without it the host comes back a little later after a change: no reason to stay away.
        say(&format!("changes of the network go unnoticed: {e} (does the unit allow AF_NETLINK?)"));
    }
    let site = Arc::default();
    let mut tunnels = Tunnels { folder, site, workers: BTreeMap::new(), trouble: None };
    let mut clock = watch::Clock::new();
    loop {
        tunnels.follow(places);
        if wait(&changes) || clock.jumped() {
            tunnels.network_changed();
        }
    }
}

/// Waits for the next look; true if the network has changed.
fn wait(changes: &Receiver<()>) -> bool {
    match changes.recv_timeout(LOOK_AGAIN) {
        Ok(()) => {
            for _ in 0..5 {
                if changes.recv_timeout(SETTLE).is_err() {
                    break;
                }
                while changes.try_recv().is_ok() {}
            }
            true
        }
        Err(RecvTimeoutError::Timeout) => false,
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(LOOK_AGAIN);
            false
        }
    }
}

struct Tunnels {
    folder: Arc<Folder>,
    site: Arc<Mutex<Site>>,
    workers: BTreeMap<Name, Worker>,
    /// What was wrong with the configuration when it was last read; it is said once.
    trouble: Option<String>,
}

impl Tunnels {
    /// Makes the workers those of the configuration. A worker whose part of it is unchanged is left alone: the person
    /// who changes it may come through there.
    fn follow(&mut self, places: &Places) {
        let config = match places.config() {
            Ok(Some(config)) => config,
            Ok(None) if self.workers.is_empty() => {
                return self.say_once(format!("{} names no relays yet", places.looked_for()));
            }
            Ok(None) => {
                let gone = format!("{} is gone", places.looked_for());
                return self.say_once(format!("{gone}; what ran before goes on"));
            }
            Err(e) => return self.say_once(format!("{e:#}; what ran before goes on")),
        };
        self.trouble = None;
        let mut wanted: BTreeMap<Name, Config> = BTreeMap::new();
        for relay in &config.relays {
            let relays = vec![relay.clone()];
            let own = Config { relays, ..config.clone() };
            wanted.insert(relay.name.clone(), own);
        }
        let stale = |name: &Name, worker: &Worker| {
            !worker.is_alive() || wanted.get(name) != Some(worker.config())
        };
        let stale: Vec<Name> =
            self.workers.iter().filter(|(n, w)| stale(n, w)).map(|(n, _)| n.clone()).collect();
        for name in stale {
            if let Some(worker) = self.workers.remove(&name) {
                worker.stop();
                self.folder.forget(&name);
            }
        }
        for (name, own) in wanted {
            let (folder, site) = (self.folder.clone(), self.site.clone());
            self.workers.entry(name).or_insert_with(|| Worker::start(own, folder, site));
        }
    }

    fn say_once(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            say(&trouble);
            self.trouble = Some(trouble);
        }
    }

    fn network_changed(&self) {
        for worker in self.workers.values() {
            worker.network_changed();
        }
    }
}

fn say(text: &str) {
    eprintln!("afield-agent tunnel: {text}");
}
