//! The host data of a release: what the fleet folder and `afield.toml` say about each host.

use std::collections::BTreeMap;

use afield_core::host_data::{self, HostData};
use afield_core::ids::HostName;
use afield_core::tunnel;

use crate::exit::Failure;
use crate::fleet::{self, Declared, Project};

/// The host data of all hosts.
pub fn all(
    project: &Project,
    declared: &Declared,
) -> Result<BTreeMap<HostName, HostData>, Failure> {
    fleet::refuse_lost_windows(project, declared)?;
    let mut all = BTreeMap::new();
    for (host, told) in &declared.hosts {
        let wave = declared.waves.iter().find(|w| w.hosts.contains(host)).map(|w| &w.name);
        let checks = project.settings.checks_of(host);
        let checks = checks.map_err(|e| {
            Failure::refused(e.to_string()).hint("add it to vars of the host in afield.toml")
        })?;
        let told = told.clone();
        let data = HostData {
            checks,
            configs: told.configs,
            access: told.access,
            sealed: told.sealed,
            age: told.age,
            tunnel: told.tunnel.map(|tunnel| {
                let through_relay = project.settings.through_relay(host);
                tunnel::Config { through_relay, ..tunnel }
            }),
            hosts_reach: match told.relay {
                Some(_) => project.settings.relays.hosts_reach.clone(),
                None => Vec::new(),
            },
            relay: told.relay,
            user_ca: project.settings.access.user_ca.clone(),
            // Without a CA no certificate counts, whatever stands in it.
            relay_principals: match project.settings.access.user_ca.is_empty() {
                true => Vec::new(),
                false => told.relay_principals,
            },
            deployments: told.deployments,
            end_sessions: project.settings.access.end_sessions,
            budget: project.settings.budget_of(host),
            reboot_window: project.settings.reboot_window(host, wave),
            ..HostData::empty(host.clone())
        };
        let data = match project.settings.host_data_format {
            None | Some(host_data::FORMAT) => data,
            Some(1) => data.as_format_1(),
            Some(other) => {
                return Err(Failure::usage(format!("there is no host-data-format {other}"))
                    .hint("in afield.toml it is 1, or is left out"));
            }
        };
        let valid = data.validate(host);
        valid.map_err(|e| {
            Failure::refused(format!("the host data of {host} is not in order: {e}"))
        })?;
        all.insert(host.clone(), data);
    }
    Ok(all)
}
