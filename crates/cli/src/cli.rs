//! The arguments of `afield`, declared once: parsing, help and completions all come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Runs Linux servers far afield from one fleet folder.
#[derive(Debug, Parser)]
#[command(name = "afield", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Arguments that every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The fleet folder (`org-config/`); by default the nearest one upwards
    #[arg(long, global = true, value_name = "DIR", env = "AFIELD_FLEET")]
    pub fleet: Option<PathBuf>,
    /// Print one JSON value instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// When to colour: `auto` only on a terminal, and not if NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
    /// Judge dates as on this day (YYYY-MM-DD) instead of today (UTC)
    #[arg(long, global = true, value_name = "DATE", hide_short_help = true)]
    pub today: Option<jiff::civil::Date>,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always, also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// The commands; each stands in the file of its name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a fleet from the template, or adopt the folder that is there
    Init(commands::init::InitArgs),
    /// Add a host to the fleet folder
    Host(commands::host::HostArgs),
    /// Add or remove a person in the fleet folder
    User(commands::user::UserArgs),
    /// Find everything that is wrong in the fleet folder
    Check(commands::check::CheckArgs),
    /// Evaluate and build the systems of all hosts, or of some
    Build(commands::build::BuildArgs),
    /// Build all hosts and publish one signed release
    Release(commands::release::ReleaseArgs),
    /// Keep copies of the repository in other places
    Repository(commands::repository::RepositoryArgs),
    /// Hand a release out, wave by wave
    Rollout(commands::rollout::RolloutArgs),
    /// Carry a release to hosts by hand, and bring back what they report
    Bundle(commands::bundle::BundleArgs),
    /// How the fleet stands, or one host
    Status(commands::status::StatusArgs),
    /// Make or replace the keys of trust
    Keys(commands::keys::KeysArgs),
    /// Explain a finding's code, such as AF0101
    Explain(commands::explain::ExplainArgs),
    /// Show what the fleet folder says about a host, person, role or relay
    Show(commands::show::ShowArgs),
    /// Tell by which path of roles a person comes to a host, or why not
    Why(commands::why::WhyArgs),
    /// Audit who may do what where, or what a change does to whom
    Access(commands::access::AccessArgs),
    /// Render the app configs of all hosts
    Configs(commands::configs::ConfigsArgs),
    /// Log in to a host over whichever relay answers, or run a command on it
    Ssh(commands::ssh::SshArgs),
    /// Copy files from or to a host
    Scp(commands::ssh::ScpArgs),
    /// Bring a port of a host to this machine
    Forward(commands::ssh::ForwardArgs),
    /// Write a file for ~/.ssh/config, so that plain ssh, rsync and editors know the hosts
    SshConfig(commands::ssh::SshConfigArgs),
    /// Be the ProxyCommand of ssh: connect standard input and output to a host's sshd
    Connect(commands::connect::ConnectArgs),
    /// Render what a relay needs
    Relay(commands::relay::RelayArgs),
    /// Ask hosts for a deployment, as the CI of an app's repository does
    DeployHook(commands::deploy_hook::DeployHookArgs),
    /// Read, change and seal the fleet's secrets
    Secrets(commands::secrets::SecretsArgs),
    /// Print the completion script of a shell
    Completions(commands::completions::CompletionsArgs),
}
