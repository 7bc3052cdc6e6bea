//! `afield bundle import`: what hosts put onto a stick, to the hub.

use std::fs;
use std::path::{Path, PathBuf};

use afield_core::bundle::{MAX_SEALED, REPORTS, SEALED, Unpacked};
use afield_store::files::{read_limited, remove_if_there};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::bundle::is_file;
use crate::commands::status;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::hub::Hub;
use crate::table::{Tone, cell, render};

/// Arguments of `afield bundle import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each file is sealed to the hub, so they are sent to it as they are. A report counts once, by its number, \
however often and in whatever way it comes: importing a stick twice does no harm. What is not taken is told by name; \
the hosts have it still, and write it onto the next stick.\n\n\
Exit codes: 0 all was taken, 1 some was not, 2 wrong usage."
)]
pub struct ImportArgs {
    /// A bundle's folder or file, a folder of reports, or one sealed file
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The hub's address for operators, instead of [hub] url in afield.toml
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Remove what the hub took
    #[arg(long)]
    remove: bool,
    /// Say what would be sent, and send nothing
    #[arg(long, conflicts_with = "remove")]
    dry_run: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ImportReport {
    dry_run: bool,
    files: Vec<Imported>,
}

#[derive(Debug, Serialize)]
struct Imported {
    file: PathBuf,
    #[serde(flatten)]
    unpacked: Option<Unpacked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Brings reports home.
pub fn run(args: &ImportArgs, context: &mut Context) -> CommandResult {
    let mut files = Vec::new();
    for path in &args.paths {
        files.extend(found(path)?);
    }
    // By host and by number: what is older goes first, since the hub passes over what is older than it knows.
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    if files.is_empty() {
        return Err(Failure::usage("there are no reports at this place").hint(format!(
            "hosts write NAME-NUMBER-….{SEALED} into a folder {REPORTS} in the bundle, or beside it"
        )));
    }
    let hub = status::hub(args.hub.as_deref(), context)?;
    let report = ImportReport {
        dry_run: args.dry_run,
        files: files.into_iter().map(|file| take(args, &hub, file)).collect(),
    };
    match context.out.json() {
        true => context.out.value(&report)?,
        false => print(&report, context)?,
    }
    match report.files.iter().any(|f| f.error.is_some()) {
        true => Ok(Outcome::Findings),
        false => Ok(Outcome::Done),
    }
}

fn take(args: &ImportArgs, hub: &Hub, file: PathBuf) -> Imported {
    let send = || -> Result<Option<Unpacked>, Failure> {
        if file.extension().is_none_or(|e| e != SEALED) {
            return Err(Failure::refused("it was not finished: the stick was full or pulled out"));
        }
        let sealed = read_limited(&file, MAX_SEALED)?;
        if args.dry_run {
            return Ok(None);
        }
        let unpacked = hub.package(&sealed)?;
        if args.remove {
            remove_if_there(&file).context("it was taken, and cannot be removed")?;
        }
        Ok(Some(unpacked))
    };
    match send() {
        Ok(unpacked) => Imported { file, unpacked, error: None },
        Err(failure) => Imported { file, unpacked: None, error: Some(failure.text()) },
    }
}

/// The sealed files at a place, and those that were not finished.
fn found(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders = match path {
        path if path.is_dir() => vec![path.to_owned(), path.join(REPORTS)],
        path if is_file(path) => vec![path.with_file_name(REPORTS)],
        path => return Ok(vec![path.to_owned()]),
    };
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let file = entry.with_context(|| folder.display().to_string())?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let ours = [format!(".{SEALED}"), format!(".{SEALED}.part")];
            if ours.iter().any(|end| name.ends_with(end)) && file.is_file() {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn print(report: &ImportReport, context: &mut Context) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for imported in &report.files {
        let file = imported.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        rows.push(match (&imported.unpacked, &imported.error) {
            (Some(unpacked), _) => {
                let new = unpacked.taken.as_ref().map_or(0, |t| t.accepted);
                let standing = &unpacked.standing;
                let runs = standing.good.release.map_or("none".into(), |r| r.to_string());
                let says = format!(
                    "{} reports, {new} new; ran release {runs} on {}",
                    unpacked.reports,
                    standing.time.strftime("%F %H:%M")
                );
                vec![cell(file), cell(standing.host.as_str()), cell(says)]
            }
            (None, Some(error)) => vec![cell(file), cell("?"), cell(error).tone(Tone::Bad)],
            (None, None) => vec![cell(file), cell("?"), cell("would be sent")],
        });
    }
    let color = context.out.color();
    context.out.text(&render(&["file", "host", "what"], &rows, color))?;
    for Imported { unpacked, .. } in &report.files {
        let Some(standing) = unpacked.as_ref().map(|u| &u.standing) else {
            continue;
        };
        for line in standing.log.iter().filter(|_| !standing.failed.is_empty()) {
            context.out.line(&format!("{}: {line}", standing.host))?;
        }
    }
    Ok(())
}
