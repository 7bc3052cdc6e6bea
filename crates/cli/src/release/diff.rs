//! What a release changes on each host, compared with the one before it.

use std::collections::{BTreeMap, BTreeSet};

use afield_core::host_data::HostData;
use afield_core::ids::StorePath;
use afield_core::release::{Closure, HostRelease};
use afield_core::status::bytes;
use afield_store::repository::Repository;
use serde::Serialize;

/// What changes on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostChange {
    /// The host had nothing before.
    pub new: bool,
    /// The system becomes another one.
    pub system_changed: bool,
    /// Store paths that the system before did not have.
    pub new_paths: usize,
    /// Length of their archives, bytes.
    pub new_bytes: u64,
    /// Names of app configs that are added, changed or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<String>,
    /// People whose access changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
    /// Names of checks that are added, changed or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The sealed secrets are others.
    pub secrets_changed: bool,
    /// Its tunnels, or the relays that they lead to.
    pub tunnel_changed: bool,
    /// On a relay: who may listen, or who may pass.
    pub relay_changed: bool,
    /// The host data has another form or setting.
    pub settings_changed: bool,
}

/// One side of a comparison.
pub struct Side<'a> {
    /// Toplevel of the system.
    pub system: &'a StorePath,
    /// Its closure.
    pub closure: &'a Closure,
    /// The host data.
    pub data: &'a HostData,
}

impl HostChange {
    /// Compares a host with what an earlier release has for it. A release whose documents are gone tells nothing:
    /// then all is new, and packed anew.
    pub fn between(
        repository: &Repository,
        before: Option<&HostRelease>,
        after: &Side<'_>,
    ) -> Self {
        let known = before.and_then(|b| {
            let closure: Closure = repository.document(&b.closure).ok()?;
            let data: HostData = repository.document(&b.data).ok()?;
            Some((b, closure, data))
        });
        let Some((before, old, data)) = known else {
            return Self {
                new: true,
                system_changed: true,
                new_paths: after.closure.paths.len(),
                new_bytes: after.closure.paths.iter().map(|p| p.nar_size).sum(),
                configs: after.data.configs.keys().cloned().collect(),
                access: after.data.access.keys().cloned().collect(),
                checks: after.data.checks.iter().map(|c| c.name.to_string()).collect(),
                secrets_changed: after.data.sealed.is_some() || after.data.age.is_some(),
                tunnel_changed: after.data.tunnel.is_some(),
                relay_changed: after.data.relay.is_some(),
                settings_changed: false,
            };
        };
        let mut change = Self::of_data(&data, after.data);
        if before.system != *after.system {
            let old: BTreeSet<&StorePath> = old.paths.iter().map(|p| &p.path).collect();
            let new = || after.closure.paths.iter().filter(|p| !old.contains(&p.path));
            change.system_changed = true;
            change.new_paths = new().count();
            change.new_bytes = new().map(|p| p.nar_size).sum();
        }
        change
    }

    fn of_data(before: &HostData, after: &HostData) -> Self {
        let by_name = |data: &HostData| -> BTreeMap<String, _> {
            data.checks.iter().map(|c| (c.name.to_string(), c.clone())).collect()
        };
        Self {
            configs: differing(&before.configs, &after.configs),
            access: differing(&before.access, &after.access),
            checks: differing(&by_name(before), &by_name(after)),
            secrets_changed: (&before.sealed, &before.age) != (&after.sealed, &after.age),
            tunnel_changed: before.tunnel != after.tunnel,
            relay_changed: before.relay != after.relay,
            settings_changed: settings(before) != settings(after),
            ..Self::default()
        }
    }

    /// Whether nothing changes.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.new {
            words.push("new host".to_owned());
        }
        if self.system_changed {
            let (n, size) = (self.new_paths, bytes(self.new_bytes));
            words.push(format!("system ({n} new paths, {size} unpacked)"));
        }
        for (what, names) in
            [("app configs", &self.configs), ("access of", &self.access), ("checks", &self.checks)]
        {
            if !names.is_empty() {
                words.push(format!("{what} {}", names.join(" ")));
            }
        }
        for (changed, what) in [
            (self.secrets_changed, "secrets"),
            (self.tunnel_changed, "tunnel"),
            (self.relay_changed, "keys of the relay"),
            (self.settings_changed, "settings"),
        ] {
            words.extend(changed.then(|| what.to_owned()));
        }
        match words.is_empty() {
            true => "nothing".to_owned(),
            false => words.join(", "),
        }
    }
}

/// What has no name of its own.
fn settings(data: &HostData) -> impl PartialEq + '_ {
    let certificates = (&data.user_ca, &data.relay_principals, &data.hosts_reach);
    let link_and_restart = (&data.budget, data.reboot_window);
    (data.format, data.end_sessions, &data.deployments, link_and_restart, certificates)
}

/// Keys whose values differ, or that only one side has.
fn differing<V: PartialEq>(a: &BTreeMap<String, V>, b: &BTreeMap<String, V>) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differ = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    differ.cloned().collect()
}
