//! `afield status`: how the fleet stands, as the hub knows it.

use afield_core::health::FailureKind;
use afield_core::ids::{HostName, ReleaseId};
use afield_core::report::CheckResult;
use afield_core::rollout::{Active, Status};
use afield_core::status::{FleetStatus, HostStatus, State, WaveStatus, ago};
use clap::Args;
use jiff::Timestamp;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::fleet::Project;
use crate::hub::Hub;
use crate::table::{Cell, Tone, cell, render, toned};

/// Arguments of `afield status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Says how far the rollout is, wave by wave, and how each host is; for one host, which check failed, why, \
and the last lines of its log. What a host says is signed with its own key.\n\n\
  healthy      runs what it should, every check passes\n  \
  updating     on the way to a release\n  \
  waiting      well, and has not taken its release yet\n  \
  rolled-back  a release failed on it; it is back at the last good one\n  \
  unhealthy    a check fails outside of an update\n  \
  stuck        going back did not help: a person is needed\n  \
  refused      it refused what it was offered\n  \
  silent       nothing heard for an hour\n  \
  never-seen   nothing ever heard\n\n\
Exit codes: 0 told (also bad news), 1 the hub cannot be reached, or --fail and a host is not healthy, 2 wrong usage."
)]
pub struct StatusArgs {
    /// Only this host, with its checks and its log
    #[arg(value_name = "HOST")]
    host: Option<HostName>,
    /// The hub's address for operators, instead of [hub] url in afield.toml
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// End with exit code 1 if a host is not healthy
    #[arg(long)]
    fail: bool,
}

/// Asks the hub and tells.
pub fn run(args: &StatusArgs, context: &mut Context) -> CommandResult {
    let hub = hub(args.hub.as_deref(), context)?;
    let fleet = hub.status()?;
    let shown: Vec<&HostStatus> = match &args.host {
        None => fleet.hosts.iter().collect(),
        Some(name) => vec![find(&fleet, name)?],
    };
    let color = context.out.color();
    match (&args.host, shown.as_slice()) {
        (Some(_), [host]) if context.out.json() => context.out.value(host)?,
        (Some(_), [host]) => context.out.text(&one(host, fleet.time, color))?,
        _ if context.out.json() => context.out.value(&fleet)?,
        _ => context.out.text(&(rollout(&fleet, color) + "\n" + &hosts(&fleet, color)))?,
    }
    let healthy = shown.iter().all(|h| h.state == State::Healthy);
    match args.fail && !healthy {
        true => Ok(Outcome::Findings),
        false => Ok(Outcome::Done),
    }
}

/// The hub at the address given, or that of `afield.toml`.
pub fn hub(given: Option<&str>, context: &Context) -> Result<Hub, Failure> {
    if let Some(address) = given {
        return Ok(Hub::at(address));
    }
    let project = Project::load(context)?;
    let settings = project.settings.hub.ok_or_else(|| {
        Failure::usage("afield.toml names no hub")
            .hint("add [hub] url = \"http://127.0.0.1:8471\", or give --hub URL")
    })?;
    Ok(Hub::at(&settings.url))
}

fn find<'a>(fleet: &'a FleetStatus, name: &HostName) -> Result<&'a HostStatus, Failure> {
    fleet.hosts.iter().find(|h| h.host == *name).ok_or_else(|| {
        Failure::usage(format!("the hub knows no host {name}"))
            .hint("afield status names all of them; a new host is there from its first release on")
    })
}

/// How the rollout goes, and its waves.
pub fn rollout(fleet: &FleetStatus, color: bool) -> String {
    let mut out = String::new();
    let name = fleet.fleet.as_ref().map_or("of no release yet", |f| f.as_str());
    let newest = fleet.newest.map_or("none".into(), |n| n.to_string());
    out.push_str(&format!("fleet {name}, newest release {newest}\n"));
    out.push_str(&match &fleet.rollout {
        None => "no rollout yet\n".to_owned(),
        Some(active) => going(active, color),
    });
    for problem in &fleet.problems {
        let line = format!("the hub has a problem: {problem}");
        out.push_str(&(toned(&line, Tone::Bad, color) + "\n"));
    }
    if fleet.waves.is_empty() {
        return out;
    }
    let rows: Vec<Vec<Cell>> = fleet.waves.iter().map(wave).collect();
    out.push('\n');
    out + &render(&["wave", "has release", "hosts", "running it", "healthy"], &rows, color)
}

fn going(active: &Active, color: bool) -> String {
    let tone = match active.status {
        Status::Running => Tone::Busy,
        Status::Done => Tone::Good,
        Status::Stopped { .. } => Tone::Bad,
        Status::Paused | Status::Cancelled => Tone::Plain,
    };
    let word = toned(active.status.word(), tone, color);
    let mut line = format!("rollout of release {}: {word}", active.release);
    if let Status::Stopped { host, why } = &active.status {
        line.push_str(&format!(": {host} failed: {why}"));
    }
    if !active.passed_over.is_empty() {
        let names: Vec<&str> = active.passed_over.iter().map(HostName::as_str).collect();
        line.push_str(&format!(" (passed over: {})", names.join(", ")));
    }
    line + "\n"
}

fn wave(wave: &WaveStatus) -> Vec<Cell> {
    let tone = match wave.healthy >= wave.needed && wave.needed > 0 {
        true => Tone::Good,
        false => Tone::Plain,
    };
    vec![
        cell(wave.name.as_str()),
        cell(number(wave.reached)),
        cell(wave.hosts.to_string()),
        cell(wave.running.to_string()),
        cell(format!("{} of {} needed", wave.healthy, wave.needed)).tone(tone),
    ]
}

fn number(release: Option<ReleaseId>) -> String {
    release.map_or("-".into(), |r| r.to_string())
}

fn tone(state: State) -> Tone {
    match state {
        State::Healthy => Tone::Good,
        State::Updating | State::Waiting => Tone::Busy,
        State::NeverSeen => Tone::Plain,
        _ => Tone::Bad,
    }
}

fn hosts(fleet: &FleetStatus, color: bool) -> String {
    let rows: Vec<Vec<Cell>> = fleet
        .hosts
        .iter()
        .map(|host| {
            let wave = host.wave.as_ref().map_or("-", |w| w.as_str());
            vec![
                cell(host.host.as_str()),
                cell(wave),
                cell(number(host.running)),
                cell(number(host.assigned)),
                cell(heard(host, fleet.time)),
                cell(host.state.word()).tone(tone(host.state)),
                cell(host.says.as_str()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no hosts yet: publish a release with afield release\n".to_owned();
    }
    let headings = ["host", "wave", "runs", "should", "heard", "state", ""];
    render(&headings, &rows, color)
}

fn heard(host: &HostStatus, now: Timestamp) -> String {
    let heard = host.heard.as_ref();
    heard.map_or("never".into(), |h| since(h.received, now))
}

fn since(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", ago(now.duration_since(then).as_secs()))
}

/// All that is known of one host.
fn one(host: &HostStatus, now: Timestamp, color: bool) -> String {
    let mut lines = Vec::new();
    let wave = host.wave.as_ref().map_or("no wave".into(), |w| format!("wave {w}"));
    let state = toned(host.state.word(), tone(host.state), color);
    lines.push(format!("{} ({wave}): {state}", host.host));
    if !host.says.is_empty() {
        lines.push(format!("  {}", host.says));
    }
    let (runs, should) = (number(host.running), number(host.assigned));
    lines.push(format!("runs release {runs}, should run {should}"));
    if let Some(system) = &host.system {
        lines.push(format!("system {system}"));
    }
    lines.push(match &host.heard {
        None => "nothing was ever heard of it".to_owned(),
        Some(heard) => {
            let (seq, agent) = (heard.seq, &heard.agent);
            format!("heard {} (report {seq}, agent {agent})", since(heard.received, now))
        }
    });
    if let Some(failure) = &host.failure {
        let how = match failure.kind {
            FailureKind::Unhealthy => "a check fails, the host still runs it",
            FailureKind::RolledBack => "the host went back to the last good one",
            FailureKind::Stuck => "going back did not help: a person is needed",
        };
        let head = format!("release {} failed {}", failure.release, since(failure.time, now));
        lines.push(String::new());
        lines.push(format!("{}; {how}", toned(&head, Tone::Bad, color)));
        lines.push(format!("  {}", failure.why));
        lines.extend(failure.checks.iter().map(|c| check(c, color)));
        if !failure.log.is_empty() {
            lines.push("  last lines of its log:".to_owned());
            let log = failure.log.iter();
            lines.extend(log.map(|l| toned(&format!("    {l}"), Tone::Dim, color)));
        }
    }
    if !host.checks.is_empty() {
        lines.push(String::new());
        lines.push("checks of its last report:".to_owned());
        lines.extend(host.checks.iter().map(|c| check(c, color)));
    }
    lines.extend(host.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n") + "\n"
}

fn check(check: &CheckResult, color: bool) -> String {
    let (word, tone) = match check.passed {
        true => ("passed", Tone::Good),
        false => ("failed", Tone::Bad),
    };
    let tries = match check.tries {
        0 | 1 => String::new(),
        n => format!(" (tried {n} times)"),
    };
    let word = toned(word, tone, color);
    format!("  check {} {word}: {}{tries}", check.name, check.saw)
}
