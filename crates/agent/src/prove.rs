//! Step 9: whether an attempt is what it should be. An exit status of an activation is no evidence; what is
//! seen on the host is: the system is current, every check passes, no more units have failed than before,
//! and the host is as reachable as it was.

use std::time::{Duration, Instant};

use afield_core::plan::{Attempt, Boot, Direction};
use afield_core::reach::{Patience, Verdict, judge};
use afield_core::report::{CheckResult, failing};

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
        return Proof { wrong: Some(why), ..proof };
    }
    // On the way back, what failed before the attempt counts as it did then: nobody wrote it down anew.
    if attempt.direction == Direction::Forward {
        let failed = units::failed(&host.config);
        if let Some((why, log)) = units::worse(&attempt.before.failed_units, &failed) {
            return Proof { wrong: Some(why), log, ..proof };
        }
        reachable(host, attempt, say, &mut proof);
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

fn reachable(host: &Host, attempt: &Attempt, say: &dyn Fn(&str), proof: &mut Proof) {
    let before = &attempt.before;
    if !before.reach.any() {
        return;
    }
    let patience = Patience {
        up: host.config.reach_patience.as_secs(),
        down: host.config.uplink_patience.as_secs(),
    };
    let since = Instant::now();
    loop {
        let now = reach::look(host);
        let link = reach::link(host, before.gateway.as_deref());
        match judge(&before.reach, &now, &link, since.elapsed().as_secs(), patience) {
            Verdict::Fine => return,
            Verdict::Wait => {
                say("nothing can be reached; looking again");
                std::thread::sleep(LOOK);
            }
            Verdict::Lost(why) => {
                proof.wrong = Some(why);
                proof.cut_off = true;
                proof.log = activate::log(host);
                return;
            }
            Verdict::Uplink(why) => {
                proof.notes.push(why);
                return;
            }
        }
    }
}
