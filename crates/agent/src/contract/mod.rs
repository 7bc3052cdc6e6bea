//! The two contracts of a system (design §4), and what tells that one of them is in force: evidence on the
//! host, not what an activation says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use afield_core::ids::StorePath;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::config::Config;

pub mod system_manager;

/// How often a running activation is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The unit that writes boot entries; there is one at a time.
const ENTRIES: &str = "afield-boot-entries.service";

/// Whose contract a system fulfils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// `bin/switch-to-configuration`.
    Nixos,
    /// `bin/activate`: system-manager on Ubuntu and Debian.
    SystemManager,
}

/// What is asked of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Become current; what the machine starts by itself stays as it is.
    Test,
    /// Become what the machine starts by itself; what runs stays as it is.
    Boot,
}

impl Contract {
    /// That of a system in the host's store.
    pub fn of(config: &Config, system: &StorePath) -> Option<Self> {
        [Self::Nixos, Self::SystemManager].into_iter().find(|c| c.tool(config, system).exists())
    }

    /// The profile whose generations are kept, and started.
    pub fn profile(self) -> &'static Path {
        Path::new(match self {
            Self::Nixos => "/nix/var/nix/profiles/system",
            Self::SystemManager => "/nix/var/nix/profiles/system-manager-profiles/system-manager",
        })
    }

    fn program(self) -> &'static str {
        match self {
            Self::Nixos => "bin/switch-to-configuration",
            Self::SystemManager => "bin/activate",
        }
    }

    fn tool(self, config: &Config, system: &StorePath) -> PathBuf {
        config.inside(&Path::new(system.as_str()).join(self.program()))
    }
}

/// The system that is current, as seen. On NixOS a link says so. system-manager has none: there it is the
/// first of the `known` ones whose every file and unit is in place.
pub fn current(config: &Config, known: &[&StorePath]) -> Option<StorePath> {
    let link = link(config, "/run/current-system");
    link.or_else(|| known.iter().find(|s| in_force(config, s)).map(|s| (*s).clone()))
}

fn in_force(config: &Config, system: &StorePath) -> bool {
    Contract::of(config, system) == Some(Contract::SystemManager)
        && system_manager::differences(config, system).is_empty()
}

/// The system that was booted; only NixOS says so.
pub fn booted(config: &Config) -> Option<StorePath> {
    link(config, "/run/booted-system")
}

fn link(config: &Config, path: &str) -> Option<StorePath> {
    let link = std::fs::read_link(config.inside(Path::new(path))).ok()?;
    link.to_str()?.parse().ok()
}

/// Runs a system's contract to its end, its output into `log`. What it says at the end is no evidence.
pub fn run(config: &Config, system: &StorePath, action: Action, log: &File) -> anyhow::Result<()> {
    let Some(contract) = Contract::of(config, system) else {
        bail!("{system} has neither bin/switch-to-configuration nor bin/activate");
    };
    let args: &[&str] = match (contract, action) {
        (Contract::Nixos, Action::Test) => &["test"],
        (Contract::Nixos, Action::Boot) => &["boot"],
        (Contract::SystemManager, Action::Test) => &[],
        // What it wrote to /etc is what the distribution starts.
        (Contract::SystemManager, Action::Boot) => return Ok(()),
    };
    let moved = match (contract, action) {
        (Contract::SystemManager, Action::Test) => system_manager::make_way(config, system)?,
        _ => Vec::new(),
    };
    let tool = format!("{system}/{}", contract.program());
    let mut command = if config.is_machine() {
        match action {
            // This is a unit of its own already.
            Action::Test => Command::new(&tool),
            Action::Boot => unhardened(config, &tool),
        }
    } else {
        let mut chroot = Command::new("chroot");
        chroot.arg(&config.root).arg(&tool);
        chroot
    };
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let child = command.spawn().with_context(|| format!("{tool} cannot be run"))?;
    let ended = end(child, config);
    system_manager::hand_over(config, &moved);
    ended
}

/// Waits for the end of an activation, and ends one that takes too long.
fn end(mut child: Child, config: &Config) -> anyhow::Result<()> {
    let deadline = Instant::now() + config.activation_timeout.duration();
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("the activation ended with {status}");
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            stop_entries(config);
            bail!("the activation took longer than {} and was ended", config.activation_timeout);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends what writes boot entries, and all that it started; that it does not run is no error.
fn stop_entries(config: &Config) {
    if crate::units::run_the_host(config) {
        // What it could not be told, the next one is.
        let _ = crate::nix::run(&mut crate::units::systemctl(&["stop", "--quiet", ENTRIES]));
    }
}

/// What writes boot entries must not be bound by what the agent's unit denies itself.
fn unhardened(config: &Config, tool: &str) -> Command {
    if !crate::units::run_the_host(config) {
        return Command::new(tool);
    }
    // One that an agent left behind must not write after this one.
    stop_entries(config);
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--wait", "--pipe", "--unit", ENTRIES]);
    command.arg(format!("--property=RuntimeMaxSec={}", config.activation_timeout.as_secs()));
    if let Ok(path) = std::env::var("PATH") {
        command.arg(format!("--setenv=PATH={path}"));
    }
    command.args(["--description=Afield: write the boot entries", "--", tool]);
    command
}
