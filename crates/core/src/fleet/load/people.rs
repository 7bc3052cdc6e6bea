//! `json/users.json` and `json/keys.json`.

use std::collections::BTreeMap;

use super::super::codes;
use super::super::finding::Findings;
use super::super::keys;
use super::super::model::{Entry, Grant, ProfileName, UserKey};
use super::super::node::{Fields, Node, Value};
use super::super::span::{Located, Span};
use super::{Loader, user_name};
use crate::profile::Profile;

/// Reads both files.
pub(super) fn load(loader: &mut Loader<'_>) {
    if let Some(node) = loader.needed_json("json/users.json") {
        users(loader, node);
    }
    if let Some(node) = loader.needed_json("json/keys.json") {
        user_keys(loader, node);
    }
}

fn users(loader: &mut Loader<'_>, node: Node) {
    let findings = &mut loader.findings;
    let people = &mut loader.fleet.people;
    let Some(mut fields) = Fields::of(node, "users.json", findings) else {
        return;
    };
    let admins = fields.need("global_admins", findings);
    let admins = admins.and_then(|node| node.into_texts("global_admins", findings));
    for admin in admins.unwrap_or_default() {
        people.global_admins.extend(user_name(findings, &admin.value, admin.span));
    }
    let users = fields.need("users", findings);
    fields.finish(codes::IGNORED_FIELD, &["global_admins", "users"], findings);
    let Some(mut fields) = users.and_then(|node| Fields::of(node, "users", findings)) else {
        return;
    };
    if let Some(node) = fields.take("expires") {
        expires(node, people, findings);
    }
    let per_host = fields.need("per-host", findings);
    let per_host = per_host.and_then(|node| node.into_map("users.per-host", findings));
    for (name, node) in per_host.unwrap_or_default() {
        let what = format!("users.per-host.{}", name.value);
        if let Some(entry) = entry(node, what, name.span, findings) {
            people.per_host.insert(name.value, entry);
        }
    }
    let roles = fields.need("roles", findings);
    let roles = roles.and_then(|node| node.into_map("users.roles", findings));
    for (name, node) in roles.unwrap_or_default() {
        let what = format!("users.roles.{}", name.value);
        if let Some(entry) = entry(node, what, name.span, findings) {
            people.roles.insert(name.value, entry);
        }
    }
    fields.finish(codes::IGNORED_FIELD, &["expires", "per-host", "roles"], findings);
}

fn expires(node: Node, people: &mut super::super::model::People, findings: &mut Findings) {
    for (name, node) in node.into_map("users.expires", findings).unwrap_or_default() {
        // The older platform's type is a date or null, which is none.
        if node.value == Value::Null {
            continue;
        }
        let what = format!("the expiry date of {}", name.value);
        let Some(text) = node.into_text(&what, findings) else {
            continue;
        };
        let Some(user) = user_name(findings, &name.value, name.span) else {
            continue;
        };
        match date(&text.value) {
            Some(date) => {
                people.expires.insert(user.value, Located::new(date, text.span));
            }
            None => {
                let message = format!("{:?} is no day of the calendar", text.value);
                findings.add(codes::BAD_DATE, text.span, message);
            }
        }
    }
}

/// A day as exactly `YYYY-MM-DD`.
fn date(text: &str) -> Option<jiff::civil::Date> {
    let form = text.len() == 10
        && text.bytes().enumerate().all(|(at, c)| match at {
            4 | 7 => c == b'-',
            _ => c.is_ascii_digit(),
        });
    if form { text.parse().ok() } else { None }
}

/// What a host or a role gives.
fn entry(node: Node, what: String, span: Span, findings: &mut Findings) -> Option<Entry> {
    let mut fields = Fields::of(node, what.clone(), findings)?;
    let mut entry =
        Entry { span, enable: Vec::new(), roles: Vec::new(), roles_with_profile: Vec::new() };
    if let Some(node) = fields.take("enable") {
        for (name, node) in node.into_map(&format!("{what}.enable"), findings).unwrap_or_default() {
            let profile = profile(node, &name.value, findings);
            let user = user_name(findings, &name.value, name.span);
            if let (Some(user), Some(profile)) = (user, profile) {
                entry.enable.push(Grant { user, profile });
            }
        }
    }
    if let Some(node) = fields.take("enable_roles") {
        let roles = node.into_texts(&format!("{what}.enable_roles"), findings);
        entry.roles = roles.unwrap_or_default();
    }
    if let Some(node) = fields.take("enable_roles_with_profile") {
        let field = format!("{what}.enable_roles_with_profile");
        for (role, node) in node.into_map(&field, findings).unwrap_or_default() {
            if let Some(profile) = profile(node, &role.value, findings) {
                entry.roles_with_profile.push((role, profile));
            }
        }
    }
    let known = ["enable", "enable_roles", "enable_roles_with_profile"];
    fields.finish(codes::IGNORED_FIELD, &known, findings);
    Some(entry)
}

fn profile(node: Node, of: &str, findings: &mut Findings) -> Option<Located<ProfileName>> {
    let text = node.into_text(&format!("the profile of {of}"), findings)?;
    let profile = match Profile::named(&text.value) {
        Some(profile) => ProfileName::Known(profile),
        None => ProfileName::Unknown(text.value),
    };
    Some(Located::new(profile, text.span))
}

fn user_keys(loader: &mut Loader<'_>, node: Node) {
    let findings = &mut loader.findings;
    let Some(mut fields) = Fields::of(node, "keys.json", findings) else {
        return;
    };
    let keys = fields.need("keys", findings);
    fields.finish(codes::IGNORED_FIELD, &["keys"], findings);
    let users = keys.and_then(|node| node.into_map("keys", findings)).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (name, node) in users {
        let what = format!("keys.{}", name.value);
        let Some(mut fields) = Fields::of(node, what.clone(), findings) else {
            continue;
        };
        let list = fields.take("public_keys");
        fields.finish(codes::UNKNOWN_FIELD, &["public_keys"], findings);
        let what = format!("{what}.public_keys");
        let list = list.and_then(|node| node.into_list(&what, findings)).unwrap_or_default();
        let keys = list.into_iter().filter_map(|node| user_key(node, &what, findings)).collect();
        if let Some(user) = user_name(findings, &name.value, name.span) {
            all.insert(user.value, Located::new(keys, name.span));
        }
    }
    loader.fleet.keys = all;
}

/// A key as a text, or as a map with options.
fn user_key(node: Node, what: &str, findings: &mut Findings) -> Option<UserKey> {
    let text = match node.value {
        Value::Text(text) => {
            let key = public_key(Located::new(text, node.span), findings)?;
            return Some(UserKey { key, options: Vec::new() });
        }
        _ => node,
    };
    let mut fields = Fields::of(text, format!("each key of {what}"), findings)?;
    let key = fields.need("publicKey", findings);
    let key = key.and_then(|node| node.into_text("publicKey", findings));
    let options = fields.take("keyOptions");
    fields.finish(codes::UNKNOWN_FIELD, &["publicKey", "keyOptions"], findings);
    let options = options.and_then(|node| node.into_texts("keyOptions", findings));
    let mut good = true;
    for option in options.iter().flatten() {
        if !keys::option_is_fine(&option.value) {
            let message =
                format!("{:?} has a character that a key option may not have", option.value);
            findings.add(codes::BAD_KEY_OPTION, option.span, message);
            good = false;
        }
    }
    let key = key.and_then(|text| public_key(text, findings))?;
    // A key without an option that was to restrict it would open more than was meant.
    let options = options.unwrap_or_default().into_iter().map(|option| option.value).collect();
    good.then_some(UserKey { key, options })
}

/// A key, or a finding.
pub(super) fn public_key(
    text: Located<String>,
    findings: &mut Findings,
) -> Option<Located<keys::PublicKey>> {
    match keys::parse(&text.value) {
        Ok(key) => Some(Located::new(key, text.span)),
        Err(why) => {
            findings.add(codes::BAD_KEY, text.span, format!("this is no SSH public key: {why}"));
            None
        }
    }
}
