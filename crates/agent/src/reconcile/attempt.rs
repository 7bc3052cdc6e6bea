//! Steps 8 to 10: an attempt is activated, proved, and recorded as the last good generation or taken back.

use afield_core::ids::StorePath;
use afield_core::plan::{Attempt, Before, Boot, Direction, Failure, MAX_ATTEMPTS, Stuck};
use afield_core::report::Event;

use super::{Next, Run};
use crate::{activate, boot_check, contract, prove, reach, reboot, roots, unit_files};

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
        match activate::start(self.host, &attempt, system) {
            Ok(true) => Ok(Next::Step),
            Ok(false) => Ok(Next::Plan),
            Err(e) => {
                // It did not even begin.
                if let Some(attempt) = &mut self.state.attempt {
                    attempt.activations -= 1;
                }
                Err(e)
            }
        }
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
            self.ask_whose_fault();
            return Ok(Next::Step);
        };
        (self.say)(&why);
        match attempt.direction {
            Direction::Forward => {
                self.roll_back(why, proof.log, proof.cut_off)?;
                Ok(Next::Plan)
            }
            // The same once more, at once, would not help either.
            Direction::Back => self.stuck(why, proof.log).map(|_| Next::Stop),
        }
    }

    /// Step 10: the attempt is the last good generation now.
    pub(super) fn commit(&mut self) -> anyhow::Result<()> {
        let booted = self.happened() == Boot::Happened;
        let Some(attempt) = self.state.attempt.take() else {
            return Ok(());
        };
        self.state.stuck = None;
        let last = std::mem::replace(&mut self.state.good, attempt.to);
        let good = self.state.good.release;
        self.state.cut_off.retain(|release, _| Some(*release) > good);
        if attempt.direction == Direction::Forward {
            self.state.fallback = match self.state.fallback.take() {
                _ if booted => None,
                Some(fallback) => Some(fallback),
                None => self.fall_back_to(last, attempt.before),
            };
        }
        // Else the next boot is to prove something.
        if self.state.fallback.is_none() {
            boot_check::disarm(self.host)?;
        }
        if let Some(failure) = attempt.failure {
            self.blame(failure)?;
        } else if self.event.is_none() {
            self.record(Event::Healthy)?;
        }
        unit_files::remember(self.host)?;
        self.store.save(&self.state, "commit")?;
        roots::keep(&self.host.config, &self.state)
    }

    /// A release that cut the host off is to blame if the host is in reach again without it.
    fn ask_whose_fault(&mut self) {
        let booted = self.happened() == Boot::Happened;
        let failure = self.state.attempt.as_mut().and_then(|attempt| attempt.failure.as_mut());
        let Some(failure) = failure.filter(|failure| failure.cut_off) else { return };
        failure.cut_off = !prove::reaches_anything(self.host, self.say);
        if failure.cut_off && !booted {
            self.state.deaf = Some(reboot::boot_id(&self.host.config));
        }
    }

    /// Whether a way back left the host cut off, and it still is.
    pub(super) fn listen(&mut self) {
        let boot = reboot::boot_id(&self.host.config);
        let same = self.state.deaf.as_ref() == Some(&boot);
        if self.state.deaf.is_some() && (!same || reach::look(self.host).any()) {
            self.state.deaf = None;
        }
    }

    /// The host is back. A router that answers hides that the line behind it is dead: where nothing can be reached without
    /// the release either, it is tried again when something can, a few times.
    fn blame(&mut self, failure: Failure) -> anyhow::Result<()> {
        let Failure { release, why, log, cut_off } = failure;
        let times = self.state.cut_off.get(&release).map_or(1, |times| times + 1);
        if !cut_off || times >= MAX_ATTEMPTS {
            return self.record(Event::RolledBack { from: release, why, log });
        }
        self.state.quarantined.remove(&release);
        self.state.cut_off.insert(release, times);
        self.notes.push(format!(
            "release {release} was taken back ({why}), and nothing can be reached without it either: \
             it is tried again when something can, and the machine restarts in its window if nothing can until then"
        ));
        self.under_way(release);
        Ok(())
    }

    /// Writes down that the release failed and that the host goes back.
    pub(super) fn roll_back(
        &mut self,
        why: String,
        log: Vec<String>,
        cut_off: bool,
    ) -> anyhow::Result<bool> {
        let to = self.state.attempt.as_ref().and_then(|a| a.to.release);
        let release = to.unwrap_or_default();
        self.state.quarantined.insert(release);
        let failure = Failure { release, why, log, cut_off };
        if self.state.good.system.is_none() {
            let Failure { why, log, .. } = failure;
            let why = format!("{why}; there is no earlier generation to go back to");
            self.state.attempt = None;
            self.record(Event::Stuck { from: release, why, log })?;
            self.store.save(&self.state, "stuck")?;
            return Ok(false);
        }
        let (config, boot) = (&self.host.config, reboot::boot_id(&self.host.config));
        let failed = self.state.attempt.as_ref().and_then(|a| a.to.system.as_ref());
        if self.happened() == Boot::Happened && contract::booted(config).as_ref() == failed {
            self.state.bad_boot = Some(boot);
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
        let times = self.state.stuck.as_ref().map_or(1, |stuck| stuck.times.saturating_add(1));
        let (at, cut_off) = (self.now, false);
        let failure = Failure { release: from, why: why.clone(), log: log.clone(), cut_off };
        self.state.stuck = Some(Stuck { times, at, failure });
        self.record(Event::Stuck { from, why, log })?;
        self.store.save(&self.state, "stuck")?;
        Ok(false)
    }

    /// A trouble of the host's own says nothing about the release that is on its way: what was not switched to is begun anew
    /// by a later run, what was is gone on with.
    pub(super) fn leave_open(&mut self, why: &str) -> anyhow::Result<bool> {
        let attempt = self.state.attempt.as_ref();
        let to = attempt.and_then(|a| a.to.release).unwrap_or_default();
        if attempt.is_some_and(|a| a.activations == 0 && !a.promoting) {
            self.state.attempt = None;
        }
        self.notes.push(format!("release {to} is tried again by the next run: {why}"));
        self.under_way(to);
        self.store.save(&self.state, "left-open")?;
        Ok(false)
    }
}
