//! What host data means on a host: every file, link and folder with content, mode and owner.
//!
//! [`wanted`] is pure. The agent carries the same list out that it compares for drift, so that nothing can be managed
//! and not watched, or the other way round.
//!
//! Accounts are systemd's JSON records (systemd.io/USER_RECORD, GROUP_RECORD) in `/etc/userdb`, where nss-systemd finds
//! them without any service, also before the agent runs. An account that comes with the system is left to it.

mod ids;
mod keys;
mod principals;
mod records;
mod sudo;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::host_data::HostData;
use crate::profile::{Profile, Rights, Sudo};

pub use ids::{Ids, NoIds};
pub use keys::body;

/// What sshd and the tunnel read; the agent's own folder is for root alone.
pub const FOLDER: &str = "/var/lib/afield-access";
/// Where sshd looks for the keys of host data. All of it is the agent's: what else lies there goes.
pub const KEYS: &str = "/var/lib/afield-access/authorized_keys.d";
/// Where sshd looks for the principals of certificates that open an account. All of it is the agent's.
pub const PRINCIPALS: &str = "/var/lib/afield-access/authorized_principals.d";
/// The SSH CAs whose certificates count.
pub const USER_CA: &str = "/var/lib/afield-access/user_ca.pub";
/// What `afield-agent tunnel` reads.
pub const TUNNEL: &str = "/var/lib/afield-access/tunnel.json";
/// Where nss-systemd looks for accounts; others may keep records there too.
pub const RECORDS: &str = "/etc/userdb";
/// What sudo reads; a name with a dot would be passed over by it.
pub const SUDOERS: &str = "/etc/sudoers.d/afield";
/// Groups that Afield's rules speak of, made if the system has none of that name.
pub const GROUPS: [&str; 5] =
    ["wheel", "ssh-users", "ssh-fwd-tun-users", "ssh-rev-tun-users", "shell-users"];

/// Something that stands in one place on the host. The owner is root, unless it is a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Absolute.
    pub path: String,
    /// What it is.
    pub what: What,
}

/// What stands in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A folder with this mode.
    Folder(u32),
    /// A file with this content and mode.
    File(String, u32),
    /// A link with this target.
    Link(String),
    /// A person's home with this owner and group. Once it is there, it is the person's.
    Home(u32),
}

impl Placed {
    /// Whether it goes when it is not wanted any more; folders and homes stay.
    pub fn is_removable(&self) -> bool {
        matches!(self.what, What::File(..) | What::Link(_))
    }

    fn file(path: String, content: impl Into<String>, mode: u32) -> Self {
        Self { path, what: What::File(content.into(), mode) }
    }
}

/// What the host has without Afield, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// Accounts of `/etc/passwd`: name to uid.
    pub users: BTreeMap<String, u32>,
    /// Groups of `/etc/group`: name to gid.
    pub groups: BTreeMap<String, u32>,
    /// A shell that is there.
    pub shell: String,
    /// A program that refuses logins.
    pub nologin: String,
    /// The path of the host's private key, as the tunnel can read it.
    pub tunnel_key: String,
    /// Whether accounts, groups and sudo rules come with the system, as on NixOS; then only keys are placed.
    pub has_accounts: bool,
}

/// Who may log in today, and what is to be told about the others.
#[derive(Debug, Default)]
pub struct People<'a> {
    /// By name.
    pub active: BTreeMap<&'a str, Person<'a>>,
    /// Whose access ended, and when.
    pub ended: BTreeMap<&'a str, Date>,
    /// Profiles that this version does not know, by person.
    pub unknown: BTreeMap<&'a str, &'a str>,
}

/// Someone who may log in today.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// The rights.
    pub rights: Rights,
    /// Lines of `authorized_keys`.
    pub keys: &'a [String],
    /// The first day on which the account is closed.
    pub expires: Option<Date>,
}

impl Person<'_> {
    /// Whether the account may do something with sudo.
    pub fn has_sudo(&self) -> bool {
        self.rights.sudo != Sudo::No || self.rights.starts_deployments
    }
}

/// Who may log in on this day.
pub fn people(data: &HostData, today: Date) -> People<'_> {
    let mut people = People::default();
    for (name, access) in &data.access {
        let Ok(profile) = access.profile.parse::<Profile>() else {
            people.unknown.insert(name, &access.profile);
            continue;
        };
        let rights = profile.rights();
        // A day that cannot be read was refused before; closed is the safe side.
        let expires = access.expires.as_ref().map(|day| day.parse().unwrap_or(Date::MIN));
        match expires.filter(|day| *day <= today) {
            Some(day) => drop(people.ended.insert(name, day)),
            None if rights.relays_only && data.relay.is_none() => {}
            None => {
                let person = Person { rights, keys: &access.keys, expires };
                people.active.insert(name, person);
            }
        }
    }
    people
}

/// The accounts and groups that need a number of their own on this host, beyond those that the system has.
pub fn need_ids<'a>(
    people: &People<'a>,
    system: &System,
) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    if system.has_accounts {
        return (BTreeSet::new(), BTreeSet::new());
    }
    let users = people.active.keys().copied().filter(|name| !system.users.contains_key(*name));
    let groups = GROUPS.into_iter().filter(|name| !system.groups.contains_key(*name));
    (users.collect(), groups.collect())
}

/// Everything that must stand on the host today, folders before what is in them.
pub fn wanted(data: &HostData, people: &People<'_>, system: &System, ids: &Ids) -> Vec<Placed> {
    let mut placed = vec![
        Placed { path: FOLDER.into(), what: What::Folder(0o755) },
        Placed { path: KEYS.into(), what: What::Folder(0o755) },
    ];
    if !system.has_accounts {
        placed.push(Placed { path: RECORDS.into(), what: What::Folder(0o755) });
        placed.extend(records::groups(system, ids));
        for (name, person) in &people.active {
            placed.extend(records::person(name, person, system, ids));
        }
        let rules = sudo::rules(people, &data.deployments);
        placed.extend(rules.map(|text| Placed::file(SUDOERS.into(), text, 0o440)));
    }
    let lines = keys::files(people, data.relay.as_ref());
    let key_file = |(account, text): (&str, String)| {
        // sshd reads it with the rights of whoever logs in.
        Placed::file(format!("{KEYS}/{account}"), text, 0o644)
    };
    placed.extend(lines.into_iter().map(key_file));
    placed.extend(principals::placed(data, people));
    if let Some(tunnel) = &data.tunnel {
        let mut tunnel = tunnel.clone();
        tunnel.key.clone_from(&system.tunnel_key);
        let text = serde_json::to_string_pretty(&tunnel).unwrap_or_default();
        placed.push(Placed::file(TUNNEL.into(), text + "\n", 0o644));
    }
    placed
}
