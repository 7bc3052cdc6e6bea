//! `afield check`: everything that is wrong in the fleet folder, in one run.

use clap::Args;

use crate::context::Context;
use crate::exit::{CommandResult, Outcome};

/// Arguments of `afield check`.
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// Checks the fleet folder.
pub fn run(_args: &CheckArgs, context: &mut Context) -> CommandResult {
    let dir = context.fleet_dir()?;
    context
        .out
        .line(&format!("{}: not yet looked into", dir.display()))?;
    Ok(Outcome::Done)
}
