//! `afield release`: builds all hosts and publishes one signed release.

use std::collections::BTreeMap;
use std::path::PathBuf;

use afield_core::host_data::HostData;
use afield_core::ids::{HostName, ReleaseId, StorePath};
use afield_core::release::{Closure, FORMAT, HostRelease, Manifest, Wave};
use afield_core::span::Span;
use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::build::{Built, build_all, failed_hosts, print_failed};
use super::repository;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::{self, Project};
use crate::nix::NixError;
use crate::nix::closure::Facts;
use crate::release::data;
use crate::release::diff::{HostChange, Side};
use crate::release::forecast;
use crate::release::published::{Published, check_repository, lock};
use crate::release::report::{self, HostReport, ReleaseReport};
use crate::release::write::{Ingredients, Patching, write};
use crate::root::in_days;

/// Arguments of `afield release`.
#[derive(Debug, Args)]
#[command(
    after_help = "Builds every host, packs what the repository lacks, and publishes one manifest, signed with the release \
key: for each host its system, how it travels, and its host data (checks, app configs, access, sealed secrets). No host \
takes it before a rollout hands it out: afield rollout start.\n\n\
Hosts never accept an older release. To take release 7 back, publish release 6's systems under a new number:\n\n  \
afield release --keys keys --like 6\n\n\
What hosts have travels as patches against it: what they told the hub they run, or --against. Patches that were made \
once are used again; --forecast says what each site of afield.toml fetches, and how long, before anything is published.\n\n\
Exit codes: 0 published, 1 failed, 2 wrong usage, 3 refused (a host does not build, afield check finds errors, a wrong \
key): nothing was published."
)]
pub struct ReleaseArgs {
    /// The folder with root.json and release.pem
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Repeat the systems and host data of this release; Nix is not needed
    #[arg(long, value_name = "RELEASE")]
    like: Option<ReleaseId>,
    /// Only sign the published releases anew, so that they stay fresh; nothing is built
    #[arg(long, conflicts_with_all = ["like", "without_failed"])]
    refresh: bool,
    /// Publish although some hosts do not build; they are left out and stay as they are
    #[arg(long, conflicts_with = "like")]
    without_failed: bool,
    /// Make patches against these releases, instead of what hosts told the hub they run
    #[arg(long, value_name = "RELEASE", num_args = 1.., conflicts_with = "like")]
    against: Vec<ReleaseId>,
    /// Begin no patch after this time (30s, 20m, 2h); full objects serve for the rest, and the next release goes on
    #[arg(long, value_name = "TIME", conflicts_with = "like")]
    patch_budget: Option<Span>,
    /// Build, and say what would change on each host; publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Pack and make patches, and say what each site will fetch and how long that takes; publish nothing
    #[arg(long, conflicts_with_all = ["like", "dry_run", "refresh"])]
    forecast: bool,
}

/// Makes a release.
pub fn run(args: &ReleaseArgs, context: &mut Context) -> CommandResult {
    let project = Project::load(context)?;
    check_repository(&project)?;
    let _lock = match args.dry_run {
        true => None,
        false => Some(lock(&project)?),
    };
    let published = Published::open(&project, &args.keys)?;
    if args.refresh {
        return refresh(args, &project, &published, context);
    }
    let report = match args.like {
        Some(like) => repeat(args, like, &project, &published)?,
        None => make(args, &project, &published, context)?,
    };
    match context.out.json() {
        true => context.out.value(&report)?,
        false => report::print(&report, context)?,
    }
    mirror(args, &project, context)?;
    Ok(Outcome::Done)
}

/// Brings the mirrors up to date with what was published.
fn mirror(args: &ReleaseArgs, project: &Project, context: &mut Context) -> Result<(), Failure> {
    let mirrors = &project.settings.repository.mirrors;
    if args.dry_run || mirrors.is_empty() {
        return Ok(());
    }
    let synced = repository::sync(project, mirrors, false).map_err(|e| {
        e.hint("the release is published; bring the mirrors to it: afield repository sync")
    })?;
    match context.out.json() {
        true => Ok(()),
        false => repository::tell(&synced, context),
    }
}

/// Signs what is published anew.
fn refresh(
    args: &ReleaseArgs,
    project: &Project,
    published: &Published,
    context: &mut Context,
) -> CommandResult {
    let expires = in_days(project.settings.trust.release_days)?;
    let Some(newest) = published.newest.as_ref().map(|m| m.release) else {
        return Err(Failure::refused("nothing is published yet")
            .hint("publish a release first: afield release --keys DIR"));
    };
    if !args.dry_run {
        published.refresh(expires)?;
    }
    if context.out.json() {
        let report =
            serde_json::json!({ "refreshed": newest, "expires": expires, "dry_run": args.dry_run });
        context.out.value(&report)?;
    } else {
        let done = if args.dry_run { "would be" } else { "are" };
        let line = format!("the releases up to {newest} {done} signed anew, valid until {expires}");
        context.out.line(&line)?;
    }
    mirror(args, project, context)?;
    Ok(Outcome::Done)
}

/// A new release with the systems of an old one.
fn repeat(
    args: &ReleaseArgs,
    like: ReleaseId,
    project: &Project,
    published: &Published,
) -> Result<ReleaseReport, Failure> {
    let old = published.manifest(like)?;
    let newest = published.newest.as_ref().unwrap_or(&old);
    let mut hosts = old.hosts.clone();
    for (host, release) in &mut hosts {
        // A host's key and the freshness of its assignments are facts of today, not part of what is taken back.
        if let Some(today) = newest.hosts.get(host) {
            release.key = today.key;
        }
        release.fresh_days = project.settings.assignment_days(host);
    }
    let waves = newest.waves.clone();
    let manifest = manifest(project, published.next(), Some(like), waves, hosts);
    let mut changes = BTreeMap::new();
    for (host, release) in &manifest.hosts {
        let closure: Closure = published.repository.document(&release.closure)?;
        let data: HostData = published.repository.document(&release.data)?;
        let (system, closure, data) = (&release.system, &closure, &data);
        let side = Side { system, closure, data };
        let before = newest.hosts.get(host);
        let change = HostChange::between(&published.repository, before, &side);
        changes.insert(host.clone(), (system.clone(), change));
    }
    finish(args, project, published, manifest, changes)
}

/// A release of what is declared now.
fn make(
    args: &ReleaseArgs,
    project: &Project,
    published: &Published,
    context: &mut Context,
) -> Result<ReleaseReport, Failure> {
    let declared = fleet::declared(context)?;
    let data = data::all(project, &declared)?;
    if declared.unsealed && had_secrets(published) {
        return Err(Failure::refused(
            "secrets/master has files, secrets/generated has none, and hosts would lose the secrets that they have",
        )
        .hint("seal them to the hosts first: afield secrets seal"));
    }
    let built = build_all(project, &fleet::hosts(&project.fleet_dir)?, context)?;
    let failed = failed_hosts(&built);
    if !failed.is_empty() && !args.without_failed {
        if !context.out.json() {
            print_failed(&failed, context)?;
        }
        return Err(refuse_failed(&built));
    }
    if built.systems.is_empty() {
        return Err(Failure::refused("no host builds, so there is nothing to release"));
    }
    let roots: Vec<StorePath> = built.systems.values().map(|s| s.out.clone()).collect();
    let facts = Facts::of(&roots).map_err(NixError::into_failure)?;
    let mut closures = BTreeMap::new();
    let mut changes = BTreeMap::new();
    for (host, system) in &built.systems {
        let closure = facts.closure(&system.out).map_err(NixError::into_failure)?;
        closure.validate(&system.out).with_context(|| format!("the closure of {host}"))?;
        let data = data.get(host).with_context(|| format!("no host data for {host}"))?;
        let system = &system.out;
        let side = Side { system, closure: &closure, data };
        let before = published.newest.as_ref().and_then(|m| m.hosts.get(host));
        let change = HostChange::between(&published.repository, before, &side);
        changes.insert(host.clone(), (system.clone(), change));
        closures.insert(host.clone(), (system.clone(), closure));
    }
    let (mut costs, mut forecast) = (BTreeMap::new(), Vec::new());
    let (hosts, packed) = match args.dry_run {
        true => (BTreeMap::new(), None),
        false => {
            let ingredients =
                Ingredients { closures: &closures, data: &data, told: &declared.hosts };
            let patching = Patching {
                against: args.against.clone(),
                budget: args.patch_budget.map(Span::duration),
            };
            let written = write(project, published, &facts, &ingredients, &patching)?;
            forecast = forecast::of(&project.settings, &written.costs);
            costs = written.costs;
            (written.hosts, Some(written.packed))
        }
    };
    let waves = declared.waves.clone();
    let manifest = manifest(project, published.next(), None, waves, hosts);
    let mut report = finish(args, project, published, manifest, changes)?;
    report.failed = failed;
    report.packed = packed;
    report.forecast = forecast;
    for (host, cost) in costs {
        if let Some(host) = report.hosts.get_mut(&host) {
            host.cost = Some(cost);
        }
    }
    report.notes = report::notes(&declared, &built);
    Ok(report)
}

/// Whether the newest release gave some host secrets.
fn had_secrets(published: &Published) -> bool {
    let hosts = published.newest.iter().flat_map(|manifest| manifest.hosts.values());
    let mut data = hosts.filter_map(|host| published.repository.document(&host.data).ok());
    data.any(|data: HostData| data.sealed.is_some() || data.age.is_some())
}

fn refuse_failed(built: &Built) -> Failure {
    let names: Vec<&str> = built.failed.keys().map(HostName::as_str).collect();
    let reasons = built.failed.iter().map(|(host, (_, reason))| format!("{host}: {reason}"));
    let (names, reasons) = (names.join(", "), reasons.collect::<Vec<_>>().join("; "));
    Failure::refused(format!("{names} cannot be built ({reasons}); nothing was published"))
        .hint("correct it, or leave these hosts as they are with --without-failed")
}

/// A manifest whose waves have only hosts that are in it: a wave must not wait for others.
fn manifest(
    project: &Project,
    release: ReleaseId,
    like: Option<ReleaseId>,
    mut waves: Vec<Wave>,
    hosts: BTreeMap<HostName, HostRelease>,
) -> Manifest {
    for wave in &mut waves {
        wave.hosts.retain(|h| hosts.contains_key(h));
    }
    Manifest {
        format: FORMAT,
        fleet: project.settings.fleet.clone(),
        release,
        created: Timestamp::now(),
        like,
        waves,
        hosts,
    }
}

fn finish(
    args: &ReleaseArgs,
    project: &Project,
    published: &Published,
    manifest: Manifest,
    changes: BTreeMap<HostName, (StorePath, HostChange)>,
) -> Result<ReleaseReport, Failure> {
    let expires = in_days(project.settings.trust.release_days)?;
    if !args.dry_run && !args.forecast {
        published.publish(&manifest, expires)?;
    }
    let newest = published.newest.as_ref();
    let before = newest.into_iter().flat_map(|m| m.hosts.keys());
    let left_out = before.filter(|h| !changes.contains_key(*h)).cloned().collect();
    let hosts = changes.into_iter();
    Ok(ReleaseReport {
        release: manifest.release,
        dry_run: args.dry_run || args.forecast,
        like: manifest.like,
        compared_with: newest.map(|m| m.release),
        expires,
        hosts: hosts
            .map(|(host, (system, change))| (host, HostReport { system, change, cost: None }))
            .collect(),
        left_out,
        failed: BTreeMap::new(),
        packed: None,
        forecast: Vec::new(),
        notes: Vec::new(),
    })
}
