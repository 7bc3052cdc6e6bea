//! Host data on the host: access, app configs and secrets. Each part stands for itself: one that cannot be applied
//! keeps no other back, leaves what it found, and is told by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use afield_core::host_data::HostData;
use afield_core::ids::ObjectId;
use afield_core::release::ObjectRef;
use afield_store::repository::MAX_PACKED;
use afield_store::{files, object};
use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::config::Config;
use crate::host::{self, Host};
use crate::tree::Tree;
use crate::{access, secrets, trouble};

/// Host data that was kept when it was verified.
pub fn kept(host: &Host, id: &ObjectId) -> anyhow::Result<HostData> {
    read(&host.config, id)
}

/// The same for those who have no more than the configuration.
pub fn read(config: &Config, id: &ObjectId) -> anyhow::Result<HostData> {
    let path = host::document(config, id);
    let bytes = files::read_limited(&path, MAX_PACKED)
        .with_context(|| format!("the host data {id} is not kept here any more"))?;
    let object = ObjectRef { id: *id, size: bytes.len() as u64 };
    Ok(object::open_document(&object, &bytes)?)
}

/// Applies all parts, access first: revoking must not wait for anything.
pub fn apply(host: &Host, data: &HostData, now: Timestamp) -> anyhow::Result<()> {
    let access = match data.applies_all() {
        true => access::apply(host, data, now),
        false => Ok(()),
    };
    let failed: Vec<anyhow::Error> =
        [access, in_memory(host, data)].into_iter().filter_map(Result::err).collect();
    let told: Vec<String> = failed.iter().map(|e| format!("{e:#}")).collect();
    let told = format!("the host data cannot be applied: {}", told.join("; "));
    match failed.iter().all(trouble::is_own) {
        _ if failed.is_empty() => Ok(()),
        true => Err(trouble::Own(told).into()),
        false => bail!(told),
    }
}

/// The parts that are gone after a restart of the machine.
fn in_memory(host: &Host, data: &HostData) -> anyhow::Result<()> {
    let configs = configs(host, data).replace().context("app configs");
    let secrets = match data.applies_all() {
        true => secrets::apply(&host.config, data),
        false => Ok(()),
    };
    configs.and(secrets)
}

/// Whether the machine was restarted since the parts in memory were written.
pub fn was_restarted(host: &Host) -> bool {
    !host.config.inside(&host.config.configs).exists()
}

/// Writes what was lost by a restart again.
pub fn restore(host: &Host, data: &HostData) -> anyhow::Result<()> {
    in_memory(host, data)
}

fn configs<'a>(host: &Host, data: &'a HostData) -> Tree<'a> {
    let config = &host.config;
    let files: BTreeMap<PathBuf, &[u8]> =
        data.configs.values().map(|f| (PathBuf::from(&f.path), f.content.as_bytes())).collect();
    let readers = access::groups(config, &config.configs_groups).into_values().collect();
    Tree { folder: config.inside(&config.configs), readers, files }
}

/// What on the host is not as the host data says, each by name. Empty if all is.
pub fn drift(host: &Host, data: &HostData, now: Timestamp) -> Vec<String> {
    let mut drift = configs(host, data).drift(&host.config.configs);
    if data.applies_all() {
        drift.extend(access::drift(host, data, now));
        drift.extend(secrets::drift(&host.config, data));
    }
    drift
}

/// What there is to say besides, and cannot be put right here.
pub fn remarks(host: &Host, data: &HostData, now: Timestamp) -> Vec<String> {
    match data.applies_all() {
        true => access::remarks(host, data, now),
        false => Vec::new(),
    }
}
