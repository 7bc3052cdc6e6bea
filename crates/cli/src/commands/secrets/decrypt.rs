//! `afield secrets decrypt FILE`: the plaintext to standard output, or to a file in memory; never to a disk.

use std::path::{Path, PathBuf};

use clap::Args;

use super::keyring::{KeyArgs, Keyring};
use super::private;
use super::report::Report;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets decrypt`.
#[derive(Debug, Args)]
pub struct DecryptArgs {
    /// The vault or age file
    file: PathBuf,
    /// Write to this new file (mode 0600), which must be on tmpfs, such as below /dev/shm or /run
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Only try the password or key and say what would be written
    #[arg(long)]
    dry_run: bool,
}

/// Decrypts one file.
pub fn run(args: &DecryptArgs, context: &mut Context) -> CommandResult {
    if let Some(output) = &args.output {
        let folder =
            output.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        if !private::is_in_memory(folder) {
            return Err(Failure::refused(format!("{} would put plaintext on a disk", output.display()))
                .hint("write below /dev/shm, or to standard output; `afield secrets edit` changes a file in memory"));
        }
    }
    let opened = Keyring::new(&args.keys).open(&args.file)?;
    let Some(output) = &args.output else {
        if !args.dry_run {
            context.out.bytes(&opened.plain)?;
        }
        return Ok(Outcome::Done);
    };
    if !args.dry_run {
        private::create(output, &opened.plain)?;
    }
    let mut report = Report::new(args.dry_run);
    report.add(output, "written");
    report.print(context)?;
    Ok(Outcome::Done)
}
