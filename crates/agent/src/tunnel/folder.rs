//! What the tunnel keeps on disk, and where it says how it is doing.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use afield_core::ids::Name;
use afield_core::tunnel::{Config, Endpoint, Status, Statuses, ssh};
use afield_store::files;
use anyhow::Context as _;

use super::Places;
use crate::through_relay::CONTROL;

pub(super) struct Folder {
    state: PathBuf,
    status: PathBuf,
    all: Mutex<Statuses>,
}

impl Folder {
    pub fn new(places: &Places) -> anyhow::Result<Self> {
        let folders = [Some(places.state.as_path()), places.status.parent()];
        for folder in folders.into_iter().flatten() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(Self {
            state: places.state.clone(),
            status: places.status.clone(),
            all: Mutex::default(),
        })
    }

    /// Writes the pinned key of a configuration with one relay, and says where.
    pub fn known_hosts(&self, config: &Config, relay: &Name) -> io::Result<PathBuf> {
        let path = self.state.join(format!("known_hosts.{relay}"));
        files::write_atomic(&path, ssh::known_hosts(config).as_bytes())?;
        Ok(path)
    }

    /// The way that worked last. One that cannot be read is as good as none.
    pub fn last_good(&self, relay: &Name) -> Option<Endpoint> {
        let bytes = files::read_limited(&self.last_good_path(relay), 4096).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps the way that works, across reboots.
    pub fn remember(&self, relay: &Name, endpoint: &Endpoint) -> io::Result<()> {
        let json = serde_json::to_vec(endpoint)?;
        files::write_atomic(&self.last_good_path(relay), &json)
    }

    /// Where the ssh to a relay listens for others of this host.
    pub fn control(&self, relay: &Name) -> Option<PathBuf> {
        Some(self.status.parent()?.join(format!("{CONTROL}{relay}")))
    }

    fn last_good_path(&self, relay: &Name) -> PathBuf {
        self.state.join(format!("last-good.{relay}.json"))
    }

    /// Says how a relay's tunnel is doing.
    pub fn tell(&self, relay: &Name, status: Status) {
        self.change(|all| drop(all.relays.insert(relay.clone(), status)));
    }

    /// The relay is configured no more.
    pub fn forget(&self, relay: &Name) {
        self.change(|all| drop(all.relays.remove(relay)));
    }

    /// Not synced: it is of no use after a reboot, and a disk of flash should not wear out on it.
    fn change(&self, change: impl FnOnce(&mut Statuses)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        let json = serde_json::to_vec(&*all).map_err(io::Error::from);
        let beside = self.status.with_extension("new");
        let written = json.and_then(|json| fs::write(&beside, json));
        let written = written.and_then(|()| fs::rename(&beside, &self.status));
        if let Err(e) = written {
            super::say(&format!("{}: {e}", self.status.display()));
        }
    }
}
