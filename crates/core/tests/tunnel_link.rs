//! The tunnel's state machine, told what happens and asked what it would do.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use afield_core::tunnel::Silence;
use afield_core::tunnel::link::{Action, Event, Link};
use afield_core::tunnel::race::{Endpoint, Path};
use afield_core::tunnel::ssh::Cause;

const MS: Duration = Duration::from_millis(1);
const START_WITHIN: Duration = Duration::from_secs(60);

fn link_with(addresses: &[&str], ports: &[u16], proxy: bool, last_good: Option<Endpoint>) -> Link {
    let relay = serde_json::json!({
        "name": "bru", "addresses": addresses, "ports": ports, "host_key": "ssh-ed25519 AAAA",
    });
    Link::new(serde_json::from_value(relay).unwrap(), proxy, START_WITHIN, last_good)
}

fn link(addresses: &[&str], ports: &[u16]) -> Link {
    link_with(addresses, ports, false, None)
}

fn direct(host: &str, port: u16) -> Endpoint {
    Endpoint { path: Path::Direct, host: host.into(), port }
}

/// What is tried, as `host:port`.
fn tries(actions: &[Action]) -> Vec<String> {
    let each = actions.iter().filter_map(|action| match action {
        Action::Try { endpoint, .. } => Some(endpoint.to_string()),
        _ => None,
    });
    each.collect()
}

fn round(actions: &[Action]) -> u64 {
    let mut rounds = actions.iter().filter_map(|action| match action {
        Action::Try { round, .. } | Action::Start { round, .. } => Some(*round),
        _ => None,
    });
    rounds.next_back().unwrap()
}

/// Lets time pass until the link waits for nothing sooner than `until`, and collects what it does.
fn pass(link: &mut Link, until: Duration) -> Vec<(u128, String)> {
    let mut seen = Vec::new();
    while let Some(at) = link.wake_at().filter(|at| *at <= until) {
        let actions = link.on(Event::Wake, at, 0.0);
        seen.extend(tries(&actions).into_iter().map(|t| (at.as_millis(), t)));
    }
    seen
}

/// Brings a link up over the first way that it tries.
fn bring_up(link: &mut Link, now: Duration) -> u64 {
    let actions = link.on(Event::Wake, now, 0.0);
    let (tried, endpoint) = actions
        .iter()
        .find_map(|a| match a {
            Action::Try { round, endpoint, .. } => Some((*round, endpoint.clone())),
            _ => None,
        })
        .unwrap();
    let started = link.on(Event::Greeted { round: tried, endpoint }, now, 0.0);
    link.on(Event::Opened { round: round(&started) }, now, 0.0);
    assert_eq!(link.status().state, "up");
    round(&started)
}

#[test]
fn every_way_has_a_small_head_start_over_the_next() {
    let mut link = link(&["192.0.2.1", "192.0.2.2"], &[22, 443]);
    let seen = pass(&mut link, 2000 * MS);
    let expected = [
        (0, "192.0.2.1:22"),
        (300, "192.0.2.2:22"),
        (600, "192.0.2.1:443"),
        (900, "192.0.2.2:443"),
    ];
    assert_eq!(seen, expected.map(|(at, way)| (at, way.to_owned())));
}

#[test]
fn a_way_that_fails_at_once_gives_way_at_once() {
    let mut link = link(&["192.0.2.1", "192.0.2.2"], &[22]);
    let actions = link.on(Event::Wake, MS, 0.0);
    let why = "connection refused".to_owned();
    let lost =
        Event::Lost { round: round(&actions), endpoint: direct("192.0.2.1", 22), why, full: false };
    assert_eq!(tries(&link.on(lost, 5 * MS, 0.0)), ["192.0.2.2:22"]);
}

#[test]
fn the_winner_gets_openssh_and_is_remembered() {
    let mut link = link(&["192.0.2.1"], &[22, 443]);
    let actions = link.on(Event::Wake, MS, 0.0);
    link.on(Event::Wake, 301 * MS, 0.0);
    let winner = direct("192.0.2.1", 443);
    let actions =
        link.on(Event::Greeted { round: round(&actions), endpoint: winner.clone() }, 400 * MS, 0.0);
    let round = round(&actions);
    let expected = [
        Action::Drop { but: Some(winner.clone()) },
        Action::Start { round, endpoint: winner.clone() },
    ];
    assert_eq!(actions, expected);
    assert_eq!(link.on(Event::Opened { round }, 900 * MS, 0.0), [Action::Remember(winner.clone())]);
    assert_eq!(link.status().endpoint, Some(winner));
    assert_eq!(link.wake_at(), None);
}

#[test]
fn the_last_good_way_is_first_and_long_alone() {
    let good = Some(direct("192.0.2.2", 443));
    let mut link = link_with(&["192.0.2.1", "192.0.2.2"], &[22, 443], false, good);
    let seen = pass(&mut link, 1500 * MS);
    assert_eq!(seen, [(0, "192.0.2.2:443".to_owned()), (1500, "192.0.2.1:22".to_owned())]);
    // A port that is configured no more is forgotten.
    let mut link = link_with(&["192.0.2.1"], &[22], false, Some(direct("192.0.2.2", 80)));
    assert_eq!(pass(&mut link, MS), [(0, "192.0.2.1:22".to_owned())]);
}

#[test]
fn a_relay_that_is_slow_to_speak_is_not_asked_twice() {
    let good = direct("192.0.2.1", 22);
    let (mut link, round) = up();
    link.on(Event::Ended { round, cause: Cause::Silent }, at_secs(1000), 0.5);
    let knock = link.on(Event::Wake, link.wake_at().unwrap(), 0.5);
    assert_eq!(tries(&knock), ["192.0.2.1:22"]);
    let now = at_secs(1001);
    let connected = Event::Connected { round: self::round(&knock), endpoint: good };
    assert_eq!(link.on(connected, now, 0.0), []);
    assert_eq!(link.wake_at(), Some(now + at_secs(10)), "it has all its time");

    // The same in a round over all ways: the others wait longer.
    let good = direct("192.0.2.2", 443);
    let mut link = link_with(&["192.0.2.1", "192.0.2.2"], &[22, 443], false, Some(good.clone()));
    let first = link.on(Event::Wake, MS, 0.0);
    link.on(Event::Connected { round: self::round(&first), endpoint: good }, 51 * MS, 0.0);
    assert_eq!(pass(&mut link, 4100 * MS), [(4051, "192.0.2.1:22".to_owned())]);
}

#[test]
fn a_round_in_vain_says_why_and_waits() {
    let mut link = link(&["192.0.2.1", "192.0.2.2"], &[22]);
    pass(&mut link, 10_299 * MS);
    assert_eq!(link.status().state, "racing");
    let at = link.wake_at().unwrap();
    assert_eq!(at, 10_300 * MS);
    link.on(Event::Wake, at, 0.5);
    let status = link.status();
    assert_eq!((status.state.as_str(), status.failures), ("waiting", 1));
    assert_eq!(status.why.as_deref(), Some("192.0.2.1:22, 192.0.2.2:22: no answer within 10 s"));
    assert_eq!(link.wake_at(), Some(at + 1500 * MS));
}

#[test]
fn what_openssh_says_decides_what_comes_next() {
    // The cause, and whether the next way is tried at once; else the longest wait after 20 such failures, in seconds.
    let table = [
        (Cause::OtherHostKey, true, 30),
        (Cause::Ended("Connection closed".into()), true, 30),
        (Cause::Refused, false, 300),
        (Cause::PortTaken("port 2001".into()), false, 60),
    ];
    for (cause, next_way, longest) in table {
        let mut link = link(&["192.0.2.1"], &[22, 443]);
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            now = link.wake_at().unwrap();
            let mut actions = link.on(Event::Wake, now, 0.0);
            for port in [22, 443] {
                let endpoint = direct("192.0.2.1", port);
                let started =
                    link.on(Event::Greeted { round: round(&actions), endpoint }, now, 0.0);
                let ended = Event::Ended { round: round(&started), cause: cause.clone() };
                actions = link.on(ended, now, 0.999_999);
                if port == 22 {
                    assert_eq!(tries(&actions).len(), usize::from(next_way), "{cause:?}");
                }
                if !next_way {
                    break;
                }
            }
            assert_eq!(link.status().state, "waiting", "{cause:?}");
        }
        let wait = link.wake_at().unwrap() - now;
        let longest = Duration::from_secs(longest);
        assert!(
            wait <= longest && wait > longest - Duration::from_secs(1),
            "{cause:?} waits {wait:?}"
        );
    }
}

#[test]
fn a_start_that_hangs_is_ended_and_another_way_tried() {
    let mut link = link(&["192.0.2.1"], &[22, 443]);
    let actions = link.on(Event::Wake, MS, 0.0);
    link.on(Event::Greeted { round: round(&actions), endpoint: direct("192.0.2.1", 22) }, MS, 0.0);
    assert_eq!(link.wake_at(), Some(MS + START_WITHIN));
    let actions = link.on(Event::Wake, MS + START_WITHIN, 0.0);
    assert_eq!(actions[0], Action::End);
    assert_eq!(tries(&actions), ["192.0.2.1:443"]);
}

#[test]
fn dns_that_fails_or_lies_does_not_matter() {
    let name = "relay.example.org";
    let resolved = |addresses: &[&str]| Event::Resolved {
        name: name.into(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    let mut link = link(&[name, "192.0.2.1"], &[22]);
    let actions = link.on(Event::Wake, MS, 0.0);
    assert_eq!(actions[0], Action::Resolve(name.into()));
    assert_eq!(tries(&actions), ["192.0.2.1:22"], "literal addresses do not wait for DNS");
    // It fails: nothing else to try, the literal address goes on.
    assert_eq!(link.on(resolved(&[]), 2 * MS, 0.0), []);
    assert_eq!(link.status().state, "racing");
    // It lies: that way ends with the wrong key, and the literal address is tried again, which had been pushed aside.
    let mut link = self::link(&[name, "192.0.2.1"], &[22]);
    let first = link.on(Event::Wake, MS, 0.0);
    link.on(resolved(&["198.51.100.66"]), 2 * MS, 0.0);
    pass(&mut link, 400 * MS);
    let liar = direct("198.51.100.66", 22);
    let started = link.on(Event::Greeted { round: round(&first), endpoint: liar }, 500 * MS, 0.0);
    let ended = Event::Ended { round: round(&started), cause: Cause::OtherHostKey };
    assert_eq!(tries(&link.on(ended, 600 * MS, 0.0)), ["192.0.2.1:22"]);
}

#[test]
fn a_name_that_resolved_once_is_tried_when_dns_is_gone() {
    let name = "relay.example.org";
    let mut link = link(&[name], &[22]);
    link.on(Event::Wake, MS, 0.0);
    let addresses = vec!["192.0.2.9".parse().unwrap()];
    let actions = link.on(Event::Resolved { name: name.into(), addresses }, 2 * MS, 0.0);
    assert_eq!(tries(&actions), ["192.0.2.9:22"]);
    pass(&mut link, 10_002 * MS);
    assert_eq!(link.status().state, "waiting");
    let next = link.wake_at().unwrap();
    assert_eq!(pass(&mut link, next), [(next.as_millis(), "192.0.2.9:22".to_owned())]);
    // A name alone that never resolved is a failure too, and says so.
    let mut link = self::link(&[name], &[22]);
    link.on(Event::Wake, MS, 0.0);
    link.on(Event::Resolved { name: name.into(), addresses: vec![] }, 2 * MS, 0.0);
    assert!(link.status().why.unwrap().contains("could not be resolved"));
}

#[test]
fn a_changed_network_ends_the_wait_but_not_a_connection_that_may_hold() {
    let changed = |stranded| Event::NetworkChanged { stranded };
    let mut link = link(&["192.0.2.1"], &[22]);
    pass(&mut link, 60_000 * MS);
    while link.status().state != "waiting" {
        let at = link.wake_at().unwrap();
        link.on(Event::Wake, at, 0.9);
    }
    let now = 70_000 * MS;
    assert_eq!(tries(&link.on(changed(false), now, 0.0)), ["192.0.2.1:22"]);
    assert_eq!(link.status().failures, 0);
    // A network that flaps does not make a storm.
    assert_eq!(link.on(changed(false), now + 100 * MS, 0.0), []);
    assert_eq!(link.on(changed(true), now + 200 * MS, 0.0), []);

    let mut link = self::link(&["192.0.2.1"], &[22]);
    bring_up(&mut link, MS);
    assert_eq!(link.on(changed(false), now, 0.0), []);
    let actions = link.on(changed(true), now, 0.0);
    assert!(actions.contains(&Action::End));
    assert_eq!(tries(&actions), ["192.0.2.1:22"]);
}

#[test]
fn a_tunnel_that_held_comes_back_within_a_second_and_one_that_flaps_waits_longer() {
    let mut link = link(&["192.0.2.1"], &[22]);
    let round = bring_up(&mut link, MS);
    let later = Duration::from_secs(3600);
    link.on(Event::Ended { round, cause: Cause::Silent }, later, 0.7);
    assert_eq!(link.wake_at(), Some(later + 425 * MS), "a knock, before all ways after 0.7 s");
    let mut now = later;
    for failures in 1..=4 {
        now = link.wake_at().unwrap_or(now);
        let round = bring_up(&mut link, now);
        link.on(Event::Ended { round, cause: Cause::Silent }, now + 1000 * MS, 0.0);
        assert_eq!(link.status().failures, failures);
    }
}

#[test]
fn late_answers_to_earlier_questions_are_nothing() {
    let mut link = link(&["192.0.2.1"], &[22]);
    let round = bring_up(&mut link, MS);
    let before = link.status();
    let endpoint = direct("192.0.2.1", 22);
    for late in [
        Event::Greeted { round: round - 1, endpoint: endpoint.clone() },
        Event::Lost {
            round: round - 1,
            endpoint: endpoint.clone(),
            why: String::new(),
            full: false,
        },
        Event::Ended { round: round - 1, cause: Cause::Refused },
        Event::Opened { round: round - 1 },
        Event::Greeted { round, endpoint },
        Event::Wake,
    ] {
        assert_eq!(link.on(late.clone(), 9 * MS, 0.0), [], "{late:?}");
        assert_eq!(link.status(), before, "{late:?}");
    }
}

#[test]
fn the_proxy_comes_after_the_direct_ways_with_names_and_https_first() {
    let mut link = link_with(&["192.0.2.1", "relay.example.org"], &[22, 443], true, None);
    link.on(Event::Wake, MS, 0.0);
    link.on(Event::Resolved { name: "relay.example.org".into(), addresses: vec![] }, MS, 0.0);
    let ways: Vec<String> = pass(&mut link, 3000 * MS).into_iter().map(|(_, way)| way).collect();
    let through = |way: &str| format!("{way} through the proxy");
    let expected = [
        "192.0.2.1:443".to_owned(),
        through("192.0.2.1:443"),
        through("relay.example.org:443"),
        through("192.0.2.1:22"),
        through("relay.example.org:22"),
    ];
    assert_eq!(ways, expected);
}

/// A tunnel that is up, and the round of its client.
fn up() -> (Link, u64) {
    let mut link = link(&["192.0.2.1"], &[22, 443]);
    let round = bring_up(&mut link, MS);
    (link, round)
}

/// One connection alone is silent.
fn in_vain(round: u64, times: u32) -> Event {
    Event::Unanswered { round, silence: Silence { times, everywhere: false } }
}

fn at_secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_connection_is_dead_if_a_new_one_is_answered_and_the_old_one_is_not() {
    let (mut link, round) = up();
    let unanswered = |times| in_vain(round, times);
    assert_eq!(link.on(unanswered(1), at_secs(100), 0.0), [], "one lost packet");
    let endpoint = direct("192.0.2.1", 22);
    let knock = link.on(unanswered(2), at_secs(101), 0.0);
    assert_eq!(knock, [Action::Try { round, endpoint: endpoint.clone(), within: 800 * MS }]);
    let greeted = Event::Greeted { round, endpoint: endpoint.clone() };
    let kept = link.on(greeted, at_secs(101), 0.0);
    assert_eq!(kept, [Action::Drop { but: Some(endpoint.clone()) }, Action::Ask]);
    assert_eq!(link.on(unanswered(3), at_secs(102), 0.0), [], "it may have been sent before");
    assert_eq!(link.status().state, "up");
    let moved = link.on(unanswered(4), at_secs(103), 0.0);
    assert_eq!(moved, [Action::End, Action::Start { round: round + 1, endpoint }]);
    assert!(link.status().why.unwrap().contains("answers no more"));
}

#[test]
fn where_all_connections_are_silent_one_more_question_in_vain_is_enough() {
    let silent = |times| Silence { times, everywhere: true };
    let (mut link, round) = up();
    link.on(Event::Unanswered { round, silence: silent(2) }, at_secs(100), 0.0);
    let endpoint = direct("192.0.2.1", 22);
    let now = at_secs(100) + 50 * MS;
    let asked = link.on(Event::Greeted { round, endpoint: endpoint.clone() }, now, 0.0);
    assert!(asked.contains(&Action::Ask), "{asked:?}");
    assert_eq!(link.on(Event::Unanswered { round, silence: silent(3) }, now, 0.0), []);
    // A line that is four times slower than when the new connection was made would have answered.
    assert_eq!(link.wake_at(), Some(now + 800 * MS));
    let moved = link.on(Event::Wake, now + 800 * MS, 0.0);
    assert_eq!(
        moved,
        [Action::End, Action::Start { round: round + 1, endpoint: endpoint.clone() }]
    );

    // As soon as another connection answers, this one has its time again.
    let (mut link, round) = up();
    link.on(Event::Unanswered { round, silence: silent(2) }, at_secs(100), 0.0);
    link.on(Event::Greeted { round, endpoint }, now, 0.0);
    assert_eq!(link.on(in_vain(round, 3), now, 0.0), []);
    assert_eq!(link.wake_at(), Some(now + at_secs(5)));
}

#[test]
fn a_connection_that_is_answered_after_all_is_kept() {
    let (mut link, round) = up();
    let unanswered = |times| in_vain(round, times);
    link.on(unanswered(3), at_secs(100), 0.0);
    let greeted = Event::Greeted { round, endpoint: direct("192.0.2.1", 22) };
    link.on(greeted, at_secs(101), 0.0);
    assert_eq!(link.on(unanswered(0), at_secs(102), 0.0), [Action::Drop { but: None }]);
    assert_eq!((link.status().state.as_str(), link.wake_at()), ("up", None));
    // Nothing of it is left for the next time.
    assert_eq!(link.on(unanswered(1), at_secs(110), 0.0), []);
}

#[test]
fn after_a_long_cut_the_old_connection_has_five_seconds() {
    let (mut link, round) = up();
    link.on(in_vain(round, 6), at_secs(100), 0.0);
    let endpoint = direct("192.0.2.1", 22);
    link.on(Event::Greeted { round, endpoint: endpoint.clone() }, at_secs(102), 0.0);
    assert_eq!(link.wake_at(), Some(at_secs(107)));
    let moved = link.on(Event::Wake, at_secs(107), 0.0);
    assert_eq!(moved, [Action::End, Action::Start { round: round + 1, endpoint }]);
}

#[test]
fn while_in_doubt_it_goes_on_knocking_and_a_client_that_ends_costs_no_wait() {
    let (mut link, round) = up();
    link.on(in_vain(round, 2), at_secs(100), 0.0);
    let seen = pass(&mut link, at_secs(110));
    let ways: Vec<&str> = seen.iter().map(|(_, way)| way.as_str()).collect();
    // A knock, then all ways (the last good one 1.5 s before the next, and again and again).
    assert_eq!(ways.iter().position(|way| *way == "192.0.2.1:443"), Some(2), "{seen:?}");
    assert!((10..15).contains(&ways.len()), "{seen:?}");
    // OpenSSH gives up: the round under way goes on, and the first answer wins.
    link.on(Event::Ended { round, cause: Cause::Silent }, at_secs(111), 0.0);
    assert_eq!(link.status().state, "racing");
    let endpoint = direct("192.0.2.1", 443);
    let greeted = Event::Greeted { round, endpoint: endpoint.clone() };
    let started = link.on(greeted, at_secs(112), 0.0);
    assert!(started.contains(&Action::Start { round: round + 1, endpoint }), "{started:?}");
}

#[test]
fn the_way_that_worked_is_knocked_at_every_few_seconds_and_all_ways_seldom() {
    let (mut link, round) = up();
    let start = at_secs(1000);
    link.on(Event::Ended { round, cause: Cause::Silent }, start, 0.5);
    let seen = pass(&mut link, start + at_secs(600));
    let count = |way: &str| seen.iter().filter(|(_, w)| w == way).count();
    let (good, other) = (count("192.0.2.1:22"), count("192.0.2.1:443"));
    assert!((60..300).contains(&good), "{good} knocks in ten minutes");
    assert!((10..30).contains(&other), "{other} rounds over all ways in ten minutes");
    let times: Vec<u128> = seen.iter().filter(|(_, w)| w == "192.0.2.1:22").map(|s| s.0).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 13_000, "{longest} ms without a try");
}

#[test]
fn a_relay_that_is_full_is_not_knocked_at() {
    let (mut link, round) = up();
    link.on(Event::Ended { round, cause: Cause::Silent }, at_secs(1000), 0.0);
    let mut waits = Vec::new();
    let mut now = at_secs(1000);
    for _ in 0..7 {
        now = link.wake_at().unwrap().max(now);
        let mut actions = link.on(Event::Wake, now, 0.999_999);
        while let Some(Action::Try { round, endpoint, .. }) = actions.pop() {
            let why = "it has no place".to_owned();
            let lost = Event::Lost { round, endpoint, why, full: true };
            actions = link.on(lost, now, 0.999_999);
        }
        waits.push((link.wake_at().unwrap() - now).as_secs());
    }
    assert_eq!(waits, [1, 3, 7, 15, 29, 29, 29], "seconds between tries");
}

/// Whatever happens in whatever order: at most one OpenSSH runs, and a link that is not up always has a time at which
/// it goes on by itself.
#[test]
fn no_order_of_events_leaves_a_link_stuck() {
    let mut seed: u64 = 20_261_123;
    let mut chance = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut link =
        link_with(&["192.0.2.1", "relay.example.org", "2001:db8::1"], &[22, 443], true, None);
    let mut now = Duration::ZERO;
    let (mut open, mut running, mut ups) = (Vec::new(), None, 0);
    for step in 0..50_000 {
        now += Duration::from_millis(chance(400));
        let event = match chance(14) {
            0 => Event::NetworkChanged { stranded: chance(2) == 0 },
            1 => {
                let addresses =
                    if chance(2) == 0 { vec![] } else { vec!["192.0.2.77".parse().unwrap()] };
                Event::Resolved { name: "relay.example.org".into(), addresses }
            }
            2..=5 if !open.is_empty() => {
                let at = chance(open.len() as u64) as usize;
                let (round, endpoint): (u64, Endpoint) = open.swap_remove(at);
                match chance(3) {
                    0 => Event::Greeted { round, endpoint },
                    1 => Event::Connected { round, endpoint },
                    _ => {
                        let full = chance(4) == 0;
                        Event::Lost { round, endpoint, why: "refused".into(), full }
                    }
                }
            }
            6 if running.is_some() => Event::Opened { round: running.unwrap() },
            7 | 8 if running.is_some() => {
                let causes = [
                    Cause::OtherHostKey,
                    Cause::Refused,
                    Cause::Silent,
                    Cause::PortTaken("x".into()),
                ];
                Event::Ended {
                    round: running.take().unwrap(),
                    cause: causes[chance(4) as usize].clone(),
                }
            }
            9..=10 if running.is_some() => {
                let silence = Silence { times: chance(6) as u32, everywhere: chance(2) == 0 };
                Event::Unanswered { round: running.unwrap(), silence }
            }
            _ => Event::Wake,
        };
        for action in link.on(event, now, chance(1000) as f64 / 1000.0) {
            match action {
                Action::Try { round, endpoint, .. } => open.push((round, endpoint)),
                Action::Drop { but } => open.retain(|(_, e)| but.as_ref() == Some(e)),
                Action::Start { round, .. } => {
                    assert_eq!(running.replace(round), None, "step {step}: two run");
                }
                Action::End => assert!(running.take().is_some(), "step {step}: none runs"),
                Action::Resolve(_) | Action::Ask => {}
                Action::Remember(_) => ups += 1,
            }
        }
        let state = link.status().state;
        match state.as_str() {
            "up" => assert!(running.is_some(), "step {step}: up without OpenSSH"),
            _ => {
                let at = link.wake_at().unwrap_or_else(|| panic!("step {step}: {state} for ever"));
                assert!(at <= now + Duration::from_secs(301), "step {step}: {state} until {at:?}");
            }
        }
    }
    assert!(ups > 5, "only {ups} tunnels came up: the test shows too little");
}
