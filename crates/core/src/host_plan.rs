//! What one host is given: who may do what on it and why, its tunnels, files, wave and branch.
//!
//! `fleet::resolve` makes it; signed, it is the host data that the agent applies. Every list and map is in a fixed
//! order, so that the same fleet gives the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, UserName};
use crate::profile::Profile;

/// Everything that the fleet folder says about one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Whose plan this is.
    pub host: HostName,
    /// What runs there.
    pub kind: HostKind,
    /// The wave, such as `first`; none if the waves are not known.
    pub wave: Option<Name>,
    /// The branch of the fleet's repository that it follows.
    pub branch: Branch,
    /// People (and `robot`), by name.
    pub access: BTreeMap<UserName, Access>,
    /// Its reverse tunnels; none if it has no port.
    pub tunnel: Option<TunnelPlan>,
    /// All relays, by name.
    pub relays: Arc<BTreeMap<Name, Relay>>,
    /// Set on relays: who may listen, and who may pass.
    pub relay_keys: Option<Arc<RelayKeys>>,
    /// App configs by name.
    pub configs: BTreeMap<String, AppConfig>,
    /// Names of its secrets, sorted; none if the secrets could not be looked into.
    pub secrets: Option<Vec<String>>,
    /// Its deployment services, sorted; none if they are not known without Nix.
    pub services: Option<Vec<String>>,
}

/// What runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// NixOS, declared in `hosts/`.
    Nixos,
    /// Ubuntu with system-manager, declared in `hosts/ubuntu/`.
    Ubuntu,
}

impl HostKind {
    /// `nixos` or `ubuntu`.
    pub fn name(self) -> &'static str {
        match self {
            HostKind::Nixos => "nixos",
            HostKind::Ubuntu => "ubuntu",
        }
    }
}

/// Branch of the fleet's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// For hosts in `stagingHosts`.
    Staging,
    /// For all others.
    Main,
}

impl Branch {
    /// `staging` or `main`.
    pub fn name(self) -> &'static str {
        match self {
            Branch::Staging => "staging",
            Branch::Main => "main",
        }
    }
}

/// What one person may do on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The rights.
    pub profile: Profile,
    /// Why: each way that gives the profile, at most [`MAX_WAYS`].
    pub via: Vec<Via>,
    /// The keys that open the account; empty for a person without keys.
    pub keys: Arc<[AuthorizedKey]>,
    /// The first day on which the account is closed; none for ever, and for global admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
}

/// The most ways kept for one person and profile; a mesh of roles has exponentially many.
pub const MAX_WAYS: usize = 8;

/// One way in which a person comes to a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Via {
    /// Named in `global_admins`.
    GlobalAdmin,
    /// Every host has the account.
    BuiltIn,
    /// Named in the host's `enable`.
    Direct,
    /// Through roles.
    Roles {
        /// From the host's role to the one that names the person.
        path: Vec<String>,
        /// The profile that `enable_roles_with_profile` puts in place of the role's own.
        #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
        as_profile: Option<Profile>,
    },
}

/// A line of an `authorized_keys` file, without its comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizedKey {
    /// OpenSSH options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Type and body, separated by a space.
    pub key: String,
}

impl AuthorizedKey {
    /// `options type body comment`, as it stands in the file, without a line end.
    pub fn line(&self, comment: &str) -> String {
        match self.options.is_empty() {
            true => format!("{} {comment}", self.key),
            false => format!("{} {} {comment}", self.options.join(","), self.key),
        }
    }
}

/// Reverse tunnels of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelPlan {
    /// The key by which relays know it; none while it is being provisioned.
    pub key: Option<String>,
    /// Its own port, 2000 to 9999.
    pub port: u16,
    /// Seconds to wait for a connection.
    pub connect_timeout: u32,
    /// Tunnels by name; `ssh` is always there.
    pub tunnels: BTreeMap<String, ReverseTunnel>,
}

/// One forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReverseTunnel {
    /// Port on every relay: 10000 × prefix + the host's own port.
    pub relay_port: u16,
    /// Port on the host.
    pub local_port: u16,
}

/// A relay as hosts see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Names or addresses, to be tried in turn.
    pub addresses: Vec<String>,
    /// Ports where its sshd listens.
    pub ports: Vec<u16>,
    /// Its SSH host key, which all relays share.
    pub public_key: String,
}

/// The two accounts of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayKeys {
    /// Lines of `tunnel`'s authorized_keys: one per host that may listen.
    pub tunnel: Vec<String>,
    /// Lines of `tunneller`'s authorized_keys: one per key of a person who may pass.
    pub tunneller: Vec<String>,
}

/// A file for an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppConfig {
    /// Where it goes, below `/run/.app_configs/`.
    pub path: String,
    /// What is in it.
    pub content: Arc<str>,
}
