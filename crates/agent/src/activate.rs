//! Step 8: makes a system current by its own contract, detached, so that a switch that restarts the agent
//! does not kill itself.
//!
//! The agent writes `activation/job.json` and starts `afield-agent activate`, which takes the lock of that
//! folder, runs the contract and writes `activation/result.json`. The lock, not a process
//! number, tells whether it still runs: the kernel gives it back however the process ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use afield_core::ids::StorePath;
use afield_core::plan::{Activation, Attempt, Direction};
use afield_core::report;
use afield_store::{fault, files};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::contract::{self, Action};
use crate::host::Host;
use crate::reboot;

/// Job and result files have at most this many bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Of the activation's log the end is read, bytes.
const MAX_LOG: u64 = 64 * 1024;

/// An activation whose process hangs in the kernel is given up so long after it should have ended itself.
const SLACK: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    /// Tells activations apart; see [`id`].
    id: String,
    system: StorePath,
    config: Config,
}

/// How an activation ended. That it says 0 proves nothing; the checks do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    id: String,
    /// In a sentence.
    pub how: String,
    /// Whether the contract ended with status 0.
    pub ok: bool,
}

/// Name of an attempt's newest activation. After a reboot, what an earlier boot did counts no more.
fn id(host: &Host, attempt: &Attempt) -> String {
    let way = match attempt.direction {
        Direction::Forward => "to",
        Direction::Back => "back",
    };
    let release = attempt.to.release.map(|r| r.0).unwrap_or_default();
    let system = attempt.to.system.as_ref().map_or("", |s| s.hash_part());
    let boot = reboot::boot_id(&host.config);
    let boot = boot.split('-').next().unwrap_or_default();
    format!("{way}-{release}-{system}-{}-{boot}", attempt.activations)
}

fn folder(host: &Host) -> PathBuf {
    host.own("activation")
}

/// What became of an attempt's newest activation.
pub fn look(host: &Host, attempt: &Attempt) -> Activation {
    if runs(&folder(host)) {
        return Activation::Running;
    }
    match ended(host, attempt) {
        Some(_) => Activation::Ended,
        None => Activation::None,
    }
}

fn runs(folder: &Path) -> bool {
    File::open(folder.join("lock")).is_ok_and(|lock| lock.try_lock().is_err())
}

/// How an attempt's newest activation ended, if it did.
pub fn ended(host: &Host, attempt: &Attempt) -> Option<Ended> {
    let bytes = files::read_if_there(&folder(host).join("result.json"), MAX_FILE).ok()??;
    let ended: Ended = serde_json::from_slice(&bytes).ok()?;
    (ended.id == id(host, attempt)).then_some(ended)
}

/// Last lines of the newest activation's output.
pub fn log(host: &Host) -> Vec<String> {
    report::tail(&tail_of(&folder(host).join("log")))
}

/// The end of a text file; empty if there is none.
pub fn tail_of(path: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))?;
        let mut bytes = Vec::new();
        file.take(MAX_LOG).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Forgets how an earlier activation ended, before a new one is written down.
pub fn forget(host: &Host) -> anyhow::Result<()> {
    let folder = folder(host);
    fs::create_dir_all(&folder)?;
    files::remove_if_there(&folder.join("result.json"))?;
    Ok(files::sync_dir(&folder)?)
}

/// Starts an activation and waits until it ends; false if it left no result. Its count in `attempt` is
/// already written down.
pub fn start(host: &Host, attempt: &Attempt, system: &StorePath) -> anyhow::Result<bool> {
    let folder = folder(host);
    fs::create_dir_all(&folder)?;
    let job = Job { id: id(host, attempt), system: system.clone(), config: host.config.clone() };
    files::write_atomic_mode(&folder.join("job.json"), &serde_json::to_vec(&job)?, 0o600)?;
    fault::point("activate:job-written");
    let mut command = detached(host, &job)?;
    command.arg("activate").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().context("the activation cannot be started")?;
    fault::point("activate:started");
    let status = child.wait()?;
    fault::point("activate:ended");
    // One that an earlier run started may hold the lock, and stand for this one.
    wait(host)?;
    let ended = ended(host, attempt).is_some();
    if !ended && !status.success() && folder.join("job.json").exists() {
        bail!("the activation cannot be started: {status}");
    }
    Ok(ended)
}

/// With systemd, as a unit of its own: a switch that restarts the agent's unit leaves it alone.
fn detached(host: &Host, job: &Job) -> anyhow::Result<Command> {
    if !(host.config.is_machine() && Path::new("/run/systemd/system").exists()) {
        // This very program, also if its file was replaced meanwhile.
        return Ok(Command::new("/proc/self/exe"));
    }
    let program = std::env::current_exe().context("the agent's own program is not to be found")?;
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--wait", "--service-type=exec"]);
    command.arg(format!("--unit=afield-activation-{}", job.id));
    // It ends itself before that, unless what it waits for cannot be ended.
    let most = host.config.activation_timeout.duration() + SLACK;
    command.arg(format!("--property=RuntimeMaxSec={}", most.as_secs()));
    // PID 1 knows neither where Nix is nor how this agent was told to use it.
    let passed = |name: &str| {
        let fault = cfg!(feature = "faults") && name.starts_with("AFIELD_FAULT");
        name == "PATH" || name.starts_with("NIX_") || fault
    };
    for (name, value) in std::env::vars().filter(|(name, _)| passed(name)) {
        command.arg(format!("--setenv={name}={value}"));
    }
    command.arg("--description=Afield: make a system current").arg("--").arg(program);
    Ok(command)
}

/// Waits for an activation that an earlier run started.
pub fn wait(host: &Host) -> anyhow::Result<()> {
    let lock = File::create(folder(host).join("lock"))?;
    Ok(lock.lock()?)
}

/// `afield-agent activate FOLDER`: the detached part.
pub fn detached_main(folder: &Path) -> anyhow::Result<()> {
    fault::power_cut_takes_the_parent_too();
    // The agent's terminal or group may go away under it; that it leads its group already is no error.
    let _ = rustix::process::setsid();
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another activation runs");
    }
    let job = files::read_limited(&folder.join("job.json"), MAX_FILE)?;
    let job: Job = serde_json::from_slice(&job).context("the activation's job cannot be read")?;
    // That it is gone says that the activation began.
    files::remove_if_there(&folder.join("job.json"))?;
    files::remove_if_there(&folder.join("result.json"))?;
    let (ok, how) = match run(folder, &job) {
        Ok(()) => (true, "the activation ended with status 0".to_owned()),
        Err(e) => (false, format!("{e:#}")),
    };
    fault::point("activation:ran");
    let result = Ended { id: job.id, how, ok };
    files::write_atomic(&folder.join("result.json"), &serde_json::to_vec(&result)?)?;
    fault::point("activation:result-written");
    Ok(())
}

fn run(folder: &Path, job: &Job) -> anyhow::Result<()> {
    let log = File::create(folder.join("log"))?;
    fault::point("activation:begins");
    contract::run(&job.config, &job.system, Action::Test, &log)
}
