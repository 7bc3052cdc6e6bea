//! What tunnels cost while nobody uses them: bytes on the wire, and processor time on the host.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};

use crate::lane::{Known, Who, agent_command, reaches, relay_script};
use crate::usage::Usage;

/// Relays of the host.
const NAMES: [&str; 3] = ["bru", "fra", "nbo"];

/// Measures for so long, and tells what an hour comes to.
pub fn run(minutes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let key = SshKey::new(dir.path(), "key");
    let site = Net::new();
    site.echo(22, "clinic");
    let relays: Vec<SshRelay> =
        NAMES.iter().map(|_| SshRelay::new(&relay_script(Who::Ours, &key))).collect();
    (1..).zip(&relays).for_each(|(n, relay)| site.cable(n, &relay.net));
    let addresses: Vec<[String; 1]> = (1..4).map(|n| [format!("10.77.{n}.2")]).collect();
    let each: Vec<[&str; 1]> = addresses.iter().map(|[a]| [a.as_str()]).collect();
    let known: Vec<Known> = NAMES
        .iter()
        .zip(&each)
        .zip(&relays)
        .map(|((name, addresses), relay)| {
            let host_key = relay.host_key.public.as_str();
            Known { name, addresses, ports: &[22, 443], host_key }
        })
        .collect();
    let mut command = agent_command(&known, &key, 2001, dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = site.enter(|| command.spawn().unwrap());
    wait_for("all tunnels", Duration::from_secs(120), || relays.iter().all(reaches));
    // Those who looked just now count as visitors for a while.
    std::thread::sleep(Duration::from_secs(30));
    let (wire, host) = (Wire::of(&site), Usage::of(&[agent.id()]));
    std::thread::sleep(Duration::from_secs(minutes * 60));
    let (wire_after, host_after) = (Wire::of(&site), Usage::of(&[agent.id()]));
    agent.kill().unwrap();
    agent.wait().unwrap();
    println!("an idle hour, from {minutes} minutes of it; the first relay by name is the watch:");
    for (name, (before, after)) in NAMES.iter().zip(wire.0.iter().zip(&wire_after.0)) {
        let hourly = |now: u64, then: u64| (now - then) * 60 / minutes;
        println!(
            "{name}: {} bytes on the wire of an Ethernet link, {} packets",
            hourly(after.0, before.0),
            hourly(after.1, before.1)
        );
    }
    println!(
        "on the host: {} processes, {:.1} ms of processor time a minute",
        host_after.processes,
        host_after.nanos.saturating_sub(host.nanos) as f64 / 1e6 / minutes as f64
    );
}

/// Bytes and packets in both directions, by cable.
struct Wire(Vec<(u64, u64)>);

impl Wire {
    fn of(site: &Net) -> Self {
        let table = site.enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let of = |n: usize| {
            let name = format!("cable{n}:");
            let line = table.lines().find_map(|l| l.trim_start().strip_prefix(&name)).unwrap();
            let all: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
            (all[0] + all[8], all[1] + all[9])
        };
        Self((1..=NAMES.len()).map(of).collect())
    }
}
