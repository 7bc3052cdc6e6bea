//! The word for a host, by its last report, what was heard before, and what it is assigned.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use afield_core::ids::ReleaseId;
use afield_core::report::{Event, MAX_TEXT, Report};
use afield_core::rollout::Rollout;
use afield_core::status::{FleetStatus, HostStatus, Record, Sight, State, ago, bytes};
use jiff::{SignedDuration, Timestamp};

fn rolled_back() -> Event {
    Event::RolledBack {
        from: ReleaseId(2),
        why: "no answer".into(),
        log: vec!["x".repeat(999); 99],
    }
}

fn stuck() -> Event {
    Event::Stuck { from: ReleaseId(2), why: "no answer".into(), log: vec![] }
}

/// A host that runs release 1, is assigned `assigned`, said `events`, and nothing for `age` seconds since.
fn host(events: &[Event], assigned: u64, age: i64) -> HostStatus {
    let heard: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let mut records: BTreeMap<_, Record> = BTreeMap::new();
    for event in events {
        let last = Report {
            fleet: "field".parse().unwrap(),
            host: "aa".parse().unwrap(),
            seq: 1,
            time: Timestamp::UNIX_EPOCH,
            agent: "test".into(),
            release: Some(ReleaseId(1)),
            system: None,
            event: event.clone(),
            checks: vec![],
            notes: vec![],
        };
        let mut health = records.remove(&last.host).map(|r| r.health).unwrap_or_default();
        health.observe(&last, heard);
        records.insert(last.host.clone(), Record { health, last, received: heard });
    }
    let rollout = Rollout {
        assigned: [("aa".parse().unwrap(), ReleaseId(assigned))].into(),
        ..Rollout::default()
    };
    let manifest: afield_core::release::Manifest = serde_json::from_value(serde_json::json!({
        "format": 1, "fleet": "field", "release": 9, "created": heard, "waves": [], "hosts": {"aa": {
            "system": format!("/nix/store/{}-a", "0".repeat(32)), "fresh_days": 1,
            "closure": object(), "delivery": object(), "data": object(),
        }},
    }))
    .unwrap();
    let status = FleetStatus::of(Sight {
        now: heard + SignedDuration::from_secs(age),
        rollout: &rollout,
        records: &records,
        manifests: &[(ReleaseId(9), manifest.into())].into(),
        problems: vec![],
    });
    status.hosts.into_iter().next().unwrap()
}

fn object() -> serde_json::Value {
    serde_json::json!({"id": format!("sha256:{}", "0".repeat(64)), "size": 1})
}

#[test]
fn every_state_has_its_word() {
    let updating = Event::Updating { to: ReleaseId(2), done: 1, total: 2 };
    let refused = Event::Refused { code: "old".into(), why: "too old".into() };
    let healthy = Event::Healthy;
    let cases: &[(Vec<Event>, u64, i64, State)] = &[
        (vec![], 1, 0, State::NeverSeen),
        (vec![healthy.clone()], 1, 0, State::Healthy),
        (vec![healthy.clone()], 1, 3600, State::Healthy),
        (vec![healthy.clone()], 1, 3601, State::Silent),
        (vec![healthy.clone()], 2, 0, State::Waiting),
        (vec![updating], 2, 0, State::Updating),
        (vec![refused], 2, 0, State::Refused),
        (vec![Event::Unhealthy], 1, 0, State::Unhealthy),
        (vec![Event::Unhealthy, healthy.clone()], 1, 0, State::Healthy),
        (vec![rolled_back()], 2, 0, State::RolledBack),
        (vec![rolled_back(), healthy.clone()], 2, 0, State::RolledBack),
        (vec![rolled_back(), healthy.clone()], 3, 0, State::Waiting),
        (vec![rolled_back(), Event::Unhealthy], 2, 0, State::Unhealthy),
        (vec![stuck()], 2, 0, State::Stuck),
        (vec![stuck(), Event::Unhealthy], 2, 0, State::Stuck),
        (vec![stuck(), healthy], 2, 0, State::RolledBack),
        (vec![rolled_back()], 2, 3601, State::Silent),
    ];
    for (events, assigned, age, expected) in cases {
        let found = host(events, *assigned, *age);
        assert_eq!(found.state, *expected, "{events:?}, assigned {assigned}, after {age} s");
        assert_eq!(serde_json::to_value(found.state).unwrap(), expected.word());
        let failed =
            events.iter().any(|e| matches!(e, Event::RolledBack { .. } | Event::Stuck { .. }));
        assert_eq!(found.failure.is_some(), failed || *expected == State::Unhealthy);
    }
}

#[test]
fn what_a_host_says_is_cut() {
    let failure = host(&[rolled_back()], 2, 0).failure.unwrap();
    assert_eq!(failure.log.len(), 20);
    assert!(failure.log.iter().all(|line| line.len() == MAX_TEXT));
}

#[test]
fn times_and_sizes_are_said_as_people_say_them() {
    for (secs, said) in [
        (-5, "0 s"),
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (i64::MAX, "106751991167300 days"),
    ] {
        assert_eq!(ago(secs), said);
    }
    for (n, said) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 << 10, "100 KiB"),
        ((1 << 20) - 1, "1023 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (u64::MAX, "16777215 TiB"),
    ] {
        assert_eq!(bytes(n), said);
    }
}
