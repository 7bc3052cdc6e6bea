//! The operator's command, `afield`: one file per command below `commands`.
//!
//! Raw arguments become [`cli::Cli`] exactly once; a command gets its own arguments and a [`context::Context`],
//! prints through [`output::Output`], and ends in an [`exit::Outcome`] or an [`exit::Failure`], which [`exit::finish`]
//! alone turns into words and an exit code.

pub mod bundle;
pub mod changes;
pub mod cli;
pub mod commands;
pub mod context;
pub mod exit;
pub mod fleet;
pub mod folder;
pub mod hub;
pub mod nix;
pub mod output;
pub mod page;
pub mod pinned;
pub mod progress;
pub mod release;
pub mod report;
pub mod revision;
pub mod root;
pub mod table;
pub mod waves;
pub mod write;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

/// Parses the arguments, runs the command, and says how it ended.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match cli::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let mut context = match context::Context::new(&cli.global) {
        Ok(context) => context,
        Err(failure) => return exit::finish(Err(failure), false),
    };
    let result = commands::run(cli.command, &mut context).and_then(|outcome| {
        context.out.flush()?;
        Ok(outcome)
    });
    exit::finish(result, context.out.json())
}
