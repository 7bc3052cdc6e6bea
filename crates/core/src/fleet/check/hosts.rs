//! Rules about hosts and waves (spec "fleet folder" §1 and §5).

use std::collections::{BTreeSet, HashMap};

use super::super::codes;
use super::super::finding::Findings;
use super::super::model::{Fleet, Waves};
use super::super::span::{Located, Span};

/// The wave that relays belong to: the last.
const LATEST: usize = 3;

pub(super) fn check(fleet: &Fleet, findings: &mut Findings) {
    for (host, declared) in &fleet.hosts {
        if !fleet.tunnels.contains_key(host) {
            let message = format!("the host {host} is in no file of json/tunnels.d");
            findings.add(codes::NOT_IN_TUNNELS, declared.span, message);
        }
    }
    for (host, tunnel) in &fleet.tunnels {
        if !fleet.hosts.contains_key(host) {
            let message = format!("there is no host {host}");
            findings.add(codes::TUNNEL_WITHOUT_HOST, tunnel.span, message);
        }
    }
    if let Some(waves) = &fleet.waves {
        check_waves(fleet, waves, findings);
    }
}

fn check_waves(fleet: &Fleet, waves: &Waves, findings: &mut Findings) {
    let hosts: BTreeSet<&str> = fleet.hosts.keys().map(|host| host.as_str()).collect();
    let mut first: HashMap<&str, (usize, Span)> = HashMap::new();
    for (at, wave) in waves.waves.iter().enumerate() {
        for Located { value: host, span } in wave {
            let name = Waves::ATTRIBUTES[at];
            if !hosts.contains(host.as_str()) {
                let message = format!("{name} has {host:?}, and there is no such host");
                findings.add(codes::WAVE_UNKNOWN_HOST, *span, message);
            }
            match first.get(host.as_str()) {
                None => drop(first.insert(host, (at, *span))),
                Some((other, _)) if *other == at => {
                    findings.add(codes::WAVE_TWICE, *span, format!("{name} has {host} twice"));
                }
                Some((other, place)) => {
                    let other = Waves::ATTRIBUTES[*other];
                    let message = format!("{host} is in {other} and in {name}");
                    findings.add(codes::TWO_WAVES, *span, message).other(*place, "also here");
                }
            }
        }
    }
    for (host, declared) in &fleet.hosts {
        if !first.contains_key(host.as_str()) {
            let message = format!("the host {host} is in no wave");
            findings.add(codes::NO_WAVE, declared.span, message);
        }
    }
    for Located { value: host, span } in &waves.staging {
        if !hosts.contains(host.as_str()) {
            let message = format!("stagingHosts has {host:?}, and there is no such host");
            findings.add(codes::STAGING_UNKNOWN_HOST, *span, message);
        }
    }
    for relay in fleet.relays.servers.keys().filter(|relay| hosts.contains(relay.as_str())) {
        if let Some((at, span)) = first.get(relay.as_str()).filter(|(at, _)| *at != LATEST) {
            let message = format!("the relay {relay} is in {}", Waves::ATTRIBUTES[*at]);
            findings.add(codes::RELAY_WAVE, *span, message);
        }
    }
}
