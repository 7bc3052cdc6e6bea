//! Whether a host that nobody can reach goes back: the release's fault, or the uplink's.

use afield_core::reach::{Link, Patience, Reach, Verdict, judge};

const PATIENCE: Patience = Patience { up: 60, down: 600 };

fn reach(names: &[&str]) -> Reach {
    Reach(names.iter().map(|n| (*n).to_owned()).collect())
}

/// A cable, a default route and a gateway that answers; no relay.
fn good_link() -> Link {
    Link { carrier: true, idle: false, route: true, gateway: Some(true), relay: false }
}

fn short(before: &[&str], now: &[&str], link: &Link, waited: u64) -> String {
    match judge(&reach(before), &reach(now), link, waited, PATIENCE) {
        Verdict::Fine => "fine".into(),
        Verdict::Wait => "wait".into(),
        Verdict::Lost(why) => format!("lost: {why}"),
        Verdict::Uplink(why) => format!("uplink: {why}"),
    }
}

#[test]
fn what_could_be_reached_before_decides() {
    let link = good_link();
    assert_eq!(short(&[], &[], &link, 9999), "fine", "a host that never had Internet");
    assert_eq!(short(&["hub"], &["hub"], &link, 0), "fine");
    assert_eq!(short(&["hub", "relay one"], &["relay one"], &link, 0), "fine", "one way is enough");
    assert_eq!(short(&["hub"], &["relay one"], &link, 0), "fine", "another way is as good");
    assert_eq!(short(&["hub"], &[], &link, 59), "wait");
    let lost = short(&["hub", "relay one"], &[], &link, 60);
    assert!(lost.starts_with("lost: hub, relay one could be reached before"), "{lost}");
}

#[test]
fn a_link_that_is_up_tells_that_the_release_is_to_blame() {
    for (link, why) in [
        (good_link(), "the gateway answers"),
        (Link { relay: true, gateway: Some(false), ..good_link() }, "a relay's port is open"),
        (Link { route: false, gateway: None, ..good_link() }, "no default route any more"),
        (Link { gateway: None, ..good_link() }, "there is a default route"),
        (Link { carrier: false, idle: true, ..good_link() }, "no network interface was taken up"),
    ] {
        let found = short(&["hub"], &[], &link, 60);
        assert!(found.starts_with("lost") && found.contains(why), "{link:?} gave {found}");
    }
}

#[test]
fn an_uplink_that_died_is_nobody_s_fault() {
    for (link, why) in [
        (Link { carrier: false, ..good_link() }, "no link has a carrier"),
        (
            Link { carrier: false, idle: false, route: false, gateway: None, relay: false },
            "no link has a carrier",
        ),
        (Link { gateway: Some(false), ..good_link() }, "the gateway does not answer"),
    ] {
        assert_eq!(short(&["hub"], &[], &link, 60), "wait", "{link:?}: it may come back");
        let found = short(&["hub"], &[], &link, 600);
        assert!(found.starts_with("uplink") && found.contains(why), "{link:?} gave {found}");
        assert_eq!(short(&["hub"], &["hub"], &link, 60), "fine", "it came back");
    }
}
