//! `afield secrets rekey FILE…`: a new password; all files or none.

use std::path::PathBuf;

use clap::Args;

use super::file;
use super::password::{NewPasswordArgs, PasswordArgs};
use super::report::Report;
use crate::context::Context;
use crate::exit::{CommandResult, Outcome};

/// Arguments of `afield secrets rekey`.
#[derive(Debug, Args)]
pub struct RekeyArgs {
    /// The vault files; all have the same password now
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Give them this vault id (by default each keeps its own)
    #[arg(long, value_name = "ID")]
    vault_id: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    new_password: NewPasswordArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Opens every file before the first is written, so that a wrong password changes nothing.
pub fn run(args: &RekeyArgs, context: &mut Context) -> CommandResult {
    let password = args.password.read()?;
    let mut opened = Vec::new();
    for path in &args.files {
        opened.push((path, file::open_vault(path, &password)?));
    }
    let new = args.new_password.read()?;
    let mut sealed = Vec::new();
    for (path, opened) in &opened {
        let id = args.vault_id.as_deref().or(opened.id.as_deref());
        sealed.push((*path, file::seal_vault(&opened.plain, &new, id)?));
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
