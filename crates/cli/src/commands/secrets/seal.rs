//! `afield secrets seal`: each host's secrets, sealed to its SSH key.
//!
//! Two formats: `secrets/generated/generated-secrets.yml`, which older hosts open; and age, one file a host, which
//! the operators can open too. Age joins in as soon as the fleet names its operators in `secrets/operators.pub`.

use std::path::{Path, PathBuf};

use afield_core::secrets::age::Recipient;
use afield_core::secrets::master::Problem;
use afield_core::secrets::seal::{self, HostPlan, Plan, Skipped};
use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::keyring::{self, KeyArgs, Keyring};
use super::{file, fleet};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::output::count;

/// Arguments of `afield secrets seal`.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// What to write (by default `both` if there is secrets/operators.pub, else `nacl`)
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write the NaCl file (by default secrets/generated/generated-secrets.yml in the fleet folder)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Whom age files are sealed to besides the host (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Only say what would be sealed to whom
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// generated-secrets.yml, which the older tools open
    Nacl,
    /// One age file a host, in secrets/generated/age
    Age,
    /// Both
    Both,
}

/// Opens all master files, plans, seals, writes.
pub fn run(args: &SealArgs, context: &mut Context) -> CommandResult {
    let fleet = context.fleet_dir()?;
    let plan = match plan(&fleet, &Keyring::new(&args.keys))? {
        Ok(plan) => plan,
        Err(problems) => return refuse(&problems, context),
    };
    let named = args.operators.is_some() || keyring::operators_file(&fleet).exists();
    let format = args.format.unwrap_or(if named { Format::Both } else { Format::Nacl });
    let mut written = Vec::new();
    if format != Format::Age {
        let default = || fleet.join("secrets/generated/generated-secrets.yml");
        let output = args.output.clone().unwrap_or_else(default);
        let text = seal_all(&plan)?;
        if !args.dry_run {
            make_folder(&output)?;
            file::replace(&output, text.as_bytes())?;
        }
        written.push(output);
    }
    if format != Format::Nacl {
        let operators = keyring::operators(args.operators.as_deref(), context)?;
        written.extend(write_age(&fleet, &plan, &operators, args.dry_run)?);
    }
    print(&plan, &written, args.dry_run, context)?;
    if format != Format::Age && !context.out.json() {
        for name in &plan.unpacked_by_older_hosts {
            context.out.line(&format!(
                "note: `{name}`: hosts with the older tools unpack it, unless its default_extract is \"false\" in quotes"
            ))?;
        }
    }
    Ok(Outcome::Done)
}

/// What the master files, opened, mean for the hosts.
pub(super) fn plan(
    fleet: &Path,
    keyring: &Keyring<'_>,
) -> Result<Result<Plan, Vec<Problem>>, Failure> {
    let hosts = fleet::hosts(fleet)?;
    let (mut secrets, mut problems) = (Vec::new(), Vec::new());
    for path in fleet::master_files(fleet)? {
        match fleet::open_master(fleet, &path, keyring)? {
            Ok(found) => secrets.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    Ok(match seal::plan(&hosts, &secrets) {
        Ok(plan) if problems.is_empty() => Ok(plan),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    })
}

/// If randomness fails on the way, nothing that was made is used.
fn seal_all(plan: &Plan) -> anyhow::Result<String> {
    let mut failed = None;
    let text = seal::seal(plan, &mut |bytes| {
        if let Err(error) = getrandom::fill(bytes) {
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => {
            Err(anyhow!(error).context("the system gives no randomness; nothing was written"))
        }
        None => text.ok_or_else(|| anyhow!("a host's secrets are too large to seal")),
    }
}

/// Writes one age file a host, proves each from the disk, and removes those of hosts that have no secrets any more.
/// With `dry_run` everything is made and proved in memory. Gives the files, removed ones not.
pub(super) fn write_age(
    fleet: &Path,
    plan: &Plan,
    operators: &[Recipient],
    dry_run: bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let folder = fleet.join("secrets/generated/age");
    let mut written = Vec::new();
    for (name, host) in &plan.hosts {
        let path = folder.join(format!("{name}.age"));
        write_host(&path, host, operators, dry_run).with_context(|| format!("host `{name}`"))?;
        written.push(path);
    }
    if !dry_run && folder.is_dir() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "age") && !written.contains(&path) {
                std::fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(written)
}

fn write_host(
    path: &Path,
    host: &HostPlan,
    operators: &[Recipient],
    dry_run: bool,
) -> anyhow::Result<()> {
    let mut recipients = vec![Recipient::Ssh(host.key)];
    recipients.extend(operators.iter().filter(|key| **key != Recipient::Ssh(host.key)));
    let sealed = file::seal_age(&host.padded, &recipients)?;
    if !dry_run {
        make_folder(path)?;
        return file::replace_proved(path, &sealed, &host.padded);
    }
    let proved = sealed.prove(sealed.file.as_bytes(), &host.padded);
    proved.map_err(|number| anyhow!("recipient {} could not open the file", number + 1))
}

fn make_folder(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

pub(super) fn refuse(problems: &[Problem], context: &mut Context) -> CommandResult {
    if context.out.json() {
        let problem = |problem: &Problem| json!({ "file": problem.file, "line": problem.line, "message": problem.message });
        let list: Vec<_> = problems.iter().map(problem).collect();
        context.out.value(&json!({ "problems": list }))?;
    } else {
        for problem in problems {
            context.out.line(&problem.to_string())?;
        }
    }
    Err(Failure::refused("nothing was sealed")
        .hint("correct the files with `afield secrets edit`; lines count in the decrypted text"))
}

fn print(
    plan: &Plan,
    written: &[PathBuf],
    dry_run: bool,
    context: &mut Context,
) -> std::io::Result<()> {
    let length = plan.hosts.values().map(|host| host.padded.len()).max().unwrap_or(0);
    let why = |skipped: &Skipped| match skipped {
        Skipped::NoKey => "it has no public key yet",
        Skipped::TurnedOff => "generate_secrets is false",
    };
    let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    if context.out.json() {
        let hosts =
            plan.hosts.iter().map(|(name, host)| json!({ "host": name, "secrets": host.secrets }));
        let skipped =
            plan.skipped.iter().map(|(name, skipped)| json!({ "host": name, "why": why(skipped) }));
        let (hosts, skipped): (Vec<_>, Vec<_>) = (hosts.collect(), skipped.collect());
        return context.out.value(
            &json!({ "files": files, "dry_run": dry_run, "bytes_each": length, "hosts": hosts, "skipped": skipped,
                "unpacked_by_older_hosts": plan.unpacked_by_older_hosts }),
        );
    }
    for (name, host) in &plan.hosts {
        context.out.line(&format!("{name}: {}", host.secrets.join(", ")))?;
    }
    for (name, skipped) in &plan.skipped {
        context.out.line(&format!("{name}: skipped, {}", why(skipped)))?;
    }
    let would = if dry_run { "would be " } else { "" };
    for file in &files {
        context.out.line(&format!("{file}: {would}written"))?;
    }
    context
        .out
        .line(&format!("{would}sealed to {}, {length} bytes each", count(plan.hosts.len(), "host")))
}
