//! The site's budget on a host: what waits, what goes on, and who overrules. Times come from `AFIELD_CLOCK`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use afield_core::ids::ReleaseId;
use afield_core::report::Event;
use afield_testkit::fleet::days;
use afield_testkit::host::{Host, NIX_CONFIG};
use afield_testkit::system::Contract;
use common::Bed;
use serde_json::Value;

/// A host on release 1 to which release 2 is offered over a link with this budget.
fn offered(budget: &str) -> Bed {
    let mut bed = Bed::settled();
    bed.fleet.budget = Some(serde_json::from_str(budget).unwrap());
    bed.offer("two", Contract::Honest, "config two");
    bed
}

fn notes(said: &Value) -> String {
    said["notes"].to_string()
}

fn objects(bed: &Bed) -> usize {
    let pack = bed.delivery(ReleaseId(2)).packs[0].id.hex();
    bed.server.requests().iter().filter(|r| r.path.ends_with(&pack)).count()
}

#[test]
fn a_metered_link_waits_for_a_person_and_the_hub_hears_it() {
    let bed = offered(r#"{"ask-first":true}"#);
    let (code, said) = bed.host.once();
    assert_eq!((code, objects(&bed)), (0, 0), "{said}");
    assert!(notes(&said).contains("afield-agent once --now"), "{said}");
    let reports = bed.server.reports();
    let last = reports.last().unwrap();
    assert!(matches!(last.event, Event::Updating { to: ReleaseId(2), total: 1.., .. }), "{last:?}");
    assert!(last.notes.iter().any(|n| n.contains("metered")), "{last:?}");
    assert_eq!(bed.host.text("etc/site"), "one");
    let output = bed.host.run(&["plan"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("metered") && text.contains("bytes are to come"), "{text}");
    let output = bed.host.run(&["once", "--now"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(bed.host.text("etc/site"), "two");
}

#[test]
fn outside_of_its_window_a_host_waits() {
    let bed = offered(r#"{"windows":["22:00-06:00"],"utc-offset":"+02:00"}"#);
    let at = |time: &str| {
        // A day later, so that no clock is set back.
        let day = days(bed.fleet.now, 1).strftime("%F").to_string();
        bed.host.once_with(&[("AFIELD_CLOCK", &format!("{day}T{time}Z"))])
    };
    let (code, said) = at("12:00:00");
    assert_eq!((code, objects(&bed)), (0, 0), "{said}");
    assert!(notes(&said).contains("T20:00:00Z"), "{said}");
    let (code, said) = at("20:00:00");
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
}

#[test]
fn a_host_stops_at_the_bytes_of_the_day_and_goes_on_with_the_next() {
    // The documents of a release count as well.
    let mut bed = Bed::new();
    bed.fleet.budget = Some(serde_json::from_str(r#"{"bytes-per-day":"300kB"}"#).unwrap());
    bed.offer("one", Contract::Honest, "config one");
    let day = |host: &Host, n: i64| {
        let clock = days(bed.fleet.now, n).to_string();
        host.once_with(&[("AFIELD_CLOCK", &clock)])
    };
    let (_, said) = day(&bed.host, 1);
    assert!(notes(&said).contains("the bytes of the site's day are used"), "{said}");
    let (_, again) = day(&bed.host, 1);
    assert!(notes(&again).contains("are used"), "the day was given twice: {again}");
    let mut last = said;
    for n in 2..8 {
        last = day(&bed.host, n).1;
        if bed.host.text("etc/site") == "one" {
            break;
        }
    }
    assert_eq!(bed.host.text("etc/site"), "one", "{last}");
    let pack = bed.delivery(ReleaseId(1)).packs[0].clone();
    let asked = bed.server.requests();
    let stretches: Vec<_> = asked.iter().filter(|r| r.path.ends_with(&pack.id.hex())).collect();
    let from: BTreeSet<u64> = stretches.iter().map(|r| r.from).collect();
    assert!(stretches.len() > 2, "{stretches:?}");
    assert_eq!(from.len(), stretches.len(), "nothing came twice: {stretches:?}");
}

#[test]
fn a_full_disk_gives_up_old_generations_and_never_what_is_needed() {
    let mut bed = Bed::settled();
    let one = bed.host.current().unwrap();
    let (_, two) = bed.offer("two", Contract::Honest, "config two");
    assert_eq!(bed.host.once().0, 0);
    let (_, three) = bed.offer("three", Contract::Honest, "config three");
    std::os::unix::fs::symlink(&two, bed.host.path("run/booted-system")).unwrap();
    assert_eq!(bed.host.once().0, 0);
    bed.offer("four", Contract::Honest, "config four");
    let there = |system: &str| bed.host.path(&system[1..]).exists();
    let (code, said) = bed.host.once_with(&[("AFIELD_FREE", "10")]);
    assert_eq!((code, &said["event"]["code"]), (3, &"no-space".into()), "{said}");
    assert!(notes(&said).contains("given up: generations 1"), "{said}");
    assert!(!there(&one), "nothing was given up");
    assert!(there(&two) && there(&three), "what was booted and what runs must stay");
    assert_eq!(bed.host.current(), Some(three));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("etc/site"), "four");
}

#[test]
fn what_came_of_a_release_is_not_collected_between_two_runs() {
    let mut bed = Bed::settled();
    bed.offer("two", Contract::Honest, "config two");
    let (code, said) = bed.host.once_with(&[("AFIELD_FAULT", "import:done:1")]);
    assert_eq!(code, -1, "{said}");
    let mut collect = std::process::Command::new("nix-store");
    collect.arg("--store").arg(bed.host.path("")).arg("--gc").env("NIX_CONFIG", NIX_CONFIG);
    assert!(collect.output().unwrap().status.success());
    assert!(objects(&bed) > 0);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(objects(&bed), 0, "it was fetched again");
    // What holds it now is that it is good.
    let coming = bed.host.path("nix/var/nix/gcroots/afield-coming");
    assert_eq!(std::fs::read_dir(coming).unwrap().count(), 0);
}
