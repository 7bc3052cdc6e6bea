//! `afield access audit` and `afield access diff`: who may do what where, and what a change does to whom.

use std::collections::BTreeSet;
use std::path::PathBuf;

use afield_core::fleet::audit::{self, Change, Table, What};
use afield_core::fleet::{Finding, Fleet, Loaded, load};
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::revision::Repository;
use crate::{page, write};

/// Arguments of `afield access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// Write the audit: four tables (CSV), a page (HTML) and everything (JSON)
    Audit(AuditArgs),
    /// Tell who gains or loses what, where, between two Git revisions
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
struct AuditArgs {
    /// The folder to write into; it has to exist
    #[arg(short, long, value_name = "DIR")]
    outdir: PathBuf,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct DiffArgs {
    /// Two revisions as BASE..HEAD, or BASE...HEAD for what HEAD changed since it left BASE, as a pull request does;
    /// BASE alone is compared with the files as they are
    range: String,
    /// Form of the changes; --json is the same as --format json
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
}

/// Form of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One value: {"changes": […]}
    Json,
    /// A comment for a pull request, in Markdown
    Comment,
}

/// Runs `afield access`.
pub fn run(args: &AccessArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        AccessCommand::Audit(args) => write_audit(args, context),
        AccessCommand::Diff(args) => diff(args, context),
    }
}

/// Says why a fleet cannot be audited.
fn unsound(which: &str, findings: &[Finding]) -> Failure {
    let list = findings.iter().take(20).map(|finding| {
        format!("\n  {}:{}: {} ({})", finding.file, finding.line, finding.message, finding.code)
    });
    let list: String = list.collect();
    Failure::failed(anyhow::anyhow!("it cannot be said who may do what{which}:{list}"))
        .hint("correct this first; `afield check` tells more")
}

/// Errors of the files from which access is told: with one of them it is not known who was meant.
fn people_errors(findings: &[Finding]) -> Vec<Finding> {
    let about = |finding: &&Finding| {
        let error = finding.severity == afield_core::fleet::Severity::Error;
        error && ["json/users.json", "json/keys.json"].contains(&finding.file.as_str())
    };
    findings.iter().filter(about).cloned().collect()
}

fn write_audit(args: &AuditArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let errors = people_errors(&folder.findings);
    if !errors.is_empty() {
        return Err(unsound("", &errors));
    }
    let audit = audit::audit(&folder.fleet, context.today).map_err(|e| unsound("", &e))?;
    if !args.outdir.is_dir() {
        let message = format!("{} is no folder", args.outdir.display());
        return Err(Failure::usage(message).hint("make it first"));
    }
    let mut json = serde_json::to_string(&audit)?;
    json.push('\n');
    let tables = Table::ALL.iter().map(|table| (table.file_name(), audit.csv(*table)));
    let others = [("access.html", page::audit(&audit)), ("access.json", json)];
    for (name, content) in tables.chain(others) {
        let path = args.outdir.join(name);
        let written = write::replace(&path, content.as_bytes(), args.dry_run)?;
        let would = if args.dry_run { "would be " } else { "" };
        context.out.note(&format!("{}: {would}{}", path.display(), written.word()));
    }
    Ok(Outcome::Done)
}

fn diff(args: &DiffArgs, context: &mut Context) -> CommandResult {
    let dir = context.fleet_dir()?;
    let repository = Repository::of(&dir)?;
    let (base, head) = ends(&args.range, &repository)?;
    let before = at(&repository, &base)?;
    let after = match head {
        Some(head) => at(&repository, &head)?,
        None => {
            let sources = crate::folder::read(&dir).context("the files as they are")?;
            sound(load(&sources), " in the files as they are")?
        }
    };
    let changes = audit::diff(&before, &after, context.today).map_err(|e| unsound("", &e))?;
    let format = if context.out.json() { Format::Json } else { args.format };
    match format {
        Format::Json => context.out.value(&json!({ "changes": changes }))?,
        Format::Text => {
            for change in &changes {
                let (user, what, hosts) = (&change.user, words(change), on(&change.hosts));
                context.out.line(&format!("{user} {what} on {hosts}"))?;
            }
            if changes.is_empty() {
                context.out.note("nobody gains or loses anything");
            }
        }
        Format::Comment => context.out.text(&comment(&args.range, &changes))?,
    }
    Ok(Outcome::Done)
}

/// The two revisions of a range, as Git reads it; no second one for the files as they are.
fn ends(range: &str, repository: &Repository) -> anyhow::Result<(String, Option<String>)> {
    let or_head = |name: &str| if name.is_empty() { "HEAD".to_owned() } else { name.to_owned() };
    if let Some((base, head)) = range.split_once("...") {
        let head = or_head(head);
        return Ok((repository.merge_base(&or_head(base), &head)?, Some(head)));
    }
    Ok(match range.split_once("..") {
        Some((base, head)) => (or_head(base), Some(or_head(head))),
        None => (or_head(range), None),
    })
}

fn at(repository: &Repository, revision: &str) -> Result<Fleet, Failure> {
    sound(load(&repository.sources(revision)?), &format!(" in {revision}"))
}

fn sound(loaded: Loaded, which: &str) -> Result<Fleet, Failure> {
    let errors = people_errors(&loaded.findings);
    match errors.is_empty() {
        true => Ok(loaded.fleet),
        false => Err(unsound(which, &errors)),
    }
}

fn words(change: &Change) -> String {
    let day = |day: &Option<jiff::civil::Date>| day.map_or("never".to_owned(), |d| d.to_string());
    match &change.what {
        What::Gains { profile } => format!("gains {profile}"),
        What::Loses { profile } => format!("loses {profile}"),
        What::Changes { from, to } => format!("has {to} instead of {from}"),
        What::Expiry { from, to } => format!("is closed from {} instead of {}", day(to), day(from)),
        What::Keys { added, removed } => {
            let list = |what: &str, keys: &BTreeSet<String>| match keys.is_empty() {
                true => String::new(),
                false => {
                    format!(" {what} {}", keys.iter().cloned().collect::<Vec<_>>().join(", "))
                }
            };
            format!("has other keys:{}{}", list("new", added), list("gone", removed))
        }
    }
}

/// Hosts by name; many by their number and the first few.
fn on(hosts: &BTreeSet<String>) -> String {
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    match names.len() {
        0..=10 => names.join(", "),
        count => format!("{count} hosts ({}, …)", names[..5].join(", ")),
    }
}

/// A comment for a pull request: what a reviewer has to agree to.
fn comment(range: &str, changes: &[Change]) -> String {
    let mut out = format!("### Access: {}\n\n", cell(range));
    if changes.is_empty() {
        out.push_str("Nobody gains or loses anything.\n");
        return out;
    }
    out.push_str("| person | change | hosts |\n|---|---|---|\n");
    for change in changes {
        let (what, hosts) = (cell(&words(change)), cell(&on(&change.hosts)));
        out.push_str(&format!("| {} | {what} | {hosts} |\n", cell(change.user.as_str())));
    }
    out
}

/// Text for a cell of a Markdown table, where it means itself.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}
