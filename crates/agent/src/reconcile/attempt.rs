//! Steps 8 to 10: an attempt is activated, proved, and recorded as the last good generation or taken back.

use afield_core::ids::StorePath;
use afield_core::plan::{Attempt, Before, Direction, Failure};
use afield_core::report::Event;

use super::{Next, Run};
use crate::{activate, boot_check, prove, roots, unit_files};

impl Run<'_> {
    pub(super) fn activate(&mut self, system: &StorePath) -> anyhow::Result<Next> {
        let Some(attempt) = &mut self.state.attempt else {
            anyhow::bail!("an activation without an attempt");
        };
        activate::forget(self.host)?;
        attempt.activations += 1;
        let attempt = attempt.clone();
        self.store.save(&self.state, "activate")?;
        (self.say)(&format!("activating {system}"));
        // One that ended without a result was cut off: the plan says how often that is tried.
        let ended = activate::start(self.host, &attempt, system)?;
        Ok(if ended { Next::Step } else { Next::Plan })
    }

    /// Step 9. Evidence, not an exit status: see [`prove::look`].
    pub(super) fn prove(&mut self) -> anyhow::Result<Next> {
        let Some(attempt) = self.state.attempt.clone() else {
            return Ok(Next::Step);
        };
        let proof = prove::look(self.host, &self.state, &attempt, self.say);
        self.checks = proof.checks;
        self.notes.extend(proof.notes);
        let Some(why) = proof.wrong else {
            return Ok(Next::Step);
        };
        (self.say)(&why);
        match attempt.direction {
            Direction::Forward => self.roll_back(why, proof.log)?,
            Direction::Back => self.stuck(why, proof.log)?,
        };
        Ok(Next::Plan)
    }

    /// Step 10: the attempt is the last good generation now.
    pub(super) fn commit(&mut self) -> anyhow::Result<()> {
        let Some(attempt) = self.state.attempt.take() else {
            return Ok(());
        };
        let booted = attempt.boot.is_some();
        if booted || attempt.direction == Direction::Back {
            boot_check::disarm(self.host)?;
        }
        let last = std::mem::replace(&mut self.state.good, attempt.to);
        if attempt.direction == Direction::Forward {
            self.state.fallback = match self.state.fallback.take() {
                _ if booted => None,
                Some(fallback) => Some(fallback),
                None => self.fall_back_to(last, attempt.before),
            };
        }
        if let Some(Failure { release, why, log }) = attempt.failure {
            let event = Event::RolledBack { from: release, why, log };
            self.record(event)?;
        } else if self.event.is_none() {
            self.record(Event::Healthy)?;
        }
        unit_files::remember(self.host)?;
        self.store.save(&self.state, "commit")?;
        roots::keep(&self.host.config, &self.state)
    }

    /// Writes down that the release failed and that the host goes back.
    pub(super) fn roll_back(&mut self, why: String, log: Vec<String>) -> anyhow::Result<bool> {
        let to = self.state.attempt.as_ref().and_then(|a| a.to.release);
        let release = to.unwrap_or_default();
        self.state.quarantined.insert(release);
        let failure = Failure { release, why, log };
        if self.state.good.system.is_none() {
            let Failure { why, log, .. } = failure;
            let why = format!("{why}; there is no earlier generation to go back to");
            self.state.attempt = None;
            self.record(Event::Stuck { from: release, why, log })?;
            self.store.save(&self.state, "stuck")?;
            return Ok(false);
        }
        let failed = self.state.attempt.take();
        let promoting = failed.is_some_and(|a| a.promoting || a.boot.is_some());
        let to = self.state.good.clone();
        let back = Attempt::new(to, Direction::Back, Before::default());
        self.state.attempt = Some(Attempt { promoting, failure: Some(failure), ..back });
        self.store.save(&self.state, "roll-back")?;
        Ok(true)
    }

    /// Going back did not help either.
    pub(super) fn stuck(&mut self, why: String, log: Vec<String>) -> anyhow::Result<bool> {
        let failure = self.state.attempt.take().and_then(|a| a.failure);
        let (from, why, log) = match failure {
            Some(f) => (
                f.release,
                format!("{}; and after going back: {why}", f.why),
                [f.log, log].concat(),
            ),
            None => (self.state.good.release.unwrap_or_default(), why, log),
        };
        self.record(Event::Stuck { from, why, log })?;
        self.store.save(&self.state, "stuck")?;
        Ok(false)
    }
}
