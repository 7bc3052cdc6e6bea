//! One file per command: its arguments and its `run`.

pub mod check;
pub mod completions;
pub mod explain;
pub mod secrets;

use crate::cli::Command;
use crate::context::Context;
use crate::exit::CommandResult;

/// Runs a command.
pub fn run(command: Command, context: &mut Context) -> CommandResult {
    match command {
        Command::Check(args) => check::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Secrets(args) => secrets::run(args, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}
