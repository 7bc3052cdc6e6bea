//! Until a relay answers: which ways are tried, and what their answers mean.

use std::net::IpAddr;
use std::time::Duration;

use super::{Action, FAILURES_BRISK, Link, Phase};
use crate::tunnel::backoff::Kind;
use crate::tunnel::doubt::Doubt;
use crate::tunnel::race::{Endpoint, KNOCK_FOR, Known, Race};

impl Link {
    pub(super) fn begin(&mut self, now: Duration) -> Vec<Action> {
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

    pub(super) fn race_on(&mut self, now: Duration, random: f64) -> Vec<Action> {
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

    pub(super) fn lost(
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
    pub(super) fn connected(&mut self, endpoint: &Endpoint, now: Duration) {
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

    pub(super) fn begun(
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

    pub(super) fn resolved(
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

    pub(super) fn greeted(&mut self, endpoint: Endpoint, now: Duration) -> Vec<Action> {
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

    /// A relay that went away a few minutes ago at most is likely to be back soon. Now and then its way gets all the
    /// time that there is: the line may have become slow.
    fn again_after(&self) -> Option<Duration> {
        let brisk = self.failures < FAILURES_BRISK && self.failures % 3 != 2;
        Some(self.knock_for()).filter(|knock_for| brisk && *knock_for < KNOCK_FOR)
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known {
            relay: &self.relay,
            has_proxy: self.has_proxy,
            resolved: &self.resolved,
            last_good: self.last_good.as_ref(),
            again_after: self.again_after(),
        }
    }
}
