//! Hosts of one site take objects from each other, so that each comes over the site's link once.
//!
//! Two parts with little between them. `afield-agent lan` runs without rights: it finds other hosts (`discover`), writes
//! down where they are, and serves a folder (`serve`). The agent puts into that folder what it has proved (`shelf`), and
//! asks the hosts that were written down before it asks outside (`gather`). No peer is trusted: what one sends counts
//! once its hash is that of the signed documents.

mod discover;
mod gather;
mod peers;
mod serve;
mod shelf;

use std::path::{Path, PathBuf};

use afield_core::span::Span;
use serde::{Deserialize, Serialize};

pub use gather::Lan;
pub use serve::run;
pub use shelf::Shelf;

/// `[lan]` in `agent.toml`: with it, hosts of one site help each other. Without it, nothing is served or asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// Port that objects are served on.
    pub port: u16,
    /// What is kept for others: the agent writes, the server reads.
    pub shelf: PathBuf,
    /// Where the server writes down whom it found.
    pub peers: PathBuf,
    /// At most so many MiB are kept for others.
    pub keep_mib: u64,
    /// Nothing is kept longer for others.
    pub keep: Span,
    /// A run waits at most so long in vain for what others say they are fetching.
    pub wait: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 8472,
            shelf: "/var/lib/afield-lan".into(),
            peers: "/run/afield-lan/peers.json".into(),
            keep_mib: 2048,
            keep: Span::secs(7 * 24 * 3600),
            wait: Span::secs(20 * 60),
        }
    }
}

impl Settings {
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        if self.wait.as_secs() > MAX_WAIT {
            return Err(format!(
                "lan.wait is longer than {}m, which looks like a hang to systemd's watchdog",
                MAX_WAIT / 60
            ));
        }
        Ok(())
    }

    /// The paths that must be absolute.
    pub fn paths(&self) -> [&Path; 2] {
        [&self.shelf, &self.peers]
    }
}

/// Keeps the shelf within its limits. One that cannot be tidied now is tidied at the next check-in.
pub fn tidy(config: &crate::config::Config) {
    if let Some(settings) = &config.lan {
        let _ = Shelf::new(config.inside(&settings.shelf), settings).tidy();
    }
}

/// What a host is fetching from outside right now, or about to; others wait for it instead of fetching it, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Fetching {
    /// Who says so. Of two that still look, the one with the lower name goes on.
    host: String,
    /// It has not begun: it still looks whether another wants the same.
    #[serde(default)]
    looks: bool,
    /// Hex digits of the objects' addresses.
    objects: Vec<String>,
    /// Seconds since it last made progress; set by the server.
    #[serde(default)]
    age: u64,
}

/// Longest `wait`, seconds: the agent's service is ended after a longer silence.
const MAX_WAIT: u64 = 30 * 60;
/// A claim without progress for so many seconds counts no more.
const STALE: u64 = 60;
/// A claim has at most this many bytes.
const MAX_CLAIM: u64 = 1024 * 1024;

/// Whether a name is an object's address; nothing else is ever served or asked for.
fn is_address(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether an address can be in a site's own network: nothing else is asked or answered.
fn is_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        std::net::IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| is_local(ip.into()));
            mapped || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback()
        }
    }
}
