//! The system's OpenSSH client as a tool: its arguments, and what its words mean.

use super::backoff::Kind;
use super::config::{Config, Relay};

/// The name under which a relay's key stands in the private `known_hosts`, whatever address it is reached by.
pub fn host_key_alias(relay: &Relay) -> String {
    format!("afield-relay-{}", relay.name)
}

/// The private `known_hosts` file: one line a relay.
pub fn known_hosts(config: &Config) -> String {
    let line = |relay: &Relay| format!("{} {}\n", host_key_alias(relay), relay.host_key);
    config.relays.iter().map(line).collect()
}

/// Arguments for a tunnel to `relay` over a connection that stands already: OpenSSH finds it on its standard input
/// and output (`ProxyCommand=-`). Nothing of the machine's own ssh configuration is read.
///
/// `control`: where it listens for other processes of this host that want a connection over the relay.
pub fn arguments(
    config: &Config,
    relay: &Relay,
    known_hosts: &str,
    control: Option<&str>,
) -> Vec<String> {
    let mut arguments: Vec<String> = ["-F", "none", "-N", "-T"].map(String::from).into();
    let options = [
        "ProxyCommand=-".to_owned(),
        format!("HostKeyAlias={}", host_key_alias(relay)),
        format!("UserKnownHostsFile=\"{known_hosts}\""),
        "GlobalKnownHostsFile=none".into(),
        "StrictHostKeyChecking=yes".into(),
        "UpdateHostKeys=no".into(),
        "CheckHostIP=no".into(),
        format!("IdentityFile=\"{}\"", config.key),
        "IdentitiesOnly=yes".into(),
        "IdentityAgent=none".into(),
        "PreferredAuthentications=publickey".into(),
        "BatchMode=yes".into(),
        "ExitOnForwardFailure=yes".into(),
        // The third question that would be due ends it: three times the keepalive without a byte.
        format!("ServerAliveInterval={}", config.keepalive.as_secs()),
        "ServerAliveCountMax=2".into(),
        // Where it says that the ports are open; see `Watcher`.
        "LogLevel=DEBUG1".into(),
    ];
    for option in options {
        arguments.extend(["-o".to_owned(), option]);
    }
    if let Some(control) = control {
        let path = format!("ControlPath=\"{control}\"");
        for option in ["ControlMaster=yes".to_owned(), path, "ControlPersist=no".into()] {
            arguments.extend(["-o".to_owned(), option]);
        }
    }
    for forward in &config.forwards {
        let forward = format!("{}:localhost:{}", forward.listen, forward.target);
        arguments.extend(["-R".to_owned(), forward]);
    }
    arguments.extend(["-l".to_owned(), config.user.clone()]);
    arguments.push(relay.name.to_string());
    arguments
}

/// Why OpenSSH ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The host key is not the pinned one: this address leads to someone else.
    OtherHostKey,
    /// The relay does not take the host's key.
    Refused,
    /// A port on the relay could not be opened.
    PortTaken(String),
    /// The relay fell silent.
    Silent,
    /// Anything else, in OpenSSH's words.
    Ended(String),
}

impl Cause {
    /// What it means for the next wait.
    pub fn kind(&self) -> Kind {
        match self {
            Cause::Refused => Kind::Refused,
            Cause::PortTaken(_) => Kind::PortTaken,
            Cause::OtherHostKey | Cause::Silent | Cause::Ended(_) => Kind::Unreachable,
        }
    }

    /// Whether another address or port of the relay may fare better.
    pub fn is_of_the_way(&self) -> bool {
        matches!(self, Cause::OtherHostKey | Cause::Ended(_) | Cause::Silent)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::OtherHostKey => f.write_str(
                "its host key is not the pinned one: someone stands between, or relay-servers.json is out of date",
            ),
            Cause::Refused => f.write_str(
                "it refuses this host's key: is public_key in tunnels.d right, and has the relay checked in since?",
            ),
            Cause::PortTaken(said) => write!(
                f,
                "it did not open a port: a dead connection still holds it, or permitlisten lacks it ({said})"
            ),
            Cause::Silent => f.write_str("it fell silent"),
            Cause::Ended(said) => f.write_str(said),
        }
    }
}

/// What OpenSSH's messages tell of a tunnel that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// All ports are open; told once.
    Open,
    /// Somebody came through one of them.
    Visitor,
}

/// Reads OpenSSH's messages, line by line (texts of OpenSSH 9.2; another text only makes a reason less precise).
#[derive(Debug)]
pub struct Watcher {
    forwards: usize,
    open: usize,
    last: String,
    cause: Option<Cause>,
}

impl Watcher {
    /// For a tunnel with that many forwards.
    pub fn new(forwards: usize) -> Self {
        Self { forwards, open: 0, last: String::new(), cause: None }
    }

    /// Takes a line.
    pub fn line(&mut self, line: &str) -> Option<Word> {
        let line = line.trim_end();
        if let Some(debug) = line.strip_prefix("debug1: ") {
            if debug.starts_with("remote forward success for:") {
                self.open += 1;
                return (self.open == self.forwards).then_some(Word::Open);
            }
            let visitor = debug.starts_with("client_input_channel_open: ctype forwarded-tcpip");
            return visitor.then_some(Word::Visitor);
        }
        let cause = if line.contains("Host key verification failed")
            || line.contains("host key is known for")
        {
            Some(Cause::OtherHostKey)
        } else if line.contains("Permission denied (") || line.contains("Too many authentication") {
            Some(Cause::Refused)
        } else if line.contains("remote port forwarding failed") {
            Some(Cause::PortTaken(line.into()))
        } else if line.starts_with("Timeout, server") {
            Some(Cause::Silent)
        } else {
            None
        };
        // The first is the reason; what follows is how it ends.
        self.cause = self.cause.take().or(cause);
        if !line.is_empty() && !line.starts_with("Transferred:") && !line.starts_with("Bytes per") {
            self.last = line.chars().take(200).collect();
        }
        None
    }

    /// Why it ended, once it has.
    pub fn cause(self) -> Cause {
        let said = match self.last.is_empty() {
            true => "ssh ended without a word".to_owned(),
            false => self.last,
        };
        self.cause.unwrap_or(Cause::Ended(said))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_of_openssh_have_their_meaning() {
        // What OpenSSH 9.2 prints, shortened.
        let table: [(&[&str], Cause); 6] = [
            (
                &[
                    "No ED25519 host key is known for afield-relay-bru and you have requested strict checking.",
                    "Host key verification failed.",
                ],
                Cause::OtherHostKey,
            ),
            (
                &[
                    "debug1: Next authentication method: publickey",
                    "tunnel@bru: Permission denied (publickey).",
                ],
                Cause::Refused,
            ),
            (
                &["Error: remote port forwarding failed for listen port 2001"],
                Cause::PortTaken(
                    "Error: remote port forwarding failed for listen port 2001".into(),
                ),
            ),
            (
                &[
                    "Timeout, server bru not responding.",
                    "Transferred: sent 3412, received 3148 bytes, in 1.7 seconds",
                ],
                Cause::Silent,
            ),
            (
                &["Connection closed by UNKNOWN port 65535", "Bytes per second: sent 2.0"],
                Cause::Ended("Connection closed by UNKNOWN port 65535".into()),
            ),
            (&[], Cause::Ended("ssh ended without a word".into())),
        ];
        for (lines, cause) in table {
            let mut watcher = Watcher::new(1);
            assert!(lines.iter().all(|line| watcher.line(line).is_none()));
            assert_eq!(watcher.cause(), cause);
        }
        let mut watcher = Watcher::new(2);
        let said = [
            "debug1: remote forward success for: listen 2001, connect localhost:22",
            "debug1: remote forward success for: listen 12001, connect localhost:10050\r",
            "debug1: client_input_channel_open: ctype forwarded-tcpip rchan 2 win 2097152 max 32768",
        ];
        let words = said.map(|line| watcher.line(line));
        assert_eq!(words, [None, Some(Word::Open), Some(Word::Visitor)]);
    }

    #[test]
    fn the_key_is_pinned_and_no_other_configuration_is_read() {
        let config: Config = serde_json::from_str(
            r#"{"relays": [{"name": "bru", "addresses": ["192.0.2.7"], "host_key": "ssh-ed25519 AAAA"}],
                "forwards": [{"listen": 2001, "target": 22}, {"listen": 12001, "target": 10050}]}"#,
        )
        .unwrap();
        assert_eq!(known_hosts(&config), "afield-relay-bru ssh-ed25519 AAAA\n");
        let arguments =
            arguments(&config, &config.relays[0], "/var/lib/x/known_hosts", None).join(" ");
        assert!(arguments.starts_with("-F none -N -T -o ProxyCommand=- "));
        assert!(arguments.ends_with("-R 2001:localhost:22 -R 12001:localhost:10050 -l tunnel bru"));
        for option in [
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=afield-relay-bru",
            "UserKnownHostsFile=\"/var/lib/x/known_hosts\"",
            "GlobalKnownHostsFile=none",
            "ExitOnForwardFailure=yes",
            "ServerAliveInterval=10",
        ] {
            assert!(arguments.contains(option), "{option} is missing: {arguments}");
        }
    }
}
