//! The fleet folder as typed values, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use super::keys::PublicKey;
use super::node::Value;
use super::span::{Files, Located, Span};
use crate::host_plan::HostKind;
use crate::ids::{HostName, Name, UserName};
use crate::profile::Profile;

/// Everything that the fleet folder declares.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// The files that spans point into.
    pub files: Files,
    /// Hosts that have a file, by name.
    pub hosts: BTreeMap<HostName, Host>,
    /// `json/users.json`.
    pub people: People,
    /// `json/keys.json`: keys by person, in the order of the file.
    pub keys: BTreeMap<UserName, Located<Vec<UserKey>>>,
    /// `json/tunnels.d/*.json`: by host.
    pub tunnels: BTreeMap<HostName, Tunnel>,
    /// `json/relay-servers.json`.
    pub relays: Relays,
    /// `waves-and-staging-hosts.nix`; none if it could not be evaluated here.
    pub waves: Option<Waves>,
    /// App configs by name.
    pub configs: BTreeMap<String, FileEntry>,
    /// Secrets by name, as far as their files could be looked into.
    pub secrets: BTreeMap<String, FileEntry>,
    /// Files of secrets that stayed closed.
    pub sealed: Vec<Located<String>>,
    /// Deployment services by host; none if they are not known.
    pub services: Option<BTreeMap<HostName, BTreeSet<String>>>,
    /// What was not looked into, and why.
    pub unseen: Vec<Unseen>,
}

/// A part of the fleet folder that was not looked into.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unseen {
    /// The file or files, relative to the fleet folder.
    pub file: String,
    /// Why, as a sentence.
    pub why: String,
}

/// A host that has a file.
#[derive(Debug, Clone)]
pub struct Host {
    /// What runs there.
    pub kind: HostKind,
    /// Its file.
    pub span: Span,
}

/// `json/users.json`.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// Who has `admin` on every host.
    pub global_admins: Vec<Located<UserName>>,
    /// First day on which an account is closed.
    pub expires: BTreeMap<UserName, Located<Date>>,
    /// What is given on a host; the name may be of no host.
    pub per_host: BTreeMap<String, Entry>,
    /// What is given by a role.
    pub roles: BTreeMap<String, Entry>,
}

/// What a host or a role gives.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in the file.
    pub span: Span,
    /// `enable`.
    pub enable: Vec<Grant>,
    /// `enable_roles`.
    pub roles: Vec<Located<String>>,
    /// `enable_roles_with_profile`.
    pub roles_with_profile: Vec<(Located<String>, Located<ProfileName>)>,
}

/// A person and a profile.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who.
    pub user: Located<UserName>,
    /// What.
    pub profile: Located<ProfileName>,
}

/// A profile as it is written, which may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileName {
    /// One that exists.
    Known(Profile),
    /// One that does not.
    Unknown(String),
}

/// A key of a person.
#[derive(Debug, Clone)]
pub struct UserKey {
    /// The key.
    pub key: Located<PublicKey>,
    /// `keyOptions`.
    pub options: Vec<String>,
}

/// A host in `tunnels.d`.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// Its name in the file.
    pub span: Span,
    /// `remote_forward_port`; 0 for no tunnel.
    pub port: Located<u16>,
    /// Its key; none while it is being provisioned, or if it is no key.
    pub key: Option<Located<PublicKey>>,
    /// Whether the key is empty.
    pub provisioning: bool,
    /// `connectTimeout`, in seconds.
    pub connect_timeout: u32,
    /// `generate_secrets`.
    pub generate_secrets: bool,
    /// `generate_configs`.
    pub generate_configs: bool,
    /// `copy_key_to_users`.
    pub copy_key_to: Vec<Located<UserName>>,
    /// Tunnels by name; `ssh` is always there.
    pub reverse: BTreeMap<String, Reverse>,
}

impl Tunnel {
    /// The port on relays of one of its tunnels: 10000 × prefix + its own port.
    pub fn relay_port(&self, reverse: &Reverse) -> u16 {
        // At most 5 × 10000 + 9999, since both are checked when they are read.
        reverse.prefix.saturating_mul(10_000).saturating_add(self.port.value)
    }
}

/// A reverse tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Reverse {
    /// Its name in the file; for the `ssh` that is always there, the host's.
    pub span: Span,
    /// Times 10000 it is added to the host's port.
    pub prefix: u16,
    /// The port on the host.
    pub port: u16,
}

/// `json/relay-servers.json`.
#[derive(Debug, Clone, Default)]
pub struct Relays {
    /// The host key that all relays share.
    pub public_key: Option<Located<PublicKey>>,
    /// Relays by name.
    pub servers: BTreeMap<Name, RelayServer>,
}

/// A relay.
#[derive(Debug, Clone)]
pub struct RelayServer {
    /// Its name in the file.
    pub span: Span,
    /// Names or addresses.
    pub addresses: Vec<String>,
    /// Ports where its sshd listens.
    pub ports: Vec<u16>,
}

/// The waves and the staging hosts.
#[derive(Debug, Clone, Default)]
pub struct Waves {
    /// The hosts of each wave, in the order of upgrades: first, middle, final, latest.
    pub waves: [Vec<Located<String>>; 4],
    /// Hosts that follow the branch `staging`.
    pub staging: Vec<Located<String>>,
}

impl Waves {
    /// The attributes of the waves in `waves-and-staging-hosts.nix`, in the order of [`Waves::waves`].
    pub const ATTRIBUTES: [&'static str; 4] =
        ["firstWave", "middleWave", "finalWave", "latestWave"];

    /// The names of the waves, in the order of [`Waves::waves`].
    pub const NAMES: [&'static str; 4] = ["first", "middle", "final", "latest"];
}

/// An app config or a secret.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// Its name in the file.
    pub span: Span,
    /// Where it goes, below the folder for such files.
    pub path: Located<String>,
    /// What is in it; none for secrets, whose content is not kept.
    pub content: Option<Content>,
    /// Which hosts get it.
    pub servers: Vec<Located<String>>,
}

/// Content of an app config.
#[derive(Debug, Clone)]
pub enum Content {
    /// Text, as it should be.
    Text(Arc<str>),
    /// A number, truth value or date, which is kept as such in the generated file.
    Other(Value),
}
