//! `afield explain CODE`: more about a finding.

use clap::Args;

use crate::context::Context;
use crate::exit::{CommandResult, Failure};

/// Arguments of `afield explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code of a finding
    code: String,
}

/// Explains a code.
pub fn run(args: &ExplainArgs, _context: &mut Context) -> CommandResult {
    Err(Failure::usage(format!(
        "{} is no code of a finding",
        args.code
    )))
}
