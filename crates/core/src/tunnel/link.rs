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

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::{self, Kind};
use super::config::Relay;
use super::doubt::{DOUBT_AFTER, Doubt, Silence};
use super::race::{Endpoint, KNOCK_FOR, Known, Path, Race, knock_for};
use super::site::Connection;
use super::ssh::Cause;

/// A tunnel that held this long was a good one: the next failure counts from the beginning.
const HELD: Duration = Duration::from_secs(60);
/// A network that flaps makes a host start over this often at most.
const RESTART_GAP: Duration = Duration::from_secs(5);

/// So many rounds over all ways, some three minutes, the way that worked last is also tried anew within a round.
const FAILURES_BRISK: u32 = 8;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what their names say; `round` is explained above.
pub enum Event {
    /// The time of [`Link::wake_at`] has come.
    Wake,
    /// An answer to [`Action::Resolve`]; empty if there is none.
    Resolved { name: String, addresses: Vec<IpAddr> },
    /// A try has a connection, and waits for first words.
    Connected { round: u64, endpoint: Endpoint },
    /// A try got an SSH server's first words.
    Greeted { round: u64, endpoint: Endpoint },
    /// A try failed. `full`: the relay is there, and sent it away since too many come at once.
    Lost { round: u64, endpoint: Endpoint, why: String, full: bool },
    /// OpenSSH has opened all ports.
    Opened { round: u64 },
    /// How the connection of an open tunnel has sent the same again, and heard nothing; 0 times if it did hear.
    Unanswered { round: u64, silence: Silence },
    /// OpenSSH ended.
    Ended { round: u64, cause: Cause },
    /// Addresses or routes changed, or the clock jumped, as it does after a sleep. `stranded`: the connection's own
    /// address is gone, so that it is dead for sure.
    NetworkChanged { stranded: bool },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what their names say; `round` is explained above.
pub enum Action {
    /// Resolve a name.
    Resolve(String),
    /// Connect, and wait so long for the first words of an SSH server. It takes the place of an earlier try of the same way.
    Try { round: u64, endpoint: Endpoint, within: Duration },
    /// Drop all tries but the given one's connection.
    Drop { but: Option<Endpoint> },
    /// Start OpenSSH on the connection of this try.
    Start { round: u64, endpoint: Endpoint },
    /// Have the kernel ask the other end of the open tunnel's connection at once.
    Ask,
    /// End OpenSSH.
    End,
    /// Keep this endpoint across restarts: it worked.
    Remember(Endpoint),
}

/// How a link is doing, for people and for checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `waiting`, `racing`, `starting` or `up`.
    pub state: String,
    /// What it goes over, if it is up or starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last, if it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

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

    fn begin(&mut self, now: Duration) -> Vec<Action> {
        self.round += 1;
        let (race, names) = match &self.last_good {
            Some(endpoint) if now < self.full_round_at => {
                self.knocks = self.knocks.saturating_add(1);
                (Race::knock(endpoint.clone(), self.knock_for(), now), Vec::new())
            }
            _ => Race::new(&self.known(), now),
        };
        self.phase = Phase::Racing(race);
        self.tried.clear();
        let mut actions: Vec<Action> = names.into_iter().map(Action::Resolve).collect();
        // A relay whose names are all unknown so far has nothing to try yet, which is not yet a failure.
        actions.extend(self.tries(now));
        actions
    }

    fn race_on(&mut self, now: Duration, random: f64) -> Vec<Action> {
        let mut actions = self.tries(now);
        let Phase::Racing(race) = &self.phase else {
            return actions;
        };
        if race.is_over() {
            let why = race.why();
            actions.extend(match (race.is_full(), race.is_knock()) {
                (true, _) => self.fail(Kind::Full, why, now, random),
                (false, true) => self.knock_again(now, random),
                (false, false) => self.fail(Kind::Unreachable, why, now, random),
            });
        }
        actions
    }

    fn lost(
        &mut self,
        endpoint: &Endpoint,
        why: String,
        full: bool,
        now: Duration,
        random: f64,
    ) -> Vec<Action> {
        let race = match &mut self.phase {
            Phase::Racing(race) | Phase::Up { doubt: Some(Doubt { race, .. }), .. } => race,
            Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Up { .. } => return Vec::new(),
        };
        race.lost(endpoint, why);
        if full {
            race.sent_away();
        }
        let mut actions = self.race_on(now, random);
        actions.extend(self.doubt_on(now, random));
        actions
    }

    /// A relay to which all hosts come at once is slow to speak, and another connection would make it slower.
    fn connected(&mut self, endpoint: &Endpoint, now: Duration) {
        if let Phase::Racing(race) | Phase::Up { doubt: Some(Doubt { race, .. }), .. } =
            &mut self.phase
        {
            race.connected(endpoint, now);
        }
    }

    fn tries(&mut self, now: Duration) -> Vec<Action> {
        let round = self.round;
        let Phase::Racing(race) = &mut self.phase else {
            return Vec::new();
        };
        let tries = race.advance(now);
        self.begun(round, tries, now)
    }

    fn begun(
        &mut self,
        round: u64,
        tries: Vec<(Endpoint, Duration)>,
        now: Duration,
    ) -> Vec<Action> {
        self.tried.extend(tries.iter().map(|(endpoint, _)| (endpoint.clone(), now)));
        let each = tries.into_iter();
        each.map(|(endpoint, within)| Action::Try { round, endpoint, within }).collect()
    }

    /// A way has answered: what a knock there may take is known.
    fn learn(&mut self, endpoint: &Endpoint, now: Duration) {
        if let Some(tried) = self.tried.get(endpoint) {
            self.took = Some(now.saturating_sub(*tried));
        }
    }

    fn knock_for(&self) -> Duration {
        self.took.map_or(KNOCK_FOR, knock_for)
    }

    /// In which the relay mostly answers: two ways there and back.
    pub fn pace(&self) -> Option<Duration> {
        self.took
    }

    fn resolved(
        &mut self,
        name: String,
        addresses: Vec<IpAddr>,
        now: Duration,
        random: f64,
    ) -> Vec<Action> {
        // What it resolved to earlier is still worth a try when DNS fails.
        if !addresses.is_empty() {
            self.resolved.insert(name.clone(), addresses);
        }
        let mut phase = std::mem::replace(&mut self.phase, Phase::Waiting { until: now });
        if let Phase::Racing(race) | Phase::Starting { race, .. } = &mut phase {
            race.resolved(&name, &self.known());
        }
        self.phase = phase;
        self.race_on(now, random)
    }

    fn greeted(&mut self, endpoint: Endpoint, now: Duration) -> Vec<Action> {
        self.learn(&endpoint, now);
        let answer_within = self.knock_for();
        if let Phase::Up { doubt: Some(doubt), .. } = &mut self.phase {
            return match doubt.greeted(endpoint.clone(), answer_within, now) {
                true => vec![Action::Drop { but: Some(endpoint) }, Action::Ask],
                false => Vec::new(),
            };
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Waiting { until: now });
        let Phase::Racing(race) = phase else {
            self.phase = phase;
            return Vec::new();
        };
        if !race.is_open(&endpoint) {
            self.phase = Phase::Racing(race);
            return Vec::new();
        }
        self.round += 1;
        let until = now + self.start_within;
        self.phase = Phase::Starting { endpoint: endpoint.clone(), until, race };
        let drop = Action::Drop { but: Some(endpoint.clone()) };
        vec![drop, Action::Start { round: self.round, endpoint }]
    }

    fn opened(&mut self, now: Duration) -> Vec<Action> {
        let Phase::Starting { endpoint, .. } = &self.phase else {
            return Vec::new();
        };
        let endpoint = endpoint.clone();
        self.phase = Phase::Up { endpoint: endpoint.clone(), since: now, doubt: None };
        self.why = None;
        self.knocks = 0;
        let new = self.last_good.as_ref() != Some(&endpoint);
        self.last_good = Some(endpoint.clone());
        new.then_some(Action::Remember(endpoint)).into_iter().collect()
    }

    fn ended(&mut self, cause: Cause, now: Duration, random: f64) -> Vec<Action> {
        match std::mem::replace(&mut self.phase, Phase::Waiting { until: now }) {
            Phase::Starting { endpoint, mut race, .. } if cause.is_of_the_way() => {
                self.why = Some(format!("{endpoint}: {cause}"));
                self.round += 1;
                race.lost(&endpoint, cause.to_string());
                race.resume(&self.known(), now);
                self.phase = Phase::Racing(race);
                self.race_on(now, random)
            }
            Phase::Starting { endpoint, .. } => {
                self.fail(cause.kind(), format!("{endpoint}: {cause}"), now, random)
            }
            Phase::Up { endpoint, since, doubt: Some(doubt) } => {
                self.why = Some(format!("{endpoint}: {cause}"));
                self.held(since, now);
                self.after_doubt(doubt, now, random)
            }
            Phase::Up { endpoint, since, doubt: None } => {
                let held = self.held(since, now);
                let why = format!("{endpoint}: {cause}");
                match held {
                    true => self.pause(cause.kind(), why, now, random),
                    false => self.fail(cause.kind(), why, now, random),
                }
            }
            phase @ (Phase::Waiting { .. } | Phase::Racing(_)) => {
                self.phase = phase;
                Vec::new()
            }
        }
    }

    /// Whether a tunnel was a good one; then failures count from the beginning.
    fn held(&mut self, since: Duration, now: Duration) -> bool {
        let held = now.saturating_sub(since) >= HELD;
        self.failures = if held { 0 } else { self.failures };
        held
    }

    fn unanswered(&mut self, silence: Silence, now: Duration, random: f64) -> Vec<Action> {
        let knock_for = self.knock_for();
        let Phase::Up { endpoint, doubt, .. } = &mut self.phase else {
            return Vec::new();
        };
        match doubt {
            None if silence.times < DOUBT_AFTER => return Vec::new(),
            None => {
                *doubt = Some(Doubt::new(Race::knock(endpoint.clone(), knock_for, now), silence));
            }
            // It was answered, and the people whose sessions go over it notice nothing.
            Some(known) if silence.times < known.silence.times => {
                *doubt = None;
                return vec![Action::Drop { but: None }];
            }
            Some(known) => known.silence = silence,
        }
        self.doubt_on(now, random)
    }

    /// What is due while the connection is in doubt.
    fn doubt_on(&mut self, now: Duration, random: f64) -> Vec<Action> {
        let Phase::Up { endpoint, since, doubt: Some(doubt) } = &self.phase else {
            return Vec::new();
        };
        if let Some(winner) = doubt.verdict(now).cloned() {
            self.why = Some(format!("{endpoint}: it answers no more, and a new connection does"));
            self.held(*since, now);
            let mut actions = vec![Action::End];
            actions.extend(self.start(winner, now));
            return actions;
        }
        let another = doubt.again.is_some_and(|again| again <= now);
        // By turns the way of the connection itself, and all.
        let full = (another && doubt.rounds % 2 == 1).then(|| Race::new(&self.known(), now));
        let (round, knock_for) = (self.round, self.knock_for());
        let Phase::Up { endpoint, doubt: Some(doubt), .. } = &mut self.phase else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if another {
            let knock = || (Race::knock(endpoint.clone(), knock_for, now), Vec::new());
            let (race, names) = full.unwrap_or_else(knock);
            doubt.restart(race);
            actions.extend(names.into_iter().map(Action::Resolve));
        }
        if !doubt.is_proven() && doubt.again.is_none() {
            let tries = doubt.race.advance(now);
            if doubt.race.is_over() {
                doubt.again = Some(now + backoff::knock(doubt.rounds, random));
            }
            actions.extend(self.begun(round, tries, now));
        }
        actions
    }

    /// OpenSSH has ended by itself, and other ways are being tried already.
    fn after_doubt(&mut self, doubt: Doubt, now: Duration, random: f64) -> Vec<Action> {
        if let Some(winner) = doubt.proven().cloned() {
            return self.start(winner, now);
        }
        self.full_round_at = now;
        match doubt.again {
            Some(until) => {
                self.phase = Phase::Waiting { until };
                Vec::new()
            }
            None => {
                self.phase = Phase::Racing(doubt.race);
                self.race_on(now, random)
            }
        }
    }

    /// Gives a connection that stands to OpenSSH.
    fn start(&mut self, endpoint: Endpoint, now: Duration) -> Vec<Action> {
        self.round += 1;
        let (race, names) = Race::new(&self.known(), now);
        let until = now + self.start_within;
        self.phase = Phase::Starting { endpoint: endpoint.clone(), until, race };
        let mut actions: Vec<Action> = names.into_iter().map(Action::Resolve).collect();
        actions.push(Action::Start { round: self.round, endpoint });
        actions
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

    /// A relay that went away a few minutes ago at most is likely to be back soon. Now and then its way gets all the
    /// time that there is: the line may have become slow.
    fn again_after(&self) -> Option<Duration> {
        let brisk = self.failures < FAILURES_BRISK && self.failures % 3 != 2;
        Some(self.knock_for()).filter(|knock_for| brisk && *knock_for < KNOCK_FOR)
    }

    fn known(&self) -> Known<'_> {
        Known {
            relay: &self.relay,
            has_proxy: self.has_proxy,
            resolved: &self.resolved,
            last_good: self.last_good.as_ref(),
            again_after: self.again_after(),
        }
    }
}
