//! One file per command: its arguments and its `run`.

pub mod access;
pub mod check;
pub mod completions;
pub mod configs;
pub mod explain;
pub mod show;
pub mod why;

use crate::cli::Command;
use crate::context::Context;
use crate::exit::CommandResult;

/// Runs a command.
pub fn run(command: Command, context: &mut Context) -> CommandResult {
    match command {
        Command::Check(args) => check::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Access(args) => access::run(&args, context),
        Command::Configs(args) => configs::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}
