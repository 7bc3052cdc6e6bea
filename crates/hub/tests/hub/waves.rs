//! A release on its way through the waves.

use afield_core::assignment::Action;
use afield_core::ids::ReleaseId;
use afield_core::report::Event;
use afield_core::rollout::Status;
use serde_json::json;

use crate::support::{WAVES, World, name, report, rolled_back};

#[test]
fn a_release_reaches_wave_after_wave() {
    let world = World::new();
    assert_eq!(world.assigned(), "");
    let answer = world.start_release(1, "10m").ok();
    assert_eq!(answer["changes"], json!([{"is": "reached", "wave": "first", "release": 1}]));
    assert_eq!(world.assigned(), "aachen=1");
    assert_eq!(world.state("aachen"), "never-seen");

    world.healthy("aachen", 1, 1);
    world.wait("10m");
    world.tick();
    assert_eq!(world.assigned(), "aachen=1", "silence was taken for health");
    world.healthy("aachen", 2, 1);
    assert_eq!(world.assigned(), "aachen=1 bergen=1 bremen=1");
    assert_eq!(world.state("aachen"), "healthy");

    for seq in [1, 2] {
        world.healthy("bergen", seq, 1);
        world.healthy("bremen", seq, 1);
        world.wait("10m");
    }
    assert_eq!(world.assigned(), "aachen=1 bergen=1 bremen=1 calais=1");
    world.healthy("calais", 1, 1);
    world.wait("10m");
    world.healthy("calais", 2, 1);
    assert_eq!(world.status().rollout.unwrap().status, Status::Done);
}

#[test]
fn one_failed_host_stops_it_and_is_shown_with_its_log() {
    let mut world = World::new();
    everywhere(&world, 1);
    world.publish(2, WAVES);
    world.start_release(2, "0s").ok();
    world.healthy("aachen", 10, 2);
    world.healthy("bremen", 10, 2);
    assert_eq!(world.state("bergen"), "waiting");
    let updating = Event::Updating { to: ReleaseId(2), done: 5 << 20, total: 9 << 20 };
    world.report(&report("bergen", 10, 1, updating)).ok();
    assert_eq!(world.state("bergen"), "updating");
    world.report(&rolled_back("bergen", 11, 1, 2, &["httpd: bind: in use"])).ok();
    world.healthy("bergen", 12, 1);

    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=2 calais=1");
    assert_eq!(world.state("bergen"), "rolled-back");
    let status = world.status();
    let stopped = Status::Stopped { host: name("bergen"), why: "check web failed".into() };
    assert_eq!(status.rollout.unwrap().status, stopped);
    let host = status.hosts.iter().find(|h| h.host == name("bergen")).unwrap();
    let failure = host.failure.as_ref().unwrap();
    assert_eq!(failure.log, ["httpd: bind: in use"]);
    assert_eq!(failure.checks[0].name.as_str(), "web");

    // Taken back: a newer release with the old systems.
    world.publish(3, WAVES);
    world.start_release(3, "0s").ok();
    for (seq, host) in [(20, "aachen"), (20, "bergen"), (20, "bremen"), (20, "calais")] {
        world.healthy(host, seq, 3);
    }
    assert_eq!(world.status().rollout.unwrap().status, Status::Done);
    assert!(world.status().hosts.iter().all(|h| h.failure.is_none()));
}

#[test]
fn what_was_bad_between_two_reports_that_come_together_counts() {
    let world = World::new();
    world.start_release(1, "0s").ok();
    let sealed = |r| crate::support::sealed(&r, &crate::support::host_key("aachen"));
    let both = [
        sealed(report("aachen", 2, 1, Event::Healthy)),
        sealed(report("aachen", 1, 1, Event::Unhealthy)),
    ];
    assert_eq!(world.send(&both).ok(), json!({"accepted": 2, "seq": 2}));
    assert!(matches!(world.status().rollout.unwrap().status, Status::Stopped { .. }));
    world.order(Action::Resume).ok();
    assert_eq!(world.assigned(), "aachen=1 bergen=1 bremen=1", "the operator passed it over");
}

#[test]
fn an_assignment_is_renewed_when_half_of_its_life_is_over() {
    let world = World::new();
    world.start_release(1, "10m").ok();
    let first = world.assignment("aachen").unwrap();
    world.wait("15d");
    world.tick();
    assert_eq!(world.assignment("aachen").unwrap(), first);
    world.wait("1h");
    world.tick();
    let next = world.assignment("aachen").unwrap();
    assert!(next.counter > first.counter && next.expires > first.expires);
    assert_eq!(next.release, first.release);
}

#[test]
fn a_host_that_was_not_built_holds_nobody_up_and_keeps_its_release() {
    let mut world = World::new();
    everywhere(&world, 1);
    world.publish_for(2, WAVES, &["aachen", "bergen", "calais"]);
    world.start_release(2, "0s").ok();
    world.healthy("aachen", 10, 2);
    world.healthy("bergen", 10, 2);
    assert_eq!(world.assigned(), "aachen=2 bergen=2 bremen=1 calais=2");
    world.healthy("bremen", 10, 1);
    let status = world.status();
    let host = status.hosts.iter().find(|h| h.host == name("bremen")).unwrap();
    assert!(host.notes[0].contains("not built"), "{:?}", host.notes);
    world.wait("16d");
    world.tick();
    let renewed = world.assignment("bremen").unwrap();
    assert_eq!((renewed.release, renewed.issued), (ReleaseId(1), world.now()));
}

#[test]
fn a_silent_host_is_called_so() {
    let world = World::new();
    world.start_release(1, "10m").ok();
    world.healthy("aachen", 1, 1);
    world.wait("61m");
    assert_eq!(world.state("aachen"), "silent");
    let refused = Event::Refused { code: "metadata-expired".into(), why: "too old".into() };
    world.report(&report("aachen", 2, 1, refused)).ok();
    assert_eq!(world.state("aachen"), "refused");
}

/// Brings a release to every host, without a soak.
pub fn everywhere(world: &World, release: u64) {
    world.start_release(release, "0s").ok();
    for host in ["aachen", "bergen", "bremen", "calais"] {
        world.healthy(host, 1, release);
    }
    assert_eq!(world.status().rollout.unwrap().status, Status::Done);
}
