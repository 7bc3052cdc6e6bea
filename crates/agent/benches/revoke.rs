//! `cargo bench-revoke`: what one host fetches when a person's key is taken away, by the size of the fleet. A real agent
//! asks a real server; the other hosts stand in the manifest with addresses of their own, and are not run.
//!
//! Does nothing without `--run`, since `cargo test --all-targets` starts it too.
#![allow(clippy::unwrap_used, reason = "a bench ends where it goes wrong")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use afield_core::host_data::{Access, HostData};
use afield_core::ids::{ObjectId, ReleaseId};
use afield_core::release::{HostRelease, ObjectRef};
use afield_testkit::fleet::{Fleet, data, secret};
use afield_testkit::host::{Host, key};
use afield_testkit::server::Server;
use afield_testkit::system::{Contract, System};
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Measure.
    #[arg(long)]
    run: bool,
    /// Hosts of the fleets that are measured.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    hosts: Vec<usize>,
    /// People on the host.
    #[arg(long, default_value_t = 20)]
    people: usize,
    /// Taken for cargo, which passes it on.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if !args.run {
        return;
    }
    println!(
        "One of {} people is taken off every host; bytes of bodies that one host fetches.",
        args.people
    );
    println!(
        "{:>6}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
        "hosts", "host data", "manifest", "metadata", "others", "all"
    );
    for hosts in &args.hosts {
        let sizes = measure(*hosts, args.people);
        let all: u64 = sizes.values().sum();
        let of = |kind: &str| sizes.get(kind).copied().unwrap_or_default();
        println!(
            "{hosts:>6}  {:>9}  {:>9}  {:>9}  {:>9}  {all:>9}",
            of("host data"),
            of("manifest"),
            of("metadata"),
            of("others")
        );
    }
}

/// Bytes by kind of file, of the check-in that takes the access away.
fn measure(hosts: usize, people: usize) -> BTreeMap<&'static str, u64> {
    let mut fleet = Fleet::new();
    let server = Server::start(fleet.path());
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_afield-agent"));
    let host = Host::new("clinic", agent.to_str().unwrap(), &fleet, &server);
    let system = System::new("one", Contract::Honest);
    publish(&mut fleet, 1, hosts, &told(people), &system);
    check_in(&host);
    server.requests();
    let mut without = told(people);
    without.access.pop_last();
    let document = publish(&mut fleet, 2, hosts, &without, &system);
    check_in(&host);
    let mut sizes = BTreeMap::new();
    for request in server.requests().into_iter().filter(|r| r.method == "GET") {
        let Ok(meta) = std::fs::metadata(fleet.path().join(&request.path)) else {
            continue;
        };
        let kind = match request.path.split('/').next().unwrap() {
            _ if request.path.ends_with(&document.hex()) => "host data",
            "targets" => "manifest",
            "metadata" => "metadata",
            _ => "others",
        };
        *sizes.entry(kind).or_default() += meta.len() - request.from;
    }
    sizes
}

fn check_in(host: &Host) {
    let (code, said) = host.once();
    assert_eq!(code, 0, "{said}");
}

fn told(people: usize) -> HostData {
    let mut data = data(&"clinic".parse().unwrap(), "config");
    for n in 0..people {
        let body = data_encoding::BASE64.encode(secret(n as u8).public().as_bytes());
        let keys = vec![format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{body} person{n}")];
        data.access
            .insert(format!("person{n}"), Access { profile: "devops".into(), keys, expires: None });
    }
    data
}

/// Publishes and assigns a release in which every host's host data is new. Returns the address of the measured host's.
fn publish(fleet: &mut Fleet, n: u64, hosts: usize, data: &HostData, system: &System) -> ObjectId {
    let mut shares = BTreeMap::new();
    let own = fleet.share(system, data, key().public());
    let document = own.data.id;
    shares.insert("clinic".parse().unwrap(), own.clone());
    for other in 1..hosts {
        let address = |what: &str| ObjectRef {
            id: ObjectId::of(format!("{what} {other}").as_bytes()),
            size: 1000,
        };
        let digits: String = ObjectId::of(&other.to_le_bytes())
            .hex()
            .chars()
            .filter(|c| *c != 'e')
            .take(32)
            .collect();
        let share = HostRelease {
            system: format!("/nix/store/{digits}-system").parse().unwrap(),
            closure: address("closure"),
            delivery: address("delivery"),
            data: address(&format!("data {n}")),
            key: Some(secret(other as u8).public()),
            ..own.clone()
        };
        shares.insert(format!("host{other}").parse().unwrap(), share);
    }
    let manifest = fleet.manifest(ReleaseId(n), shares);
    fleet.publish(&manifest, 90);
    fleet.assign("clinic", ReleaseId(n));
    document
}
