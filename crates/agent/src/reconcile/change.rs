//! The steps that change what the host runs, and what its machine starts by itself.

use afield_core::plan::{Attempt, Before, Boot, Direction, Fallback, Generation};
use afield_core::report::Event;
use afield_core::window::Opening;

use super::{Next, Run};
use crate::boot::Loader;
use crate::refusal::Refusal;
use crate::{checks, contract, data, observe, promote, reach, reboot, roots, units};
use afield_core::ids::{ReleaseId, StorePath};

impl Run<'_> {
    pub(super) fn begin(&mut self, to: Generation, direction: Direction) -> anyhow::Result<()> {
        let before = match direction {
            Direction::Forward => Before {
                failed_units: units::failed(&self.host.config),
                reach: reach::look(self.host),
                gateway: reach::gateway(self.host),
                stale: false,
            },
            Direction::Back => Before::default(),
        };
        self.state.attempt = Some(Attempt::new(to, direction, before));
        self.store.save(&self.state, "begin")?;
        roots::keep(&self.host.config, &self.state)?;
        roots::coming(&self.host.config, [].into_iter())
    }

    /// What the machine starts by itself is either from here on, until the attempt is judged.
    fn promoting(&mut self) -> anyhow::Result<()> {
        if let Some(attempt) = &mut self.state.attempt {
            attempt.promoting = true;
        }
        Ok(self.store.save(&self.state, "promote")?)
    }

    pub(super) fn promote(&mut self, system: &StorePath) -> anyhow::Result<()> {
        self.promoting()?;
        let Some(attempt) = &self.state.attempt else {
            anyhow::bail!("nothing to be promoted");
        };
        if attempt.direction == Direction::Back {
            return promote::back(self.host, &self.nix, &self.state, system);
        }
        if self.happened() == Boot::Happened {
            return promote::bless(self.host, &self.nix, system);
        }
        promote::on_trial(self.host, &self.nix, &self.state, system)
    }

    pub(super) fn happened(&self) -> Boot {
        observe::boot(&self.host.config, &self.state)
    }

    /// The next boot is the trial.
    pub(super) fn arm(&mut self, system: &StorePath) -> anyhow::Result<Next> {
        // It was begun when there was a boot loader; without one a restart would only come back to the old system.
        if let Some(why) = Loader::find(&self.host.config).no_trial(&self.host.config) {
            return Err(Refusal::NoTrial(why).into());
        }
        if self.cut_off()? {
            return Ok(Next::Stop);
        }
        self.promoting()?;
        promote::on_trial(self.host, &self.nix, &self.state, system)?;
        Ok(Next::Step)
    }

    /// Whether nothing can be reached just now by a host that could: what it comes up with could not be judged. It waited for
    /// its window, so that what was seen when the attempt began is old.
    fn cut_off(&mut self) -> anyhow::Result<bool> {
        let Some(attempt) = &mut self.state.attempt else {
            return Ok(false);
        };
        let now = reach::look(self.host);
        if now.any() || !attempt.before.reach.any() {
            (attempt.before.reach, attempt.before.gateway) = (now, reach::gateway(self.host));
            return Ok(false);
        }
        let release = attempt.to.release.unwrap_or_default();
        let note = format!("release {release} waits for a restart until something can be reached");
        (self.say)(&note);
        self.notes.push(note);
        self.under_way(release);
        self.store.save(&self.state, "wait")?;
        Ok(true)
    }

    pub(super) fn reboot(&mut self, why: String) -> anyhow::Result<Next> {
        let boot = reboot::boot_id(&self.host.config);
        let Some(attempt) = &mut self.state.attempt else {
            anyhow::bail!("a restart without an attempt");
        };
        if attempt.boot.as_ref() != Some(&boot) {
            attempt.boot = Some(boot);
            attempt.activations += 1;
        }
        let release = attempt.to.release.unwrap_or_default();
        let why = format!("restarting: {why}");
        (self.say)(&why);
        self.notes.push(why.clone());
        self.under_way(release);
        self.restart = Some(why);
        self.store.save(&self.state, "reboot")?;
        Ok(Next::Stop)
    }

    pub(super) fn wait_for_window(&mut self, why: &str, window: Opening) -> anyhow::Result<Next> {
        let now = self.now;
        let Some(attempt) = &mut self.state.attempt else {
            anyhow::bail!("a wait without an attempt");
        };
        let since = *attempt.waits.get_or_insert(now);
        let release = attempt.to.release.unwrap_or_default();
        let note = format!(
            "release {release} waits for a restart since {since}, since {why}; the window is from {} to {} ({})",
            window.opens, window.closes, self.window
        );
        (self.say)(&note);
        self.notes.push(note);
        let data = attempt.to.data.and_then(|id| data::kept(self.host, &id).ok());
        self.checks = checks::run(self.host, &data.map(|d| d.checks).unwrap_or_default());
        self.under_way(release);
        self.store.save(&self.state, "wait")?;
        Ok(Next::Stop)
    }

    pub(super) fn under_way(&mut self, to: ReleaseId) {
        self.event = Some(Event::Updating { to, done: 0, total: 0 });
    }

    /// The last good generation was booted for the first time, or could not be: it is an attempt again, and
    /// what was booted before is what it goes back to.
    pub(super) fn judge_by_boot(&mut self) -> anyhow::Result<Next> {
        let Some(Fallback { generation, boot, before }) = self.state.fallback.take() else {
            return Ok(Next::Step);
        };
        let before = Before { stale: true, ..before };
        let to = std::mem::replace(&mut self.state.good, generation);
        let attempt = Attempt::new(to, Direction::Forward, before);
        self.state.attempt = Some(Attempt { boot: Some(boot), ..attempt });
        self.store.save(&self.state, "on-trial")?;
        Ok(Next::Plan)
    }

    /// Where the machine goes by itself if what was proved without a boot does not boot.
    pub(super) fn fall_back_to(&self, last: Generation, before: Before) -> Option<Fallback> {
        let config = &self.host.config;
        let changed = last.system.is_some() && last.system != self.state.good.system;
        let known = contract::booted(config).is_some() && Loader::find(config).counts();
        let boot = reboot::boot_id(config);
        (changed && known).then_some(Fallback { generation: last, boot, before })
    }
}
