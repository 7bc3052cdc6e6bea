//! A clock that is ten years off, from the start or from the middle of an update on: told, nothing lost, nothing expired let
//! in and nobody locked out for good; with the clock set right the next check-in completes. Times come from `AFIELD_CLOCK`.
#![allow(clippy::unwrap_used)]

mod common;

use afield_core::report::Event;
use afield_testkit::fleet::days;
use afield_testkit::host::Host;
use afield_testkit::server::Server;
use afield_testkit::system::Contract;
use common::{Bed, people};
use jiff::Timestamp;
use serde_json::Value;

/// Points all over an update: before anything, while it is fetched and imported, begun, activated, proved, recorded, told.
const POINTS: [&str; 7] = [
    "state:accept:before",
    "fetch:",
    "state:begin:after",
    "activate:job-written",
    "activate:ended",
    "promote:",
    "state:commit:after",
];

/// Dead battery, and a typing error in the year.
const OFF: [i64; 2] = [-3650, 3650];

fn state(host: &Host) -> Value {
    serde_json::from_str(&host.text("var/lib/afield/state.json")).unwrap()
}

/// Nothing that a host must remember is less than it was.
fn nothing_is_lost(before: &Value, after: &Value, when: &str) {
    for key in ["seq", "release_seen"] {
        assert!(after[key].as_u64() >= before[key].as_u64(), "{when}: {key} of {after}");
    }
    let known = |of: &Value| of["assignment"][0].as_u64();
    assert!(known(after) >= known(before), "{when}: {after}");
    assert_eq!(after["quarantined"], before["quarantined"], "{when}");
    assert!(after["signed_time"].as_str() >= before["signed_time"].as_str(), "{when}: {after}");
}

/// A host at release 1, where 2 failed and 3 is assigned.
fn scene() -> Bed {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::BrokenService, "config two");
    assert_eq!(bed.host.once().0, 1);
    bed.offer("three", Contract::Honest, "config three");
    bed
}

/// The first of the points that an update passes whose names begin so, each with its number.
fn points(bed: &Bed) -> Vec<String> {
    let all = bed.fault_points();
    let first = |name: &&str| all.iter().find(|point| point.starts_with(*name)).cloned();
    let found: Vec<String> = POINTS.iter().filter_map(first).collect();
    assert_eq!(found.len(), POINTS.len(), "{found:?} of {all:?}");
    found
}

#[test]
fn a_wrong_clock_anywhere_in_an_update_loses_nothing() {
    let bed = scene();
    let year = |off: i64| days(bed.fleet.now, off).to_string();
    for point in points(&bed) {
        for off in OFF {
            let wrong = year(off);
            let server = Server::start(bed.fleet.path());
            let host = bed.host.copy(&server);
            let before = state(&host);
            let when = format!("{point}, {off} days off");
            // The power fails; the battery is dead when it comes back.
            let (code, said) = host.once_with(&[("AFIELD_FAULT", &point)]);
            assert_eq!(code, -1, "{when}: not passed: {said}");
            let (code, said) = host.once_with(&[("AFIELD_CLOCK", &wrong)]);
            assert!([0, 3].contains(&code), "{when}: {code}: {said}");
            let text = said.to_string();
            assert!(
                text.contains("the clock says") || text.contains("expired"),
                "{when}: not told: {said}"
            );
            nothing_is_lost(&before, &state(&host), &when);
            // The other way round: it is wrong from the start, and the power fails.
            host.once_with(&[("AFIELD_CLOCK", &wrong), ("AFIELD_FAULT", &point)]);
            nothing_is_lost(&before, &state(&host), &when);
            let (code, said) = host.once();
            assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{when}: {said}");
            assert_eq!(host.text("etc/site"), "three", "{when}");
            nothing_is_lost(&before, &state(&host), &when);
            let reports = server.reports();
            assert_eq!(
                reports.last().map(|r| &r.event),
                Some(&Event::Healthy),
                "{when}: {reports:?}"
            );
            assert!(reports.is_sorted_by_key(|r| r.seq), "{when}: {reports:?}");
        }
    }
}

#[test]
fn a_wrong_clock_locks_nobody_out_for_good_and_lets_nobody_back_in() {
    let day = |off: i64| days(Timestamp::now(), off).strftime("%F").to_string();
    let (past, future) = (day(-2), day(200));
    let list =
        [("ann", "admin", None), ("rem", "admin", Some(&*future)), ("eve", "admin", Some(&*past))];
    let bed = Bed::settled_with(&people(&list));
    let has = |name: &str| {
        bed.host.path(&format!("var/lib/afield-access/authorized_keys.d/{name}")).exists()
    };
    let who = || ["ann", "rem", "eve"].map(has);
    assert_eq!(who(), [true, true, false]);
    let at = |off: i64| {
        let clock = days(bed.fleet.now, off).to_string();
        bed.host.once_with(&[("AFIELD_CLOCK", &clock)]).1
    };
    for epoch in [-3650, -20_000] {
        let said = at(epoch);
        assert_eq!(who(), [true, true, false], "{said}");
    }
    // What expires is out when the clock says so, and back when that was not true.
    let said = at(3650);
    assert_eq!(who(), [true, false, false], "{said}");
    let (code, said) = bed.host.once();
    assert_eq!((code, who()), (0, [true, true, false]), "{said}");
}
