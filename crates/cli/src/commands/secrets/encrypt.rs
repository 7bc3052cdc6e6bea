//! `afield secrets encrypt FILE…`: as `ansible-vault encrypt`, or with age.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use afield_core::secrets::{MAX_PLAINTEXT, age, vault};
use clap::Args;
use zeroize::Zeroizing;

use super::file;
use super::keyring::{self, Lock};
use super::password::PasswordArgs;
use super::report::Report;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets encrypt`.
#[derive(Debug, Args)]
pub struct EncryptArgs {
    /// Files to encrypt in place (`-`: standard input to standard output)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write version 1.2 with this vault id
    #[arg(long, value_name = "ID")]
    vault_id: Option<String>,
    /// Write age files, sealed to the operators, instead of vault files
    #[arg(long, conflicts_with = "vault_id")]
    age: bool,
    /// Whom age files are sealed to (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE", requires = "age")]
    operators: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Encrypts all files, or none if one cannot be.
pub fn run(args: &EncryptArgs, context: &mut Context) -> CommandResult {
    let mut plain = Vec::new();
    for path in &args.files {
        let bytes = read(path)?;
        if vault::is_vault(&bytes) || age::is_age(&bytes) {
            return Err(Failure::refused(format!("{} is encrypted already", path.display()))
                .hint("`afield secrets rekey` gives it another password"));
        }
        plain.push((path, bytes));
    }
    let lock = if args.age {
        Lock::Age(keyring::operators(args.operators.as_deref(), context)?)
    } else {
        Lock::Vault(args.password.read(true)?, args.vault_id.clone())
    };
    let mut sealed = Vec::new();
    for (path, bytes) in &plain {
        sealed.push((*path, lock.seal(bytes)?));
    }
    let mut report = Report::new(args.dry_run);
    for (path, text) in &sealed {
        if path.as_path() == Path::new("-") {
            return Ok(context.out.text(text).map(|()| Outcome::Done)?);
        }
        if !args.dry_run {
            file::replace(path, text.as_bytes())?;
        }
        report.add(path, "encrypted");
    }
    report.print(context)?;
    Ok(Outcome::Done)
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if path != Path::new("-") {
        return file::read(path, MAX_PLAINTEXT);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 16));
    std::io::stdin().take(MAX_PLAINTEXT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
