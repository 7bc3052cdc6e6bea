//! Who may log in: accounts, keys, sudo rules and the tunnel's file, as `afield_core::accounts` says.
//!
//! One list is carried out and compared. The numbers of accounts and the paths that were ever written stand in
//! `accounts.json` in the agent's folder, noted before anything is done.

mod memory;
mod place;
mod sessions;
mod sshd;
mod system;
mod undeclared;

use std::collections::BTreeSet;

use afield_core::accounts::{self, Ids, People, Placed, System};
use afield_core::host_data::HostData;
use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::host::Host;

pub use system::{groups, groups_of};

/// What must be there today, and what is there that was the agent's and must go.
struct View<'a> {
    people: People<'a>,
    system: System,
    ids: Ids,
    wanted: Vec<Placed>,
    stale: BTreeSet<String>,
}

/// Expiry is judged by UTC.
fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn view<'a>(host: &Host, data: &'a HostData, now: Timestamp) -> anyhow::Result<View<'a>> {
    let config = &host.config;
    let people = accounts::people(data, day(now));
    let system = system::read(config);
    let mut ids = memory::read(host)?;
    let (users, groups) = accounts::need_ids(&people, &system);
    ids.reserve(&users, &groups, &system::taken(config, &system))?;
    let wanted = accounts::wanted(data, &people, &system, &ids);
    let mut stale = ids.written.clone();
    for folder in [accounts::KEYS, accounts::PRINCIPALS] {
        stale.extend(system::listed(config, folder));
    }
    // What a power cut left beside its place.
    stale.extend(ids.written.iter().filter_map(|path| place::beside(path)));
    for placed in &wanted {
        stale.remove(&placed.path);
    }
    stale.retain(|path| config.inside(path.as_ref()).symlink_metadata().is_ok());
    Ok(View { people, system, ids, wanted, stale })
}

/// Makes it so. What fails is told together at the end; one thing that fails keeps no other back.
pub fn apply(host: &Host, data: &HostData, now: Timestamp) -> anyhow::Result<()> {
    let mut view = view(host, data, now)?;
    let before = memory::read(host)?;
    let wanted = view.wanted.iter().filter(|placed| placed.is_removable());
    let wanted: BTreeSet<String> = wanted.map(|placed| placed.path.clone()).collect();
    view.ids.written.extend(wanted.iter().cloned());
    memory::save(host, &before, &view.ids)?;
    place::all(&host.config, &view.wanted, &view.stale).context("access")?;
    if data.end_sessions {
        sessions::end(host, &view.ids, &view.people).context("sessions")?;
    }
    let noted = view.ids.clone();
    view.ids.written = wanted;
    memory::save(host, &noted, &view.ids)
}

/// What is not as it must be today, each by name.
pub fn drift(host: &Host, data: &HostData, now: Timestamp) -> Vec<String> {
    let view = match view(host, data, now) {
        Ok(view) => view,
        Err(e) => return vec![format!("{e:#}")],
    };
    let mut drift: Vec<String> =
        view.wanted.iter().filter_map(|placed| place::difference(&host.config, placed)).collect();
    drift.extend(view.stale.iter().map(|path| why_stale(path, &view.people)));
    if data.end_sessions {
        let left = sessions::left(host, &view.ids, &view.people);
        drift.extend(left.into_iter().map(|(name, n)| {
            format!("{name} may not log in any more, and has {n} running processes")
        }));
    }
    drift
}

fn why_stale(path: &str, people: &People<'_>) -> String {
    let account = |folder| path.strip_prefix(folder)?.strip_prefix('/');
    let name = [accounts::KEYS, accounts::PRINCIPALS].into_iter().find_map(account);
    match name.and_then(|name| Some((name, people.ended.get(name)?))) {
        Some((name, day)) => format!("{path}: the access of {name} ended on {day}"),
        None => format!("{path} is not declared any more"),
    }
}

/// What there is to say that nobody can put right by writing files: what is there undeclared, what has no effect.
pub fn remarks(host: &Host, data: &HostData, now: Timestamp) -> Vec<String> {
    let Ok(view) = view(host, data, now) else {
        return Vec::new();
    };
    let mut remarks = Vec::new();
    for (name, profile) in &view.people.unknown {
        remarks.push(format!(
            "{name} gets nothing: this agent does not know the profile {profile:?}; update it"
        ));
    }
    remarks.extend(system::without_effect(host, data, &view.people, &view.system));
    let undeclared = undeclared::find(&host.config, data, &view.people, &view.wanted);
    remarks.extend(undeclared.into_iter().map(|what| format!("undeclared: {what}")));
    remarks
}
