//! From the first open port to the end of the tunnel, and what is done when its connection falls silent.

use std::time::Duration;

use super::{Action, HELD, Link, Phase};
use crate::tunnel::backoff;
use crate::tunnel::doubt::{DOUBT_AFTER, Doubt, Silence};
use crate::tunnel::race::{Endpoint, Race};
use crate::tunnel::ssh::Cause;

impl Link {
    pub(super) fn opened(&mut self, now: Duration) -> Vec<Action> {
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

    pub(super) fn ended(&mut self, cause: Cause, now: Duration, random: f64) -> Vec<Action> {
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

    pub(super) fn unanswered(
        &mut self,
        silence: Silence,
        now: Duration,
        random: f64,
    ) -> Vec<Action> {
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
    pub(super) fn doubt_on(&mut self, now: Duration, random: f64) -> Vec<Action> {
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
}
