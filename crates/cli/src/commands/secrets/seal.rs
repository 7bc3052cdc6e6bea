//! `afield secrets seal`: `secrets/generated/generated-secrets.yml`, sealed to each host's SSH key.

use std::path::PathBuf;

use afield_core::secrets::master::Problem;
use afield_core::secrets::seal::{self, Plan, Skipped};
use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use super::password::PasswordArgs;
use super::{file, fleet};
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets seal`.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// Where to write (by default secrets/generated/generated-secrets.yml in the fleet folder)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
    /// Only say what would be sealed to whom
    #[arg(long)]
    dry_run: bool,
}

/// Opens all master files, plans, seals, writes.
pub fn run(args: &SealArgs, context: &mut Context) -> CommandResult {
    let fleet = context.fleet_dir()?;
    let hosts = fleet::hosts(&fleet)?;
    let files = fleet::master_files(&fleet)?;
    let password = args.password.read()?;
    let (mut secrets, mut problems) = (Vec::new(), Vec::new());
    for path in &files {
        match fleet::open_master(&fleet, path, &password)? {
            Ok(found) => secrets.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    let plan = match seal::plan(&hosts, &secrets) {
        Ok(plan) if problems.is_empty() => plan,
        Ok(_) => return refuse(&problems, context),
        Err(found) => {
            problems.extend(found);
            return refuse(&problems, context);
        }
    };
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| fleet.join("secrets/generated/generated-secrets.yml"));
    if !args.dry_run {
        let text = seal_all(&plan)?;
        if let Some(folder) = output.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        file::replace(&output, text.as_bytes())?;
    }
    print(&plan, &output.display().to_string(), args.dry_run, context)?;
    Ok(Outcome::Done)
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

fn refuse(problems: &[Problem], context: &mut Context) -> CommandResult {
    if context.out.json() {
        let list: Vec<_> = problems
            .iter()
            .map(|problem| json!({ "file": problem.file, "line": problem.line, "message": problem.message }))
            .collect();
        context.out.value(&json!({ "problems": list }))?;
    } else {
        for problem in problems {
            context.out.line(&problem.to_string())?;
        }
    }
    Err(Failure::refused("nothing was sealed")
        .hint("correct the files with `afield secrets edit`; lines count in the decrypted text"))
}

fn print(plan: &Plan, output: &str, dry_run: bool, context: &mut Context) -> std::io::Result<()> {
    let length = plan
        .hosts
        .values()
        .map(|host| host.padded.len())
        .max()
        .unwrap_or(0);
    let why = |skipped: &Skipped| match skipped {
        Skipped::NoKey => "it has no public key yet",
        Skipped::TurnedOff => "generate_secrets is false",
    };
    if context.out.json() {
        let hosts: Vec<_> = plan
            .hosts
            .iter()
            .map(|(name, host)| json!({ "host": name, "secrets": host.secrets }))
            .collect();
        let skipped: Vec<_> = plan
            .skipped
            .iter()
            .map(|(name, skipped)| json!({ "host": name, "why": why(skipped) }))
            .collect();
        return context.out.value(
            &json!({ "file": output, "dry_run": dry_run, "bytes_each": length, "hosts": hosts, "skipped": skipped }),
        );
    }
    for (name, host) in &plan.hosts {
        context
            .out
            .line(&format!("{name}: {}", host.secrets.join(", ")))?;
    }
    for (name, skipped) in &plan.skipped {
        context
            .out
            .line(&format!("{name}: skipped, {}", why(skipped)))?;
    }
    let would = if dry_run { "would be " } else { "" };
    context.out.line(&format!(
        "{output}: {would}sealed to {} hosts, {length} bytes each",
        plan.hosts.len()
    ))
}
