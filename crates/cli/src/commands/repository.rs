//! `afield repository`: copies of the repository in other places, as in S3-compatible storage.

use std::path::PathBuf;
use std::time::Duration;

use afield_core::span::Span;
use afield_core::status::bytes;
use afield_store::mirror::{Copied, Folder, MirrorError, Place, copy, everything, missing};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;
use crate::progress::Progress;

/// Arguments of `afield repository`.
#[derive(Debug, Args)]
pub struct RepositoryArgs {
    #[command(subcommand)]
    command: RepositoryCommand,
}

#[derive(Debug, Subcommand)]
enum RepositoryCommand {
    /// Copy what is missing to the mirrors of afield.toml, or to another place
    Sync(SyncArgs),
}

/// Arguments of `afield repository sync`.
#[derive(Debug, Args)]
#[command(
    after_help = "A mirror is a folder or s3://BUCKET/FOLDER; whatever serves its files to hosts, Afield does not mind. \
What is named is copied before what names it, the timestamp after all that it stands for, assignments last: whoever \
reads in the middle, or after a copy that was cut off, sees the release before or the new one. Start it again, and it \
goes on. afield release copies by itself; after afield keys rotate, run it.\n\n\
For S3 the environment says where and who, as for other tools: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and \
AWS_SECRET_ACCESS_KEY (or AWS_SHARED_CREDENTIALS_FILE), AWS_ALLOW_HTTP=true for a storage without TLS.\n\n\
Beside a hub, --every 30s keeps assignments fresh in the mirrors.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (another fleet's place, or somebody else published there)."
)]
pub struct SyncArgs {
    /// A folder or s3://BUCKET/FOLDER, instead of [repository] mirrors in afield.toml
    #[arg(value_name = "TO")]
    to: Vec<String>,
    /// Do it again and again, with this pause
    #[arg(long, value_name = "SPAN", conflicts_with = "dry_run")]
    every: Option<Span>,
    /// Say what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
}

/// One copy that was made.
#[derive(Debug, Serialize)]
pub struct Synced {
    to: String,
    dry_run: bool,
    #[serde(flatten)]
    copied: Copied,
}

/// Copies.
pub fn run(args: &RepositoryArgs, context: &mut Context) -> CommandResult {
    let RepositoryCommand::Sync(args) = &args.command;
    let project = Project::load(context)?;
    let to = match args.to.is_empty() {
        true => &project.settings.repository.mirrors,
        false => &args.to,
    };
    if to.is_empty() {
        return Err(Failure::usage("there is no mirror to copy to")
            .hint("write [repository] mirrors = [\"s3://bucket/folder\"] into afield.toml, or name a place"));
    }
    loop {
        let synced = sync(&project, to, args.dry_run);
        let Some(pause) = args.every else {
            tell(&synced?, context)?;
            return Ok(Outcome::Done);
        };
        match synced {
            Ok(synced) if synced.iter().all(|s| s.copied.files == 0) => {}
            Ok(synced) => tell(&synced, context)?,
            // The next time may find the way open again.
            Err(failure) => context.out.note(&failure.text()),
        }
        context.out.flush()?;
        std::thread::sleep(pause.duration().max(Duration::from_secs(1)));
    }
}

/// Copies what is missing to each place.
pub fn sync(project: &Project, to: &[String], dry_run: bool) -> Result<Vec<Synced>, Failure> {
    let dir = project.repository();
    let items = everything(&dir).with_context(|| dir.display().to_string())?;
    let mut synced = Vec::new();
    for address in to {
        let mut place = place(project, address, dry_run)?;
        let todo = missing(&items, place.as_mut()).map_err(refusal)?;
        let (files, bytes, there) = (todo.items.len() as u64, todo.bytes(), todo.there);
        let mut copied = Copied { files, bytes, there };
        if !dry_run {
            let progress = Progress::bytes("copying", bytes);
            let done = copy(&todo, place.as_mut(), |item| {
                progress.at(&item.name);
                progress.add(item.size);
            });
            copied = done.map_err(refusal)?;
        }
        synced.push(Synced { to: address.clone(), dry_run, copied });
    }
    Ok(synced)
}

fn place(project: &Project, address: &str, dry_run: bool) -> Result<Box<dyn Place>, Failure> {
    if address.starts_with("s3://") {
        return s3(address);
    }
    let path: PathBuf = project.dir.join(address.strip_prefix("file://").unwrap_or(address));
    Ok(match dry_run {
        true => Box::new(Folder::look(&path)),
        false => Box::new(Folder::open(&path)?),
    })
}

#[cfg(feature = "s3")]
fn s3(address: &str) -> Result<Box<dyn Place>, Failure> {
    let environment = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let place = afield_store::mirror::S3::open(address, environment).map_err(|e| {
        Failure::usage(e.to_string())
            .hint("AWS_ENDPOINT_URL, AWS_REGION and credentials are read from the environment")
    })?;
    Ok(Box::new(place))
}

#[cfg(not(feature = "s3"))]
fn s3(address: &str) -> Result<Box<dyn Place>, Failure> {
    Err(Failure::usage(format!("{address}: this afield was built without S3"))
        .hint("build it with the feature s3, or mount the storage and name the folder"))
}

fn refusal(error: MirrorError) -> Failure {
    match &error {
        MirrorError::Newer { .. }
        | MirrorError::Other { .. }
        | MirrorError::Changed { .. }
        | MirrorError::OtherFleet { .. } => Failure::refused(error.to_string()).hint(
            "make releases in one place alone; copy the newest repository back before the next",
        ),
        MirrorError::TooLarge { .. } | MirrorError::NoSpace { .. } => {
            Failure::refused(error.to_string())
        }
        _ => Failure::failed(error)
            .hint("afield repository sync goes on where it stopped; hosts saw nothing half"),
    }
}

/// Says what was copied.
pub fn tell(synced: &[Synced], context: &mut Context) -> Result<(), Failure> {
    if context.out.json() {
        return Ok(context.out.value(&synced)?);
    }
    for Synced { to, dry_run, copied } in synced {
        let verb = if *dry_run { "would copy" } else { "copied" };
        let (files, size, there) = (copied.files, bytes(copied.bytes), copied.there);
        context.out.line(&format!("{to}: {verb} {files} files, {size}; {there} were there"))?;
    }
    Ok(())
}
