//! What the host has without Afield: accounts and groups, programs, sshd's and sudo's own settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use afield_core::accounts::{self, Ids, People, RECORDS, System};
use afield_core::host_data::HostData;
use afield_store::files;

use super::sshd;
use crate::config::{Accounts, Config};
use crate::host::Host;
use crate::tree::takes_acl;

/// Files of the system that are read here have at most this many bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;
const SHELLS: [&str; 3] = ["/run/current-system/sw/bin/bash", "/bin/bash", "/bin/sh"];
const NOLOGIN: [&str; 3] =
    ["/run/current-system/sw/bin/nologin", "/usr/sbin/nologin", "/bin/false"];

/// Looks.
pub fn read(config: &Config) -> System {
    let first = |paths: &[&str]| {
        let there = paths.iter().find(|path| config.inside(Path::new(path)).exists());
        there.or(paths.last()).map(|path| (*path).to_owned()).unwrap_or_default()
    };
    let key = config.tunnel_key.as_ref().unwrap_or(&config.host_key);
    System {
        users: numbers(&config.inside(Path::new("/etc/passwd"))),
        groups: numbers(&config.inside(Path::new("/etc/group"))),
        shell: first(&SHELLS),
        nologin: first(&NOLOGIN),
        tunnel_key: key.display().to_string(),
        has_accounts: config.accounts == Accounts::System,
    }
}

/// Name and number in the form of passwd(5) and group(5): `name:x:number:…`.
fn numbers(file: &Path) -> BTreeMap<String, u32> {
    let fields = |line: &str| -> Option<(String, u32)> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?))
    };
    text(file).lines().filter_map(fields).collect()
}

/// A text file of the system or of a person; empty if it is not there, or no file.
pub fn text(file: &Path) -> String {
    let bytes = files::read_regular(file, MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A JSON file; nothing if it is none, or a link.
pub fn record(file: &Path) -> serde_json::Value {
    let regular = fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file());
    let bytes = regular.then(|| files::read_limited(file, MAX_FILE).ok()).flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Paths of what is directly in a folder of the host, as the host sees them.
pub fn listed(config: &Config, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(config.inside(Path::new(folder))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
    paths.sort();
    paths
}

/// Numbers that are not to be given out: somebody has them, or files belong to them.
pub fn taken(config: &Config, system: &System) -> BTreeSet<u32> {
    let mut taken: BTreeSet<u32> =
        system.users.values().chain(system.groups.values()).copied().collect();
    let homes = fs::read_dir(config.inside(Path::new("/home"))).into_iter().flatten().flatten();
    taken.extend(homes.filter_map(|entry| Some(entry.metadata().ok()?.uid())));
    taken.retain(|id| Ids::is_ours(*id));
    taken
}

/// Numbers of groups, those without one left out.
pub fn groups(config: &Config, names: &[String]) -> BTreeMap<String, u32> {
    groups_of(&config.root, names)
}

/// The same below a root folder. A group is the system's, or one that the agent made.
pub fn groups_of(root: &Path, names: &[String]) -> BTreeMap<String, u32> {
    let system = numbers(&root.join("etc/group"));
    let number = |name: &String| -> Option<u32> {
        if let Some(gid) = system.get(name) {
            return Some(*gid);
        }
        // A name is a name: with a slash it would be a path.
        name.parse::<afield_core::ids::UserName>().ok()?;
        let records = root.join(RECORDS.trim_start_matches('/'));
        let gid = record(&records.join(format!("{name}.group"))).get("gid")?.as_u64()?;
        u32::try_from(gid).ok()
    };
    names.iter().filter_map(|name| Some((name.clone(), number(name)?))).collect()
}

/// A program of the machine, also one that is on no path of a service's.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/run/current-system/sw/bin", "/usr/sbin", "/usr/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What is declared and does nothing here.
pub fn without_effect(
    host: &Host,
    data: &HostData,
    people: &People<'_>,
    system: &System,
) -> Vec<String> {
    let config = &host.config;
    let mut said = Vec::new();
    for (what, folder, names) in [
        ("secrets", &config.secrets, &config.secrets_groups),
        ("app configs", &config.configs, &config.configs_groups),
    ] {
        let there = groups(config, names);
        for name in names.iter().filter(|name| !there.contains_key(*name)) {
            said.push(format!("there is no group {name}, so it does not read the {what}"));
        }
        let folder = config.inside(folder);
        if folder.exists() && !names.is_empty() && !takes_acl(&folder) {
            let folder = folder.display();
            said.push(format!(
                "{folder} is on a file system without ACLs, so that root alone reads the {what}"
            ));
        }
    }
    let relay = data.relay.is_some().then_some(["tunnel", "tunneller"]);
    for account in relay.into_iter().flatten().filter(|name| !system.users.contains_key(*name)) {
        said.push(format!("there is no account {account}: `afield relay config` makes it"));
    }
    let sudo = people.active.values().any(accounts::Person::has_sudo);
    if sudo && config.is_machine() && config.accounts == Accounts::HostData {
        said.extend(sudo_is_deaf(&text(&config.inside(Path::new("/etc/sudoers")))));
    }
    if config.is_machine() && config.accounts == Accounts::HostData && !people.active.is_empty() {
        let switch = text(Path::new("/etc/nsswitch.conf"));
        let mut passwd = switch.lines().filter(|line| line.starts_with("passwd:"));
        if !passwd.any(|line| line.contains("systemd")) {
            said.push("nss-systemd is not in /etc/nsswitch.conf, so nobody finds the accounts; install libnss-systemd".into());
        }
    }
    if config.is_machine() {
        said.extend(sshd::is_deaf(data, people));
    }
    said
}

fn sudo_is_deaf(sudoers: &str) -> Option<String> {
    let includes = |line: &str| {
        let line = line.trim();
        ["@includedir", "#includedir"].iter().any(|word| line.starts_with(word))
            && line.ends_with("/etc/sudoers.d")
    };
    match sudoers {
        "" => Some("there is no sudo here, so the sudo rules do nothing".into()),
        text if text.lines().any(includes) => None,
        _ => Some(
            "/etc/sudoers does not include /etc/sudoers.d, so the sudo rules do nothing".into(),
        ),
    }
}
