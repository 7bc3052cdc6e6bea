//! The tunnel to one relay as a state machine: events and the time go in, actions come out.
//!
//! ```text
//!     Waiting ──► Racing ──► Starting ──► Up
//!        ▲          │ ▲          │         │
//!        └──────────┘ └──────────┴─────────┘   another way is left: race on; else wait
//! ```
//!
//! Times are lengths since any one start, from a clock that never goes back. A `round` counts up with each change of
//! what is being tried, so that a late answer to an earlier question is known as such.

mod event;
mod open;
mod racing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::backoff::{self, Kind};
use super::config::Relay;
use super::doubt::Doubt;
use super::race::{Endpoint, KNOCK_FOR, Path, Race, knock_for};
use super::site::Connection;
use super::ssh::Cause;

pub use event::{Action, Event, Status, Statuses};

/// A tunnel that held this long was a good one: the next failure counts from the beginning.
const HELD: Duration = Duration::from_secs(60);
/// A network that flaps makes a host start over this often at most.
const RESTART_GAP: Duration = Duration::from_secs(5);

/// So many rounds over all ways, some three minutes, the way that worked last is also tried anew within a round.
const FAILURES_BRISK: u32 = 8;

#[derive(Debug)]
enum Phase {
    Waiting { until: Duration },
    Racing(Race),
    Starting { endpoint: Endpoint, until: Duration, race: Race },
    Up { endpoint: Endpoint, since: Duration, doubt: Option<Doubt> },
}

/// One relay's tunnel.
#[derive(Debug)]
pub struct Link {
    relay: Relay,
    has_proxy: bool,
    start_within: Duration,
    phase: Phase,
    round: u64,
    failures: u32,
    /// Before this time only the way that worked last is knocked at.
    full_round_at: Duration,
    knocks: u32,
    why: Option<String>,
    restarted: Option<Duration>,
    last_good: Option<Endpoint>,
    /// How long a relay's first words took when they last came.
    took: Option<Duration>,
    /// When the last try of each way began, in this round.
    tried: BTreeMap<Endpoint, Duration>,
    resolved: BTreeMap<String, Vec<IpAddr>>,
}

impl Link {
    /// A link that begins at the next [`Event::Wake`]. `start_within`: how long OpenSSH may take to open the ports.
    pub fn new(
        relay: Relay,
        has_proxy: bool,
        start_within: Duration,
        last_good: Option<Endpoint>,
    ) -> Self {
        // An endpoint that is configured no more may belong to someone else by now; the pinned key would show it,
        // but a proxy that is gone would only cost time.
        let last_good = last_good
            .filter(|e| relay.ports.contains(&e.port) && (has_proxy || e.path == Path::Direct));
        Self {
            relay,
            has_proxy,
            start_within,
            phase: Phase::Waiting { until: Duration::ZERO },
            round: 0,
            failures: 0,
            full_round_at: Duration::ZERO,
            knocks: 0,
            why: None,
            restarted: None,
            last_good,
            took: None,
            tried: BTreeMap::new(),
            resolved: BTreeMap::new(),
        }
    }

    /// Takes an event; `random` is from 0 up to, not including, 1.
    pub fn on(&mut self, event: Event, now: Duration, random: f64) -> Vec<Action> {
        match event {
            Event::Wake => self.wake(now, random),
            Event::Resolved { name, addresses } => self.resolved(name, addresses, now, random),
            Event::Connected { round, endpoint } if round == self.round => {
                self.connected(&endpoint, now);
                Vec::new()
            }
            Event::Greeted { round, endpoint } if round == self.round => {
                self.greeted(endpoint, now)
            }
            Event::Lost { round, endpoint, why, full } if round == self.round => {
                self.lost(&endpoint, why, full, now, random)
            }
            Event::Unanswered { round, silence } if round == self.round => {
                self.unanswered(silence, now, random)
            }
            Event::Opened { round } if round == self.round => self.opened(now),
            Event::Ended { round, cause } if round == self.round => self.ended(cause, now, random),
            Event::NetworkChanged { stranded } => self.network_changed(stranded, now),
            Event::Connected { .. }
            | Event::Greeted { .. }
            | Event::Lost { .. }
            | Event::Opened { .. }
            | Event::Unanswered { .. }
            | Event::Ended { .. } => Vec::new(),
        }
    }

    /// When it wants to be woken.
    pub fn wake_at(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Waiting { until } | Phase::Starting { until, .. } => Some(*until),
            Phase::Racing(race) => race.wake_at(),
            Phase::Up { doubt, .. } => doubt.as_ref().and_then(Doubt::wake_at),
        }
    }

    /// The round of an open tunnel, whose connection is to be watched for [`Event::Unanswered`].
    pub fn watched(&self) -> Option<u64> {
        matches!(self.phase, Phase::Up { .. }).then_some(self.round)
    }

    /// The connection of an open tunnel that goes straight to the relay: what others of this host conclude from.
    pub fn connection(&self) -> Option<Connection> {
        match &self.phase {
            Phase::Up { endpoint, doubt, .. } if endpoint.path == Path::Direct => {
                Some(match doubt {
                    None => Connection::Answers,
                    Some(_) => Connection::Doubted,
                })
            }
            _ => None,
        }
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let (state, endpoint) = match &self.phase {
            Phase::Waiting { .. } => ("waiting", None),
            Phase::Racing(_) => ("racing", None),
            Phase::Starting { endpoint, .. } => ("starting", Some(endpoint.clone())),
            Phase::Up { endpoint, .. } => ("up", Some(endpoint.clone())),
        };
        Status { state: state.into(), endpoint, failures: self.failures, why: self.why.clone() }
    }

    fn wake(&mut self, now: Duration, random: f64) -> Vec<Action> {
        match &self.phase {
            Phase::Waiting { until } if *until <= now => self.begin(now),
            Phase::Racing(_) => self.race_on(now, random),
            Phase::Starting { until, .. } if *until <= now => {
                let within = self.start_within.as_secs();
                let mut actions = vec![Action::End];
                let cause = Cause::Ended(format!("its ports were not open within {within} s"));
                actions.extend(self.ended(cause, now, random));
                actions
            }
            Phase::Up { doubt: Some(_), .. } => self.doubt_on(now, random),
            Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Up { .. } => Vec::new(),
        }
    }

    fn knock_for(&self) -> Duration {
        self.took.map_or(KNOCK_FOR, knock_for)
    }

    /// In which the relay mostly answers: two ways there and back.
    pub fn pace(&self) -> Option<Duration> {
        self.took
    }

    fn fail(&mut self, kind: Kind, why: String, now: Duration, random: f64) -> Vec<Action> {
        self.failures = self.failures.saturating_add(1);
        self.pause(kind, why, now, random)
    }

    fn pause(&mut self, kind: Kind, why: String, now: Duration, random: f64) -> Vec<Action> {
        self.round += 1;
        self.why = Some(why);
        let until = now + backoff::wait(self.failures, kind, random);
        self.full_round_at = until;
        match (kind, &self.last_good) {
            (Kind::Unreachable, Some(_)) => self.knock_again(now, random),
            _ => {
                self.phase = Phase::Waiting { until };
                vec![Action::Drop { but: None }]
            }
        }
    }

    fn knock_again(&mut self, now: Duration, random: f64) -> Vec<Action> {
        self.round += 1;
        let knock = now + backoff::knock(self.knocks, random);
        self.phase = Phase::Waiting { until: knock.min(self.full_round_at) };
        vec![Action::Drop { but: None }]
    }

    fn network_changed(&mut self, stranded: bool, now: Duration) -> Vec<Action> {
        let again = self.restarted.map_or(Duration::ZERO, |last| last + RESTART_GAP);
        match &mut self.phase {
            // Keepalive finds out whether a connection still holds; only a lost address is a proof.
            Phase::Up { .. } | Phase::Starting { .. } if !stranded => return Vec::new(),
            Phase::Waiting { until } if now < again => {
                *until = (*until).min(again);
                return Vec::new();
            }
            Phase::Racing(_) if now < again => return Vec::new(),
            Phase::Waiting { .. }
            | Phase::Racing(_)
            | Phase::Starting { .. }
            | Phase::Up { .. } => {}
        }
        let mut actions = match &self.phase {
            Phase::Starting { .. } | Phase::Up { .. } => {
                vec![Action::Drop { but: None }, Action::End]
            }
            Phase::Waiting { .. } | Phase::Racing(_) => vec![Action::Drop { but: None }],
        };
        self.full_round_at = now;
        self.knocks = 0;
        self.restarted = Some(now);
        self.failures = 0;
        actions.extend(self.begin(now));
        actions
    }
}
