//! `afield build`: every host's system, evaluated once and built in parallel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use afield_core::host_plan::HostKind;
use afield_core::ids::{HostName, StorePath};
use afield_core::status::bytes;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::{self, Project};
use crate::nix::build::{Options, realise};
use crate::nix::closure::Facts;
use crate::nix::eval::{Evaluation, evaluate};
use crate::nix::reason::Reason;
use crate::nix::{NixError, System};
use crate::output::count;
use crate::progress::Progress;
use crate::table::{Tone, cell, render, toned};

/// Arguments of `afield build`.
#[derive(Debug, Args)]
#[command(
    after_help = "What is built stands in [build] of afield.toml: a Nix file with one attribute a host, or a flake's \
attribute with {host} in it. All hosts are evaluated at once (by nix-eval-jobs where it is on PATH) and built in \
parallel. A host that fails does not stop the others; it is named with Nix's reason.\n\n\
Exit codes: 0 all built, 1 a host failed, 2 wrong usage.\n\n\
  afield build                   all hosts\n  \
  afield build hosp-pap          one host\n  \
  afield build --dry-run         evaluate only: finds most mistakes in seconds"
)]
pub struct BuildArgs {
    /// Only these hosts
    #[arg(value_name = "HOST")]
    hosts: Vec<HostName>,
    /// Evaluate only; nothing is built
    #[arg(long)]
    dry_run: bool,
    /// Write the result as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Builds, and tells what came of it.
pub fn run(args: &BuildArgs, context: &mut Context) -> CommandResult {
    let project = Project::load(context)?;
    let hosts = chosen(&args.hosts, &fleet::hosts(&project.fleet_dir)?)?;
    let built = match args.dry_run {
        true => Built::of_evaluation(evaluate_all(&project, &hosts)?),
        false => build_all(&project, &hosts, context)?,
    };
    let report = report(&built, args.dry_run)?;
    if let Some(path) = &args.out {
        let json = serde_json::to_vec_pretty(&report)?;
        afield_store::files::write_atomic(path, &json)
            .with_context(|| path.display().to_string())?;
    }
    match context.out.json() {
        true => context.out.value(&report)?,
        false => print(&report, context)?,
    }
    match report.failed.is_empty() {
        true => Ok(Outcome::Done),
        false => Ok(Outcome::Findings),
    }
}

fn chosen(
    wanted: &[HostName],
    all: &BTreeMap<HostName, HostKind>,
) -> Result<BTreeMap<HostName, HostKind>, Failure> {
    if wanted.is_empty() {
        return Ok(all.clone());
    }
    let mut chosen = BTreeMap::new();
    for host in wanted {
        let Some(kind) = all.get(host) else {
            let names: Vec<&str> = all.keys().map(HostName::as_str).take(20).collect();
            return Err(Failure::usage(format!("the fleet has no host {host}"))
                .hint(format!("its hosts are {}", names.join(", "))));
        };
        chosen.insert(host.clone(), *kind);
    }
    Ok(chosen)
}

/// At which step a host failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Its Nix expression is wrong.
    Evaluate,
    /// One of its derivations does not build.
    Build,
}

/// What came of building.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// Hosts whose system is in the store (or, after a dry run, would be built).
    pub systems: BTreeMap<HostName, System>,
    /// The others.
    pub failed: BTreeMap<HostName, (Step, Reason)>,
}

impl Built {
    fn of_evaluation(evaluation: Evaluation) -> Self {
        let failed = evaluation.failed.into_iter();
        Self {
            systems: evaluation.systems,
            failed: failed.map(|(h, r)| (h, (Step::Evaluate, r))).collect(),
        }
    }
}

/// Evaluates hosts, all of one kind at once.
fn evaluate_all(
    project: &Project,
    hosts: &BTreeMap<HostName, HostKind>,
) -> Result<Evaluation, Failure> {
    let progress = Progress::steps("evaluating", hosts.len() as u64);
    progress.at(&count(hosts.len(), "host"));
    let mut all = Evaluation::default();
    let file = project.settings.build.file.is_some();
    for kind in [HostKind::Nixos, HostKind::Ubuntu] {
        // A Nix file has the hosts of both kinds, a flake has them under two attributes.
        let of_kind = hosts.iter().filter(|(_, k)| **k == kind || file);
        let names: Vec<HostName> = of_kind.map(|(h, _)| h.clone()).collect();
        if names.is_empty() || (file && kind == HostKind::Ubuntu) {
            continue;
        }
        let found = evaluate(&project.source(kind)?, &names).map_err(NixError::into_failure)?;
        all.systems.extend(found.systems);
        all.failed.extend(found.failed);
    }
    Ok(all)
}

/// Evaluates and builds hosts.
pub fn build_all(
    project: &Project,
    hosts: &BTreeMap<HostName, HostKind>,
    context: &Context,
) -> Result<Built, Failure> {
    let mut built = Built::of_evaluation(evaluate_all(project, hosts)?);
    let roots = context.cache_dir().map(|d| d.join("roots").join(project.settings.fleet.as_str()));
    if let Some(roots) = &roots {
        std::fs::create_dir_all(roots).with_context(|| roots.display().to_string())?;
    }
    let progress = Progress::steps("building", 0);
    let options = Options { jobs: project.settings.build.jobs, roots: roots.as_deref() };
    let failed = realise(&built.systems, options, &progress).map_err(NixError::into_failure)?;
    for (host, reason) in failed {
        built.systems.remove(&host);
        built.failed.insert(host, (Step::Build, reason));
    }
    Ok(built)
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct BuildReport {
    hosts: BTreeMap<HostName, BuiltHost>,
    failed: BTreeMap<HostName, FailedHost>,
}

#[derive(Debug, Serialize)]
struct BuiltHost {
    system: StorePath,
    /// Of all archives of the closure; none after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    closure_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closure_paths: Option<usize>,
}

/// A host that failed, as `--json` tells it.
#[derive(Debug, Serialize)]
pub struct FailedHost {
    step: Step,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<String>,
}

/// The hosts that failed, as `--json` tells them.
pub fn failed_hosts(built: &Built) -> BTreeMap<HostName, FailedHost> {
    let tell = |(host, (step, reason)): (&HostName, &(Step, Reason))| {
        let Reason { text, at, log } = reason.clone();
        let (step, reason) = (*step, text);
        let failed = FailedHost { step, reason, at, log };
        (host.clone(), failed)
    };
    built.failed.iter().map(tell).collect()
}

fn report(built: &Built, dry_run: bool) -> Result<BuildReport, Failure> {
    let roots: Vec<StorePath> = built.systems.values().map(|s| s.out.clone()).collect();
    let facts = match dry_run {
        true => None,
        false => Some(Facts::of(&roots).map_err(NixError::into_failure)?),
    };
    let mut hosts = BTreeMap::new();
    for (host, system) in &built.systems {
        let closure = facts.as_ref().map(|f| f.closure(&system.out));
        let closure = closure.transpose().map_err(NixError::into_failure)?;
        let size = |c: &afield_core::release::Closure| c.paths.iter().map(|p| p.nar_size).sum();
        let built = BuiltHost {
            system: system.out.clone(),
            closure_bytes: closure.as_ref().map(size),
            closure_paths: closure.as_ref().map(|c| c.paths.len()),
        };
        hosts.insert(host.clone(), built);
    }
    let failed = failed_hosts(built);
    Ok(BuildReport { hosts, failed })
}

fn print(report: &BuildReport, context: &mut Context) -> Result<(), Failure> {
    let color = context.out.color();
    let mut rows = Vec::new();
    for (host, built) in &report.hosts {
        let size = built.closure_bytes.map(bytes);
        rows.push(vec![
            cell(host.as_str()),
            cell(size.unwrap_or_else(|| "-".into())),
            cell(built.system.as_str()),
        ]);
    }
    if !rows.is_empty() {
        context.out.text(&render(&["host", "closure", "system"], &rows, color))?;
    }
    print_failed(&report.failed, context)
}

/// Names the hosts that failed, and why.
pub fn print_failed(
    failed: &BTreeMap<HostName, FailedHost>,
    context: &mut Context,
) -> Result<(), Failure> {
    let color = context.out.color();
    for (host, failed) in failed {
        let step = match failed.step {
            Step::Evaluate => "does not evaluate",
            Step::Build => "does not build",
        };
        let head = toned(&format!("{host} {step}"), Tone::Bad, color);
        let place = failed.at.as_ref().map(|at| format!("{at}: "));
        let line = format!("{head}: {}{}", place.unwrap_or_default(), failed.reason);
        context.out.line(&line)?;
        for line in &failed.log {
            context.out.line(&toned(&format!("    {line}"), Tone::Dim, color))?;
        }
    }
    Ok(())
}
