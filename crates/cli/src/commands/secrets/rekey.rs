//! `afield secrets rekey FILE…`: a new password for vault files, the operators of today for age files; all or none.

use std::path::PathBuf;

use clap::Args;

use super::file;
use super::keyring::{KeyArgs, Keyring, Kind, Lock};
use super::password::NewPasswordArgs;
use super::report::Report;
use crate::context::Context;
use crate::exit::{CommandResult, Outcome};

/// Arguments of `afield secrets rekey`.
#[derive(Debug, Args)]
pub struct RekeyArgs {
    /// The vault files, all with the same password now; or age files, to seal to the operators as they are now
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Give vault files this vault id (by default each keeps its own)
    #[arg(long, value_name = "ID")]
    vault_id: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    new_password: NewPasswordArgs,
    /// Whom age files are sealed to (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Opens every file before the first is written, so that a wrong password changes nothing.
pub fn run(args: &RekeyArgs, context: &mut Context) -> CommandResult {
    let keyring = Keyring::new(&args.keys);
    let mut opened = Vec::new();
    for path in &args.files {
        opened.push((path, keyring.open(path)?));
    }
    let is_vault = |kind: &Kind| matches!(kind, Kind::Vault(_));
    let new = if opened.iter().any(|(_, opened)| is_vault(&opened.kind)) {
        Some(args.new_password.read()?)
    } else {
        None
    };
    let mut sealed = Vec::new();
    for (path, opened) in &opened {
        let lock = match (&opened.kind, &new) {
            (Kind::Vault(id), Some(new)) => {
                Lock::Vault(new.clone(), args.vault_id.clone().or_else(|| id.clone()))
            }
            (kind, _) => keyring.lock(kind, args.operators.as_deref(), context)?,
        };
        sealed.push((*path, lock.seal(&opened.plain)?));
    }
    let mut report = Report::new(args.dry_run);
    for (path, text) in &sealed {
        if !args.dry_run {
            file::replace(path, text.as_bytes())?;
        }
        report.add(path, "rekeyed");
    }
    report.print(context)?;
    Ok(Outcome::Done)
}
