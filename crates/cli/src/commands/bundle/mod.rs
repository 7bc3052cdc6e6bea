//! `afield bundle`: releases and reports that travel by hand.

mod export;
mod import;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::CommandResult;

/// Arguments of `afield bundle`.
#[derive(Debug, Args)]
#[command(
    after_help = "A bundle is a piece of the repository that is enough for some hosts: on a stick, a share, a phone. The \
hosts check it as they check everything (docs/usb.md):\n\n  \
afield bundle export --site juba -o /media/stick/afield     before the journey\n  \
afield-agent once --from /media/stick/afield                on each host\n  \
afield bundle import /media/stick/afield                    when the stick is back"
)]
pub struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Make a bundle for some hosts
    Export(export::ExportArgs),
    /// Bring what hosts put onto a stick to the hub
    Import(import::ImportArgs),
}

/// Carries.
pub fn run(args: &BundleArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        BundleCommand::Export(args) => export::run(args, context),
        BundleCommand::Import(args) => import::run(args, context),
    }
}
