//! JSON records of accounts and groups, with the links and memberships by which nss-systemd finds them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Ids, Person, Placed, RECORDS, System, What};

/// The groups that Afield's rules speak of and the system does not have.
pub(super) fn groups(system: &System, ids: &Ids) -> Vec<Placed> {
    let own = super::GROUPS.into_iter().filter(|name| !system.groups.contains_key(*name));
    let made = own.filter_map(|name| Some((name, *ids.groups.get(name)?)));
    made.flat_map(|(name, gid)| group(name, gid, "system")).collect()
}

fn group(name: &str, gid: u32, disposition: &str) -> [Placed; 2] {
    let record = json!({ "groupName": name, "gid": gid, "disposition": disposition });
    let file = format!("{name}.group");
    let link = Placed { path: format!("{RECORDS}/{gid}.group"), what: What::Link(file.clone()) };
    [Placed::file(format!("{RECORDS}/{file}"), format!("{record}\n"), 0o644), link]
}

/// A person's account, own group, memberships and home. Memberships also for accounts that come with the system.
pub(super) fn person(name: &str, person: &Person<'_>, system: &System, ids: &Ids) -> Vec<Placed> {
    let mut placed = Vec::new();
    let own = ids.users.get(name).filter(|_| !system.users.contains_key(name));
    if let Some(uid) = own {
        placed.extend(group(name, *uid, "regular"));
        placed.extend(account(name, *uid, person, system));
    }
    for group in person.rights.all_groups() {
        // systemd 252 takes an empty file for a masked one.
        let path = format!("{RECORDS}/{name}:{group}.membership");
        placed.push(Placed::file(path, "{}\n", 0o644));
    }
    placed
}

fn account(name: &str, uid: u32, person: &Person<'_>, system: &System) -> Vec<Placed> {
    let rights = &person.rights;
    let home = format!("/home/{name}");
    // A forced command runs in the shell of the account.
    let shell = if rights.shell || rights.lists_tunnels { &system.shell } else { &system.nologin };
    let mut record = json!({
        "userName": name, "uid": uid, "gid": uid, "disposition": "regular", "shell": shell,
        "homeDirectory": if rights.shell { &home } else { "/nonexistent" },
    });
    if let Some(end) = person.expires.and_then(microseconds) {
        record["notAfterUSec"] = json!(end);
    }
    let file = format!("{name}.user");
    let mut placed = vec![
        Placed::file(format!("{RECORDS}/{file}"), format!("{record}\n"), 0o644),
        Placed { path: format!("{RECORDS}/{uid}.user"), what: What::Link(file) },
    ];
    if rights.shell {
        placed.push(Placed { path: home, what: What::Home(uid) });
    }
    placed
}

/// The start of the day by UTC; nss-systemd makes shadow's day of it.
fn microseconds(day: Date) -> Option<i64> {
    let start = day.to_zoned(TimeZone::UTC).ok()?;
    Some(start.timestamp().as_microsecond())
}
