//! `afield secrets …`: one file per subcommand. The formats are in `afield_core::secrets`; here are files, passwords,
//! the editor and words.
//!
//! Three rules hold everywhere: passwords never come as arguments; plaintext is in memory or on tmpfs, never on a
//! disk; a file is replaced whole or not at all.

mod add_host_keys;
mod decrypt;
mod edit;
mod encrypt;
mod file;
mod fleet;
pub mod keyring;
mod migrate;
mod password;
mod private;
mod rekey;
mod report;
mod seal;
mod view;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::CommandResult;

/// Arguments of `afield secrets`.
#[derive(Debug, Args)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Show an encrypted file, or what is sealed to a host
    View(view::ViewArgs),
    /// Edit an encrypted file, in memory only
    Edit(edit::EditArgs),
    /// Encrypt files in place, as ansible-vault does or with age
    Encrypt(encrypt::EncryptArgs),
    /// Decrypt a file to standard output, or to a file in memory
    Decrypt(decrypt::DecryptArgs),
    /// Give files a new password, or the operators of today
    Rekey(rekey::RekeyArgs),
    /// Add a disk encryption key and a recovery key for a host
    AddHostKeys(add_host_keys::AddHostKeysArgs),
    /// Seal the secrets to each host's SSH key
    Seal(seal::SealArgs),
    /// Move master files from ansible-vault to age, with proof that every host can open the same
    Migrate(migrate::MigrateArgs),
}

/// Runs a subcommand.
pub fn run(args: SecretsArgs, context: &mut Context) -> CommandResult {
    match args.command {
        SecretsCommand::View(args) => view::run(&args, context),
        SecretsCommand::Edit(args) => edit::run(&args, context),
        SecretsCommand::Encrypt(args) => encrypt::run(&args, context),
        SecretsCommand::Decrypt(args) => decrypt::run(&args, context),
        SecretsCommand::Rekey(args) => rekey::run(&args, context),
        SecretsCommand::AddHostKeys(args) => add_host_keys::run(&args, context),
        SecretsCommand::Seal(args) => seal::run(&args, context),
        SecretsCommand::Migrate(args) => migrate::run(&args, context),
    }
}
