//! `afield keys`: the keys of trust. Root keys name the others; see SECURITY.md.

mod init;
mod rotate;
mod staged;

use std::path::{Path, PathBuf};

use afield_core::ids::Name;
use afield_store::files;
use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield keys`.
#[derive(Debug, Args)]
#[command(
    after_help = "Three root keys name all others; two of them must sign, so that one may be lost or stolen. Keep them \
apart and offline. The release key signs what is built (CI), the rollout key what is handed out (the hub), the \
operator key what people order."
)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make all keys of a new fleet, and its first root metadata
    Init(init::InitArgs),
    /// Replace a key, or only renew how long root metadata is valid
    Rotate(rotate::RotateArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    /// The first root key
    #[value(name = "root-1")]
    #[serde(rename = "root-1")]
    Root1,
    /// The second root key
    #[value(name = "root-2")]
    #[serde(rename = "root-2")]
    Root2,
    /// The third root key
    #[value(name = "root-3")]
    #[serde(rename = "root-3")]
    Root3,
    /// Signs releases
    Release,
    /// Signs assignments; the hub has it
    Rollout,
    /// Signs orders to the hub
    Operator,
    /// No key: renews how long root metadata is valid
    Expiry,
}

/// The folder beside the keys, while one of them is being replaced.
pub const ROTATION: &str = "rotation";
const ROOTS: [Role; 3] = [Role::Root1, Role::Root2, Role::Root3];

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Root1 => "root-1",
            Role::Root2 => "root-2",
            Role::Root3 => "root-3",
            Role::Release => "release",
            Role::Rollout => "rollout",
            Role::Operator => "operator",
            Role::Expiry => "expiry",
        }
    }

    fn file(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.pem", self.name()))
    }

    /// What has to be done by a person after this key was replaced.
    fn next(self) -> &'static str {
        match self {
            Role::Root1 | Role::Root2 | Role::Root3 => {
                "keep the new root key apart from the others, offline"
            }
            Role::Release => "give the new release key to CI; releases were signed anew with it",
            Role::Rollout => {
                "give the new rollout key to the hub and restart it; it signs all assignments anew"
            }
            Role::Operator => "give the new operator key to those who order rollouts",
            Role::Expiry => "nothing else is to be done",
        }
    }
}

/// Makes or replaces keys.
pub fn run(args: &KeysArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        KeysCommand::Init(args) => init::run(args, context),
        KeysCommand::Rotate(args) => rotate::run(args, context),
    }
}

/// What both commands print with `--json`.
#[derive(Debug, Serialize)]
struct KeysReport {
    dry_run: bool,
    fleet: Name,
    root_version: u64,
    root_expires: Timestamp,
    written: Vec<PathBuf>,
    next: String,
}

fn tell(report: &KeysReport, context: &mut Context) -> CommandResult {
    if context.out.json() {
        context.out.value(report)?;
        return Ok(Outcome::Done);
    }
    let verb = match report.dry_run {
        true => "would write",
        false => "wrote",
    };
    for path in &report.written {
        context.out.line(&format!("{verb} {}", path.display()))?;
    }
    let (version, fleet) = (report.root_version, &report.fleet);
    let day = report.root_expires.strftime("%F");
    context
        .out
        .line(&format!("root metadata {version} of the fleet {fleet}, valid until {day}"))?;
    context.out.line(&format!("next: {}", report.next))?;
    Ok(Outcome::Done)
}

fn new_seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| anyhow!("the kernel gives no randomness: {e}"))?;
    Ok(seed)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::write_atomic(path, bytes).with_context(|| path.display().to_string())?;
    Ok(())
}
