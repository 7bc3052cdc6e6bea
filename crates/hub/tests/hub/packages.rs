//! What hosts put onto sticks, as the operator brings it to the hub.

use afield_core::bundle::{FORMAT, Package, Standing};
use afield_core::plan::Generation;
use afield_core::report::{Event, Report};
use afield_core::secrets::age::{self, Recipient};
use afield_core::secrets::hostkey::HostPublic;
use afield_core::signed::SecretKey;

use crate::support::{Answer, ROLLOUT, World, host_key, key, name, report, sealed};

fn standing(host: &str) -> Standing {
    Standing {
        fleet: "field".parse().unwrap(),
        host: name(host),
        time: "2026-11-20T12:00:00Z".parse().unwrap(),
        agent: "0.1.0".into(),
        release_seen: None,
        good: Generation { release: None, system: None, data: None },
        attempt: None,
        failed: vec![],
        log: vec!["activating".into()],
    }
}

/// Sealed to the key of a seed.
fn seal(package: &Package, to: u8) -> Vec<u8> {
    let to = Recipient::Ssh(HostPublic::from_bytes(key(to).public().as_bytes()).unwrap());
    // The same each time, which only a test may do.
    let mut fill = |buffer: &mut [u8]| buffer.fill(7);
    let plain = serde_json::to_vec(package).unwrap();
    age::encrypt(&plain, &[to], &mut fill).unwrap().file.into_bytes()
}

fn package(host: &str, signer: &SecretKey, reports: &[Report]) -> Package {
    Package {
        format: FORMAT,
        standing: sealed(&standing(host), signer),
        reports: reports.iter().map(|r| sealed(r, &host_key(r.host.as_str()))).collect(),
    }
}

fn bring(world: &World, sealed: &[u8]) -> Answer {
    world.as_operator("POST /v1/packages", sealed)
}

#[test]
fn reports_that_come_by_hand_count_as_if_the_host_had_sent_them_and_once() {
    let world = World::new();
    let reports = [1, 2, 3].map(|seq| report("aachen", seq, 1, Event::Healthy));
    let sealed = seal(&package("aachen", &host_key("aachen"), &reports), ROLLOUT);
    let first = bring(&world, &sealed).ok();
    assert_eq!((&first["reports"], &first["taken"]["accepted"]), (&3.into(), &3.into()), "{first}");
    assert_eq!(first["standing"]["log"][0], "activating");
    assert_eq!(world.state("aachen"), "healthy");
    // The same stick once more, and the host itself when its link is back.
    let again = bring(&world, &sealed).ok();
    assert_eq!(again["taken"]["accepted"], 0, "{again}");
    let answer = world.report(&reports[2]).ok();
    assert_eq!((&answer["accepted"], &answer["seq"]), (&0.into(), &3.into()));
    // One without reports still tells how the host stands.
    let none = seal(&package("aachen", &host_key("aachen"), &[]), ROLLOUT);
    assert!(bring(&world, &none).ok()["taken"].is_null());
}

#[test]
fn packages_that_lie() {
    let world = World::new();
    let honest = [report("aachen", 1, 1, Event::Healthy)];
    let package_of = |signer: &str| package("aachen", &host_key(signer), &honest);
    let whole = seal(&package_of("aachen"), ROLLOUT);
    // A stick that was pulled out; the armor's end or half of the content is missing.
    bring(&world, &whole[..whole.len() / 2]).refused(400, "cannot be opened");
    bring(&world, b"").refused(400, "cannot be opened");
    bring(&world, &vec![b'a'; 1024 * 1024 + 1]).refused(413, "longer than");
    // Sealed to another key: another fleet's, or one that was replaced.
    bring(&world, &seal(&package_of("aachen"), 21)).refused(403, "not sealed to this hub");
    // Whoever has the public key can seal, but not speak for a host.
    bring(&world, &seal(&package_of("bergen"), ROLLOUT)).refused(403, "what aachen says");
    let mut mixed = package_of("aachen");
    mixed.reports.push(sealed(&report("bergen", 1, 1, Event::Healthy), &host_key("bergen")));
    bring(&world, &seal(&mixed, ROLLOUT)).refused(400, "has a report of bergen");
    let mut newer = package_of("aachen");
    newer.format = FORMAT + 1;
    bring(&world, &seal(&newer, ROLLOUT)).refused(400, "format");
    let mut other = standing("aachen");
    other.fleet = "other".parse().unwrap();
    let mut foreign = package_of("aachen");
    foreign.standing = sealed(&other, &host_key("aachen"));
    bring(&world, &seal(&foreign, ROLLOUT)).refused(400, "the fleet other");
    // None of them was heard.
    assert_eq!(world.state("aachen"), "never-seen");
    assert_eq!(bring(&world, &whole).ok()["taken"]["accepted"], 1);
}

#[test]
fn packages_are_the_operators_to_bring() {
    let world = World::new();
    let sealed = seal(&package("aachen", &host_key("aachen"), &[]), ROLLOUT);
    world.as_host("POST /v1/packages", &sealed).refused(404, "nothing at this address");
}
