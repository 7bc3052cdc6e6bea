//! Unit files that somebody wrote, changed or removed by hand. What the last release left is remembered when it is
//! recorded; what differs from that is told by name at each check-in. Nothing is put back here: a file of the
//! distribution's or of an administrator's is not the agent's. Files of system-manager are put back by its contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use afield_core::ids::ObjectId;
use afield_store::files;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::host::Host;

/// Where administrators and tools put units. What systemd generates at each boot is in other folders.
const FOLDERS: [&str; 3] =
    ["/etc/systemd/system", "/etc/systemd/system.control", "/run/systemd/system.control"];
/// `NAME.service.d/override.conf` is this deep.
const DEPTH: usize = 2;
/// More files than this are not looked at, nor is more of one.
const MAX_FILES: usize = 10_000;
const MAX_FILE: u64 = 256 * 1024;
const MAX_MEMORY: u64 = 4 * 1024 * 1024;
const FORMAT: u32 = 1;

/// Path and what stands there: the hash of a file, the target of a link.
type Found = BTreeMap<String, String>;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    format: u32,
    /// As the last release left them.
    files: Found,
    /// As they were seen since, where that differs; none: it is gone.
    edited: BTreeMap<String, Option<String>>,
}

/// What differs from what the last release left, in sentences.
pub fn drift(host: &Host) -> Vec<String> {
    let Some(mut memory) = remembered(host) else { return Vec::new() };
    let now = find(&host.config);
    let names = memory.files.keys().chain(now.keys()).cloned();
    let differs = |name: &String| memory.files.get(name) != now.get(name);
    let edited =
        names.filter(differs).map(|name| (name.clone(), now.get(&name).cloned())).collect();
    let told = |(name, is): (&String, &Option<String>)| {
        let how = match (memory.files.contains_key(name), is) {
            (_, None) => "is gone",
            (true, Some(_)) => "was changed",
            (false, Some(_)) => "was added",
        };
        format!("drift: the unit file {name} {how}")
    };
    let sentences = BTreeMap::iter(&edited).map(told).collect();
    if edited != memory.edited {
        memory.edited = edited;
        // If this is lost, the next check-in sees the same again.
        let _ = write(host, &memory);
    }
    sentences
}

/// A release was recorded: what it left is what is compared with from now on. What was edited before it came, and which
/// it did not touch, stays an edit.
pub fn remember(host: &Host) -> anyhow::Result<()> {
    let old = remembered(host).unwrap_or_default();
    let mut files = find(&host.config);
    let mut edited = old.edited;
    edited.retain(|name, seen| files.get(name) == seen.as_ref());
    for name in edited.keys() {
        match old.files.get(name) {
            Some(was) => files.insert(name.clone(), was.clone()),
            None => files.remove(name),
        };
    }
    write(host, &Memory { format: FORMAT, files, edited })
}

fn write(host: &Host, memory: &Memory) -> anyhow::Result<()> {
    Ok(files::write_atomic(&host.own("unit-files.json"), &serde_json::to_vec(memory)?)?)
}

/// None before the first release, and if it cannot be read: then the next one begins anew.
fn remembered(host: &Host) -> Option<Memory> {
    let bytes = files::read_if_there(&host.own("unit-files.json"), MAX_MEMORY).ok()??;
    serde_json::from_slice(&bytes).ok().filter(|memory: &Memory| memory.format == FORMAT)
}

fn find(config: &Config) -> Found {
    let mut found = Found::new();
    for folder in FOLDERS {
        walk(config, Path::new(folder), DEPTH, &mut found);
    }
    found
}

fn walk(config: &Config, folder: &Path, depth: usize, found: &mut Found) {
    for entry in fs::read_dir(config.inside(folder)).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), folder.join(entry.file_name()));
        if found.len() >= MAX_FILES {
            return;
        }
        let what = match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => {
                walk(config, &name, depth - 1, found);
                continue;
            }
            Ok(kind) if kind.is_symlink() => {
                fs::read_link(&path).ok().map(|to| to.display().to_string())
            }
            Ok(kind) if kind.is_file() => {
                files::read_limited(&path, MAX_FILE).ok().map(|bytes| ObjectId::of(&bytes).hex())
            }
            _ => None,
        };
        found.extend(what.map(|what| (name.display().to_string(), what)));
    }
}
