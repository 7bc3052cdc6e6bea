//! `json/tunnels.d/*.json` and `json/relay-servers.json`.

use std::collections::BTreeMap;

use super::super::codes;
use super::super::finding::Findings;
use super::super::model::{RelayServer, Relays, Reverse, Tunnel};
use super::super::node::{Fields, Node};
use super::super::span::{Located, Span};
use super::people::public_key;
use super::{Loader, host_name, user_name};

/// Fields of a host in `tunnels.d`.
const FIELDS: [&str; 7] = [
    "remote_forward_port",
    "public_key",
    "connectTimeout",
    "generate_secrets",
    "generate_configs",
    "copy_key_to_users",
    "reverse_tunnels",
];

/// Reads all of them.
pub(super) fn load(loader: &mut Loader<'_>) {
    let in_folder = |path: &&String| {
        let name = path.strip_prefix("json/tunnels.d/");
        name.is_some_and(|name| !name.contains('/') && name.ends_with(".json"))
    };
    let paths: Vec<&String> = loader.sources.files.keys().filter(in_folder).collect();
    if paths.is_empty() {
        let file = loader.fleet.files.id("json/tunnels.d");
        loader.findings.file(codes::MISSING_FILE, file, "there is no file in json/tunnels.d");
    }
    for path in paths {
        if let Some(node) = loader.json(path) {
            tunnels(loader, node);
        }
    }
    if let Some(node) = loader.needed_json("json/relay-servers.json") {
        loader.fleet.relays = relays(node, &mut loader.findings);
    }
}

fn tunnels(loader: &mut Loader<'_>, node: Node) {
    let findings = &mut loader.findings;
    let Some(mut fields) = Fields::of(node, "the file", findings) else {
        return;
    };
    let tunnels = fields.need("tunnels", findings);
    fields.finish(codes::IGNORED_FIELD, &["tunnels"], findings);
    let Some(tunnels) = tunnels else { return };
    let Some(mut fields) = Fields::of(tunnels, "tunnels", findings) else {
        return;
    };
    let per_host = fields.need("per-host", findings);
    fields.finish(codes::IGNORED_FIELD, &["per-host"], findings);
    let hosts = per_host.and_then(|node| node.into_map("tunnels.per-host", findings));
    for (name, node) in hosts.unwrap_or_default() {
        let tunnel = tunnel(node, &name, findings);
        let Some(host) = host_name(findings, &name.value, name.span) else {
            continue;
        };
        if let Some(first) = loader.fleet.tunnels.get(&host) {
            let message = format!("the host {host} already has an entry");
            findings.add(codes::TUNNEL_TWICE, name.span, message).other(first.span, "first here");
        } else if let Some(tunnel) = tunnel {
            loader.fleet.tunnels.insert(host, tunnel);
        }
    }
}

fn tunnel(node: Node, name: &Located<String>, findings: &mut Findings) -> Option<Tunnel> {
    let what = format!("the tunnel entry of {}", name.value);
    let mut fields = Fields::of(node, what, findings)?;
    let port = fields.need("remote_forward_port", findings);
    let port = port.and_then(|node| forward_port(node, findings));
    let key = fields.need("public_key", findings);
    let key = key.and_then(|node| node.into_text("public_key", findings));
    if let Some(empty) = key.as_ref().filter(|key| key.value.is_empty()) {
        let message = format!("the key of {} is empty", name.value);
        findings.add(codes::EMPTY_HOST_KEY, empty.span, message);
    }
    let provisioning = key.as_ref().is_some_and(|key| key.value.is_empty());
    let key = key.filter(|key| !key.value.is_empty());
    let timeout = fields.take("connectTimeout").and_then(|node| timeout(node, findings));
    let mut flag = |name: &str| {
        let node = fields.take(name)?;
        node.into_bool(name, findings)
    };
    let generate_secrets = flag("generate_secrets").unwrap_or(true);
    let generate_configs = flag("generate_configs").unwrap_or(true);
    let copy = fields.take("copy_key_to_users");
    let copy = copy.and_then(|node| node.into_texts("copy_key_to_users", findings));
    let copy = copy.unwrap_or_default();
    let reverse = reverse_tunnels(fields.take("reverse_tunnels"), name.span, findings);
    fields.finish(codes::UNKNOWN_FIELD, &FIELDS, findings);
    Some(Tunnel {
        span: name.span,
        // With a wrong port the host has none, but it is still listed.
        port: port.unwrap_or(Located::new(0, name.span)),
        key: key.and_then(|key| public_key(key, findings)),
        provisioning,
        connect_timeout: timeout.unwrap_or(360),
        generate_secrets,
        generate_configs,
        copy_key_to: copy
            .into_iter()
            .filter_map(|user| user_name(findings, &user.value, user.span))
            .collect(),
        reverse,
    })
}

fn forward_port(node: Node, findings: &mut Findings) -> Option<Located<u16>> {
    let port = node.into_int("remote_forward_port", findings)?;
    match u16::try_from(port.value) {
        Ok(value @ (0 | 2000..=9999)) => Some(Located::new(value, port.span)),
        _ => {
            let message = format!("remote_forward_port is {}", port.value);
            findings.add(codes::BAD_PORT, port.span, message);
            None
        }
    }
}

fn timeout(node: Node, findings: &mut Findings) -> Option<u32> {
    let seconds = node.into_int("connectTimeout", findings)?;
    match u32::try_from(seconds.value) {
        Ok(value) if value > 0 => Some(value),
        _ => {
            let message = format!("connectTimeout is {}", seconds.value);
            findings.add(codes::BAD_TIMEOUT, seconds.span, message);
            None
        }
    }
}

fn reverse_tunnels(
    node: Option<Node>,
    host: Span,
    findings: &mut Findings,
) -> BTreeMap<String, Reverse> {
    let mut all = BTreeMap::new();
    let ssh = Reverse { span: host, prefix: 0, port: 22 };
    let entries = node.and_then(|node| node.into_map("reverse_tunnels", findings));
    for (name, node) in entries.unwrap_or_default() {
        let what = format!("reverse_tunnels.{}", name.value);
        let Some(mut fields) = Fields::of(node, what, findings) else {
            continue;
        };
        // The `ssh` that is always there lends its values to an entry of its name.
        let (prefix, port) = match name.value == "ssh" {
            true => (fields.take("prefix"), fields.take("forwarded_port")),
            false => (fields.need("prefix", findings), fields.need("forwarded_port", findings)),
        };
        fields.finish(codes::UNKNOWN_FIELD, &["prefix", "forwarded_port"], findings);
        let given = prefix.is_some() && port.is_some();
        let prefix =
            prefix.and_then(|node| ranged(node, "prefix", 0..=5, codes::BAD_PREFIX, findings));
        let port = port.and_then(|node| {
            ranged(node, "forwarded_port", 1..=65535, codes::BAD_FORWARDED_PORT, findings)
        });
        let reverse = match (prefix, port) {
            (Some(prefix), Some(port)) => Reverse { span: name.span, prefix, port },
            (prefix, port) if name.value == "ssh" && !given => Reverse {
                span: name.span,
                prefix: prefix.unwrap_or(ssh.prefix),
                port: port.unwrap_or(ssh.port),
            },
            _ => continue,
        };
        all.insert(name.value, reverse);
    }
    all.entry("ssh".to_owned()).or_insert(ssh);
    all
}

/// A number within a range, or a finding.
fn ranged(
    node: Node,
    what: &str,
    range: std::ops::RangeInclusive<u16>,
    code: codes::Code,
    findings: &mut Findings,
) -> Option<u16> {
    let number = node.into_int(what, findings)?;
    let value = u16::try_from(number.value).ok().filter(|value| range.contains(value));
    if value.is_none() {
        findings.add(code, number.span, format!("{what} is {}", number.value));
    }
    value
}

fn relays(node: Node, findings: &mut Findings) -> Relays {
    let mut relays = Relays::default();
    let Some(mut fields) = Fields::of(node, "relay-servers.json", findings) else {
        return relays;
    };
    let key = fields.need("public_key", findings);
    let key = key.and_then(|node| node.into_text("public_key", findings));
    relays.public_key = key.and_then(|key| public_key(key, findings));
    let servers = fields.need("relay_servers", findings);
    fields.finish(codes::IGNORED_FIELD, &["public_key", "relay_servers"], findings);
    let servers = servers.and_then(|node| node.into_map("relay_servers", findings));
    for (name, node) in servers.unwrap_or_default() {
        let server = relay(node, &name, findings);
        match name.value.parse() {
            Ok(id) => relays.servers.extend(server.map(|server| (id, server))),
            Err(error) => {
                findings.add(codes::BAD_HOST_NAME, name.span, error.to_string());
            }
        }
    }
    relays
}

fn relay(node: Node, name: &Located<String>, findings: &mut Findings) -> Option<RelayServer> {
    let what = format!("the relay {}", name.value);
    let mut fields = Fields::of(node, what, findings)?;
    let list = fields.need("addresses", findings);
    let list = list.and_then(|node| node.into_texts("addresses", findings))?;
    let ports = match fields.take("ports") {
        Some(node) => relay_ports(node, findings),
        None => vec![22, 80, 443],
    };
    fields.finish(codes::UNKNOWN_FIELD, &["addresses", "ports"], findings);
    let blank = list.iter().find(|address| address.value.trim().is_empty());
    if blank.is_some() || list.is_empty() || ports.is_empty() {
        let what = if ports.is_empty() { "ports" } else { "addresses" };
        let span = blank.map_or(name.span, |address| address.span);
        let message = format!("the relay {} has no {what}, or an empty one", name.value);
        findings.add(codes::BAD_RELAY, span, message);
    }
    let addresses = list.into_iter().map(|address| address.value).collect();
    Some(RelayServer { span: name.span, addresses, ports })
}

fn relay_ports(node: Node, findings: &mut Findings) -> Vec<u16> {
    let list = node.into_list("ports", findings).unwrap_or_default();
    let port = |node| ranged(node, "each port", 1..=65535, codes::BAD_RELAY, findings);
    list.into_iter().filter_map(port).collect()
}
