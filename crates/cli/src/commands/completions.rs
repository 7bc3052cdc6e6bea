//! `afield completions SHELL`: the shell's completion script, made from the same declarations as the parser.

use clap::{Args, CommandFactory as _};

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::{CommandResult, Outcome};

/// Arguments of `afield completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs, context: &mut Context) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "afield", &mut script);
    context.out.bytes(&script)?;
    Ok(Outcome::Done)
}
