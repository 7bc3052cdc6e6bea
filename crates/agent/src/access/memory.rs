//! `accounts.json`: numbers of accounts, and what was written. Lost, it is learned anew from what is on the host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use afield_core::accounts::{Ids, RECORDS};
use afield_store::{fault, files};
use anyhow::{Context as _, bail};

use super::system;
use crate::config::Config;
use crate::host::Host;

const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Reads it. One that is damaged is passed over: numbers are found again on the host.
pub fn read(host: &Host) -> anyhow::Result<Ids> {
    let path = host.own("accounts.json");
    let bytes =
        files::read_if_there(&path, MAX_FILE).with_context(|| path.display().to_string())?;
    let read = bytes.as_deref().map(serde_json::from_slice::<Ids>);
    match read {
        Some(Ok(ids)) if ids.is_newer() => {
            bail!("{} has format {}; install the newer agent again", path.display(), ids.format)
        }
        Some(Ok(ids)) => Ok(ids),
        Some(Err(_)) | None => Ok(learn(&host.config)),
    }
}

/// Replaces it, if it changes.
pub fn save(host: &Host, before: &Ids, ids: &Ids) -> anyhow::Result<()> {
    let path = host.own("accounts.json");
    if before == ids && path.exists() {
        return Ok(());
    }
    files::write_atomic_mode(&path, &serde_json::to_vec_pretty(ids)?, 0o600)?;
    fault::point("access:noted");
    Ok(())
}

/// From records and homes: a number that a file belongs to is given to nobody else.
fn learn(config: &Config) -> Ids {
    let mut ids = Ids::default();
    let (mut users, mut groups) = (BTreeMap::new(), BTreeMap::new());
    let homes = config.inside(Path::new("/home"));
    for entry in fs::read_dir(homes).into_iter().flatten().flatten() {
        if let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) {
            users.insert(name, meta.uid());
        }
    }
    let mut written = std::collections::BTreeSet::new();
    for path in system::listed(config, RECORDS) {
        let record = system::record(&config.inside(Path::new(&path)));
        let text = |key: &str| record.get(key).and_then(|v| v.as_str()).map(str::to_owned);
        let id = |key: &str| record.get(key).and_then(serde_json::Value::as_u64);
        let id =
            |key: &str| id(key).and_then(|id| u32::try_from(id).ok()).filter(|i| Ids::is_ours(*i));
        if let (Some(name), Some(uid)) = (text("userName"), id("uid")) {
            users.insert(name, uid);
            written.insert(path);
        } else if let (Some(name), Some(gid)) = (text("groupName"), id("gid")) {
            if !users.contains_key(&name) {
                groups.insert(name, gid);
            }
            written.insert(path);
        }
    }
    for path in system::listed(config, RECORDS) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let of = name.strip_suffix(".membership").and_then(|name| name.split(':').next());
        if of.is_some_and(|user| users.get(user).is_some_and(|uid| Ids::is_ours(*uid))) {
            written.insert(path);
        }
    }
    groups.retain(|name, _| !users.contains_key(name));
    ids.learn(users, groups);
    ids.written = written;
    ids
}
