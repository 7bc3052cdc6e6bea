//! The agent is replaced by the one that the host's system brings, on trial: the program that was installed starts it, counts
//! how often, and goes back to the last good one if it never gets through a check-in.
//!
//! A system brings an agent as `bin/afield-agent` or `sw/bin/afield-agent`. The installed program itself stays what it is;
//! it is the floor that everything falls back to, so the file it keeps here must stay readable to old versions.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_store::files;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::journal::{self, Level};
use crate::observe::current_system;
use crate::state::{StateError, Store};

/// So often a new agent may be started without getting through a check-in.
const TRIES: u32 = 3;
/// Says to a program that it was chosen, so that it chooses no other.
const CHOSEN: &str = "AFIELD_CHOSEN";
const MAX_FILE: u64 = 64 * 1024;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Programs {
    /// Got through a check-in.
    good: Option<PathBuf>,
    /// On trial, and how often it was started.
    trial: Option<(PathBuf, u32)>,
    /// Did not; it is not tried again.
    failed: Option<PathBuf>,
}

fn file(config: &Config) -> PathBuf {
    config.state_dir().join("agent.json")
}

fn read(config: &Config) -> Programs {
    let bytes = files::read_if_there(&file(config), MAX_FILE).ok().flatten().unwrap_or_default();
    // Without it the installed program runs, which is what it is there for.
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn write(config: &Config, programs: &Programs) -> anyhow::Result<()> {
    Ok(files::write_atomic(&file(config), &serde_json::to_vec(programs)?)?)
}

/// At the start: becomes the agent that is on trial or that is good. Returns where this program is the one to run.
pub fn become_chosen(config: &Config) {
    if std::env::var_os(CHOSEN).is_some() {
        return;
    }
    let mut programs = read(config);
    if let Some((path, starts)) = programs.trial.take() {
        if starts < TRIES {
            programs.trial = Some((path.clone(), starts + 1));
            // A try that cannot be counted is none.
            if write(config, &programs).is_ok() {
                execute(&path);
            }
        } else {
            let name = path.display();
            let text = format!(
                "the new agent {name} was started {TRIES} times and never got through a check-in; the last good one runs again"
            );
            journal::say(Level::Error, &text);
            programs.failed = Some(path);
            if let Err(e) = write(config, &programs) {
                journal::say(Level::Error, &format!("{e:#}"));
            }
        }
    }
    if let Some(good) = &programs.good {
        execute(good);
    }
}

/// Returns only if that program cannot be started.
fn execute(program: &Path) {
    if Some(program) == own().as_deref() {
        return;
    }
    let error = Command::new(program).args(std::env::args_os().skip(1)).env(CHOSEN, "1").exec();
    journal::say(Level::Error, &format!("{} cannot be started: {error}", program.display()));
}

fn own() -> Option<PathBuf> {
    fs::read_link("/proc/self/exe").ok()
}

/// For a single command: the program that was installed becomes the agent that is good, since it knows what that one wrote
/// down. The program of a system stays: it is called as that system's units mean it.
pub fn become_good(config: &Config) {
    let of_a_system = own().is_none_or(|own| own.starts_with("/nix/store"));
    if std::env::var_os(CHOSEN).is_some() || of_a_system {
        return;
    }
    if let Some(good) = read(config).good {
        execute(&good);
    }
}

/// What a check-in says of the agent that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It got through.
    Well,
    /// It did not.
    Failed,
    /// It could not, and no other agent could have.
    None,
}

impl Verdict {
    /// Of a check-in's result. That another one works on this host, or that its disk is full, is no agent's fault.
    pub fn of<T>(done: &anyhow::Result<T>) -> Self {
        let Err(error) = done else { return Self::Well };
        let excused = error.chain().any(|cause| {
            matches!(cause.downcast_ref(), Some(StateError::Locked))
                || cause.downcast_ref().is_some_and(|e: &io::Error| {
                    let kinds = [
                        ErrorKind::StorageFull,
                        ErrorKind::ReadOnlyFilesystem,
                        ErrorKind::QuotaExceeded,
                    ];
                    kinds.contains(&e.kind())
                })
        });
        if excused { Self::None } else { Self::Failed }
    }
}

/// After a check-in: whether another agent is to be started. The caller ends, and the unit starts anew.
pub fn after_check_in(config: &Config, verdict: Verdict) -> bool {
    if verdict == Verdict::None {
        return false;
    }
    let well = verdict == Verdict::Well;
    let change = || -> anyhow::Result<bool> {
        let mut programs = read(config);
        let own = own();
        if let Some((path, starts)) = programs.trial.clone()
            && Some(&path) == own.as_ref()
        {
            if well {
                journal::say(Level::Notice, &format!("the new agent {} is good", path.display()));
                (programs.good, programs.trial) = (Some(path), None);
                write(config, &programs)?;
            } else {
                // Each start is one check-in.
                return Ok(starts <= TRIES);
            }
        }
        let offered = offered(config);
        let known = [&own, &programs.failed].into_iter().any(|p| *p == offered);
        let Some(offered) = offered.filter(|_| !known && well) else { return Ok(false) };
        if let Err(why) = looks_well(&offered, config) {
            journal::say(Level::Error, &format!("{} is passed over: {why}", offered.display()));
            programs.failed = Some(offered);
            write(config, &programs)?;
            return Ok(false);
        }
        journal::say(Level::Notice, &format!("trying the new agent {}", offered.display()));
        programs.trial = Some((offered, 0));
        write(config, &programs)?;
        Ok(true)
    };
    change().unwrap_or_else(|e| {
        journal::say(Level::Error, &format!("{e:#}"));
        false
    })
}

/// The agent that the current system brings.
fn offered(config: &Config) -> Option<PathBuf> {
    if !config.is_machine() {
        return None;
    }
    let state = Store::peek(&config.state_dir()).ok()?;
    let system = current_system(config, &state)?;
    let places = ["bin/afield-agent", "sw/bin/afield-agent"];
    places.iter().find_map(|place| fs::canonicalize(format!("{system}/{place}")).ok())
}

/// It can be run, and understands this host's configuration.
fn looks_well(program: &Path, config: &Config) -> Result<(), String> {
    let text = toml::to_string(config).map_err(|e| e.to_string())?;
    let copy = config.state_dir().join("agent.toml.tried");
    files::write_atomic(&copy, text.as_bytes()).map_err(|e| e.to_string())?;
    let done = Command::new(program).arg("check-config").arg(&copy).output();
    let done = done.map_err(|e| e.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn what_no_agent_can_help_is_held_against_none() {
        let of = |error: anyhow::Error| Verdict::of(&Err::<(), _>(error));
        assert_eq!(Verdict::of(&Ok(())), Verdict::Well);
        assert_eq!(of(StateError::Locked.into()), Verdict::None);
        let full: anyhow::Result<()> = Err(io::Error::from(ErrorKind::StorageFull).into());
        assert_eq!(Verdict::of(&full.context("state.json")), Verdict::None);
        assert_eq!(of(anyhow!("a bug")), Verdict::Failed);
        assert_eq!(of(StateError::Format(9).into()), Verdict::Failed);
    }
}
