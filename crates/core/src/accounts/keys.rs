//! `authorized_keys`: one file an account.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{People, Person};
use crate::host_plan::RelayKeys;

/// What a monitoring host may see on a relay: the ports that tunnels hold open. A shell runs it.
const LIST_TUNNELS: &str = "ss -Htnl6 | sort -n | grep -E '[[]::1[]]:[0-9]{4,5}[^0-9]'";

/// Text by account, for accounts that have keys at all.
pub(super) fn files<'a>(
    people: &People<'a>,
    relay: Option<&RelayKeys>,
) -> BTreeMap<&'a str, String> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (name, person) in &people.active {
        let text: String = person.keys.iter().map(|line| restricted(line, person)).collect();
        if person.rights.root_keys {
            files.entry("root").or_default().push_str(&text);
        }
        files.insert(name, text);
    }
    if let Some(relay) = relay {
        let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect();
        files.insert("tunnel", text(&relay.tunnel));
        files.insert("tunneller", text(&relay.tunneller));
    }
    files.retain(|_, text| !text.is_empty());
    files
}

/// The line with what the profile and the expiry take away; sshd keeps to it by the host's clock.
fn restricted(line: &str, person: &Person<'_>) -> String {
    let options = options(person);
    match (options.is_empty(), has_options(line)) {
        (true, _) => format!("{line}\n"),
        (false, true) => format!("{options},{line}\n"),
        (false, false) => format!("{options} {line}\n"),
    }
}

/// What the profile and the expiry take away, as options of a line.
pub(super) fn options(person: &Person<'_>) -> String {
    let mut options = Vec::new();
    if let Some(day) = person.expires {
        options.push(format!("expiry-time=\"{}\"", date(day)));
    }
    if person.rights.lists_tunnels {
        options.push(format!(
            "command=\"{LIST_TUNNELS}\",no-pty,no-agent-forwarding,no-X11-forwarding"
        ));
    }
    options.join(",")
}

/// Whether a line begins with options, and not with the type of a key.
fn has_options(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    !["ssh-", "ecdsa-", "sk-"].iter().any(|kind| first.starts_with(kind))
}

fn date(day: Date) -> String {
    day.strftime("%Y%m%d").to_string()
}

/// The body of the key in a line, by which keys are told apart.
pub fn body(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with("AAAA"))
}
