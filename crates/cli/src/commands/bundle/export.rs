//! `afield bundle export`: a piece of the repository in a folder or a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::bundle::{FORMAT, NOTE, Note};
use afield_core::ids::{HostName, ReleaseId};
use afield_core::status::bytes;
use afield_store::mirror::{
    Archive, Copied, Folder, Item, MirrorError, Place, Rank, copy, missing,
};
use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::{Portion, Shelf, is_file, site};
use crate::commands::status;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;
use crate::progress::Progress;
use crate::table::{cell, render};

/// Arguments of `afield bundle export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Takes what the hosts are assigned: trust metadata, manifest, assignments, documents, and the objects that \
they lack, by what the hub says they run. Without a hub that answers, or for a host that it never heard of, everything \
that the release needs is taken.\n\n\
What is there already is not written again, so a copy that was cut off goes on. A file (-o x.tar) is written anew; FAT \
holds none of 4 GiB or more. Run it where the hub's repository is: assignments lie there.\n\n\
Exit codes: 0 made, 1 failed, 2 wrong usage, 3 refused (nothing assigned, no room, another fleet's stick): nothing was \
written."
)]
pub struct ExportArgs {
    /// For this host; may be repeated
    #[arg(long, value_name = "HOST", required_unless_present = "site")]
    host: Vec<HostName>,
    /// For the hosts of this site of afield.toml; may be repeated
    #[arg(long, value_name = "SITE")]
    site: Vec<String>,
    /// A folder, or a file whose name ends in .tar
    #[arg(short, long, value_name = "DIR|FILE")]
    out: PathBuf,
    /// The whole repository: also other hosts, earlier releases, and what the hosts have already
    #[arg(long)]
    full: bool,
    /// The hub's address for operators, instead of [hub] url in afield.toml
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ExportReport {
    out: PathBuf,
    dry_run: bool,
    hosts: BTreeMap<HostName, Portion>,
    /// After this, the first of the hosts refuses it.
    expires: Timestamp,
    #[serde(flatten)]
    copied: Copied,
    notes: Vec<String>,
}

/// Makes a bundle.
pub fn run(args: &ExportArgs, context: &mut Context) -> CommandResult {
    let project = Project::load(context)?;
    let mut hosts = args.host.clone();
    for name in &args.site {
        hosts.extend(site(&project, name)?);
    }
    let mut shelf = Shelf::open(&project)?;
    let mut notes = Vec::new();
    let runs = match args.full {
        true => BTreeMap::new(),
        false => runs(args, &project, context, &mut notes),
    };
    let mut portions = BTreeMap::new();
    for host in hosts {
        let portion = shelf.portion(&host, runs.get(&host).copied())?;
        portions.insert(host, portion);
    }
    let signed = portions.values().map(|p| p.expires).min();
    let expires = signed.unwrap_or(shelf.trusted.expires.0).min(shelf.trusted.expires.0);
    let mut items = match args.full {
        true => shelf.everything()?,
        false => shelf.items(portions.values())?,
    };
    let beside = tempfile::tempdir().context("a note cannot be written")?;
    items.push(note(&project, portions.keys(), expires, beside.path())?);
    let copied = write(args, &items).map_err(refusal)?;
    let (out, dry_run) = (args.out.clone(), args.dry_run);
    let report = ExportReport { out, dry_run, hosts: portions, expires, copied, notes };
    match context.out.json() {
        true => context.out.value(&report)?,
        false => print(&report, context)?,
    }
    Ok(Outcome::Done)
}

/// The release that each host runs, as far as the hub heard.
fn runs(
    args: &ExportArgs,
    project: &Project,
    context: &Context,
    notes: &mut Vec<String>,
) -> BTreeMap<HostName, ReleaseId> {
    if args.hub.is_none() && project.settings.hub.is_none() {
        notes.push("no hub is named, so all that the releases need is taken".to_owned());
        return BTreeMap::new();
    }
    match status::hub(args.hub.as_deref(), context).and_then(|hub| hub.status()) {
        Ok(fleet) => fleet.hosts.into_iter().filter_map(|h| Some((h.host, h.running?))).collect(),
        Err(failure) => {
            notes.push(format!("all that the releases need is taken: {}", failure.text()));
            BTreeMap::new()
        }
    }
}

fn note<'a>(
    project: &Project,
    hosts: impl Iterator<Item = &'a HostName>,
    expires: Timestamp,
    beside: &Path,
) -> Result<Item, Failure> {
    let note = Note {
        format: FORMAT,
        fleet: project.settings.fleet.clone(),
        hosts: hosts.cloned().collect(),
        made: Timestamp::now(),
        expires,
    };
    let (path, bytes) = (beside.join(NOTE), serde_json::to_vec(&note)?);
    let size = bytes.len() as u64;
    fs::write(&path, bytes).context("a note cannot be written")?;
    Ok(Item { rank: Rank::Note, name: NOTE.to_owned(), size, path })
}

fn write(args: &ExportArgs, items: &[Item]) -> Result<Copied, MirrorError> {
    let mut place: Box<dyn Place> = match (is_file(&args.out), args.dry_run) {
        (true, _) => Box::new(Archive::new(&args.out)),
        (false, false) => Box::new(Folder::open(&args.out)?),
        (false, true) => Box::new(Folder::look(&args.out)),
    };
    let todo = missing(items, place.as_mut())?;
    if args.dry_run {
        let (files, bytes) = (todo.items.len() as u64, todo.bytes());
        return Ok(Copied { files, bytes, there: todo.there });
    }
    let progress = Progress::bytes("copying", todo.bytes());
    copy(&todo, place.as_mut(), |item| {
        progress.at(&item.name);
        progress.add(item.size);
    })
}

/// A place that belongs to others, or is too small, was not touched.
fn refusal(error: MirrorError) -> Failure {
    match &error {
        MirrorError::Newer { .. } | MirrorError::Other { .. } | MirrorError::OtherFleet { .. } => {
            Failure::refused(error.to_string())
                .hint("give an empty folder, or export from the newest copy of the repository")
        }
        MirrorError::TooLarge { .. } => Failure::refused(error.to_string()),
        MirrorError::NoSpace { .. } => Failure::refused(error.to_string())
            .hint("free space on the stick, or take fewer hosts; without --full it is less"),
        _ => Failure::failed(error).hint(
            "if the stick was full or pulled out, start again: what is there is not copied twice",
        ),
    }
}

fn print(report: &ExportReport, context: &mut Context) -> Result<(), Failure> {
    let row = |(host, portion): (&HostName, &Portion)| {
        let runs = portion.runs.map_or("unknown".into(), |r| format!("release {r}"));
        let until = portion.expires.strftime("%F").to_string();
        let release = format!("release {}", portion.release);
        vec![cell(host.as_str()), cell(runs), cell(release), cell(until)]
    };
    let rows: Vec<_> = report.hosts.iter().map(row).collect();
    let color = context.out.color();
    context.out.text(&render(&["host", "runs", "gets", "accepted until"], &rows, color))?;
    for note in &report.notes {
        context.out.line(&format!("note: {note}"))?;
    }
    let Copied { files, bytes: size, there } = report.copied;
    let verb = if report.dry_run { "would write" } else { "wrote" };
    let (out, size) = (report.out.display(), bytes(size));
    context.out.line(&format!("{verb} {files} files, {size}, to {out}; {there} were there"))?;
    let day = report.expires.strftime("%F");
    context.out.line(&format!("use it before {day}: then hosts refuse it"))?;
    Ok(())
}
