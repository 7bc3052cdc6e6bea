//! An hour of seeded faults in virtual time: three relays, a host whose tunnels are decided by the real state machine,
//! and a model of what is around it. `cargo bench-tunnel` measures the same hour with real sshd; here a change of the
//! decisions shows in a second.
//!
//! The model: the kernel asks with TCP's keepalive, or retransmits what OpenSSH's keepalive has sent; a relay frees the
//! ports of a dead connection when its host comes again; a handshake takes half a second; somebody looks every second.
#![allow(clippy::unwrap_used)]

#[path = "../../testkit/src/faults.rs"]
mod faults;

use std::collections::BTreeMap;
use std::time::Duration;

use afield_core::tunnel::link::{Action, Event, Link};
use afield_core::tunnel::ssh::Cause;
use afield_core::tunnel::{Endpoint, Silence, Site};
use faults::{Chance, Planned, What, plan};

const STEP: Duration = Duration::from_millis(50);
/// From a relay's first packet to its first words, and from there to an open port.
const FIRST_WORDS: Duration = Duration::from_millis(100);
const HANDSHAKE: Duration = Duration::from_millis(500);
const KEEPALIVE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
const LOOK_CLOSELY: Duration = Duration::from_millis(250);
const IN_USE: Duration = Duration::from_secs(15);
const HOUR: u64 = 3600;

/// A relay, and the way to it.
#[derive(Default)]
struct Relay {
    cut: bool,
    killed: bool,
}

/// The host's connection to a relay.
struct Connection {
    round: u64,
    /// Whether the ports are open, from when on.
    opens: Duration,
    is_open: bool,
    /// The other end, or the NAT on the way, knows it no more.
    forgotten: bool,
    heard: Duration,
    /// OpenSSH last heard something.
    said: Duration,
    /// OpenSSH's question is unanswered since.
    asked: Option<Duration>,
    times: u32,
    /// It is to ask at once.
    again: bool,
}

struct Tunnel {
    link: Link,
    connection: Option<Connection>,
    /// Ways being tried: when each was begun, and when it is over.
    tries: BTreeMap<Endpoint, (u64, Duration, Duration)>,
    told: Silence,
    looked: Duration,
    visited: Option<Duration>,
    ask_after: Option<Duration>,
}

struct World {
    now: Duration,
    chance: Chance,
    relays: Vec<Relay>,
    tunnels: Vec<Tunnel>,
    site: Site,
}

fn name(n: usize) -> afield_core::ids::Name {
    ["bru", "fra", "nbo"][n].parse().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let tunnel = |n: usize| {
            let relay = serde_json::json!({
                "name": name(n), "addresses": [format!("192.0.2.{n}")], "ports": [22, 443],
                "host_key": "ssh-ed25519 AAAA",
            });
            let relay = serde_json::from_value(relay).unwrap();
            Tunnel {
                link: Link::new(relay, false, Duration::from_secs(60), None),
                connection: None,
                tries: BTreeMap::new(),
                told: Silence::default(),
                looked: Duration::ZERO,
                visited: None,
                ask_after: None,
            }
        };
        Self {
            now: Duration::ZERO,
            chance: Chance(seed),
            relays: (0..3).map(|_| Relay::default()).collect(),
            tunnels: (0..3).map(tunnel).collect(),
            site: Site::default(),
        }
    }

    fn on(&mut self, n: usize, event: Event) {
        let (now, tunnel) = (self.now, &mut self.tunnels[n]);
        for action in tunnel.link.on(event, now, self.chance.part()) {
            match action {
                Action::Try { round, endpoint, within } => {
                    tunnel.tries.insert(endpoint, (round, now, now + within));
                }
                Action::Drop { .. } => tunnel.tries.clear(),
                Action::Start { round, .. } => {
                    tunnel.told = Silence::default();
                    tunnel.connection = Some(Connection {
                        round,
                        opens: now + HANDSHAKE,
                        is_open: false,
                        forgotten: false,
                        heard: now,
                        said: now,
                        asked: None,
                        times: 0,
                        again: false,
                    });
                }
                Action::End => tunnel.connection = None,
                Action::Ask => {
                    tunnel.connection.iter_mut().for_each(|c| c.again = true);
                }
                Action::Resolve(_) | Action::Remember(_) => {}
            }
        }
    }

    /// Whether packets of a connection arrive.
    fn passes(&self, n: usize) -> bool {
        let connection = self.tunnels[n].connection.as_ref();
        connection.is_some_and(|c| !c.forgotten) && !self.relays[n].cut && !self.relays[n].killed
    }

    fn fault(&mut self, who: usize, what: What, begins: bool) {
        let forget = |world: &mut Self, n: usize| {
            if let Some(connection) = &mut world.tunnels[n].connection {
                connection.forgotten = true;
            }
        };
        match what {
            What::Cut => self.relays[who].cut = begins,
            What::Killed => {
                self.relays[who].killed = begins;
                // The relay's kernel says goodbye for it.
                if begins && self.tunnels[who].connection.as_ref().is_some_and(|c| !c.forgotten) {
                    self.end(who, Cause::Ended("reset".into()));
                }
            }
            What::Forgotten if begins => forget(self, who),
            What::AllForgotten if begins => (0..3).for_each(|n| forget(self, n)),
            What::Forgotten | What::AllForgotten => {}
        }
    }

    fn end(&mut self, n: usize, cause: Cause) {
        if let Some(connection) = self.tunnels[n].connection.take() {
            self.on(n, Event::Ended { round: connection.round, cause });
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for n in 0..3 {
            self.tries(n);
            self.connection(n);
            if self.tunnels[n].link.wake_at().is_some_and(|at| at <= self.now) {
                self.on(n, Event::Wake);
            }
            self.look(n);
        }
    }

    fn tries(&mut self, n: usize) {
        let (now, relay) = (self.now, &self.relays[n]);
        let mut events = Vec::new();
        self.tunnels[n].tries.retain(|endpoint, (round, begun, until)| {
            let (round, endpoint) = (*round, endpoint.clone());
            // A first packet goes at once, and the kernel repeats it after 1, 3 and 7 s.
            let since = now.saturating_sub(*begun).as_millis() as u64;
            let sent = [0, 1000, 3000, 7000].iter().any(|at| {
                let words = at + FIRST_WORDS.as_millis() as u64;
                since >= words && since < words + STEP.as_millis() as u64
            });
            if sent && !relay.cut {
                let why = "refused".to_owned();
                events.push(match relay.killed {
                    true => Event::Lost { round, endpoint, why, full: false },
                    false => Event::Greeted { round, endpoint },
                });
                return false;
            }
            now < *until
        });
        events.into_iter().for_each(|event| self.on(n, event));
    }

    fn connection(&mut self, n: usize) {
        let (now, passes) = (self.now, self.passes(n));
        let ask_after = self.tunnels[n].ask_after;
        let Some(connection) = &mut self.tunnels[n].connection else {
            return;
        };
        if !connection.is_open && passes && now >= connection.opens {
            connection.is_open = true;
            let round = connection.round;
            return self.on(n, Event::Opened { round });
        }
        let silent = now.saturating_sub(connection.heard);
        if now.saturating_sub(connection.said) >= KEEPALIVE && connection.asked.is_none() {
            connection.asked = Some(now);
        }
        let again = std::mem::take(&mut connection.again);
        if passes
            && (again
                || connection.asked.is_some()
                || ask_after.is_some_and(|after| silent >= after))
        {
            connection.heard = now;
            connection.times = 0;
            connection.said = if connection.asked.take().is_some() { now } else { connection.said };
            return;
        }
        let retransmitted = connection.asked.map_or(0, |asked| {
            let since = now.saturating_sub(asked).as_millis();
            [200, 600, 1400, 3000, 6200, 12_600].iter().filter(|at| since >= **at).count()
        });
        let probes = match ask_after {
            Some(after) if silent >= after && connection.asked.is_none() => {
                1 + (silent - after).as_secs() as u32
            }
            _ => 0,
        };
        connection.times = connection.times.max(retransmitted as u32).max(probes);
        if now.saturating_sub(connection.said) >= 3 * KEEPALIVE {
            self.end(n, Cause::Silent);
        }
    }

    /// As `worker.rs` does it.
    fn look(&mut self, n: usize) {
        let now = self.now;
        let in_use = self.tunnels[n].visited.is_some_and(|at| now.saturating_sub(at) < IN_USE);
        self.site.tell(&name(n), self.tunnels[n].link.connection());
        self.tunnels[n].ask_after = self.site.ask_after(&name(n), KEEPALIVE, in_use);
        let tunnel = &mut self.tunnels[n];
        let (Some(round), Some(connection)) = (tunnel.link.watched(), &tunnel.connection) else {
            return;
        };
        let soon = tunnel.told.times > 0 || tunnel.ask_after.is_some_and(|after| after <= LOOK);
        if now < tunnel.looked + if soon { LOOK_CLOSELY } else { LOOK } {
            return;
        }
        tunnel.looked = now;
        let everywhere = connection.asked.is_none() && self.site.others_are_silent(&name(n));
        let silence = Silence { times: connection.times, everywhere };
        if silence != std::mem::replace(&mut tunnel.told, silence) {
            self.on(n, Event::Unanswered { round, silence });
        }
    }

    /// Whether somebody who comes now gets through; on a tunnel that stands they leave a trace.
    fn visit(&mut self, n: usize) -> bool {
        let passes = self.passes(n);
        let tunnel = &mut self.tunnels[n];
        match &mut tunnel.connection {
            Some(connection) if connection.is_open && passes => {
                (connection.heard, connection.said) = (self.now, self.now);
                tunnel.visited = Some(self.now);
                true
            }
            _ => false,
        }
    }
}

/// In how many of an hour's seconds a login was possible; `every`: how often somebody really comes, in seconds.
fn hour(seed: u64, every: u64) -> u64 {
    let mut world = World::new(seed);
    let mut plan: Vec<(u64, usize, What, bool)> = (0..4)
        .flat_map(|who| plan(seed, who, HOUR).into_iter().map(move |fault| (who as usize, fault)))
        .flat_map(|(who, Planned { at, lasts, what })| {
            [(at, who, what, true), (at + lasts, who, what, false)]
        })
        .collect();
    plan.sort_by_key(|(at, ..)| *at);
    let mut plan = plan.into_iter().peekable();
    let shift = world.chance.below(20) as u32;
    // The tunnels have come up before the hour begins.
    let start = Duration::from_secs(100);
    while world.now < start {
        world.step();
    }
    let mut good = 0;
    for second in 0..HOUR {
        for step in 0..20 {
            while let Some((_, who, what, begins)) =
                plan.next_if(|(at, ..)| step == shift && *at == second)
            {
                world.fault(who, what, begins);
            }
            world.step();
        }
        let passes: Vec<bool> = match second % every {
            0 => (0..3).map(|n| world.visit(n)).collect(),
            _ => (0..3)
                .map(|n| world.passes(n) && world.tunnels[n].connection.as_ref().unwrap().is_open)
                .collect(),
        };
        good += u64::from(passes.contains(&true));
    }
    good
}

/// Seconds in which no host could come: all ways cut, or relays killed.
fn hopeless(seed: u64) -> u64 {
    let plans: Vec<_> = (0..3).map(|who| plan(seed, who, HOUR)).collect();
    let down = |plan: &[Planned], second: u64| {
        let lasting = plan.iter().filter(|f| matches!(f.what, What::Cut | What::Killed));
        lasting.into_iter().any(|f| (f.at..f.at + f.lasts).contains(&second))
    };
    let all = |second: &u64| plans.iter().all(|plan| down(plan, *second));
    (0..HOUR).filter(all).count() as u64
}

#[test]
fn of_the_seconds_in_which_some_relay_can_be_reached_99_in_100_have_a_login() {
    for (who, every) in [("somebody who comes every second", 1), ("hardly anybody", 60)] {
        let (mut good, mut possible) = (0, 0);
        for seed in [20_261_128, 1, 2, 3] {
            let (found, hopeless) = (hour(seed, every), hopeless(seed));
            let part = found as f64 * 100.0 / HOUR as f64;
            println!("{who}, seed {seed}: {part:.2} % of the hour; {hopeless} s without any relay");
            good += found;
            possible += HOUR - hopeless;
        }
        let part = good as f64 * 100.0 / possible as f64;
        println!("{who}: {part:.2} % of the seconds in which a relay could be reached");
        assert!(part >= 99.0, "{who}: {part:.2} %");
    }
}
