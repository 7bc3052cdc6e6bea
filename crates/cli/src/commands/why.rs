//! `afield why USER HOST`: by which path of roles a person comes to a host, or why there is none.

use afield_core::fleet::access::{Accesses, Way, profile_of};
use afield_core::fleet::{Fleet, describe};
use afield_core::host_plan::Via;
use afield_core::ids::{HostName, UserName};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Outcome};

/// Arguments of `afield why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The person, as in users.json
    user: UserName,
    /// The host
    host: HostName,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    user: UserName,
    host: HostName,
    /// Whether the account is there and open, with a key.
    can_log_in: bool,
    profile: Option<String>,
    via: Vec<Path>,
    /// What stands in the way, if anything.
    but: Vec<String>,
}

/// One path, with where it is written.
#[derive(Debug, Serialize)]
struct Path {
    profile: String,
    #[serde(flatten)]
    via: Via,
    at: Option<String>,
}

/// Answers.
pub fn run(args: &WhyArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let answer = answer(&folder.fleet, &args.user, &args.host, context.today);
    if context.out.json() {
        context.out.value(&answer)?;
        return Ok(Outcome::Done);
    }
    let (user, host) = (&answer.user, &answer.host);
    match &answer.profile {
        Some(profile) => context.out.line(&format!("{user} has {profile} on {host}:"))?,
        None => context.out.line(&format!("{user} has nothing on {host}:"))?,
    }
    for path in &answer.via {
        let at = path.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
        context.out.line(&format!("  {} {}{at}", path.profile, describe(&path.via)))?;
    }
    for reason in &answer.but {
        context.out.line(&format!("  but {reason}"))?;
    }
    Ok(Outcome::Done)
}

fn answer(fleet: &Fleet, user: &UserName, host: &HostName, today: jiff::civil::Date) -> Answer {
    let accesses = Accesses::new(fleet);
    let access = accesses.host(host.as_str());
    let ways: &[Way] = access.people.get(user).map_or(&[], Vec::as_slice);
    let profile = profile_of(ways);
    let mut but = Vec::new();
    let known = fleet.hosts.contains_key(host);
    if !known {
        but.push(format!("there is no host {host}"));
    }
    if access.broken {
        but.push("a role below is missing or in a circle; see `afield check`".to_owned());
    }
    match ways {
        [] => but.extend(why_not(fleet, &accesses, user, host)),
        _ if profile.is_none() => but.push("the profiles conflict, which is refused".to_owned()),
        _ => {}
    }
    let expired = fleet.expiry(user).filter(|day| *day <= today);
    if let Some(day) = expired {
        but.push(format!("the account is closed since {day}"));
    }
    let keys = afield_core::fleet::Resolver::new(fleet).keys_of(user);
    if keys.is_empty() && !ways.is_empty() {
        but.push(format!("{user} has no key"));
    }
    let ssh = profile.is_some_and(|profile| profile.rights().ssh);
    let paths = ways.iter().map(|way| Path {
        profile: way.profile.map_or("an unknown profile".to_owned(), |p| p.name().to_owned()),
        via: way.via.clone(),
        at: way.span.map(|span| format!("{}:{}", fleet.files.name(span.file), span.line)),
    });
    Answer {
        user: user.clone(),
        host: host.clone(),
        can_log_in: known && ssh && expired.is_none() && !keys.is_empty() && !access.broken,
        profile: profile.map(|profile| profile.name().to_owned()),
        via: paths.collect(),
        but,
    }
}

/// Why nothing leads from a host to a person.
fn why_not(
    fleet: &Fleet,
    accesses: &Accesses<'_>,
    user: &UserName,
    host: &HostName,
) -> Vec<String> {
    let mut reasons = Vec::new();
    match fleet.people.per_host.get(host.as_str()) {
        None => reasons.push(format!("users.per-host has no entry for {host}")),
        Some(_) => reasons.push(format!("neither users.per-host.{host} nor its roles name {user}")),
    }
    let named = |entry| accesses.entry(entry).people.contains_key(user);
    let roles = fleet.people.roles.iter().filter(|(_, entry)| named(entry));
    let roles: Vec<&str> = roles.map(|(name, _)| name.as_str()).collect();
    reasons.push(match roles.is_empty() {
        true => format!("no role names {user}"),
        false => format!("the roles that would give something are {}", roles.join(", ")),
    });
    if !fleet.keys.contains_key(user) {
        reasons.push(format!("keys.json has no keys for {user}"));
    }
    reasons
}
