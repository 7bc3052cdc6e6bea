//! The command line of `afield-agent`: its arguments here, what it prints in the modules.

pub mod outcome;
pub mod plan;
pub mod status;

use std::path::PathBuf;

use afield_agent::{install, secrets, tunnel};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Keeps this host at the release that it is assigned, or at the last good one.
///
/// Exit codes: 0 done, 1 failure, 2 wrong usage, 3 something was refused for safety and the host not changed.
#[derive(Debug, Parser)]
#[command(name = "afield-agent", version)]
pub struct Cli {
    /// The agent's configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/afield/agent.toml")]
    pub config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check in once: fetch, verify, plan, apply, prove or roll back, report.
    Once {
        /// Only say what would be done (the same as `plan`).
        #[arg(long)]
        dry_run: bool,
        /// Fetch now, also outside of the site's time windows, beyond the bytes of its day, and on a metered link.
        #[arg(long, conflicts_with = "dry_run")]
        now: bool,
        /// Look here first: a folder with a bundle or a repository, or a bundle that is one file (docs/usb.md).
        #[arg(long, value_name = "DIR|FILE")]
        from: Option<PathBuf>,
    },
    /// Mount a stick that was plugged in, check in from it, and put reports onto it; started by udev (docs/usb.md).
    Stick {
        /// The stick's file system, as in `/dev/sdb1`.
        device: PathBuf,
        /// Where it is mounted, read-only until reports are written.
        #[arg(long, value_name = "DIR", default_value = "/run/afield/stick")]
        mount: PathBuf,
    },
    /// Help other hosts of the site: find them by mDNS, and serve what is kept for them (docs/lan.md).
    Lan,
    /// Check in for ever, with the configured pause between two check-ins.
    Run,
    /// Say what a check-in would do now, and stop.
    Plan,
    /// Say what runs here, what is under way, and what failed. Asks nobody.
    Status,
    /// Check the configuration file, as a build does before a host gets it.
    CheckConfig {
        /// The file; default: that of `--config`.
        file: Option<PathBuf>,
    },
    /// Open this host's secrets into memory, at boot or by hand. Asks nobody.
    Secrets(secrets::Args),
    /// Make this Debian or Ubuntu a host of the fleet: configuration, trust root, agent and its unit.
    Install(install::Args),
    /// Keep a reverse tunnel to every relay; runs for ever, as a user without rights.
    Tunnel(TunnelArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// At the end of a boot: judge the system that it started, if it is on trial.
    BootCheck,
    /// The detached part of an activation; started by the agent itself.
    #[command(hide = true)]
    Activate {
        /// The job's folder.
        folder: PathBuf,
    },
    /// Says that the agent ended in an orderly way; run by its unit.
    #[command(hide = true)]
    Ended,
    /// Becomes the ssh of a tunnel; started by `tunnel` itself.
    #[command(hide = true, name = tunnel::client::COMMAND)]
    TunnelSsh {
        /// The process that must be there, or ssh is not needed any more.
        parent: u32,
        /// Arguments of ssh.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

impl Command {
    /// Whether it reads or writes what the agent remembers; the one that runs for ever chooses its agent itself.
    pub fn knows_the_state(&self) -> bool {
        use Command::{BootCheck, Once, Plan, Secrets, Status, Stick};
        matches!(self, Once { .. } | Plan | Status | Stick { .. } | BootCheck | Secrets(_))
    }
}

#[derive(Debug, clap::Args)]
pub struct TunnelArgs {
    /// Relays and ports, as host data writes them; read again when it changes. TOML if its name says so. Given more than
    /// once, the first that is there counts.
    #[arg(long, value_name = "FILE", default_value = afield_core::accounts::TUNNEL)]
    pub tunnel_config: Vec<PathBuf>,
    /// The tunnel's own folder: pinned keys, and the ways that worked last.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/afield-tunnel")]
    pub tunnel_state: PathBuf,
    /// Where it says how each tunnel is doing.
    #[arg(long, value_name = "FILE", default_value = "/run/afield-tunnel/status.json")]
    pub tunnel_status: PathBuf,
    /// The host's private key, if this user cannot read it where the configuration says.
    #[arg(long, value_name = "FILE")]
    pub tunnel_key: Option<PathBuf>,
    /// Only check the configuration.
    #[arg(long)]
    pub check: bool,
}
