//! Step 9: whether an attempt is what it should be. An exit status of an activation is no evidence; what is
//! seen on the host is: the system is current, every check passes, the host is as reachable as it was, and no more
//! units have failed than before.

use std::time::{Duration, Instant};

use afield_core::plan::{Attempt, Boot, Direction};
use afield_core::reach::{Patience, Verdict, judge};
use afield_core::report::{CheckResult, failing};
use afield_store::fault;

use crate::contract::{self, Contract};
use crate::host::Host;
use crate::observe::{boot, current_system};
use crate::state::State;
use crate::{activate, checks, data, reach, units};

/// How often a host that cannot be reached looks again.
const LOOK: Duration = Duration::from_secs(2);
/// After a switch systemd has this long to end what it began.
const SETTLE: Duration = Duration::from_secs(60);
/// A unit that dies at once is seen as failed after this.
const DIES: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Debug, Default)]
pub struct Proof {
    /// Every check.
    pub checks: Vec<CheckResult>,
    /// What is wrong, in a sentence; none if the attempt is proved.
    pub wrong: Option<String>,
    /// What is wrong is that nothing can be reached any more.
    pub cut_off: bool,
    /// Last lines of the logs of what is wrong.
    pub log: Vec<String>,
    /// Worth knowing, and no failure.
    pub notes: Vec<String>,
}

/// Looks at everything, with the patience that each needs.
pub fn look(host: &Host, state: &State, attempt: &Attempt, say: &dyn Fn(&str)) -> Proof {
    let mut proof = Proof::default();
    let booted = boot(&host.config, state) == Boot::Happened;
    settle(host, booted);
    if let Some(why) = not_current(host, state, attempt) {
        proof.log = activate::log(host);
        return Proof { wrong: Some(why), ..proof };
    }
    let data = attempt.to.data.map(|id| data::kept(host, &id)).transpose();
    let declared = match data {
        Ok(data) => data.map(|d| d.checks).unwrap_or_default(),
        Err(e) => return Proof { wrong: Some(format!("{e:#}")), ..proof },
    };
    proof.checks = checks::run(host, &declared);
    let until = Instant::now() + host.config.boot_patience.duration();
    // A machine that has just come up is slower than the checks were written for.
    while booted && failing(&proof.checks).is_some() && Instant::now() < until {
        std::thread::sleep(LOOK);
        proof.checks = checks::run(host, &declared);
    }
    if let Some(why) = failing(&proof.checks) {
        proof.log = activate::log(host);
        proof.log.extend(checks::logs(host, &declared, &proof.checks));
        let forward = attempt.direction == Direction::Forward;
        let cut_off = forward && attempt.before.reach.any() && !reach::look(host).any();
        return Proof { wrong: Some(why), cut_off, ..proof };
    }
    // On the way back, what failed before the attempt counts as it did then: nobody wrote it down anew.
    if attempt.direction == Direction::Forward {
        let uplink = reachable(host, attempt, say, &mut proof);
        if proof.wrong.is_some() {
            return proof;
        }
        let until = if booted { until } else { Instant::now() };
        if let Some((why, log)) = failed_units(host, attempt, uplink, until, &mut proof) {
            return Proof { wrong: Some(why), log, cut_off: !uplink, ..proof };
        }
    }
    if let Some(ended) = activate::ended(host, attempt).filter(|ended| !ended.ok) {
        proof.notes.push(format!("{}, after everything it should do was done", ended.how));
    }
    proof
}

fn settle(host: &Host, booted: bool) {
    if units::run_the_host(&host.config) {
        std::thread::sleep(DIES);
        units::settle(
            &host.config,
            if booted { host.config.boot_patience.duration() } else { SETTLE },
        );
    }
}

fn not_current(host: &Host, state: &State, attempt: &Attempt) -> Option<String> {
    let config = &host.config;
    let current = current_system(config, state);
    let wanted = attempt.to.system.as_ref()?;
    if current.as_ref() == Some(wanted) {
        return None;
    }
    let how = activate::ended(host, attempt).map_or(String::new(), |e| format!("; {}", e.how));
    if Contract::of(config, wanted) == Some(Contract::SystemManager) {
        let found = contract::system_manager::differences(config, wanted);
        let shown: Vec<&str> = found.iter().take(5).map(String::as_str).collect();
        return Some(format!("{}{how}", shown.join("; ")));
    }
    let shown = current.map_or("nothing".into(), |c| c.to_string());
    Some(format!("the current system is {shown}{how}"))
}

/// Whether anything can be reached, as soon as it can be.
pub fn reaches_anything(host: &Host, say: &dyn Fn(&str)) -> bool {
    let until = Instant::now() + host.config.reach_patience.duration();
    loop {
        if reach::look(host).any() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        say("nothing can be reached after going back either; looking again");
        std::thread::sleep(LOOK);
    }
}

/// Units that failed and had not before. Without an uplink those that need it prove nothing.
fn failed_units(
    host: &Host,
    attempt: &Attempt,
    uplink: bool,
    until: Instant,
    proof: &mut Proof,
) -> Option<(String, Vec<String>)> {
    let before = &attempt.before.failed_units;
    loop {
        let mut failed = units::failed(&host.config);
        if !uplink {
            let new = failed.difference(before).cloned().collect();
            for unit in units::of_the_network(&new) {
                proof.notes.push(format!("the unit {unit} failed, and needs the uplink"));
                failed.remove(&unit);
            }
        }
        let found = units::worse(before, &failed)?;
        if Instant::now() >= until {
            return Some(found);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether there is an uplink; what is wrong is in the proof.
fn reachable(host: &Host, attempt: &Attempt, say: &dyn Fn(&str), proof: &mut Proof) -> bool {
    let before = &attempt.before;
    if !before.reach.any() {
        return true;
    }
    let (up, down) = (host.config.reach_patience.as_secs(), host.config.uplink_patience.as_secs());
    let patience = Patience { up: if before.stale { up.max(down) } else { up }, down };
    let since = Instant::now();
    loop {
        let now = reach::look(host);
        let link = reach::link(host, before.gateway.as_deref());
        match judge(&before.reach, &now, &link, since.elapsed().as_secs(), patience) {
            Verdict::Fine => return true,
            Verdict::Wait => {
                say("nothing can be reached; looking again");
                fault::point("reach:waits");
                std::thread::sleep(LOOK);
            }
            Verdict::Lost(why) => {
                proof.wrong = Some(why);
                proof.cut_off = true;
                proof.log = activate::log(host);
                return false;
            }
            Verdict::Uplink(why) => {
                proof.notes.push(why);
                return false;
            }
        }
    }
}
