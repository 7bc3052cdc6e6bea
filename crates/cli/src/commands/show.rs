//! `afield show host|user|role|relay NAME`: what the fleet folder says about one thing.

use std::collections::{BTreeMap, BTreeSet};

use afield_core::fleet::access::profile_of;
use afield_core::fleet::{Fleet, Resolver, describe, keys};
use afield_core::host_plan::{Access, HostPlan, Via};
use afield_core::ids::{HostName, Name, UserName};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::report;

/// Arguments of `afield show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Who may do what on a host and why, its ports on relays, its files, wave and branch
    Host {
        /// The host
        name: HostName,
    },
    /// All hosts, a line each; with --json, every host's plan by name
    Hosts,
    /// Where a person may do what, and with which keys
    User {
        /// The person
        name: UserName,
    },
    /// Whom a role gives what, and which hosts use it
    Role {
        /// The role
        name: String,
    },
    /// Which hosts listen on a relay, and on which ports
    Relay {
        /// The relay
        name: Name,
    },
}

/// Shows it.
pub fn run(args: &ShowArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    match &args.what {
        What::Host { name } => host(&folder, name, context),
        What::Hosts => hosts(&folder, context),
        What::User { name } => user(&folder.fleet, name, context),
        What::Role { name } => role(&folder.fleet, name, context),
        What::Relay { name } => relay(&folder.fleet, name, context),
    }
}

fn unknown(kind: &str, name: &str, known: Vec<&str>) -> Failure {
    let failure = Failure::failed(anyhow::anyhow!("there is no {kind} {name:?}"));
    match afield_core::fleet::node::nearest(name, &known) {
        Some(near) => failure.hint(format!("is {near} meant?")),
        None => failure,
    }
}

fn host(folder: &Folder, name: &HostName, context: &mut Context) -> CommandResult {
    let fleet = &folder.fleet;
    if !fleet.hosts.contains_key(name) {
        return Err(unknown(
            "host",
            name.as_str(),
            fleet.hosts.keys().map(HostName::as_str).collect(),
        ));
    }
    match Resolver::new(fleet).host(name) {
        Ok(plan) if context.out.json() => context.out.value(&plan)?,
        Ok(plan) => host_text(&plan, context)?,
        Err(findings) => {
            for finding in &findings {
                let text = report::text(finding, folder, context.cwd(), false);
                context.out.note(&format!("{}\n", text.trim_end()));
            }
            let message = anyhow::anyhow!("it cannot be said who may do what on {name}");
            return Err(Failure::failed(message).hint("correct what is told above"));
        }
    }
    Ok(Outcome::Done)
}

fn hosts(folder: &Folder, context: &mut Context) -> CommandResult {
    let resolved = afield_core::fleet::resolve(&folder.fleet);
    if context.out.json() {
        context.out.value(&resolved.plans)?;
    } else {
        for (name, plan) in &resolved.plans {
            let wave = plan.wave.as_ref().map_or("-", Name::as_str);
            let port = plan.tunnel.as_ref().map_or(0, |tunnel| tunnel.port);
            let (kind, branch) = (plan.kind.name(), plan.branch.name());
            let people = plan.access.len();
            let line = format!("{name}  {kind}  {wave}  {branch}  port {port}  {people} accounts");
            context.out.line(&line)?;
        }
    }
    for finding in &resolved.findings {
        let text = report::text(finding, folder, context.cwd(), false);
        context.out.note(&format!("{}\n", text.trim_end()));
    }
    Ok(if resolved.findings.is_empty() { Outcome::Done } else { Outcome::Findings })
}

fn host_text(plan: &HostPlan, context: &mut Context) -> std::io::Result<()> {
    let out = &mut context.out;
    let wave = plan.wave.as_ref().map_or("unknown", Name::as_str);
    let (kind, branch) = (plan.kind.name(), plan.branch.name());
    out.line(&format!("host {} ({kind}), wave {wave}, branch {branch}", plan.host))?;
    out.line("\naccess:")?;
    let width = plan.access.keys().map(|user| user.as_str().len()).max().unwrap_or(0);
    for (user, access) in &plan.access {
        out.line(&format!("  {:width$}  {}", user.as_str(), access_text(access)))?;
    }
    match &plan.tunnel {
        None => out.line("\ntunnels: none")?,
        Some(tunnel) => {
            let relays: Vec<&str> = plan.relays.keys().map(Name::as_str).collect();
            out.line(&format!("\ntunnels (on {}):", relays.join(", ")))?;
            for (name, reverse) in &tunnel.tunnels {
                let (from, to) = (reverse.relay_port, reverse.local_port);
                out.line(&format!("  {name}: relay port {from} → port {to} here"))?;
            }
            if tunnel.key.is_none() {
                out.line("  closed: the host has no key yet")?;
            }
        }
    }
    if let Some(keys) = &plan.relay_keys {
        let (hosts, people) = (keys.tunnel.len(), keys.tunneller.len());
        out.line(&format!("\nrelay: {hosts} hosts may listen, {people} keys may pass"))?;
    }
    out.line(if plan.configs.is_empty() { "\napp configs: none" } else { "\napp configs:" })?;
    for (name, config) in &plan.configs {
        out.line(&format!("  {name}: {} ({} bytes)", config.path, config.content.len()))?;
    }
    out.line(&format!("\nsecrets: {}", names(plan.secrets.as_deref(), "not looked into")))?;
    let services = names(plan.services.as_deref(), "known when the system is built");
    out.line(&format!("deployment services: {services}"))
}

fn names(list: Option<&[String]>, unknown: &str) -> String {
    match list {
        None => unknown.to_owned(),
        Some([]) => "none".to_owned(),
        Some(list) => list.join(", "),
    }
}

fn access_text(access: &Access) -> String {
    let ways: Vec<String> = access.via.iter().map(describe).collect();
    let expires = access.expires.map(|day| format!(", closed from {day}")).unwrap_or_default();
    let keys = match access.keys.len() {
        0 => ", no key".to_owned(),
        1 => String::new(),
        count => format!(", {count} keys"),
    };
    format!("{} {}{expires}{keys}", access.profile, ways.join(" and "))
}

/// What is shown about a person.
#[derive(Debug, Serialize)]
struct User {
    user: UserName,
    global_admin: bool,
    expires: Option<jiff::civil::Date>,
    keys: Vec<Key>,
    hosts: BTreeMap<HostName, HostOfUser>,
}

#[derive(Debug, Serialize)]
struct Key {
    #[serde(rename = "type")]
    kind: String,
    fingerprint: String,
    options: Vec<String>,
}

#[derive(Debug, Serialize)]
struct HostOfUser {
    /// None for a conflict.
    profile: Option<String>,
    via: Vec<Via>,
}

fn user(fleet: &Fleet, name: &UserName, context: &mut Context) -> CommandResult {
    let resolver = Resolver::new(fleet);
    let mut hosts = BTreeMap::new();
    let mut everybody: BTreeSet<UserName> = fleet.keys.keys().cloned().collect();
    for host in fleet.hosts.keys() {
        let access = resolver.accesses().host(host.as_str());
        everybody.extend(access.people.keys().map(|user| (*user).clone()));
        if let Some(ways) = access.people.get(name) {
            let profile = profile_of(ways).map(|profile| profile.name().to_owned());
            let via = ways.iter().map(|way| way.via.clone()).collect();
            hosts.insert(host.clone(), HostOfUser { profile, via });
        }
    }
    if !everybody.contains(name) {
        let known = everybody.iter().map(UserName::as_str).collect();
        return Err(unknown("person", name.as_str(), known));
    }
    let all = resolver.keys_of(name);
    let keys = all.iter().map(|key| Key {
        kind: key.key.split(' ').next().unwrap_or("").to_owned(),
        fingerprint: keys::fingerprint(&key.key),
        options: key.options.clone(),
    });
    let keys: Vec<Key> = keys.collect();
    let global_admin = fleet.people.global_admins.iter().any(|admin| admin.value == *name);
    let user = User { user: name.clone(), global_admin, expires: fleet.expiry(name), keys, hosts };
    if context.out.json() {
        context.out.value(&user)?;
        return Ok(Outcome::Done);
    }
    let mut head = format!("person {name}");
    if global_admin {
        head.push_str(", global admin");
    }
    if let Some(day) = user.expires {
        let past = if day <= context.today { "closed since" } else { "closed from" };
        head.push_str(&format!(", {past} {day}"));
    }
    context.out.line(&head)?;
    context.out.line(&format!("\nkeys: {}", user.keys.len()))?;
    for key in &user.keys {
        let options = key.options.join(",");
        context.out.line(format!("  {} {} {options}", key.kind, key.fingerprint).trim_end())?;
    }
    context.out.line(&format!("\nhosts: {}", user.hosts.len()))?;
    for (host, access) in &user.hosts {
        let ways: Vec<String> = access.via.iter().map(describe).collect();
        let profile = access.profile.as_deref().unwrap_or("conflict:");
        context.out.line(&format!("  {host}  {profile} {}", ways.join(" and ")))?;
    }
    Ok(Outcome::Done)
}

/// What is shown about a role.
#[derive(Debug, Serialize)]
struct Role {
    role: String,
    /// What it gives in depth, by person: profile and path.
    people: BTreeMap<UserName, HostOfUser>,
    /// Hosts that enable it themselves.
    hosts: BTreeSet<String>,
    /// Roles that enable it.
    in_roles: BTreeSet<String>,
}

fn role(fleet: &Fleet, name: &str, context: &mut Context) -> CommandResult {
    let Some(entry) = fleet.people.roles.get(name) else {
        return Err(unknown("role", name, fleet.people.roles.keys().map(String::as_str).collect()));
    };
    let resolver = Resolver::new(fleet);
    let people = resolver.accesses().entry(entry).people;
    let people = people.into_iter().map(|(user, ways)| {
        let profile = profile_of(&ways).map(|profile| profile.name().to_owned());
        (user.clone(), HostOfUser { profile, via: ways.into_iter().map(|way| way.via).collect() })
    });
    let enables = |entry: &afield_core::fleet::model::Entry| {
        entry.roles.iter().any(|role| role.value == name)
            || entry.roles_with_profile.iter().any(|(role, _)| role.value == name)
    };
    let hosts = fleet.people.per_host.iter().filter(|(_, entry)| enables(entry));
    let roles = fleet.people.roles.iter().filter(|(_, entry)| enables(entry));
    let role = Role {
        role: name.to_owned(),
        people: people.collect(),
        hosts: hosts.map(|(host, _)| host.clone()).collect(),
        in_roles: roles.map(|(role, _)| role.clone()).collect(),
    };
    if context.out.json() {
        context.out.value(&role)?;
        return Ok(Outcome::Done);
    }
    context.out.line(&format!("role {name}\n\npeople: {}", role.people.len()))?;
    for (user, access) in &role.people {
        let ways: Vec<String> = access.via.iter().map(describe).collect();
        let profile = access.profile.as_deref().unwrap_or("conflict:");
        context.out.line(&format!("  {user}  {profile} {}", ways.join(" and ")))?;
    }
    let list = |names: Vec<String>| {
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let hosts = list(role.hosts.iter().cloned().collect());
    let roles = list(role.in_roles.iter().cloned().collect());
    context.out.line(&format!("\nenabled by hosts: {hosts}\nenabled by roles: {roles}"))?;
    Ok(Outcome::Done)
}

/// What is shown about a relay.
#[derive(Debug, Serialize)]
struct RelayShown {
    relay: Name,
    addresses: Vec<String>,
    ports: Vec<u16>,
    public_key: Option<String>,
    /// By host: the ports on the relay by tunnel. Hosts without key are there, but cannot connect.
    hosts: BTreeMap<HostName, BTreeMap<String, u16>>,
    free_ports: usize,
}

fn relay(fleet: &Fleet, name: &Name, context: &mut Context) -> CommandResult {
    let Some(server) = fleet.relays.servers.get(name) else {
        let known = fleet.relays.servers.keys().map(Name::as_str).collect();
        return Err(unknown("relay", name.as_str(), known));
    };
    let open = fleet.tunnels.iter().filter(|(_, tunnel)| tunnel.port.value != 0);
    let hosts: BTreeMap<HostName, BTreeMap<String, u16>> = open
        .map(|(host, tunnel)| {
            let ports = tunnel.reverse.iter();
            let ports = ports.map(|(name, reverse)| (name.clone(), tunnel.relay_port(reverse)));
            (host.clone(), ports.collect())
        })
        .collect();
    let relay = RelayShown {
        relay: name.clone(),
        addresses: server.addresses.clone(),
        ports: server.ports.clone(),
        public_key: fleet.relays.public_key.as_ref().map(|key| key.value.text.clone()),
        free_ports: 8000 - hosts.len().min(8000),
        hosts,
    };
    if context.out.json() {
        context.out.value(&relay)?;
        return Ok(Outcome::Done);
    }
    let ports: Vec<String> = relay.ports.iter().map(ToString::to_string).collect();
    let (addresses, ports) = (relay.addresses.join(", "), ports.join(", "));
    context.out.line(&format!("relay {name}: {addresses}; ports {ports}"))?;
    context.out.line(&format!(
        "\nhosts: {} ({} ports are free)",
        relay.hosts.len(),
        relay.free_ports
    ))?;
    for (host, tunnels) in &relay.hosts {
        let tunnels: Vec<String> = tunnels.iter().map(|(n, p)| format!("{n} {p}")).collect();
        context.out.line(&format!("  {host}: {}", tunnels.join(", ")))?;
    }
    Ok(Outcome::Done)
}
