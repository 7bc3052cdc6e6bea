//! `afield rollout`: signed orders to the hub.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afield_core::assignment::{Action, Order};
use afield_core::ids::ReleaseId;
use afield_core::rollout::{Change, Policy, Status};
use afield_core::signed::{Envelope, SecretKey};
use afield_core::span::Span;
use afield_core::status::FleetStatus;
use afield_store::keys::read_secret;
use clap::{Args, Subcommand};
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;

use super::status;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;
use crate::hub::Hub;
use crate::progress::Progress;

/// An order counts for so many minutes after it was signed.
const ORDER_MINUTES: i64 = 10;
/// Pause between two looks at a rollout that is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `afield rollout`.
#[derive(Debug, Args)]
#[command(
    after_help = "The hub hands a release out wave by wave: the next wave follows when enough hosts of the one before have \
reported healthy for the soak time ([rollout] in afield.toml). One host that fails stops it. Orders are signed with the \
operator key; the hub alone can start nothing.\n\n\
  afield rollout start --keys keys           the newest release\n  \
  afield rollout status --wait               until it is done or stopped\n  \
  afield rollout resume --keys keys          go on, passing over the host that failed"
)]
pub struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
    /// The hub's address for operators, instead of [hub] url in afield.toml
    #[arg(long, global = true, value_name = "URL")]
    hub: Option<String>,
}

#[derive(Debug, Subcommand)]
enum RolloutCommand {
    /// Begin to hand out a release, wave by wave
    Start(StartArgs),
    /// How far it is
    Status(StatusArgs),
    /// No further wave until resumed
    Pause(OrderArgs),
    /// Go on, also after a failure stopped it; hosts that failed are passed over
    Resume(OrderArgs),
    /// End it; waves that it has not reached never get this release
    Cancel(OrderArgs),
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The folder with operator.pem
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Say what would be ordered, and order nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct StartArgs {
    /// Which release; the newest by default
    release: Option<ReleaseId>,
    #[command(flatten)]
    order: OrderArgs,
    /// How long a host must be healthy, as in 30m; by default that of afield.toml
    #[arg(long, value_name = "TIME")]
    soak: Option<Span>,
    /// How many hosts of a wave must be healthy, in percent; by default that of afield.toml
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    healthy_percent: Option<u8>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 told; with --wait 0 done, 1 stopped, cancelled or not done in time."
)]
struct StatusArgs {
    /// Wait until the rollout is done, stopped or cancelled
    #[arg(long)]
    wait: bool,
    /// With --wait: no longer than this, as in 30m
    #[arg(long, value_name = "TIME", requires = "wait")]
    timeout: Option<Span>,
}

/// Orders, or tells.
pub fn run(args: &RolloutArgs, context: &mut Context) -> CommandResult {
    let hub = || status::hub(args.hub.as_deref(), context);
    match &args.command {
        RolloutCommand::Status(status) => tell(status, &hub()?, context),
        RolloutCommand::Start(start) => {
            let hub = hub()?;
            let fleet = hub.status()?;
            let project = Project::load(context)?;
            let action =
                Action::Start { release: release(start, &fleet)?, policy: policy(start, &project) };
            order(&start.order, action, &hub, &project, context)
        }
        RolloutCommand::Pause(args) => {
            order(args, Action::Pause, &hub()?, &Project::load(context)?, context)
        }
        RolloutCommand::Resume(args) => {
            order(args, Action::Resume, &hub()?, &Project::load(context)?, context)
        }
        RolloutCommand::Cancel(args) => {
            order(args, Action::Cancel, &hub()?, &Project::load(context)?, context)
        }
    }
}

fn release(args: &StartArgs, fleet: &FleetStatus) -> Result<ReleaseId, Failure> {
    args.release.or(fleet.newest).ok_or_else(|| {
        Failure::refused("the hub knows no release").hint("publish one: afield release --keys DIR")
    })
}

fn policy(args: &StartArgs, project: &Project) -> Policy {
    let declared = &project.settings.rollout;
    Policy {
        soak: args.soak.unwrap_or(declared.soak),
        healthy_percent: args.healthy_percent.unwrap_or(declared.healthy_percent),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct OrderReport {
    dry_run: bool,
    action: Action,
    changes: Vec<Change>,
}

fn order(
    args: &OrderArgs,
    action: Action,
    hub: &Hub,
    project: &Project,
    context: &mut Context,
) -> CommandResult {
    let key = operator_key(&args.keys)?;
    let issued = Timestamp::now();
    let order = Order {
        fleet: project.settings.fleet.clone(),
        action,
        issued,
        expires: issued.checked_add(ORDER_MINUTES.minutes())?,
    };
    let envelope = Envelope::seal(&order, &key)?;
    let changes = match args.dry_run {
        true => Vec::new(),
        false => hub.order(&envelope)?.changes,
    };
    let (dry_run, action) = (args.dry_run, order.action);
    let report = OrderReport { dry_run, action, changes };
    if context.out.json() {
        context.out.value(&report)?;
        return Ok(Outcome::Done);
    }
    let did = match dry_run {
        true => "would order",
        false => "ordered",
    };
    context.out.line(&format!("{did}: {}", words(&report.action)))?;
    for change in &report.changes {
        context.out.line(&change.to_string())?;
    }
    Ok(Outcome::Done)
}

fn operator_key(keys: &Path) -> Result<SecretKey, Failure> {
    let key = read_secret(&keys.join("operator.pem"));
    key.map_err(|e| {
        Failure::from(e)
            .hint("--keys is the folder with operator.pem, as afield keys init wrote it")
    })
}

fn words(action: &Action) -> String {
    match action {
        Action::Start { release, policy } => format!(
            "start release {release}; a wave is good when {} % of its hosts were healthy for {}",
            policy.healthy_percent, policy.soak
        ),
        Action::Pause => "pause".into(),
        Action::Resume => "resume".into(),
        Action::Cancel => "cancel".into(),
    }
}

/// What `--json` prints: the part of the fleet's status that is about the rollout.
#[derive(Debug, Serialize)]
struct Told<'a> {
    newest: Option<ReleaseId>,
    rollout: &'a Option<afield_core::rollout::Active>,
    waves: &'a [afield_core::status::WaveStatus],
    problems: &'a [String],
}

fn tell(args: &StatusArgs, hub: &Hub, context: &mut Context) -> CommandResult {
    let (fleet, ended) = match args.wait {
        true => wait(hub, args.timeout)?,
        false => (hub.status()?, true),
    };
    if context.out.json() {
        context.out.value(&Told {
            newest: fleet.newest,
            rollout: &fleet.rollout,
            waves: &fleet.waves,
            problems: &fleet.problems,
        })?;
    } else {
        let color = context.out.color();
        context.out.text(&status::rollout(&fleet, color))?;
    }
    let done = fleet.rollout.is_some_and(|r| r.status == Status::Done);
    match args.wait && !(ended && done) {
        true => Ok(Outcome::Findings),
        false => Ok(Outcome::Done),
    }
}

/// Looks until the rollout ends; says whether it did.
fn wait(hub: &Hub, timeout: Option<Span>) -> Result<(FleetStatus, bool), Failure> {
    let began = Instant::now();
    let progress = Progress::steps("healthy", 0);
    loop {
        let fleet = hub.status()?;
        let healthy: usize = fleet.waves.iter().map(|w| w.healthy).sum();
        let hosts: usize = fleet.waves.iter().map(|w| w.needed).sum();
        progress.set(healthy as u64, hosts as u64);
        let active = fleet.rollout.as_ref();
        let reached =
            fleet.waves.iter().rfind(|w| active.is_some_and(|a| w.reached == Some(a.release)));
        if let Some(wave) = reached {
            progress.at(&format!("wave {}: {} of {}", wave.name, wave.healthy, wave.needed));
        }
        match active.map(|a| &a.status) {
            Some(Status::Running | Status::Paused) => {}
            _ => return Ok((fleet, true)),
        }
        if timeout.is_some_and(|t| began.elapsed() >= t.duration()) {
            return Ok((fleet, false));
        }
        std::thread::sleep(LOOK);
    }
}
