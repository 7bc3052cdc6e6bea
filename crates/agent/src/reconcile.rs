//! The spine of the agent: eleven steps from what is assigned to what is reported.

use afield_core::ids::StorePath;
use afield_core::plan::{Direction, Generation, Lack, Plan, Step, plan};
use afield_core::report::{CheckResult, Event};
use jiff::Timestamp;

use crate::contract::Contract;
use crate::host::Host;
use crate::nix::{self, Nix};
use crate::observe::{Observed, current_system, forget_documents, observe};
use crate::refusal::Refusal;
use crate::state::{State, Store};
use crate::verify::{Verified, fetch_assignments, verify_first};
use crate::{activate, data, journal, lan, repair, roots, trouble, unit_files};

mod attempt;
mod bring;
mod change;
mod tell;

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
    run.listen();

    for _ in 0..MAX_ROUNDS {
        // A fetch may have taken hours, and a window may have closed meanwhile.
        run.now = host.now(&run.state).time;
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
    /// When the machine may be restarted, for the report.
    window: String,
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
            window: String::new(),
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
        self.window = observed.window.to_string();
        for remark in &observed.remarks {
            if !self.notes.contains(remark) {
                self.notes.push(remark.clone());
            }
        }
        if self.state.attempt.is_none() {
            self.notes.extend(observed.drift.iter().map(|d| format!("drift: {d}")));
            let edited = unit_files::drift(self.host);
            let new: Vec<String> = edited.into_iter().filter(|n| !self.notes.contains(n)).collect();
            self.notes.extend(new);
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
            let begins =
                matches!(step, Step::Begin { .. } | Step::Activate { .. } | Step::Await { .. });
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
                    Err(other) => return self.failed(&other, begins || trouble::is_own(&other)),
                },
            }
        }
        Ok(false)
    }

    /// A step failed. On the way to a release that means to go back, unless it is the host's `own` trouble.
    fn failed(&mut self, error: &anyhow::Error, own: bool) -> anyhow::Result<bool> {
        let why = format!("{error:#}");
        (self.say)(&why);
        match &self.state.attempt {
            // On trial in its own boot nothing else can be done than to judge it.
            Some(a) if a.direction == Direction::Forward && own && a.boot.is_none() => {
                self.leave_open(&why)
            }
            Some(attempt) if attempt.direction == Direction::Forward => {
                let log = activate::log(self.host);
                self.roll_back(why, log, false)
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
            Step::NoTrial { why } => self.refuse(&Refusal::NoTrial(why)),
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
            Step::Arm { system } => return self.arm(&system),
            Step::Reboot { why } => return self.reboot(why),
            Step::WaitForWindow { why, window } => return self.wait_for_window(&why, window),
            Step::OnTrial => return self.judge_by_boot(),
            Step::Commit => self.commit()?,
            Step::GiveUp { why } => {
                self.stuck(why, activate::log(self.host))?;
            }
            Step::RollBack { why } => {
                let log = activate::log(self.host);
                self.roll_back(why, log, false)?;
                return Ok(Next::Plan);
            }
            Step::Watch => self.watch()?,
        }
        Ok(Next::Step)
    }
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
