//! Rules about app configs and secrets (spec "fleet folder" §4).

use std::collections::{BTreeMap, BTreeSet};

use super::super::codes;
use super::super::finding::Findings;
use super::super::model::{FileEntry, Fleet};
use super::super::node::nearest;

type Entries = BTreeMap<String, FileEntry>;

pub(super) fn check(fleet: &Fleet, findings: &mut Findings) {
    let mut known: BTreeSet<&str> = fleet.hosts.keys().map(|host| host.as_str()).collect();
    known.extend(fleet.tunnels.keys().map(|host| host.as_str()));
    for (entries, word) in [(&fleet.configs, "app config"), (&fleet.secrets, "secret")] {
        servers(entries, word, &known, findings);
        paths(entries, word, findings);
        same_paths(entries, word, findings);
    }
    unused(fleet, &known, findings);
    not_sealed(fleet, findings);
}

fn servers(entries: &Entries, word: &str, known: &BTreeSet<&str>, findings: &mut Findings) {
    let names: Vec<&str> = known.iter().copied().collect();
    for (name, entry) in entries {
        let mut seen = BTreeSet::new();
        for server in &entry.servers {
            if !seen.insert(&server.value) {
                let message = format!("the {word} {name} names {} twice", server.value);
                findings.add(codes::FILE_SERVER_TWICE, server.span, message);
            } else if !known.contains(server.value.as_str()) {
                let message = format!(
                    "the {word} {name} is for {:?}, and there is no such host",
                    server.value
                );
                let finding = findings.add(codes::FILE_UNKNOWN_HOST, server.span, message);
                if let Some(near) = nearest(&server.value, &names) {
                    finding.remedy(format!("Is {near} meant? Correct the name, or remove it."));
                }
            }
        }
    }
}

fn paths(entries: &Entries, word: &str, findings: &mut Findings) {
    for (name, entry) in entries {
        let path = entry.path.value.as_str();
        let why = if path.starts_with('/') {
            "is absolute"
        } else if path.split('/').any(|part| part == "..") {
            "leaves its folder"
        } else if path.ends_with('/') || parts(path).is_empty() {
            "names a folder"
        } else if path.contains(char::is_control) {
            "has a control character"
        } else {
            continue;
        };
        let message = format!("the path {path:?} of the {word} {name} {why}");
        findings.add(codes::FILE_BAD_PATH, entry.path.span, message);
    }
}

/// The parts of a path, without `.` and doubled slashes.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// Two files for one place on a host, told once for each pair, however many hosts it concerns.
fn same_paths(entries: &Entries, word: &str, findings: &mut Findings) {
    let mut by_host: BTreeMap<&str, Vec<(Vec<&str>, &String)>> = BTreeMap::new();
    for (name, entry) in entries {
        let hosts: BTreeSet<&str> = entry.servers.iter().map(|s| s.value.as_str()).collect();
        for host in hosts {
            by_host.entry(host).or_default().push((parts(&entry.path.value), name));
        }
    }
    let mut pairs: BTreeMap<(&String, &String), Vec<&str>> = BTreeMap::new();
    for (host, mut files) in by_host {
        files.sort();
        // In this order the folder of a path comes before the path, with nothing between but its other contents.
        let mut above: Vec<usize> = Vec::new();
        for at in 0..files.len() {
            let below = |folder: &usize| files[at].0.starts_with(&files[*folder].0);
            while above.last().is_some_and(|folder| !below(folder)) {
                above.pop();
            }
            if let Some(folder) = above.last() {
                pairs.entry((files[*folder].1, files[at].1)).or_default().push(host);
            }
            if !files[at].0.is_empty() {
                above.push(at);
            }
        }
    }
    for ((first, second), hosts) in pairs {
        let (Some(one), Some(two)) = (entries.get(first), entries.get(second)) else {
            continue;
        };
        let path = &two.path.value;
        let more = match hosts.len() {
            1 => String::new(),
            count => format!(" and {} other hosts", count - 1),
        };
        let message =
            format!("the {word}s {first} and {second} both write {path:?} on {}{more}", hosts[0]);
        findings
            .add(codes::FILE_PATH_TWICE, two.path.span, message)
            .other(one.path.span, "and here");
    }
}

fn unused(fleet: &Fleet, known: &BTreeSet<&str>, findings: &mut Findings) {
    for (name, entry) in &fleet.configs {
        let gets = |server: &str| {
            let tunnel = server.parse().ok().and_then(|host| fleet.tunnels.get(&host));
            known.contains(server) && tunnel.is_none_or(|tunnel| tunnel.generate_configs)
        };
        if !entry.servers.iter().any(|server| gets(&server.value)) {
            let message = format!("no host gets the app config {name}");
            findings.add(codes::FILE_UNUSED, entry.span, message);
        }
    }
}

fn not_sealed(fleet: &Fleet, findings: &mut Findings) {
    for (name, entry) in &fleet.secrets {
        for server in &entry.servers {
            let tunnel = server.value.parse().ok().and_then(|host| fleet.tunnels.get(&host));
            if tunnel.is_some_and(|tunnel| tunnel.provisioning) {
                let message =
                    format!("{} has no key, and does not get the secret {name}", server.value);
                findings.add(codes::SECRET_NOT_SEALED, server.span, message);
            }
        }
    }
}
