//! `agent.toml`: who the host is, where it asks, and where things are on it.

use std::path::{Path, PathBuf};

use afield_core::ids::{HostName, Name};
use afield_core::span::Span;
use afield_core::tunnel::reach;
use afield_core::window::Window;
use afield_store::files;
use serde::{Deserialize, Serialize};

use crate::lan;

/// A configuration file has at most this many bytes.
const MAX_CONFIG: u64 = 256 * 1024;

/// The whole file. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// This host.
    pub host: HostName,
    /// The fleet that it belongs to; releases of others are refused.
    pub fleet: Name,
    /// Where the repository is: `http://…`, `https://…` or `file:///…`, tried in this order.
    pub repositories: Vec<String>,
    /// Where reports go; without it they wait on disk.
    #[serde(default)]
    pub hub: Option<String>,
    /// Every path below is inside this folder; other than `/` for an image or a test.
    #[serde(default = "default_root")]
    pub root: PathBuf,
    /// The host's OpenSSH ed25519 key, which signs reports.
    #[serde(default = "default_host_key")]
    pub host_key: PathBuf,
    /// The root metadata that came with the system.
    #[serde(default = "default_trust_root")]
    pub trust_root: PathBuf,
    /// The agent's own folder.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// Pause between two check-ins.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// A host on which nothing happens reports this often.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Span,
    /// Help between the hosts of one site; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan: Option<lan::Settings>,
    /// An activation that takes longer is ended.
    #[serde(default = "default_activation_timeout")]
    pub activation_timeout: Span,
    /// After straight attempts failed for so long, hub and repository are asked through a relay.
    #[serde(default = "default_through_relay_after")]
    pub through_relay_after: Span,
    /// When the machine may be restarted for a new kernel, in its own time, unless host data says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_window: Option<Window>,
    /// A machine that was restarted has this long to come up with everything it does.
    #[serde(default = "default_boot_patience")]
    pub boot_patience: Span,
    /// After a switch tunnels and the hub have this long to come back.
    #[serde(default = "default_reach_patience")]
    pub reach_patience: Span,
    /// An uplink that seems to have died during a switch has this long to come back.
    #[serde(default = "default_uplink_patience")]
    pub uplink_patience: Span,
    /// Where the firmware's partition is mounted, if not at /boot/efi, /boot or /efi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<PathBuf>,
    /// A source that sends less than 100 bytes a second in a stream for so long is left for the next one.
    #[serde(default = "default_patience")]
    pub patience: Span,
    /// Whether old generations are given up when an update does not fit on the disk.
    #[serde(default = "default_collect")]
    pub collect: bool,
    /// Where secrets are opened into; in memory.
    #[serde(default = "default_secrets")]
    pub secrets: PathBuf,
    /// Groups that may read them.
    #[serde(default = "default_readers")]
    pub secrets_groups: Vec<String>,
    /// Where app configs are written.
    #[serde(default = "default_configs")]
    pub configs: PathBuf,
    /// Groups that may read them.
    #[serde(default = "default_readers")]
    pub configs_groups: Vec<String>,
    /// Who makes people's accounts.
    #[serde(default)]
    pub accounts: Accounts,
    /// The host's key as the tunnel's user can read it; by default `host-key`.
    #[serde(default)]
    pub tunnel_key: Option<PathBuf>,
}

/// Who makes people's accounts, their groups and sudo rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accounts {
    /// The agent, from host data.
    #[default]
    HostData,
    /// The system, as on NixOS; the agent places keys only.
    System,
}

fn default_through_relay_after() -> Span {
    Span::secs(reach::AFTER.as_secs())
}

fn default_root() -> PathBuf {
    "/".into()
}

fn default_host_key() -> PathBuf {
    "/etc/ssh/ssh_host_ed25519_key".into()
}

fn default_trust_root() -> PathBuf {
    "/etc/afield/root.json".into()
}

fn default_state() -> PathBuf {
    "/var/lib/afield".into()
}

fn default_interval() -> Span {
    Span::secs(300)
}

fn default_heartbeat() -> Span {
    Span::secs(900)
}

fn default_patience() -> Span {
    Span::secs(60)
}

fn default_collect() -> bool {
    true
}

fn default_activation_timeout() -> Span {
    Span::secs(900)
}

fn default_boot_patience() -> Span {
    Span::secs(300)
}

fn default_reach_patience() -> Span {
    Span::secs(180)
}

fn default_uplink_patience() -> Span {
    Span::secs(1800)
}

fn default_secrets() -> PathBuf {
    "/run/.secrets".into()
}

fn default_configs() -> PathBuf {
    "/run/.app_configs".into()
}

fn default_readers() -> Vec<String> {
    vec!["wheel".into()]
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct ConfigError {
    /// The file.
    pub path: String,
    /// What is wrong, where, and what to do.
    pub what: String,
}

impl Config {
    /// Reads and checks a file; needs nothing else of the host, so that a build can do it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError { path: path.display().to_string(), what };
        let bytes = files::read_limited(path, MAX_CONFIG).map_err(|e| wrong(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    /// Reads and checks the text of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.repositories.is_empty() {
            return Err("repositories is empty: name at least one place to fetch from".into());
        }
        for url in &self.repositories {
            if !["http://", "https://", "file:///"].iter().any(|s| url.starts_with(s)) {
                return Err(format!(
                    "repositories: {url:?} starts with none of http:// https:// file:///"
                ));
            }
        }
        if let Some(hub) = self.hub.as_ref().filter(|h| !h.starts_with("http")) {
            return Err(format!("hub: {hub:?} starts with neither http:// nor https://"));
        }
        let paths = [&self.root, &self.host_key, &self.trust_root, &self.state];
        let lan = self.lan.iter().flat_map(lan::Settings::paths);
        let paths = paths.into_iter().chain(&self.esp).chain([&self.secrets, &self.configs]);
        let mut paths = paths.map(PathBuf::as_path).chain(lan);
        if let Some(path) = paths.find(|p| !p.is_absolute()) {
            return Err(format!("{} is no absolute path", path.display()));
        }
        // They are replaced as a whole: what else lies there would be lost.
        for (key, path) in [("secrets", &self.secrets), ("configs", &self.configs)] {
            if !path.starts_with("/run") || path.components().count() < 3 {
                let path = path.display();
                return Err(format!("{key}: {path} is no folder of its own below /run"));
            }
        }
        self.lan.as_ref().map_or(Ok(()), lan::Settings::check)?;
        if self.interval.as_secs() == 0 {
            return Err("interval is 0s: give the host at least 1s between two check-ins".into());
        }
        Ok(())
    }

    /// A path of the host, as this process sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The agent's own folder, as this process sees it.
    pub fn state_dir(&self) -> PathBuf {
        self.inside(&self.state)
    }

    /// Whether the host is the machine itself, and not a folder.
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }
}
