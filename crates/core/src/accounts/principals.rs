//! Certificates of people: which CAs count, and which principals open an account (sshd_config(5), TrustedUserCAKeys and
//! AuthorizedPrincipalsFile). An account without a file takes no certificate.

use std::collections::BTreeMap;

use super::{PRINCIPALS, People, Placed, USER_CA, What, keys};
use crate::certificate::on_host;
use crate::host_data::HostData;
use crate::ids::UserName;

/// The CAs, and a file of principals for each account that takes certificates; nothing if no CA counts.
pub(super) fn placed(data: &HostData, people: &People<'_>) -> Vec<Placed> {
    if data.user_ca.is_empty() {
        return Vec::new();
    }
    let authorities = data.user_ca.iter().map(|key| format!("{}\n", key.as_str()));
    let mut placed = vec![
        Placed { path: PRINCIPALS.into(), what: What::Folder(0o755) },
        Placed::file(USER_CA.into(), authorities.collect::<String>(), 0o644),
    ];
    for (account, text) in files(data, people) {
        placed.push(Placed::file(format!("{PRINCIPALS}/{account}"), text, 0o644));
    }
    placed
}

/// Text by account: as with keys, an admin's certificate is root's too.
fn files<'a>(data: &HostData, people: &People<'a>) -> BTreeMap<&'a str, String> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (name, person) in &people.active {
        let Some(user) = person.rights.ssh.then(|| name.parse::<UserName>().ok()).flatten() else {
            continue;
        };
        let principal = on_host(&user, &data.host);
        let line = match keys::options(person) {
            options if options.is_empty() => format!("{principal}\n"),
            options => format!("{options} {principal}\n"),
        };
        if person.rights.root_keys {
            files.entry("root").or_default().push_str(&line);
        }
        files.insert(name, line);
    }
    if !data.relay_principals.is_empty() {
        let lines = data.relay_principals.iter().map(|line| format!("{line}\n"));
        files.insert("tunneller", lines.collect());
    }
    files
}
