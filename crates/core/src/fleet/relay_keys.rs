//! The two accounts of relays: `tunnel` for hosts that listen, `tunneller` for people who pass through.

use std::collections::{BTreeMap, BTreeSet};

use super::access::profile_of;
use super::model::Fleet;
use super::render::natural_key;
use super::resolve::Resolver;
use crate::certificate::on_relays;
use crate::ids::UserName;

/// More `permitopen` than this in one line make sshd refuse the key (SSH_AUTHOPT_PERMIT_MAX of OpenSSH).
const MOST_PORTS: usize = 4096;

/// One line per host with key and port, in natural order (spec "fleet folder" §3).
pub(super) fn tunnel(fleet: &Fleet) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, tunnel) in &fleet.tunnels {
        let Some(key) = tunnel.key.as_ref().filter(|_| tunnel.port.value != 0) else {
            continue;
        };
        let listen = tunnel.reverse.values().map(|reverse| {
            let port = tunnel.relay_port(reverse);
            format!("restrict,port-forwarding,permitlisten=\"{port}\"")
        });
        let listen: Vec<String> = listen.collect();
        lines.push(format!("{} {} tunnel@{host}", listen.join(","), key.value.text));
    }
    lines.sort_by_cached_key(|line| natural_key(line));
    lines
}

/// One line per key of each person who may reach a host through the relay, with just the ports of those hosts.
///
/// The person's own options follow, but not those that would take back a restriction. An expiry date is left to sshd,
/// which keeps to it without hearing from anyone.
pub(super) fn tunneller(fleet: &Fleet, resolver: &Resolver<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (user, start) in rights(fleet, resolver) {
        for key in resolver.keys_of(&user).iter() {
            let own = key.options.iter().filter(|option| restricts(option));
            let options: String = own.map(|option| format!(",{option}")).collect();
            lines.push(format!("{start}{options} {} {user}", key.key));
        }
    }
    lines
}

/// The same for certificates: one line per person, whose keys stand in no file.
pub(super) fn principals(fleet: &Fleet, resolver: &Resolver<'_>) -> Vec<String> {
    let rights = rights(fleet, resolver).into_iter();
    rights.map(|(user, start)| format!("{start} {}", on_relays(&user))).collect()
}

/// What each person may do on a relay, as options of a line.
fn rights(fleet: &Fleet, resolver: &Resolver<'_>) -> BTreeMap<UserName, String> {
    let mut ports: BTreeMap<UserName, BTreeSet<u16>> = BTreeMap::new();
    for (host, tunnel) in &fleet.tunnels {
        if tunnel.port.value == 0 || !fleet.hosts.contains_key(host) {
            continue;
        }
        let access = resolver.accesses().host(host.as_str());
        if access.broken {
            continue;
        }
        for (user, ways) in &access.people {
            if profile_of(ways).is_some_and(|profile| profile.rights().tunnel) {
                let reached = tunnel.reverse.values().map(|reverse| tunnel.relay_port(reverse));
                match ports.get_mut(*user) {
                    Some(all) => all.extend(reached),
                    None => drop(ports.insert((*user).clone(), reached.collect())),
                }
            }
        }
    }
    ports
        .into_iter()
        .map(|(user, ports)| {
            let mut start = vec!["restrict,port-forwarding".to_owned()];
            match ports.len() > MOST_PORTS {
                true => start.push("permitopen=\"localhost:*\"".to_owned()),
                false => start
                    .extend(ports.iter().map(|port| format!("permitopen=\"localhost:{port}\""))),
            }
            if let Some(day) = fleet.expiry(&user) {
                start.push(format!("expiry-time=\"{}\"", day.strftime("%Y%m%d")));
            }
            (user, start.join(","))
        })
        .collect()
}

/// Whether an option of authorized_keys only ever takes rights away (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
fn restricts(option: &str) -> bool {
    const FINE: [&str; 8] = [
        "cert-authority",
        "principals",
        "from",
        "expiry-time",
        "restrict",
        "verify-required",
        "touch-required",
        "no-",
    ];
    // One text may hold several options; with a comma outside quotes the first name does not speak for all.
    let name = option.split(['=', '"']).next().unwrap_or("").to_ascii_lowercase();
    let one = !outside_quotes(option).contains(',');
    one && FINE.iter().any(|fine| name == *fine || (fine.ends_with('-') && name.starts_with(fine)))
}

fn outside_quotes(option: &str) -> String {
    option.split('"').step_by(2).collect()
}
