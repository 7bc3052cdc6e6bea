//! Step 11: what the run came to, for the person at the screen and for the hub.

use afield_core::plan::Failure;
use afield_core::report::Event;
use jiff::Timestamp;

use super::{Outcome, Run};
use crate::host::Host;
use crate::observe::current_system;
use crate::state::{State, Store};
use crate::{checks, data, reboot, report};

impl Run<'_> {
    pub(super) fn watch(&mut self) -> anyhow::Result<()> {
        if matches!(self.event, Some(Event::RolledBack { .. } | Event::Stuck { .. })) {
            return Ok(());
        }
        let data = self.state.good.data.and_then(|id| data::kept(self.host, &id).ok());
        let checks = data.map(|d| d.checks).unwrap_or_default();
        if self.state.good.data.is_some() {
            self.checks = checks::run(self.host, &checks);
        }
        if self.checks.iter().any(|c| !c.passed) {
            self.event = Some(Event::Unhealthy);
        }
        let there = current_system(&self.host.config, &self.state) == self.state.good.system;
        match self.state.stuck.take() {
            // It rests, and still needs a person.
            Some(stuck) if !there => {
                let Failure { release: from, why, log, .. } = stuck.failure.clone();
                self.state.stuck = Some(stuck);
                self.record(Event::Stuck { from, why, log })
            }
            _ => Ok(()),
        }
    }

    /// Puts an event into the outbox; it is saved together with what it tells of.
    pub(super) fn record(&mut self, event: Event) -> anyhow::Result<()> {
        let (checks, notes) = (self.checks.clone(), self.notes.clone());
        report::note(self.host, &mut self.state, self.now, event.clone(), checks, notes);
        self.event = Some(event);
        Ok(())
    }

    /// Step 11.
    pub(super) fn report(mut self) -> anyhow::Result<Outcome> {
        // A run that ended before its checks, as in a transfer that was cut, looks now.
        if self.checks.is_empty() && self.state.attempt.is_none() {
            self.watch()?;
        }
        let event = self.event.clone().unwrap_or(Event::Healthy);
        let told = matches!(event, Event::RolledBack { .. } | Event::Stuck { .. });
        // A host that runs nothing of the fleet's yet has no health to speak of.
        if !told && (self.state.good.release.is_some() || event != Event::Healthy) {
            self.record(event.clone())?;
        }
        self.store.save(&self.state, "report")?;
        let restart = self.restart.take();
        let sent = self.send().map_err(|e| format!("{e:#}"));
        if let Some(why) = restart {
            reboot::ask(&self.host.config, &why)?;
        }
        let (checks, notes, good) = (self.checks, self.notes, self.state.good);
        Ok(Outcome { event, checks, notes, good, sent })
    }

    pub(super) fn send(&mut self) -> anyhow::Result<usize> {
        report::enqueue(self.host, &mut self.state)?;
        self.store.save(&self.state, "queued")?;
        let sent = report::send(self.host, &mut self.state);
        self.store.save(&self.state, "sent")?;
        sent
    }
}

/// Tells the hub something while a step goes on.
pub(super) fn tell(
    host: &Host,
    store: &Store,
    state: &mut State,
    now: Timestamp,
    event: Event,
) -> anyhow::Result<()> {
    report::note(host, state, now, event, Vec::new(), Vec::new());
    report::enqueue(host, state)?;
    store.save(state, "progress")?;
    report::send(host, state).map(drop)
}
