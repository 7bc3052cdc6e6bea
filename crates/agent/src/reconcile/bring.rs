//! Steps 6 and 7: what a release needs comes here, as far as room, budget and link allow.

use std::sync::Mutex;
use std::time::Instant;

use afield_core::delivery::worth_telling;
use afield_core::plan::Missing;
use afield_core::report::Event;

use super::tell::tell;
use super::{Next, Run};
use crate::fetch::{self, Job};
use crate::obtain::Halt;
use crate::purse::{self, Purse};
use crate::refusal::Refusal;
use crate::verify::Verified;
use crate::{gc, report, roots};

impl Run<'_> {
    /// Steps 6 and 7.
    pub(super) fn fetch(
        &mut self,
        missing: &[Missing],
        verified: &Verified,
    ) -> anyhow::Result<Next> {
        let Verified { closure, delivery, data, .. } = verified;
        roots::coming(&self.host.config, closure.paths.iter().map(|info| &info.path))?;
        let allowance = purse::of(self.host, data.budget.clone(), self.host.now(&self.state).time);
        let purse = Mutex::new(Purse::new(self.host, allowance));
        let job =
            Job { host: self.host, nix: &self.nix, missing, closure, delivery, purse: &purse };
        let (host, say) = (self.host, self.say);
        let to = self.state.release_seen.unwrap_or_default();
        let (mut left, mut told, mut last) = (0, 0, Instant::now());
        let delivered = fetch::deliver(&job, |done, total| {
            left = total - done;
            say(&format!("fetching: {done} of {total} bytes"));
            if worth_telling(done, told, total, last.elapsed()) {
                (told, last) = (done, Instant::now());
                let event = Event::Updating { to, done, total };
                let now = host.now(&self.state).time;
                if let Err(e) = tell(host, &self.store, &mut self.state, now, event) {
                    say(&format!("{e:#}"));
                }
            }
        });
        self.notes.extend(delivered.notes);
        match delivered.end.map_err(anyhow::Error::downcast::<Halt>) {
            // Only now it can be looked at.
            Ok(()) => Ok(Next::Plan),
            // The rest of the plan is for another day.
            Err(Ok(Halt::Paused(why))) => {
                self.wait(why, left);
                Ok(Next::Stop)
            }
            Err(Ok(halt)) => Err(halt.into_error()),
            Err(Err(other)) => Err(other),
        }
    }

    /// Too little room: what the host needs no more is given up once, and then it is told.
    pub(super) fn lack(
        &mut self,
        needed: u64,
        free: u64,
        verified: Option<&Verified>,
    ) -> anyhow::Result<Next> {
        if self.host.config.collect && !self.collected {
            self.collected = true;
            let more = needed.saturating_sub(free);
            let freed = gc::make_room(self.host, &self.nix, &self.state, verified, more)?;
            if let Some(note) = freed {
                (self.say)(&note);
                self.notes.push(note);
                return Ok(Next::Plan);
            }
        }
        self.refuse(&Refusal::NoSpace { needed, free });
        Ok(Next::Step)
    }

    /// The fetch goes on with a later run.
    pub(super) fn wait(&mut self, why: String, bytes: u64) {
        (self.say)(&why);
        self.notes.push(format!("{why}; {bytes} bytes are to come"));
        let to = self.state.release_seen.unwrap_or_default();
        self.event = Some(Event::Updating { to, done: 0, total: bytes });
    }

    /// Tells the hub that an update begins, since on a bad link it takes long.
    pub(super) fn announce(&mut self, bytes: u64) -> anyhow::Result<()> {
        let to = self.state.release_seen.unwrap_or_default();
        let event = Event::Updating { to, done: 0, total: bytes };
        report::note(self.host, &mut self.state, self.now, event, Vec::new(), Vec::new());
        self.store.save(&self.state, "announce")?;
        if let Err(e) = self.send() {
            (self.say)(&format!("{e:#}"));
        }
        Ok(())
    }
}
