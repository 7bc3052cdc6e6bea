//! Asking for a deployment from an app's repository: `(x-nixos:rebuild:relay_port:NNNN)` in any commit of a push, and
//! fixed hosts and ports (spec "host" §2).

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// What stands in a commit's message before the port.
const DIRECTIVE: &str = "(x-nixos:rebuild:relay_port:";

/// Who is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Hosts that are reached straight.
    pub direct: BTreeSet<String>,
    /// Ports on the relay. Fixed ones are kept as they were given, also those that no port can have: the older tool
    /// lists them too, and they are told as unreachable.
    pub ports: BTreeSet<i64>,
}

/// How tunnelled hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// The relay's name or address.
    pub relay: String,
    /// The account on it.
    pub user: String,
    /// Its port.
    pub port: u16,
    /// The private key's file.
    pub key: String,
    /// Seconds to wait for a connection.
    pub timeout: u32,
}

/// What is wrong with what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// A fixed port is no number.
    #[error(
        "the fixed port {0:?} is not a number; give ports separated by spaces, as in \"3001 3002\""
    )]
    Port(String),
    /// A fixed host would be an option of ssh.
    #[error("the fixed host {0:?} is not the name of a host")]
    Host(String),
    /// The event looks like JSON and is not.
    #[error(
        "the event is not sound JSON: {0}; give the file that the forge wrote, or the commits' messages as text"
    )]
    Event(String),
}

/// The commits' messages of a push event: GitHub's and GitLab's are JSON with `commits`, or a list of commits; plain
/// Git's is text, such as that of `git log --format=%B old..new`. An event without commits has none.
pub fn messages(event: &str) -> Result<Vec<String>, HookError> {
    let event = event.trim_start_matches('\u{feff}').trim_start();
    if !is_json(event) {
        return Ok(vec![event.to_owned()]);
    }
    let event: Value = serde_json::from_str(event).map_err(|e| HookError::Event(e.to_string()))?;
    let commits = match &event {
        Value::Array(commits) => Some(commits),
        event => event.get("commits").and_then(Value::as_array),
    };
    let message = |commit: &Value| commit.get("message").and_then(Value::as_str).map(str::to_owned);
    Ok(commits.into_iter().flatten().filter_map(message).collect())
}

/// A commit's message may well begin with `[app]` or `{wip}`; half of an event must not pass for a message.
fn is_json(event: &str) -> bool {
    let after = |open| event.strip_prefix(open).map(|rest: &str| rest.trim_start().chars().next());
    let object = after('{').is_some_and(|next| matches!(next, None | Some('"' | '}')));
    object || after('[').is_some_and(|next| matches!(next, None | Some('{' | ']')))
}

/// Ports that a message asks for: 1 to 65535 without leading zeros; anything else in the brackets is no directive.
pub fn ports(message: &str) -> BTreeSet<i64> {
    let mut ports = BTreeSet::new();
    for rest in message.split(DIRECTIVE).skip(1) {
        let Some((number, _)) = rest.split_once(')') else {
            continue;
        };
        let plain = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
        if let Some(port) = number.parse::<u16>().ok().filter(|_| plain) {
            ports.insert(i64::from(port));
        }
    }
    ports
}

/// Everyone who is to be asked. Fixed hosts and ports are separated by blanks.
pub fn targets(event: &str, fixed_hosts: &str, fixed_ports: &str) -> Result<Targets, HookError> {
    let mut targets = Targets::default();
    for host in fixed_hosts.split_whitespace() {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        if host.starts_with('-') || !host.bytes().all(fine) {
            return Err(HookError::Host(host.to_owned()));
        }
        targets.direct.insert(host.to_owned());
    }
    for port in fixed_ports.split_whitespace() {
        targets.ports.insert(port.parse().map_err(|_| HookError::Port(port.to_owned()))?);
    }
    for message in messages(event)? {
        targets.ports.extend(ports(&message));
    }
    Ok(targets)
}

impl Through {
    /// The command that connects to `%h:%p` through the relay.
    pub fn proxy_command(&self) -> String {
        let Self { relay, user, port, key, timeout } = self;
        format!(
            "ssh -W %h:%p -i {key} -p {port} -o ConnectTimeout={timeout} -o StrictHostKeyChecking=yes -l {user} {relay}"
        )
    }
}

/// The inventory that the older tool writes for Ansible; JSON is YAML too.
pub fn inventory(targets: &Targets, through: &Through) -> Value {
    let direct = targets.direct.iter().map(|host| (host.clone(), Value::Null));
    let ports = targets.ports.iter();
    let tunnelled =
        ports.map(|port| (format!("tunnelled_{port}"), json!({ "ansible_port": port })));
    let direct: serde_json::Map<String, Value> = direct.collect();
    let tunnelled: serde_json::Map<String, Value> = tunnelled.collect();
    let common = format!("-o 'ProxyCommand={}'", through.proxy_command());
    json!({"all": {
        "children": {
            "direct_hosts": {"hosts": direct},
            "tunnelled": {
                "hosts": tunnelled,
                "vars": {"ansible_host": "localhost", "ansible_ssh_common_args": common},
            },
        },
        "vars": {"ansible_user": "robot"},
    }})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn forges_and_plain_git_are_read() {
        let gitlab = r#"{"object_kind": "push", "commits": [{"id": "1", "message": "a (x-nixos:rebuild:relay_port:2001)"}]}"#;
        let plain = "Fix\n\n(x-nixos:rebuild:relay_port:2001)\n";
        for event in [gitlab, plain] {
            assert_eq!(targets(event, "", "").unwrap().ports, BTreeSet::from([2001]));
        }
        assert_eq!(
            targets(r#"{"ref": "refs/tags/v1", "commits": null}"#, "", "").unwrap(),
            Targets::default()
        );
        let said = targets("{\"commits\": [", "", "").unwrap_err().to_string();
        assert!(said.contains("not sound JSON"), "{said}");
    }

    #[test]
    fn a_message_in_brackets_is_text_and_half_an_event_is_no_message() {
        let tag = "(x-nixos:rebuild:relay_port:2001)";
        for text in ["[app] fix", "{wip} fix", "[ 12 ] fix", "\u{feff}fix"] {
            let found = targets(&format!("{text} {tag}"), "", "").unwrap();
            assert_eq!(found.ports, BTreeSet::from([2001]), "{text}");
        }
        let list = format!(r#"[{{"message": "{tag}"}}, {{"message": null}}, {{}}, 7]"#);
        let event = format!("\u{feff} {{\"commits\": {list}}}");
        for json in [list.as_str(), event.as_str()] {
            assert_eq!(targets(json, "", "").unwrap().ports, BTreeSet::from([2001]), "{json}");
        }
        for broken in ["{", "[", &list[..list.len() - 1], &event[..event.len() - 1], "{\"a\""] {
            assert!(matches!(targets(broken, "", ""), Err(HookError::Event(_))), "{broken}");
        }
        let deep = format!("{}{}", "[{\"a\":".repeat(100_000), "}]".repeat(100_000));
        assert!(matches!(targets(&deep, "", ""), Err(HookError::Event(_))));
    }

    #[test]
    fn tags_are_taken_to_the_letter() {
        let table: [(&str, &[i64]); 12] = [
            ("(x-nixos:rebuild:relay_port:2001)(x-nixos:rebuild:relay_port:2002)", &[2001, 2002]),
            (
                "(x-nixos:rebuild:relay_port:2001) and again (x-nixos:rebuild:relay_port:2001)",
                &[2001],
            ),
            ("(x-nixos:rebuild:relay_port:(x-nixos:rebuild:relay_port:2001))", &[2001]),
            ("((x-nixos:rebuild:relay_port:52001))", &[52001]),
            ("(x-nixos:rebuild:relay_port:1)", &[1]),
            ("(x-nixos:rebuild:relay_port:+2001)", &[]),
            ("(x-nixos:rebuild:relay_port:-2001)", &[]),
            ("(x-nixos:rebuild:relay_port:02001)", &[]),
            ("(x-nixos:rebuild:relay_port:2001\n)", &[]),
            ("(x-nixos:rebuild:relay_port:2001", &[]),
            ("(x-nixos:rebuild:relay_port:2001,2002)", &[]),
            ("(x-nixos:rebuild:relay_port:\u{ff12}\u{ff10}\u{ff10}\u{ff11})", &[]),
        ];
        for (message, expected) in table {
            assert_eq!(ports(message), expected.iter().copied().collect(), "{message}");
        }
        let fixed = targets("", "b a  b", " 3001\t52001\n3001 -5 70000 ").unwrap();
        assert_eq!(fixed.ports, BTreeSet::from([-5, 3001, 52001, 70000]));
        assert_eq!(fixed.direct, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        for wrong in ["30x1", "3001,3002", "0x10", "99999999999999999999"] {
            assert_eq!(targets("", "", wrong), Err(HookError::Port(wrong.to_owned())));
        }
    }

    #[test]
    fn a_fixed_host_is_never_an_option() {
        assert_eq!(
            targets("", "-oProxyCommand=x", "").unwrap_err(),
            HookError::Host("-oProxyCommand=x".into())
        );
        assert_eq!(targets("", "", "3001 30x1").unwrap_err(), HookError::Port("30x1".into()));
    }
}
