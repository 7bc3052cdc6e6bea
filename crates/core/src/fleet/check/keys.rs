//! Rules about people's keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::access::Accesses;
use super::super::codes;
use super::super::finding::Findings;
use super::super::keys::{Flaw, PublicKey};
use super::super::model::Fleet;
use super::super::span::{Located, Span};
use super::people::enabled;
use crate::ids::UserName;

pub(super) fn check(fleet: &Fleet, accesses: &Accesses<'_>, findings: &mut Findings) {
    let enabled = enabled(fleet, accesses);
    let mentions = mentions(fleet);
    let copied: BTreeSet<&UserName> = fleet
        .tunnels
        .values()
        .filter(|tunnel| tunnel.key.is_some())
        .flat_map(|tunnel| tunnel.copy_key_to.iter().map(|user| &user.value))
        .collect();
    let robot = UserName::robot();
    for user in &enabled {
        let own = fleet.keys.get(user).is_some_and(|keys| !keys.value.is_empty());
        let some = own || copied.contains(user) || **user == robot;
        if let (false, Some(span)) = (some, mentions.get(user)) {
            let message = format!("{user} is enabled, but has no key");
            findings.add(codes::USER_WITHOUT_KEY, *span, message);
        }
    }
    for (user, keys) in &fleet.keys {
        if enabled.contains(user) || *user == robot {
            continue;
        }
        let (code, message) = match mentions.contains_key(user) {
            true => {
                (codes::KEY_NOWHERE_ENABLED, format!("{user} has keys, but is enabled on no host"))
            }
            false => {
                (codes::KEY_WITHOUT_USER, format!("{user} has keys, but is not in users.json"))
            }
        };
        findings.add(code, keys.span, message);
    }
    duplicates(fleet, findings);
    for list in fleet.keys.values() {
        list.value.iter().for_each(|key| flaw(&key.key, findings));
    }
}

/// Where each person is first named in users.json.
fn mentions(fleet: &Fleet) -> BTreeMap<&UserName, Span> {
    let mut mentions: BTreeMap<&UserName, Span> = BTreeMap::new();
    let entries = fleet.people.per_host.values().chain(fleet.people.roles.values());
    let grants = entries.flat_map(|entry| entry.enable.iter().map(|grant| &grant.user));
    for user in fleet.people.global_admins.iter().chain(grants) {
        let span = mentions.entry(&user.value).or_insert(user.span);
        *span = user.span.min(*span);
    }
    mentions
}

fn duplicates(fleet: &Fleet, findings: &mut Findings) {
    let mut all: Vec<(&UserName, &Located<PublicKey>)> = Vec::new();
    for (user, keys) in &fleet.keys {
        all.extend(keys.value.iter().map(|key| (user, &key.key)));
    }
    all.sort_by_key(|(_, key)| key.span);
    let mut first: HashMap<&str, (&UserName, Span)> = HashMap::new();
    for (user, key) in all {
        match first.get(key.value.text.as_str()) {
            None => drop(first.insert(&key.value.text, (user, key.span))),
            Some((other, span)) => {
                let whose = if *other == user {
                    "already has".to_owned()
                } else {
                    format!("has the same key as {other}:")
                };
                let message = match *other == user {
                    true => format!("{user} {whose} this key"),
                    false => format!("{user} {whose} one of them acts as the other"),
                };
                findings.add(codes::DUPLICATE_KEYS, key.span, message).other(*span, "first here");
            }
        }
    }
}

/// Tells what is bad about a key.
pub(super) fn flaw(key: &Located<PublicKey>, findings: &mut Findings) {
    match &key.value.flaw {
        None => {}
        Some(Flaw::Weak(why)) => {
            findings.add(codes::WEAK_KEY, key.span, format!("this key is weak: {why}"));
        }
        Some(Flaw::Unusable(why)) => {
            findings.add(codes::KEY_UNUSABLE, key.span, format!("this key is of no use: {why}"));
        }
    }
}
