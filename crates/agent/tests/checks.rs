//! Each kind of check, passing and failing, and what the agent does with a memory that is damaged or newer.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use afield_core::host_data::{Check, HostData, Probe};
use afield_core::ids::ReleaseId;
use afield_core::span::Span;
use afield_testkit::fleet::data;
use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use common::Bed;

fn check(probe: Probe) -> Check {
    Check {
        name: "looked-at".parse().unwrap(),
        probe,
        deadline: Span::secs(2),
        tries: 2,
        pause: Span::secs(0),
        log: Some("/var/log/site.log".into()),
    }
}

/// Releases a system to a settled host with this check; whether it stayed, and what was seen.
fn judged(bed: &mut Bed, text: &str, probe: Probe) -> (bool, String) {
    let system = System::new(text, Contract::Honest);
    let host = "clinic".parse().unwrap();
    let data = HostData { checks: vec![check(probe)], ..data(&host, text) };
    let share = bed.fleet.share(&system, &data, key().public());
    let id = ReleaseId(bed.fleet.releases.len() as u64 + 1);
    let manifest = bed.fleet.manifest(id, BTreeMap::from([(host, share)]));
    bed.fleet.publish(&manifest, 90);
    bed.fleet.assign("clinic", id);
    let (code, said) = bed.host.once();
    match code {
        0 => (true, said["checks"][0]["saw"].to_string()),
        _ => (false, said["event"]["why"].to_string()),
    }
}

fn both(good: Probe, bad: Probe, words: &str) {
    let mut bed = Bed::settled();
    fs::write(bed.host.path("var/log/site.log"), "the last words\n").unwrap();
    let (stayed, saw) = judged(&mut bed, "two", good);
    assert!(stayed, "{saw}");
    let (stayed, saw) = judged(&mut bed, "three", bad);
    assert!(!stayed, "{saw}");
    assert!(saw.contains("check looked-at") && saw.contains(words), "{saw}");
    assert_eq!(bed.host.text("etc/site"), "two");
    let reports = bed.server.reports();
    let told = serde_json::to_string(&reports).unwrap();
    assert!(told.contains("the last words"), "{told}");
}

/// An address on this machine on which nothing listens.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn http() {
    let bed = Bed::new();
    fs::write(bed.fleet.path().join("page"), "all is well").unwrap();
    let page = |name: &str, contains: &str| Probe::Http {
        url: format!("{}/{name}", bed.server.url()),
        status: 200,
        contains: Some(contains.into()),
    };
    both(page("page", "well"), page("page", "ill"), "does not contain");
    both(page("page", "well"), page("none", "well"), "status 404, not 200");
}

#[test]
fn tcp() {
    let bed = Bed::new();
    let open = bed.server.url().trim_start_matches("http://").to_owned();
    both(Probe::Tcp { address: open }, Probe::Tcp { address: closed() }, "refused");
}

#[test]
fn command() {
    let system = System::new("any", Contract::Honest);
    let busybox = format!("{}/bin/busybox", system.paths[0].info.path);
    let run = |words: &[&str]| {
        let command = [busybox.as_str()].iter().chain(words).map(|w| (*w).to_owned()).collect();
        Probe::Command { command }
    };
    both(run(&["true"]), run(&["false"]), "exit status: 1");
    both(run(&["true"]), run(&["sleep", "60"]), "no end after 2 s");
}

#[test]
fn file() {
    let site =
        |contains: &str| Probe::File { path: "/etc/site".into(), contains: Some(contains.into()) };
    both(site("two"), site("four"), "does not contain");
}

#[test]
fn unit() {
    // No systemd runs in a test's folder, so that only the refusal can be seen here.
    let mut bed = Bed::settled();
    let unit = Probe::Unit { unit: "no-such-unit.service".into() };
    let (stayed, saw) = judged(&mut bed, "two", unit);
    assert!(!stayed && saw.contains("no-such-unit.service is not active"), "{saw}");
}

#[test]
fn damaged_memory_is_set_aside_and_the_host_goes_on() {
    let mut bed = Bed::settled();
    let state = bed.host.path("var/lib/afield/state.json");
    fs::write(&state, "half a st").unwrap();
    bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    assert!(said["notes"].to_string().contains("was damaged"), "{said}");
    assert_eq!(bed.host.text("var/lib/afield/state.damaged"), "half a st");
}

#[test]
fn memory_of_a_newer_agent_is_left_alone() {
    let bed = Bed::settled();
    let state = bed.host.path("var/lib/afield/state.json");
    let newer = bed.host.text("var/lib/afield/state.json").replacen(":1,", ":2,", 1);
    fs::write(&state, &newer).unwrap();
    let (code, said) = bed.host.once();
    assert_eq!(code, 1);
    assert!(said["stderr"].to_string().contains("format 2"), "{said}");
    assert_eq!(bed.host.text("var/lib/afield/state.json"), newer);
}

#[test]
fn a_wrong_configuration_says_where() {
    let bed = Bed::new();
    let toml = bed.host.text("etc/afield/agent.toml");
    for (bad, word) in [
        (toml.replace("heartbeat", "hartbeat"), "hartbeat"),
        (toml.replace("\"clinic\"", "\"-clinic\""), "host name"),
        (toml.replace("repositories = [", "repositories = [\"ftp://x\", "), "ftp://x"),
    ] {
        fs::write(bed.host.config(), bad).unwrap();
        let output = bed.host.run(&["check-config"], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("agent.toml") && said.contains(word), "{said}");
    }
}
