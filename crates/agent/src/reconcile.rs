//! The spine of the agent: eleven steps from what is assigned to what is reported.

use std::sync::Mutex;
use std::time::Instant;

use afield_core::delivery::worth_telling;
use afield_core::ids::StorePath;
use afield_core::plan::{
    Attempt, Before, Direction, Failure, Generation, Lack, Missing, Plan, Step, plan,
};
use afield_core::report::{CheckResult, Event};
use jiff::Timestamp;

use crate::contract::Contract;
use crate::fetch::Job;
use crate::host::Host;
use crate::nix::{self, Nix};
use crate::observe::{Observed, current_system, forget_documents, observe};
use crate::obtain::Halt;
use crate::purse::Purse;
use crate::refusal::Refusal;
use crate::state::{State, Store};
use crate::verify::{Verified, fetch_assignments, verify_first};
use crate::{
    activate, boot_check, checks, data, fetch, gc, journal, lan, prove, purse, reboot, repair,
    report, roots,
};

mod change;

/// One run plans at most this often: forward and back, each with its tries, and a look at the result.
const MAX_ROUNDS: usize = 10;

/// What one run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was reported, or would be if something had changed.
    pub event: Event,
    /// The checks that were run last.
    pub checks: Vec<CheckResult>,
    /// Things worth knowing that are no failure.
    pub notes: Vec<String>,
    /// The release that the host runs now.
    pub good: Generation,
    /// How many reports the hub took; why it took none.
    pub sent: Result<usize, String>,
}

/// One check-in. Whatever happens in a step, the later ones see what is true then; what an earlier run left
/// open is finished first.
pub fn once(host: &Host, say: &dyn Fn(&str)) -> anyhow::Result<Outcome> {
    // 1. Load the state.
    let (store, state, note) = Store::open(&host.config.state_dir())?;
    let now = host.now(&state);
    let notes = note.into_iter().chain(now.note).collect();
    let mut run = Run::new(host, store, state, now.time, notes, say);

    // 2. Fetch the assignment, from one source after the other.
    let offers = fetch_assignments(host);

    // 3. Verify it, and the release that it names, until one is accepted.
    let (verified, refusal) = verify_first(host, &mut run.state, offers, run.now);
    run.accept(verified.as_ref(), refusal.as_ref())?;
    run.mend(verified.as_ref());
    run.restore();

    for _ in 0..MAX_ROUNDS {
        // 4. Observe.
        let observed = observe(host, &run.nix, &run.state, verified.as_ref(), run.now)?;
        run.notice(&observed);

        // 5. Plan.
        let plan = plan(&observed.facts);
        say(&plan.why);

        // 6. Fetch objects, 7. import, 8. activate, 9. prove or roll back, 10. record: each as a step.
        if !run.execute(plan, verified.as_ref())? {
            break;
        }
    }
    forget_documents(host, &run.state, verified.as_ref());
    lan::tidy(&host.config);

    // 11. Report.
    run.report()
}

/// Steps 1 to 5 without changing anything but the agent's own folder: what a run would do.
pub fn preview(host: &Host) -> anyhow::Result<(Plan, Option<Refusal>)> {
    let (_store, mut state, _) = Store::open(&host.config.state_dir())?;
    let now = host.now(&state).time;
    let (verified, refusal) = verify_first(host, &mut state, fetch_assignments(host), now);
    let nix = Nix::new(&host.config);
    let observed = observe(host, &nix, &state, verified.as_ref(), now)?;
    Ok((plan(&observed.facts), refusal))
}

struct Run<'a> {
    host: &'a Host,
    nix: Nix,
    store: Store,
    state: State,
    now: Timestamp,
    notes: Vec<String>,
    checks: Vec<CheckResult>,
    event: Option<Event>,
    /// Why the machine is restarted at the end of the run.
    restart: Option<String>,
    /// Whether room was made already.
    collected: bool,
    say: &'a dyn Fn(&str),
}

impl<'a> Run<'a> {
    fn new(
        host: &'a Host,
        store: Store,
        state: State,
        now: Timestamp,
        notes: Vec<String>,
        say: &'a dyn Fn(&str),
    ) -> Self {
        let nix = Nix::new(&host.config);
        Self {
            host,
            nix,
            store,
            state,
            now,
            notes,
            checks: Vec::new(),
            event: None,
            restart: None,
            collected: false,
            say,
        }
    }

    /// Remembers what was accepted before anything is done about it, so that nothing older is accepted
    /// after, and notes what was refused.
    fn accept(
        &mut self,
        verified: Option<&Verified>,
        refusal: Option<&Refusal>,
    ) -> anyhow::Result<()> {
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
        if let Some(v) = verified {
            let counter = v.assignment.counter;
            let known = self.state.assignment.as_ref().is_some_and(|(c, _)| *c == counter);
            if !known {
                // One key alone, or one wrong clock, must not move a host's time.
                let signed = v.assignment.issued.min(v.created);
                self.state.assignment = Some((counter, v.envelope.clone()));
                self.state.rollout_keys = Some(v.rollout_keys.clone());
                self.state.release_seen = Some(v.assignment.release);
                self.state.signed_time = self.state.signed_time.max(Some(signed));
                self.store.save(&self.state, "accept")?;
            }
        }
        // Before its first release, what is there is what the host goes back to.
        let untouched = self.state.attempt.is_none() && self.state.quarantined.is_empty();
        if self.state.good.release.is_none() && untouched {
            let config = &self.host.config;
            let profiled = || nix::profiled(config, Some(Contract::SystemManager));
            self.state.good.system = current_system(config, &self.state).or_else(profiled);
        }
        roots::keep(&self.host.config, &self.state)
    }

    /// What a power cut took is got again before anything is built on it.
    fn mend(&mut self, verified: Option<&Verified>) {
        let found =
            repair::after_a_power_cut(self.host, &self.nix, &self.state, verified, self.say);
        self.notes
            .extend(found.unwrap_or_else(|e| vec![format!("store paths cannot be read: {e:#}")]));
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let why = describe(refusal);
        (self.say)(&why);
        if refusal.is_silence() {
            self.notes.push(why);
        } else {
            self.event = Some(Event::Refused { code: refusal.code().to_owned(), why });
        }
    }

    /// What lay in memory is gone after a restart of the machine, which is no drift.
    fn restore(&mut self) {
        let good = self.state.good.data.filter(|_| self.state.attempt.is_none());
        if !data::was_restarted(self.host) {
            return;
        }
        // What fails here is drift below, and told there.
        if let Some(Ok(good)) = good.map(|id| data::kept(self.host, &id))
            && data::restore(self.host, &good).is_ok()
        {
            (self.say)("put app configs and secrets back after a restart of the machine");
        }
    }

    fn notice(&mut self, observed: &Observed) {
        // In an attempt, what the last good generation does not know may be the next one's.
        for remark in observed.remarks.iter().filter(|_| self.state.attempt.is_none()) {
            if !self.notes.contains(remark) {
                self.notes.push(remark.clone());
            }
        }
        if self.state.attempt.is_none() {
            self.notes.extend(observed.drift.iter().map(|d| format!("drift: {d}")));
        }
        let (current, good) = (&observed.facts.current, &self.state.good.system);
        if observed.facts.good_lost {
            self.notes.push("drift: the last good system is not in the store any more".to_owned());
        }
        if self.state.attempt.is_none() && good.is_some() && current != good {
            let shown = current.as_ref().map_or("nothing", |c| c.as_str());
            self.notes.push(format!("drift: the current system is {shown}"));
        }
        let default = &observed.facts.default;
        if self.state.attempt.is_none() && self.state.good.release.is_some() && default != good {
            let shown = |system: &Option<StorePath>| {
                system.as_ref().map_or("nothing".to_owned(), ToString::to_string)
            };
            let (is, wanted) = (shown(default), shown(good));
            self.notes.push(format!("drift: the system profile is {is}, not {wanted}"));
        }
    }

    /// Carries out a plan; true if there is something to plan anew.
    fn execute(&mut self, plan: Plan, verified: Option<&Verified>) -> anyhow::Result<bool> {
        for step in plan.steps {
            journal::step(&step, self.state.release_seen);
            // What only brings things here fails nobody's attempt.
            let brings = matches!(step, Step::Fetch { .. });
            match self.step(step, verified) {
                Ok(Next::Step) => {}
                Ok(Next::Plan) => return Ok(true),
                Ok(Next::Stop) => return Ok(false),
                Err(e) if brings && !e.is::<Refusal>() => {
                    (self.say)(&format!("{e:#}"));
                    self.notes.push(format!("{e:#}"));
                    return Ok(false);
                }
                Err(e) => match e.downcast::<Refusal>() {
                    Ok(refusal) => {
                        self.refuse(&refusal);
                        return Ok(false);
                    }
                    Err(other) => return self.failed(&other),
                },
            }
        }
        Ok(false)
    }

    /// A step failed for a reason of this host's own. In an attempt that means to go back.
    fn failed(&mut self, error: &anyhow::Error) -> anyhow::Result<bool> {
        let why = format!("{error:#}");
        (self.say)(&why);
        match &self.state.attempt {
            Some(attempt) if attempt.direction == Direction::Forward => {
                let log = activate::log(self.host);
                self.roll_back(why, log)
            }
            Some(_) => self.stuck(why, Vec::new()),
            None => {
                self.notes.push(why);
                Ok(false)
            }
        }
    }

    fn step(&mut self, step: Step, verified: Option<&Verified>) -> anyhow::Result<Next> {
        match step {
            Step::Lack { needed, free } => return self.lack(needed, free, verified),
            Step::LackBoot(Lack { needed, free }) => {
                self.refuse(&Refusal::NoBootSpace { needed, free });
            }
            Step::Wait { wait, bytes } => self.wait(wait.to_string(), bytes),
            Step::Fetch { missing, bytes } => {
                self.announce(bytes)?;
                if let Some(verified) = verified {
                    return self.fetch(&missing, verified);
                }
                return Ok(Next::Plan);
            }
            Step::Begin { to, direction } => self.begin(to, direction)?,
            Step::ApplyData { data } => {
                data::apply(self.host, &data::kept(self.host, &data)?, self.now)?;
            }
            Step::Activate { system } => return self.activate(&system),
            Step::Await { .. } => {
                activate::wait(self.host)?;
                return Ok(Next::Plan);
            }
            Step::Prove => return self.prove(),
            Step::Promote { system } => self.promote(&system)?,
            Step::Arm { system } => self.arm(&system)?,
            Step::Reboot { why } => return self.reboot(why),
            Step::WaitForWindow { why, window } => return self.wait_for_window(&why, window),
            Step::OnTrial => return self.judge_by_boot(),
            Step::Commit => self.commit()?,
            Step::GiveUp { why } => {
                self.stuck(why, activate::log(self.host))?;
            }
            Step::RollBack { why } => {
                let log = activate::log(self.host);
                self.roll_back(why, log)?;
                return Ok(Next::Plan);
            }
            Step::Watch => self.watch(),
        }
        Ok(Next::Step)
    }

    /// Steps 6 and 7.
    fn fetch(&mut self, missing: &[Missing], verified: &Verified) -> anyhow::Result<Next> {
        let Verified { closure, delivery, data, .. } = verified;
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
    fn lack(
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
    fn wait(&mut self, why: String, bytes: u64) {
        (self.say)(&why);
        self.notes.push(format!("{why}; {bytes} bytes are to come"));
        let to = self.state.release_seen.unwrap_or_default();
        self.event = Some(Event::Updating { to, done: 0, total: bytes });
    }

    /// Tells the hub that an update begins, since on a bad link it takes long.
    fn announce(&mut self, bytes: u64) -> anyhow::Result<()> {
        let to = self.state.release_seen.unwrap_or_default();
        let event = Event::Updating { to, done: 0, total: bytes };
        report::note(self.host, &mut self.state, self.now, event, Vec::new(), Vec::new());
        self.store.save(&self.state, "announce")?;
        if let Err(e) = self.send() {
            (self.say)(&format!("{e:#}"));
        }
        Ok(())
    }

    fn activate(&mut self, system: &StorePath) -> anyhow::Result<Next> {
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
    fn prove(&mut self) -> anyhow::Result<Next> {
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
    fn commit(&mut self) -> anyhow::Result<()> {
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
        self.store.save(&self.state, "commit")?;
        roots::keep(&self.host.config, &self.state)
    }

    /// Writes down that the release failed and that the host goes back.
    fn roll_back(&mut self, why: String, log: Vec<String>) -> anyhow::Result<bool> {
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
    fn stuck(&mut self, why: String, log: Vec<String>) -> anyhow::Result<bool> {
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

    fn watch(&mut self) {
        if matches!(self.event, Some(Event::RolledBack { .. } | Event::Stuck { .. })) {
            return;
        }
        let data = self.state.good.data.and_then(|id| data::kept(self.host, &id).ok());
        let checks = data.map(|d| d.checks).unwrap_or_default();
        if self.state.good.data.is_some() {
            self.checks = checks::run(self.host, &checks);
        }
        if self.checks.iter().any(|c| !c.passed) {
            self.event = Some(Event::Unhealthy);
        }
    }

    /// Puts an event into the outbox; it is saved together with what it tells of.
    fn record(&mut self, event: Event) -> anyhow::Result<()> {
        let (checks, notes) = (self.checks.clone(), self.notes.clone());
        report::note(self.host, &mut self.state, self.now, event.clone(), checks, notes);
        self.event = Some(event);
        Ok(())
    }

    /// Step 11.
    fn report(mut self) -> anyhow::Result<Outcome> {
        // A run that ended before its checks, as in a transfer that was cut, looks now.
        if self.checks.is_empty() && self.state.attempt.is_none() {
            self.watch();
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

    fn send(&mut self) -> anyhow::Result<usize> {
        report::enqueue(self.host, &mut self.state)?;
        self.store.save(&self.state, "queued")?;
        let sent = report::send(self.host, &mut self.state);
        self.store.save(&self.state, "sent")?;
        sent
    }
}

/// Tells the hub something while a step goes on.
fn tell(
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

enum Next {
    /// The next step of the plan.
    Step,
    /// Nothing more in this run.
    Stop,
    /// The facts changed: observe and plan again.
    Plan,
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = e.source();
    }
    text
}
