//! What the secrets commands need of the fleet folder: hosts' keys from `tunnels.d`, and the master files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afield_core::secrets::master::{self, MasterSecret, Problem};
use afield_core::secrets::seal::Host;
use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;

use super::file;
use super::keyring::Keyring;
use crate::exit::Failure;

const LARGEST_JSON: usize = 64 << 20;
const DEEPEST: usize = 16;

/// The hosts of `json/tunnels.d/*.json`. A host may stand in one file only.
pub fn hosts(fleet: &Path) -> anyhow::Result<Vec<Host>> {
    let folder = fleet.join("json/tunnels.d");
    let mut hosts: BTreeMap<String, (PathBuf, Host)> = BTreeMap::new();
    for path in files(&folder, ".json", 0)? {
        let text = file::read_text(&path, LARGEST_JSON)?;
        let json: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let entries = json.pointer("/tunnels/per-host").and_then(Value::as_object);
        let entries = entries
            .ok_or_else(|| anyhow!("{}: there is no map tunnels.per-host", path.display()))?;
        for (name, entry) in entries.iter().filter(|(name, _)| *name != "_comment") {
            let host =
                host(name, entry).with_context(|| format!("{}: host `{name}`", path.display()))?;
            if let Some((first, _)) = hosts.insert(name.clone(), (path.clone(), host)) {
                bail!(
                    "host `{name}` stands in {} and in {}; remove one",
                    first.display(),
                    path.display()
                );
            }
        }
    }
    Ok(hosts.into_values().map(|(_, host)| host).collect())
}

fn host(name: &str, entry: &Value) -> anyhow::Result<Host> {
    let public_key = entry.get("public_key").and_then(Value::as_str);
    let public_key =
        public_key.ok_or_else(|| anyhow!("`public_key` is missing or not text"))?.to_owned();
    let generate = match entry.get("generate_secrets") {
        None => true,
        Some(value) => {
            value.as_bool().ok_or_else(|| anyhow!("`generate_secrets` must be true or false"))?
        }
    };
    Ok(Host { name: name.to_owned(), public_key, generate })
}

/// The secrets of a file, or what is wrong in it.
pub type Read = Result<Vec<MasterSecret>, Vec<Problem>>;

/// The `secrets/master/**/*-secrets.yml` files, sorted. Each is a vault or an age file.
pub fn master_files(fleet: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files(&fleet.join("secrets/master"), "-secrets.yml", 0)
}

/// Files below a folder whose names end so, sorted by path.
fn files(folder: &Path, ending: &str, depth: usize) -> anyhow::Result<Vec<PathBuf>> {
    let what = || format!("cannot read the folder {}", folder.display());
    if depth > DEEPEST {
        bail!("{}: more than {DEEPEST} folders deep", folder.display());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.is_dir() {
            found.extend(files(&path, ending, depth + 1)?);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Opens and reads one master file. The file is named relative to the fleet folder in problems.
pub fn open_master(fleet: &Path, path: &Path, keyring: &Keyring<'_>) -> Result<Read, Failure> {
    let opened = keyring.open(path)?;
    let text = std::str::from_utf8(&opened.plain)
        .with_context(|| format!("{}: not UTF-8 text", path.display()))?;
    let label = path.strip_prefix(fleet).unwrap_or(path).display().to_string();
    Ok(master::parse(&label, text))
}
