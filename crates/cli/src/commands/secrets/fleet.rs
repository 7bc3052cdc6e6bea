//! What the secrets commands need of the fleet folder: hosts' keys from `tunnels.d`, and the master files.

use std::path::{Path, PathBuf};

use afield_core::fleet::model::Tunnel;
use afield_core::fleet::{Finding, Loaded, Severity, load};
use afield_core::ids::HostName;
use afield_core::secrets::master::{self, MasterSecret, Problem};
use afield_core::secrets::seal::Host;
use anyhow::{Context as _, anyhow, bail};

use super::keyring::Keyring;
use crate::exit::Failure;
use crate::folder;

const DEEPEST: usize = 16;

/// The hosts of `json/tunnels.d/*.json`; with an error there, whom a secret would reach is not known.
pub fn hosts(fleet: &Path) -> Result<Vec<Host>, Failure> {
    const TUNNELS: &str = "json/tunnels.d";
    let Loaded { fleet, findings } = load(&folder::read_tunnels(fleet)?);
    let wrong = |finding: &&Finding| {
        finding.severity == Severity::Error && finding.file.starts_with(TUNNELS)
    };
    if let Some(Finding { file, line, message, remedy, .. }) = findings.iter().find(wrong) {
        return Err(Failure::failed(anyhow!("{file}:{line}: {message}")).hint(remedy));
    }
    let host = |(name, tunnel): (HostName, Tunnel)| Host {
        name: name.to_string(),
        public_key: tunnel.key.map(|key| key.value.text).unwrap_or_default(),
        generate: tunnel.generate_secrets,
    };
    Ok(fleet.tunnels.into_iter().map(host).collect())
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
