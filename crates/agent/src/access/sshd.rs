//! Whether sshd reads what the agent writes. sshd is asked itself, which reads what it would read.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use afield_core::accounts::{KEYS, PRINCIPALS, People, USER_CA};
use afield_core::host_data::HostData;

use super::system::program;

/// What is declared and sshd does not know of.
pub fn is_deaf(data: &HostData, people: &People<'_>) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((person, _)) = people.active.iter().next()
        && let Some(settings) = settings(person)
    {
        said.extend(wrong(&settings, "authorizedkeysfile", KEYS, "the keys there open nothing"));
        if !data.user_ca.is_empty() {
            said.extend(no_certificates(&settings));
        }
    }
    if data.relay.is_some() && !data.relay_principals.is_empty() {
        said.extend(settings("tunneller").iter().flat_map(no_certificates));
    }
    if let Some(settings) = data.relay.as_ref().and_then(|_| settings("tunnel")) {
        said.extend(unreachable(data, settings.get("permitopen").map_or("any", String::as_str)));
    }
    said
}

/// What holds for an account: `sshd -T`.
fn settings(account: &str) -> Option<BTreeMap<String, String>> {
    let mut command = Command::new(program("sshd")?);
    command.args(["-T", "-C", &format!("user={account},host=localhost,addr=127.0.0.1")]);
    let output = command.stdin(Stdio::null()).output().ok().filter(|o| o.status.success())?;
    Some(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn no_certificates(settings: &BTreeMap<String, String>) -> Vec<String> {
    let nobody = "certificates open nothing";
    let authorities = settings.get("trustedusercakeys").map_or("none", String::as_str);
    let mut said = Vec::new();
    if authorities != USER_CA {
        said.push(format!(
            "sshd does not read {USER_CA} (TrustedUserCAKeys is {authorities}), so {nobody}"
        ));
    }
    said.extend(wrong(settings, "authorizedprincipalsfile", PRINCIPALS, nobody));
    said
}

/// Whether a list of files lacks the one for each account in a folder of the agent's.
fn wrong(settings: &BTreeMap<String, String>, key: &str, folder: &str, so: &str) -> Option<String> {
    let files = settings.get(key).map_or("none", String::as_str);
    let there = files.split(' ').any(|file| file == format!("{folder}/%u"));
    (!there).then(|| format!("sshd does not read {folder}/%u ({key} is {files}), so {so}"))
}

/// What hosts are to reach through this relay, and cannot.
fn unreachable(data: &HostData, permitted: &str) -> Option<String> {
    let lets = |target: &str| permitted == "any" || permitted.split(' ').any(|open| open == target);
    let missing = data.hosts_reach.iter().map(ToString::to_string).filter(|target| !lets(target));
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty()).then(|| {
        let missing = missing.join(", ");
        format!(
            "sshd lets no host reach {missing} through this relay: `afield relay config` says how"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_does_not_read_is_named() {
        let settings = |text: &str| read(text);
        let deaf = settings("trustedusercakeys none\nauthorizedprincipalsfile none\nport 22\n");
        assert_eq!(no_certificates(&deaf).len(), 2);
        let hears = format!(
            "trustedusercakeys {USER_CA}\nauthorizedprincipalsfile /etc/x/%u {PRINCIPALS}/%u\n"
        );
        assert_eq!(no_certificates(&settings(&hears)), Vec::<String>::new());
        let mut data = HostData::empty("relay".parse().unwrap());
        assert_eq!(unreachable(&data, "none"), None);
        data.hosts_reach = vec!["hub.example.org:443".parse().unwrap()];
        assert_eq!(unreachable(&data, "hub.example.org:443 other:22"), None);
        assert!(unreachable(&data, "none").unwrap().contains("hub.example.org:443"));
    }
}
