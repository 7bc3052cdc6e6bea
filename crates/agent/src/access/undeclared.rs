//! Ways into the host that nobody declared: told by name, and left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use afield_core::accounts::{People, Placed, RECORDS, SUDOERS, body};
use afield_core::host_data::HostData;

use super::system::{MAX_FILE, listed, text};
use crate::config::Config;

/// Groups that let in, or give root.
const POWERFUL: [&str; 4] = ["wheel", "sudo", "ssh-users", "docker"];
/// Accounts from this number on are people's (Debian policy, 9.2.2).
const FIRST_PERSON: u32 = 1000;
const NOBODY: u32 = 65534;

/// Everything that was found.
pub fn find(
    config: &Config,
    data: &HostData,
    people: &People<'_>,
    wanted: &[Placed],
) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(logins(config, people));
    found.extend(members(config, people));
    found.extend(key_files(config, people, data));
    let ours: BTreeSet<&str> = wanted.iter().map(|placed| placed.path.as_str()).collect();
    let records = listed(config, RECORDS);
    let records = records.iter().filter(|path| !ours.contains(path.as_str()) && !staged(path));
    found.extend(records.map(|path| format!("the account record {path}")));
    let rules = listed(config, "/etc/sudoers.d");
    let rules = rules.iter().filter(|path| *path != SUDOERS && gives_rights(config, path));
    found.extend(rules.map(|path| format!("sudo rules in {path}")));
    found
}

fn staged(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Accounts of `/etc/passwd` that are root, or people's with a shell.
fn logins(config: &Config, people: &People<'_>) -> Vec<String> {
    let passwd = text(&config.inside(Path::new("/etc/passwd")));
    let mut found = Vec::new();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields[..] else {
            continue;
        };
        let Ok(uid) = uid.parse::<u32>() else {
            continue;
        };
        let closed = ["nologin", "false", "sync"].iter().any(|end| shell.ends_with(end));
        if uid == 0 && name != "root" {
            found.push(format!("the account {name} is root under another name"));
        } else if uid >= FIRST_PERSON
            && uid != NOBODY
            && !closed
            && !people.active.contains_key(name)
        {
            found.push(format!("the account {name} has a shell ({shell})"));
        }
    }
    found
}

/// Members of groups in `/etc/group` whose profile does not say so.
fn members(config: &Config, people: &People<'_>) -> Vec<String> {
    let group = text(&config.inside(Path::new("/etc/group")));
    let mut found = Vec::new();
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, _, _, members] = fields[..] else {
            continue;
        };
        if !POWERFUL.contains(&group) {
            continue;
        }
        // What Debian calls sudo is wheel elsewhere.
        let right = if group == "sudo" { "wheel" } else { group };
        let declared = |name: &str| {
            let person = people.active.get(name);
            person.is_some_and(|person| person.rights.all_groups().contains(&right))
        };
        let own = ["root", "tunnel", "tunneller"];
        let extra = members
            .split(',')
            .filter(|name| !name.is_empty() && !own.contains(name) && !declared(name));
        found.extend(extra.map(|name| format!("{name} is in the group {group}")));
    }
    found
}

/// Keys in files that sshd may read besides ours. Those that come with the system as links into the store are declared
/// there, and are for the day when the agent is broken.
fn key_files(config: &Config, people: &People<'_>, data: &HostData) -> Vec<String> {
    let mut files: Vec<(String, String)> = Vec::new();
    for path in listed(config, "/etc/ssh/authorized_keys.d") {
        let account = path.rsplit('/').next().unwrap_or_default().to_owned();
        files.push((account, path));
    }
    for home in listed(config, "/home").into_iter().chain(["/root".to_owned()]) {
        let account = home.rsplit('/').next().unwrap_or_default().to_owned();
        for name in ["authorized_keys", "authorized_keys2"] {
            files.push((account.clone(), format!("{home}/.ssh/{name}")));
        }
    }
    let mut found = Vec::new();
    for (account, path) in files {
        let full = config.inside(Path::new(&path));
        let Ok(meta) = fs::symlink_metadata(&full) else {
            continue;
        };
        let regular = meta.is_file() && meta.len() <= MAX_FILE;
        if meta.is_symlink() && from_store(&full) || !(regular || meta.is_symlink()) {
            continue;
        }
        let declared = declared_keys(&account, people, data);
        let file = text(&full);
        let keys = file.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(body);
        match keys.filter(|key| !declared.contains(key)).count() {
            0 => {}
            n => found.push(format!("{n} keys for {account} in {path}")),
        }
    }
    found
}

/// Whether a link is one that comes with a system, as NixOS and system-manager make them.
fn from_store(link: &Path) -> bool {
    let target = fs::read_link(link).unwrap_or_default();
    target.starts_with("/nix/store") || target.starts_with("/etc/static")
}

fn declared_keys<'a>(account: &str, people: &People<'a>, data: &'a HostData) -> BTreeSet<&'a str> {
    let lines: Vec<&String> = match (account, &data.relay) {
        ("root", _) => {
            let admins = people.active.values().filter(|person| person.rights.root_keys);
            admins.flat_map(|person| person.keys).collect()
        }
        ("tunnel", Some(relay)) => relay.tunnel.iter().collect(),
        ("tunneller", Some(relay)) => relay.tunneller.iter().collect(),
        _ => people.active.get(account).into_iter().flat_map(|person| person.keys).collect(),
    };
    lines.into_iter().filter_map(|line| body(line)).collect()
}

/// Whether a file in sudoers.d says anything to sudo: it passes over names with a dot, and comments.
fn gives_rights(config: &Config, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let full = config.inside(Path::new(path));
    if name.contains('.') || name.ends_with('~') || from_store(&full) {
        return false;
    }
    text(&full).lines().map(str::trim).any(|line| {
        let comment = line.starts_with('#') && !line.starts_with("#include");
        !line.is_empty() && !comment && !line.starts_with("Defaults")
    })
}
