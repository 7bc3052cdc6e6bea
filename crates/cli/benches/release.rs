//! `cargo bench-release`: what a release with patches takes by the size of the fleet, when its hosts share most of what
//! they have, and what one host reads to know what it lacks. Real Nix builds, and the real `afield release` publishes.
//!
//! Does nothing without `--run`, since `cargo test --all-targets` starts it too.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench ends where it goes wrong")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use afield_core::ids::ReleaseId;
use afield_core::release::{Closure, Delivery};
use afield_store::repository::Repository;
use clap::Parser;
use common::Field;

#[derive(Parser)]
struct Args {
    /// Measure.
    #[arg(long)]
    run: bool,
    /// Hosts of the fleets that are measured.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
    hosts: Vec<usize>,
    /// Packages that all hosts share: programs of this machine, changed in a few places by the second release.
    #[arg(long, default_value_t = 20)]
    packages: usize,
    /// Taken for cargo, which passes it on.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if !args.run {
        return;
    }
    let programs = programs(args.packages);
    println!(
        "{:>6} {:>9} {:>9} {:>11} {:>8} {:>12} {:>12} {:>9}",
        "hosts", "new paths", "patches", "bytes", "seconds", "a host reads", "of its", "which is"
    );
    for hosts in &args.hosts {
        measure(*hosts, &programs);
    }
}

/// Programs of this machine, neither small nor large.
fn programs(n: usize) -> Vec<Vec<u8>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/usr/bin").unwrap().flatten() {
        let real =
            entry.metadata().is_ok_and(|m| m.is_file() && (300_000..2_000_000).contains(&m.len()));
        if real && !entry.file_type().unwrap().is_symlink() {
            found.insert(entry.path());
        }
    }
    let programs: Vec<Vec<u8>> = found.iter().take(n).map(|p| fs::read(p).unwrap()).collect();
    assert_eq!(programs.len(), n, "this machine has too few programs");
    programs
}

/// The same program as an update has it: a few bytes changed here, some put in there.
fn changed(program: &[u8]) -> Vec<u8> {
    let mut new = Vec::new();
    for (k, piece) in program.chunks(20_000).enumerate() {
        new.extend(piece);
        new.extend(format!("{}", k * 7919).as_bytes());
        let at = new.len() - 20;
        new[at] ^= 0x55;
    }
    new
}

fn measure(hosts: usize, programs: &[Vec<u8>]) {
    let names: Vec<String> = (0..hosts).map(|n| format!("h{n}")).collect();
    let field = Field::new(&[]);
    for name in &names {
        field.write(&format!("org-config/hosts/{name}.nix"), "{ }\n");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    field.waves(&names[..1], &names[1..]);
    field.run(&["keys", "init", "--out", "keys"]).code(0);
    publish(&field, &names, programs, 1);
    let updated: Vec<Vec<u8>> = programs.iter().map(|p| changed(p)).collect();
    let (packed, seconds) = publish(&field, &names, &updated, 2);

    let trusted = field.trusted(&fs::read(field.path("keys/root.json")).unwrap());
    let repository = Repository::open(&field.path("repository")).unwrap();
    let manifest = repository.manifest(&trusted, ReleaseId(2)).unwrap();
    let mut distinct = BTreeSet::new();
    for host in manifest.hosts.values() {
        let closure: Closure = repository.document(&host.closure).unwrap();
        distinct.extend(closure.paths.into_iter().map(|info| info.path));
    }
    let host = manifest.hosts.values().next().unwrap();
    let closure: Closure = repository.document(&host.closure).unwrap();
    let _: Delivery = repository.document(&host.delivery).unwrap();
    let size: u64 = closure.paths.iter().map(|info| info.nar_size).sum();
    let documents = [&trusted.releases[&ReleaseId(2)], &host.closure, &host.delivery, &host.data];
    let reads = documents.iter().map(|d| d.size).sum::<u64>() + metadata(&field);
    println!(
        "{hosts:>6} {:>9} {:>9} {:>11} {seconds:>8.1} {reads:>12} {size:>12} {:>8.3}%",
        distinct.len(),
        packed["patches"],
        packed["patch_bytes"],
        reads as f64 * 100.0 / size as f64
    );
}

/// Bytes of the newest files of trust.
fn metadata(field: &Field) -> u64 {
    let newest = ["timestamp.json", "2.snapshot.json", "2.targets.json"];
    let len =
        |name: &&str| fs::metadata(field.path("repository/metadata").join(name)).unwrap().len();
    newest.iter().map(len).sum()
}

/// Builds and publishes; what was packed, and how long publishing took.
fn publish(
    field: &Field,
    hosts: &[&str],
    programs: &[Vec<u8>],
    n: u64,
) -> (serde_json::Value, f64) {
    let mut packages = String::new();
    for (k, program) in programs.iter().enumerate() {
        fs::create_dir_all(field.path("data")).unwrap();
        fs::write(field.path(&format!("data/p{k}")), program).unwrap();
        let copy = format!("${{busybox}}/busybox cp ${{./data/p{k}}} $out/program");
        packages.push_str(&format!("${{mk \"p{k}-{n}\" \"{copy}\"}} "));
    }
    let value = |host: &str| {
        let own = format!("${{mk \"etc-{host}\" \"echo {host} {n} > $out/name\"}}");
        format!("mk \"system-{host}\" \"echo {packages} {own} > $out/x\"")
    };
    let systems: Vec<(&str, String)> = hosts.iter().map(|host| (*host, value(host))).collect();
    let systems: Vec<(&str, &str)> = systems.iter().map(|(h, v)| (*h, v.as_str())).collect();
    field.systems(&systems);
    field.run(&["build"]).code(0);
    let against = (n - 1).to_string();
    let mut args = vec!["release", "--keys", "keys", "--json"];
    if n > 1 {
        args.extend(["--against", &against]);
    }
    let start = Instant::now();
    let report = field.run(&args).code(0).json();
    (report["packed"].clone(), start.elapsed().as_secs_f64())
}
