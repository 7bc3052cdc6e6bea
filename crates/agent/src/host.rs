//! The host as this process sees it: configuration, key, sources and clock.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use afield_core::ids::ObjectId;
use afield_core::signed::SecretKey;
use afield_core::time::{self, Now};
use afield_store::keys;
use anyhow::Context as _;
use jiff::Timestamp;

use crate::config::Config;
use crate::source::{self, Source};
use crate::state::State;
use crate::stick::Stick;
use crate::through_relay::Ways;

/// It is not earlier than this: the day of the first version, or `SOURCE_DATE_EPOCH` of the build.
const FIRST_VERSION: i64 = 1_793_491_200;

/// What every step needs.
#[derive(Debug)]
pub struct Host {
    /// `agent.toml`.
    pub config: Config,
    /// Where to fetch from, in order.
    pub sources: Vec<Source>,
    /// A stick, if this run was given one; it is the source if it is for this host.
    pub stick: Option<Stick>,
    /// The web client, also for the hub.
    pub client: ureq::Agent,
    /// Signs reports.
    pub key: SecretKey,
    /// A person here said: fetch now, whatever the budget says but its rate.
    pub go: bool,
    /// Bytes of documents and repairs, which count as well.
    pub documents: AtomicU64,
}

impl Host {
    /// Opens what the configuration names, and makes the agent's folder.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let client = source::client(&Ways::new(&config));
        let sources = config.repositories.iter().map(|r| Source::new(r, &client)).collect();
        let key = keys::read_host_key(&config.inside(&config.host_key))?;
        let dir = config.state_dir();
        // What is kept below is for root: app configs, and later more.
        let private = fs::Permissions::from_mode(0o700);
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        fs::set_permissions(&dir, private)
            .with_context(|| format!("{} cannot be made private", dir.display()))?;
        let documents = AtomicU64::new(0);
        Ok(Self { config, sources, stick: None, client, key, go: false, documents })
    }

    /// The same for a run from a stick: the stick is its only source, so that no byte of it costs the link anything.
    pub fn with_stick(mut self, stick: Stick) -> Self {
        self.sources.clear();
        if stick.refusal(&self.config).is_none() {
            self.sources.push(stick.source.clone());
        }
        self.stick = Some(stick);
        self
    }

    /// What time it is, as far as it can be believed.
    pub fn now(&self, state: &State) -> Now {
        let built = option_env!("SOURCE_DATE_EPOCH").and_then(|t| t.parse().ok());
        let built = Timestamp::from_second(built.unwrap_or(FIRST_VERSION));
        time::now(clock(), state.signed_time, built.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// A file or folder of the agent.
    pub fn own(&self, name: &str) -> PathBuf {
        self.config.state_dir().join(name)
    }

    /// Where a manifest or document is kept.
    pub fn document(&self, id: &ObjectId) -> PathBuf {
        document(&self.config, id)
    }

    /// Where an object is fetched to.
    pub fn download(&self, id: &ObjectId) -> PathBuf {
        self.own("downloads").join(id.hex())
    }
}

/// Where a manifest or document is kept.
pub fn document(config: &Config, id: &ObjectId) -> PathBuf {
    config.state_dir().join("documents").join(id.hex())
}

/// The system's clock; tests of lying clocks set `AFIELD_CLOCK` in a build with fault points.
fn clock() -> Timestamp {
    #[cfg(feature = "faults")]
    if let Ok(lie) = std::env::var("AFIELD_CLOCK") {
        // A path: the time stands in that file, and goes on when it is written anew.
        let lie = std::fs::read_to_string(&lie).unwrap_or(lie);
        if let Ok(lie) = lie.trim().parse() {
            return lie;
        }
    }
    Timestamp::now()
}
