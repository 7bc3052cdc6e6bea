//! Whether a system of system-manager is in force. Its `activate` leaves no link behind, passes over files
//! that somebody else put into its place, and ends with status 0 although a unit did not start. But its
//! toplevel says what should be there (`etcFiles/etcFiles.json`, `services/services.json`), and its own state
//! what it believes it did.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use afield_core::ids::StorePath;
use afield_store::files;
use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::{install, nix, units};

/// Where it keeps its state.
const STATE: &str = "/var/lib/system-manager/state/system-manager-state.json";
/// No file of these is longer.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// A tree of more files is no `/etc`.
const MAX_FILES: usize = 20_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EtcFiles {
    entries: BTreeMap<String, Entry>,
    static_env: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Entry {
    source: PathBuf,
    target: PathBuf,
    mode: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    #[serde(default)]
    store_path: Option<String>,
    #[serde(default)]
    masked: bool,
}

#[derive(Debug, Default, Deserialize)]
struct State {
    #[serde(default)]
    services: BTreeMap<String, Service>,
}

/// What is not as a system says, each by name. Empty if it is in force.
pub fn differences(config: &Config, system: &StorePath) -> Vec<String> {
    let mut found = Vec::new();
    if let Err(e) = compare(config, Path::new(system.as_str()), &mut found) {
        found.push(format!("{system}: {e:#}"));
    }
    found
}

/// Moves aside what `afield-agent install` wrote where a system brings a file of its own: the system would pass over it,
/// and never be in force. What anybody else wrote stays, and fails the release by name. Returns what was moved.
pub fn make_way(config: &Config, system: &StorePath) -> anyhow::Result<Vec<PathBuf>> {
    let system = Path::new(system.as_str());
    let etc: EtcFiles = read(config, &system.join("etcFiles/etcFiles.json"))?;
    let (mut targets, mut moved) = (Vec::new(), Vec::new());
    walk(config, &etc.static_env, Path::new(""), &mut targets)?;
    let copied = etc.entries.into_values().filter(|entry| entry.mode != "symlink");
    targets.extend(copied.map(|entry| entry.target));
    for target in targets {
        let path = Path::new("/etc").join(target);
        let full = config.inside(&path);
        if install::wrote(&path, &full) {
            let mut aside = full.clone().into_os_string();
            aside.push(".from-install");
            fs::rename(&full, aside).with_context(|| full.display().to_string())?;
            moved.push(path);
        }
    }
    Ok(moved)
}

/// The tunnel goes over to the unit that took the place of the installation's: the engine starts it, and something of this
/// name runs already. The agent goes over by itself.
pub fn hand_over(config: &Config, moved: &[PathBuf]) {
    let tunnel = moved.iter().any(|path| path.ends_with("afield-tunnel.service"));
    if tunnel && units::run_the_host(config) {
        // What comes of it is seen by the proof: a unit that failed, a host that is out of reach.
        let _ = nix::run(&mut units::systemctl(&["try-restart", "afield-tunnel.service"]));
    }
}

fn compare(config: &Config, system: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    let etc: EtcFiles = read(config, &system.join("etcFiles/etcFiles.json"))?;
    let units: BTreeMap<String, Service> = read(config, &system.join("services/services.json"))?;
    let mut links = Vec::new();
    walk(config, &etc.static_env, Path::new(""), &mut links)?;
    for link in &links {
        let (is, wanted) = (Path::new("/etc").join(link), etc.static_env.join(link));
        if resolve(config, &is).ok() != Some(resolve(config, &wanted)?) {
            found.push(format!("{} is not that of the system", is.display()));
        }
    }
    for entry in etc.entries.values().filter(|entry| entry.mode != "symlink") {
        let (is, from) = (Path::new("/etc").join(&entry.target), entry.source.join(&entry.target));
        if !is_copy(config, &is, &from, &entry.mode)? {
            found.push(format!("{} is not that of the system", is.display()));
        }
    }
    let state = files::read_if_there(&config.inside(Path::new(STATE)), MAX_FILE)?;
    let state = state.map(|s| serde_json::from_slice::<State>(&s)).transpose().context(STATE)?;
    let done = state.unwrap_or_default().services;
    let differ = |name: &&String| units.get(*name) != done.get(*name);
    let mut names: Vec<&String> = units.keys().chain(done.keys()).filter(differ).collect();
    names.dedup();
    found.extend(names.into_iter().map(|name| format!("{name} is not that of the system")));
    Ok(())
}

fn read<T: DeserializeOwned>(config: &Config, path: &Path) -> anyhow::Result<T> {
    let at = || path.display().to_string();
    let real = resolve(config, path).with_context(at)?;
    let bytes = files::read_limited(&config.inside(&real), MAX_FILE).with_context(at)?;
    serde_json::from_slice(&bytes).with_context(at)
}

fn is_copy(config: &Config, is: &Path, from: &Path, mode: &str) -> anyhow::Result<bool> {
    let wanted = fs::read(config.inside(&resolve(config, from)?))?;
    let is = config.inside(is);
    let Ok(found) = files::read_limited(&is, wanted.len() as u64) else {
        return Ok(false);
    };
    let bits = fs::metadata(&is)?.permissions().mode() & 0o7777;
    Ok(found == wanted && u32::from_str_radix(mode, 8) == Ok(bits))
}

/// The files of a tree of links, by their names in it.
fn walk(
    config: &Config,
    tree: &Path,
    below: &Path,
    found: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let folder = config.inside(&resolve(config, &tree.join(below))?);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let name = below.join(entry?.file_name());
        let real = config.inside(&resolve(config, &tree.join(&name))?);
        if real.is_dir() {
            anyhow::ensure!(
                name.components().count() < MAX_LINKS,
                "{} is too deep",
                name.display()
            );
            walk(config, tree, &name, found)?;
        } else {
            found.push(name);
        }
        anyhow::ensure!(found.len() < MAX_FILES, "{} has too many files", tree.display());
    }
    Ok(())
}

/// Follows links as the host would, also where the host is a folder of this machine.
fn resolve(config: &Config, path: &Path) -> io::Result<PathBuf> {
    let mut rest: Vec<PathBuf> = parts(path);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let meta = fs::symlink_metadata(config.inside(&next))?;
        if !meta.is_symlink() {
            real = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many links"));
        }
        let target = fs::read_link(config.inside(&next))?;
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    Ok(real)
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |c: Component<'_>| match c {
        Component::Normal(_) | Component::ParentDir => Some(PathBuf::from(c.as_os_str())),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}
