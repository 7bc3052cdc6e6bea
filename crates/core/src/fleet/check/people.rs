//! Rules about people and roles (spec "fleet folder" §2).

use std::collections::BTreeSet;

use super::super::access::{Accesses, HostAccess, Way};
use super::super::codes::{self, Code};
use super::super::finding::Findings;
use super::super::model::{Entry, Fleet, ProfileName};
use super::super::node::nearest;
use super::super::roles::Roles;
use super::super::span::{Located, Span};
use crate::host_plan::Via;
use crate::ids::{HostName, UserName};
use crate::profile::Profile;

pub(super) fn check(
    fleet: &Fleet,
    accesses: &Accesses<'_>,
    today: jiff::civil::Date,
    findings: &mut Findings,
) {
    role_problems(fleet, accesses.roles(), findings);
    for (name, entry) in &fleet.people.roles {
        if !accesses.roles().used.contains(name.as_str()) {
            findings.add(codes::ROLE_UNUSED, entry.span, format!("no host uses the role {name:?}"));
        }
    }
    let known: Vec<&str> = fleet.hosts.keys().map(HostName::as_str).collect();
    for (host, entry) in &fleet.people.per_host {
        if !fleet.has_host(host) {
            let message = format!("there is no host {host}");
            let finding = findings.add(codes::PER_HOST_UNKNOWN, entry.span, message);
            if let Some(near) = nearest(host, &known) {
                finding.remedy(format!("Is {near} meant? Correct the name, or remove the entry."));
            }
        }
    }
    // Hosts without an entry have global admins and robot alone, who cannot conflict.
    let mut given = BTreeSet::new();
    for host in fleet.people.per_host.keys() {
        let access = accesses.host(host);
        host_access(fleet, host, &access, findings);
        given.extend(unknown_given(&access));
    }
    profiles_exist(fleet, &given, findings);
    lists(fleet, findings);
    expiry(fleet, accesses, today, findings);
}

/// What stands in the way of saying who may do what on a host.
pub(in super::super) fn host_access(
    fleet: &Fleet,
    host: &str,
    access: &HostAccess<'_>,
    findings: &mut Findings,
) {
    let Some(entry) = fleet.people.per_host.get(host) else {
        return;
    };
    let is_relay = fleet.relays.servers.keys().any(|relay| relay.as_str() == host);
    for (user, ways) in &access.people {
        conflict(host, entry.span, user, ways, findings);
        let only_relays = |way: &&Way| way.profile.is_some_and(|p| p.rights().relays_only);
        if let Some(way) = ways.iter().find(only_relays).filter(|_| !is_relay) {
            let message =
                format!("{user} has {} on {host}, which is no relay", profile_name(way.profile));
            findings.add(codes::RELAYS_ONLY, way.span.unwrap_or(entry.span), message);
        }
    }
}

/// Two distinct profiles of one person. A profile that does not exist is told where it stands.
fn conflict(host: &str, span: Span, user: &UserName, ways: &[Way], findings: &mut Findings) {
    let profiles: BTreeSet<Profile> = ways.iter().filter_map(|way| way.profile).collect();
    if profiles.len() < 2 {
        return;
    }
    let mut seen = BTreeSet::new();
    let first_of_each = ways.iter().filter(|way| seen.insert(way.profile));
    let listed: Vec<String> = first_of_each
        .filter(|way| way.profile.is_some())
        .map(|way| format!("{} ({})", profile_name(way.profile), describe(&way.via)))
        .collect();
    let message = format!("{user} has several profiles on {host}: {}", listed.join(", "));
    let global = ways.iter().any(|way| way.via == Via::GlobalAdmin);
    let code = if global { codes::GLOBAL_ADMIN_CONFLICT } else { codes::CONFLICT };
    let other = ways.iter().filter_map(|way| way.span).next_back();
    let finding = findings.add(code, span, message);
    if let Some(other) = other {
        finding.other(other, "one of them is given here");
    }
}

fn profile_name(profile: Option<Profile>) -> &'static str {
    profile.map_or("an unknown profile", Profile::name)
}

/// How somebody comes to a profile, in a few words.
pub fn describe(via: &Via) -> String {
    match via {
        Via::GlobalAdmin => "as global admin".to_owned(),
        Via::BuiltIn => "built in".to_owned(),
        Via::Direct => "directly".to_owned(),
        Via::Roles { path, as_profile: None } => format!("through {}", path.join(" → ")),
        Via::Roles { path, as_profile: Some(profile) } => {
            format!("through {} with profile {profile}", path.join(" → "))
        }
    }
}

/// Roles that are missing or in a circle.
pub(in super::super) fn role_problems(fleet: &Fleet, roles: &Roles<'_>, findings: &mut Findings) {
    let known: Vec<&str> = fleet.people.roles.keys().map(String::as_str).collect();
    for problem in roles.problems() {
        if problem.circle.is_empty() {
            let code = if problem.used { codes::ROLE_MISSING } else { codes::ROLE_MISSING_UNUSED };
            let message = format!("there is no role {:?}", problem.role);
            let finding = findings.add(code, problem.span, message);
            if let Some(near) = nearest(problem.role, &known) {
                finding.remedy(format!("Is {near:?} meant? Otherwise define the role."));
            }
        } else {
            let code = if problem.used { codes::ROLE_CYCLE } else { codes::ROLE_CYCLE_UNUSED };
            let circle = shorten(&problem.circle).join(" → ");
            let message = format!("roles enable each other: {circle} → {}", problem.role);
            findings.add(code, problem.span, message);
        }
    }
}

/// A long list by its beginning and end.
fn shorten<'a>(names: &[&'a str]) -> Vec<&'a str> {
    match names {
        [first @ .., last] if first.len() > 20 => [&first[..10], &["…", *last]].concat(),
        _ => names.to_vec(),
    }
}

/// Where the profiles are written that somebody would get on a host, and that do not exist.
pub(in super::super) fn unknown_given(access: &HostAccess<'_>) -> impl Iterator<Item = Span> {
    access.people.values().flatten().filter(|way| way.profile.is_none()).filter_map(|way| way.span)
}

/// Profiles that do not exist; `given` are the places of those that somebody would get.
pub(in super::super) fn profiles_exist(
    fleet: &Fleet,
    given: &BTreeSet<Span>,
    findings: &mut Findings,
) {
    for entry in fleet.people.per_host.values().chain(fleet.people.roles.values()) {
        let own = entry.enable.iter().map(|grant| &grant.profile);
        let replacing = entry.roles_with_profile.iter().map(|(_, profile)| profile);
        for profile in own.chain(replacing) {
            if let ProfileName::Unknown(name) = &profile.value {
                let code = match given.contains(&profile.span) {
                    true => codes::PROFILE_UNKNOWN,
                    false => codes::PROFILE_UNKNOWN_UNUSED,
                };
                unknown_profile(code, name, profile.span, findings);
            }
        }
    }
}

fn unknown_profile(code: Code, name: &str, span: Span, findings: &mut Findings) {
    let names = Profile::NAMED.map(Profile::name);
    let remedy = match nearest(name, &names) {
        Some(near) => format!("Is {near} meant?"),
        None => format!("Profiles are {}.", names.join(", ")),
    };
    let message = format!("there is no profile {name:?}");
    findings.add(code, span, message).remedy(remedy);
}

/// Names that stand twice in one list.
fn lists(fleet: &Fleet, findings: &mut Findings) {
    let admins = fleet.people.global_admins.iter();
    twice(admins.map(|admin| Located::new(admin.value.as_str(), admin.span)), findings);
    let entries = fleet.people.per_host.values().chain(fleet.people.roles.values());
    for Entry { roles, .. } in entries {
        twice(roles.iter().map(|role| Located::new(role.value.as_str(), role.span)), findings);
    }
}

fn twice<'a>(names: impl Iterator<Item = Located<&'a str>>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.value) {
            let message = format!("{:?} stands twice in this list", name.value);
            findings.add(codes::GLOBAL_ADMIN_TWICE, name.span, message);
        }
    }
}

fn expiry(
    fleet: &Fleet,
    accesses: &Accesses<'_>,
    today: jiff::civil::Date,
    findings: &mut Findings,
) {
    let enabled = enabled(fleet, accesses);
    let admins: BTreeSet<&UserName> = fleet.people.global_admins.iter().map(|a| &a.value).collect();
    for (user, date) in &fleet.people.expires {
        let (day, span) = (date.value, date.span);
        if admins.contains(user) {
            let message = format!("{user} is a global admin, whose date {day} is ignored");
            findings.add(codes::EXPIRY_IGNORED, span, message);
        } else if !enabled.contains(user) && *user != UserName::robot() {
            let message = format!("{user} is enabled on no host");
            findings.add(codes::EXPIRY_UNKNOWN_USER, span, message);
        } else if day <= today {
            let message = format!("the accounts of {user} are closed since {day}");
            findings.add(codes::EXPIRED, span, message);
        }
    }
}

/// Everybody who is enabled on some host, without `robot`.
pub(super) fn enabled<'a>(fleet: &'a Fleet, accesses: &Accesses<'_>) -> BTreeSet<&'a UserName> {
    let used = &accesses.roles().used;
    let roles = fleet.people.roles.iter().filter(|(name, _)| used.contains(name.as_str()));
    let entries = fleet.people.per_host.values().chain(roles.map(|(_, entry)| entry));
    let named = entries.flat_map(|entry| entry.enable.iter().map(|grant| &grant.user.value));
    named.chain(fleet.people.global_admins.iter().map(|admin| &admin.value)).collect()
}
