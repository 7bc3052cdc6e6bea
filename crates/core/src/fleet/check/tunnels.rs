//! Rules about tunnels and relays (spec "fleet folder" §3).

use std::collections::{BTreeMap, HashMap};

use super::super::access::Accesses;
use super::super::codes;
use super::super::finding::Findings;
use super::super::keys::KeyKind;
use super::super::model::{Fleet, Reverse, Tunnel};
use super::super::span::Span;
use super::keys::flaw;
use super::people::enabled;
use crate::ids::{HostName, UserName};

/// Ports that hosts may have: 2000 to 9999.
const PORTS: usize = 8000;

pub(super) fn check(fleet: &Fleet, accesses: &Accesses<'_>, findings: &mut Findings) {
    let mut enabled = enabled(fleet, accesses);
    // On every host.
    let robot = UserName::robot();
    enabled.insert(&robot);
    for tunnel in fleet.tunnels.values() {
        host_key(tunnel, findings);
        prefixes(tunnel, findings);
        for user in tunnel.copy_key_to.iter().filter(|user| !enabled.contains(&user.value)) {
            let message = format!("{} is enabled on no host", user.value);
            findings.add(codes::COPY_TO_UNKNOWN, user.span, message);
        }
    }
    let mut all: Vec<(&HostName, &Tunnel)> = fleet.tunnels.iter().collect();
    all.sort_by_key(|(_, tunnel)| tunnel.span);
    ports(fleet, &all, findings);
    shared_keys(&all, findings);
    relays(fleet, findings);
}

fn host_key(tunnel: &Tunnel, findings: &mut Findings) {
    let Some(key) = &tunnel.key else { return };
    flaw(key, findings);
    if key.value.kind != KeyKind::Ed25519 && tunnel.generate_secrets {
        findings.add(codes::HOST_KEY_TYPE, key.span, "secrets cannot be sealed to this key");
    }
}

fn prefixes(tunnel: &Tunnel, findings: &mut Findings) {
    let mut first: BTreeMap<u16, (&str, Span)> = BTreeMap::new();
    let mut all: Vec<(&String, &Reverse)> = tunnel.reverse.iter().collect();
    // The `ssh` that is always there has the host's place, which comes first.
    all.sort_by_key(|(_, reverse)| reverse.span);
    for (name, reverse) in all {
        match first.get(&reverse.prefix) {
            None => drop(first.insert(reverse.prefix, (name, reverse.span))),
            Some((other, span)) => {
                let message =
                    format!("the tunnel {name:?} has prefix {}, as {other:?} has", reverse.prefix);
                let finding = findings.add(codes::DUPLICATE_PREFIX, reverse.span, message);
                finding.other(*span, format!("{other:?} is here"));
            }
        }
    }
}

fn ports(fleet: &Fleet, all: &[(&HostName, &Tunnel)], findings: &mut Findings) {
    let mut first: HashMap<u16, (&HostName, Span)> = HashMap::new();
    for (host, tunnel) in all.iter().filter(|(_, tunnel)| tunnel.port.value != 0) {
        let (port, span) = (tunnel.port.value, tunnel.port.span);
        match first.get(&port) {
            None => drop(first.insert(port, (host, span))),
            Some((other, at)) => {
                let message = format!("{host} has port {port}, as {other} has");
                findings.add(codes::DUPLICATE_PORT, span, message).other(*at, "first here");
            }
        }
    }
    if first.len() * 10 > PORTS * 9 {
        let file = all.first().map(|(_, tunnel)| tunnel.span.file).unwrap_or_default();
        let message = format!("{} of {PORTS} ports are taken", first.len());
        findings.file(codes::PORTS_SCARCE, file, message);
    }
    let relays = &fleet.relays.servers;
    if let (false, true, Some(file)) =
        (first.is_empty(), relays.is_empty(), fleet.files.get("json/relay-servers.json"))
    {
        let message = format!("{} hosts have tunnels, but there is no relay", first.len());
        findings.file(codes::NO_RELAYS, file, message);
    }
}

fn shared_keys(all: &[(&HostName, &Tunnel)], findings: &mut Findings) {
    let mut first: HashMap<&str, (&HostName, Span)> = HashMap::new();
    for (host, tunnel) in all {
        let Some(key) = &tunnel.key else { continue };
        match first.get(key.value.text.as_str()) {
            None => drop(first.insert(&key.value.text, (host, key.span))),
            Some((other, span)) => {
                let message = format!("{host} has the key of {other}");
                findings.add(codes::SHARED_HOST_KEY, key.span, message).other(*span, "first here");
            }
        }
    }
}

fn relays(fleet: &Fleet, findings: &mut Findings) {
    if let Some(key) = &fleet.relays.public_key {
        flaw(key, findings);
    }
    for (name, relay) in &fleet.relays.servers {
        let host = name.as_str().parse::<HostName>().ok();
        if !host.is_some_and(|host| fleet.hosts.contains_key(&host)) {
            let message = format!("the relay {name} is no host of this fleet");
            findings.add(codes::RELAY_NOT_A_HOST, relay.span, message);
        }
    }
}
