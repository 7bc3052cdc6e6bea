//! Many tunnels at one relay: what each costs there, and how they come back after the relay restarts.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use afield_core::relay::{Relay, install_script};
use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};

use crate::lane::{Known, agent_command};
use crate::usage::Usage;

/// The first host's port on the relay.
const FIRST: u16 = 2001;
/// At most this long for all.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures with so many tunnels.
pub fn run(tunnels: u16) {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<SshKey> =
        (0..tunnels).map(|n| SshKey::new(dir.path(), &format!("key{n}"))).collect();
    let lines = keys.iter().zip(FIRST..).map(|(key, port)| {
        format!("restrict,port-forwarding,permitlisten=\"{port}\" {} tunnel@h{port}", key.public)
    });
    let relay = Relay { ports: vec![22, 443], tunnel: lines.collect(), ..Relay::default() };
    let mut relay = SshRelay::new(&install_script(&"relay".parse().unwrap(), &relay));
    let site = Net::new();
    site.cable(1, &relay.net);
    let ways = many_addresses(&site, &relay.net);
    site.echo(22, "clinic");
    let host_key = relay.host_key.public.clone();
    let mut hosts = Hosts(Vec::new());
    for (key, port) in keys.iter().zip(FIRST..) {
        let own = dir.path().join(port.to_string());
        fs::create_dir(&own).unwrap();
        let addresses = &["10.77.1.2"][..];
        let bru = Known { name: "bru", addresses, ports: &[22, 443], host_key: &host_key };
        let mut command = agent_command(&[bru], key, port, &own);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        hosts.0.push(site.enter(|| command.spawn().unwrap()));
        // This machine starts them one after the other; the storm comes below.
        std::thread::sleep(Duration::from_millis(40));
    }
    let want = usize::from(tunnels);
    wait_for("all tunnels", PATIENCE, || open(&relay.net, tunnels) == want);
    println!(
        "{tunnels} tunnels at one relay, its hosts behind {ways} addresses, all on this machine"
    );
    cost(&relay, &hosts, tunnels);
    storm(&mut relay, tunnels);
}

/// The hosts' agents; they end with the bench.
struct Hosts(Vec<Child>);

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in &mut self.0 {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

/// Hosts do not all come from one address: each connection leaves with the next of many.
fn many_addresses(site: &Net, relay: &Net) -> usize {
    const MANY: usize = 1000;
    relay.run("ip", &["route", "add", "10.80.0.0/22", "via", "10.77.1.1"]);
    let map: Vec<String> =
        (0..MANY).map(|n| format!("{n} : 10.80.{}.{}", n / 250, n % 250 + 1)).collect();
    let rules = format!(
        "add table ip hosts; add chain ip hosts out {{ type nat hook postrouting priority 100; }};
        add rule ip hosts out tcp dport {{ 22, 443 }} snat to numgen inc mod {MANY} map {{ {} }}",
        map.join(", ")
    );
    site.run("nft", &[&rules]);
    MANY
}

/// How many of the hosts' ports are open on the relay.
fn open(relay: &Net, tunnels: u16) -> usize {
    let table = relay.enter(|| fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    let ports: BTreeSet<u16> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, _, state) = (words.next()?, words.next()?, words.next()?);
            let (address, port) = local.split_once(':')?;
            // Listening on the loopback.
            let listens = address == "0100007F" && state == "0A";
            listens.then(|| u16::from_str_radix(port, 16).ok()).flatten()
        })
        .filter(|port| (FIRST..FIRST + tunnels).contains(port))
        .collect();
    ports.len()
}

fn cost(relay: &SshRelay, hosts: &Hosts, tunnels: u16) {
    let roots: [Vec<u32>; 2] =
        [relay.processes().into_iter().take(1).collect(), hosts.0.iter().map(Child::id).collect()];
    let before = roots.each_ref().map(|roots| Usage::of(roots));
    let pause = Duration::from_secs(60);
    std::thread::sleep(pause);
    let each = |n: u64| n as f64 / f64::from(tunnels);
    for ((place, roots), before) in ["relay", "hosts"].iter().zip(&roots).zip(before) {
        let after = Usage::of(roots);
        let spent = after.nanos.saturating_sub(before.nanos) as f64 / 1e6;
        println!(
            "{place}, a tunnel: {:.1} processes, {:.2} MB of its own ({:.2} MB with its share of what is mapped), {:.2} ms of processor time in an idle minute; all together {:.2} % of one processor",
            each(after.processes),
            each(after.private_kb) / 1024.0,
            each(after.pss_kb) / 1024.0,
            spent / f64::from(tunnels),
            spent / pause.as_millis() as f64 * 100.0
        );
    }
}

fn storm(relay: &mut SshRelay, tunnels: u16) {
    relay.stop();
    std::thread::sleep(Duration::from_secs(20));
    relay.start();
    let start = Instant::now();
    let want = usize::from(tunnels);
    let mut reached: Vec<(usize, f64)> = Vec::new();
    let (mut accepted, mut second, mut most) = (taken(&relay.net), 1, 0);
    let mut each = Vec::new();
    while reached.len() < 4 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        let (there, took) = (open(&relay.net, tunnels), start.elapsed().as_secs_f64());
        for part in [50, 90, 99, 100].into_iter().skip(reached.len()) {
            if there * 100 >= want * part {
                reached.push((part, took));
            }
        }
        if took >= f64::from(second) {
            let now = taken(&relay.net);
            most = most.max(now - accepted);
            each.push(now - accepted);
            (accepted, second) = (now, second + 1);
        }
    }
    let told: Vec<String> =
        reached.iter().map(|(part, took)| format!("{part} % after {took:.1} s")).collect();
    println!("after a restart of the relay (away for 20 s): {}", told.join(", "));
    println!("connections that it took each second: {each:?}; at most {most}");
}

/// Connections that the relay's kernel has taken so far.
fn taken(relay: &Net) -> u64 {
    let text = relay.enter(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "PassiveOpens").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
