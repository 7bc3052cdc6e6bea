//! `afield-agent boot-check`: at the end of a boot, before systemd's `boot-complete.target`. A system on trial is judged
//! now; any other boot is none of its business. If this program itself cannot run, `afield-boot-failed.service` restarts
//! the machine, once for each trial: the file `on-trial` allows it.

use std::fs;
use std::time::{Duration, Instant};

use afield_core::plan::{Boot, Trial};
use afield_store::files;

use crate::config::Config;
use crate::contract;
use crate::host::Host;
use crate::notify::tell;
use crate::observe;
use crate::reboot;
use crate::reconcile;
use crate::state::{State, StateError, Store};

/// There from the arming of a trial until it is judged.
const FILE: &str = "on-trial";
/// Nothing takes longer without a word; `TimeoutStartSec` of the unit is the same.
const SILENCE: Duration = Duration::from_secs(45 * 60);
/// What is not judged in this time is not well.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// The agent's own service may be judging already.
const BUSY: Duration = Duration::from_secs(1);

/// Whether the boot is in order; waits until a trial is judged.
pub fn run(host: &Host, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let since = Instant::now();
    let say = |text: &str| {
        go_on(since);
        say(text);
    };
    loop {
        go_on(since);
        let state = Store::peek(&host.config.state_dir())?;
        if !on_trial(&host.config, &state) {
            return Ok(!failed(&host.config, &state));
        }
        match reconcile::once(host, &say) {
            Err(e) if !matches!(e.downcast_ref(), Some(StateError::Locked)) => return Err(e),
            _ => std::thread::sleep(BUSY),
        }
    }
}

/// Reading the whole store after a power cut, the patience for the machine, its checks and its uplink come to more than any
/// one limit: the unit is given as much time again for as long as the judgement gets on.
fn go_on(since: Instant) {
    if since.elapsed() < LONGEST {
        tell(&format!("EXTEND_TIMEOUT_USEC={}", SILENCE.as_micros()));
    }
}

/// Whether this boot is the one that is to prove a system.
fn on_trial(config: &Config, state: &State) -> bool {
    match &state.attempt {
        Some(attempt) => {
            let booted = contract::booted(config);
            observe::boot(config, state) == Boot::Happened
                && booted == attempt.to.system
                && attempt.failure.is_none()
        }
        None => observe::trial(config, state) == Trial::Booted,
    }
}

/// What was started is not well, whoever found that, and whatever became of the way back. In the boot after it the last good
/// one runs, though the way back is not written down as ended yet.
fn failed(config: &Config, state: &State) -> bool {
    let booted = contract::booted(config);
    let back = state.attempt.as_ref().filter(|attempt| attempt.failure.is_some());
    let to_leave = back.is_some_and(|attempt| booted.is_some() && booted != attempt.to.system);
    to_leave || state.bad_boot.as_ref() == Some(&reboot::boot_id(config))
}

/// Writes down that a boot is to prove something.
pub fn arm(host: &Host) -> anyhow::Result<()> {
    Ok(files::write_atomic(&host.own(FILE), b"")?)
}

/// The trial is judged, or there is none any more.
pub fn disarm(host: &Host) -> anyhow::Result<()> {
    match fs::exists(host.own(FILE)) {
        Ok(true) => Ok(files::remove_if_there(&host.own(FILE))?),
        _ => Ok(()),
    }
}
